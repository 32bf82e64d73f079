"""The wire format of protocol buffers: https://protobuf.dev/programming-guides/encoding/. No length is trusted."""

from collections.abc import Iterator
from typing import Final

MOST_FIELDS: Final = 400_000
"""Fields taken apart in one file; the official ones need a few thousand. It bounds a hostile file's time."""
MOST_ELEMENTS: Final = 1 << 24
"""Of one constant; the official ones' largest has 147 thousand. A constant may say its shape and give one value."""
_LONGEST_TEXT: Final = 1024
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Damaged(ValueError):
    """The bytes are no whole GraphDef, or an attribute is missing or of the wrong kind; the text says which."""


class Purse:
    """What is left to spend on one file: fields to be taken apart, and values that it does not hold itself."""

    def __init__(self) -> None:
        self.fields = MOST_FIELDS
        self.filled = MOST_ELEMENTS

    def spend(self, fields: int) -> None:
        """Raise Damaged where it is too much."""
        self.fields -= fields
        if self.fields < 0:
            raise Damaged("has more parts than any such graph")


def fields(view: memoryview, purse: Purse) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, content): a varint as an unsigned number, all else as its bytes."""
    at, end = 0, len(view)
    while at < end:
        purse.spend(1)
        key, at = varint(view, at)
        kind = key & 7
        if kind == _VARINT:
            number, at = varint(view, at)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            length, at = varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise Damaged("is no whole GraphDef")
        if length > end - at:
            raise Damaged("is cut off or damaged")
        yield key >> 3, view[at : at + length]
        at += length


def varint(view: memoryview, at: int) -> tuple[int, int]:
    """(number, where the next thing begins): seven bits a byte, the least first."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise Damaged("is cut off or damaged")
        byte = view[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & ((1 << 64) - 1), at
    raise Damaged("is no whole GraphDef")


def signed(number: int) -> int:
    """A varint as a number of 64 bits that may be negative."""
    return number - (1 << 64) if number >> 63 else number


def text(value: int | memoryview) -> str:
    """A short text."""
    if isinstance(value, int) or len(value) > _LONGEST_TEXT:
        raise Damaged("is no GraphDef")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise Damaged("is no GraphDef") from error
