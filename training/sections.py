"""What an evaluation measures, a function each: (studio, photos) -> a table of figures; contact sheets beside it."""

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Final

import cv2
import numpy as np

from cartoon.drawing.compose import Stack, to_uint8
from cartoon.drawing.render import Asked, render
from cartoon.faces.candidates import iou
from cartoon.faces.guide import OVAL, draw_guide, face_width
from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.images.types import Face, Pixels
from cartoon.models.layers import ALPHA, BACKGROUND, FOREGROUND, PLANES
from cartoon.models.runtime import Canvas
from cartoon.styles.card import PLAIN, StyleCard
from training import metrics
from training.report import TILE, Row, Table, face_tile, pair_sheet, sheet, summary, write_sheet
from training.studio import Studio, Subject, largest, shape_of
from training.teacher import analyse

SOME, SHOWN = 12, 24
"""Photos for what is slow to measure, and in a contact sheet."""
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
    for subject in subjects[:SOME]:
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
        small = [resize(picture, shape_of(pixels, SIZES[0])) for picture in drawn]
        pairs = combinations(zip(SIZES, small, strict=True), 2)
        return {f"{a} and {b}, dB": metrics.psnr(one, other) for (a, one), (b, other) in pairs}

    each = _measured(studio, subjects[:SOME], compare)
    write_sheet(studio.out / "sizes.png", sheet(list(strips.values()), [f"{size} px" for size in SIZES]))
    note = f"PSNR between the results at two sizes, both reduced to {SIZES[0]} px; strength {USUAL}, with finish."
    return Table("Sizes", note, summary(each, "style"), each)


def pasted(studio: Studio, subjects: Sequence[Subject]) -> Table:
    """How well faces of every size are drawn in a larger picture, where small and huge ones get a crop of their own."""
    each: list[Row] = []
    strips: list[list[Pixels]] = []
    card = next((card for card in studio.cards if card.texture == PLAIN), studio.cards[0])  # nothing to leave out
    for subject in subjects[:SOME]:
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
    points = largest(drawn.faces).landmarks
    # The teacher sees the portrait alone; around it the canvas stays as it is.
    stack = np.zeros((len(PLANES), *PASTED_ON), np.float32)
    stack[FOREGROUND] = stack[BACKGROUND] = canvas.transpose(2, 0, 1).astype(np.float32) / 255
    stack[:, rows, columns] = analyse(part, np.clip(person, 0, 1), points - np.array([left, top], np.float32))
    taught = to_uint8(render(stack, canvas, [points], Asked(card.painter, PLAIN))[0])
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


Section = Callable[[Studio, Sequence[Subject]], Table]
SECTIONS: Final[dict[str, Section]] = {
    section.__name__: section for section in (teacher, flatness, identity, strength, faceless, sizes, pasted)
}
