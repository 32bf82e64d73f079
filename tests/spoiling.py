"""Ways to spoil a drawing: faults of networks, memory, tiles, batches and codecs, for measuring the quality gate.

Thresholds were set on CALIBRATION and good drawings alone; HELD_OUT is what the gate is then measured on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cartoon.images.types import Pixels


@dataclass(frozen=True, eq=False)
class Source:
    """What a fault can draw on besides the drawing. photo: the drawing's own; stranger: another photo's drawing in the
    same style; both uint8 (H, W, 3) of the drawing's shape."""

    photo: Pixels
    stranger: Pixels


Spoiler = Callable[[Pixels, Generator, Source], Pixels]
"""(drawing uint8 (H, W, 3), chance, source) -> spoiled drawing of the same shape; the argument is not changed."""


def blank(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """NaN or an overflow all over: one value, most often black or white."""
    value = rng.choice([0, 0, 255, 255, int(rng.integers(256))])
    return np.full_like(pixels, value)


def noisy(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Noise over all of it."""
    return _bytes(pixels + rng.normal(0, rng.uniform(18, 40), pixels.shape))


def blue_for_red(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """BGR taken for RGB."""
    return np.ascontiguousarray(pixels[..., ::-1])


def mirrored(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Left is right."""
    return np.ascontiguousarray(pixels[:, ::-1])


def shifted(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Read from the wrong offset: rolled along one axis or both."""
    height, width = pixels.shape[:2]
    dy, dx = (int(rng.choice([-1, 1]) * rng.uniform(0.05, 0.3) * side) for side in (height, width))
    return np.roll(pixels, (dy, dx), (0, 1))


def blurred(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Enlarged from a quarter or less, smoothly."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), max(pixels.shape) * rng.uniform(0.005, 0.015)), np.uint8)


def hole(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """A tile that was never written: black, white or grey."""
    height, width = pixels.shape[:2]
    h, w = (int(rng.uniform(0.15, 0.4) * side) for side in (height, width))
    y, x = int(rng.integers(height - h)), int(rng.integers(width - w))
    spoiled = pixels.copy()
    spoiled[y : y + h, x : x + w] = rng.choice([0, 255, 128])
    return spoiled


def strangers(_: Pixels, rng: Generator, source: Source) -> Pixels:
    """A mixed-up batch: another photo's drawing."""
    return source.stranger.copy()


def inverted(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """A negative."""
    return 255 - pixels


def seams(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Tiles whose brightness does not match."""
    count = int(rng.integers(3, 7))
    steps = rng.choice([-1, 1], (count, count)) * rng.uniform(8, 25, (count, count))
    return _bytes(pixels + _nearest(steps, pixels.shape)[..., None])


def striped(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Rows or columns that come back darker."""
    period, axis = int(rng.integers(3, 20)), int(rng.integers(2))
    dark = np.arange(pixels.shape[axis]) % period < max(1, period // 4)
    factor = np.where(dark, rng.uniform(0.3, 0.7), 1.0)
    return _bytes(pixels * (factor[:, None, None] if axis == 0 else factor[None, :, None]))


def posterised(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Few levels a channel, as from a format of too few bits."""
    step = 255 / int(rng.integers(2, 5))
    return _bytes(np.rint(pixels / step) * step)


def tinted(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """A colour cast: one or two channels too strong."""
    gains = rng.permutation([rng.uniform(1.25, 1.6), 1.0, rng.uniform(0.6, 0.85)])
    return _bytes(pixels * gains)


def squeezed(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """A JPEG of hardly any bytes."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(2, 9))])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def undrawn(_: Pixels, rng: Generator, source: Source) -> Pixels:
    """The photo itself, handed back as if it were a drawing."""
    return source.photo.copy()


def planes_as_pixels(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Planes (3, H, W) read as if they were (H, W, 3)."""
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0)).reshape(pixels.shape)


def turned(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Upside down, or on its side and stretched to fit."""
    on_side = np.ascontiguousarray(np.rot90(pixels, int(rng.integers(1, 4))))
    return np.asarray(cv2.resize(on_side, pixels.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)


def chequered(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Uneven overlap of a transposed convolution (Odena et al. 2016)."""
    y, x = np.indices(pixels.shape[:2]) // int(rng.integers(1, 3))
    chequers = np.asarray(((x + y) % 2) * 2.0 - 1)
    return _bytes(pixels + chequers[..., None] * rng.uniform(8, 20))


def doubled(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """A ghost: two frames laid over each other."""
    height, width = pixels.shape[:2]
    dx = int(rng.choice([-1, 1]) * rng.uniform(0.04, 0.1) * width)
    dy = int(rng.uniform(-0.05, 0.05) * height)
    return _bytes(0.55 * pixels + 0.45 * np.roll(pixels, (dy, dx), (0, 1)))


def shuffled(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Tiles put back in the wrong order."""
    count = int(rng.integers(2, 5))
    h, w = pixels.shape[0] // count, pixels.shape[1] // count
    places = [np.s_[y * h : y * h + h, x * w : x * w + w] for y in range(count) for x in range(count)]
    spoiled = pixels.copy()
    for to, taken in zip(places, np.roll(rng.permutation(len(places)), 1), strict=True):
        spoiled[to] = pixels[places[taken]]
    spoiled[places[0]] = pixels[places[-1]]  # whatever the chance: never the same order
    return spoiled


def skewed(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Rows read with the wrong stride: each begins a little later than the one before."""
    step = int(rng.choice([-3, -2, -1, 1, 2, 3]))
    return np.stack([np.roll(row, step * y, 0) for y, row in enumerate(pixels)])


def cut_short(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """The lower part never came: grey, or the last row again and again."""
    top = int(rng.uniform(0.4, 0.8) * len(pixels))
    spoiled = pixels.copy()
    spoiled[top:] = 128 if rng.random() < 0.5 else pixels[top - 1]
    return spoiled


def peppered(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Single pixels black or white."""
    chance = rng.random(pixels.shape[:2])
    share = rng.uniform(0.01, 0.05)
    spoiled = pixels.copy()
    spoiled[chance < share / 2] = 0
    spoiled[chance > 1 - share / 2] = 255
    return spoiled


def wrapped(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Values beyond 255 that begin again at 0."""
    return (pixels.astype(np.int32) * int(rng.integers(13, 20)) // 10 % 256).astype(np.uint8)


def half_strangers(pixels: Pixels, rng: Generator, source: Source) -> Pixels:
    """One half is another photo's drawing."""
    spoiled = pixels.copy()
    if rng.random() < 0.5:
        spoiled[:, pixels.shape[1] // 2 :] = source.stranger[:, pixels.shape[1] // 2 :]
    else:
        spoiled[: len(pixels) // 2] = source.stranger[: len(pixels) // 2]
    return spoiled


def pixelated(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Enlarged from far too few pixels, in squares."""
    side = rng.uniform(40, 80)
    few = cv2.resize(
        pixels,
        tuple(max(2, int(side * n / max(pixels.shape))) for n in pixels.shape[1::-1]),
        interpolation=cv2.INTER_AREA,
    )
    return np.asarray(cv2.resize(few, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def washed_out(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Hardly any contrast left."""
    share = rng.uniform(0.1, 0.25)
    return _bytes(rng.uniform(100, 200) * (1 - share) + share * pixels)


def channel_lost(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """One channel was never written."""
    spoiled = pixels.copy()
    spoiled[..., int(rng.integers(3))] = int(rng.choice([0, 255]))
    return spoiled


def linear_light(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """A transfer curve applied twice, or taken off twice: far too dark or too bright."""
    return _bytes(255 * (pixels / 255.0) ** rng.choice([2.8, 0.36]))


def jittered(pixels: Pixels, rng: Generator, _: Source) -> Pixels:
    """Rows displaced by chance."""
    most = max(3, int(0.02 * pixels.shape[1]))
    return np.stack([np.roll(row, int(rng.integers(-most, most + 1)), 0) for row in pixels])


CALIBRATION: Final[tuple[Spoiler, ...]] = (
    blank,
    noisy,
    blue_for_red,
    mirrored,
    shifted,
    blurred,
    hole,
    strangers,
    inverted,
    seams,
    striped,
    posterised,
    tinted,
    squeezed,
    undrawn,
)
HELD_OUT: Final[tuple[Spoiler, ...]] = (
    planes_as_pixels,
    turned,
    chequered,
    doubled,
    shuffled,
    skewed,
    cut_short,
    peppered,
    wrapped,
    half_strangers,
    pixelated,
    washed_out,
    channel_lost,
    linear_light,
    jittered,
)


def _bytes(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _nearest(tiles: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A small (h, w) table spread over shape's height and width."""
    y = np.arange(shape[0]) * tiles.shape[0] // shape[0]
    x = np.arange(shape[1]) * tiles.shape[1] // shape[1]
    return tiles[np.ix_(y, x)]
