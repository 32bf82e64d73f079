"""Whether a decoder may be let near the bytes of a file.

Pure bytes, no decoder. Pillow parses headers in Python without limits on count or overlap, so a small file can keep
it busy for minutes or make it copy gigabytes; what is checked here keeps that bounded.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from cartoon.errors import TooLargeError, UnreadableError, UnsupportedError
from cartoon.images.kinds import CODESTREAM, HEAD_BYTES, Kind, kind_of

_MAX_SEGMENTS: Final = 10_000  # of a JPEG's header; an extended XMP of 100 MB has 1,600
_MAX_CHUNKS: Final = 200_000  # of a PNG; 64 MB in the smallest usual chunks (8 KiB) has 8,000
_MAX_STRIPS: Final = 100_000  # of a TIFF; 65,535 rows one by one, or 100 megapixels in tiles of 32 x 32
_MAX_TILE_PIXELS: Final = 1 << 26
_MAX_BLOCKS: Final = 1_000_000  # of a GIF's frame; 255 bytes each
_MAX_METADATA_BYTES: Final = 1 << 20  # before the first frame of a GIF or the first tile of a JPEG 2000
_TAG_BYTES_PER_BYTE: Final = 16  # how often a TIFF's or an EXIF's values may overlap; honest files never do
_MAX_SCAN_PIXELS: Final = 8_000_000_000  # 1.4 s per 1e9 were measured for empty progressive scans
_J2K_MAX_PIXELS: Final = 50_000_000  # 10 megapixels lossless (16 MB) took 5 s
_J2K_MAX_BYTES: Final = 32 << 20
_PYTHON_MAX_PIXELS: Final = 4_000_000  # Pillow decodes BMP's run lengths and unusual PNM in Python
_PYTHON_MAX_BYTES: Final = 8 << 20

_PNM_GAP: Final = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM_HEADER: Final = re.compile(rb"P([1-6])" + _PNM_GAP + rb"\d+" + _PNM_GAP + rb"\d+(?:" + _PNM_GAP + rb"(\d+))?\s")
_PNM_FAST: Final = ((b"5", b"255"), (b"6", b"255"), (b"5", b"65535"))

_RAW_SUFFIXES: Final = frozenset(
    {".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".pef", ".srw"}
)


@dataclass(frozen=True)
class Screened:
    """A file that may be decoded: its kind, bytes to decode, and for JPEG the metadata taken out of them."""

    kind: Kind
    data: bytes
    exif: bytes = b""
    xmp: bytes = b""


def screen(data: bytes, name: str) -> Screened:
    """The file made ready for its decoder, after what could keep that decoder busy for ever was ruled out.

    Raises UnsupportedError (not one of the kinds read), UnreadableError (empty, damaged or made to harm).
    """
    kind = kind_of(data[:HEAD_BYTES], name)
    try:
        if kind == "JPEG":
            return _screen_jpeg(data)
        if kind == "PNG":
            _screen_png(data)
        elif kind == "GIF":
            _screen_gif(data)
        elif kind == "TIFF":
            _screen_tiff(data, name)
        elif kind == "AVIF":
            _screen_avif(data)
        elif kind == "JPEG 2000":
            _screen_jpeg2000(data)
        elif kind == "PNM" and not _PNM_HEADER.match(data[:HEAD_BYTES]):
            raise _Damaged("its header is broken")
    except (_Damaged, struct.error, IndexError) as problem:
        raise UnreadableError(f"{name} is damaged ({problem}): copy it again or save it anew as PNG or JPEG.") from None
    return Screened(kind, data)


def check_effort(screened: Screened, width: int, height: int, name: str) -> None:
    """Refuse with TooLargeError what would take a decoder longer than about 15 seconds."""
    data, pixels = screened.data, width * height
    slow = False
    if screened.kind == "JPEG":
        slow = data.count(b"\xff\xda") * pixels > _MAX_SCAN_PIXELS
    elif screened.kind == "JPEG 2000":
        slow = pixels > _J2K_MAX_PIXELS or len(data) > _J2K_MAX_BYTES
    elif screened.kind == "BMP" and int.from_bytes(data[14:18], "little") > 12:
        run_lengths = int.from_bytes(data[30:34], "little") in (1, 2)  # BI_RLE8, BI_RLE4
        slow = run_lengths and (pixels > _PYTHON_MAX_PIXELS or len(data) > _PYTHON_MAX_BYTES)
    elif screened.kind == "PNM":
        header = _PNM_HEADER.match(data[:HEAD_BYTES])
        fast = header and (header[1] == b"4" or (header[1], header[2]) in _PNM_FAST)
        slow = not fast and (pixels > _PYTHON_MAX_PIXELS or len(data) > _PYTHON_MAX_BYTES)
    if slow:
        raise TooLargeError(f"{name} would take too long to decode as {screened.kind}: save it as a JPEG or PNG.")


def orientation(exif: bytes = b"", xmp: bytes = b"") -> int:
    """EXIF's orientation, 1..8 (CIPA DC-008, tag 0x0112), XMP's where EXIF has none; 1 when neither is sound."""
    try:
        for entry in _entries(exif, 6 if exif.startswith(b"Exif\0\0") else 0):
            if entry.tag == 0x0112:
                return entry.value if 1 <= entry.value <= 8 else 1
    except (_Damaged, struct.error, IndexError):
        pass  # A photo with damaged EXIF is still a photo.
    found = re.search(rb"tiff:Orientation(?:=[\"']|>)([1-8])", xmp)
    return int(found[1]) if found else 1


class _Damaged(Exception):
    """The bytes break their own format; the text says how."""


@dataclass(frozen=True)
class _Entry:
    """One entry of a TIFF directory: size is its values' bytes, value the first number if it stands inline."""

    tag: int
    count: int
    size: int
    value: int


