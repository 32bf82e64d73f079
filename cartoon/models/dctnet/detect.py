"""Is a frozen graph DCT-Net's generator? Its tensors fill a module, and that has to draw what the graph draws.

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
from cartoon.models.dctnet.module import MULTIPLE, SLOPE, Generator, Layer, Weights, doubled
from cartoon.models.self_check import scene

OUTPUT: Final = "output_image"
"""What the official graphs call their result; in a graph without such a node it is the one that nothing takes."""
PROBE: Final = (16, 24)
"""(height, width) px of the small picture."""
CLOSE: Final = 0.01
"""Of 255: what the module may be off from the graph; float32 rounds to 0.0005."""
MOST_CHANNELS: Final = 4096
MOST_KERNEL: Final = 63
_LONGEST_NAME: Final = 80
_IDLE: Final = ("Const", "Placeholder", "NoOp", "Assert")
_PASSES: Final = ("Identity", "StopGradient", "PreventGradient", "Snapshot")
_RESHAPES: Final = ("ExpandDims", "Squeeze", "StridedSlice")
_WORK: Final[dict[str, np.ufunc]] = {
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), np.add),
    **dict.fromkeys(("RealDiv", "Div"), np.divide),
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Square": np.square,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}
_NONE: Final[tuple[int, ...]] = ()
_MASKS: Final = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


class Unfit(ValueError):
    """The graph is no generator of DCT-Net; the text says why, in words that follow the file's name."""


class Picture(np.ndarray[Any, Any]):
    """A value that depends on the input's pixels, (1, H, W, C) or (H, W, C): numpy passes the type on."""


def detect(nodes: dict[str, Node]) -> Weights:
    """The weights of the generator that a graph is; raises Unfit for any other, in bounded time and memory."""
    order = _ordered(nodes, _output(nodes))
    walk = _Walk(any(node.op == "ExpandDims" for node in order))
    for node in order:
        try:
            walk.add(node)
        except (ValueError, TypeError, IndexError, OverflowError, RuntimeError) as problem:
            told = isinstance(problem, Unfit | Damaged)
            fault = problem if told else f"takes {len(node.inputs)} values that do not fit"
            raise Unfit(f"cannot be used, its {_shown(node.op)} node {_shown(node.name)!r} {fault}") from problem
    return walk.weights(order[-1])


