"""A user's own photos and drawings -> training crops.

A folder of pairs holds NAME.photo.EXT beside NAME.STYLE.EXT (or NAME.drawing.EXT), or two folders, photos/ and
drawings/, with equal names. Faces and person masks, of which the guide is drawn, are looked up once and remembered.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.compose import to_uint8
from cartoon.errors import InputError
from cartoon.faces.detector import MediaPipeDetector
from cartoon.faces.guide import draw_guide, face_width, smoothstep
from cartoon.faces.segmentation import PersonMask
from cartoon.images.decode import read
from cartoon.images.resize import reduced, resize
from cartoon.images.types import Photo, Pixels
from cartoon.models.weights import sha256_of
from cartoon.pipeline.stages import MATTE_EDGE
from training.dataset import FACE_SHARE, Batch, blind, collate

log = logging.getLogger("training.pairs")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FEWEST = 4
LONGEST = 1024
"""Long side, px, at which pairs are learned from: that of a drawing unless another is asked for."""
SHORTEST = 128
"""Short side, px, below which a photo shows too little."""
SAME_SHAPE = 0.02
"""How far the proportions of a drawing may be from its photo's."""

PLAIN_SHARE = 0.5
"""Share of the crops that are cut out as they are: resampling blurs the drawing's lines."""
SCALES = (0.75, 1.5)
ROLL = 6.0
"""Standard deviation, degrees."""
FACELESS_SHARE = 0.05
WORN_SHARE = 0.25


@dataclass(frozen=True)
class PairFiles:
    """Where one pair lies; name: what both are called."""

    name: str
    photo: Path
    drawing: Path


@dataclass(frozen=True, eq=False)
class Pair:
    """One pair, ready to learn from: photo and drawing uint8 (H, W, 3) sRGB, person uint8 (H, W), faces float32
    (N, 478, 2), x and y px; N may be 0."""

    name: str
    photo: Pixels
    drawing: Pixels
    person: NDArray[np.uint8]
    faces: NDArray[np.float32]

    def guide(self) -> NDArray[np.uint8]:
        """The guide map of the whole photo, as the pipeline draws it."""
        return draw_guide(self.person.astype(np.float32) / np.float32(255), list(self.faces))


