"""Layers to picture: paste faces back, flatten, mix with the photo, keep the colours true. Pure functions.

A stack of layers is float32 (8, H, W), 0..1: foreground RGB, background RGB, alpha, line. Pictures here are float32
(H, W, 3) sRGB 0..1 unless said otherwise.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.image import Pixels
from cartoon.portrait.align import Crop
from cartoon.portrait.guide import OVAL, Plane, Points, face_width, smoothstep

Stack = NDArray[np.float32]
Picture = NDArray[np.float32]

CHEEKS: Final = (50, 280)
SKIN_SHIFT: Final = 6.0
"""CIELAB a*b* distance that the cheeks may move; below the promise of 10, for what resizing and JPEG add."""
CAST_SHIFT: Final = 4.0
"""CIELAB a*b* distance that the whole picture's mean may move."""
CEL_DIAMETER: Final = 9
CEL_CONTRAST: Final = 10.0
"""L*: stronger edges stay out of the smoothing before tones are stepped."""
CEL_SPREAD: Final = 3.0
CEL_RAMP: Final = 0.1
"""Half-width of the ramp between two tones, in steps: anti-aliasing, not shading."""
FULL_DRAWING: Final = 0.45
"""From this strength on nothing of the photo itself is mixed in; below, the network's soft drawing fades into it."""


def paste(stack: Stack, drawn: Stack, crop: Crop, landmarks: Points) -> None:
    """Blend a drawn face crop into the whole picture's layers, in place, within the face's own region.

    stack: (8, H, W). drawn: (8, S, S), the crop's layers. landmarks: the face's, px in the whole picture.
    """
    height, width = stack.shape[1:]
    low, high = landmarks[OVAL].min(0), landmarks[OVAL].max(0)
    centre, reach = (low + high) / 2, (high - low) / 2
    x0, y0 = np.clip(np.floor(centre - 1.5 * reach - 2), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(centre + 1.5 * reach + 2), 1, [width, height]).astype(int)
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    distance = np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    mask = 1 - smoothstep(distance, 1.05, 1.4)
    shift = crop.matrix.copy()
    shift[:, 2] += shift[:, :2] @ np.array([x0, y0], np.float64)
    planes = np.ascontiguousarray(drawn.transpose(1, 2, 0))
    scale = float(np.hypot(crop.matrix[0, 0], crop.matrix[1, 0]))
    if scale > 1.3:  # the crop is shrunk on its way back: smooth first, or thin lines alias
        planes = np.asarray(cv2.GaussianBlur(planes, (0, 0), 0.4 * scale), np.float32)
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if scale > 1.3 else cv2.INTER_CUBIC)
    size = (int(x1 - x0), int(y1 - y0))
    back = np.concatenate(  # OpenCV warps at most four channels at a time
        [
            cv2.warpAffine(np.ascontiguousarray(part), shift, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for part in (planes[..., :4], planes[..., 4:])
        ],
        axis=2,
    ).transpose(2, 0, 1)
    region = stack[:, y0:y1, x0:x1]
    region += mask * (np.clip(back, 0, 1) - region)


def enlarge(stack: Stack, shape: tuple[int, int]) -> Stack:
    """Enlarge the layers to (height, width): colours cubic; alpha and line keep the steepness of their edges."""
    size = (shape[1], shape[0])
    result = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC) for plane in stack])
    factor = float(shape[0] / stack.shape[1])
    for index in (6, 7):
        # Smooth the staircase of the small pixels, then make the edge steeper by the factor around its middle.
        smooth = np.asarray(cv2.GaussianBlur(result[index], (0, 0), 0.5 * factor), np.float32)
        steep = (smooth - np.float32(0.5)) * np.float32(factor) + np.float32(0.5)
        # A pale line never reaches that middle: it stays as it is.
        result[index] = steep if index == 6 else np.maximum(steep, smooth)
    return np.asarray(np.clip(result, 0, 1), np.float32)


def flatten(stack: Stack) -> Picture:
    """The opaque drawn picture: background, then the person, then the lines multiplied over both."""
    foreground, behind = stack[:3].transpose(1, 2, 0), stack[3:6].transpose(1, 2, 0)
    alpha, ink = stack[6][..., None], 1 - stack[7][..., None]
    return np.asarray((behind + alpha * (foreground - behind)) * ink, np.float32)


