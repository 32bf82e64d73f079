"""Measure a drawing against its photo: numbers that grow the further it is from what a drawing should be.

Pure functions of pixels, numpy and OpenCV only, on copies of SMALL px; cartoon.quality.texture looks at single pixels.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.images.types import Cartoon, Photo, Pixels
from cartoon.options import Options
from cartoon.quality.texture import surface
from cartoon.styles.card import GateLimits

SMALL: Final = 192
"""Long side, px, of the copies that are compared."""
WINDOW: Final = 576
"""Px a side: of larger drawings the middle is measured in its own pixels."""
LEAST: Final = 0.04
"""Share of the picture that must be left to judge: nobody in front of a plain colour leaves nothing."""
Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pair:
    """The drawing and its photo at one small size. drawn, photo: uint8 (h, w, 3). weight: float32 (h, w), 0..1, what
    may be judged; person: the part of it that must look like the photo. portrait: a person was found and counts."""

    drawn: Pixels
    photo: Pixels
    weight: Plane
    person: Plane
    portrait: bool


def measure(
    photo: Photo, cartoon: Cartoon, options: Options, gate: GateLimits | None, share: float
) -> tuple[dict[str, float], bool]:
    """Every measure by name, and whether it is a portrait; share: how much of the drawing there is, 0..1.

    gate: what is known of the style, None for one that was not measured.

    Names are missing where there is too little to judge.
    """
    own = _own_mask(cartoon, options)
    pair = _pair(photo, cartoon, options, own, fades=gate is not None and gate.fades)
    if float(pair.weight.mean()) < LEAST:
        return {}, pair.portrait
    tint = gate.tint if gate else None
    found = _likeness(pair) | (_colours(pair) if tint is None else _colours(pair, share, tint)) | _seams(pair)
    height, width = cartoon.pixels.shape[:2]
    drawn = _luma(_window(cartoon.pixels))
    before = _window(_fitted(_luma(photo.pixels), (width, height)))
    mask = None if own is None else np.asarray(cv2.erode(_window(own), np.ones((5, 5), np.uint8)), np.uint8)
    if mask is not None and cv2.countNonZero(mask) < 500:
        return found, pair.portrait
    found |= surface(drawn, before, mask)
    edges = _mean(_edges(_luma(pair.photo).astype(np.float32)), pair.weight)
    apart = cv2.mean(cv2.absdiff(drawn, before), mask)[0]
    found["undrawn"] = share * edges / (apart + 0.2)
    return found, pair.portrait


def _own_mask(cartoon: Cartoon, options: Options) -> Bytes | None:
    """255 where the drawing is the person's, 0 where it is what was asked for behind; None: all of it."""
    if options.background == "transparent" and cartoon.alpha is not None:
        return np.asarray(cv2.threshold(cartoon.alpha, 200, 255, cv2.THRESH_BINARY)[1], np.uint8)
    if options.background.startswith("#"):
        colour = [int(options.background[i : i + 2], 16) for i in (1, 3, 5)]
        low, high = np.array([c - 2 for c in colour]), np.array([c + 2 for c in colour])
        return np.asarray(255 - cv2.inRange(cartoon.pixels, low, high), np.uint8)
    return None


def _pair(photo: Photo, cartoon: Cartoon, options: Options, own: Bytes | None, fades: bool) -> Pair:
    height, width = cartoon.pixels.shape[:2]
    scale = SMALL / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    weight = np.ones(size[::-1], np.float32)
    if photo.alpha is not None:
        weight *= _fitted(photo.alpha, size) > 250
    if own is not None:
        weight *= cv2.erode(_fitted(own, size), np.ones((3, 3), np.uint8)) / np.float32(255)
    people = np.zeros(size[::-1], np.float32)
    for face in cartoon.faces:
        x0, y0, x1, y1 = (float(v) * size[0] / photo.pixels.shape[1] for v in face.box)
        x, y, wide = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0
        for below, across, along in ((-0.1, 0.75, 0.95), (1.9, 1.1, 1.1)):  # head with hair, chest
            centre, axes = (int(x), int(y + below * wide)), (max(1, int(across * wide)), max(1, int(along * wide)))
            cv2.ellipse(people, centre, axes, 0.0, 0.0, 360.0, (1.0,), cv2.FILLED)
    portrait = float((people * weight).mean()) > LEAST
    faded = fades and options.background in ("drawn", "photo")
    person = weight * people if faded and portrait else weight
    return Pair(_fitted(cartoon.pixels, size), _fitted(photo.pixels, size), weight, person, portrait)


