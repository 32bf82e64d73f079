"""How good the drawings of unseen people are: `python -m training.evaluate PHOTOS... [--weights FILE] [--out DIR]`.

Seven sections of figures, a function each. Writes report.md, report.json and contact sheets; prints the first section's
table. --plan takes only the people that training held out. --prepared takes the teacher's layers from what
training.prepare wrote: faster, but warped as they were for training instead of as each style warps.
"""

import argparse
import json
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.errors import CartoonError
from cartoon.image import Face, Pixels, read
from cartoon.portrait.align import warp
from cartoon.portrait.candidates import iou
from cartoon.portrait.compose import Stack, to_uint8
from cartoon.portrait.faces import MediaPipeDetector
from cartoon.portrait.guide import OVAL, Plane, Points, draw_guide, face_width, smoothstep
from cartoon.portrait.person import PersonMask
from cartoon.portrait.pipeline import MATTE_EDGE, Cartoonizer
from cartoon.portrait.render import Asked, render
from cartoon.portrait.scale import resize
from cartoon.styles.layers import ALPHA, BACKGROUND, FOREGROUND, HAIR, PLANES, SKIN
from cartoon.styles.network import Canvas, StyleNet
from cartoon.styles.registry import Register, StyleCard, available
from cartoon.styles.weights import sha256_of
from training import metrics
from training.metrics import Pair
from training.prepare import photos_of
from training.release import TITLES, cards_of
from training.sheets import TILE, Row, Table, face_tile, pair_sheet, sheet, summary, write_report, write_sheet
from training.teacher import analyse

log = logging.getLogger("training.evaluate")
Value = TypeVar("Value")

SIDE: Final = 600
"""Long side, px, of the photos compared; the portraits' own."""
SOME, FEW, SHOWN = 12, 6, 24
"""Photos for the strength curve, for what changes little from one to the next, and in a contact sheet."""
USUAL: Final = 0.7
"""The strength people get unless they ask for another."""
STRENGTHS: Final = tuple(step / 10 for step in range(1, 11))
FOUND_IOU: Final = 0.3
SIZES: Final = (512, 1024, 2048)
PASTED: Final = (64, 128, 256, 512)
"""Widths, px, of the faces pasted; PASTED_FROM is the least that the spread counts."""
PASTED_FROM: Final = 128
PASTED_ON: Final = (1000, 1400)
PASTED_REACH: Final = np.array([1.2, 0.95], np.float32)
"""What is pasted of a portrait: so many face widths to each side, up and down; at 512 px that just fits."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One person's photo, its long side SIDE px: pixels, the largest face, the person mask (H, W) 0..1."""

    path: Path
    pixels: Pixels
    face: Face
    person: Plane


class Remembered:
    """A detector and a person mask that know the pictures they last saw: the same few are drawn dozens of times."""

    def __init__(self, kept: int = 128) -> None:
        self._detector, self._mask, self._kept = MediaPipeDetector(), PersonMask(), kept
        self._known: dict[tuple[str, int], Any] = {}

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """As cartoon.portrait.faces.Detector."""
        faces: tuple[Face, ...] = self._once("faces", pixels, lambda: self._detector.detect(pixels))
        return faces

    def matte(self, pixels: Pixels, faces: Sequence[Face]) -> Plane:
        """As cartoon.portrait.person.PersonMask; faces: those found in these pixels."""
        plane: Plane = self._once("matte", pixels, lambda: self._mask.matte(pixels, faces))
        return plane

    def _once(self, what: str, pixels: Pixels, ask: Callable[[], Any]) -> Any:
        key = (what, zlib.crc32(pixels.tobytes()))
        if key not in self._known:
            _forget(self._known, self._kept)
            self._known[key] = ask()
        return self._known[key]


