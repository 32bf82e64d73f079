"""A decoded picture of any colour mode -> sRGB pixels and alpha."""

import io
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

MAX_PROFILE_BYTES: Final = 8 << 20
"""A larger ICC profile is ignored; printers' CMYK profiles have up to 3 MB."""

_PROFILE_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_PROFILE_PROBLEMS: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError, KeyError)
_SAME: Final = 1
"""A profile that moves no probed colour by more than this (of 255) is sRGB already."""


@dataclass(frozen=True, eq=False)
class Colours:
    """uint8 (H, W, 3) sRGB, uint8 (H, W) alpha or None when opaque, and what a person may want to know."""

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    notes: tuple[str, ...]


def to_srgb(im: Image.Image, bits: int | None = None, inverted: bool = False) -> Colours:
    """Turn any Pillow mode into sRGB and alpha; the ICC profile in `im.info` is applied, a broken one ignored.

    bits: per sample as stored, where the mode does not tell (PNG's 1, 2, 4; TIFF's 12); None for what the mode says.
    inverted: 0 is white in a gray of more than eight bits. Colour under fully transparent pixels becomes white,
    so that nothing invisible is drawn or recognised.
    """
    notes: list[str] = []
    if im.mode in ("P", "PA"):
        see_through = im.mode == "PA" or "transparency" in im.info or (im.palette and im.palette.mode == "RGBA")
        im = im.convert("RGBA" if see_through else "RGB")
    alpha = _alpha(im, bits)
    plain, remark = _eight_bit(im, bits, inverted)
    if remark:
        notes.append(remark)
    profile = im.info.get("icc_profile")
    if plain.mode == "LAB":
        plain = _from_lab(plain)
    elif isinstance(profile, bytes) and profile:
        try:
            plain = _from_profile(plain, profile)
        except _PROFILE_PROBLEMS as problem:
            logger.debug("ICC profile ignored: %s", problem)
            notes.append("its colour profile is broken and was ignored")
    pixels: NDArray[np.uint8] = np.array(_rgb(plain))
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if alpha is not None:
        pixels |= np.where(alpha == 0, np.uint8(255), np.uint8(0))[..., None]
    return Colours(pixels, alpha, tuple(notes))


def _alpha(im: Image.Image, bits: int | None) -> NDArray[np.uint8] | None:
    if im.mode in ("RGBa", "La"):
        im = im.convert(im.mode.upper())
    if im.mode in ("RGBA", "LA"):
        return np.array(im.getchannel("A"))
    key = im.info.get("transparency")
    if key is None:
        return None
    # One colour, as stored, is transparent. Pillow has widened 2 and 4 bits to 8 and cut 16-bit RGB to its high
    # bytes, so for the latter neighbours that differ in the low byte become transparent too.
    if im.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        wanted = [(int(k) >> 8 if bits == 16 else int(k)) & 0xFF for k in key]
        return np.where((np.asarray(im) == wanted).all(axis=2), 0, 255).astype(np.uint8)
    if im.mode in ("1", "L") or im.mode.startswith("I;16"):
        level = int(key) * {2: 85, 4: 17}.get(bits or 8, 1) if im.mode == "L" else int(key)
        gray = np.asarray(im.convert("L") if im.mode == "1" else im)
        return np.where(gray == level, 0, 255).astype(np.uint8)
    return None


def _eight_bit(im: Image.Image, bits: int | None, inverted: bool) -> tuple[Image.Image, str]:
    """The picture, of any mode but P and PA, in L, RGB, CMYK or LAB without alpha; and a remark ("" for none)."""
    if im.mode in ("L", "RGB", "CMYK", "LAB"):
        return im, ""
    if im.mode in ("1", "LA"):
        return im.convert("L"), ""
    if im.mode == "La":
        return im.convert("LA").convert("L"), ""
    if im.mode == "RGBa":
        return im.convert("RGBA").convert("RGB"), ""
    if im.mode == "F" or im.mode.startswith("I"):
        values = np.asarray(im)
        if im.mode.startswith("I;16"):
            low, high = 0.0, float((1 << (bits or 16)) - 1)
        else:
            low, high = _value_range(values)
            if im.mode == "I" and bits == 16 and low == 0:
                high = 65535.0
        gray = _scaled(values, low, high)
        remark = f"gray values {low:g} to {high:g} were scaled to 8 bits"
        return Image.fromarray(255 - gray if inverted else gray), remark
    return im.convert("RGB"), ""  # RGBA, RGBX, YCbCr, HSV


def _rgb(im: Image.Image) -> Image.Image:
    """RGB from L, RGB or CMYK; a gray's transparent colour, of which `convert` makes much, is left aside."""
    if im.mode == "L":
        return Image.merge("RGB", (im, im, im))
    return im if im.mode == "RGB" else im.convert("RGB")


def _value_range(values: NDArray[np.generic]) -> tuple[float, float]:
    """Black and white of 32-bit samples, which no header tells: the nearest usual range, else what is there."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low >= 0:
        usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        for white in usual:
            if high <= white:
                return 0.0, white
    return low, high if high > low else low + 1.0


def _scaled(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """uint8, `low` -> 0 and `high` -> 255, rounded; what is not a number becomes 0."""
    if values.dtype.kind == "u":
        table = np.rint(np.arange(65536) * (255.0 / high)).clip(0, 255).astype(np.uint8)
        gray: NDArray[np.uint8] = table[values]
        return gray
    spread = (values.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    finite: NDArray[np.float32] = np.nan_to_num(spread, nan=0.0, posinf=255.0, neginf=0.0)
    return np.rint(finite).clip(0, 255).astype(np.uint8)


def _from_lab(im: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB", ImageCms.Intent.PERCEPTUAL
    )
    return _applied(transform, im)


def _from_profile(im: Image.Image, data: bytes) -> Image.Image:
    """Convert from an embedded profile; raises one of _PROFILE_PROBLEMS where the two do not go together."""
    if len(data) > MAX_PROFILE_BYTES:
        raise ValueError(f"{len(data)} bytes")
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    mode = _PROFILE_MODES[profile.profile.xcolor_space.strip()]
    if mode == "RGB" and im.mode == "L":
        im = _rgb(im)  # Common: a gray picture saved with the working space of the program.
    if mode != im.mode:
        raise ValueError(f"a profile for {mode} on a picture in {im.mode}")
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL
    )
    if mode in ("L", "RGB"):
        probe = _probe(mode)
        moved = np.asarray(_applied(transform, probe)).astype(np.int16) - np.asarray(_rgb(probe))
        if np.abs(moved).max() <= _SAME:
            return im
    return _applied(transform, im)


def _applied(transform: ImageCms.ImageCmsTransform, im: Image.Image) -> Image.Image:
    out = ImageCms.applyTransform(im, transform)
    if out is None:  # only when asked to work in place
        raise ValueError("no picture came back")
    return out


@lru_cache(maxsize=2)
def _probe(mode: str) -> Image.Image:
    """A 9 x 9 x 9 grid of colours, or all 256 grays."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3))
