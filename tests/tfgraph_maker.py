"""Frozen TensorFlow graphs for tests: DCT-Net's generator in every spelling, written without TensorFlow.

`Net` holds the weights, `Spelling` says how the graph is written, `frozen(net, spelling)` gives the bytes and
`drawn(net, picture)` what TensorFlow makes of a picture, worked out anew in float64. The made graphs were run through
TensorFlow 2.21 (2026-11-26), which agrees with `drawn` within 1e-3 of 255.
"""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

SLOPE = 0.2
FLOAT, INT, BYTE = 1, 3, 4


@dataclass(frozen=True, eq=False)
class Net:
    """Weights of a generator: layers by name, (kh, kw, in, out) and (out,), in the official order."""

    layers: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    blocks: int
    eps: float | None = None
    """Of the guided filter at the end; None: there is none."""


def random_net(channels: int = 4, blocks: int = 1, eps: float | None = None, seed: int = 0) -> Net:
    """Small and quick; its drawings use the whole range from 0 to 255."""
    rng = np.random.default_rng(seed)
    c = channels
    shapes = {
        "Conv": (7, 3, c),
        "Conv_1": (3, c, c),
        "Conv_2": (3, c, 2 * c),
        "Conv_3": (3, 2 * c, 2 * c),
        "Conv_4": (3, 2 * c, 4 * c),
        **{f"block_{at}/conv{part}": (3, 4 * c, 4 * c) for at in range(blocks) for part in (1, 2)},
        "Conv_5": (3, 4 * c, 2 * c),
        "Conv_6": (3, 2 * c, 2 * c),
        "Conv_7": (3, 2 * c, c),
        "Conv_8": (3, c, c),
        "Conv_9": (7, c, 3),
    }
    layers = {}
    for name, (kernel, inner, out) in shapes.items():
        spread = (2 / (kernel * kernel * inner)) ** 0.5 * (0.5 if "conv" in name else 1)
        weight = rng.normal(0, spread, (kernel, kernel, inner, out)).astype(np.float32)
        layers[name] = weight, rng.normal(0, 0.1, out).astype(np.float32)
    return Net(layers, blocks, eps)


@dataclass(frozen=True)
class Spelling:
    """How a graph is written; the defaults are those of TensorFlow 2."""

    add: str = "AddV2"
    leaky: str = "LeakyRelu"  # or "Maximum", "Maximum turned"
    clip: str = "Minimum"  # then Maximum; or "Maximum" (then Minimum), "ClipByValue"
    bias: str = "BiasAdd"  # or "Add", "Add 4", "none" (for a net whose biases are zeros)
    divide: str = "RealDiv"  # or "Div", "Mul"
    dtype: int = FLOAT
    shape: tuple[int, ...] | None = (-1, -1, 3)  # () : not said
    cast_late: bool = False
    cast_out: bool = False
    squeeze: str = "Squeeze"  # or "Squeeze all", "slice"
    expand: str = "ExpandDims"  # or "slice"
    size: str = "Pack"  # or "slice", "turned", "float", "constant"
    ones: str = "Fill"  # or "like"
    constants: str = "content"  # or "listed", "packed"
    splat: bool = True
    folded: bool = True
    explicit: bool = False
    attributes: str = "all"  # or "few"
    scope: str = "generator"
    output: str = "output_image"
    identities: int = 0
    shuffled: bool = False
    controls: bool = False
    ports: bool = False
    rubbish: bool = False


def frozen(net: Net, spelling: Spelling | None = None, seed: int = 0) -> bytes:
    """The bytes of a `.pb`."""
    return _Writer(net, spelling or Spelling(), seed).written()


# What TensorFlow makes of it.


