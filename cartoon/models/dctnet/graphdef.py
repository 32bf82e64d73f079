"""Bytes of a frozen TensorFlow graph -> its nodes, without TensorFlow and without trusting a single length.

A GraphDef is a protocol buffer; the numbers of its fields are those of graph.proto, node_def.proto, attr_value.proto,
tensor.proto and tensor_shape.proto in tensorflow/core/framework. An attribute is taken apart when it is asked for, and
a tensor's content stays a view of the file.
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cartoon.models.dctnet.protowire import MOST_ELEMENTS as MOST_ELEMENTS
from cartoon.models.dctnet.protowire import Damaged as Damaged
from cartoon.models.dctnet.protowire import Purse, fields, signed, text, varint

FLOAT, INT32, UINT8, INT64 = 1, 3, 4, 9
"""Numbers of types.proto."""
DTYPES: Final[dict[int, np.dtype[Any]]] = {FLOAT: np.dtype("<f4"), INT32: np.dtype("<i4"), INT64: np.dtype("<i8")}
"""The types that a constant may have."""
MOST_NODES: Final = 10_000
"""The official graphs have 224."""
_MOST_DIMS: Final = 8
_VALUES: Final = {FLOAT: 5, INT32: 7, INT64: 10}
"""By type, the field of a TensorProto that lists its values one by one."""

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its name, the op's name, and the names of what it takes, control inputs ("^name") left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    _attributes: dict[str, memoryview]
    _purse: Purse

    def number(self, key: str, default: int = 0) -> int:
        """A whole number, flag (0 or 1) or data type; `default` where the node does not say."""
        for field, value in self._value(key):
            if field in (3, 5, 6) and isinstance(value, int):
                default = signed(value)
        return default

    def real(self, key: str, default: float) -> float:
        """A float32; `default` where the node does not say."""
        for field, value in self._value(key):
            if field == 4 and isinstance(value, memoryview) and len(value) == 4:
                default = float(struct.unpack("<f", value)[0])
        return default

    def word(self, key: str, default: str) -> str:
        """A short text; `default` where the node does not say."""
        for field, value in self._value(key):
            if field == 2 and isinstance(value, memoryview):
                default = text(value)
        return default

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; empty where the node does not say."""
        found: list[int] = []
        for field, value in self._value(key):
            if field == 1 and isinstance(value, memoryview):
                for inner, item in fields(value, self._purse):
                    if inner == 3:
                        found += _whole(item, self._purse)
        return tuple(found)

    def shape(self, key: str) -> tuple[int, ...] | None:
        """A shape, -1 where a side is unknown; None where the node does not say or the rank is unknown."""
        for field, value in self._value(key):
            if field == 7 and isinstance(value, memoryview):
                return _shape(value, self._purse)
        return None

    def tensor(self, key: str) -> Array:
        """A constant: float32, int32 or int64; a read-only view, in which one value may stand for all.

        Raises Damaged where there is none, or its size and content do not fit together.
        """
        for field, value in self._value(key):
            if field == 8 and isinstance(value, memoryview):
                return _tensor(value, self._purse)
        raise Damaged("holds no value")

    def _value(self, key: str) -> list[tuple[int, int | memoryview]]:
        return list(fields(self._attributes[key], self._purse)) if key in self._attributes else []


def read_nodes(data: bytes) -> dict[str, Node]:
    """The nodes of a GraphDef by name, in the file's order.

    Raises Damaged for anything else. Time and memory follow the file's size, whatever the lengths in it claim.
    """
    purse = Purse()
    nodes: dict[str, Node] = {}
    for field, value in fields(memoryview(data), purse):
        if field == 1 and isinstance(value, memoryview):
            node = _node(value, purse)
            if not node.name or node.name in nodes:
                raise Damaged("gives two nodes the same name" if node.name else "has a node without a name")
            nodes[node.name] = node
            if len(nodes) > MOST_NODES:
                raise Damaged("has more nodes than any such graph")
    if not nodes:
        raise Damaged("has no nodes")
    return nodes


