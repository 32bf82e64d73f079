"""One kind's decoder: the header first, then an upright picture and what its file says about its samples."""

import contextlib
import importlib
import io
from dataclasses import dataclass
from typing import Final, cast

from PIL import Image, ImageFile

from cartoon.errors import UnsupportedError
from cartoon.images import kinds, screening

_PLUGINS: Final[dict[kinds.Kind, tuple[str, str]]] = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "JPEG 2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PNM": ("PpmImagePlugin", "PpmImageFile"),
}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture, still in its own colours.

    bits: per sample as stored, for PNG, PNM and TIFF; None elsewhere. inverted: 0 is white (see colour.to_srgb).
    notes: what was done to it.
    """

    im: Image.Image
    bits: int | None
    inverted: bool
    notes: tuple[str, ...]


def opened(screened: screening.Screened, name: str) -> ImageFile.ImageFile:
    """The file's header as read by the decoder for its kind; nothing is decoded yet.

    Raises whatever that decoder raises over a damaged file, UnsupportedError where Pillow was built without it.

    Straight to the plugin and not through Image.open, whose pixel limit is a global of the whole process and whose
    other plugins start programs (EPS). Without a file name, or Pillow would map the file of that name instead.
    """
    module, plugin_name = _PLUGINS[screened.kind]
    try:
        plugin = getattr(importlib.import_module(f"PIL.{module}"), plugin_name)
    except ImportError as problem:
        raise UnsupportedError(
            f"{name} is {screened.kind}, which this Pillow does not read: convert it to PNG or install Pillow 11.3."
        ) from problem
    return cast(ImageFile.ImageFile, plugin(io.BytesIO(screened.data)))


def upright(im: ImageFile.ImageFile, screened: screening.Screened) -> Picture:
    """Decode the first frame and turn it upright; raises whatever Pillow's decoder raises over a damaged file."""
    im.load()
    notes: list[str] = []
    turn = _TURNS.get(_orientation(im, screened))
    if turn is not None:
        notes.append("it was turned upright")
    if _has_more_frames(im, screened):
        notes.append("only its first frame was used")
    turned = im if turn is None else im.transpose(turn)
    if screened.kind in ("BMP", "TIFF") and turned.mode == "RGBA" and turned.getchannel("A").getextrema() == (0, 0):
        turned = turned.convert("RGB")  # written by programs that leave the fourth byte unset
        notes.append("its alpha was empty everywhere and was ignored")
    return Picture(turned, _bits(im, screened), _white_is_zero(im), tuple(notes))


def _orientation(im: ImageFile.ImageFile, screened: screening.Screened) -> int:
    if screened.kind == "JPEG":
        return screening.orientation(screened.exif, screened.xmp)
    if screened.kind == "TIFF":
        return 1  # Pillow has turned it.
    exif = im.info.get("exif") or b""
    profile = im.info.get("Raw profile type exif")  # ImageMagick's way in PNG: three lines, then hexadecimal
    if not exif and isinstance(profile, str):
        with contextlib.suppress(ValueError):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    xmp = im.info.get("xmp") or im.info.get("XML:com.adobe.xmp") or b""
    return screening.orientation(exif, xmp.encode() if isinstance(xmp, str) else xmp)


def _has_more_frames(im: ImageFile.ImageFile, screened: screening.Screened) -> bool:
    if screened.kind == "GIF":  # Pillow would decode to find out.
        return screening.has_second_frame(screened.data)
    return bool(getattr(im, "is_animated", False))


def _bits(im: ImageFile.ImageFile, screened: screening.Screened) -> int | None:
    if screened.kind == "PNG":
        return screened.data[24]  # in IHDR, which must come first
    if screened.kind == "PNM":
        return 16 if im.mode == "I" else 8  # Pillow has scaled them
    tags = getattr(im, "tag_v2", None)
    if tags is None:
        return None
    bits = tags.get(258, (1,))
    return int(bits[0] if isinstance(bits, tuple) else bits)


def _white_is_zero(im: ImageFile.ImageFile) -> bool:
    """A TIFF whose gray counts from white down; Pillow turns that round for up to 8 bits only."""
    tags = getattr(im, "tag_v2", None)
    return tags is not None and tags.get(262) == 0
