"""Bytes of a frozen TensorFlow graph -> its nodes, without TensorFlow and without trusting a single length.

A GraphDef is a protocol buffer (https://protobuf.dev/programming-guides/encoding/); the numbers of its fields are those
of graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto in tensorflow/core/framework. An
attribute is taken apart when it is asked for, and a tensor's content stays a view of the file.
"""

import math
import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FLOAT, INT32, UINT8, INT64 = 1, 3, 4, 9
"""Numbers of types.proto."""
DTYPES: Final[dict[int, np.dtype[Any]]] = {FLOAT: np.dtype("<f4"), INT32: np.dtype("<i4"), INT64: np.dtype("<i8")}
"""The types that a constant may have."""
MOST_NODES: Final = 10_000
"""The official graphs have 222."""
MOST_FIELDS: Final = 400_000
"""Fields taken apart in one file; the official ones need a few thousand. It bounds a hostile file's time."""
MOST_ELEMENTS: Final = 1 << 24
"""Of one constant; the official ones' largest has 147 thousand. A constant may say its shape and give one value."""
_MOST_SIDES: Final = 8
_LONGEST_TEXT: Final = 1024
_LISTED: Final = {FLOAT: 5, INT32: 7, INT64: 10}
"""By type, the field of a TensorProto that lists its values one by one."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Array = NDArray[Any]
Field = int | memoryview
"""A varint as an unsigned number, all else as its bytes."""


class Damaged(ValueError):
    """The bytes are no whole GraphDef, or an attribute is missing or of the wrong kind; the text says which."""


@dataclass
class Purse:
    """What is left to spend on one file: fields to be taken apart, and values that it does not hold itself."""

    fields: int = MOST_FIELDS
    values: int = MOST_ELEMENTS

    def spend(self, fields: int = 0, values: int = 0) -> None:
        """Raise Damaged where it is too much."""
        self.fields, self.values = self.fields - fields, self.values - values
        if min(self.fields, self.values) < 0:
            raise Damaged("has more parts than any such graph")


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its name, the op's name, and the names of what it takes, control inputs ("^name") left out.

    Its methods give an attribute, or the default where the node does not say; they raise Damaged for what cannot be.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    _attributes: dict[str, memoryview]
    _purse: Purse

    def number(self, key: str, default: int = 0) -> int:
        """A whole number, flag (0 or 1) or data type."""
        found = self._values(key, 3, 5, 6)
        return _signed(_whole(found[-1])) if found else default

    def real(self, key: str, default: float) -> float:
        """A float32."""
        found = self._values(key, 4)
        if found and len(_view(found[-1])) == 4:
            return float(struct.unpack("<f", _view(found[-1]))[0])
        return default

    def word(self, key: str, default: str) -> str:
        """A short text."""
        return _text(self._values(key, 2)) or default

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; empty where the node does not say."""
        lists = [message(_view(value), self._purse)[3] for value in self._values(key, 1)]
        return tuple(number for values in lists for value in values for number in _wholes(value, self._purse))

    def shape(self, key: str) -> tuple[int, ...] | None:
        """A shape, -1 where a side is unknown; None where the node does not say or the rank is unknown."""
        found = self._values(key, 7)
        return _shape(_view(found[-1]), self._purse) if found else None

    def tensor(self, key: str) -> Array:
        """A constant: float32, int32 or int64; a read-only view, in which one value may stand for all.

        Raises Damaged where there is none, or its size and content do not fit together.
        """
        found = self._values(key, 8)
        if not found:
            raise Damaged("holds no value")
        return _tensor(_view(found[-1]), self._purse)

    def _values(self, key: str, *fields: int) -> list[Field]:
        held = message(self._attributes.get(key, memoryview(b"")), self._purse)
        return [value for field in fields for value in held[field]]


def read_nodes(data: bytes) -> dict[str, Node]:
    """The nodes of a GraphDef by name, in the file's order.

    Raises Damaged for anything else. Time and memory follow the file's size, whatever the lengths in it claim.
    """
    purse = Purse()
    nodes: dict[str, Node] = {}
    for value in message(memoryview(data), purse)[1]:
        node = _node(message(_view(value), purse), purse)
        if not node.name or node.name in nodes:
            raise Damaged("gives two nodes the same name" if node.name else "has a node without a name")
        nodes[node.name] = node
        if len(nodes) > MOST_NODES:
            raise Damaged("has more nodes than any such graph")
    if not nodes:
        raise Damaged("has no nodes")
    return nodes