def _shown(name: str) -> str:
    """A name as a person can read it: what a file says is not to be trusted with a terminal."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    return "".join(sign if sign.isprintable() else "?" for sign in short)


def _output(nodes: dict[str, Node]) -> Node:
    if OUTPUT in nodes:
        return nodes[OUTPUT]
    taken = {given for node in nodes.values() for given in _sources(node)}
    last = [node for node in nodes.values() if node.name.rpartition("/")[2] == OUTPUT]
    last = last or [node for node in nodes.values() if node.name not in taken and node.op not in _IDLE]
    if len(last) != 1:
        names = ", ".join(_shown(node.name) for node in last[:3]) or "none"
        raise Unfit(f"cannot be used, which of its nodes is the result is not clear ({names})")
    return last[0]


def _sources(node: Node) -> list[str]:
    """The nodes whose first output, "name" or "name:0", it takes; further outputs are names that no node has."""
    return [given.removesuffix(":0") for given in node.inputs]


def _ordered(nodes: dict[str, Node], output: Node) -> list[Node]:
    """What the output needs, each after what it takes itself; raises Unfit for a circle or a node that is not there."""
    needs: dict[str, list[str]] = {}
    ahead = [output.name]
    while ahead:
        name = ahead.pop()
        if name in needs:
            continue
        needs[name] = _sources(nodes[name])
        for given in needs[name]:
            if given not in nodes:
                raise Unfit(f"cannot be used, its node {_shown(name)!r} takes {_shown(given)!r}, which is missing")
        ahead += needs[name]
    try:
        return [nodes[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise Unfit(f"cannot be used, its nodes go round in a circle at {_shown(error.args[1][0])!r}") from error


class _Walk:
    """The values of the nodes so far. All methods raise Unfit, Damaged, or what numpy does of wrong shapes."""

    def __init__(self, expands: bool) -> None:
        """expands: the graph has an ExpandDims, so that an input of unknown rank has no batch."""
        self._rank = 3 if expands else 4
        self._values: dict[str, Array] = {}
        self._layers: list[Layer] = []
        self._bare: Array | None = None
        """The last convolution's result, without a bias yet."""
        self._added: dict[int, float] = {}
        """One number that was added, by the result's id."""
        self._eps: float | None = None
        self._truncates = False
        self._sides: tuple[int, int] | None = None
        self._budget = MOST_ELEMENTS

    def add(self, node: Node) -> None:
        """Work out one node; what it takes has been worked out before."""
        given = [self._values[name] for name in _sources(node)]
        gives_the_same = node.op in ("Const", *_PASSES, *_RESHAPES)
        if self._truncates and not gives_the_same and any(isinstance(value, Picture) for value in given):
            raise Unfit("computes with uint8")
        with np.errstate(all="ignore"):  # what comes out infinite is refused where it is used
            result = np.asanyarray(self._value(node, given))
        if not gives_the_same:
            self._check_budget(result.shape)
            self._budget -= result.size
        self._values[node.name] = result

    def weights(self, output: Node) -> Weights:
        """Those of the generator that draws the output's value."""
        result = self._values[output.name]
        if not isinstance(result, Picture):
            raise Unfit("cannot be used, it gives no picture")
        if result.shape[-3:] != (*PROBE, 3):
            what = f"{result.shape[-1]} channels at 1/{PROBE[0] // result.shape[-3]} of the size"
            raise Unfit(f"cannot be used, it gives {what}, not a picture")
        weights = Weights(self._layers, self._eps, self._truncates, self._sides)
        try:
            generator = Generator(replace(weights, truncates=False), torch.device("cpu"), torch.float32)
            drawn = generator(torch.from_numpy(scene(*PROBE)[None])).numpy()
            if np.abs(drawn - result).max() <= CLOSE:  # never for NaN
                return weights
        except (ValueError, RuntimeError):  # too few convolutions, or channels that do not fit together there
            pass
        steps = len({id(value) for value in self._values.values() if isinstance(value, Picture)})
        raise Unfit(f"cannot be used, its {steps} steps are not those of DCT-Net's generator")

    def _value(self, node: Node, given: list[Array]) -> Array:
        match node.op, given:
            case "Placeholder", []:
                return self._input(node)
            case "Const", []:
                return node.constant()
            case op, [value] if op in _PASSES:
                return value
            case "Conv2D" | "DepthwiseConv2dNative", [x, kernel]:
                return self._convolved(node, x, kernel)
            case "ResizeBilinear", [x, sides]:
                return self._resized(node, x, sides)
            case op, [x, *axes] if op in _RESHAPES:
                result: Array = np.asanyarray(_with_axes(node, x, axes))
                batched = result.shape[:-3] in ((), (1,)) and result.shape[-3:] == x.shape[-3:]
                if isinstance(x, Picture) and not batched:
                    raise Unfit("cuts a picture in a way that is not known")
                return result
            case op, [one, *_] if op in _WORK and len(given) == _WORK[op].nin:
                return self._joined(node, one, given[-1])
            case "LeakyRelu", [x]:
                return np.maximum(x, 0) + np.float32(node.get("alpha", SLOPE)) * np.minimum(x, 0)
            case "ClipByValue", [x, low, high] if low.size == high.size == 1:
                return np.minimum(np.maximum(x, low), high)
            case "Cast", [x] if (kind := node.get("DstT", 0)) in DTYPES or kind == UINT8:
                if not isinstance(x, Picture):
                    return x.astype(DTYPES[kind])
                self._truncates = kind == UINT8
                return x
            case "Shape", [x]:
                return np.array(x.shape)
            case "OnesLike", [x]:
                return np.ones_like(x)
            case "Fill", [sides, value]:
                self._check_budget(sides.tolist())
                return np.full(sides.tolist(), value, np.float32).view(Picture)
            case "Pack", parts if all(part.ndim == 0 for part in parts):
                return np.stack(parts)
        raise Unfit(f"takes {len(given)} values in a way that is not known here")

    def _input(self, node: Node) -> Array:
        """The small picture in place of the input, after a look at what the input may be."""
        shape, kind = node.get("shape", _NONE), node.get("dtype", 0)
        if kind not in (FLOAT, UINT8):
            raise Unfit(f"takes values of type {kind}, neither float32 nor uint8")
        if any(isinstance(value, Picture) for value in self._values.values()):
            raise Unfit("is a second input")
        if shape:
            height, width = sides = shape[-3:-1] if len(shape) in (3, 4) else (0, 0)
            if not height or not width or shape[-1] not in (3, -1) or min(shape) < -1:
                raise Unfit(f"has shape {list(shape)}, not that of a picture")
            if sides != (-1, -1) and (min(sides) < 0 or height % MULTIPLE or width % MULTIPLE):
                raise Unfit(f"has sides of {height} and {width} px, not of multiples of {MULTIPLE}")
            self._sides = (height, width) if height > 0 else None
            self._rank = len(shape)
        picture = scene(*PROBE).astype(np.float32).view(Picture)
        return picture if self._rank == 3 else picture[None]

    def _convolved(self, node: Node, x: Array, kernel: Array) -> Array:
        _check_layout(node)
        side, (inner, out) = len(kernel), kernel.shape[-2:]
        odd = kernel.ndim == 4 and kernel.shape[1] == side <= MOST_KERNEL and side % 2
        if not odd or kernel.dtype.kind != "f" or not kernel.size or max(inner, out) > MOST_CHANNELS:
            raise Unfit(f"has a kernel of shape {kernel.shape}")
        if x.ndim != 4 or x.shape[1] > PROBE[0] or x.shape[2] > PROBE[1] or inner != x.shape[3]:
            raise Unfit(f"takes {inner} channels where {x.shape[-1]} come")
        strides, dilations = node.get("strides", _NONE), node.get("dilations", _NONE) or (1,)
        stride = strides[1] if len(strides) == 4 else 0
        if strides != (1, stride, stride, 1) or stride not in (1, 2) or set(dilations) != {1}:
            raise Unfit(f"has strides {list(strides[:4])} and dilations {list(dilations[:4])}")
        before = max(side - stride, 0) // 2  # as "SAME" has it where the stride divides the picture's side
        pads = (before, max(side - stride, 0) - before)
        padding, told = node.get("padding", ""), node.get("explicit_paddings", _NONE)[:8]
        if padding != "SAME" and (padding, told) != ("EXPLICIT", (0, 0, *pads, *pads, 0, 0)):
            raise Unfit(f"pads a kernel of {side} by {padding[:16]!r} {list(told)}")
        self._check_budget(kernel.shape)
        self._budget -= kernel.size
        weight = np.array(kernel, np.float32)
        if not np.isfinite(weight).all():
            raise Unfit("has weights that are not finite")
        each = node.op == "DepthwiseConv2dNative"
        laid = weight.transpose(2, 3, 0, 1).reshape(-1, 1, side, side) if each else weight.transpose(3, 2, 0, 1)
        self._check_budget([*x.shape[:3], len(laid)])
        padded = F.pad(_planes(x), pads * 2)
        result = _picture(F.conv2d(padded, torch.from_numpy(laid), stride=stride, groups=inner if each else 1))
        if not each:
            self._layers.append(Layer(weight, np.zeros(out, np.float32), stride))
            self._bare = result
        return result

    def _joined(self, node: Node, one: Array, other: Array) -> Array:
        """Of two values, which may be the same; of a picture and a constant: one number, or one a channel.

        What is added to a convolution's result is its bias, what is added to what divides is the guided filter's eps.
        """
        _check_layout(node)
        work, pictures = _WORK[node.op], [isinstance(value, Picture) for value in (one, other)]
        picture, constant = (one, other) if pictures[0] else (other, one)
        if sum(pictures) == 1:
            _check_constant(constant, picture.shape[-1])
        if all(pictures) and one.shape[:-1] != other.shape[:-1]:
            raise Unfit(f"joins pictures of different sizes, {one.shape} and {other.shape}")
        self._check_budget(np.broadcast_shapes(one.shape, other.shape))
        if work is np.divide and not other.all():
            raise Unfit("divides by zero")
        result: Array = work(*(one, other)[: work.nin])
        if work is np.divide and all(pictures):
            self._eps = self._added.get(id(other), self._eps)
        if work is np.add and sum(pictures) == 1:
            if constant.ndim and picture is self._bare:
                bias = np.broadcast_to(constant.reshape(-1), picture.shape[-1:])
                self._layers[-1] = replace(self._layers[-1], bias=bias)
            elif constant.size == 1:
                self._added[id(result)] = float(constant.reshape(-1)[0])
        return result

    def _resized(self, node: Node, x: Array, sides: Array) -> Array:
        if node.get("align_corners", 0) or node.get("half_pixel_centers", 0):
            raise Unfit("has align_corners or half_pixel_centers, which the official graphs have not")
        wanted = (2 * x.shape[1], 2 * x.shape[2])
        fixed = [side * given / full for side, given, full in zip(sides, PROBE, self._sides or PROBE, strict=True)]
        if wanted[0] > PROBE[0] or wanted not in (tuple(sides), tuple(fixed)):
            raise Unfit("does not enlarge height and width twice, to the picture's size at most")
        return _picture(doubled(_planes(x), (0, wanted[0])))

    def _check_budget(self, shape: Sequence[int]) -> None:
        """Raise Unfit for values of that shape where they are too many, all that were computed counted."""
        if min(shape, default=0) < 0 or math.prod(shape) > self._budget:
            raise Unfit("computes more numbers than any such graph")


