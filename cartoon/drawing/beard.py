"""Where a face has a beard or moustache: what no style may shave off. Measured in the photo, not learned."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.guide import CHIN, OVAL, Plane, Points, face_width, smoothstep
from cartoon.images.types import Pixels

WORK_FACE: Final = 180.0
"""Larger faces are looked at at this width, px."""
COARSE: Final = (1.35, 2.0)
"""Texture from none to all of a beard, in multiples of the cheeks' and forehead's."""
PALER: Final = (0.97, 0.80)
"""Saturation from none to all of a beard, in multiples of this face's skin, where the texture agrees."""
PALE: Final = (0.74, 0.55)
"""The same without a look at the texture: a white beard out of focus."""
BARE: Final = (50, 280, 9, 151, 205, 425)
"""Landmarks on cheeks and forehead, where nobody has a beard."""
UNDER_NOSE: Final = 2


@dataclass(frozen=True, eq=False)
class Beard:
    """cover: float32 (h, w), 0..1, over the box (x0, y0, x1, y1) of the picture, px."""

    cover: Plane
    box: tuple[int, int, int, int]


def find_beard(pixels: Pixels, landmarks: Points) -> Beard:
    """Look for hair around the mouth. pixels: uint8 (H, W, 3) sRGB; landmarks: (478, 2) px.

    Hair there is coarser than skin and less saturated, white or black; a shadow keeps the saturation, a highlight
    loses some of it but is smooth.
    """
    fw = face_width(landmarks)
    height, width = pixels.shape[:2]
    low, high = landmarks[OVAL].min(0) - 0.06 * fw, landmarks[OVAL].max(0) + 0.12 * fw
    x0, y0 = (int(v) for v in np.clip(low, 0, [width - 1, height - 1]))
    x1, y1 = (int(np.ceil(v)) for v in np.clip(high, 1, [width, height]))
    box = (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
    scale = min(1.0, WORK_FACE / max(fw, 1.0))
    size = (max(1, round((box[2] - x0) * scale)), max(1, round((box[3] - y0) * scale)))
    part = cv2.resize(pixels[y0 : box[3], x0 : box[2]], size, interpolation=cv2.INTER_AREA)
    points = (landmarks - np.array([x0, y0], np.float32)) * np.float32(scale)
    fw *= scale
    red, green, blue = np.moveaxis(part.astype(np.float32) / 255, 2, 0)
    y = np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, np.float32)
    saturation = _blur(
        np.hypot(_blur(red - y, 0.01 * fw), _blur(blue - y, 0.01 * fw)) / (_blur(y, 0.01 * fw) + 0.06), 0.006 * fw
    )
    texture = _blur(np.abs(y - _blur(y, 0.012 * fw)), 0.012 * fw)
    rows, columns = (
        np.clip(points[list(BARE), axis].astype(int), 0, n - 1) for axis, n in ((1, size[1]), (0, size[0]))
    )
    paleness = saturation / max(float(np.median(saturation[rows, columns])), 0.03)
    coarseness = texture / (float(np.median(texture[rows, columns])) + 0.003)
    agreed = smoothstep(coarseness, *COARSE) * (1 - smoothstep(paleness, PALER[1], PALER[0]))
    hair = np.maximum(agreed, 1 - smoothstep(paleness, PALE[1], PALE[0]))
    cover = _blur(hair, 0.008 * fw) * _place(size, points)
    relative = np.stack([paleness, coarseness, y / max(float(np.median(y[rows, columns])), 0.05)])
    return Beard(np.asarray(cover * _surely(relative, points), np.float32), box)


def _surely(relative: NDArray[np.float32], p: Points) -> float:
    """Whether there is a beard at all, 0..1: a few patches may be wrinkles, a jaw's edge or a shade.

    relative: (3, H, W), paleness, coarseness and luma by those of the bare skin. Chin and upper lip must be clearly
    coarser than it, or darker and paler at once. The limits lie between 10 bearded and 18 other portraits.
    """
    chin = _median(relative, [0.45 * p[17] + 0.55 * p[CHIN]], 0.11, 0.45 * float(np.linalg.norm(p[17] - p[CHIN])), p)
    sides = [0.5 * (p[97] + p[39]), 0.5 * (p[326] + p[269])]
    lip = _median(relative, sides, 0.06, 0.3 * float(np.linalg.norm(p[UNDER_NOSE] - p[0])), p)

    def rise(value: float, low: float, high: float) -> float:
        return float(smoothstep(np.full(1, value, np.float32), low, high)[0])

    dark = max((1 - rise(light, 0.66, 0.78)) * (1 - rise(pale, 0.76, 0.86)) for pale, _, light in (chin, lip))
    coarse = max(rise(chin[1], 1.9, 2.6), rise(lip[1], 2.25, 2.8) * (1 - rise(lip[2], 0.92, 1.0)))
    return max(dark, coarse)


def _median(
    relative: NDArray[np.float32], centres: list[Points], wide: float, tall: float, p: Points
) -> tuple[float, float, float]:
    """The medians of the three over ellipses; wide in face widths, tall in px."""
    y, x = np.ogrid[: relative.shape[1], : relative.shape[2]]
    reach = max(wide * face_width(p), 1.0), max(float(tall), 1.0)
    inside = np.zeros(relative.shape[1:], bool)
    for cx, cy in centres:
        inside |= ((x - cx) / reach[0]) ** 2 + ((y - cy) / reach[1]) ** 2 < 1
    if not inside.any():
        return 1.0, 1.0, 1.0
    pale, coarse, light = (float(np.median(plane[inside])) for plane in relative)
    return pale, coarse, light


def _place(size: tuple[int, int], p: Points) -> Plane:
    """Below the nose, up along the cheeks to the ears, down to just under the chin; not on the lips."""
    fw = face_width(p)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    right = (p[454] - p[234]) / max(fw, 1e-3)
    across = np.abs((x - p[UNDER_NOSE, 0]) * right[0] + (y - p[UNDER_NOSE, 1]) * right[1]) / max(fw, 1e-3)
    tall = max(float(np.linalg.norm(p[CHIN] - p[UNDER_NOSE])), 1e-3)
    down = ((y - p[UNDER_NOSE, 1]) * right[0] - (x - p[UNDER_NOSE, 0]) * right[1]) / tall
    climb = down + 0.9 * smoothstep(across, 0.27, 0.46)
    place = smoothstep(climb, 0.0, 0.14) * (1 - smoothstep(down, 1.05, 1.30)) * (1 - smoothstep(across, 0.52, 0.60))
    mouth = p[[61, 291, 0, 17]].mean(0)
    wide = max(0.55 * float(np.linalg.norm(p[61] - p[291])), 1.0)
    high = max(0.60 * float(np.linalg.norm(p[0] - p[17])), 1.0)
    lips = np.hypot((x - mouth[0]) / wide, (y - mouth[1]) / high)
    return np.asarray(place * smoothstep(lips.astype(np.float32), 0.85, 1.05), np.float32)


def _blur(x: NDArray[np.float32], sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3)), np.float32)
