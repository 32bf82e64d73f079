"""Measure the surface of a drawing in its own pixels: grain, sharpness, marks of rows, columns, tiles and few levels.

Pure functions, numpy and OpenCV only. The photo, brought to the same size, says what was there to begin with. Numbers
grow the worse it is.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Values = NDArray[np.integer[Any] | np.floating[Any]]
"""As OpenCV's types have it; uint8 all the same."""


def surface(drawn: Bytes, photo: Bytes, mask: Bytes | None) -> dict[str, float]:
    """Grain, sharpness, marks of rows, columns, tiles and few levels; uint8 (h, w) both, at the drawing's size."""
    a, b = _texture(drawn, mask), _texture(photo, mask)
    flat = (a.reach <= 1) & (b.reach > 4)
    if mask is not None:
        flat &= cv2.erode(mask, np.ones((8, 8), np.uint8))[4::8, 4::8] > 0
    lines = [(x.spike - y.spike, x.beat - y.beat) for x, y in zip(a.profiles, b.profiles, strict=True)]
    return {
        "grain": max(0.0, a.grain - b.grain),
        "noise": max(0.0, a.quiet - b.quiet),
        "specks": max(0.0, a.specks - b.specks),
        "blur": 1 / a.sharp,
        "blurred": max(0.0, b.sharp / a.sharp),
        "chequers": a.chequers,
        "rows": abs(a.slant - b.slant),
        "spikes": max(0.0, *(spike for spike, _ in lines)),
        "beat": max(0.0, *(beat for _, beat in lines)),
        "soft": (a.spread + 8) / (a.crisp + 2),
        "softer": (b.crisp + 3) / (a.crisp + 3),
        "flat": float(flat.mean()) if flat.size else 0.0,
        "levels": max(0.0, a.comb - b.comb),
    }


@dataclass(frozen=True, eq=False)
class _Profile:
    """Mean steps along one axis. spike: the largest, beat: the strongest rhythm; both beside the mean step."""

    spike: float
    beat: float


@dataclass(frozen=True, eq=False)
class _Texture:
    grain: float
    quiet: float
    specks: float
    sharp: float
    chequers: float
    slant: float
    comb: float
    crisp: float
    spread: float
    reach: Bytes
    profiles: tuple[_Profile, _Profile]


def _texture(luma: Bytes, mask: Bytes | None) -> _Texture:
    """What one picture's surface is like, where mask is not 0."""
    grain = _histogram(cv2.absdiff(luma, cv2.medianBlur(luma, 3)), mask)
    steps = [cv2.absdiff(luma[1:], luma[:-1]), cv2.absdiff(luma[:, 1:], luma[:, :-1])]
    far = [cv2.absdiff(luma[4:], luma[:-4]), cv2.absdiff(luma[:, 4:], luma[:, :-4])]
    masks = [None, None] if mask is None else [mask[1:], mask[:, 1:]]
    masks_far = [None, None] if mask is None else [mask[4:], mask[:, 4:]]
    down, across = (cv2.mean(s, m)[0] for s, m in zip(steps, masks, strict=True))
    further = sum(cv2.mean(s, m)[0] for s, m in zip(far, masks_far, strict=True))
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    chequers = _histogram(cv2.convertScaleAbs(cv2.filter2D(luma, cv2.CV_16S, kernel)), mask)
    bend = cv2.mean(cv2.convertScaleAbs(cv2.Laplacian(luma, cv2.CV_16S)), mask)[0]
    shades = _histogram(luma, mask)
    tile = np.ones((8, 8), np.uint8)
    reach = cv2.dilate(luma, tile)[4::8, 4::8] - cv2.erode(luma, tile)[4::8, 4::8]
    values = np.arange(256)
    return _Texture(
        grain=float((grain * values).sum()),
        quiet=_quantile(chequers, 0.3),
        specks=float(grain[41:].sum()),
        sharp=(down + across + 0.05) / (further + 0.2),
        chequers=float((chequers * values).sum()) / 4 / (bend + 0.5),
        slant=math.log((across + 0.3) / (down + 0.3)),
        crisp=sum(_quantile(_histogram(s, m), 0.995) for s, m in zip(steps, masks, strict=True)) / 2,
        spread=math.sqrt(float((shades * (values - float((shades * values).sum())) ** 2).sum())),
        comb=float(np.abs(shades - cv2.GaussianBlur(shades, (0, 0), 2)).sum()),
        reach=np.asarray(reach, np.uint8),
        profiles=(_profile(steps[0], masks[0], 1), _profile(steps[1], masks[1], 0)),
    )


def _profile(steps: Values, mask: Bytes | None, axis: int) -> _Profile:
    kept = np.minimum(steps, 40) if mask is None else np.where(mask > 0, np.minimum(steps, 40), 0).astype(np.uint8)
    line = np.asarray(cv2.reduce(kept, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32).ravel()
    high = (line - cv2.blur(line.reshape(1, -1), (17, 1)).ravel())[4:-4]
    if high.size < 16:
        return _Profile(0.0, 0.0)
    usual = float(line.mean()) + 0.5
    waves = np.abs(np.fft.rfft(high * np.hanning(high.size)))
    return _Profile(float(high.max()) / usual, float(waves.max()) / math.sqrt(high.size) / usual)


def _histogram(plane: Values, mask: Bytes | None) -> Plane:
    """Shares of the 256 values."""
    counts = cv2.calcHist([plane], [0], mask, [256], [0, 256]).ravel()
    return np.asarray(counts / (counts.sum() + 1e-9), np.float32)


def _quantile(shares: Plane, part: float) -> float:
    """The value that a part of a histogram lies under, between whole numbers."""
    rising = np.cumsum(shares)
    at = int(np.searchsorted(rising, part))
    below = float(rising[at - 1]) if at else 0.0
    return at + (part - below) / (float(shares[min(at, 255)]) + 1e-6)
