"""The quality gate: does a drawing look like one of its photo, or did something break on the way?

`judge` compares a drawing with its photo (cartoon.quality.likeness) and each measure with the most that good drawings
showed (NORMS). A fault that nobody thought of still shows in some of them; what is odd in several counts together.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np

from cartoon.images.resize import drawing_share, result_shape
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.options import Options
from cartoon.quality.likeness import LEAST, measure

THRESHOLD: Final = 0.5
"""The least score of a drawing that is handed out."""
USUAL: Final = 0.75
"""Share of its limit up to which a measure counts nothing."""
WORST: Final = 10.0
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
class Flaw:
    """One thing that is wrong. code: stable and machine-readable; sentence: for a person."""

    code: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What became of a drawing. score: 0..1, 1 is good. flaws: the worst first, none where the score is high enough."""

    score: float
    flaws: tuple[Flaw, ...] = ()

    @property
    def ok(self) -> bool:
        """May this drawing be handed out?"""
        return not self.flaws and self.score >= THRESHOLD


@dataclass(frozen=True)
class Norm:
    """What a measure may come to. flaw: what it means beyond that. base: where its scale begins. portraits, others: the
    limits with a person and without, in the order of STYLES."""

    flaw: Flaw
    base: float
    portraits: tuple[float, float, float, float]
    others: tuple[float, float, float, float]

    def excess(self, value: float, options: Options, portrait: bool) -> float:
        """How far a value lies past what is usual: 0 up to USUAL of the limit, 1 at the limit."""
        limits = self.portraits if portrait else self.others
        known = options.style in STYLES
        limit = limits[STYLES.index(options.style)] if known else OWN_STYLE * (max(limits) - self.base) + self.base
        room = (limit - self.base) * (CUT_OUT if options.background not in ("drawn", "photo") else 1.0)
        part = (value - self.base) / room
        return min(WORST, max(0.0, (part - USUAL) / (1 - USUAL)))


STYLES: Final = ("anime", "comic", "watercolor", "sketch")
OWN_STYLE: Final = 2.0
"""A style that is not shipped, which nothing was measured on, may do what any of the shipped ones does, times this."""
LOST_FACE: Final = 1.5
LOST_IN_OTHERS: Final = 0.9
"""How much a face counts that is not found again. A style that is not shipped may draw faces that no detector takes for
such: alone it is no flaw there."""
CUT_OUT: Final = 1.8
"""Limits are this much wider where the person was cut out: fewer pixels, and a rim that the photo has not."""

UNLIKE: Final = Flaw("likeness", "The drawing does not show what the photo shows.")
MISSING: Final = Flaw("missing", "Parts of the photo are missing from the drawing.")
TURNED: Final = Flaw("turned", "The drawing is mirrored or turned.")
DISPLACED: Final = Flaw("displaced", "The drawing is displaced against the photo.")
DOUBLED: Final = Flaw("doubled", "The drawing shows things twice.")
CONTRAST: Final = Flaw("contrast", "The drawing has hardly any contrast, or far too much.")
EXPOSURE: Final = Flaw("exposure", "The drawing is far too dark or too bright.")
COLOURS: Final = Flaw("colours", "The drawing's colours are not the photo's.")
GREY: Final = Flaw("grey", "The drawing has lost its colours.")
SEAMS: Final = Flaw("seams", "Straight seams run through the drawing.")
STRIPES: Final = Flaw("stripes", "Stripes or tiles run through the drawing.")
NOISE: Final = Flaw("noise", "The drawing is full of noise.")
CHEQUERS: Final = Flaw("chequers", "A chequered pattern lies over the drawing.")
BLUR: Final = Flaw("blur", "The drawing is blurred.")
FLAT: Final = Flaw("flat", "Areas of the drawing are blank.")
LEVELS: Final = Flaw("levels", "The drawing has too few shades.")
UNDRAWN: Final = Flaw("undrawn", "The photo came back as it was, hardly drawn.")

