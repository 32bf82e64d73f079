"""A pen that covers areas of a picture by exact area: polygons, supersampled, so that no edge is jagged."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.guide import Points, spline

Plane = NDArray[np.float32]

SUPERSAMPLING: Final = 4
BLUR_REACH: Final = 4
"""Sigmas: how far OpenCV's blur of float32 reaches."""


class Pen:
    """Covers areas of a picture by polygons and tapered strokes; masks are (H, W) float32, 0..1, inside `box`."""

    def __init__(self, shape: tuple[int, ...], points: Points, margin: float) -> None:
        low, high = np.floor(points.min(0) - margin), np.ceil(points.max(0) + margin)
        x0, y0 = (int(v) for v in np.clip(low, 0, [shape[1] - 1, shape[0] - 1]))
        x1, y1 = (int(v) for v in np.clip(high, 1, [shape[1], shape[0]]))
        self.box = np.s_[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        self._origin = np.array([x0, y0], np.float32)
        self._size = (max(x1 - x0, 1), max(y1 - y0, 1))
        y, x = np.mgrid[y0 : y0 + self._size[1], x0 : x0 + self._size[0]].astype(np.float32)
        self.x, self.y = x, y

    def area(self, *polygons: Points, soft: float = 0.0) -> Plane:
        """What the polygons cover; soft: sigma of a blur, px."""
        mask = np.zeros(self._size[::-1], np.float32)
        # Only around the polygons, as far as a blur carries: most are a small part of what the pen may reach.
        all_corners = np.vstack(polygons) - self._origin
        margin = BLUR_REACH * soft + 2
        low, high = all_corners.min(0) - margin, all_corners.max(0) + margin
        x0, y0 = (max(int(v), 0) for v in low)
        x1, y1 = (min(int(v) + 1, most) for v, most in zip(high, self._size, strict=True))
        if x1 <= x0 or y1 <= y0:
            return mask
        canvas = np.zeros(((y1 - y0) * SUPERSAMPLING, (x1 - x0) * SUPERSAMPLING), np.uint8)
        origin = self._origin + np.array([x0, y0], np.float32)
        for polygon in polygons:
            # Pixel centres lie at whole coordinates: the supersampled canvas starts half a pixel earlier.
            corners = (polygon - origin + 0.5) * SUPERSAMPLING - 0.5
            cv2.fillPoly(canvas, [np.round(corners * 16).astype(np.int32)], (255,), cv2.LINE_8, 4)
        small = cv2.resize(canvas, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        part = small.astype(np.float32) / np.float32(255)
        mask[y0:y1, x0:x1] = cv2.GaussianBlur(part, (0, 0), soft) if soft > 0.2 else part
        return mask

    def disc(self, centre: Points, radius: float, tall: float = 1.0, soft: float = 0.0) -> Plane:
        """A filled ellipse."""
        turn = np.linspace(0, 2 * np.pi, 49)[:-1]
        ring = np.stack([np.cos(turn), tall * np.sin(turn)], 1) * radius
        return self.area((centre + ring).astype(np.float32), soft=soft)

    def stroke(self, path: Points, width: float, profile: Sequence[float], soft: float = 0.0) -> Plane:
        """A tapered stroke along a smooth curve; profile: width factors at even steps along it."""
        curve = spline(path, 12)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        if along[-1] < 1e-3:
            return np.zeros(self._size[::-1], np.float32)
        step = np.gradient(curve, axis=0)
        step /= np.linalg.norm(step, axis=1, keepdims=True) + 1e-6
        normal = np.stack([-step[:, 1], step[:, 0]], 1)
        half = np.interp(along / along[-1], np.linspace(0, 1, len(profile)), profile)[:, None] * width / 2
        # Thinner than a pixel it is not narrowed further but made fainter, by the area it covers.
        outline = np.vstack([curve + normal * half, (curve - normal * half)[::-1]]).astype(np.float32)
        return self.area(outline, soft=soft)
