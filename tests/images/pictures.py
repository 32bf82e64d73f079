"""Pictures as files, made by Pillow or by hand, for tests to read."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Array = NDArray[Any]


def saved(picture: Image.Image | Array, format: str, **how: Any) -> bytes:
    out = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, format, **how)
    return out.getvalue()


def apart(one: Array, other: Array) -> int:
    """The largest difference; refuses different shapes."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG by hand; rows with their filter bytes, `more` chunks before the picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    others = b"".join(chunk(extra[:4], extra[4:]) for extra in more)
    return b"\x89PNG\r\n\x1a\n" + header + others + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def channel_swapped_profile() -> bytes:
    """sRGB with the red and the green primary exchanged: stored red is green light."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"?XYZ", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"?XYZ", b"gXYZ", 1)


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (ISO 15076-1): a header of 128 bytes, a table, the tags."""
    body, table, at = b"", struct.pack(">I", len(tags)), 132 + 12 * len(tags)
    for name, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50
    header = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"", 0x02400000, b"prtr", space, connection, b"", b"acsp")
    return (header + b"\0" * 28 + white).ljust(128, b"\0") + table + body


def linear_gray_profile() -> bytes:
    curve = b"curv" + struct.pack(">II", 0, 0)
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    return profile(b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": white})


def grey_inks_profile() -> bytes:
    """CMYK whose four inks are all the same gray: Lab lightness falls by a quarter per full ink, no colour."""
    ramp = bytes(range(256))
    corners = [255 - 63 * bin(n).count("1") for n in range(16)]
    identity = [65536 if place % 4 == 0 else 0 for place in range(9)]
    lut = b"mft1" + struct.pack(">I4B9i", 0, 4, 3, 2, 0, *identity)
    lut += ramp * 4 + b"".join(bytes((light, 128, 128)) for light in corners) + ramp * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": lut})
