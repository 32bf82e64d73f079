"""Stacks and pictures: paste faces back, enlarge layers, keep the colours true. Pure functions.

A stack is float32 (11, H, W), 0..1, in the order of cartoon.models.layers.PLANES. Pictures here are float32 (H, W, 3)
sRGB 0..1 unless said otherwise.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.guide import OVAL, Plane, Points, face_width, smoothstep
from cartoon.images.types import Pixels
from cartoon.models.layers import ALPHA, INK, LINE

Stack = NDArray[np.float32]
Picture = NDArray[np.float32]

CHEEKS: Final = (50, 280)
SKIN_SHIFT: Final = 6.0
"""CIELAB a*b* distance that the cheeks may move; below the promise of 10, for what resizing and JPEG add."""
CAST_SHIFT: Final = 4.0
"""CIELAB a*b* distance that the whole picture's mean may move."""

SHIFTED_AT: Final = 128.0
ROWS: Final = 256


def paste(stack: Stack, drawn: Stack, matrix: NDArray[np.float64], landmarks: Points) -> None:
    """Blend a drawn face crop into the whole picture's layers, in place, within the face's own region.

    stack: (11, H, W). drawn: (11, S, S), the crop's layers. matrix: (2, 3), picture -> crop (x, y). landmarks: the
    face's, px in the whole picture.
    """
    height, width = stack.shape[1:]
    low, high = landmarks[OVAL].min(0), landmarks[OVAL].max(0)
    centre, reach = (low + high) / 2, (high - low) / 2
    x0, y0 = np.clip(np.floor(centre - 1.5 * reach - 2), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(centre + 1.5 * reach + 2), 1, [width, height]).astype(int)
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    distance = np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    mask = 1 - smoothstep(distance, 1.05, 1.4)
    shift = matrix.copy()
    shift[:, 2] += shift[:, :2] @ np.array([x0, y0], np.float64)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if scale > 1.3 else cv2.INTER_CUBIC)

    def back(plane: Plane) -> Plane:
        if scale > 1.3:  # the crop is shrunk on its way back: smooth first, or thin lines alias
            plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.4 * scale), np.float32)
        size = (int(x1 - x0), int(y1 - y0))
        moved = cv2.warpAffine(plane, shift, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(np.clip(moved, 0, 1, out=moved), np.float32)

    region = stack[:, y0:y1, x0:x1]
    # What is behind the person stays as the whole picture has it: at another scale it would be another drawing.
    mask = mask * smoothstep(np.maximum(region[ALPHA], back(drawn[ALPHA])), 0.02, 0.4)
    for plane, whole in zip(drawn, region, strict=True):  # one at a time: all of a large face's are 500 MB
        whole += mask * (back(plane) - whole)


def enlarge(stack: Stack, shape: tuple[int, int]) -> Stack:
    """Enlarge the layers to (height, width): colours cubic; masks and lines keep the steepness of their edges."""
    result = np.empty((len(stack), *shape), np.float32)
    factor = float(shape[0] / stack.shape[1])
    for index, (plane, grown) in enumerate(zip(stack, result, strict=True)):
        cv2.resize(plane, (shape[1], shape[0]), dst=grown, interpolation=cv2.INTER_CUBIC)
        if index >= ALPHA:
            # Smooth the staircase of the small pixels, then make the edge steeper by the factor around its middle.
            smooth = np.asarray(cv2.GaussianBlur(grown, (0, 0), 0.5 * factor), np.float32)
            steep = cv2.addWeighted(smooth, factor, smooth, 0.0, 0.5 - 0.5 * factor, dst=grown)
            if index in (LINE, INK):  # a pale line never reaches that middle: it stays as it is
                np.maximum(steep, smooth, out=grown)
        np.clip(grown, 0, 1, out=grown)
    return result


def correct_skin(person: Picture, photo: Pixels, faces: Sequence[Points]) -> None:
    """Keep skin hues: where a face's cheeks moved by more than SKIN_SHIFT in a*b*, its skin is moved back to that.

    person: the painted person, changed in place. photo: uint8 (H, W, 3), what it was painted from. Lightness stays as
    drawn.
    """
    for face in faces:
        shift, skin = _cheek_excess(person, photo, face)
        if np.any(shift):
            _shift_skin(person, face, shift, skin)


def correct_cast(picture: Picture, photo: Pixels) -> None:
    """Keep the overall balance, in place: the picture's mean a*b* moves by CAST_SHIFT at most. Lightness stays."""
    small_size = _bounded(picture.shape[:2], 256)
    before = _lab(cv2.resize(photo, small_size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255)
    # Plane by plane, which copies nothing when the picture's planes lie apart in memory.
    planes = [cv2.resize(picture[..., c], small_size, interpolation=cv2.INTER_AREA) for c in range(3)]
    after = _lab(np.clip(np.dstack(planes), 0, 1))
    cast = _excess((after - before)[..., 1:].reshape(-1, 2).mean(0), CAST_SHIFT)
    if not np.any(cast):
        return
    for top in range(0, len(picture), ROWS):  # few rows at a time: the copies stay small
        lab = _lab(np.clip(picture[top : top + ROWS], 0, 1))
        lab[..., 1:] -= cast
        picture[top : top + ROWS] = _rgb(lab)


def to_uint8(picture: Picture | Plane) -> NDArray[np.uint8]:
    """float32 0..1 -> uint8 0..255, rounded, same shape."""
    if picture.ndim == 3 and not picture.flags.c_contiguous:  # a view of planes: bytes are cheaper to interleave
        return np.asarray(cv2.merge([to_uint8(picture[..., c]) for c in range(picture.shape[2])]), np.uint8)
    rows = np.ascontiguousarray(picture, np.float32).reshape(len(picture), -1)
    # OpenCV scales, rounds and saturates in one go.
    whole = cv2.addWeighted(rows, 255.0, rows, 0.0, 0.0, dtype=cv2.CV_8U)
    return np.asarray(whole, np.uint8).reshape(picture.shape)


def _cheek_excess(picture: Picture, photo: Pixels, face: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far beyond SKIN_SHIFT the cheeks' a*b* moved on average, and the drawn cheeks' mean Lab."""
    radius = max(1, int(0.06 * face_width(face)))
    was, now = [], []
    height, width = picture.shape[:2]
    for index in CHEEKS:
        x, y = (int(v) for v in face[index])
        part = np.s_[max(0, y - radius) : min(height, y + radius + 1), max(0, x - radius) : min(width, x + radius + 1)]
        if picture[part].size:
            was.append(_lab(photo[part].astype(np.float32) / 255).reshape(-1, 3).mean(0))
            now.append(_lab(np.clip(picture[part], 0, 1)).reshape(-1, 3).mean(0))
    if not was:
        return np.zeros(2, np.float32), np.zeros(3, np.float32)
    # Each cheek by itself: in light from one side the two may leave the photo's hue in different ways.
    shifts = [_excess((after - before)[1:], SKIN_SHIFT) for before, after in zip(was, now, strict=True)]
    return np.asarray(np.mean(shifts, 0), np.float32), np.mean(now, 0).astype(np.float32)


def _shift_skin(picture: Picture, face: Points, shift: NDArray[np.float32], skin: NDArray[np.float32]) -> None:
    """Take `shift` (a*, b*) off what has the skin's hue around one face, in place."""
    height, width = picture.shape[:2]
    fw, centre = face_width(face), face[OVAL].mean(0)
    reach = np.array([1.1 * fw, 1.6 * fw])
    x0, y0 = np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(centre + reach), 1, [width, height]).astype(int)
    part = picture[y0:y1, x0:x1]
    # The change is smooth: it is found where the face is SHIFTED_AT px wide and enlarged.
    factor = max(1.0, fw / SHIFTED_AT)
    size = (max(1, round((x1 - x0) / factor)), max(1, round((y1 - y0) / factor)))
    small = [cv2.resize(part[..., c], size, interpolation=cv2.INTER_AREA) for c in range(3)]
    lab = _lab(np.clip(np.dstack(small), 0, 1))
    drawn = _rgb(lab)
    alike = np.exp(-((lab[..., 1:] - skin[1:]) ** 2).sum(2) / (2 * 12.0**2))
    x, y = np.meshgrid(
        np.linspace(x0, x1 - 1, size[0], dtype=np.float32), np.linspace(y0, y1 - 1, size[1], dtype=np.float32)
    )
    near = 1 - smoothstep(np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1]), 0.6, 0.98)
    lab[..., 1:] -= shift * (alike * near)[..., None].astype(np.float32)
    change = _rgb(lab) - drawn
    for c in range(3):  # plane by plane, which copies nothing when they lie apart in memory
        plane = part[..., c]
        enlarged = cv2.resize(np.ascontiguousarray(change[..., c]), (int(x1 - x0), int(y1 - y0)))
        plane += np.asarray(enlarged, np.float32)
        np.clip(plane, 0, 1, out=plane)


def _excess(shift: NDArray[Any], allowed: float) -> NDArray[np.float32]:
    length = float(np.linalg.norm(shift))
    return np.asarray(shift * max(0.0, 1 - allowed / max(length, 1e-6)), np.float32)


def _bounded(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _lab(picture: NDArray[Any]) -> Picture:
    return np.asarray(cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2Lab), np.float32)


def _rgb(lab: Picture) -> Picture:
    return np.asarray(np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1), np.float32)