def replace_background(picture: Picture, stack: Stack, background: str, photo: Pixels) -> tuple[Picture, Plane | None]:
    """Put the person of a flattened picture on another background; returns it and its alpha (None when opaque).

    picture: what `flatten` made of `stack`, colours corrected since. background: "drawn" (nothing to do), "photo",
    "transparent" or "#RRGGBB". photo: uint8 (H, W, 3), the warped photo.
    """
    if background == "drawn":
        return picture, None
    alpha, ink = stack[6][..., None], 1 - stack[7][..., None]
    # Take the drawn background out of the border's pixels: flatten's formula, solved for the foreground.
    person = picture + (1 - alpha) * (stack[:3] - stack[3:6]).transpose(1, 2, 0) * ink
    # The outline straddles the person's border: where it is near the person it belongs to the person.
    near = cv2.dilate(stack[6], np.ones((5, 5), np.uint8), iterations=max(1, min(stack.shape[1:]) // 300))
    cover = np.maximum(stack[6], near * stack[7])
    if background == "transparent":
        return person, cover
    if background == "photo":
        base = photo.astype(np.float32) / np.float32(255)
    else:
        colour = np.array([int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)
        base = np.broadcast_to(colour, person.shape)
    return base + cover[..., None] * (person - base), None


def cel_steps(picture: Picture, features: Plane, step: float, share: float) -> Picture:
    """Turn soft shading into flat tones: lightness moves towards the middle of its band of `step` L*.

    A small network trained on absolute error averages where a tone step might lie and so draws a ramp; this puts the
    step back (Winnemöller et al. 2006 quantise in the same way). features: (H, W) 0..1, where eyes, brows, lips and
    nose are: left as drawn. share: 0 changes nothing, 1 leaves flat tones only.
    """
    if share <= 0:
        return picture
    lab = _lab(np.clip(picture, 0, 1))
    smooth = lab[..., 0]
    for _ in range(2):
        smooth = np.asarray(cv2.bilateralFilter(smooth, CEL_DIAMETER, CEL_CONTRAST, CEL_SPREAD), np.float32)
    phase = smooth / np.float32(step)
    band = np.floor(phase)
    flat = (band + smoothstep(phase - band, 0.5 - CEL_RAMP, 0.5 + CEL_RAMP)) * np.float32(step)
    # On a steep edge several steps would lie side by side, as rings around it.
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8
    widest = np.asarray(cv2.dilate(slope, np.ones((3, 3), np.uint8)), np.float32)
    steep = smoothstep(widest, 0.15 * step, 0.3 * step)
    lab[..., 0] += np.float32(share) * (1 - features) * (1 - steep) * (flat - smooth)
    return _rgb(lab)


def light_eyes(picture: Picture, highlight: Plane, strength: float) -> Picture:
    """Paint the highlights of the eyes where the guide has them.

    They are a few pixels of pure white whose place the network knows to within one: it averages them to grey.
    highlight: (H, W) 0..1.
    """
    return np.asarray(picture + (highlight * np.float32(0.85 * strength))[..., None] * (1 - picture), np.float32)


def mix_strength(picture: Picture, photo: Pixels, strength: float) -> Picture:
    """Fade the drawing into the photo below FULL_DRAWING; above it the network alone knows the strength."""
    share = float(smoothstep(np.full(1, strength, np.float32), 0.0, FULL_DRAWING)[0])
    if share >= 1:
        return picture
    base = photo.astype(np.float32) / np.float32(255)
    return base + np.float32(share) * (picture - base)


def correct_colours(picture: Picture, photo: Pixels, faces: Sequence[Points]) -> Picture:
    """Keep skin hues and the overall balance of the photo.

    Where a face's cheeks moved by more than SKIN_SHIFT in a*b*, the skin of that face (and what has its colour nearby)
    is moved back to that distance; the same for the whole picture's mean and CAST_SHIFT. Lightness stays as drawn.
    """
    small_size = _bounded(picture.shape[:2], 256)
    before = _lab(cv2.resize(photo, small_size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255)
    after = _lab(cv2.resize(np.clip(picture, 0, 1), small_size, interpolation=cv2.INTER_AREA))
    cast = _excess((after - before)[..., 1:].reshape(-1, 2).mean(0), CAST_SHIFT)
    shifts = [_cheek_excess(picture, photo, face) for face in faces]
    if not np.any(cast) and not any(np.any(s) for s, _ in shifts):
        return picture
    result = picture.copy()
    if np.any(cast):
        lab = _lab(result)
        lab[..., 1:] -= cast
        result = _rgb(lab)
    for face, (shift, skin) in zip(faces, shifts, strict=True):
        if np.any(shift):
            _shift_skin(result, face, shift, skin)
    return result


def to_uint8(picture: Picture | Plane) -> NDArray[np.uint8]:
    """float32 0..1 -> uint8 0..255, rounded, same shape."""
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)


def _cheek_excess(picture: Picture, photo: Pixels, face: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far beyond SKIN_SHIFT the cheeks' a*b* moved, and the drawn cheeks' mean Lab."""
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
    skin = np.mean(now, 0)
    return _excess((skin - np.mean(was, 0))[1:], SKIN_SHIFT), skin.astype(np.float32)


def _shift_skin(picture: Picture, face: Points, shift: NDArray[np.float32], skin: NDArray[np.float32]) -> None:
    """Take `shift` (a*, b*) off what has the skin's hue around one face, in place."""
    height, width = picture.shape[:2]
    fw, centre = face_width(face), face[OVAL].mean(0)
    reach = np.array([1.1 * fw, 1.6 * fw])
    x0, y0 = np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(centre + reach), 1, [width, height]).astype(int)
    lab = _lab(np.clip(picture[y0:y1, x0:x1], 0, 1))
    alike = np.exp(-((lab[..., 1:] - skin[1:]) ** 2).sum(2) / (2 * 12.0**2))
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    near = 1 - smoothstep(np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1]), 0.6, 0.98)
    lab[..., 1:] -= shift * (alike * near)[..., None].astype(np.float32)
    picture[y0:y1, x0:x1] = _rgb(lab)


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
