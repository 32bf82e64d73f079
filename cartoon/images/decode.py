"""Picture files in and out: bytes -> Photo, pixels -> bytes."""

import logging
import math
import stat
import struct
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFile

from cartoon.errors import (
    InputError,
    ResourceError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from cartoon.images import decoders, kinds, screening
from cartoon.images.colour import Colours, to_srgb
from cartoon.images.types import Alpha, Photo, Pixels
from cartoon.memory import PrioritySemaphore, Ticket

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)


MAX_PIXELS: Final = 100_000_000
MIN_SIDE: Final = 8
"""px; less holds no picture that could be drawn."""
MAX_ASPECT: Final = 64
"""Long side over short side; at the smallest drawing, 64 px, the short side still has a pixel."""

MOST_KEPT: Final = 40_000_000
"""Pixels of a photo that are kept; a larger one is read at a half, a third ...: more than 4096 px are never drawn."""
_BAND_PIXELS: Final = 1 << 22
"""Pixels of a large picture that are in its decoder's and in our form at a time."""
_BY_THE_PICTURE: Final = ("I", "F")
"""Beginnings of Pillow's modes whose black and white are looked up in the whole picture."""


_HEADER_BYTES: Final = 1 << 17
_HEADER_FIRST: Final = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "PNM"})
_DECODER_PROBLEMS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    AssertionError,
    ArithmeticError,
    BufferError,
    RuntimeError,
    Warning,
    struct.error,
    zlib.error,
)
"""Everything that Pillow's decoders were seen, or are written, to raise over damaged files."""


class Decoding:
    """The memory of this process that pictures take while they are decoded: only so many pixels at a time."""

    def __init__(self, pixels: int) -> None:
        self._pixels = PrioritySemaphore(pixels)

    def allow(self, pixels: int) -> None:
        """Decode so many pixels at a time from now on; a picture of more is decoded when no other is."""
        self._pixels = PrioritySemaphore(pixels)

    def turn(self, pixels: int) -> AbstractContextManager[object]:
        """Wait for so many pixels in order of arrival, and give them back."""
        return self._pixels.admit(Ticket(), pixels)


decoding: Final = Decoding(120_000_000)
"""The one of this process, as its memory is one, whichever door a picture comes through."""


def decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a whole picture file: upright, sRGB, eight bits, alpha kept; of several frames the first.

    The kind is told by the bytes, never by the suffix. The size is checked before anything is decoded, and any bytes
    give a Photo or an error within bounded time. Same bytes, same Photo.
    Raises InputError and its kinds, each naming `name`; ResourceError when memory runs out.
    """
    try:
        screened = screening.screen(data, name)
        im = decoders.opened(screened, name)
        whole = im.size
        _check_size(whole, name, max_pixels)
        screening.check_effort(screened, *whole, name)
        if screened.kind == "JPEG" and whole[0] * whole[1] > MOST_KEPT:
            im.draft(None, (whole[0] // 2, whole[1] // 2))  # libjpeg leaves the finer frequencies out as it decodes
        with decoding.turn(im.size[0] * im.size[1]):
            return _decoded(im, screened, name, max_pixels, whole)
    except MemoryError as problem:
        raise ResourceError(f"{name} does not fit into memory now: try again later or shrink it.") from problem
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise TooLargeError(f"{name} unpacks to more pixels than is safe to decode: shrink it first.") from problem
    except _DECODER_PROBLEMS as problem:
        logger.debug("not decoded: %s: %s", type(problem).__name__, problem)  # no names in logs
        raise UnreadableError(
            f"{name} is damaged or incomplete and cannot be read: copy it again or save it anew as PNG or JPEG."
        ) from problem


def size_of(path: Path, name: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) of a picture file, as far as its header tells: nothing is decoded. Errors as `read`.

    A file that is cut off further on, or was laid on its side by a camera, does not show here.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnsupportedError(f"{name} is not an ordinary file: name a picture file.")
        with path.open("rb") as file:
            data = file.read(_HEADER_BYTES)
            kind = kinds.kind_of(data, name)
            size = _header_size(kind, data, name) if kind in _HEADER_FIRST else None
            size = size or _header_size(kind, data + file.read(), name)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise UnreadableError(f"{name} cannot be opened ({reason}): check the path and its permissions.") from problem
    if size is None:
        raise UnreadableError(f"{name} is damaged and cannot be read: copy it again.")
    _check_size(size, name, max_pixels)
    return size


def read(path: Path, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a picture file from disk; errors as `decode`, and for a file that cannot be opened. Never changes it."""
    name = path.name if name is None else name
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnsupportedError(f"{name} is a folder, not a picture: name the pictures in it.")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited on for ever
            raise UnsupportedError(f"{name} is not an ordinary file: name a picture file.")
        with path.open("rb") as file:
            kinds.kind_of(file.read(kinds.HEAD_BYTES), name)  # A film of gigabytes is turned away by its first bytes.
            most = 16 * max_pixels + (64 << 20)  # no format needs more than 16 bytes a pixel, metadata aside
            if status.st_size > most:
                raise TooLargeError(f"{name} has {status.st_size >> 20} MB, more than is safe to decode: shrink it.")
            file.seek(0)
            data = file.read(most)
    except MemoryError as problem:
        raise ResourceError(f"{name} does not fit into memory now: try again later or shrink it.") from problem
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UnreadableError(f"{name} cannot be opened ({reason}): check the path and its permissions.") from problem
    return decode(data, name, max_pixels)