_TYPE_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def _entries(data: bytes, base: int, directory: int | None = None) -> Iterator[_Entry]:
    """The entries of one directory (the first unless given) of the TIFF structure that starts at `base`."""
    order = {b"II": "<", b"MM": ">"}.get(data[base : base + 2])
    if order is None:
        raise _Damaged("no byte order in its metadata")
    (first,) = struct.unpack_from(order + "I", data, base + 4)
    at = base + (first if directory is None else directory)
    (number,) = struct.unpack_from(order + "H", data, at)
    for place in range(at + 2, at + 2 + 12 * number, 12):
        if place + 12 > len(data):
            return
        tag, typ, count = struct.unpack_from(order + "HHI", data, place)
        code = order + {1: "B", 3: "H"}.get(typ, "I")
        (value,) = struct.unpack_from(code, data, place + 8)
        yield _Entry(tag, count, count * _TYPE_BYTES.get(typ, 0), value)


def _check_tags(data: bytes, base: int = 0) -> None:
    """Rule out directories whose values overlap so often that reading them all would fill the memory."""
    left = _TAG_BYTES_PER_BYTE * len(data)
    waiting: list[int | None] = [None]
    seen: set[int | None] = set()
    while waiting:
        directory = waiting.pop()
        if directory in seen:
            continue
        seen.add(directory)
        for entry in _entries(data, base, directory):
            left -= min(entry.size, len(data))
            if left < 0:
                raise _Damaged("its metadata overlap without end")
            if entry.tag in (34665, 34853, 40965):  # EXIF, GPS, interoperability: directories of their own
                waiting.append(entry.value)


