"""Bytes of a frozen TensorFlow graph -> its nodes, without TensorFlow and without trusting a single length.

A GraphDef is a protocol buffer (https://protobuf.dev/programming-guides/encoding/); the numbers of its fields are those
of graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto in tensorflow/core/framework. An
attribute is taken apart when it is asked for, and a tensor's content stays a view of the file.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

FLOAT, INT32, UINT8, INT64 = 1, 3, 4, 9
"""Numbers of types.proto."""
DTYPES: Final[dict[int, np.dtype[Any]]] = {FLOAT: np.dtype("<f4"), INT32: np.dtype("<i4"), INT64: np.dtype("<i8")}
"""The types that a constant may have."""
MOST_NODES: Final = 10_000
"""The official graphs have 222."""
MOST_ELEMENTS: Final = 1 << 24
"""Of one constant; the official ones' largest has 147 thousand. A constant may say its shape and give one value."""
_FIELD: Final = 40
"""What a field costs, in values: 400 thousand may be taken apart; the official graphs need a few thousand."""
_MOST_SIDES: Final = 8
_LONGEST_TEXT: Final = 1024
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Array = NDArray[Any]
T = TypeVar("T")

Schema = dict[int, tuple[str, Any]]


def _message(**fields: tuple[int, Any]) -> Schema:
    """Of a message the fields that matter: number, and int, str, float, bytes as they are, or another message."""
    return {number: (name, kind) for name, (number, kind) in fields.items()}


_SHAPE: Final = _message(sides=(2, _message(size=(1, int))), unknown=(3, int))
_TENSOR: Final = _message(
    dtype=(1, int), shape=(2, _SHAPE), content=(4, bytes), floats=(5, bytes), ints=(7, int), longs=(10, int)
)
_LIST: Final = _message(i=(3, int))
_ATTRIBUTE: Final = _message(
    list=(1, _LIST),
    s=(2, str),
    i=(3, int),
    f=(4, float),
    b=(5, int),
    type=(6, int),
    shape=(7, _SHAPE),
    tensor=(8, bytes),
)
_PAIR: Final = _message(key=(1, str), value=(2, bytes))
_NODE: Final = _message(name=(1, str), op=(2, str), inputs=(3, str), attributes=(5, _PAIR))
_GRAPH: Final = _message(nodes=(1, bytes))
_LISTED: Final = {FLOAT: "floats", INT32: "ints", INT64: "longs"}


class Damaged(ValueError):
    """The bytes are no whole GraphDef, or an attribute is missing or of the wrong kind; the text says which."""


class Purse:
    """What is left to spend on one file, in values: on fields, and on values that it does not hold itself."""

    def __init__(self) -> None:
        self._left = MOST_ELEMENTS

    def spend(self, values: int) -> None:
        """Raise Damaged where it is too much; that bounds a hostile file's time and memory."""
        self._left -= values
        if self._left < 0:
            raise Damaged("has more parts than any such graph")


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its name, the op's name, and the names of what it takes, control inputs ("^name") left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    _attributes: dict[str, memoryview]
    _purse: Purse

    def get(self, key: str, default: T) -> T:
        """An attribute of the default's type; the default where the node has none, or one of another type.

        int: a number, flag or data type. tuple: a list of whole numbers, or a shape whose rank is known, -1 where a
        side is not. Raises Damaged for what is neither.
        """
        held = _parsed(self._attributes.get(key, memoryview(b"")), _ATTRIBUTE, self._purse)
        tuples = (*(tuple(part["i"]) for part in held["list"]), *map(_sides, held["shape"]))
        for found in (*held["i"], *held["b"], *held["type"], *held["f"], *held["s"], *tuples):
            if isinstance(found, type(default)):
                return found
        return default

    def constant(self) -> Array:
        """Its value: float32, int32 or int64; a read-only view, in which one value may stand for all.

        Raises Damaged where there is none, or its size and content do not fit together.
        """
        held = _parsed(self._attributes.get("value", memoryview(b"")), _ATTRIBUTE, self._purse)
        if not held["tensor"]:
            raise Damaged("holds no value")
        return _array(_parsed(held["tensor"][-1], _TENSOR, self._purse), self._purse)


