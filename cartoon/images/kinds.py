"""What kind of picture a file's bytes are, told by its first bytes whatever its suffix says."""

import re
from typing import Final, Literal

from cartoon.errors import UnreadableError, UnsupportedError

Kind = Literal["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG 2000", "PNM"]

HEAD_BYTES: Final = 4096
"""As much of a file's start as `kind_of` looks at."""
CODESTREAM: Final = b"\xff\x4f\xff\x51"
"""JPEG 2000's SOC and SIZ markers."""
_READ: Final = "JPEG, PNG, WEBP, GIF, TIFF, BMP, AVIF or JPEG 2000"
_BMP_HEADER_SIZES: Final = (12, 40, 52, 56, 64, 108, 124)
_FOREIGN: Final[tuple[tuple[re.Pattern[bytes], str, str], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), what, advice)
    for pattern, what, advice in (
        (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "a HEIC picture", "convert it to JPEG"),
        (rb"....ftypcrx |FUJIFILMCCD-RAW|II(RO|RS|U\x00)|\x00MRM", "a camera's raw file", "export it as JPEG"),
        (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI |\x00\x00\x01[\xb3\xba]", "a video", "export one picture of it as JPEG"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing", "export it as PNG"),
        (rb"\s*%PDF", "a PDF document", "export the page as PNG"),
        (rb"(\xef\xbb\xbf)?\s*<.*<svg|(\xef\xbb\xbf)?\s*<svg", "an SVG drawing", "export it as PNG"),
        (rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF", "a Windows metafile", "export it as PNG"),
        (rb"8BPS", "a Photoshop document", "export it as PNG"),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL picture", "convert it to PNG or JPEG"),
        (rb"II\+\x00|MM\x00\+", "a BigTIFF picture", "save it as PNG or an ordinary TIFF"),
    )
)


def kind_of(head: bytes, name: str) -> Kind:
    """The kind of picture a file starts like, whatever its suffix says.

    Raises UnreadableError for an empty file, UnsupportedError for anything that is not one of these kinds.
    """
    if not head:
        raise UnreadableError(f"{name} is empty: copy it again or choose another file.")
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head.startswith((CODESTREAM, b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG 2000"
    if re.match(rb"P[1-6][\s#]", head):
        return "PNM"
    if head[4:8] == b"ftyp":
        brands = head[8 : min(int.from_bytes(head[:4], "big"), 256)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
    for pattern, what, advice in _FOREIGN:
        if pattern.match(head[:HEAD_BYTES]):
            raise UnsupportedError(f"{name} is {what}, which is not read: {advice} and try again.")
    raise UnsupportedError(f"{name} is not a picture of a known kind: use {_READ}.")