def _screen_jpeg(data: bytes) -> Screened:
    """Rebuild the header from the segments that decoding needs; Pillow never sees the metadata."""
    parts = [data[:2]]
    exif = xmp = b""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        marked = _NOT_FF.search(data, at) if at >= 0 else None
        if marked is None:
            raise _Damaged("it ends before its picture")
        marker, at = marked[0][0], marked.end()
        if marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7:  # markers without a segment
            continue
        if marker == 0xD9:
            raise _Damaged("it holds no picture")
        if marker == 0xDA:
            return Screened("JPEG", b"".join((*parts, b"\xff\xda", data[at:])), exif, xmp)
        segment = data[at : at + max(2, int.from_bytes(data[at : at + 2], "big"))]
        at += len(segment)
        if marker == 0xE1 and segment.startswith(b"Exif\0\0", 2):
            exif = exif or segment[2:]
        elif marker == 0xE1 and segment.startswith(b"http://ns.adobe.com/xap/1.0/\0", 2):
            xmp = xmp or segment[2:]
        elif marker in (0xE0, 0xE2, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts += [bytes((0xFF, marker)), segment]  # JFIF, ICC profile, Adobe, and all that is not metadata
    raise _Damaged("its header has no end")


_NOT_FF: Final = re.compile(rb"[^\xff]")


def _screen_png(data: bytes) -> None:
    """Walk to the end mark; Pillow is content with a file cut off behind its last row."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        if data[at + 4 : at + 8] == b"IEND":
            return
        if at >= len(data):
            raise _Damaged("its end is missing")
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise _Damaged("it is cut into too many pieces")


def _screen_gif(data: bytes) -> None:
    """Walk to the first frame; Pillow joins comments in quadratic time."""
    if _next_frame(data, _gif_start(data), _MAX_METADATA_BYTES) is None:
        raise _Damaged("no picture follows its header")


def has_second_frame(data: bytes) -> bool:
    """Whether a GIF that was screened goes on after its first frame; False where that is far to seek."""
    try:
        first = _next_frame(data, _gif_start(data), _MAX_METADATA_BYTES)
        if first is None:
            return False
        packed = data[first + 9]
        colours = 3 << (packed & 7) + 1 if packed & 0x80 else 0
        after = _after_blocks(data, first + 10 + colours + 1, len(data))  # 1: the code size
        return _next_frame(data, after, _MAX_METADATA_BYTES) is not None
    except IndexError:
        return False


def _gif_start(data: bytes) -> int:
    return 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)


def _next_frame(data: bytes, at: int, most: int) -> int | None:
    """Where the next image descriptor of a GIF stands, if within `most` bytes."""
    end = min(at + most, len(data))
    while at < end and data[at] != 0x3B:  # trailer
        if data[at] == 0x2C:
            return at
        at = _after_blocks(data, at + 2, end) if data[at] == 0x21 else at + 1  # extensions begin with their label
    return None


def _after_blocks(data: bytes, at: int, end: int) -> int:
    """Behind a row of length-prefixed blocks and the empty one that closes it."""
    for _ in range(_MAX_BLOCKS):
        if at >= end or not data[at]:
            break
        at += data[at] + 1
    return at + 1


def _screen_tiff(data: bytes, name: str) -> None:
    _check_tags(data)
    values = {}
    for entry in _entries(data, 0):
        values[entry.tag] = entry.value
        if entry.tag in (273, 279, 324, 325) and entry.count > _MAX_STRIPS:  # offsets and sizes of strips, tiles
            raise _Damaged("it is cut into too many pieces")
    if values.get(322, 0) * values.get(323, 0) > _MAX_TILE_PIXELS:
        raise _Damaged("its tiles are too large")
    # A camera's raw file is a TIFF too, and its first picture a mere thumbnail: DNG's version tag, Canon's mark,
    # a colour filter array, or a reduced picture that points to others.
    if (
        50706 in values
        or data[8:10] == b"CR"
        or values.get(262) in (32803, 34892)
        or (values.get(254, 0) & 1 and 330 in values)
        or PurePath(name).suffix.lower() in _RAW_SUFFIXES
    ):
        raise UnsupportedError(f"{name} is a camera's raw file, which is not read: export it as JPEG and try again.")


def _screen_avif(data: bytes) -> None:
    """Check every EXIF block; where they lie only the decoder knows, so look for their first bytes."""
    for number, found in enumerate(re.finditer(rb"II\*\x00|MM\x00\*", data)):
        if number >= 64:
            raise _Damaged("its metadata have no end")
        try:
            _check_tags(data, found.start())
        except struct.error:
            continue  # These bytes meant something else.


def _screen_jpeg2000(data: bytes) -> None:
    if not data.startswith(CODESTREAM):
        header = data.find(b"jp2h", 12, HEAD_BYTES)
        if header < 0 or int.from_bytes(data[header - 4 : header], "big") > _MAX_METADATA_BYTES:
            raise _Damaged("its header is missing")
    start = data.find(CODESTREAM)
    tiles = data.find(b"\xff\x90", start, start + _MAX_METADATA_BYTES) if start >= 0 else -1
    if tiles < 0:
        raise _Damaged("it holds no picture")
    (components,) = struct.unpack_from(">H", data, start + 40)
    if components > 4:
        raise _Damaged("it has more than four channels")
    # A cut-off stream decodes without complaint; no packet can hold this end marker (ISO 15444-1, B.10.1).
    if data.rfind(b"\xff\xd9", tiles) < 0:
        raise _Damaged("its end is missing")
