"""Is a frozen graph DCT-Net's generator? Its weights make a module, and the module has to draw what the graph draws.

A graph is computed node by node, once, for a small picture: that takes whatever spelling its TensorFlow had, and tells
which tensors are kernels and biases. The module of these then draws the same picture. Ops are described at
https://www.tensorflow.org/api_docs/python/tf/raw_ops, the padding "SAME" at
https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2. What is not known here is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.models.dctnet.graphdef import DTYPES, FLOAT, MOST_ELEMENTS, UINT8, Array, Damaged, Node
from cartoon.models.dctnet.module import MULTIPLE, OUTER, SLOPE, Generator, Layer, Weights, doubled
from cartoon.models.self_check import scene

OUTPUT: Final = "output_image"
"""What the official graphs call their result; in a graph without such a node it is the one that nothing takes."""
PROBE: Final = (24, 32)
"""(height, width) px of the small picture."""
CLOSE: Final = 0.01
"""Of 255: what the module may be off from the graph; float32 rounds to 0.0005."""
MOST_CHANNELS: Final = 4096
MOST_KERNEL: Final = 63
MOST_WEIGHTS: Final = 1 << 24
"""Numbers in all kernels together; the official graphs have 1.5 million."""
_LONGEST_NAME: Final = 80
_IDLE: Final = ("Const", "Placeholder", "NoOp", "Assert")
_PASSES: Final = ("Identity", "StopGradient", "PreventGradient", "Snapshot")
_RESHAPES: Final = ("ExpandDims", "Squeeze", "StridedSlice")
_JOINS: Final = {
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), "add"),
    **dict.fromkeys(("RealDiv", "Div"), "divide"),
    "Sub": "subtract",
    "Mul": "multiply",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
"""Ops of two values, by torch's and numpy's name for each."""
_MASKS: Final = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")

Value = Tensor | Array
"""A picture, (1, H, W, C) or (H, W, C), as a tensor; what comes of constants and sizes alone as an array."""


class Unfit(ValueError):
    """The graph is no generator of DCT-Net; the text, which follows the file's name, says why."""


def detect(nodes: dict[str, Node]) -> Weights:
    """The weights of the generator that a graph is; raises Unfit for any other, in bounded time and memory."""
    order = _ordered(nodes, _output(nodes))
    walk = _Walk(any(node.op == "ExpandDims" for node in order))
    for node in order:
        try:
            walk.add(node)
        except (ValueError, TypeError, IndexError, OverflowError, RuntimeError) as problem:
            what = problem if isinstance(problem, Unfit | Damaged) else "takes values that do not fit together"
            raise Unfit(f"cannot be used, its {_shown(node.op)} node {_shown(node.name)!r} {what}") from problem
    return walk.weights(order[-1])


