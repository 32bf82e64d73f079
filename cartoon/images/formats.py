"""Which files are pictures: suffixes, media types, the formats that are written."""

from typing import Final, Literal, cast, get_args

from cartoon.images.types import Photo
from cartoon.options import Format

OutputFormat = Literal["png", "jpg", "webp"]
_READ_SUFFIXES: Final = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .tif .tiff .bmp .avif .jp2 .j2k .j2c .jpc .jpf .jpx "
    ".ppm .pgm .pbm .pnm"
)
_REFUSED_SUFFIXES: Final = ".heic .heif"  # a person's photos too: an error that says so beats leaving them out silently
SUFFIXES: Final = frozenset(_READ_SUFFIXES.split() + _REFUSED_SUFFIXES.split())
"""Lower case, with the dot: what a walk through a folder or a zip picks up."""
MEDIA_TYPES: Final[dict[str, str]] = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


def resolve_format(asked: Format, photo: Photo) -> OutputFormat:
    """The format to write: the one asked for, or for "keep" the photo's own (png where that cannot be written)."""
    wanted = photo.format if asked == "keep" else asked
    return cast(OutputFormat, wanted) if wanted in get_args(OutputFormat) else "png"