def _node(view: memoryview, purse: Purse) -> Node:
    name = op = ""
    inputs: list[str] = []
    attributes: dict[str, memoryview] = {}
    for field, value in fields(view, purse):
        if field == 1:
            name = text(value)
        elif field == 2:
            op = text(value)
        elif field == 3:
            inputs.append(text(value))
        elif field == 5 and isinstance(value, memoryview):
            key, content = "", memoryview(b"")
            for part, inner in fields(value, purse):
                if part == 1:
                    key = text(inner)
                elif part == 2 and isinstance(inner, memoryview):
                    content = inner
            attributes[key] = content
    return Node(name, op, tuple(given for given in inputs if not given.startswith("^")), attributes, purse)


def _tensor(view: memoryview, purse: Purse) -> Array:
    kind, shape, content = 0, (), memoryview(b"")  # type: int, tuple[int, ...] | None, memoryview
    listed: list[tuple[int, int | memoryview]] = []
    for field, value in fields(view, purse):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == 2 and isinstance(value, memoryview):
            shape = _shape(value, purse)
        elif field == 4 and isinstance(value, memoryview):
            content = value
        else:
            listed.append((field, value))
    if kind not in DTYPES:
        raise Damaged(f"holds values of type {kind}, which is neither float32 nor int32 nor int64")
    if shape is None or min(shape, default=0) < 0:
        raise Damaged("does not say its shape")
    dtype, size = DTYPES[kind], 1
    for side in shape:
        size *= side
    if size > MOST_ELEMENTS:
        raise Damaged(f"claims {size} values, more than any such graph holds")
    if len(content):
        if len(content) != size * dtype.itemsize:
            raise Damaged(f"has {len(content)} bytes for {size} values")
        return np.frombuffer(content, dtype).reshape(shape)
    parts = [_values(value, kind, purse) for field, value in listed if field == _VALUES[kind]]
    values = np.concatenate(parts) if parts else np.zeros(0, dtype)
    if len(values) > size:
        raise Damaged(f"has {len(values)} values for {size}")
    if len(values) < 2:  # one stands for all; none are zeros
        return np.broadcast_to(values if len(values) else np.zeros(1, dtype), (size,)).reshape(shape)
    purse.filled -= size
    if purse.filled < 0:
        raise Damaged("has more values than any such graph holds")
    filled = np.full(size, values[-1])  # the last one stands for those that are missing
    filled[: len(values)] = values
    return filled.reshape(shape)


def _values(value: int | memoryview, kind: int, purse: Purse) -> Array:
    """Values of a repeated field, packed or one."""
    if kind != FLOAT:
        whole = _whole(value, purse)
        low, high = (-(1 << 31), (1 << 31) - 1) if kind == INT32 else (-(1 << 63), (1 << 63) - 1)
        if not all(low <= number <= high for number in whole):
            raise Damaged("holds a number that is too large for its type")
        return np.array(whole, DTYPES[kind])
    if isinstance(value, int) or len(value) % 4:
        raise Damaged("holds damaged values")
    return np.frombuffer(value, "<f4")


def _shape(view: memoryview, purse: Purse) -> tuple[int, ...] | None:
    sides: list[int] = []
    for field, value in fields(view, purse):
        if field == 2 and isinstance(value, memoryview):
            side = 0
            for part, inner in fields(value, purse):
                if part == 1 and isinstance(inner, int):
                    side = signed(inner)
            sides.append(side)
        elif field == 3 and value == 1:
            return None
    if len(sides) > _MOST_DIMS:
        raise Damaged(f"has a shape of {len(sides)} sides")
    return tuple(sides)


def _whole(value: int | memoryview, purse: Purse) -> list[int]:
    """Whole numbers of a repeated field, packed or one."""
    if isinstance(value, int):
        return [signed(value)]
    found, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        found.append(signed(number))
        purse.spend(1)
    return found