class Studio:
    """Network, teacher and whole pipeline, for the photos of one evaluation."""

    def __init__(self, net: StyleNet, cards: Sequence[StyleCard], prepared: Path | None, out: Path) -> None:
        self.net, self.cards, self.out = net, tuple(cards), out
        self.known = Remembered()
        self.toon = Cartoonizer(net, Register(shipped=self.cards), self.known, self.known.matte)
        self._prepared = prepared
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._stacks: dict[tuple[str, float], tuple[Stack, Stack]] = {}

    def look(self, path: Path) -> Subject | None:
        """A photo with its largest face; None without one."""
        pixels = read(path).pixels
        pixels = resize(pixels, _shape(pixels, SIDE))
        faces = self.known.detect(pixels)
        if not faces:
            log.warning("%s: no face found, left out", path.name)
            return None
        return Subject(path, pixels, _largest(faces), smoothstep(self.known.matte(pixels, faces), *MATTE_EDGE))

    def draw(self, pixels: Pixels, card: StyleCard, strength: float, exaggeration: float = 0.5) -> Pixels:
        """The whole pipeline, at the photo's own size."""
        return self.toon(pixels, style=card.id, strength=strength, size="original", exaggeration=exaggeration).pixels

    def pair(self, subject: Subject, card: StyleCard) -> Pair:
        """One photo drawn by teacher and network; kept, as several sections ask."""
        key = (subject.path.stem, card.id)
        if key not in self._pairs:
            photo, person, points, given = self._warped(subject, card.exaggeration)
            guide = draw_guide(person, [points])
            same = (key[0], 0.0 if self._prepared else card.exaggeration)
            if same not in self._stacks:  # styles that warp alike share the layers
                _forget(self._stacks, 3)
                teacher = analyse(photo, person, points) if given is None else given
                self._stacks[same] = (teacher, self.net.draw([Canvas(photo, guide)])[0].stack)
            teacher, ours = self._stacks[same]
            asked, features = Asked(card.painter, 1.0, finished=False), metrics.feature_mask(guide)
            taught, drawn = (to_uint8(render(stack, photo, [points], asked)[0]) for stack in (teacher, ours))
            skin, hair = (metrics.region_mask(teacher, plane, features) for plane in (SKIN, HAIR))
            self._pairs[key] = Pair(photo, points, taught, drawn, features, skin, hair)
        return self._pairs[key]

    def _warped(self, subject: Subject, amount: float) -> tuple[Pixels, Plane, Points, Stack | None]:
        """Photo, person and landmarks as a style warps them; or as prepared, with the teacher's layers."""
        if self._prepared is None:
            return *warp(subject.pixels, subject.person, subject.face.landmarks, amount), None
        with np.load(self._prepared / f"{subject.path.stem}.npz") as file:
            photo, person, points, stack = (file[name] for name in ("photo", "person", "landmarks", "stack"))
        shape = _shape(photo, SIDE)
        planes = np.stack([resize(plane, shape) for plane in (person, *stack)]).astype(np.float32) / 255
        return resize(photo, shape), planes[0], points * np.float32(shape[0] / photo.shape[0]), planes[1:]