def _shown(name: str) -> str:
    """A name as a person can read it: what a file says is not to be trusted with a terminal."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    return "".join(sign if sign.isprintable() else "?" for sign in short)


def _source(given: str) -> str:
    """The node whose first output is meant by "name" or "name:0"; further outputs are names that no node has."""
    return given.removesuffix(":0")


def _output(nodes: dict[str, Node]) -> Node:
    if OUTPUT in nodes:
        return nodes[OUTPUT]
    taken = {_source(given) for node in nodes.values() for given in node.inputs}
    last = [node for node in nodes.values() if node.name.rpartition("/")[2] == OUTPUT]
    last = last or [node for node in nodes.values() if node.name not in taken and node.op not in _IDLE]
    if len(last) != 1:
        names = ", ".join(_shown(node.name) for node in last[:3]) or "none"
        raise Unfit(f"cannot be used, which of its nodes is the result is not clear ({names})")
    return last[0]


def _ordered(nodes: dict[str, Node], output: Node) -> list[Node]:
    """What the output needs, each after what it takes itself; raises Unfit for a circle or a node that is not there."""
    needs: dict[str, list[str]] = {}
    ahead = [output]
    while ahead:
        node = ahead.pop()
        if node.name in needs:
            continue
        needs[node.name] = [_source(given) for given in node.inputs]
        for given in needs[node.name]:
            if given not in nodes:
                raise Unfit(f"cannot be used, its node {_shown(node.name)!r} takes {_shown(given)!r}, which is missing")
            ahead.append(nodes[given])
    try:
        return [nodes[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise Unfit(f"cannot be used, its nodes go round in a circle at {_shown(error.args[1][0])!r}") from error


class _Walk:
    """The values of the nodes so far. All raise Unfit, Damaged, or what numpy and torch do of wrong shapes."""

    def __init__(self, expands: bool) -> None:
        """expands: the graph has an ExpandDims, so that an input of unknown rank has no batch."""
        self._values: dict[str, Value] = {}
        self._rank = 3 if expands else 4
        self._layers: list[Layer] = []
        self._bare: Tensor | None = None
        """The last convolution's result."""
        self._added: dict[int, float] = {}
        """One number that was added, by the result's id."""
        self._eps: float | None = None
        self._truncates = False
        self._sides: tuple[int, int] | None = None
        self._room, self._kernels = MOST_ELEMENTS, MOST_WEIGHTS

    @torch.inference_mode()
    def add(self, node: Node) -> None:
        """Work out one node; what it takes has been worked out before."""
        self._values[node.name] = self._value(node, [self._values[_source(given)] for given in node.inputs])

    def weights(self, output: Node) -> Weights:
        """Those of the generator that draws the output's value."""
        result = self._values[output.name]
        if not isinstance(result, Tensor):
            raise Unfit("cannot be used, it gives no picture")
        height, width, channels = result.shape[-3:]
        if (height, width, channels) != (*PROBE, 3):
            what = f"{channels} channels at 1/{PROBE[0] // height} of the size"
            raise Unfit(f"cannot be used, it gives {what}, not a picture")
        weights = Weights(self._layers, self._eps, self._truncates, self._sides)
        steps = len({id(value) for value in self._values.values() if isinstance(value, Tensor)})
        other = Unfit(f"cannot be used, its {steps} steps are not those of DCT-Net's generator")
        if not _in_shape(weights):
            raise other
        generator = Generator(replace(weights, truncates=False), torch.device("cpu"), torch.float32)
        off = generator(torch.from_numpy(scene(*PROBE)[None])) - result
        if not off.abs().max() <= CLOSE:  # nor NaN
            raise other
        return weights

    def _value(self, node: Node, given: list[Value]) -> Value:
        pictures = [value for value in given if isinstance(value, Tensor)]
        arrays = [value for value in given if isinstance(value, np.ndarray)]
        if pictures and self._truncates and node.op not in (*_PASSES, *_RESHAPES):
            raise Unfit("computes with uint8")
        match node.op, pictures, arrays:
            case "Placeholder", [], []:
                return self._placed(node)
            case "Const", [], []:
                return node.tensor("value")
            case op, _, _ if op in _PASSES and len(given) == 1:
                return given[0]
            case "Conv2D", [x], [kernel]:
                return self._convolved(node, x, kernel)
            case "DepthwiseConv2dNative", [x], [kernel]:
                self._window(node, x, kernel)
                weight = torch.tensor(kernel).permute(2, 3, 0, 1).flatten(0, 1)[:, None]
                y = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=len(kernel) // 2, groups=x.shape[3])
                return y.permute(0, 2, 3, 1)
            case "ResizeBilinear", [x], [sides]:
                return self._resized(node, x, sides)
            case "LeakyRelu", [x], []:
                return self._spent(F.leaky_relu(x, node.real("alpha", SLOPE)))
            case "ClipByValue", [x], [low, high]:
                return self._spent(x.clamp(float(low), float(high)))
            case "Square", [x], []:
                return self._spent(x * x)
            case "Shape", [x], []:
                return np.array(x.shape)
            case "OnesLike", [x], []:
                return self._spent(torch.ones_like(x))
            case "Cast", [x], [] if (kind := node.number("DstT")) in (FLOAT, UINT8):
                self._truncates = kind == UINT8
                return x
            case "Fill", [], [sides, value]:
                self._spend(sides.tolist())
                return torch.full(sides.tolist(), float(value))
            case (op, [_], [_]) | (op, [_, _], []) if op in _JOINS:
                return self._joined(node, given)
            case op, [x], rest if op in _RESHAPES:
                return _reshaped(node, x, rest)
            case _, [], [first, *_]:
                return self._computed(node, first, arrays)
        raise Unfit(f"takes {len(given)} values in a way that is not known here")

    def _placed(self, node: Node) -> Tensor:
        """The small picture in place of the input, after a look at what the input may be."""
        shape, kind = node.shape("shape"), node.number("dtype")
        if kind not in (FLOAT, UINT8):
            raise Unfit(f"takes values of type {kind}, neither float32 nor uint8")
        if any(isinstance(value, Tensor) for value in self._values.values()):
            raise Unfit("is a second input")
        if shape is not None:
            height, width = shape[-3:-1] if len(shape) in (3, 4) else (0, 0)
            if not height or not width or shape[-1] not in (3, -1) or min(shape) < -1:
                raise Unfit(f"has shape {list(shape)}, not that of a picture")
            if min(height, width) < 0 < max(height, width):
                raise Unfit("fixes one side of a picture alone")
            if height > 0 and (height % MULTIPLE or width % MULTIPLE):
                raise Unfit(f"has sides of {height} and {width} px, which four does not divide")
            self._sides = (height, width) if height > 0 else None
            self._rank = len(shape)
        picture = torch.from_numpy(scene(*PROBE)).float()
        return picture if self._rank == 3 else picture[None]

    def _convolved(self, node: Node, x: Tensor, kernel: Array) -> Tensor:
        stride = self._window(node, x, kernel)
        weight = np.array(kernel, np.float32)
        if not np.isfinite(weight).all():
            raise Unfit("has weights that are not finite")
        pads = _padding(len(kernel), stride)
        x = F.pad(x.permute(0, 3, 1, 2), pads * 2)
        self._bare = F.conv2d(x, torch.from_numpy(weight).permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)
        self._layers.append(Layer(weight, np.zeros(weight.shape[3], np.float32), stride))
        return self._bare

    def _window(self, node: Node, x: Tensor, kernel: Array) -> int:
        """The stride of a convolution, which is all that its kernel's shape does not say; kernel: (k, k, in, out)."""
        _check_layout(node)
        if kernel.ndim != 4 or kernel.dtype.kind != "f" or not kernel.size or x.ndim != 4:
            raise Unfit(f"has a kernel of shape {kernel.shape} for a picture of {x.ndim} axes")
        side, across, inner, out = kernel.shape
        strides, dilations = node.numbers("strides"), node.numbers("dilations") or (1,)
        if side != across or side % 2 == 0 or side > MOST_KERNEL:
            raise Unfit(f"has a kernel of shape {kernel.shape}")
        if inner != x.shape[3]:
            raise Unfit(f"takes {inner} channels where {x.shape[3]} come")
        stride = strides[1] if len(strides) == 4 else 0
        if strides != (1, stride, stride, 1) or stride not in (1, 2) or set(dilations) != {1}:
            raise Unfit(f"has strides {list(strides[:4])} and dilations {list(dilations[:4])}")
        pads, padding = _padding(side, stride), node.word("padding", "")
        told = node.numbers("explicit_paddings")[:8]
        if padding != "SAME" and (padding, told) != ("EXPLICIT", (0, 0, *pads, *pads, 0, 0)):
            raise Unfit(f"pads a kernel of {side} by {padding[:16]!r} {list(told)}")
        self._kernels -= kernel.size
        if self._kernels < 0 or out > MOST_CHANNELS:
            raise Unfit("has more weights than any such graph")
        self._spend([*x.shape[:3], inner if node.op == "DepthwiseConv2dNative" else out])
        return stride

    def _joined(self, node: Node, given: list[Value]) -> Tensor:
        """Two pictures, or one and a constant: one number, or one a channel."""
        _check_layout(node)
        channels = next(value.shape[-1] for value in given if isinstance(value, Tensor))
        one, other = (value if isinstance(value, Tensor) else _constant(value, channels) for value in given)
        pictures = isinstance(given[0], Tensor) and isinstance(given[1], Tensor)
        if pictures and one.shape[:-1] != other.shape[:-1]:
            raise Unfit(f"joins pictures of different sizes, {tuple(one.shape)} and {tuple(other.shape)}")
        kind = _JOINS[node.op]
        if kind == "divide" and not other.all():
            raise Unfit("divides by zero")
        result = self._spent(getattr(torch, kind)(one, other))
        if kind == "divide" and pictures:
            self._eps = self._added.get(id(other), self._eps)
        if kind == "add" and not pictures:
            picture, numbers = (one, other) if isinstance(given[0], Tensor) else (other, one)
            if numbers.ndim and picture is self._bare:
                bias = numbers.expand(channels).numpy()
                self._layers[-1] = replace(self._layers[-1], bias=bias)
            elif not numbers.ndim:
                self._added[id(result)] = float(numbers)
        return result

    def _resized(self, node: Node, x: Tensor, sides: Array) -> Tensor:
        if node.number("align_corners") or node.number("half_pixel_centers"):
            raise Unfit("has align_corners or half_pixel_centers, which the official graphs have not")
        wanted = (2 * x.shape[1], 2 * x.shape[2])
        fixed = [side * given / full for side, given, full in zip(sides, PROBE, self._sides or PROBE, strict=True)]
        if tuple(sides) != wanted and tuple(fixed) != wanted:
            raise Unfit("does not enlarge height and width twice")
        self._spend([4, *x.shape])
        return doubled(x.permute(0, 3, 1, 2), (0, wanted[0])).permute(0, 2, 3, 1)

    def _computed(self, node: Node, first: Array, given: list[Array]) -> Array:
        """What a node makes of constants and sizes."""
        with np.errstate(all="ignore"):  # what comes out infinite is refused where it is used
            if node.op in _RESHAPES:
                return _with_axes(node, first, given[1:])
            if node.op == "Pack" and all(part.ndim == 0 for part in given):
                return np.stack(given)
            if node.op == "Cast" and (kind := node.number("DstT")) in DTYPES:
                self._spend(first.shape)
                return first.astype(DTYPES[kind])
            if node.op in _JOINS and len(given) == 2:
                self._spend(np.broadcast_shapes(first.shape, given[1].shape))
                return np.asarray(getattr(np, _JOINS[node.op])(first, given[1]))
        raise Unfit("computes from constants in a way that is not known")

    def _spent(self, result: Tensor) -> Tensor:
        self._spend(result.shape)
        return result

    def _spend(self, shape: Sequence[int]) -> None:
        self._room -= math.prod(shape)
        if self._room < 0 or min(shape, default=0) < 0:
            raise Unfit("computes more numbers than any such graph")