def read_nodes(data: bytes) -> dict[str, Node]:
    """The nodes of a GraphDef by name, in the file's order.

    Raises Damaged for anything else. Time and memory follow the file's size, whatever the lengths in it claim.
    """
    purse = Purse()
    nodes: dict[str, Node] = {}
    for view in _parsed(memoryview(data), _GRAPH, purse)["nodes"]:
        told = _parsed(view, _NODE, purse)
        (name, op), pairs = ((told[key] or [""])[-1] for key in ("name", "op")), told["attributes"]
        attributes = {pair["key"][-1]: pair["value"][-1] for pair in pairs if pair["key"] and pair["value"]}
        if not name or name in nodes:
            raise Damaged("gives two nodes the same name" if name else "has a node without a name")
        inputs = tuple(given for given in told["inputs"] if not given.startswith("^"))
        nodes[name] = Node(name, op, inputs, attributes, purse)
        if len(nodes) > MOST_NODES:
            raise Damaged("has more nodes than any such graph")
    if not nodes:
        raise Damaged("has no nodes")
    return nodes


def _parsed(view: memoryview, schema: Schema, purse: Purse) -> dict[str, list[Any]]:
    """The fields of a message by name, each as often as it is there, in order."""
    found: dict[str, list[Any]] = {name: [] for name, _ in schema.values()}
    for number, value in _fields(view, purse):
        name, kind = schema.get(number, ("", None))
        if kind is int:
            found[name] += [value] if isinstance(value, int) else _packed(value, purse)
        elif kind is None or isinstance(value, int):
            continue
        elif kind is float:
            found[name] += np.frombuffer(value[:4], "<f4").tolist()
        elif kind is str:
            try:
                found[name].append(bytes(value[: _LONGEST_TEXT + 1]).decode())
            except UnicodeDecodeError as error:
                raise Damaged("is no GraphDef") from error
        else:
            found[name].append(value if kind is bytes else _parsed(value, kind, purse))
    return found


def _fields(view: memoryview, purse: Purse) -> Iterator[tuple[int, Any]]:
    """(field's number, content): a varint as a number of 64 bits, all else as its bytes."""
    at, end = 0, len(view)
    while at < end:
        purse.spend(_FIELD)
        key, at = _varint(view, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise Damaged("is no whole GraphDef")
        if not 0 <= length <= end - at:
            raise Damaged("is cut off or damaged")
        yield key >> 3, view[at : at + length]
        at += length


def _packed(view: memoryview, purse: Purse) -> Iterator[int]:
    """Whole numbers one behind the other."""
    at = 0
    while at < len(view):
        purse.spend(_FIELD)
        number, at = _varint(view, at)
        yield number


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """(signed number of 64 bits, where the next thing begins): seven bits a byte, the least first."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise Damaged("is cut off or damaged")
        byte = view[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            number &= (1 << 64) - 1
            return number - (number >> 63 << 64), at
    raise Damaged("is no whole GraphDef")


def _sides(told: dict[str, list[Any]]) -> tuple[int, ...] | None:
    """A shape; None where the rank is unknown."""
    if len(told["sides"]) > _MOST_SIDES:
        raise Damaged(f"has a shape of {len(told['sides'])} sides")
    sides = tuple(side["size"][-1] if side["size"] else 0 for side in told["sides"])
    return None if any(told["unknown"]) else sides


def _array(told: dict[str, list[Any]], purse: Purse) -> Array:
    kind = told["dtype"][-1] if told["dtype"] else 0
    if kind not in DTYPES:
        raise Damaged(f"holds values of type {kind}, which is neither float32 nor int32 nor int64")
    shape = _sides(told["shape"][-1]) if told["shape"] else ()
    if shape is None or min(shape, default=0) < 0:
        raise Damaged("does not say its shape")
    dtype, size, listed = DTYPES[kind], math.prod(shape), told[_LISTED[kind]]
    if size > MOST_ELEMENTS:
        raise Damaged(f"claims {size} values, more than any such graph holds")
    if told["content"] and len(content := told["content"][-1]):
        if len(content) != size * dtype.itemsize:
            raise Damaged(f"has {len(content)} bytes for {size} values")
        return np.frombuffer(content, dtype).reshape(shape)
    try:
        values = np.frombuffer(b"".join(listed), dtype) if kind == FLOAT else np.array(listed, dtype)
    except (ValueError, OverflowError) as error:
        raise Damaged("holds damaged values, or a number that is too large for its type") from error
    if len(values) > size:
        raise Damaged(f"has {len(values)} values for {size}")
    if len(values) < 2:  # one stands for all; none are zeros
        return np.broadcast_to(values[0] if len(values) else dtype.type(0), shape)
    purse.spend(size)
    return np.pad(values, (0, size - len(values)), "edge").reshape(shape)  # the last one stands for those after it
