"""The part of a picture around one face, on which its features are drawn in CIELAB with the photo's own colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.features.pen import Pen, Plane
from cartoon.drawing.tones import FaceTones
from cartoon.faces.guide import Points
from cartoon.images.types import Pixels

Lab = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureStyle:
    """How a style draws features. ink: Lab of lids and lip line, None for the skin's own dark; iris: gain of its
    chroma; jaw: width of the jaw's line in face widths and its cover; white: cover of the eye's white; lips, brows,
    nose: covers; colour: share of colour kept (0 for graphite); weight: widths of all lines."""

    ink: tuple[float, float, float] | None
    iris: float
    jaw: tuple[float, float]
    white: float
    lips: float
    brows: float
    nose: float
    colour: float = 1.0
    weight: float = 1.0


class FaceCanvas:
    """One face on its way: `canvas`, Lab (H, W, 3), is drawn on, `photo`, uint8 (H, W, 3) sRGB, gives the colours."""

    def __init__(self, canvas: Lab, photo: Pixels, points: Points, tones: FaceTones, style: FeatureStyle) -> None:
        self.canvas, self.photo, self.points, self.tones, self.style = canvas, photo, points, tones, style
        self.skin = self.median([50, 280, 205, 425, 151, 9], 0.05)
        self.painted_skin = self.median([50, 280, 205, 425, 151, 9], 0.05, painted=True)

    def lay(self, pen: Pen, mask: Plane, colour: Sequence[float] | Lab, cover: float = 1.0) -> None:
        """Draw with a colour, Lab, where the pen covers."""
        x, y, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
        inside = np.s_[y : y + height, x : x + width]
        part = self.canvas[pen.box][inside]
        tint = np.array(colour, np.float32)
        if self.style.colour < 1:
            tint = tint * np.array([1, self.style.colour, self.style.colour], np.float32)
        part += np.float32(cover) * mask[inside][..., None] * (tint - part)

    def seen(self, box: tuple[slice, slice]) -> Lab:
        """Part of the photo, Lab."""
        return lab_of(self.photo[box].astype(np.float32) / np.float32(255))

    def median(self, landmarks: Sequence[int], reach: float, painted: bool = False) -> NDArray[np.float32]:
        """Median Lab around some landmarks; reach in face widths."""
        radius = max(1, round(reach * self.tones.width))
        height, width = self.canvas.shape[:2]
        rows = []
        for index in landmarks:
            x, y = (int(v) for v in np.clip(self.points[index], 0, [width - 1, height - 1]))
            box = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            rows.append((self.canvas[box] if painted else self.seen(box)).reshape(-1, 3))
        return np.asarray(np.median(np.vstack(rows), 0), np.float32)

    def dark(self, share: float = 0.42) -> tuple[float, float, float]:
        """The skin's own dark, for lines on it."""
        skin = self.painted_skin
        return max(9.0, share * float(skin[0])), 0.8 * float(skin[1]) + 6, 0.85 * float(skin[2])

    def ink(self, share: float = 0.42) -> tuple[float, float, float]:
        """A feature's line: the style's ink where it has its own, else the skin's dark."""
        dark = self.dark(share)
        if self.style.ink is None or self.style.ink[0] > 10:
            return dark
        return self.style.ink[0] + 3, self.style.ink[1] + 3, self.style.ink[2] + 3


def lab_of(rgb: NDArray[np.float32]) -> Lab:
    """RGB 0..1, float32 (H, W, 3), in CIELAB."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab), np.float32)
