"""What the styles need to know of each face: where its skin's tones lie and how large it is; measured, not learned."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.beard import Beard, find_beard
from cartoon.faces.guide import EYES, LIPS_LOWER_OUTER, LIPS_UPPER_OUTER, OVAL, Points, face_width
from cartoon.images.types import Pixels
from cartoon.models.layers import LINE, SKIN

MEASURED: Final = 96.0
"""Faces are measured at this width, px: enough for percentiles, and the same cost at every size."""
LEAST: Final = 40
"""Skin pixels below which nothing is measured."""
EQUALISED: Final = 0.5
"""Share of the slow changes of light over the skin that is taken out before tones are stepped."""
EQUALISE_SIGMA: Final = 0.32
SMOOTH_SIGMA: Final = 0.022
"""Face widths: the blurs that leave the light's slow changes, and a face's forms without its pores."""
BRIDGE: Final = (168, 6, 197)


@dataclass(frozen=True, eq=False)
class FaceTones:
    """One face, measured in the canvas it is drawn in.

    landmarks: (478, 2) px. width: px. base: luma 0..1 that equalising leaves as it is. cuts: luma of the deep
    shadow's, the shadow's and the light's borders. middle: luma of the skin's main tone. chroma: R - Y and B - Y of
    the skin. glasses: 0..1, how surely something crosses the bridge of the nose. beard: where it has one.
    """

    landmarks: Points
    width: float
    base: float
    cuts: tuple[float, float, float]
    middle: float
    chroma: tuple[float, float]
    glasses: float
    beard: Beard


def measure(stack: NDArray[np.float32], pixels: Pixels, landmarks: Points) -> FaceTones | None:
    """Measure a face in its layers, float32 (11, H, W), and in the photo, uint8 (H, W, 3); None without skin to see."""
    fw = face_width(landmarks)
    low, high = landmarks[OVAL].min(0), landmarks[OVAL].max(0)
    grow = 0.12 * fw
    height, width = stack.shape[1:]
    x0, y0 = (int(v) for v in np.clip(low - grow, 0, [width - 1, height - 1]))
    x1, y1 = (int(np.ceil(v)) for v in np.clip(high + grow, 1, [width, height]))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    scale = min(1.0, MEASURED / fw)
    size = (max(4, round((x1 - x0) * scale)), max(4, round((y1 - y0) * scale)))
    red, green, blue, line, seen = (
        np.asarray(cv2.resize(stack[plane, y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.float32)
        for plane in (0, 1, 2, LINE, SKIN)
    )
    ratio = np.array([size[0] / (x1 - x0), size[1] / (y1 - y0)], np.float32)
    points = (landmarks - np.array([x0, y0], np.float32)) * ratio
    skin = seen * (1 - _features(size, points))
    inside = (skin > 0.6) & (_fill(size, points[OVAL]) > 0)
    if int(inside.sum()) < LEAST:
        return None
    light = np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, np.float32)
    small_fw = fw * ratio[0]
    level = _inside_blur(light, skin, SMOOTH_SIGMA * small_fw)
    base = float(np.percentile(level[inside], 58))
    level = level - np.float32(EQUALISED) * (_inside_blur(light, skin, EQUALISE_SIGMA * small_fw) - base)
    p6, p22, p58, p88 = (float(v) for v in np.percentile(level[inside], [6, 22, 58, 88]))
    cuts = (min(p6, p58 - 0.12), min(p22, p58 - 0.05), max(p88, p58 + 0.035))
    middle = 0.6 * p58 + 0.4 * float(light[inside].mean())
    chroma = (float(np.median((red - light)[inside])), float(np.median((blue - light)[inside])))
    beard = find_beard(pixels, landmarks)
    return FaceTones(landmarks, fw, base, cuts, middle, chroma, _glasses(line, points), beard)


def _glasses(line: NDArray[np.float32], points: Points) -> float:
    """A line right across the bridge of the nose: its weakest pixel in the row where that is strongest."""
    centre = points[list(BRIDGE)]
    half = 0.05 * face_width(points)
    x0, x1 = (round(float(v)) for v in (centre[0, 0] - half, centre[0, 0] + half))
    y0, y1 = (round(float(v)) for v in (centre[0, 1] - 0.5 * half, centre[2, 1] + half))
    x0, y0 = max(0, x0), max(0, y0)
    strip = line[y0 : y1 + 1, x0 : x1 + 1]
    if strip.shape[0] < 3 or strip.shape[1] < 2:
        return 0.0
    widened = np.asarray(cv2.dilate(strip, np.ones((3, 1), np.uint8)), np.float32)
    crossing = float(np.median(widened, axis=1).max())
    return float(np.clip((crossing - 0.12) / 0.25, 0, 1))


def _features(size: tuple[int, int], points: Points) -> NDArray[np.float32]:
    """Eyes, brows and lips with a margin: they are drawn afterwards and must not colour the skin."""
    mask = np.zeros(size[::-1], np.float32)
    for eye in EYES:
        mask = np.maximum(mask, _fill(size, points[eye[0] + eye[1][::-1]], 1.3))
        mask = np.maximum(mask, _fill(size, np.vstack([points[eye[5]], points[eye[6]][::-1]]), 1.15))
    return np.maximum(mask, _fill(size, points[LIPS_UPPER_OUTER + LIPS_LOWER_OUTER[::-1]], 1.1))


def _fill(size: tuple[int, int], polygon: Points, grow: float = 1.0) -> NDArray[np.float32]:
    centre = polygon.mean(0)
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.round(centre + (polygon - centre) * grow).astype(np.int32)], (1,))
    return mask.astype(np.float32)


def _inside_blur(x: NDArray[np.float32], mask: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    weight = mask + np.float32(1e-3)
    return np.asarray(cv2.GaussianBlur(x * weight, (0, 0), sigma) / cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