def _in_shape(weights: Weights) -> bool:
    """Whether the convolutions' strides and channels are those of a generator: what one gives, the next one takes."""
    count = len(weights.layers)
    if count < OUTER or count % 2:
        return False
    inner, out = ([layer.weight.shape[axis] for layer in weights.layers] for axis in (2, 3))
    strides = [layer.stride for layer in weights.layers]
    skips = out[-5] == out[2] and out[-3] == out[0] and set(out[6:-5:2]) <= {out[4]}
    return strides == [1, 2, 1, 2] + [1] * (count - 4) and inner == [3, *out[:-1]] and out[-1] == 3 and skips


def _padding(side: int, stride: int) -> tuple[int, int]:
    """Zeros before and after that "SAME" means for a kernel's side where the stride divides the picture's."""
    total = max(side - stride, 0)
    return total // 2, total - total // 2


def _check_layout(node: Node) -> None:
    if (layout := node.word("data_format", "NHWC")) != "NHWC":
        raise Unfit(f"has its channels elsewhere than last ({layout[:8]!r})")


def _constant(array: Array, channels: int) -> Tensor:
    """One number, (), or one a channel, (C,)."""
    if array.dtype.kind != "f" or array.size != (array.shape[-1] if array.ndim else 1):
        raise Unfit(f"takes a constant of {array.dtype} {array.shape}")
    if array.size not in (1, channels):
        raise Unfit(f"takes {array.size} numbers for {channels} channels")
    if not np.isfinite(array).all():
        raise Unfit("takes numbers that are not finite")
    return torch.tensor(array.reshape(-1) if array.ndim else array, dtype=torch.float32)


def _reshaped(node: Node, x: Tensor, given: list[Array]) -> Tensor:
    """A picture with a batch of one put before it, or without."""
    result = torch.from_numpy(np.array(_with_axes(node, x.numpy(), given)))
    if result.shape[-3:] != x.shape[-3:] or result.shape[:-3] not in ((), (1,)):
        raise Unfit("cuts a picture in a way that is not known")
    return result


def _with_axes(node: Node, array: Array, given: list[Array]) -> Array:
    """What ExpandDims, Squeeze and StridedSlice make of an array."""
    if node.op == "Squeeze":
        return np.squeeze(array, node.numbers("squeeze_dims") or None)
    if node.op == "ExpandDims":
        return np.expand_dims(array, int(given[0]))
    index: list[Any] = []
    masks = [node.number(mask) for mask in _MASKS]
    for at, (begin, end, stride) in enumerate(zip(*(part.tolist() for part in given), strict=True)):
        no_begin, no_end, ellipsis, new_axis, one = (mask >> at & 1 for mask in masks)
        if ellipsis or new_axis or one:
            index.append(... if ellipsis else None if new_axis else begin)
        else:
            index.append(slice(None if no_begin else begin, None if no_end else end, stride))
    return np.asarray(array[tuple(index)])
