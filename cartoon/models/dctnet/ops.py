"""What each node of a frozen TensorFlow graph means, every shape checked on the way.

Ops are described at https://www.tensorflow.org/api_docs/python/tf/raw_ops, the padding "SAME" at
https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2. Whatever is not listed here is refused.
"""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from cartoon.models.dctnet import sizes
from cartoon.models.dctnet.constants import Folder, axis_of
from cartoon.models.dctnet.draft import Draft, Numbers
from cartoon.models.dctnet.graphdef import FLOAT, UINT8, Array, Node
from cartoon.models.dctnet.plan import Kind, Plan, Unfit
from cartoon.models.dctnet.sizes import Extent, Sizes
from cartoon.models.dctnet.values import (
    Picture,
    Value,
    channels_of,
    check_layout,
    constant,
    number_of,
    padded,
    pads_of,
    picture_of,
    reshaped,
)

_PASSES: Final = ("Identity", "StopGradient", "PreventGradient", "Snapshot")
_JOINS: Final[dict[str, Kind]] = {
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "RealDiv": "divide",
    "Div": "divide",
}
_BOUNDS: Final = ("Maximum", "Minimum")
_CONVS: Final = ("Conv2D", "DepthwiseConv2dNative")
_TAKES: Final = {
    **dict.fromkeys(("Placeholder", "Const"), 0),
    **dict.fromkeys((*_PASSES, "Cast", "Squeeze", "LeakyRelu", "Square", "Shape", "OnesLike"), 1),
    **dict.fromkeys((*_JOINS, *_BOUNDS, *_CONVS, "FloorDiv", "ExpandDims", "Fill", "Pad", "ResizeBilinear"), 2),
    "ClipByValue": 3,
    "StridedSlice": 4,
    **dict.fromkeys(("Pack", "Concat", "ConcatV2"), -1),
}
"""How many values an op takes; -1: as many as it says."""
_DEFAULT_SLOPE: Final = 0.2
"""Of a LeakyRelu that does not say its alpha."""