def drawn(net: Net, picture: NDArray[Any], cast_out: bool = False) -> NDArray[np.float32]:
    """(H, W, 3), 0..255 -> float32, the same; both sides multiples of 4."""
    x = torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1)[None] / 127.5 - 1

    def conv(name: str, given: Tensor, stride: int = 1, slope: float = SLOPE) -> Tensor:
        weight, bias = (torch.from_numpy(array.astype(np.float64)) for array in net.layers[name])
        pads = []
        for side, kernel in ((given.shape[3], weight.shape[1]), (given.shape[2], weight.shape[0])):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return F.leaky_relu(F.conv2d(F.pad(given, pads), weight.permute(3, 2, 0, 1), bias, stride), slope)

    x0 = conv("Conv", x)
    x1 = conv("Conv_2", conv("Conv_1", x0, 2))
    deep = conv("Conv_4", conv("Conv_3", x1, 2))
    for at in range(net.blocks):
        deep = deep + conv(f"block_{at}/conv2", conv(f"block_{at}/conv1", deep), slope=1)
    up = conv("Conv_7", conv("Conv_6", _doubled(conv("Conv_5", deep)) + x1))
    y = conv("Conv_9", conv("Conv_8", _doubled(up) + x0), slope=1)
    if net.eps is not None:
        y = _guided(x, y, net.eps)
    result = ((y + 1) * 127.5).clamp(0, 255)[0].permute(1, 2, 0).numpy()
    return (np.floor(result) if cast_out else result).astype(np.float32)


def _doubled(x: Tensor) -> Tensor:
    for axis in (2, 3):
        length = x.shape[axis]
        place = torch.arange(2 * length, dtype=x.dtype) / 2
        low = place.floor().long()
        high = (low + 1).clamp(max=length - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), (place - low).view(shape))
    return x


def _guided(x: Tensor, y: Tensor, eps: float) -> Tensor:
    def mean(given: Tensor) -> Tensor:
        box = torch.ones(given.shape[1], 1, 3, 3, dtype=given.dtype)
        count = F.conv2d(torch.ones_like(given), box, padding=1, groups=len(box))
        return F.conv2d(given, box, padding=1, groups=len(box)) / count

    a = (mean(x * y) - mean(x) * mean(y)) / (mean(x * x) - mean(x) * mean(x) + eps)
    return mean(a) * x + mean(mean(y) - a * mean(x))


# The wire.


def varint(number: int) -> bytes:
    """Seven bits a byte, the least first; negative ones as 64 bits."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: bytes | str | int | float) -> bytes:
    """One field of a message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def shape_of(sides: Sequence[int]) -> bytes:
    """A TensorShapeProto."""
    return b"".join(field(2, field(1, side)) for side in sides)


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    """A NodeDef as a field of a GraphDef; attributes: AttrValues."""
    pairs = b"".join(field(5, field(1, key) + field(2, value)) for key, value in attributes.items())
    return field(1, field(1, name) + field(2, op) + b"".join(field(3, given) for given in inputs) + pairs)


def tensor(array: NDArray[Any] | np.generic, how: str = "content", splat: bool = True) -> bytes:
    """An AttrValue that holds a constant. splat: one value stands for all where they are equal."""
    array = np.asarray(array)
    whole = array.dtype.kind == "i"
    flat = array.reshape(-1)
    head = field(1, INT if whole else FLOAT) + field(2, shape_of(array.shape))
    if splat and flat.size and (flat == flat[0]).all():
        flat, how = flat[:1], "listed"
    if how == "content":
        return field(8, head + field(4, array.astype("<i4" if whole else "<f4").tobytes()))
    number = 7 if whole else 5
    values = [int(value) if whole else float(value) for value in flat]
    if how == "listed":
        return field(8, head + b"".join(field(number, value) for value in values))
    packed = b"".join(varint(int(value)) for value in flat) if whole else np.array(values, "<f4").tobytes()
    return field(8, head + field(number, packed))


def kind(number: int) -> bytes:
    """An AttrValue that names a type."""
    return field(6, number)


def whole_numbers(*numbers: int) -> bytes:
    """An AttrValue that is a list."""
    return field(1, field(3, b"".join(map(varint, numbers))))


