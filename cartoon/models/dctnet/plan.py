"""What a frozen graph computes, as a short list of steps with their arrays: checked, without TensorFlow and torch.

A value is a picture of `channels` planes at 1/`level` of the input's height and width. Steps are in an order in which
they can be computed; each names the steps whose values it takes.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal[
    "input",  # numbers: channels
    "conv",  # numbers: stride down, stride across, padding top, bottom, left, right, groups; arrays: weight, bias
    "leaky",  # numbers: slope below zero
    "affine",  # numbers: factors and then summands, one of each or one for each channel
    "clamp",  # numbers: least, most
    "truncate",  # towards zero, as a cast to uint8 does
    "add",
    "subtract",
    "multiply",
    "divide",
    "concat",  # of channels
    "resize",  # numbers: how many times as large; bilinear, a pixel's corner at its index (TensorFlow's oldest rule)
    "mean",  # numbers: radius down, radius across; of the pixels around that are in the picture
    "fill",  # numbers: value, channels, level; only on the way to a plan
]
KINDS: Final = frozenset(get_args(Kind))
ELEMENTWISE: Final = frozenset({"add", "subtract", "multiply", "divide"})
_TAKES: Final[dict[Kind, int]] = {"input": 0, "fill": 0, "add": 2, "subtract": 2, "multiply": 2, "divide": 2}
"""How many values a step takes, where it is not one."""

MOST_CHANNELS: Final = 4096
MOST_KERNEL: Final = 63
MOST_STRIDE: Final = 4
MOST_LEVEL: Final = 64
MOST_RADIUS: Final = 15
MOST_STEPS: Final = 1000
"""The official graphs have 61."""
MOST_WEIGHTS: Final = 1 << 24
"""Numbers in all arrays together; the official graphs have 1.5 million."""

Weights = NDArray[np.float32]


class Unfit(ValueError):
    """A step does not fit its values or arrays; the text says how."""


@dataclass(frozen=True)
class Step:
    """One step: what it does, the steps it takes values from, its numbers, and its arrays by place."""

    kind: Kind
    inputs: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    arrays: tuple[int, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What is known of a value beforehand: its channels, and that its sides are 1/level of the input's."""

    channels: int
    level: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole computation; the last step's value, three channels at level 1, is the result.

    arrays: float32; a convolution's weight is (out, in / groups, kh, kw), its bias (out,).
    sides: (height, width) where the graph was made for one size alone, else None.
    """

    steps: tuple[Step, ...]
    arrays: tuple[Weights, ...]
    sides: tuple[int, int] | None

    def facts(self) -> list[Facts]:
        """Of each step's value; raises Unfit where the plan cannot be computed."""
        found: list[Facts] = []
        if not 1 < len(self.steps) <= MOST_STEPS or [s.kind for s in self.steps].count("input") != 1:
            raise Unfit(f"has {len(self.steps)} steps")
        for step in self.steps:
            if step.kind == "fill":
                raise Unfit("needs a picture of one value that is no count of pixels")
            found.append(facts_of(step, found, self.arrays))
        if found[-1] != Facts(3, 1):
            raise Unfit(f"gives {found[-1].channels} channels at 1/{found[-1].level} of the size, not a picture")
        return found

    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return max(facts.level for facts in self.facts())


def facts_of(step: Step, known: list[Facts], arrays: tuple[Weights, ...] | list[Weights]) -> Facts:
    """Of a step's value, given those before it; raises Unfit where it does not fit them."""
    wanted = _TAKES.get(step.kind, 1)
    if step.kind not in KINDS or (len(step.inputs) < 1 if step.kind == "concat" else len(step.inputs) != wanted):
        raise Unfit(f"takes {len(step.inputs)} values")
    if not all(0 <= index < len(known) for index in step.inputs) or not all(map(_real, step.numbers)):
        raise Unfit("takes what is not there")
    given = [known[index] for index in step.inputs]
    facts = _facts(step, given, [arrays[index] for index in step.arrays if 0 <= index < len(arrays)])
    if not (1 <= facts.channels <= MOST_CHANNELS and 1 <= facts.level <= MOST_LEVEL):
        raise Unfit(f"gives {facts.channels} channels at 1/{facts.level} of the size")
    return facts


def _facts(step: Step, given: list[Facts], arrays: list[Weights]) -> Facts:
    numbers = step.numbers
    match step.kind:
        case "input" | "fill":
            if len(numbers) != (1 if step.kind == "input" else 3):
                raise Unfit("does not say its size")
            return Facts(int(numbers[-2 if step.kind == "fill" else 0]), 1 if step.kind == "input" else int(numbers[2]))
        case "conv":
            return _convolved(numbers, given[0], arrays)
        case "leaky" | "resize":
            if len(numbers) != 1:
                raise Unfit("does not say how much")
            if step.kind == "leaky":
                return given[0]
            times = int(numbers[0])
            if times < 1 or given[0].level % times:
                raise Unfit(f"enlarges {times} times what is 1/{given[0].level} of the size")
            return Facts(given[0].channels, given[0].level // times)
        case "affine":
            if len(numbers) not in (2, 2 * given[0].channels):
                raise Unfit(f"has {len(numbers) // 2} numbers for {given[0].channels} channels")
        case "clamp":
            if len(numbers) != 2 or numbers[0] > numbers[1]:
                raise Unfit("clips to nothing")
        case "mean":
            if len(numbers) != 2 or not all(0 <= radius <= MOST_RADIUS for radius in numbers):
                raise Unfit(f"has radii {numbers}")
        case _:
            return _joined(step.kind, given)
    return given[0]


def _convolved(numbers: tuple[float, ...], given: Facts, arrays: list[Weights]) -> Facts:
    if len(numbers) != 7 or len(arrays) != 2 or arrays[0].ndim != 4 or arrays[1].ndim != 1:
        raise Unfit("has no weight and bias")
    down, across, top, bottom, left, right, groups = map(int, numbers)
    out, inner, *kernel = arrays[0].shape
    if min(arrays[0].shape) < 1 or max(kernel) > MOST_KERNEL or arrays[1].shape != (out,):
        raise Unfit(f"has a kernel of {arrays[0].shape} and {arrays[1].shape[0]} biases")
    if groups < 1 or given.channels != inner * groups or out % groups:
        raise Unfit(f"takes {inner * groups} channels where {given.channels} come")
    if not 1 <= down <= MOST_STRIDE or down != across:
        raise Unfit(f"has strides {down} and {across}")
    for before, after, side in ((top, bottom, kernel[0]), (left, right, kernel[1])):
        # The size must come out as input / stride, whatever the picture: more or less padding would shift the rest.
        if min(before, after) < 0 or not 0 <= before + after - side + down < down:
            raise Unfit(f"pads a kernel of {side} by {before} and {after}")
    return Facts(out, given.level * down)


def _joined(kind: Kind, given: list[Facts]) -> Facts:
    if len({facts.level for facts in given}) != 1:
        raise Unfit(f"joins pictures of 1/{given[0].level} and 1/{given[-1].level} of the size")
    if kind == "concat":
        return Facts(sum(facts.channels for facts in given), given[0].level)
    channels = {facts.channels for facts in given} - {1}
    if len(channels) > 1:
        raise Unfit(f"joins {given[0].channels} and {given[-1].channels} channels")
    return Facts(max(channels, default=1), given[0].level)


def _real(number: float) -> bool:
    return isinstance(number, int | float) and not math.isnan(number)
