"""The slow teacher: a photo's layers by classical means, from which the network learns and the styles paint.

`analyse` takes one portrait apart into the planes of cartoon/models/layers.py: person and backdrop flattened along the
picture's own strokes (training/flow.py), regions (training/regions.py), contours. What a style makes of them is
painted by the very code that paints the network's layers (cartoon/drawing/painters.py), so a difference between teacher
and student is a difference in what was seen, never in how it is drawn. Deterministic; about a second a photo on two
cores.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.guide import Points, face_width, smoothstep
from cartoon.models.layers import PLANES
from training import flow
from training.regions import segment

WORK_FACE: Final = 250.0
"""Face width, px, at which the photo is analysed; the filters' sigmas below are in px at that size."""
LARGEST_WORK: Final = 1100


def analyse(pixels: NDArray[np.uint8], person: NDArray[np.float32], landmarks: Points) -> NDArray[np.float32]:
    """Take a portrait apart: float32 (11, H, W) in the order of PLANES, 0..1.

    pixels: uint8 (H, W, 3) sRGB, of one person; person: (H, W) 0..1, the person mask; landmarks: (478, 2) px.
    """
    height, width = person.shape
    scale = min(WORK_FACE / face_width(landmarks), LARGEST_WORK / max(height, width))
    size = (round(width * scale), round(height * scale))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    work = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
    alpha = np.asarray(np.clip(cv2.resize(person, size, interpolation=how), 0, 1), np.float32)
    stack = _layers(work, alpha, landmarks * np.float32(scale))
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    planes = [cv2.resize(plane, (width, height), interpolation=how) for plane in stack]
    return np.asarray(np.clip(np.stack(planes), 0, 1), np.float32)


def _layers(pixels: NDArray[np.uint8], alpha: flow.Array, points: Points) -> NDArray[np.float32]:
    fw = face_width(points)
    lab = np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)
    regions = segment(lab, alpha, points)
    contrast = 6 + 2 * regions.skin + 3 * (1 - alpha)
    gentle = flow.flatten(lab, contrast.astype(np.float32), rounds=2, across=2.0, along=4.0)
    flat = flow.flatten(gentle, (9 + 4 * regions.skin).astype(np.float32), rounds=1, across=3.0, along=6.0, flow=3.0)
    strands = _hair(gentle, regions.hair)
    paint = flat + regions.hair[..., None] * (strands - flat)
    foreground = _go_on(_rgb(paint), alpha)
    background = _go_on(_rgb(flat), 1 - alpha)
    direction = flow.tangents(gentle)
    fine, bold = (flow.lines(gentle[..., 0], direction, sigma, along) for sigma, along in ((1.25, 6.0), (2.0, 8.0)))
    line = _long_only(smoothstep(fine, 0.35, 1.1), round(0.09 * fw))
    ink = _long_only(np.maximum(smoothstep(fine, 0.45, 0.9), smoothstep(bold, 0.75, 1.4)), round(0.10 * fw))
    planes = [
        *np.moveaxis(foreground, 2, 0),
        *np.moveaxis(background, 2, 0),
        alpha,
        line,
        ink,
        regions.skin,
        regions.hair,
    ]
    assert len(planes) == len(PLANES)
    return np.stack(planes).astype(np.float32)


def _hair(lab: flow.Array, hair: flow.Array) -> flow.Array:
    """The picture with brush strokes where the hair is."""
    rows, columns = np.nonzero(hair > 0.02)
    if len(rows) < 200:
        return lab
    top, bottom = max(0, rows.min() - 8), rows.max() + 9
    left, right = max(0, columns.min() - 8), columns.max() + 9
    out = lab.copy()
    part = np.ascontiguousarray(lab[top:bottom, left:right])
    out[top:bottom, left:right] = flow.paint_strands(part)
    return out


def _go_on(picture: flow.Array, mask: flow.Array) -> flow.Array:
    """The picture inside the mask; outside, its colours go on, so that a soft border never shows what lay behind.

    Pull and push over a pyramid (Gortler et al., "The Lumigraph", 1996), with the mask's sure core only.
    """
    weight = smoothstep(mask, 0.6, 0.98)[..., None]
    levels = [(picture * weight, weight)]
    while min(levels[-1][0].shape[:2]) > 4:
        colour, known = (cv2.pyrDown(x).reshape(*((s + 1) // 2 for s in x.shape[:2]), -1) for x in levels[-1])
        levels.append((np.asarray(colour, np.float32), np.asarray(known, np.float32)))
    filled = np.asarray(levels[-1][0] / np.maximum(levels[-1][1], 1e-4), np.float32)
    for colour, known in reversed(levels[:-1]):
        behind = cv2.resize(filled, colour.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        share = np.clip(known, 0, 1)
        filled = np.asarray(colour / np.maximum(known, 1e-4) * share + behind * (1 - share), np.float32)
    return np.asarray(filled, np.float32)


def _long_only(line: flow.Array, length: int) -> flow.Array:
    """Drop connected pieces of lines shorter than `length` px; pieces not much longer fade in."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((line > 0.3).astype(np.uint8), connectivity=8)
    extent = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    keep = np.clip((extent - 0.7 * length) / (0.5 * length), 0, 1).astype(np.float32)
    keep[0] = 0
    mask = cv2.GaussianBlur(cv2.dilate(keep[labels], np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    assert count == len(keep)
    return np.asarray(line * np.clip(mask, 0, 1), np.float32)


def _rgb(lab: flow.Array) -> flow.Array:
    return np.asarray(np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1), np.float32)
