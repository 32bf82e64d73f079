"""The quality gate: does a drawing look like one of its photo, or did something break on the way?

`judge` compares a drawing with its photo (cartoon.quality.likeness) and each measure with the most that good drawings
in that style showed (cartoon.quality.norms). A fault that nobody thought of still shows in some of them; what is odd in
several counts together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np

from cartoon.images.resize import drawing_share, result_shape
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.options import Options
from cartoon.quality.likeness import LEAST, measure
from cartoon.quality.norms import NORMS, Flaw, excess
from cartoon.styles.catalogue import shipped

THRESHOLD: Final = 0.5
"""The least score of a drawing that is handed out."""
LARGEST: Final = 2
"""Faces looked for again: the largest."""
LOOKED_AT: Final = 90
"""Px, the width at which a face is looked for again."""
MARGIN: Final = 1.1
"""Around a face's middle, in its widths."""
MOVED: Final = 0.35
"""Widths that a face's middle may move, the detector's own error included."""
GROWN: Final = (0.55, 1.8)
"""Widths that it may come to; the detector frames a drawn face more loosely."""


class FaceFinder(Protocol):
    """What finds faces in the drawing; cartoon.faces.detector has one."""

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """All faces of uint8 (H, W, 3) sRGB pixels."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What became of a drawing. score: 0..1, 1 is good. flaws: the worst first, none where the score is high enough."""

    score: float
    flaws: tuple[Flaw, ...] = ()

    @property
    def ok(self) -> bool:
        """May this drawing be handed out?"""
        return not self.flaws and self.score >= THRESHOLD


LOST_FACE: Final = 1.5
LOST_IN_OTHERS: Final = 0.9
"""How much a face counts that is not found again. A style that was not measured may draw faces that no detector takes
for such: alone it is no flaw there."""

WRONG_SIZE: Final = Flaw("size", "The drawing has not the size that was asked for.")
NO_ALPHA: Final = Flaw("alpha", "The drawing has no transparency, or it does not fit.")
NOBODY: Final = Flaw("nobody", "The person is missing from the drawing.")
FACE_LOST: Final = Flaw("face", "A face of the photo is not where it should be in the drawing.")


Judge = Callable[[Photo, Cartoon, Options, FaceFinder | None], Verdict]
"""What `judge` is to those who are given it."""


def judge(photo: Photo, cartoon: Cartoon, options: Options, detector: FaceFinder | None = None) -> Verdict:
    """How good a drawing of a photo is, and what is wrong with it; equal arguments give equal verdicts.

    Takes about 12 ms of one core at 1024 px, and about as much again for the faces when there is a detector.
    """
    if cartoon.pixels.shape != (*_asked_shape(photo, options), 3):
        return Verdict(0.0, (WRONG_SIZE,))
    if cartoon.alpha is None and options.background == "transparent":
        return Verdict(0.0, (NO_ALPHA,))
    if cartoon.alpha is not None and cartoon.alpha.shape != cartoon.pixels.shape[:2]:
        return Verdict(0.0, (NO_ALPHA,))
    card = shipped(options.style)
    gate = card.gate if card else None
    measured, portrait = measure(photo, cartoon, options, gate, drawing_share(options.strength))
    if not measured:
        return Verdict(0.0, (NOBODY,)) if _fills_some(photo, cartoon) else Verdict(1.0)
    beyond: list[tuple[float, Flaw]] = []
    for name, value in measured.items():
        if name in NORMS:
            beyond.append((excess(name, value, options, portrait), NORMS[name].flaw))
    if detector is not None and not _faces_kept(photo, cartoon, detector):
        beyond.append((LOST_FACE if gate else LOST_IN_OTHERS, FACE_LOST))
    total = sum(amount**3 for amount, _ in beyond) ** (1 / 3)
    score = float(2.0**-total)
    if score > THRESHOLD:
        return Verdict(score)
    beyond.sort(key=lambda one: -one[0])
    # Where none is beyond its limit alone, several together are: the largest is named.
    flaws = dict.fromkeys(flaw for place, (amount, flaw) in enumerate(beyond) if amount >= 1 or place == 0)
    return Verdict(score, tuple(flaws))


def _asked_shape(photo: Photo, options: Options) -> tuple[int, int]:
    height, width = result_shape(photo.pixels.shape, options.size)
    return height * options.upscale, width * options.upscale


def _fills_some(photo: Photo, cartoon: Cartoon) -> bool:
    """Is there a face so large that its person cannot be too small to judge?"""
    height, width = photo.pixels.shape[:2]
    return any((f.box[2] - f.box[0]) * (f.box[3] - f.box[1]) > 2 * LEAST * height * width for f in cartoon.faces)


def _faces_kept(photo: Photo, cartoon: Cartoon, detector: FaceFinder) -> bool:
    """Are the largest faces found again in the drawing, each in a small crop around its place?

    One that is lost is forgiven if it is not the largest: small faces in some drawings are a few strokes.
    """
    largest = sorted(cartoon.faces, key=lambda face: float(face.box[0] - face.box[2]))[:LARGEST]
    return not largest or any(_face_kept(photo, cartoon, face, detector) for face in largest)


def _face_kept(photo: Photo, cartoon: Cartoon, face: Face, detector: FaceFinder) -> bool:
    drawn = cartoon.pixels
    scale = drawn.shape[1] / photo.pixels.shape[1]
    x0, y0, x1, y1 = (float(v) * scale for v in face.box)
    wide, x, y = max(x1 - x0, 1.0), (x0 + x1) / 2, (y0 + y1) / 2
    left, top = max(0, int(x - MARGIN * wide)), max(0, int(y - MARGIN * wide))
    crop = drawn[top : int(y + MARGIN * wide) + 1, left : int(x + MARGIN * wide) + 1]
    shrink = min(1.0, LOOKED_AT / wide)
    if crop.size == 0 or min(crop.shape[:2]) * shrink < 16:
        return True
    size = (round(crop.shape[1] * shrink), round(crop.shape[0] * shrink))
    small = np.ascontiguousarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    for found in detector.detect(small):
        a0, b0, a1, b1 = (float(v) / shrink for v in found.box)
        off = np.hypot((a0 + a1) / 2 + left - x, (b0 + b1) / 2 + top - y)
        if off < MOVED * wide and GROWN[0] < (a1 - a0) / wide < GROWN[1]:
            return True
    return False
