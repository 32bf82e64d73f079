"""The values that pictures are handed on as."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""uint8 (H, W, 3), sRGB, 0..255."""
Alpha = NDArray[np.uint8]
"""uint8 (H, W), 255 is opaque."""


@dataclass(frozen=True, eq=False)
class Photo:
    """One decoded picture.

    pixels: uint8 (H, W, 3) sRGB, upright. alpha: uint8 (H, W), None when opaque.
    format: "png", "jpg" or "webp": what `format="keep"` writes. notes: what was done on the way in.
    """

    pixels: Pixels
    alpha: Alpha | None = None
    name: str = "photo"
    format: str = "png"
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Face:
    """One face, in the upright photo's own pixels.

    box: float32 (4,) x0, y0, x1, y1 px. landmarks: float32 (478, 2) x, y px (MediaPipe's face mesh with irises).
    score: 0..1, the detector's confidence.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True, eq=False)
class Cartoon:
    """One drawn picture.

    pixels: uint8 (h, w, 3) sRGB with max(h, w) the asked size. alpha: uint8 (h, w), None when opaque.
    faces: in the photo's pixels. effective_size: long side, px, of what was truly drawn; less than the
    picture's own where the photo had fewer pixels and was enlarged. seconds: per step, in the steps' order.
    notes: sentences a person may want to read ("no face found: ...").
    """

    pixels: Pixels
    style: str
    faces: tuple[Face, ...]
    effective_size: int
    seconds: dict[str, float]
    alpha: Alpha | None = None
    notes: tuple[str, ...] = ()