class _Writer:
    """Nodes in the order of the computation; `written` puts them into that of the spelling."""

    def __init__(self, net: Net, spelling: Spelling, seed: int) -> None:
        self.net, self.s = net, spelling
        self.random = random.Random(seed)
        self.nodes: list[bytes] = []
        self.count = 0
        self.sides = spelling.shape[-3:-1] if spelling.shape and spelling.shape[-2] > 0 else None

    def written(self) -> bytes:
        s = self.s
        given = self.put("input_image", "Placeholder", (), dtype=kind(s.dtype), **self.shape(s.shape))
        batched = s.shape is not None and len(s.shape) == 4
        if s.dtype == BYTE and not s.cast_late:
            given = self.cast(given, BYTE, FLOAT)
        if not batched:
            given = self.expanded(given, s.dtype if s.cast_late else FLOAT)
        if s.dtype == BYTE and s.cast_late:
            given = self.cast(given, BYTE, FLOAT)
        x = self.normalised(given)
        y = self.generator(x)
        if self.net.eps is not None:
            y = self.guided(x, y)
        y = self.op("Mul", self.op(s.add, y, self.const(np.float32(1))), self.const(np.float32(127.5)))
        if not batched:
            y = self.squeezed(y)
        self.clipped(y)
        nodes = list(self.nodes)
        if s.rubbish:
            nodes += [node("init", "NoOp"), node("save/Const", "Const", dtype=kind(FLOAT), value=tensor(np.float32(0)))]
        if s.shuffled:
            self.random.shuffle(nodes)
        return b"".join(nodes) + field(4, field(1, 27) + field(2, 12))

    def put(self, name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> str:
        given = [name_ + ":0" if self.s.ports else name_ for name_ in inputs]
        if self.s.controls and self.nodes:
            given.append("^input_image")
        self.nodes.append(node(name, op, given, **attributes))
        for at in range(self.s.identities if op not in ("Const", "Placeholder") and name != self.s.output else 0):
            passed = f"{name}/passed_{at}"
            result = attributes.get("out_type", attributes.get("DstT", attributes.get("T", kind(FLOAT))))
            self.nodes.append(node(passed, "Identity" if at else "StopGradient", [name], T=result))
            name = passed
        return name

    def op(self, op: str, *inputs: str, **attributes: bytes) -> str:
        return self.named(f"{self.s.scope}/{op}_{self.count + 1}", op, *inputs, **attributes)

    def named(self, name: str, op: str, *inputs: str, **attributes: bytes) -> str:
        self.count += 1
        return self.put(name, op, inputs, **{"T": kind(FLOAT), **attributes})

    def const(self, value: Any, name: str | None = None) -> str:
        array = np.asarray(value)
        self.count += 1
        name = name or f"{self.s.scope}/Const_{self.count}"
        how = tensor(array, self.s.constants, self.s.splat)
        dtype = kind(INT if array.dtype.kind == "i" else FLOAT)
        self.nodes.append(node(name, "Const", dtype=dtype, value=how))
        if self.s.identities and array.ndim == 4:
            return self.put(f"{name}/read", "Identity", [name], T=dtype)
        return name

    def shape(self, sides: tuple[int, ...] | None) -> dict[str, bytes]:
        if sides is None:
            return {"shape": field(7, field(3, 1))}
        return {"shape": field(7, shape_of(sides))} if sides else {}

    def cast(self, given: str, source: int, into: int) -> str:
        return self.op("Cast", given, T=kind(FLOAT), SrcT=kind(source), DstT=kind(into))

    def expanded(self, given: str, dtype: int) -> str:
        if self.s.expand == "ExpandDims":
            return self.op("ExpandDims", given, self.const(np.int32(0)), T=kind(dtype), Tdim=kind(INT))
        return self.sliced(given, [0, 0], [0, 0], [1, 1], dtype, new_axis_mask=1, ellipsis_mask=2)

    def squeezed(self, given: str) -> str:
        if self.s.squeeze == "slice":
            return self.sliced(given, [0], [1], [1], FLOAT, shrink_axis_mask=1)
        dims = {"squeeze_dims": whole_numbers(0)} if self.s.squeeze == "Squeeze" else {}
        return self.op("Squeeze", given, **dims)

    def sliced(self, given: str, begin: list[int], end: list[int], step: list[int], dtype: int, **masks: int) -> str:
        ends = [self.const(np.array(numbers, np.int32)) for numbers in (begin, end, step)]
        told = {key: field(3, mask) for key, mask in masks.items()}
        if self.s.attributes == "all":
            names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
            told = {**dict.fromkeys(names, field(3, 0)), **told}
        return self.op("StridedSlice", given, *ends, T=kind(dtype), Index=kind(INT), **told)

    def normalised(self, given: str) -> str:
        if self.s.divide == "Mul":
            scaled = self.op("Mul", self.const(np.float32(1 / 127.5)), given)
            return self.op(self.s.add, scaled, self.const(np.float32(-1)))
        return self.op("Sub", self.op(self.s.divide, given, self.const(np.float32(127.5))), self.const(np.float32(1)))

    def generator(self, x: str) -> str:
        add = self.s.add
        x0 = self.leaky(self.conv("Conv", x))
        x1 = self.leaky(self.conv("Conv_2", self.leaky(self.conv("Conv_1", x0, 2))))
        deep = self.leaky(self.conv("Conv_4", self.leaky(self.conv("Conv_3", x1, 2))))
        for at in range(self.net.blocks):
            inner = self.leaky(self.conv(f"block_{at}/conv1", deep))
            deep = self.op(add, self.conv(f"block_{at}/conv2", inner), deep)
        up = self.doubled(self.leaky(self.conv("Conv_5", deep)), 2)
        up = self.leaky(self.conv("Conv_7", self.leaky(self.conv("Conv_6", self.op(add, up, x1)))))
        return self.conv("Conv_9", self.leaky(self.conv("Conv_8", self.op(add, self.doubled(up, 1), x0))))

    def conv(self, layer: str, given: str, stride: int = 1) -> str:
        weight, bias = self.net.layers[layer]
        kernel = self.const(weight, f"{self.s.scope}/{layer}/weights")
        pads = self.explicit(weight.shape[0], stride) if self.s.explicit else {"padding": field(2, "SAME")}
        name = f"{self.s.scope}/{layer}/Conv2D"
        y = self.named(name, "Conv2D", given, kernel, **self.window(stride), **pads)
        if self.s.bias == "none":
            return y
        if self.s.bias == "BiasAdd":
            layout = {"data_format": field(2, "NHWC")} if self.s.attributes == "all" else {}
            return self.op("BiasAdd", y, self.const(bias), **layout)
        shape = (1, 1, 1, -1) if self.s.bias == "Add 4" else (-1,)
        return self.op(self.s.add, self.const(bias.reshape(shape)), y)

    def window(self, stride: int) -> dict[str, bytes]:
        told = {"strides": whole_numbers(1, stride, stride, 1)}
        if self.s.attributes == "all":
            told |= {"data_format": field(2, "NHWC"), "dilations": whole_numbers(1, 1, 1, 1)}
            told |= {} if self.s.explicit else {"explicit_paddings": field(1, b"")}
        return told

    def explicit(self, kernel: int, stride: int) -> dict[str, bytes]:
        total = kernel - stride
        before, after = total // 2, total - total // 2
        pads = whole_numbers(0, 0, before, after, before, after, 0, 0)
        return {"padding": field(2, "EXPLICIT"), "explicit_paddings": pads}

    def leaky(self, given: str) -> str:
        if self.s.leaky == "LeakyRelu":
            few = self.s.attributes == "few"
            return self.op("LeakyRelu", given, **({} if few else {"alpha": field(4, SLOPE)}))
        slope = self.const(np.float32(SLOPE))
        if self.s.leaky == "Maximum":
            return self.op("Maximum", self.op("Mul", slope, given), given)
        return self.op("Maximum", given, self.op("Mul", given, slope))

    def doubled(self, given: str, level: int) -> str:
        flags = {"align_corners": field(5, 0), "half_pixel_centers": field(5, 0)} if self.s.attributes == "all" else {}
        return self.op("ResizeBilinear", given, self.size(given, level), **flags)

    def size(self, given: str, level: int) -> str:
        if self.s.size == "constant":
            assert self.sides is not None
            return self.const(np.array([side // level for side in self.sides], np.int32))
        two, number = self.const(np.int32(2)), {"T": kind(INT)}
        shape = self.op("Shape", given, out_type=kind(INT))
        if self.s.size == "slice":
            return self.op("Mul", self.sliced(shape, [1], [3], [1], INT), two, **number)
        sides = [self.sliced(shape, [at], [at + 1], [1], INT, shrink_axis_mask=1) for at in (1, 2)]
        if self.s.size == "float":
            sides = [self.op("Mul", self.cast(side, INT, FLOAT), self.const(np.float32(2))) for side in sides]
            sides = [self.cast(side, FLOAT, INT) for side in sides]
        elif self.s.size == "turned":
            sides = [self.op("Mul", two, side, **number) for side in sides]
        else:
            sides = [self.op("Mul", side, two, **number) for side in sides]
        return self.op("Pack", *sides, T=kind(INT), N=field(3, 2), axis=field(3, 0))

    def box(self, given: str, channels: int) -> str:
        kernel = np.full((3, 3, channels, 1), 1 / 9, np.float32)
        if self.s.folded:
            weight = self.const(kernel)
        else:
            weight = self.op("Mul", self.const(np.float32(1 / 9)), self.const(np.ones_like(kernel)))
        return self.op("DepthwiseConv2dNative", given, weight, padding=field(2, "SAME"), **self.window(1))

    def guided(self, x: str, y: str) -> str:
        if self.s.ones == "like":
            count, channels = self.op("OnesLike", x), 3
        else:
            shape, one = self.op("Shape", x, out_type=kind(INT)), self.const(np.int32(1))
            sides = [self.sliced(shape, [at], [at + 1], [1], INT, shrink_axis_mask=1) for at in (1, 2)]
            dims = self.op("Pack", one, *sides, one, T=kind(INT), N=field(3, 4), axis=field(3, 0))
            count, channels = self.op("Fill", dims, self.const(np.float32(1)), index_type=kind(INT)), 1
        count = self.box(count, channels)
        divide = "RealDiv" if self.s.divide == "Mul" else self.s.divide

        def mean(given: str) -> str:
            return self.op(divide, self.box(given, 3), count)

        assert self.net.eps is not None
        mx, my = mean(x), mean(y)
        covariance = self.op("Sub", mean(self.op("Mul", x, y)), self.op("Mul", mx, my))
        variance = self.op("Sub", mean(self.op("Mul", x, x)), self.op("Mul", mx, mx))
        eps = self.const(np.float32(self.net.eps))
        a = self.op(divide, covariance, self.op(self.s.add, variance, eps))
        b = self.op("Sub", my, self.op("Mul", a, mx))
        return self.op(self.s.add, self.op("Mul", mean(a), x), mean(b))

    def clipped(self, y: str) -> None:
        low, high = self.const(np.float32(0)), self.const(np.float32(255))
        name = f"{self.s.scope}/clipped" if self.s.cast_out else self.s.output
        if self.s.clip == "ClipByValue":
            y = self.named(name, "ClipByValue", y, low, high)
        elif self.s.clip == "Maximum":
            y = self.named(name, "Minimum", self.op("Maximum", y, low), high)
        else:
            y = self.named(name, "Maximum", self.op("Minimum", y, high), low)
        if self.s.cast_out:
            self.named(self.s.output, "Cast", y, SrcT=kind(FLOAT), DstT=kind(BYTE))
