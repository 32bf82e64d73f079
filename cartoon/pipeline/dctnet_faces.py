"""Faces as DCT-Net takes them: rolled upright onto five points, drawn by a network of their own, blended back.

Sources: Men et al., "DCT-Net: Domain-Calibrated Translation for Portrait Stylization" (SIGGRAPH 2022); the five points
of a 112 px face, Deng et al., "ArcFace" (2019), drawn in by RATIO as DCT-Net's pipeline does.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.compose import Stack
from cartoon.errors import StyleError
from cartoon.faces.guide import Plane, Points, smoothstep
from cartoon.images.decode import read
from cartoon.images.types import Pixels
from cartoon.models.layers import ALPHA, BACKGROUND, FOREGROUND

SIDE: Final = 288
"""Px of a face's crop, the only size its network was made for."""
RATIO: Final = 0.75
FIVE: Final = (468, 473, 1, 61, 291)
"""Among the landmarks: pupils, tip of the nose, corners of the mouth."""
REFERENCE: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
REFERENCE_SIDE: Final = 112


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face cut out: pixels uint8 (SIDE, SIDE, 3); matrix float64 (2, 3), picture -> crop (x, y)."""

    pixels: Pixels
    matrix: NDArray[np.float64]


def align(pixels: Pixels, landmarks: Points) -> FaceCrop:
    """Cut out one face. pixels: uint8 (H, W, 3). landmarks: (478, 2) px. Beyond the picture it is black."""
    middle = REFERENCE_SIDE / 2
    wanted = ((REFERENCE - middle) * RATIO + middle) * (SIDE / REFERENCE_SIDE)
    matrix = similarity(landmarks[list(FIVE)], wanted)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    source = pixels
    if scale < 0.75:  # sampling alone would alias
        source = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale), np.uint8)
    return FaceCrop(np.asarray(cv2.warpAffine(source, matrix, (SIDE, SIDE)), np.uint8), matrix)


def similarity(points: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """The rotation, scale and shift (2, 3) that carry points (N, 2) nearest to the wanted ones (Umeyama 1991).

    As complex numbers it is one division; a matrix solver's threads would spin on.
    """
    here, there = (np.asarray(p, np.float64) for p in (points, wanted))
    a, b = here[:, 0] + 1j * here[:, 1], there[:, 0] + 1j * there[:, 1]
    a_middle, b_middle = a.mean(), b.mean()
    spread = float((np.abs(a - a_middle) ** 2).sum())
    turn = complex((np.conj(a - a_middle) * (b - b_middle)).sum()) / max(spread, 1e-9)
    shift = complex(b_middle) - turn * complex(a_middle)
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


@lru_cache(maxsize=8)
def mask_of(path: Path | None) -> Plane:
    """A crop's mask, float32 (SIDE, SIDE), 0..1, from a picture file, or one that fades evenly; raises StyleError."""
    if path is None:
        y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / (SIDE - 1) * 2 - 1
        return np.asarray(1 - smoothstep((x**4 + y**4) ** 0.25, 0.70, 0.97), np.float32)
    try:
        gray = cv2.cvtColor(read(path).pixels, cv2.COLOR_RGB2GRAY)
    except Exception as problem:
        raise StyleError(f"{path.name} is no picture: fetch the style again.") from problem
    mask = np.asarray(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(mask / 255, np.float32)


def paste(stack: Stack, drawn: Stack, matrix: NDArray[np.float64], mask: Plane) -> None:
    """Blend a drawn face (11, SIDE, SIDE) into the layers of the whole picture (11, H, W), in place.

    matrix: as in FaceCrop. mask: (SIDE, SIDE), 0..1, how much of the face shows.
    """
    height, width = stack.shape[1:]
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float64)
    x, y = (corners[:, 0] * row[0] + corners[:, 1] * row[1] + row[2] for row in back)
    x0, x1 = (int(np.clip(v, 0, width)) for v in (np.floor(x.min()), np.ceil(x.max()) + 1))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (np.floor(y.min()), np.ceil(y.max()) + 1))
    if x0 >= x1 or y0 >= y1:
        return
    there = matrix.copy()
    there[:, 2] += there[:, 0] * x0 + there[:, 1] * y0  # the region's own coordinates
    size, flags = (x1 - x0, y1 - y0), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cover = np.asarray(cv2.warpAffine(mask, there, size, flags=flags), np.float32)
    for plane in (*range(*FOREGROUND.indices(ALPHA)), *range(*BACKGROUND.indices(ALPHA))):
        whole = stack[plane, y0:y1, x0:x1]
        part = cv2.warpAffine(drawn[plane], there, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        whole += cover * (part - whole)
