"""The steps of a plan in torch, each on any band of rows.

Values are (B, C, rows, W), channels last in memory. Convolutions, their slopes and what only passes their results on
compute in the given precision, all arithmetic on colours in float32: the guided filter (He, Sun, Tang 2010) takes
differences of squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.models.dctnet.plan import Kind, Plan, Step

Rows = tuple[int, int]
"""First row and the one after the last."""
EXACT: Final = frozenset({"affine", "clamp", "truncate", "multiply", "divide", "subtract", "mean"})
"""Kinds that compute in float32."""
_GROUPED: Final = 4
"""A convolution to at most so many channels is done for two by two pixels at once: the kernels of oneDNN and cuDNN
compute sixteen channels anyway."""
_GROUPED_WEIGHTS: Final = 1 << 16
"""It takes four times the weights."""


class Block(Protocol):
    """One step, or several in one."""

    def reach(self, rows: Rows) -> Rows:
        """The rows of what it takes that some rows of its result need; may lie outside of the picture."""

    def run(self, given: Sequence[Tensor], own: Sequence[bool], rows: Rows, cut: Rows) -> Tensor:
        """Those rows. given: the rows in reach that are in the picture; cut: how many above and below are not.

        own: whether a given tensor is used nowhere else, so that it may be written into.
        """


class Conv:
    """A convolution with its bias and a slope below zero; zeros around the picture."""

    def __init__(self, step: Step, plan: Plan, slope: float | None, exact: bool, how: "How") -> None:
        """exact: the result is wanted in float32."""
        self._stride, _, top, bottom, left, right, self._groups = map(int, step.numbers)
        weight, bias = (torch.from_numpy(plan.arrays[index]) for index in step.arrays)
        # Padding becomes symmetric by zeros in the kernel, which cost less than a padded copy of the picture.
        weight = (
            F.pad(weight, (right - left, 0, bottom - top, 0))
            if right >= left and bottom >= top
            else F.pad(weight, (max(right - left, 0), max(left - right, 0), max(bottom - top, 0), max(top - bottom, 0)))
        )
        self._pad = (max(top, bottom), max(left, right))
        self._kernel = weight.shape[2]
        self._slope, self._exact, self._dtype = slope, exact, how.dtype
        self._weight, self._bias = how.placed(weight), how.placed(bias)
        self._four: tuple[Tensor, Tensor] | None = None
        square = weight.shape[2] == 2 * self._pad[0] + 1 and weight.shape[3] == 2 * self._pad[1] + 1
        small = len(weight) <= _GROUPED and weight.numel() <= _GROUPED_WEIGHTS
        if self._stride == self._groups == 1 and small and square:
            self._four = how.placed(_for_four(weight)), how.placed(bias.repeat_interleave(4))

    def reach(self, rows: Rows) -> Rows:
        first = rows[0] * self._stride - self._pad[0]
        return first, first + (rows[1] - rows[0] - 1) * self._stride + self._kernel

    def run(self, given: Sequence[Tensor], own: Sequence[bool], rows: Rows, cut: Rows) -> Tensor:
        x, (down, across) = given[0].to(self._dtype), self._pad
        if cut != (down, down):
            down = 0
            x = F.pad(x, (0, 0, *cut)) if any(cut) else x
        if self._four and x.shape[3] % 2 == 0 and (rows[1] - rows[0]) % 2 == 0:
            y = F.pixel_shuffle(F.conv2d(x, *self._four, stride=2, padding=(down, across)), 2)
        else:
            y = F.conv2d(x, self._weight, self._bias, self._stride, (down, across), 1, self._groups)
        if self._slope is not None:
            y = F.leaky_relu_(y, self._slope)
        return y.float() if self._exact else y


@dataclass(frozen=True)
class Resize:
    """Bilinear, `times` as large: a pixel's place is its index, and the last one stands for what would follow.

    https://www.tensorflow.org/api_docs/python/tf/compat/v1/image/resize_bilinear with both of its flags false.
    """

    times: int

    def reach(self, rows: Rows) -> Rows:
        return rows[0] // self.times, (rows[1] - 1) // self.times + 2

    def run(self, given: Sequence[Tensor], own: Sequence[bool], rows: Rows, cut: Rows) -> Tensor:
        x = F.pad(given[0], (0, 1, 0, cut[1]), mode="replicate")
        height, width = (self.times * (side - 1) for side in x.shape[2:])
        y = F.interpolate(x, (height + 1, width + 1), mode="bilinear", align_corners=True)
        first = rows[0] % self.times
        return y[:, :, first : first + rows[1] - rows[0], :width]


@dataclass(frozen=True)
class Mean:
    """Of the pixels of a box that are in the picture. radii: down and across."""

    radii: tuple[int, int]

    def reach(self, rows: Rows) -> Rows:
        return rows[0] - self.radii[0], rows[1] + self.radii[0]

    def run(self, given: Sequence[Tensor], own: Sequence[bool], rows: Rows, cut: Rows) -> Tensor:
        down, across = self.radii
        x = given[0].float()
        sums = _slid(_slid(F.pad(x, (across, across, *cut)), down, 2), across, 3)
        counts = [
            _slid(F.pad(torch.ones(1, 1, x.shape[2], 1, device=x.device), (0, 0, *cut)), down, 2),
            _slid(F.pad(torch.ones(1, 1, 1, x.shape[3], device=x.device), (across, across)), across, 3),
        ]
        return sums.div_(counts[0] * counts[1])


@dataclass(frozen=True)
class Pointwise:
    """What takes no other pixel than its own."""

    kind: Kind
    numbers: tuple[float, ...]

    def reach(self, rows: Rows) -> Rows:
        return rows

    def run(self, given: Sequence[Tensor], own: Sequence[bool], rows: Rows, cut: Rows) -> Tensor:
        if self.kind in EXACT:
            given, own = (
                [x.float() for x in given],
                [o or x.dtype != torch.float32 for x, o in zip(given, own, strict=True)],
            )
        x = given[0]
        match self.kind:
            case "affine":
                half = len(self.numbers) // 2
                factors, summands = torch.tensor(self.numbers, device=x.device).view(2, 1, half, 1, 1)
                return torch.addcmul(summands, x, factors)
            case "clamp":
                return x.clamp_(*self.numbers) if own[0] else x.clamp(*self.numbers)
            case "leaky":
                return F.leaky_relu(x, self.numbers[0], inplace=own[0])
            case "truncate":
                return x.trunc()
            case "concat":
                return torch.cat(list(given), 1)
            case "subtract":
                return x.sub_(given[1]) if own[0] and _holds(x, given[1]) else x - given[1]
            case "multiply":
                return x * given[1]
            case "divide":
                return x.div_(given[1]) if own[0] and _holds(x, given[1]) else x / given[1]
        for one, other, mine in ((x, given[1], own[0]), (given[1], x, own[1])):
            if mine and _holds(one, other):
                return one.add_(other)
        return x + given[1]


@dataclass(frozen=True)
class How:
    """Where and in which precision convolutions compute."""

    device: torch.device
    dtype: torch.dtype

    def placed(self, tensor: Tensor) -> Tensor:
        """A weight or a bias there, as convolutions like it best."""
        layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return tensor.to(self.device, self.dtype, copy=True, memory_format=layout)


def _for_four(weight: Tensor) -> Tensor:
    """(out, in, kh, kw) -> (4 * out, in, kh + 1, kw + 1): the kernel at two by two places, for pixel_shuffle."""
    out, inner, height, width = weight.shape
    four = weight.new_zeros(out, 2, 2, inner, height + 1, width + 1)
    for down in range(2):
        for across in range(2):
            four[:, down, across, :, down : down + height, across : across + width] = weight
    return four.view(4 * out, inner, height + 1, width + 1)


def _slid(x: Tensor, radius: int, axis: int) -> Tensor:
    """Sums of 2 * radius + 1 neighbours along an axis, which gets as much shorter."""
    length = x.shape[axis] - 2 * radius
    if not radius:
        return x
    sums = x.narrow(axis, 0, length) + x.narrow(axis, 1, length)
    for at in range(2, 2 * radius + 1):
        sums += x.narrow(axis, at, length)
    return sums


def _holds(one: Tensor, other: Tensor) -> bool:
    """Whether the result of both fits into the first."""
    return one.shape == other.shape and torch.result_type(one, other) == one.dtype
