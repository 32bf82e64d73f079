"""Network, teacher and whole pipeline for one evaluation, and the people they draw; what was asked once is kept."""

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.compose import Stack, to_uint8
from cartoon.drawing.render import Asked, render
from cartoon.faces.detector import MediaPipeDetector
from cartoon.faces.guide import Plane, Points, draw_guide, smoothstep
from cartoon.faces.segmentation import PersonMask
from cartoon.faces.warp import warp
from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.images.types import Face, Pixels
from cartoon.models.layers import HAIR, SKIN
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.pipeline.stages import MATTE_EDGE
from cartoon.styles.card import PLAIN
from cartoon.styles.catalogue import Register, StyleCard
from training import metrics
from training.metrics import Pair
from training.teacher import analyse

log = logging.getLogger("training.studio")

SIDE: Final = 600
"""Long side, px, of the photos compared; the portraits' own."""


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
        """As cartoon.faces.detector.Detector."""
        faces: tuple[Face, ...] = self._once("faces", pixels, lambda: self._detector.detect(pixels))
        return faces

    def matte(self, pixels: Pixels, faces: Sequence[Face]) -> Plane:
        """As cartoon.faces.segmentation.PersonMask; faces: those found in these pixels."""
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
        self.toon = Cartoonizer([net], Register(shipped=self.cards), self.known, self.known.matte)
        self._prepared = prepared
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._stacks: dict[tuple[str, float], tuple[Stack, Stack]] = {}

    def look(self, path: Path) -> Subject | None:
        """A photo with its largest face; None without one."""
        pixels = read(path).pixels
        pixels = resize(pixels, shape_of(pixels, SIDE))
        faces = self.known.detect(pixels)
        if not faces:
            log.warning("%s: no face found, left out", path.name)
            return None
        return Subject(path, pixels, largest(faces), smoothstep(self.known.matte(pixels, faces), *MATTE_EDGE))

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
            asked, features = Asked(card.painter, PLAIN), metrics.feature_mask(guide)
            taught, drawn = (to_uint8(render(stack, photo, [points], asked)[0]) for stack in (teacher, ours))
            skin, hair = (metrics.region_mask(teacher, plane, features) for plane in (SKIN, HAIR))
            self._pairs[key] = Pair(photo, points, taught, drawn, features, skin, hair)
        return self._pairs[key]

    def _warped(self, subject: Subject, amount: float) -> tuple[Pixels, Plane, Points, Stack | None]:
        """Photo, person and landmarks as a style warps them; or as prepared, with the teacher's layers."""
        if self._prepared is None:
            photo, person, points = warp(subject.pixels, subject.person, subject.face.landmarks, amount)
            return photo, person, points, None
        with np.load(self._prepared / f"{subject.path.stem}.npz") as file:
            photo, person, points, stack = (file[name] for name in ("photo", "person", "landmarks", "stack"))
        shape = shape_of(photo, SIDE)
        planes = np.stack([resize(plane, shape) for plane in (person, *stack)]).astype(np.float32) / np.float32(255)
        return resize(photo, shape), planes[0], points * np.float32(shape[0] / photo.shape[0]), planes[1:]


def largest(faces: Sequence[Face]) -> Face:
    return max(faces, key=lambda face: float(face.box[2] - face.box[0]))


def shape_of(pixels: NDArray[np.generic], side: int) -> tuple[int, int]:
    scale = side / max(pixels.shape[:2])
    return round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)


def _forget(known: dict[Any, Any], most: int) -> None:
    """Make room for one more: the oldest goes."""
    while len(known) >= most:
        del known[next(iter(known))]
