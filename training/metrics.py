"""What is measured on a drawing: pure functions over pictures, masks and landmarks.

A picture is uint8 (H, W, 3) sRGB, a mask bool (H, W), landmarks float32 (478, 2), x and y px. A mean over a mask of
fewer than LEAST pixels is nan: such a figure is left out of every average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.compose import CHEEKS
from cartoon.faces.guide import CHANNELS, OVAL, Plane, Points, face_width
from cartoon.images.types import Pixels
from cartoon.models.layers import ALPHA

Mask = NDArray[np.bool_]

LEAST: Final = 50
"""Pixels below which a region tells nothing."""
FEATURES: Final = tuple(CHANNELS.index(name) for name in ("eyes", "brows", "lips"))
FEATURE_MARGIN: Final = 7
"""Side, px, of the square that the features' areas are dilated by: their outlines belong to them."""
SURE: Final = 0.6
"""Share of skin or hair from which a pixel counts as such."""
SILHOUETTE: Final = (0.05, 0.95)
"""Alphas between these are the person's border; its outline says nothing of skin or hair."""
EDGE: Final = 6.0
"""Luma levels a px: a step of a cel shadow is steeper (24 levels over some 2 px), a photo's skin flatter (1 to 3)."""
LINE_DEPTH: Final = 24.0
"""Luma levels by which a line is darker than what lies on both its sides."""
LINE_WIDTH: Final = 0.04
"""Face widths; what is wider is an area."""
MOST: Final = 0.9
CHEEK_RADIUS: Final = 0.06
"""Face widths, as in cartoon.drawing.compose."""
SEAM: Final = (1.05, 1.4)
"""Where a face crop fades into the picture, in half-axes of the face's oval: cartoon.drawing.compose.paste."""
AROUND_SEAM: Final = 1.75

_SSIM_SIDE, _SSIM_SIGMA, _SSIM_C1, _SSIM_C2 = 11, 1.5, (0.01 * 255) ** 2, (0.03 * 255) ** 2
_LEAST_ERROR: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Pair:
    """One photo, warped as the style warps, and what teacher and network draw of it at full strength without finish.

    features, skin, hair: where the guide and the teacher's layers have them.
    """

    photo: Pixels
    landmarks: Points
    teacher: Pixels
    ours: Pixels
    features: Mask
    skin: Mask
    hair: Mask


def closeness(pair: Pair) -> dict[str, float]:
    """How near the network comes to its teacher, and how near the photo itself does."""
    ours, teacher = pair.ours, pair.teacher
    return {
        "PSNR, dB": psnr(ours, teacher),
        "the photo's, dB": psnr(pair.photo, teacher),
        "eyes and mouth, dB": psnr(ours, teacher, pair.features),
        "SSIM": ssim(ours, teacher),
        "MAE, 0-255": distance(ours, teacher),
        "edges, eyes and mouth": edge_ratio(ours, teacher, pair.features),
        "edges, skin": edge_ratio(ours, teacher, pair.skin),
        "edges, hair": edge_ratio(ours, teacher, pair.hair),
    }


def flat_and_lined(pair: Pair) -> dict[str, float]:
    """How flat the skin is, how many lines there are and how few tones; of the teacher's drawing, then of ours."""
    face = face_width(pair.landmarks)
    found: dict[str, float] = {}
    for who, picture in (("teacher", pair.teacher), ("ours", pair.ours)):
        found |= {
            f"skin gradient, {who}": flatness(picture, pair.photo, pair.skin),
            f"line share, {who}": line_share(picture, face),
            f"levels, {who}": level_count(picture, pair.skin),
        }
    return found


