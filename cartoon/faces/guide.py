"""The guide map: where the person is and where each face and its features lie, drawn for the network to follow.

The channels are fixed by the shipped weights; changing one means training again. They tell the network what a small one
cannot see: which way is up, how large a face is, which dark spot is an eye. Landmark numbers are MediaPipe's face mesh
with irises, 478 points.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""float32 (N, 2), x and y in px."""
Plane = NDArray[np.float32]
"""float32 (H, W), 0..1 unless said otherwise."""

CHANNELS: Final = ("person", "near", "down", "eyes", "brows", "lips")
"""person: the mask. near: 1 in the middle of a face, one half on its oval, 0 at REACH face widths outside it. down: 0
above to 1 below the nearest face's middle, over +-REACH face heights; one half without a face. The rest are areas."""
REACH: Final = 1.5
_COARSE: Final = 4
"""The smooth channels are computed on every fourth pixel."""

# fmt: off
OVAL: Final = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148,
               176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
JAW: Final = [234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454]
LIPS_UPPER_OUTER: Final = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
LIPS_LOWER_OUTER: Final = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]
LIPS_UPPER_INNER: Final = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LIPS_LOWER_INNER: Final = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
# One row per eye: upper lid, lower lid, crease, iris rim, iris centre, upper and lower edge of the brow.
EYES: Final = (
    ([33, 246, 161, 160, 159, 158, 157, 173, 133], [33, 7, 163, 144, 145, 153, 154, 155, 133],
     [30, 29, 27, 28, 56], [469, 470, 471, 472], 468, [70, 63, 105, 66, 107], [46, 53, 52, 65, 55]),
    ([263, 466, 388, 387, 386, 385, 384, 398, 362], [263, 249, 390, 373, 374, 380, 381, 382, 362],
     [260, 259, 257, 258, 286], [474, 475, 476, 477], 473, [300, 293, 334, 296, 336], [276, 283, 282, 295, 285]),
)
# fmt: on
TEMPLES: Final = (234, 454)
"""The two ends of the face's width."""
FOREHEAD, CHIN, NOSE_TIP = 10, 152, 1

_SUBPIXEL_BITS: Final = 4  # cv2.fillPoly takes fixed-point corners


def face_width(landmarks: Points) -> float:
    """Distance between the temples, px."""
    a, b = landmarks[list(TEMPLES)]
    return float(np.linalg.norm(a - b))


def draw_guide(person: Plane, faces: Sequence[Points]) -> NDArray[np.uint8]:
    """Draw the guide map of one picture.

    person: float32 (H, W) 0..1. faces: landmarks (478, 2), x and y px in this picture.
    Returns uint8 (len(CHANNELS), H, W), 0..255; with no face "down" is 128 and all but "person" are else zero.
    """
    height, width = person.shape
    guide = np.zeros((len(CHANNELS), height, width), np.uint8)
    guide[0] = np.clip(person * 255 + 0.5, 0, 255)
    guide[1], guide[2] = _position((height, width), faces)
    for p in faces:
        for eye in EYES:
            _fill(guide[3], np.vstack([spline(p[eye[0]]), spline(p[eye[1]])[::-1]]))
            _fill(guide[4], np.vstack([p[eye[5]], p[eye[6]][::-1]]))
        _fill(guide[5], np.vstack([spline(p[LIPS_UPPER_OUTER]), spline(p[LIPS_LOWER_OUTER])[::-1]]))
    return guide


def _position(shape: tuple[int, int], faces: Sequence[Points]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The channels "near" and "down", uint8 (H, W)."""
    rows, columns = -(-shape[0] // _COARSE), -(-shape[1] // _COARSE)
    # The middle of each coarse pixel, in the picture's px.
    x = ((np.arange(columns, dtype=np.float32) + 0.5) * _COARSE - 0.5)[None, :]
    y = ((np.arange(rows, dtype=np.float32) + 0.5) * _COARSE - 0.5)[:, None]
    near: NDArray[np.float32] = np.zeros((rows, columns), np.float32)
    down: NDArray[np.float32] = np.full((rows, columns), 0.5, np.float32)
    for p in faces:
        centre, across = p[OVAL].mean(0), p[TEMPLES[1]] - p[TEMPLES[0]]
        half_wide = float(np.linalg.norm(across)) / 2
        half_tall = float(np.linalg.norm(p[CHIN] - p[FOREHEAD])) / 2
        right = across / max(2 * half_wide, 1e-3)
        u = ((x - centre[0]) * right[0] + (y - centre[1]) * right[1]) / half_wide
        v = ((y - centre[1]) * right[0] - (x - centre[0]) * right[1]) / half_tall
        radius = np.hypot(u, v)
        this = np.where(radius < 1, 1 - 0.5 * radius, np.clip(0.5 - 0.25 * (radius - 1) / REACH, 0, 0.5))
        closer = this > near
        near = np.maximum(near, this)
        down = np.where(closer, np.clip(0.5 + v / (4 * REACH), 0, 1), down)
    size = (columns * _COARSE, rows * _COARSE)
    grown = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in (near, down))
    first, second = (np.asarray(g[: shape[0], : shape[1]] * 255 + 0.5, np.uint8) for g in grown)
    return first, second


def _fill(plane: NDArray[np.uint8], polygon: Points) -> None:
    """Fill an anti-aliased polygon into a plane, as a union with what is there."""
    height, width = plane.shape
    x0, y0 = (int(v) for v in np.clip(np.floor(polygon.min(0) - 1), 0, [width, height]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(polygon.max(0) + 2), 0, [width, height]))
    if x1 <= x0 or y1 <= y0:
        return
    layer = np.zeros((y1 - y0, x1 - x0), np.uint8)
    corners = np.round((polygon - np.array([x0, y0], np.float32)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(layer, [corners], (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
    region = plane[y0:y1, x0:x1]
    np.maximum(region, layer, out=region)


def spline(points: Points, steps: int = 8) -> Points:
    """Resample an open polyline as a Catmull-Rom curve (Catmull, Rom 1974), `steps` samples a segment."""
    p = np.asarray(points, np.float32)
    ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None, None]
    p0, p1, p2, p3 = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.vstack([curve.transpose(1, 0, 2).reshape(-1, 2), p[-1:]]).astype(np.float32)


def smoothstep(x: Plane, low: float, high: float) -> Plane:
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