class Translation:
    """The values of the nodes so far, and the plan that they make. All methods raise Unfit or Damaged."""

    def __init__(self, expands: bool) -> None:
        """expands: the graph has an ExpandDims, so that an input of unknown rank has no batch."""
        self._draft = Draft()
        self._values: dict[str, Value] = {}
        self._sides: tuple[int, int] | None = None
        self._rank = 3 if expands else 4
        self._folder = Folder()

    def add(self, node: Node) -> None:
        """Work out one node; what it takes has been worked out before."""
        wanted = _TAKES.get(node.op)
        if wanted is None:
            raise Unfit("is of a kind that is not known here")
        if len(node.inputs) != wanted and not (wanted < 0 and node.inputs):
            raise Unfit(f"takes {len(node.inputs)} values")
        self._values[node.name] = self._value(node, [self._values[name.removesuffix(":0")] for name in node.inputs])

    def plan(self, output: Node) -> Plan:
        """What the output's value takes."""
        value = self._values[output.name]
        if not isinstance(value, Picture) or value.pads is not None:
            raise Unfit("gives no picture")
        return self._draft.finish(value.value, self._sides)

    def _value(self, node: Node, given: list[Value]) -> Value:
        if node.op == "Placeholder":
            return self._input(node)
        if node.op == "Const":
            return node.tensor("value")
        if node.op in _PASSES:
            return given[0]
        if node.op == "Fill" and isinstance(given[0], Sizes):
            return self._fill(given[0], given[1])
        if any(isinstance(part, Picture) for part in given):
            return self._drawn(node, given)
        plain = [part for part in given if not isinstance(part, Picture)]
        arrays = [part for part in plain if isinstance(part, np.ndarray)]
        vectors = node.op in ("Pack", "Concat", "ConcatV2", "StridedSlice", "FloorDiv")
        if vectors or len(arrays) < len(plain) or (node.op == "Mul" and arrays[0].dtype.kind == "i"):
            return sizes.computed(node, [sizes.of(part) for part in plain])
        return self._folder.computed(node, arrays)

    def _drawn(self, node: Node, given: list[Value]) -> Value:
        """The value of a node that takes a picture."""
        match node.op:
            case "Cast":
                return self._cast(node, given[0])
            case "ExpandDims" | "Squeeze" | "StridedSlice":
                return reshaped(node, given)
            case "Conv2D" | "DepthwiseConv2dNative":
                return self._convolved(node, picture_of(given[0], 4, padded=True), constant(given[1]))
            case "Pad":
                return padded(picture_of(given[0], 4), constant(given[1]))
            case "LeakyRelu":
                picture = picture_of(given[0])
                return replace(picture, value=self._draft.leaky(picture.value, node.real("alpha", _DEFAULT_SLOPE)))
            case "Square":
                return self._joined("multiply", [given[0], given[0]])
            case "Maximum" | "Minimum":
                return self._bound(node.op, given)
            case "ClipByValue":
                picture, ends = picture_of(given[0]), [number_of(part) for part in given[1:]]
                return replace(picture, value=self._draft.clamped(picture.value, *ends))
            case "ResizeBilinear":
                return self._resized(node, picture_of(given[0], 4), given[1])
            case "Concat" | "ConcatV2":
                return (
                    self._concatenated(given[1:], given[0])
                    if node.op == "Concat"
                    else self._concatenated(given[:-1], given[-1])
                )
            case "Shape" | "OnesLike":
                picture = picture_of(given[0], whole=True)
                facts = self._draft.facts(picture.value)
                if node.op == "Shape":
                    return sizes.shape_of(picture.rank, facts.level, facts.channels)
                return replace(picture, value=self._draft.emit("fill", (), (1.0, facts.channels, facts.level)))
        if node.op not in _JOINS:
            raise Unfit("takes a picture in a way that is not known")
        check_layout(node)
        return self._joined(_JOINS[node.op], given)

    def _input(self, node: Node) -> Picture:
        shape = node.shape("shape")
        kind = node.number("dtype")
        if kind not in (FLOAT, UINT8):
            raise Unfit(f"takes values of type {kind}, neither float32 nor uint8")
        if self._sides is not None or any(isinstance(value, Picture) for value in self._values.values()):
            raise Unfit("is a second input")
        if shape is not None:
            self._rank = len(shape)
            if len(shape) not in (3, 4) or shape[-1] not in (3, -1) or min(shape) < -1 or 0 in shape:
                raise Unfit(f"has shape {list(shape)}, not that of a picture")
            height, width = shape[-3:-1]
            if (height < 0) != (width < 0):
                raise Unfit("fixes one side of a picture alone")
            self._sides = (height, width) if height > 0 else None
        return Picture(self._draft.emit("input", (), (3,)), self._rank, kind == UINT8)

    def _cast(self, node: Node, given: Value) -> Picture:
        picture, kind = picture_of(given, whole=True), node.number("DstT")
        if kind not in (FLOAT, UINT8):
            raise Unfit(f"makes values of type {kind}, neither float32 nor uint8")
        if kind == FLOAT or picture.whole:
            return replace(picture, whole=kind == UINT8)
        return replace(picture, value=self._draft.emit("truncate", (picture.value,)), whole=True)

    def _convolved(self, node: Node, picture: Picture, kernel: Array) -> Picture:
        check_layout(node)
        strides, dilations = node.numbers("strides"), node.numbers("dilations") or (1, 1, 1, 1)
        if len(strides) != 4 or strides[0] != 1 or strides[3] != 1 or set(dilations) != {1}:
            raise Unfit(f"has strides {list(strides)} and dilations {list(dilations)}")
        if kernel.ndim != 4 or kernel.dtype.kind != "f":
            raise Unfit(f"has a kernel of shape {kernel.shape}")
        kh, kw, inner, out = kernel.shape
        pads = pads_of(node, picture.pads, ((kh, strides[1]), (kw, strides[2])))
        if node.op == "Conv2D":
            weight, groups = kernel.transpose(3, 2, 0, 1), 1
        else:
            weight, groups, out = kernel.transpose(2, 3, 0, 1).reshape(inner * out, 1, kh, kw), inner, inner * out
        numbers = (strides[1], strides[2], *pads, groups)
        value = self._draft.convolved(picture.value, weight, np.zeros(out, np.float32), numbers)
        return Picture(value, 4)

    def _joined(self, kind: Kind, given: list[Value]) -> Picture:
        """Two pictures, or one and a constant."""
        draft = self._draft
        if all(isinstance(part, Picture) for part in given):
            one, other = (picture_of(part) for part in given)
            if one.rank != other.rank:
                raise Unfit("joins a batch and a picture")
            if kind == "divide":
                return replace(one, value=draft.divided(one.value, other.value))
            return replace(one, value=draft.emit(kind, (one.value, other.value)))
        at = 0 if isinstance(given[0], Picture) else 1
        picture, numbers = picture_of(given[at]), channels_of(given[1 - at])
        if kind == "divide":
            if at or not all(numbers):
                raise Unfit("divides by a picture or by zero")
            kind, numbers = "multiply", tuple(1 / number for number in numbers)
        factors: Numbers = (1.0,)
        if kind == "multiply":
            factors, numbers = numbers, (0.0,)
        elif kind == "subtract":
            factors, numbers = ((-1.0,), numbers) if at else (factors, tuple(-number for number in numbers))
        return replace(picture, value=draft.affine(picture.value, factors, numbers))

    def _bound(self, op: str, given: list[Value]) -> Picture:
        if all(isinstance(part, Picture) for part in given):
            if op == "Minimum":
                raise Unfit("compares two pictures")
            one, other = (picture_of(part) for part in given)
            return replace(one, value=self._draft.larger(one.value, other.value))
        at = 0 if isinstance(given[0], Picture) else 1
        picture, number = picture_of(given[at]), number_of(given[1 - at])
        ends = (number, math.inf) if op == "Maximum" else (-math.inf, number)
        return replace(picture, value=self._draft.clamped(picture.value, *ends))

    def _resized(self, node: Node, picture: Picture, size: Value) -> Picture:
        if node.number("align_corners") or node.number("half_pixel_centers"):
            raise Unfit("has align_corners or half_pixel_centers, which the official graphs have not")
        if isinstance(size, Picture) or len(entries := sizes.of(size).entries) != 2:
            raise Unfit("does not say height and width")
        level = self._draft.facts(picture.value).level
        times = set()
        for entry, side, fixed in zip(entries, ("height", "width"), self._sides or (0, 0), strict=True):
            if isinstance(entry, Extent) and entry.side == side:
                times.add(entry.times * level)
            elif isinstance(entry, int) and fixed:
                times.add(Fraction(entry * level, fixed))
            else:
                raise Unfit(f"makes the {side} of something else")
        factor = times.pop()
        if times or factor.denominator != 1 or factor < 1:
            raise Unfit("does not enlarge height and width by one whole number")
        value = picture.value if factor == 1 else self._draft.emit("resize", (picture.value,), (int(factor),))
        return replace(picture, value=value)

    def _concatenated(self, parts: list[Value], axis: Value) -> Picture:
        pictures = [picture_of(part) for part in parts]
        rank = pictures[0].rank
        if any(picture.rank != rank for picture in pictures) or axis_of(constant(axis), rank) != rank - 1:
            raise Unfit("joins something else than channels")
        return replace(pictures[0], value=self._draft.emit("concat", [picture.value for picture in pictures]))

    def _fill(self, sizes: Sizes, value: Value) -> Picture:
        """A picture of one value (tf.ones), as large as the input's or a part of it."""
        *_, height, width, channels = (None, None, *sizes.entries)
        sides = [entry.times for entry in (height, width) if isinstance(entry, Extent)]
        if len(sizes.entries) not in (3, 4) or len(set(sides)) != 1 or len(sides) != 2 or sides[0].numerator != 1:
            raise Unfit("fills something else than a picture")
        if not isinstance(channels, int):
            raise Unfit("does not say how many channels it fills")
        numbers = (number_of(value), float(channels), float(sides[0].denominator))
        return Picture(self._draft.emit("fill", (), numbers), len(sizes.entries))
