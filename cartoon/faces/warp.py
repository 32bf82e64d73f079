"""Geometry of one face: the warp that exaggerates it, and the upright crop the network draws it in."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.guide import EYES, OVAL, Plane, Points, face_width
from cartoon.images.types import Pixels

CROP_WIDTHS: Final = 2.4
"""Side of a face crop, in face widths: hair and shoulders' start are inside."""
CROP_SIDES: Final = (256, 384, 512, 768)
"""Sides of the network's input for a crop, px: faces of 107 to 320 px, which is what it was trained on."""

_EYE_REACH = 1.45  # radius of an eye's warp, eye widths
_EYE_GROWTH = 0.46  # the eye's centre is enlarged by this share at amount 1
_JAW_SHIFT = 0.032  # of the face's width, inwards, at amount 1
_JAW_SIGMA = 0.20  # of the face's width
_JAW_SIDES: Final = ((-1.0, [172, 136, 150]), (1.0, [397, 365, 379]))
PULL_STEP: Final = 0.01
"""Face widths from one place to the next where the warp is computed; cubic curves join them."""
_INVERSE_STEPS = 12  # of the fixed point that carries landmarks along with the pixels


def warp(pixels: Pixels, person: Plane, landmarks: Points, amount: float) -> tuple[Pixels, Plane, Points]:
    """Enlarge the eyes and slim the jaw of one face.

    pixels: uint8 (H, W, 3); person: float32 (H, W); landmarks: (478, 2) px; amount: 0 leaves all as it is.
    Returns the three, warped; the arguments are not changed. Outside the face's surroundings nothing moves.
    """
    if amount <= 0:
        return pixels, person, landmarks
    fw = face_width(landmarks)
    height, width = person.shape
    x0, y0 = np.clip(np.floor(landmarks.min(0) - 0.8 * fw), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(landmarks.max(0) + 0.8 * fw), 1, [width, height]).astype(int)
    region = np.s_[y0:y1, x0:x1]
    size = (int(x1 - x0), int(y1 - y0))
    # The pull is smooth: a few pixels carry it.
    few = tuple(max(2, round(side / max(1.0, PULL_STEP * fw))) for side in size)
    middles = (np.arange(n, dtype=np.float32) + 0.5 for n in few)
    along, down = (
        (middle * side / n - 0.5).astype(np.float32) for middle, side, n in zip(middles, size, few, strict=True)
    )
    pull = _pull(landmarks, amount, *np.meshgrid(along + np.float32(x0), down + np.float32(y0)))
    dx, dy = (cv2.resize(part, size, interpolation=cv2.INTER_CUBIC) for part in pull)
    map_x, map_y = dx + np.arange(size[0], dtype=np.float32), dy + np.arange(size[1], dtype=np.float32)[:, None]
    new_pixels, new_person = pixels.copy(), person.copy()
    new_pixels[region] = cv2.remap(pixels[region], map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    new_person[region] = cv2.remap(person[region], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = landmarks.copy()
    for _ in range(_INVERSE_STEPS):
        dx, dy = _pull(landmarks, amount, moved[:, 0], moved[:, 1])
        moved = landmarks - np.stack([dx, dy], 1)
    return new_pixels, new_person, moved.astype(np.float32)


def _pull(landmarks: Points, amount: float, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Where each target pixel takes its colour from, as an offset; zero away from eyes and jaw."""
    fw = face_width(landmarks)
    dx, dy = np.zeros_like(x), np.zeros_like(y)
    shrink = np.float32(1 - 1 / (1 + _EYE_GROWTH * amount))
    for upper, *_ in EYES:
        a, b = landmarks[upper[0]], landmarks[upper[-1]]
        centre, reach = (a + b) / 2, _EYE_REACH * float(np.linalg.norm(a - b))
        near = np.clip(1 - ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / reach**2, 0, 1) ** 2 * shrink
        dx -= (x - centre[0]) * near
        dy -= (y - centre[1]) * near * np.float32(1.3)  # eyes grow taller more than wider
    across = landmarks[454] - landmarks[234]
    across = across / (np.linalg.norm(across) + 1e-6)
    for side, points in _JAW_SIDES:
        q = landmarks[points].mean(0)
        bump = np.exp(-((x - q[0]) ** 2 + (y - q[1]) ** 2) / (2 * (_JAW_SIGMA * fw) ** 2))
        bump = bump * np.float32(side * amount * _JAW_SHIFT * fw)
        # fades to nothing before the region's edge, so that no seam shows
        bump = np.where(np.hypot(x - q[0], y - q[1]) < 3.2 * _JAW_SIGMA * fw, bump, 0)
        dx += bump * across[0]
        dy += bump * across[1]
    return dx.astype(np.float32), dy.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Crop:
    """An upright square around one face.

    pixels: uint8 (S, S, 3). person: float32 (S, S). landmarks: in the crop's px.
    matrix: float64 (2, 3), picture -> crop (x, y).
    """

    pixels: Pixels
    person: Plane
    landmarks: Points
    matrix: NDArray[np.float64]


def align(pixels: Pixels, person: Plane, landmarks: Points) -> Crop:
    """Cut out one face, rolled upright, at the smallest network size that does not shrink it, or the largest."""
    fw = face_width(landmarks)
    side = CROP_WIDTHS * fw
    target = next((s for s in CROP_SIDES if s >= side), CROP_SIDES[-1])
    scale = target / max(side, 1.0)
    across = landmarks[454] - landmarks[234]
    roll = float(np.degrees(np.arctan2(across[1], across[0])))
    centre = landmarks[OVAL].mean(0)
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), roll, scale), np.float64)
    matrix[:, 2] += target / 2 - centre
    source, shrink = pixels, scale < 0.75
    if shrink:  # cubic sampling alone would alias
        source = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale), np.uint8)
    cut = cv2.warpAffine(source, matrix, (target, target), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    mask = cv2.warpAffine(person, matrix, (target, target), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    points = (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return Crop(np.asarray(cut, np.uint8), np.asarray(mask, np.float32), points, matrix)