def teacher(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """How near the network's drawing comes to its teacher's."""
    each = _measured(studio, subjects, lambda s, card: metrics.closeness(studio.pair(s, card)))
    for card in studio.cards:
        pairs = [studio.pair(subject, card) for subject in subjects[:SHOWN]]
        write_sheet(studio.out / f"sheet-{card.id}.png", pair_sheet(pairs))
    note = "Strength 1, no finish, warped as at exaggeration 1. Edges: mean gradient by the teacher's, 1 is as crisp."
    return Table("Closeness to the teacher", note, summary(each, "style"), each)


def flatness(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """How flat, lined and stepped teacher's and network's drawings are."""
    each = _measured(studio, subjects, lambda s, card: metrics.flat_and_lined(studio.pair(s, card)))
    note = (
        "Skin gradient: away from edges, by the photo's there. Line share: pixels darker than their surroundings. "
        f"Levels: the fewest of 256 lumas that hold {metrics.MOST:.0%} of the skin."
    )
    return Table("Flatness and lines", note, summary(each, "style"), each)


def identity(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """Whether the drawing is still that person: face found again, landmarks in place, skin as light as it was."""
    each = _measured(studio, subjects, lambda s, card: _likeness(studio, s, card))
    rows = []
    for row in summary(each, "style"):
        own = [one for one in each if one["style"] == row["style"]]
        cheeks, shifts = ([float(one[name]) for one in own] for name in ("cheeks' L*", "shift"))
        dark, light = metrics.outer_thirds(cheeks, shifts)
        rows.append({**row, "shift, darkest third": dark, "shift, lightest third": light, "difference": light - dark})
    note = (
        f"Strength {USUAL}. Found again: share with a face of IoU over {FOUND_IOU}, at exaggeration 0.5; the rest at 0."
        " Landmarks: mean shift, % of the face's width. Shift: of the cheeks' L*; thirds by their L* in the photo."
    )
    return Table("Likeness", note, rows, each)


def strength(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """How the distance to the photo grows with strength, by the whole pipeline with its finish."""
    strips: dict[str, list[Pixels]] = {}

    def climb(subject: Subject, card: StyleCard) -> dict[str, float]:
        drawn = [studio.draw(subject.pixels, card, amount) for amount in STRENGTHS]
        strips.setdefault(card.id, [face_tile(picture, subject.face.landmarks) for picture in drawn])
        away = [metrics.distance(picture, subject.pixels) for picture in drawn]
        named = {str(amount): value for amount, value in zip(STRENGTHS, away, strict=True)}
        rises = all(a < b for a, b in pairwise(away))
        return named | {"rises": float(rises), "0.7 by 1.0": named["0.7"] / max(named["1.0"], 1e-6)}

    each = _measured(studio, subjects[:SOME], climb)
    write_sheet(studio.out / "strength.png", sheet(list(strips.values()), [str(s) for s in STRENGTHS]))
    note = "Mean absolute RGB distance to the photo, 0..255. Rises: share of the photos where each step goes further."
    return Table("Strength", note, summary(each, "style"), each)


def faceless(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """How much the flat colours change when no face is found."""
    each: list[Row] = []
    for subject in subjects[:FEW]:
        guides = [draw_guide(subject.person, faces) for faces in ([], [subject.face.landmarks])]
        drawn = studio.net.draw([Canvas(subject.pixels, guide) for guide in guides])
        without, with_face = (_flat(layers.stack) for layers in drawn)
        features = metrics.feature_mask(guides[1])
        near = metrics.psnr(without, with_face, features)
        named = {"layers": "flat colours", "photo": subject.path.stem}
        each.append({**named, "PSNR, dB": metrics.psnr(without, with_face), "eyes and mouth, dB": near})
    note = "The network's layers with an empty guide against those with the face in it."
    return Table("Without a face", note, summary(each, "layers"), each)


def sizes(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """Whether one photo looks the same at every size asked for."""
    strips: dict[str, list[Pixels]] = {}

    def compare(subject: Subject, card: StyleCard) -> dict[str, float]:
        pixels = read(subject.path).pixels
        drawn = [studio.toon(pixels, style=card.id, strength=USUAL, size=size).pixels for size in SIZES]
        strips.setdefault(card.id, [_face_at(picture, subject) for picture in drawn])
        small = [resize(picture, _shape(pixels, SIZES[0])) for picture in drawn]
        pairs = combinations(zip(SIZES, small, strict=True), 2)
        return {f"{a} and {b}, dB": metrics.psnr(one, other) for (a, one), (b, other) in pairs}

    each = _measured(studio, subjects[:FEW], compare)
    write_sheet(studio.out / "sizes.png", sheet(list(strips.values()), [f"{size} px" for size in SIZES]))
    note = f"PSNR between the results at two sizes, both reduced to {SIZES[0]} px; strength {USUAL}, with finish."
    return Table("Sizes", note, summary(each, "style"), each)


def pasted(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """How well faces of every size are drawn in a larger picture, where small and huge ones get a crop of their own."""
    each: list[Row] = []
    strips: list[list[Pixels]] = []
    card = next((card for card in studio.cards if card.id == "anime"), studio.cards[0])  # has no finish to leave out
    for subject in subjects[:FEW]:
        strips.append([])
        for width in PASTED:
            figures, tiles = _paste(studio, subject, card, width)
            each.append({"face px": str(width), "photo": subject.path.stem, **figures})
            strips[-1] += tiles
    captions = [f"{who}, {width} px" for width in PASTED for who in ("teacher", "network")]
    write_sheet(studio.out / "pasted.png", sheet(strips, captions))
    rows = summary(each, "face px")
    close = [float(row["eyes and mouth, dB"]) for row in rows if int(row["face px"]) >= PASTED_FROM]
    note = (
        f"Style {card.id}, strength 1, exaggeration 0, on {PASTED_ON[1]} x {PASTED_ON[0]} px of noise. Border: mean "
        "gradient where a crop would be blended in, by that of the ring around it."
    )
    return Table("Pasted", note, rows, each, {f"largest spread from {PASTED_FROM} px up, dB": float(np.ptp(close))})


def _measured(
    studio: Studio, subjects: Sequence[Subject], measure: Callable[[Subject, StyleCard], dict[str, float]]
) -> list[Row]:
    """One row for each photo and style; photo by photo, so that what styles share is at hand."""
    return [
        {"style": card.id, "photo": subject.path.stem, **measure(subject, card)}
        for subject in subjects
        for card in studio.cards
    ]


def _likeness(studio: Studio, subject: Subject, card: StyleCard) -> dict[str, float]:
    """One photo drawn twice: as usual, and in its true proportions."""
    usual, true = (studio.draw(subject.pixels, card, USUAL, amount) for amount in (0.5, 0.0))
    face, points = _same_face(studio, true, subject.face), subject.face.landmarks
    before, after = (metrics.cheek_lightness(picture, points) for picture in (subject.pixels, true))
    return {
        "found again": float(_same_face(studio, usual, subject.face) is not None),
        "landmarks, %": metrics.landmark_shift(points, face.landmarks) if face else float("nan"),
        "cheeks' L*": before,
        "shift": after - before,
    }


def _same_face(studio: Studio, picture: Pixels, face: Face) -> Face | None:
    """The face of a drawing that overlaps the photo's most, if enough."""
    found = max(studio.known.detect(picture), key=lambda other: iou(other.box, face.box), default=None)
    return found if found and iou(found.box, face.box) > FOUND_IOU else None


def _paste(studio: Studio, subject: Subject, card: StyleCard, width: int) -> tuple[dict[str, float], list[Pixels]]:
    """A portrait pasted with its face `width` px wide: the figures, and the face as teacher and network draw it."""
    points, limit = subject.face.landmarks, np.array(subject.person.shape[::-1])
    fw, centre = face_width(points), points[OVAL].mean(0)
    (x0, y0), (x1, y1) = (np.clip(centre + side * fw * PASTED_REACH, 0, limit).astype(int) for side in (-1, 1))
    shape = (round((y1 - y0) * width / fw), round((x1 - x0) * width / fw))
    part, person = resize(subject.pixels[y0:y1, x0:x1], shape), resize(subject.person[y0:y1, x0:x1], shape)
    canvas = _noise(PASTED_ON)
    top, left = (PASTED_ON[0] - shape[0]) // 2, (PASTED_ON[1] - shape[1]) // 2
    rows, columns = slice(top, top + shape[0]), slice(left, left + shape[1])
    canvas[rows, columns] = part
    drawn = studio.toon(canvas, style=card.id, strength=1.0, size="original", exaggeration=0.0)
    if not drawn.faces:
        names = ("eyes and mouth, dB", "border", "border, teacher's")
        return {"found": 0.0} | dict.fromkeys(names, float("nan")), [canvas[:TILE, :TILE], drawn.pixels[:TILE, :TILE]]
    points = _largest(drawn.faces).landmarks
    # The teacher sees the portrait alone; around it the canvas stays as it is.
    stack = np.zeros((len(PLANES), *PASTED_ON), np.float32)
    stack[FOREGROUND] = stack[BACKGROUND] = canvas.transpose(2, 0, 1).astype(np.float32) / 255
    stack[:, rows, columns] = analyse(part, np.clip(person, 0, 1), points - np.array([left, top], np.float32))
    taught = to_uint8(render(stack, canvas, [points], Asked(card.painter, 1.0, finished=False))[0])
    features = metrics.feature_mask(draw_guide(np.zeros(PASTED_ON, np.float32), [points]))
    portrait = np.zeros(PASTED_ON, np.uint8)
    portrait[rows, columns] = 1
    within = cv2.erode(portrait, np.ones((9, 9), np.uint8)) > 0  # its own rim is no seam of ours
    figures = {
        "found": 1.0,
        "eyes and mouth, dB": metrics.psnr(drawn.pixels, taught, features),
        "border": metrics.seam(drawn.pixels, points, within),
        "border, teacher's": metrics.seam(taught, points, within),
    }
    return figures, [face_tile(picture, points) for picture in (taught, drawn.pixels)]


def _noise(shape: tuple[int, int]) -> Pixels:
    """Plain grey with soft noise, always the same: uint8 (H, W, 3)."""
    noise = np.random.default_rng(7).normal(0, 20, (*shape, 3)).astype(np.float32)
    return np.clip(128 + cv2.GaussianBlur(noise, (0, 0), 1.0), 0, 255).astype(np.uint8)


def _flat(stack: Stack) -> Pixels:
    """Foreground over background, as one picture."""
    flat = stack[BACKGROUND] + stack[ALPHA] * (stack[FOREGROUND] - stack[BACKGROUND])
    return to_uint8(np.ascontiguousarray(flat.transpose(1, 2, 0)))


def _face_at(picture: Pixels, subject: Subject) -> Pixels:
    """A face from a drawing of any size, brought to a tile of its own size."""
    scale = picture.shape[0] / subject.pixels.shape[0]
    return resize(face_tile(picture, subject.face.landmarks * np.float32(scale), round(TILE * scale)), (TILE, TILE))


def _largest(faces: Sequence[Face]) -> Face:
    return max(faces, key=lambda face: float(face.box[2] - face.box[0]))


def _shape(pixels: NDArray[np.generic], side: int) -> tuple[int, int]:
    scale = side / max(pixels.shape[:2])
    return round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)


def _forget(known: dict[Any, Any], most: int) -> None:
    """Make room for one more: the oldest goes."""
    while len(known) >= most:
        del known[next(iter(known))]


Section = Callable[[Studio, Sequence[Subject]], Table]
SECTIONS: Final[dict[str, Section]] = {
    section.__name__: section for section in (teacher, flatness, identity, strength, faceless, sizes, pasted)
}


def cards_for(weights: Path | None) -> dict[str, StyleCard]:
    """The shipped styles of the first file, or those that a release of `weights` would have."""
    if weights is not None and not weights.is_file():
        raise ValueError(f"{weights} is missing: name a file that training.distil wrote.")
    if weights is None:
        shipped = available()
        return {card.id: card for card in shipped if card.file == shipped[0].file}
    return {card.id: card for card in cards_of(tuple(TITLES), str(weights.resolve()), sha256_of(weights))}


def chosen(a: argparse.Namespace) -> list[Path]:
    """The photos to look at: of those named the held-out, prepared, asked-for ones."""
    wanted = [set(json.loads(a.plan.read_text(encoding="utf-8"))["held_out"])] if a.plan else []
    wanted += [set(a.only.split(","))] if a.only else []
    wanted += [{path.stem for path in a.prepared.glob("*.npz")}] if a.prepared else []
    return [path for path in photos_of(a.photos) if all(path.stem in names for names in wanted)]


def evaluate(a: argparse.Namespace) -> dict[str, Table]:
    """Measure what is asked for and write the report: section -> table.

    Raises ValueError where a section or style is not known, or nothing is left to measure.
    """
    sections, cards = _among(a.sections, SECTIONS), _among(a.styles, cards_for(a.weights))
    a.out.mkdir(parents=True, exist_ok=True)
    first = next(iter(cards.values()))
    net = StyleNet(first.path, first.sha256, a.device, a.precision)
    studio = Studio(net, list(cards.values()), a.prepared, a.out)
    subjects: list[Subject] = []
    for path in chosen(a):
        if len(subjects) != a.limit and (subject := studio.look(path)) is not None:
            subjects.append(subject)
    if not subjects:
        raise ValueError("no photo with a face is left: check the paths, --plan and --only.")
    tables: dict[str, Table] = {}
    facts = {"weights": f"{first.path.name}, sha256 {first.sha256}", "photos": str(len(subjects)),
             "teacher": f"as prepared in {a.prepared}" if a.prepared else "asked for each style's warp",
             "device": str(net.device), "precision": net.precision}  # fmt: skip
    for name, section in sections.items():
        log.info("%s, %d photos", name, len(subjects))
        tables[name] = section(studio, subjects)
        write_report(a.out, facts, tables)  # each time, so that a stop loses no more than a section
    return tables


def main() -> None:
    """Parse, evaluate, print the first table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or files")
    parser.add_argument("--weights", type=Path, help="a file that training.distil wrote; else the shipped one")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"))
    parser.add_argument("--prepared", type=Path, help="folder that training.prepare wrote")
    parser.add_argument("--plan", type=Path, help="plan.json of a run: only the people it held out")
    parser.add_argument("--limit", type=int, help="at most so many photos")
    parser.add_argument("--only", help="photos by name, without suffix, parted by commas")
    parser.add_argument("--styles", help="parted by commas; all if left out")
    parser.add_argument("--sections", help=f"of {', '.join(SECTIONS)}; all if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        tables = evaluate(a)
    except (CartoonError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(next(iter(tables.values())).markdown())
    print(a.out / "report.md")


def _among(asked: str | None, known: Mapping[str, Value]) -> dict[str, Value]:
    """What was asked for by names parted by commas, all without; ValueError for a name that is not known."""
    names = asked.split(",") if asked else list(known)
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(strange)} not known: use {', '.join(known)}.")
    return {name: known[name] for name in names}


if __name__ == "__main__":
    main()