def _likeness(pair: Pair) -> dict[str, float]:
    """Are the same things in the same places?"""
    q = pair.person
    drawn, photo = _luma(pair.drawn).astype(np.float32), _luma(pair.photo).astype(np.float32)
    edges, own = _edges(drawn), _edges(photo)
    # Roots: a faint line counts as well as a hard one. Blurred: the warp moves features by a few px.
    soft, own_soft = (np.asarray(cv2.GaussianBlur(cv2.sqrt(e), (0, 0), 1.2), np.float32) for e in (edges, own))
    found = {}
    alike, some = _alike(soft, own_soft, q, 0.1, 0.15)
    found["unlike"] = 1 - float(alike[some].mean()) if some.any() else 0.0
    found["torn"] = float((alike[some] < 0.1).mean()) if some.any() else 0.0
    for name, a, b in (
        ("tones", drawn, photo),
        ("blue", pair.drawn[..., 2].astype(np.float32), pair.photo[..., 2].astype(np.float32)),
    ):
        alike, some = _alike(a, b, q, 20.0, 200.0)
        found[name] = 1 - float(alike[some].mean()) if some.any() else 0.0
        if name == "tones":
            found["patches"] = float((alike[some] < 0.2).mean()) if some.any() else 0.0
    upright = _correlation(soft, own_soft, q)
    others = (soft[:, ::-1], soft[::-1], soft[::-1, ::-1])
    found["turned"] = max(0.0, 0.3 + max(_correlation(other, own_soft, q) for other in others) - upright)
    found["displaced"], found["doubled"] = _displaced(soft, own_soft, np.maximum(0.3 * pair.weight, q))
    # A wall matches itself wherever it is moved.
    structure = _mean((own_soft - _mean(own_soft, q)) ** 2, q)
    found["displaced"] *= structure / (structure + 0.03)
    wide = np.ones((7, 7), np.uint8)
    lost = np.maximum(cv2.GaussianBlur(own, (0, 0), 1) - 2 * cv2.dilate(edges, wide) - 2, 0)
    found["lost"] = _mean(lost, q) / (_mean(own, q) + 2)
    mean, own_mean = _mean(drawn, q), _mean(photo, q)
    spread, own_spread = (math.sqrt(_mean((x - m) ** 2, q)) for x, m in ((drawn, mean), (photo, own_mean)))
    found["pale"], found["harsh"] = (own_spread + 4) / (spread + 4), (spread + 4) / (own_spread + 20)
    found["dark"], found["light"] = (own_mean + 20) / (mean + 20), (275 - own_mean) / (275 - mean)
    return found


def _alike(a: Plane, b: Plane, weight: Plane, floor: float, least: float) -> "tuple[Plane, NDArray[np.bool_]]":
    """Correlation of a and b around each pixel, -1..1, and where b varies enough (variance > least) to ask for it."""
    mean_a, mean_b = _box(a), _box(b)
    var_a, var_b = _box(a * a) - mean_a * mean_a, _box(b * b) - mean_b * mean_b
    both = cv2.sqrt(np.maximum(var_a, 0) * np.maximum(var_b, 0) + floor * floor)
    some = (var_b > least) & (weight > 0.5)
    if some.mean() < 0.02:
        some[:] = False
    return np.asarray((_box(a * b) - mean_a * mean_b) / both, np.float32), some


def _displaced(a: Plane, b: Plane, weight: Plane) -> tuple[float, float]:
    """How strongly a matches b when moved, over how it does in place; how strongly it matches itself when moved, over
    how b does: half-whitened correlations over all shifts."""
    near, far = 4, 7  # px; the warp moves no feature further
    spectra = []
    across, down = (np.sqrt(np.hanning(n + 2)[1:-1]).astype(np.float32) for n in (a.shape[1], a.shape[0]))
    window = weight * down[:, None] * across
    for plane in (a, b):
        flat = (plane - _mean(plane, weight)) * window
        padded = cv2.copyMakeBorder(
            flat, 0, SMALL - a.shape[0], 0, SMALL - a.shape[1], cv2.BORDER_CONSTANT, value=(0.0,)
        )
        spectra.append(cv2.dft(padded, flags=cv2.DFT_COMPLEX_OUTPUT))
    peaks = []
    for left, right in ((0, 1), (0, 0), (1, 1)):
        product = cv2.mulSpectrums(spectra[left], spectra[right], 0, conjB=True)
        size = cv2.sqrt(cv2.sqrt(product[..., 0] ** 2 + product[..., 1] ** 2))
        product = product / (size + 1e-3 * float(size.max()) + 1e-6)[..., None]
        found = np.roll(cv2.idft(product, flags=cv2.DFT_REAL_OUTPUT), (far, far), (0, 1))
        middle = float(found[far - near : far + near + 1, far - near : far + near + 1].max())
        found[: 2 * far + 1, : 2 * far + 1] = 0
        peaks.append(float(found.max()) / (middle + 1e-6) if middle > 0 else 9.0)
    moved, itself, own = peaks
    return min(moved, 9.0), max(0.0, itself - own)


