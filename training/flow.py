"""Filters that follow the picture's own strokes: flattening, line extraction and painted hair.

Pictures are float32 (H, W, C), CIELAB or one of its planes (L* 0..100). All is deterministic. One compiled kernel,
`_gather`, walks from every pixel along or across the flow and averages what it meets; the filters are compositions of
it.

Sources: edge tangent flow and flow-based bilateral filter, Kang, Lee, Chui, "Flow-Based Image Abstraction" (2009);
structure tensor, Kyprianidis, Döllner, "Image Abstraction by Structure Adaptive Filtering" (2008); difference of
Gaussians along the flow, Kang et al. (2009), Winnemöller et al., "XDoG" (2012); smoothing along and sharpening across
the flow, Kyprianidis, Kang, "Coherence-Enhancing Filtering" (2011).
"""

from typing import Any

import cv2
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Array = NDArray[np.float32]

WEAK_GRADIENT = 0.5
"""Squared L* a px: below it a pixel takes its direction from a wider neighbourhood."""
NO_LIMIT = 0.0


def gaussian(x: Array, sigma: float) -> Array:
    """Gaussian blur, same shape; large ones on a reduced picture."""
    if sigma < 6:
        return np.asarray(cv2.GaussianBlur(x, (0, 0), max(sigma, 0.1)), np.float32)
    factor = 4
    height, width = x.shape[:2]
    small = cv2.resize(x, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def tangents(x: Array, sigma: float = 2.2) -> Array:
    """Unit direction (x, y) of the strokes at each pixel, (H, W, 2): the structure tensor's minor eigenvector."""
    x = x if x.ndim == 3 else x[..., None]
    gx, gy = (cv2.Scharr(x, cv2.CV_32F, *axis).reshape(x.shape) / 32 for axis in ((1, 0), (0, 1)))
    tensor = np.stack([(gx * gx).sum(2), (gx * gy).sum(2), (gy * gy).sum(2)], 2)
    near, wide = gaussian(tensor, sigma), gaussian(tensor, max(6.0, 5 * sigma))
    trust = np.clip((near[..., :1] + near[..., 2:]) / WEAK_GRADIENT, 0, 1)
    e, f, g = np.moveaxis(trust * near + (1 - trust) * wide, 2, 0)
    major = 0.5 * (e + g + np.sqrt((e - g) ** 2 + 4 * f * f))
    direction = np.stack([major - e, -f], 2)
    length = np.linalg.norm(direction, axis=2, keepdims=True)
    upright = np.array([0.0, 1.0], np.float32)
    return np.asarray(np.where(length < 1e-9, upright, direction / np.maximum(length, 1e-9)), np.float32)


def flatten(x: Array, contrast: Array, rounds: int, across: float, along: float, flow: float = 2.2) -> Array:
    """Flow-based bilateral filter: flat areas with crisp edges.

    contrast: (H, W), the CIELAB difference beyond which a neighbour counts for little. across, along, flow: sigmas, px.
    """
    # Tukey's biweight instead of a Gaussian: it ends, so that edges do not leak.
    limit = np.asarray(0.28 / (2 * contrast * contrast), np.float32)
    for _ in range(rounds):
        direction = tangents(x, flow)
        x = _gather(x, direction, _taps(across), limit, False)
        x = _gather(x, direction, _taps(along), limit, True)
    return x


def lines(light: Array, direction: Array, sigma: float, along: float) -> Array:
    """How much darker a thin structure is than its surroundings, L*: (H, W), positive on dark lines."""
    plane = np.ascontiguousarray(light[..., None])
    # 1.6 is the ratio at which a difference of Gaussians approximates a Laplacian (Marr, Hildreth 1980).
    narrow, wide = (_gather(plane, direction, _taps(s), _none(plane), False) for s in (sigma, 1.6 * sigma))
    return smooth_along((wide - narrow)[..., 0], direction, along)


def smooth_along(x: Array, direction: Array, sigma: float) -> Array:
    """Line integral convolution (Cabral, Leedom 1993) with a Gaussian: blurred along the strokes, crisp across."""
    plane = np.ascontiguousarray(x[..., None])
    smooth: Array = _gather(plane, direction, _taps(sigma), _none(plane), True)[..., 0]
    return smooth


def paint_strands(x: Array, rounds: int = 2, along: float = 6.0, flow: float = 2.5, reach: int = 2) -> Array:
    """Hair as brush strokes: smooth along the flow; across it valleys take their darkest, ridges their lightest."""
    limit = np.full(x.shape[:2], 0.28 / (2 * 14.0**2), np.float32)
    for _ in range(rounds):
        direction = tangents(x, flow)
        x = _gather(x, direction, _taps(along), limit, True)
        light = np.ascontiguousarray(x[..., 0])
        valley = smooth_along(gaussian(light, 2.6) - gaussian(light, 1.0), direction, 3.0)
        x = _shock(x, valley, direction, reach, 0.12)
    return x


def _none(plane: Array) -> Array:
    return np.full(plane.shape[:2], NO_LIMIT, np.float32)


def _taps(sigma: float) -> Array:
    steps = np.arange(max(1, round(2 * sigma)) + 1, dtype=np.float32)
    return np.asarray(np.exp(-0.5 * (steps / sigma) ** 2), np.float32)


@njit(inline="always", fastmath=True)
def _corner(y: float, x: float, height: int, width: int) -> Any:
    """Clamp a position into the picture: its upper left pixel and the way from there."""
    y, x = min(max(y, 0.0), height - 1.001), min(max(x, 0.0), width - 1.001)
    row, column = int(y), int(x)
    return row, column, y - row, x - column


@njit(inline="always", fastmath=True)
def _at(picture: Array, c: int, row: int, column: int, down: float, right: float) -> Any:
    """Bilinear value of channel c."""
    above = picture[row, column, c] * (1 - right) + picture[row, column + 1, c] * right
    below = picture[row + 1, column, c] * (1 - right) + picture[row + 1, column + 1, c] * right
    return above * (1 - down) + below * down


@njit(parallel=True, fastmath=True, cache=True)
def _gather(picture: Array, direction: Array, taps: Array, limit: Array, curved: bool) -> Any:
    """Weighted mean over a walk of len(taps) - 1 px both ways, along the flow (curved) or straight across it.

    limit: (H, W), 1 / squared colour distance at which a sample no longer counts; 0 counts all.
    """
    height, width, channels = picture.shape
    out = np.empty_like(picture)
    for row in prange(height):
        total = np.empty(channels, np.float32)
        sample = np.empty(channels, np.float32)
        for column in range(width):
            total[:] = picture[row, column]
            weight = np.float32(1.0)
            for way in (-1.0, 1.0):
                y, x = float(row), float(column)
                if curved:
                    dx, dy = way * direction[row, column, 0], way * direction[row, column, 1]
                else:
                    dx, dy = -way * direction[row, column, 1], way * direction[row, column, 0]
                for step in range(1, len(taps)):
                    y, x = y + dy, x + dx
                    if y < 0 or x < 0 or y > height - 1 or x > width - 1:
                        break
                    r, k, down, right = _corner(y, x, height, width)
                    distance = np.float32(0.0)
                    for c in range(channels):
                        sample[c] = _at(picture, c, r, k, down, right)
                        distance += (sample[c] - picture[row, column, c]) ** 2
                    inside = 1 - distance * limit[row, column]
                    if inside > 0:
                        share = taps[step] * inside * inside * inside
                        for c in range(channels):
                            total[c] += share * sample[c]
                        weight += share
                    if curved:
                        r, k = min(int(y + 0.5), height - 1), min(int(x + 0.5), width - 1)
                        ahead_x, ahead_y = direction[r, k, 0], direction[r, k, 1]
                        if ahead_x * dx + ahead_y * dy < 0:  # a tangent has no sign: go on the way one came
                            ahead_x, ahead_y = -ahead_x, -ahead_y
                        dx, dy = ahead_x, ahead_y
            for c in range(channels):
                out[row, column, c] = total[c] / weight
    return out


@njit(parallel=True, fastmath=True, cache=True)
def _shock(picture: Array, valley: Array, direction: Array, reach: int, threshold: float) -> Any:
    """In valleys take the darkest colour within `reach` px across the flow, on ridges the lightest."""
    height, width, channels = picture.shape
    out = picture.copy()
    for row in prange(height):
        for column in range(width):
            if abs(valley[row, column]) < threshold:
                continue
            sign = 1.0 if valley[row, column] > 0 else -1.0
            best = sign * picture[row, column, 0]
            for step in range(-reach, reach + 1):
                y = row + step * direction[row, column, 0]
                x = column - step * direction[row, column, 1]
                r, k, down, right = _corner(y, x, height, width)
                value = sign * _at(picture, 0, r, k, down, right)
                if value < best:
                    best = value
                    for c in range(channels):
                        out[row, column, c] = _at(picture, c, r, k, down, right)
    return out