def find_pairs(folder: Path, style: str) -> list[PairFiles]:
    """The pairs in a folder, by name; raises InputError that names what is missing or double."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of your pairs to --pairs.")
    inside = (folder / "photos", folder / "drawings")
    if all(place.is_dir() for place in inside):
        photos, drawings = (_by_name(place, "") for place in inside)
        wanted = "drawings/NAME.png"
    else:
        photos = _by_name(folder, ".photo")
        drawings = _by_name(folder, ".drawing") | _by_name(folder, f".{style}")
        wanted = f"NAME.{style}.png or NAME.drawing.png"
    for name in sorted(photos.keys() ^ drawings.keys()):
        if name in photos:
            raise InputError(
                f"{photos[name].name} has no drawing: add {wanted.replace('NAME', name)}, or take it away."
            )
        raise InputError(f"{drawings[name].name} has no photo of its own: add the photo, or take it away.")
    if len(photos) < FEWEST:
        raise InputError(
            f"{folder} holds {len(photos)} pairs and at least {FEWEST} are needed, better 30: put NAME.photo.jpg and "
            f"NAME.{style}.png side by side, or equal names into photos/ and drawings/."
        )
    return [PairFiles(name, photos[name], drawings[name]) for name in sorted(photos)]


def load_pairs(files: Sequence[PairFiles], cache: Path) -> list[Pair]:
    """Read pairs and look at their photos; raises InputError for a picture that cannot be used.

    cache: a folder; what was seen in a photo is kept there under the photo's sha256, and MediaPipe is only started
    for photos it does not know.
    """
    cache.mkdir(parents=True, exist_ok=True)
    eyes = _Eyes()
    pairs = []
    for place in files:
        photo, drawing = read_pair(place)
        known = cache / f"{sha256_of(place.photo)}.npz"
        if not known.exists():
            _write(known, eyes.look(photo))
        with np.load(known) as seen:
            pair = Pair(place.name, photo, drawing, seen["person"], seen["faces"])
        if pair.person.shape != photo.shape[:2]:
            raise InputError(f"{known} does not fit {place.photo.name}: remove {cache} and run this again.")
        if not len(pair.faces):
            log.info("%s: no face found, learned from as it is", place.photo.name)
        pairs.append(pair)
    return pairs


def read_pair(files: PairFiles) -> tuple[Pixels, Pixels]:
    """Photo and drawing, uint8 (H, W, 3) sRGB of one size, at most LONGEST px long; transparency is laid on white."""
    photo, drawing = (_on_white(read(path, f"{path.parent.name}/{path.name}")) for path in (files.photo, files.drawing))
    (height, width), (drawn_height, drawn_width) = photo.shape[:2], drawing.shape[:2]
    if abs(width * drawn_height / (height * drawn_width) - 1) > SAME_SHAPE:
        raise InputError(
            f"{files.drawing.name} has {drawn_width} x {drawn_height} px and its photo {width} x {height}: crop one to "
            "the other's proportions, so that both show the same."
        )
    if min(height, width) < SHORTEST:
        raise InputError(
            f"{files.photo.name} has only {width} x {height} px: use photos of at least {SHORTEST} px, better 512."
        )
    photo = np.ascontiguousarray(reduced(photo, LONGEST))
    return photo, np.ascontiguousarray(resize(drawing, photo.shape[:2]))


class PairCrops:
    """Endless random crops of pairs: turned, scaled and mirrored alike on both sides; the light is never touched, as
    a drawing's colours are the lesson."""

    def __init__(self, pairs: Sequence[Pair], rng: np.random.Generator, side: int = 256) -> None:
        self.pairs, self.rng, self.side = tuple(pairs), rng, side

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of `size` crops for ever; their target is the drawing with the person mask, (B, 4, H, W)."""
        return collate(self._crop, size)

    def _crop(self) -> tuple[NDArray[np.uint8], ...]:
        rng, side = self.rng, self.side
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        to_photo = self._place(pair)
        flags, border, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REFLECT_101, (side, side)
        photo, drawing, person = (
            np.asarray(cv2.warpAffine(picture, to_photo, size, flags=flags, borderMode=border), np.uint8)
            for picture in (pair.photo, pair.drawing, pair.person)
        )
        to_crop = cv2.invertAffineTransform(to_photo)
        faces = [(face @ to_crop[:, :2].T + to_crop[:, 2]).astype(np.float32) for face in pair.faces]
        guide = draw_guide(person.astype(np.float32) / np.float32(255), faces)
        if rng.random() < FACELESS_SHARE:
            guide = blind(guide)
        target = np.concatenate([drawing.transpose(2, 0, 1), person[None]])
        planes = (_worn(photo, rng).transpose(2, 0, 1), guide, target)
        if rng.random() < 0.5:
            planes = tuple(plane[..., ::-1] for plane in planes)  # type: ignore[assignment]
        return planes

    def _place(self, pair: Pair) -> NDArray[np.float64]:
        """Where a crop lies: the affine map from its px to the photo's."""
        rng, side = self.rng, self.side
        height, width = pair.photo.shape[:2]
        scale, angle = max(1.0, side / min(height, width)), 0.0
        if rng.random() >= PLAIN_SHARE:
            scale *= float(np.exp(rng.uniform(*np.log(SCALES))))
            scale, angle = max(scale, side / min(height, width)), float(np.deg2rad(rng.normal(0, ROLL)))
        half = (side - 1) / 2
        reach = half / scale
        middle = rng.uniform([reach, reach], [max(width - 1 - reach, reach), max(height - 1 - reach, reach)])
        if len(pair.faces) and rng.random() < FACE_SHARE:
            face = pair.faces[int(rng.integers(len(pair.faces)))]
            middle = face.mean(0) + rng.normal(0, 0.5, 2) * face_width(face)
        middle = np.clip(middle, reach, [max(width - 1 - reach, reach), max(height - 1 - reach, reach)])
        if scale == 1 and angle == 0:
            middle = np.round(middle - half) + half  # on whole pixels: an exact cut-out
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        return np.column_stack([turn, middle - turn @ [half, half]])


class _Eyes:
    """Detector and person mask, started when first needed."""

    def __init__(self) -> None:
        self._tools: tuple[MediaPipeDetector, PersonMask] | None = None

    def look(self, photo: Pixels) -> Mapping[str, NDArray[np.generic]]:
        """The person mask and every face's landmarks, as the pipeline finds them."""
        self._tools = self._tools or (MediaPipeDetector(), PersonMask())
        detector, mask = self._tools
        faces = detector.detect(photo)
        person = smoothstep(mask.matte(photo, faces), *MATTE_EDGE)
        points = [face.landmarks for face in faces] or np.zeros((0, 478, 2))
        return {"person": to_uint8(person), "faces": np.asarray(points, np.float32)}


def _by_name(folder: Path, mark: str) -> dict[str, Path]:
    """Name -> picture, of those whose stem ends in `mark`; raises InputError for two of one name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.stem.endswith(mark) and not path.name.startswith("."):
            name = path.stem.removesuffix(mark)
            if name in found:
                raise InputError(f"{found[name].name} and {path.name} have the same name: take one of them away.")
            found[name] = path
    return found


def _on_white(photo: Photo) -> Pixels:
    if photo.alpha is None:
        return photo.pixels
    cover = photo.alpha[..., None].astype(np.float32) / 255
    return np.asarray(photo.pixels * cover + 255 * (1 - cover) + 0.5, np.uint8)


def _worn(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """A little noise and JPEG, which the drawing should not follow."""
    if rng.random() < WORN_SHARE:
        photo = np.clip(photo + rng.normal(0, rng.uniform(1, 4), photo.shape), 0, 255).astype(np.uint8)
    if rng.random() < WORN_SHARE:
        _, coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])
        photo = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return photo


def _write(target: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(partial, target)