def message(view: memoryview, purse: Purse) -> defaultdict[int, list[Field]]:
    """The fields of a message by their numbers, each as often as it is there, in order."""
    found: defaultdict[int, list[Field]] = defaultdict(list)
    at, end = 0, len(view)
    while at < end:
        purse.spend(fields=1)
        key, at = _varint(view, at)
        kind = key & 7
        if kind == _VARINT:
            number, at = _varint(view, at)
            found[key >> 3].append(number)
            continue
        if kind == _BYTES:
            length, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise Damaged("is no whole GraphDef")
        if length > end - at:
            raise Damaged("is cut off or damaged")
        found[key >> 3].append(view[at : at + length])
        at += length
    return found


def _node(fields: defaultdict[int, list[Field]], purse: Purse) -> Node:
    attributes: dict[str, memoryview] = {}
    for value in fields[5]:
        pair = message(_view(value), purse)
        attributes[_text(pair[1])] = _view(pair[2][-1]) if pair[2] else memoryview(b"")
    given = (_text([value]) for value in fields[3])
    inputs = tuple(name for name in given if not name.startswith("^"))
    return Node(_text(fields[1]), _text(fields[2]), inputs, attributes, purse)


def _tensor(view: memoryview, purse: Purse) -> Array:
    fields = message(view, purse)
    kind = _whole(fields[1][-1]) if fields[1] else 0
    if kind not in DTYPES:
        raise Damaged(f"holds values of type {kind}, which is neither float32 nor int32 nor int64")
    shape = _shape(_view(fields[2][-1]), purse) if fields[2] else ()
    if shape is None or min(shape, default=0) < 0:
        raise Damaged("does not say its shape")
    dtype, size = DTYPES[kind], math.prod(shape)
    if size > MOST_ELEMENTS:
        raise Damaged(f"claims {size} values, more than any such graph holds")
    if fields[4] and len(content := _view(fields[4][-1])):
        if len(content) != size * dtype.itemsize:
            raise Damaged(f"has {len(content)} bytes for {size} values")
        return np.frombuffer(content, dtype).reshape(shape)
    parts = [_listed(value, kind, purse) for value in fields[_LISTED[kind]]]
    values = np.concatenate(parts) if parts else np.zeros(1, dtype)
    if parts and len(values) > size:
        raise Damaged(f"has {len(values)} values for {size}")
    if len(values) == 1:  # one stands for all; none are zeros
        return np.broadcast_to(values[0], shape)
    purse.spend(values=size)
    filled = np.full(size, values[-1] if len(values) else 0, dtype)  # the last one stands for those that are missing
    filled[: len(values)] = values
    return filled.reshape(shape)


def _listed(value: Field, kind: int, purse: Purse) -> Array:
    """Values of a repeated field, packed or one."""
    if kind == FLOAT:
        if len(_view(value)) % 4:
            raise Damaged("holds damaged values")
        return np.frombuffer(_view(value), "<f4")
    try:
        return np.array(_wholes(value, purse), DTYPES[kind])
    except OverflowError as error:
        raise Damaged("holds a number that is too large for its type") from error


def _shape(view: memoryview, purse: Purse) -> tuple[int, ...] | None:
    fields = message(view, purse)
    if fields[3] and fields[3][-1] == 1:
        return None
    sides = [message(_view(side), purse)[1] for side in fields[2]]
    if len(sides) > _MOST_SIDES:
        raise Damaged(f"has a shape of {len(sides)} sides")
    return tuple(_signed(_whole(side[-1])) if side else 0 for side in sides)


def _varint(view: memoryview, at: int) -> tuple[int, int]:
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


def _signed(number: int) -> int:
    """A varint as a number of 64 bits that may be negative."""
    return number - (1 << 64) if number >> 63 else number


def _wholes(value: Field, purse: Purse) -> list[int]:
    """Whole numbers of a repeated field, packed or one."""
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        purse.spend(fields=1)
        number, at = _varint(value, at)
        found.append(_signed(number))
    return found


def _whole(value: Field) -> int:
    if not isinstance(value, int):
        raise Damaged("is no GraphDef")
    return value


def _view(value: Field) -> memoryview:
    if isinstance(value, int):
        raise Damaged("is no GraphDef")
    return value


def _text(values: list[Field]) -> str:
    """The last of some texts; empty where there is none."""
    view = _view(values[-1]) if values else memoryview(b"")
    try:
        if len(view) <= _LONGEST_TEXT:
            return bytes(view).decode()
    except UnicodeDecodeError:
        pass
    raise Damaged("is no GraphDef")