def _colours(pair: Pair, share: float = 0.0, tint: tuple[float, float] | None = None) -> dict[str, float]:
    """Are they the photo's colours? tint: of a style that gives those up for its own, as far as it is drawn (share)."""
    (a, b), (own_a, own_b) = _opponents(pair.drawn), _opponents(pair.photo)
    if tint is not None:
        kept = (1 - share) ** 2
        own_a, own_b = (own * kept + drawn * share for own, drawn in zip((own_a, own_b), tint, strict=True))
    q = pair.person
    w = pair.weight if tint is None else q  # behind a tinted person may be the photo itself
    cast = math.hypot(_mean(a, w) - _mean(own_a, w), _mean(b, w) - _mean(own_b, w))
    a, b, own_a, own_b = (np.asarray(cv2.GaussianBlur(x, (0, 0), 3), np.float32) for x in (a, b, own_a, own_b))
    power, own_power = _mean(a * a + b * b, q), _mean(own_a * own_a + own_b * own_b, q)
    apart = (a - own_a) ** 2 + (b - own_b) ** 2
    common = (_mean(a * own_a + b * own_b, q) + 60) / math.sqrt((power + 60) * (own_power + 60))
    # How fast the photo's colours are lost on the way to full strength is modelled roughly: trusted at its end.
    sure = 1.0 if tint is None else share**2
    return {
        "cast": cast * sure,
        "hues": (1 - common) * sure,
        "tinted": math.sqrt(_mean(np.minimum(apart, a * a + b * b), q)) / (math.sqrt(own_power) + 15),
        "grey": (math.sqrt(own_power) + 6) / (math.sqrt(power) + 6),
    }


def _seams(pair: Pair) -> dict[str, float]:
    """Straight steps along rows or columns that the photo has not, in levels."""
    found = 0.0
    for channel in (0, 2):
        for turned in (False, True):
            planes = (
                pair.drawn[..., channel].astype(np.float32),
                pair.photo[..., channel].astype(np.float32),
                pair.weight,
            )
            drawn, photo, weight = (np.ascontiguousarray(p.T if turned else p) for p in planes)
            found = max(found, _seam(drawn, photo, weight))
    return {"seams": found}


def _seam(drawn: Plane, photo: Plane, weight: Plane, run: int = 40) -> float:
    """The most consistent step from one column to the next over a run of rows, beyond the photo's own nearby."""
    if drawn.shape[0] < run + 8 or drawn.shape[1] < 24:
        return 0.0
    alone = np.array([[-0.25, -0.25, 1, -0.25, -0.25]], np.float32)  # a step, not a slope
    steps, own = (np.clip(cv2.filter2D(np.diff(p, axis=1), -1, alone), -30, 30) for p in (drawn, photo))
    rows = np.s_[run // 2 : -(run // 2) : 4]
    mean, size = cv2.blur(steps, (1, run))[rows], cv2.blur(np.abs(steps), (1, run))[rows]
    half = run // 2
    nearby = cv2.dilate(np.abs(cv2.blur(own, (1, half))), np.ones((half, 9), np.uint8))[rows]
    inside = cv2.blur(np.ascontiguousarray(weight[:, 1:]), (7, run))[rows] > 0.98
    return max(0.0, float(((mean * mean / (size + 1) - nearby) * inside)[:, 4:-4].max()))


def _fitted(picture: Bytes, size: tuple[int, int]) -> Bytes:
    """Resized to (width, height)."""
    if picture.shape[1::-1] == size:
        return picture
    how = cv2.INTER_AREA if picture.shape[0] >= size[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _window(picture: Bytes) -> Bytes:
    top, left = (max(0, (n - WINDOW) // 2) for n in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + WINDOW, left : left + WINDOW])


def _luma(picture: Pixels) -> Bytes:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _opponents(picture: Pixels) -> tuple[Plane, Plane]:
    """Red against green, yellow against blue."""
    r, g, b = cv2.split(picture.astype(np.float32))
    return np.asarray(r - g, np.float32), np.asarray((r + g) / 2 - b, np.float32)


def _edges(luma: Plane) -> Plane:
    return np.asarray(
        cv2.magnitude(*(cv2.Sobel(luma, cv2.CV_32F, *along, scale=0.25) for along in ((1, 0), (0, 1)))), np.float32
    )


def _box(plane: Plane) -> Plane:
    return np.asarray(cv2.boxFilter(plane, -1, (31, 31), borderType=cv2.BORDER_REFLECT), np.float32)


def _mean(plane: Plane, weight: Plane) -> float:
    return float((plane * weight).sum()) / (float(weight.sum()) + 1e-6)


def _correlation(a: Plane, b: Plane, weight: Plane) -> float:
    a, b = a - _mean(a, weight), b - _mean(b, weight)
    return _mean(a * b, weight) / math.sqrt((_mean(a * a, weight) + 0.05) * (_mean(b * b, weight) + 0.05))