def psnr(a: Pixels, b: Pixels, where: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, over `where` if given; equal pictures give 138."""
    error = (a.astype(np.float32) - b.astype(np.float32)) ** 2
    mean = float(error.mean(dtype=np.float64)) if where is None else _mean(error.mean(2), where)
    return float(10 * np.log10(255**2 / np.maximum(mean, _LEAST_ERROR)))


def distance(a: Pixels, b: Pixels) -> float:
    """Mean absolute difference, 0..255."""
    return float(np.abs(a.astype(np.float32) - b.astype(np.float32)).mean(dtype=np.float64))


def ssim(a: Pixels, b: Pixels) -> float:
    """Mean structural similarity of luma, 1 for equal pictures (Wang, Bovik, Sheikh, Simoncelli 2004).

    Window: Gaussian, 11 x 11, sigma 1.5; only where it lies wholly inside, so sides are at least 11 px.
    """
    if min(a.shape[:2]) < _SSIM_SIDE:
        raise ValueError(f"pictures of {a.shape[1]} x {a.shape[0]} px are smaller than the window of {_SSIM_SIDE}.")
    x, y = luma(a).astype(np.float64), luma(b).astype(np.float64)
    mean_x, mean_y, xx, yy, xy = (_window(v) for v in (x, y, x * x, y * y, x * y))
    variances, covariance = xx - mean_x**2 + yy - mean_y**2, xy - mean_x * mean_y
    structure = (2 * covariance + _SSIM_C2) / (variances + _SSIM_C2)
    return float((structure * (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)).mean())


def luma(picture: Pixels) -> Plane:
    """Gamma-encoded luma, float32 (H, W), 0..255 (ITU-R BT.601)."""
    return np.asarray(picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)


def gradient(picture: Pixels) -> Plane:
    """Sobel magnitude of luma, levels a px, float32 (H, W)."""
    light = luma(picture)
    across, down = (cv2.Sobel(light, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down), np.float32)


def edge_ratio(ours: Pixels, theirs: Pixels, where: Mask) -> float:
    """Edge energy over a region, ours by theirs: below 1 is softer."""
    return _mean(gradient(ours), where) / max(_mean(gradient(theirs), where), 1e-6)


def feature_mask(guide: NDArray[np.uint8]) -> Mask:
    """Eyes, brows and lips with their outlines, from a guide map (6, H, W)."""
    areas = guide[list(FEATURES)].max(0)
    return np.asarray(cv2.dilate(areas, np.ones((FEATURE_MARGIN, FEATURE_MARGIN), np.uint8)) > 127)


def region_mask(stack: NDArray[np.float32], plane: int, features: Mask) -> Mask:
    """Where one of a stack's (11, H, W) regions surely is; neither features nor the person's border."""
    border = ((stack[ALPHA] > SILHOUETTE[0]) & (stack[ALPHA] < SILHOUETTE[1])).astype(np.uint8)
    away = cv2.dilate(border, np.ones((5, 5), np.uint8)) == 0
    return np.asarray((stack[plane] > SURE) & away & ~features)


def flatness(picture: Pixels, photo: Pixels, skin: Mask) -> float:
    """Mean gradient in the skin away from the picture's own edges, as a share of the photo's there: 0 is all flat."""
    slope = gradient(picture)
    away = skin & (cv2.dilate((slope > EDGE).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0)
    return _mean(slope, away) / max(_mean(gradient(photo), away), 1e-6)


def line_share(picture: Pixels, face: float) -> float:
    """Share of the pixels that are line: darker than the local closing. face: the face's width, px."""
    side = max(5, 2 * round(LINE_WIDTH * face / 2) + 1)
    light = luma(picture)
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return float((closed - light > LINE_DEPTH).mean())


def level_count(picture: Pixels, where: Mask) -> float:
    """The fewest of the 256 luma levels that hold MOST of a region's pixels; few when it is painted in tones."""
    if where.sum() < LEAST:
        return float("nan")
    counts = np.sort(np.bincount(np.rint(luma(picture)[where]).astype(int), minlength=256))[::-1]
    return float(np.searchsorted(np.cumsum(counts), MOST * counts.sum()) + 1)


def landmark_shift(before: Points, after: Points) -> float:
    """Mean distance between two sets of landmarks, % of the first's face width."""
    return float(100 * np.linalg.norm(after - before, axis=1).mean() / face_width(before))


def cheek_lightness(picture: Pixels, landmarks: Points) -> float:
    """Mean L* (CIELAB) of a square patch on each cheek; nan where both lie outside."""
    radius = max(1, int(CHEEK_RADIUS * face_width(landmarks)))
    found = []
    for x, y in landmarks[list(CHEEKS)].astype(int):
        patch = picture[max(0, y - radius) : max(0, y + radius + 1), max(0, x - radius) : max(0, x + radius + 1)]
        if patch.size:
            found.append(cv2.cvtColor(patch.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0].mean())
    return float(np.mean(found)) if found else float("nan")


def outer_thirds(keys: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Mean value of the third with the lowest keys and of that with the highest; pairs with a nan do not count."""
    table = np.array([pair for pair in zip(keys, values, strict=True) if not np.isnan(pair).any()]).reshape(-1, 2)
    if not len(table):
        return float("nan"), float("nan")
    ordered, third = table[np.argsort(table[:, 0], kind="stable"), 1], max(1, round(len(table) / 3))
    return float(ordered[:third].mean()), float(ordered[-third:].mean())


def seam(picture: Pixels, landmarks: Points, within: Mask) -> float:
    """Mean gradient where a face crop would be blended in, by the ring's around it; a visible border raises it."""
    low, high = landmarks[OVAL].min(0), landmarks[OVAL].max(0)
    centre, reach = (low + high) / 2, (high - low) / 2
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    away = np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    slope, (inner, outer) = gradient(picture), SEAM
    inside, around = ((away >= a) & (away < b) & within for a, b in ((inner, outer), (outer, AROUND_SEAM)))
    return _mean(slope, inside) / max(_mean(slope, around), 1e-6)


def _mean(values: Plane, where: Mask) -> float:
    return float(values[where].mean(dtype=np.float64)) if where.sum() >= LEAST else float("nan")


def _window(x: NDArray[np.float64]) -> NDArray[np.float64]:
    margin = _SSIM_SIDE // 2
    blurred = cv2.GaussianBlur(x, (_SSIM_SIDE, _SSIM_SIDE), _SSIM_SIGMA)
    return np.asarray(blurred[margin:-margin, margin:-margin], np.float64)