NORMS: Final[dict[str, Norm]] = {
    # From 1,600 good drawings of 85 people and of scenes without any: the largest value seen times 1.35, but at most
    # the third largest times 1.7; times 1.3 where nobody is shown, times 1.4 for grain and noise.
    "unlike": Norm(UNLIKE, 0, (0.585, 0.691, 0.861, 0.889), (0.924, 1.18, 1.86, 1.75)),
    "torn": Norm(UNLIKE, 0, (0.0581, 0.131, 0.292, 0.29), (0.05, 0.336, 1.38, 1.71)),
    "tones": Norm(UNLIKE, 0, (0.441, 0.527, 0.926, 0.927), (0.196, 0.306, 1.36, 1.64)),
    "patches": Norm(UNLIKE, 0, (0.201, 0.218, 0.556, 0.423), (0.1, 0.1, 0.919, 1.13)),
    "blue": Norm(UNLIKE, 0, (0.453, 0.518, 0.997, 0.939), (0.146, 0.28, 1.31, 1.81)),
    "turned": Norm(TURNED, 0, (0.12, 0.12, 0.297, 0.598), (0.657, 0.545, 0.818, 0.683)),
    "displaced": Norm(DISPLACED, 0, (0.66, 0.558, 0.539, 0.642), (1.35, 1.57, 5, 2.65)),
    "doubled": Norm(DOUBLED, 0, (0.06, 0.0831, 0.0619, 0.0923), (0.275, 0.529, 0.06, 0.315)),
    "lost": Norm(MISSING, 0, (0.03, 0.03, 0.0948, 0.109), (0.03, 0.03, 0.74, 1.09)),
    "pale": Norm(CONTRAST, 0.5, (1.42, 1.48, 1.63, 1.64), (2.01, 2.1, 6.43, 13.3)),
    "harsh": Norm(CONTRAST, 0.3, (1.03, 1.24, 2.33, 2.43), (1.17, 1.2, 4.16, 2.08)),
    "dark": Norm(EXPOSURE, 0.5, (1.17, 1.18, 1.17, 1.17), (1.4, 1.46, 1.61, 1.44)),
    "light": Norm(EXPOSURE, 0.5, (1.38, 1.38, 2.23, 2.61), (1.63, 1.7, 3.31, 11)),
    "cast": Norm(COLOURS, 0, (17.4, 14.9, 28, 4.64), (16.4, 18.3, 68, 67.7)),
    "hues": Norm(COLOURS, 0, (0.61, 0.179, 0.317, 0.703), (0.218, 0.37, 0.575, 1.78)),
    "tinted": Norm(COLOURS, 0, (0.861, 0.574, 0.6, 1.18), (0.564, 0.759, 1.08, 5.06)),
    "grey": Norm(GREY, 0.5, (1.18, 1.19, 1.56, 1.33), (1.52, 1.76, 2.13, 1.43)),
    "seams": Norm(SEAMS, 0, (20.2, 25.7, 32.7, 24.7), (37.2, 26.1, 29.7, 25.1)),
    "grain": Norm(NOISE, 0, (0.68, 6.55, 1.6, 13), (1.28, 11.3, 2.96, 17.6)),
    "noise": Norm(NOISE, 0, (1.04, 14.6, 3.99, 26.4), (5.05, 38.8, 5.71, 34.5)),
    "specks": Norm(NOISE, 0, (0.002, 0.00411, 0.00232, 0.0452), (0.002, 0.002, 0.002, 0.0382)),
    "blur": Norm(BLUR, 2, (4.41, 4.21, 4.22, 3.67), (5.21, 4.8, 4.71, 4.91)),
    "blurred": Norm(BLUR, 0.6, (1.54, 1.56, 1.59, 1.34), (1.59, 2.45, 2.43, 1.68)),
    "chequers": Norm(CHEQUERS, 0.1, (0.326, 0.3, 0.294, 0.376), (0.435, 0.392, 0.43, 0.481)),
    "rows": Norm(STRIPES, 0, (0.229, 0.301, 0.429, 0.516), (0.263, 0.698, 1.91, 1.68)),
    "spikes": Norm(SEAMS, 0, (2.66, 2.54, 2.28, 0.8), (4.7, 1.82, 1.81, 0.8)),
    "beat": Norm(STRIPES, 0, (0.761, 0.639, 0.594, 0.2), (1.07, 0.265, 0.48, 0.271)),
    "soft": Norm(BLUR, 0, (3.26, 2.67, 3.59, 2.4), (11.6, 7.89, 10.3, 6.66)),
    "softer": Norm(BLUR, 0.3, (1.52, 1.5, 1.86, 1.53), (2.3, 2.45, 14.8, 19.2)),
    "flat": Norm(FLAT, 0, (0.296, 0.138, 0.0149, 0.0234), (0.0759, 0.0571, 0.01, 0.01)),
    "levels": Norm(LEVELS, 0, (195, 166, 125, 233), (222, 149, 150, 579)),
    "undrawn": Norm(UNDRAWN, 0, (3.47, 4.42, 1.2, 1.2), (39.6, 18.5, 49.2, 31.3)),
}

WRONG_SIZE: Final = Flaw("size", "The drawing has not the size that was asked for.")
NO_ALPHA: Final = Flaw("alpha", "The drawing has no transparency, or it does not fit.")
NOBODY: Final = Flaw("nobody", "The person is missing from the drawing.")
FACE_LOST: Final = Flaw("face", "A face of the photo is not where it should be in the drawing.")


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
    measured, portrait = measure(photo, cartoon, options, drawing_share(options.strength))
    if not measured:
        return Verdict(0.0, (NOBODY,)) if _fills_some(photo, cartoon) else Verdict(1.0)
    beyond: list[tuple[float, Flaw]] = []
    for name, value in measured.items():
        norm = NORMS.get(name)
        if norm is not None:
            beyond.append((norm.excess(value, options, portrait), norm.flaw))
    if detector is not None and not _faces_kept(photo, cartoon, detector):
        beyond.append((LOST_FACE if options.style in STYLES else LOST_IN_OTHERS, FACE_LOST))
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
