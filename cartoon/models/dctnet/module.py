"""DCT-Net's generator as a module: an encoder, residual blocks, a decoder with skips, maybe a guided filter.

What has the picture's full resolution is most of the memory (44 MB for 32 channels of 720 x 960 in two bytes) and, on
a CPU, most of the time beside the convolutions. So of a large picture it is never there as a whole: what is smaller is
kept, and rows of full size are computed band by band, with as many neighbours as what follows reaches. They come out
the same. Convolutions compute in the given precision, arithmetic on colours in float32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

MULTIPLE: Final = 4
"""What a picture's sides have to be multiples of."""
HALF: Final = 127.5
"""The network's values are -1..1: 0..255, less half of it, over half of it."""
SLOPE: Final = 0.2
"""Below zero, of what follows a convolution."""
BAND_BYTES: Final = {"cpu": 12 << 20, "cuda": 1 << 30}
"""Of the widest value of full size. A 288 x 288 head in float32 is one band, and so in two bytes."""
_BAND_ROWS: Final = 64
"""Bands begin at multiples of this: at whole rows of every level, and at pairs of them."""

Rows = tuple[int, int]
"""First row and the one after the last."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution: weight float32 (k, k, in, out), k odd, bias (out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int


@dataclass(frozen=True, eq=False)
class Weights:
    """All that one generator differs in from another.

    layers: in the order of the computation. eps: of the guided filter at the end, None where there is none.
    truncates: the result is whole numbers. sides: (height, width) where it draws one size alone, else None.
    """

    layers: Sequence[Layer]
    eps: float | None
    truncates: bool
    sides: tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class Strip:
    """Some rows of a value: pixels (B, C, rows, W), the first of which is row `first` of `height`."""

    pixels: Tensor
    first: int
    height: int

    def rows(self, rows: Rows) -> Tensor:
        """Those rows, which have to be there."""
        return self.pixels[:, :, rows[0] - self.first : rows[1] - self.first]

    def around(self, rows: Rows) -> tuple[Tensor, Rows]:
        """Rows that may lie outside of the picture: those inside, and how many are missing above and below."""
        above, below = max(0, -rows[0]), max(0, rows[1] - self.height)
        return self.rows((rows[0] + above, rows[1] - below)), (above, below)


class Conv(nn.Module):
    """A convolution with its bias and, maybe, a slope below zero; zeros around the picture."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: Layer, sloped: bool = True, grouped: bool = False) -> None:
        """grouped: two by two pixels are done at once, which is faster for few channels: the kernels
        of oneDNN and cuDNN compute sixteen anyway; sides have to be even."""
        super().__init__()
        weight = torch.from_numpy(np.array(layer.weight, np.float32)).permute(3, 2, 0, 1)
        bias = torch.from_numpy(np.array(layer.bias, np.float32))
        self.stride, self.sloped, self.grouped = layer.stride, sloped, grouped
        # Where TensorFlow pads one row more at the bottom: zeros in the kernel cost less than a padded copy.
        odd = max(weight.shape[2] - self.stride, 0) % 2
        weight = F.pad(weight, (odd, 0, odd, 0))
        self.side = weight.shape[2]
        self.pad = (self.side - self.stride + 1) // 2
        if grouped:
            weight, bias = _for_four(weight), bias.repeat_interleave(4)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def reach(self, rows: Rows) -> Rows:
        """The rows of what it takes that some of its own need; they may lie outside of the picture."""
        first = rows[0] * self.stride - self.pad
        return first, first + (rows[1] - rows[0] - 1) * self.stride + self.side

    def forward(self, given: Strip | Tensor, rows: Rows | None = None) -> Tensor:
        """Some rows of the result, or all of them."""
        if isinstance(given, Tensor):
            given = Strip(given, 0, given.shape[2])
        x, cut = given.around(self.reach(rows or (0, given.height // self.stride)))
        down, x = self.pad, x.to(self.weight.dtype)
        if cut != (down, down):
            down, x = 0, F.pad(x, (0, 0, *cut)) if any(cut) else x
        if self.grouped:
            y = F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, 2, (down, self.pad)), 2)
        else:
            y = F.conv2d(x, self.weight, self.bias, self.stride, (down, self.pad))
        return F.leaky_relu_(y, SLOPE) if self.sloped else y


class Generator(nn.Module):
    """The network on a device. It is constant: calls from several threads do not meet."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        *layers, last = weights.layers
        self.stem, self.to_half, self.at_half, self.to_quarter, self.at_quarter = map(Conv, layers[:5])
        pairs = zip(layers[5:-4:2], layers[6:-4:2], strict=True)
        self.blocks = nn.ModuleList(nn.Sequential(Conv(one), Conv(two, sloped=False)) for one, two in pairs)
        self.narrow, self.joined_half, self.up, self.joined = map(Conv, layers[-4:])
        self.last = Conv(last, sloped=False, grouped=True)
        self.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.eps, self.truncates = device, weights.eps, weights.truncates
        self.pixel_bytes = max(len(layers[0].bias), len(layers[-1].bias)) * dtype.itemsize

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3), uint8 or float32, 0..255, H and W multiples of 4 -> the drawings, alike, float32."""
        x = pictures.to(self.device).permute(0, 3, 1, 2)
        height, width = x.shape[2:]
        band = BAND_BYTES[self.device.type] // (len(x) * width * self.pixel_bytes)
        band = max(1, band // _BAND_ROWS) * _BAND_ROWS
        bands = [(first, min(first + band, height)) for first in range(0, height, band)]
        # Of a picture of one band it is kept, of another computed twice.
        stem = [self._stem(x, (0, height))] if len(bands) == 1 else []
        halves = (self._half(x, stem, (first // 2, last // 2)) for first, last in bands)
        up = self._up(_stacked(halves, height // 2))  # which is in no variable here, so that it goes when it has served
        drawn = _stacked((self._drawn(x, stem, up, rows) for rows in bands), height)
        return drawn.permute(0, 2, 3, 1).to("cpu").contiguous()

    def _stem(self, x: Tensor, rows: Rows) -> Strip:
        rows = _inside(rows, x.shape[2])
        return Strip(self.stem(_scaled(x, self.stem.reach(rows)), rows), rows[0], x.shape[2])  # (B, 32, rows, W)

    def _half(self, x: Tensor, stem: list[Strip], rows: Rows) -> Tensor:
        given = stem[0] if stem else self._stem(x, self.to_half.reach(rows))
        half: Tensor = self.to_half(given, rows)  # (B, 32, rows, W/2)
        return half

    def _up(self, half: Tensor) -> Tensor:
        """All that is smaller than the picture."""
        half = self.at_half(half)  # (B, 64, H/2, W/2)
        deep = self.at_quarter(self.to_quarter(half))  # (B, 128, H/4, W/4)
        for block in self.blocks:
            deep = block(deep).add_(deep)
        deep = doubled(self.narrow(deep), (0, half.shape[2])).add_(half)  # (B, 64, H/2, W/2)
        del half
        up: Tensor = self.up(self.joined_half(deep))  # (B, 32, H/2, W/2)
        return up

    def _drawn(self, x: Tensor, stem: list[Strip], up: Tensor, rows: Rows) -> Tensor:
        """Rows of the drawing, 0..255; takes the stem away."""
        height = x.shape[2]
        last = rows if self.eps is None else _inside((rows[0] - 2, rows[1] + 2), height)
        joined = _inside(self.last.reach(last), height)
        seen = _inside(self.joined.reach(joined), height)
        skip = (stem.pop() if stem else self._stem(x, seen)).rows(seen)
        y = Strip(doubled(up, seen).add_(skip), seen[0], height)  # (B, 32, rows, W)
        del skip
        y = Strip(self.joined(y, joined), joined[0], height)
        y = Strip(self.last(y, last).float(), last[0], height)  # (B, 3, rows, W)
        drawing = y.pixels if self.eps is None else _guided(_scaled(x, last), y, self.eps, rows)
        half = drawing.new_tensor(HALF)
        drawing = torch.addcmul(half, drawing, half).clamp_(0, 255)
        return drawing.trunc_() if self.truncates else drawing


def _inside(rows: Rows, height: int) -> Rows:
    return max(0, rows[0]), min(rows[1], height)


def _stacked(bands: Iterator[Tensor], height: int) -> Tensor:
    """Bands of rows as a whole of that height, channels last in memory."""
    first = next(bands)
    if first.shape[2] == height:
        return first
    batch, channels, at, width = first.shape
    whole = first.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
    whole[:, :, :at] = first
    for band in bands:
        whole[:, :, at : at + band.shape[2]] = band
        at += band.shape[2]
    return whole


def _scaled(x: Tensor, rows: Rows) -> Strip:
    """Rows of the picture as the network sees it, -1..1; of those asked for, which are in the picture."""
    first, last = _inside(rows, x.shape[2])
    part = x[:, :, first:last].float()
    return Strip(torch.addcmul(part.new_tensor(-1.0), part, part.new_tensor(1 / HALF)), first, x.shape[2])


def doubled(x: Tensor, rows: Rows) -> Tensor:
    """Rows of what is twice as large, bilinear: a pixel's place is its index, the last is what would follow.

    https://www.tensorflow.org/api_docs/python/tf/compat/v1/image/resize_bilinear with both of its flags false.
    """
    given, (_, below) = Strip(x, 0, x.shape[2]).around((rows[0] // 2, (rows[1] - 1) // 2 + 2))
    given = F.pad(given, (0, 1, 0, below), mode="replicate")
    height, width = (2 * (side - 1) for side in given.shape[2:])
    large = F.interpolate(given, (height + 1, width + 1), mode="bilinear", align_corners=True)
    first = rows[0] % 2
    return large[:, :, first : first + rows[1] - rows[0], :width]


def _guided(x: Strip, y: Strip, eps: float, rows: Rows) -> Tensor:
    """Rows of y with the edges of x (guided filter: He, Sun, Tang 2010); both have two rows more, if there are."""
    inner = _inside((rows[0] - 1, rows[1] + 1), x.height)

    def mean(of: Tensor) -> Tensor:
        return _mean(Strip(of, x.first, x.height), inner)

    mean_x, mean_y = mean(x.pixels), mean(y.pixels)
    covariance = mean(x.pixels * y.pixels).sub_(mean_x * mean_y)
    variance = mean(x.pixels * x.pixels).sub_(mean_x * mean_x)
    slope = covariance.div_(variance.add_(eps))
    rest = mean_y.sub_(slope * mean_x)
    slope, rest = (_mean(Strip(part, inner[0], x.height), rows) for part in (slope, rest))
    return slope.mul_(x.rows(rows)).add_(rest)


def _mean(of: Strip, rows: Rows) -> Tensor:
    """Of the nine pixels around each, those that are in the picture."""
    x, cut = of.around((rows[0] - 1, rows[1] + 1))
    ones = [x.new_ones(1, 1, x.shape[2], 1), x.new_ones(1, 1, 1, x.shape[3])]
    counts = _slid(F.pad(ones[0], (0, 0, *cut)), 2) * _slid(F.pad(ones[1], (1, 1)), 3)
    return _slid(_slid(F.pad(x, (1, 1, *cut)), 2), 3).div_(counts)


def _slid(x: Tensor, axis: int) -> Tensor:
    """Sums of three neighbours along an axis, which gets shorter by two."""
    length = x.shape[axis] - 2
    return (x.narrow(axis, 0, length) + x.narrow(axis, 1, length)).add_(x.narrow(axis, 2, length))


def _for_four(weight: Tensor) -> Tensor:
    """(out, in, kh, kw) -> (4 * out, in, kh + 1, kw + 1): the kernel at two by two places, for pixel_shuffle."""
    places = [(across, 1 - across, down, 1 - down) for down in (0, 1) for across in (0, 1)]
    return torch.stack([F.pad(weight, place) for place in places], 1).flatten(0, 1)