def _planes(x: Array) -> Tensor:
    return torch.from_numpy(np.array(x, np.float32)).permute(0, 3, 1, 2)


def _picture(planes: Tensor) -> Picture:
    return planes.permute(0, 2, 3, 1).numpy().view(Picture)


def _check_layout(node: Node) -> None:
    if (layout := node.get("data_format", "NHWC")) != "NHWC":
        raise Unfit(f"has its channels elsewhere than last ({layout[:8]!r})")


def _check_constant(array: Array, channels: int) -> None:
    """Raise Unfit for what is neither one number nor one a channel, which are the last axis."""
    if array.dtype.kind != "f" or array.size != (array.shape[-1] if array.ndim else 1):
        raise Unfit(f"takes a constant of {array.dtype} {array.shape}")
    if array.size not in (1, channels):
        raise Unfit(f"takes {array.size} numbers for {channels} channels")
    if not np.isfinite(array).all():
        raise Unfit("takes numbers that are not finite")


def _with_axes(node: Node, array: Array, given: list[Array]) -> Any:
    """What ExpandDims, Squeeze and StridedSlice make of an array."""
    if node.op == "Squeeze":
        return np.squeeze(array, node.get("squeeze_dims", _NONE) or None)
    if node.op == "ExpandDims":
        return np.expand_dims(array, int(given[0]))
    index: list[Any] = []
    masks = [node.get(mask, 0) for mask in _MASKS]
    for at, (begin, end, stride) in enumerate(zip(*(part.tolist() for part in given), strict=True)):
        no_begin, no_end, ellipsis, new_axis, one = (mask >> at & 1 for mask in masks)
        if ellipsis or new_axis or one:
            index.append(... if ellipsis else None if new_axis else begin)
        else:
            index.append(slice(None if no_begin else begin, None if no_end else end, stride))
    return array[tuple(index)]