def _header_size(kind: kinds.Kind, data: bytes, name: str) -> tuple[int, int] | None:
    """(width, height) where the header is whole in `data`."""
    try:
        width, height = decoders.opened(screening.Screened(kind, data), name).size
    except (*_DECODER_PROBLEMS, Image.DecompressionBombError):
        return None
    return width, height


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooLargeError(
            f"{name} has {width} x {height} pixels, more than the {max_pixels / 1e6:g} million that are safe to decode"
            " (CARTOON_MAX_PIXELS): shrink it first."
        )
    if min(size) < MIN_SIDE:
        raise InputError(
            f"{name} has only {width} x {height} pixels: choose a picture of at least {MIN_SIDE} on each side."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise InputError(
            f"{name} is a strip of {width} x {height} pixels: crop it until one side is at most {MAX_ASPECT} times the "
            "other."
        )


def _decoded(
    im: ImageFile.ImageFile, screened: screening.Screened, name: str, max_pixels: int, whole: tuple[int, int]
) -> Photo:
    """The decoder's picture as a Photo; what the decoder took is given back when this returns."""
    picture = decoders.upright(im, screened)
    _check_size(picture.im.size, name, max_pixels)  # a frame may be larger than its file said
    return _photo(picture, screened.kind, name, whole)


def _kept(picture: decoders.Picture) -> Colours:
    """The picture in sRGB, at a half, a third ... where it has more than MOST_KEPT pixels; band by band then."""
    width, height = picture.im.size
    factor = math.ceil((width * height / MOST_KEPT) ** 0.5)
    if factor == 1:
        return to_srgb(picture.im, picture.bits, picture.inverted)
    rows = height if picture.im.mode.startswith(_BY_THE_PICTURE) else max(1, _BAND_PIXELS // width // factor) * factor
    pixels: list[Pixels] = []
    alphas: list[Alpha] = []
    notes: tuple[str, ...] = ()
    opaque = True
    for top in range(0, height, rows):
        band = to_srgb(picture.im.crop((0, top, width, min(height, top + rows))), picture.bits, picture.inverted)
        pixels.append(np.asarray(Image.fromarray(band.pixels).reduce(factor)))
        opaque, notes = opaque and band.alpha is None, band.notes
        alpha = np.full(band.pixels.shape[:2], 255, np.uint8) if band.alpha is None else band.alpha
        alphas.append(np.asarray(Image.fromarray(alpha).reduce(factor)))
    return Colours(np.concatenate(pixels), None if opaque else np.concatenate(alphas), notes)


def _photo(picture: decoders.Picture, kind: kinds.Kind, name: str, whole: tuple[int, int]) -> Photo:
    colours = _kept(picture)
    notes = [*picture.notes, *colours.notes]
    height, width = colours.pixels.shape[:2]
    if width * height < whole[0] * whole[1]:
        notes.append(f"its {whole[0] * whole[1] / 1e6:.0f} million pixels were read as {width} x {height}")
    if colours.alpha is not None and not colours.alpha.any():
        notes.append("it is transparent everywhere")
    format = {"JPEG": "jpg", "WEBP": "webp"}.get(kind, "png")
    return Photo(colours.pixels, colours.alpha, name, format, tuple(notes))
