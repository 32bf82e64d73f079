"""A plan under construction: the many spellings of one computation come to the same step here.

A bias, a factor after a convolution, a slope below zero or a mean of nine pixels is written in several ways by several
versions of TensorFlow; every one becomes the same step, and what is computed twice is there once.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from cartoon.models.dctnet.plan import MOST_STEPS, MOST_WEIGHTS, Facts, Kind, Plan, Step, Unfit, Weights, facts_of

_EQUAL: Final = 1e-5
"""Relative; numbers that a graph rounded to float32 twice count as equal within this."""

Numbers = tuple[float, ...]


class Draft:
    """Steps so far; each method adds what is needed and returns the number of the step that holds the value.

    All raise Unfit where a step does not fit what it takes.
    """

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._facts: list[Facts] = []
        self._arrays: list[Weights] = []
        self._seen: dict[Step, int] = {}
        self._boxes: dict[int, tuple[int, Numbers, float] | None] = {}
        self._room = MOST_WEIGHTS

    def facts(self, value: int) -> Facts:
        """Channels and level of a value."""
        return self._facts[value]

    def emit(self, kind: Kind, inputs: Sequence[int] = (), numbers: Numbers = (), arrays: Sequence[int] = ()) -> int:
        """A step as it is, or the earlier one that is the same."""
        order = sorted(inputs) if kind in ("add", "multiply") else inputs
        step = Step(kind, tuple(order), numbers, tuple(arrays))
        if step not in self._seen:
            self._facts.append(facts_of(step, self._facts, self._arrays))
            self._steps.append(step)
            self._seen[step] = len(self._steps) - 1
            if len(self._steps) > 2 * MOST_STEPS:
                raise Unfit("is one of too many")
        return self._seen[step]

    def convolved(self, value: int, weight: Weights, bias: Weights, numbers: Numbers) -> int:
        """weight: (out, in / groups, kh, kw). numbers: as of a "conv" step."""
        return self.emit("conv", (value,), numbers, (self._array(weight), self._array(bias)))

    def affine(self, value: int, factors: Numbers, summands: Numbers) -> int:
        """value * factors + summands; one number, or one a channel. What stands beside another of its kind joins it.

        One number a channel after a convolution goes into its weight and bias. One number for all does not: at the
        graph's end it makes 0..255 of -1..1, where bfloat16 has fewer steps.
        """
        if not all(map(math.isfinite, factors + summands)):
            raise Unfit("has numbers that are not finite")
        step, channels = self._steps[value], self._facts[value].channels
        wide = max(len(factors), len(summands))
        if wide not in (1, channels):
            raise Unfit(f"has {wide} numbers for {channels} channels")
        factors, summands = _spread(factors, wide), _spread(summands, wide)
        if step.kind == "conv" and wide > 1:
            scale = np.asarray(factors, np.float32)
            weight, bias = (self._arrays[index] for index in step.arrays)
            bias = bias * scale + np.asarray(summands, np.float32)
            if any(factor != 1 for factor in factors):
                weight = weight * scale[:, None, None, None]
                return self.convolved(step.inputs[0], weight, bias, step.numbers)
            return self.emit("conv", step.inputs, step.numbers, (step.arrays[0], self._array(bias)))
        if step.kind == "affine":
            value = step.inputs[0]
            wide = max(wide, len(step.numbers) // 2)
            before, after = _halves(step.numbers, wide), (_spread(factors, wide), _spread(summands, wide))
            factors = tuple(a * b for a, b in zip(before[0], after[0], strict=True))
            summands = tuple(s * b + t for s, b, t in zip(before[1], *after, strict=True))
        if all(factor == 1 for factor in factors) and not any(summands):
            return value
        return self.emit("affine", (value,), factors + summands)

    def clamped(self, value: int, least: float, most: float) -> int:
        """What is below `least` becomes it, and what is then above `most`."""
        step = self._steps[value]
        if step.kind == "clamp" and max(least, step.numbers[0]) <= min(most, step.numbers[1]):
            value, least, most = step.inputs[0], max(least, step.numbers[0]), min(most, step.numbers[1])
        return self.emit("clamp", (value,), (least, most))

    def larger(self, one: int, other: int) -> int:
        """The larger of a value and a part of itself: a slope below zero (LeakyRelu as TensorFlow 1.3 wrote it)."""
        for value, part in ((one, other), (other, one)):
            (base, whole), (same, reduced) = self._as_affine(value), self._as_affine(part)
            slope = reduced[0] / whole[0] if whole[0] else math.nan
            wide = max(len(whole), len(reduced)) // 2
            if base == same and 0 <= slope <= 1 and _near(_spread2(reduced, wide), _spread2(whole, wide), slope):
                return self.leaky(value, slope)
        raise Unfit("compares two pictures that are not one and a part of it")

    def leaky(self, value: int, slope: float) -> int:
        """value where it is above zero, else value * slope."""
        if not math.isfinite(slope):
            raise Unfit("has a slope that is not finite")
        return self.emit("leaky", (value,), (slope,))

    def divided(self, one: int, other: int) -> int:
        """one / other; a box's sum by the sum of ones, which counts the box's pixels in the picture, is a mean."""
        for value in {one, other} - self._boxes.keys():
            self._boxes[value] = self._box(value)
        above, below = self._boxes[one], self._boxes[other]
        if below is None or (ones := self._steps[below[0]]).kind != "fill":
            return self.emit("divide", (one, other))
        counted, summed = self._facts[other], self._facts[one]
        same = counted.level == summed.level and counted.channels in (1, summed.channels)
        if above is None or above[1] != below[1] or not same:
            raise Unfit("divides by a count of pixels what is not their sum")
        factor = above[2] / (below[2] * ones.numbers[0]) if below[2] * ones.numbers[0] else math.inf
        mean = self.emit("mean", (above[0],), above[1])
        return mean if abs(factor - 1) < _EQUAL else self.affine(mean, (factor,), (0.0,))

    def finish(self, result: int, sides: tuple[int, int] | None) -> Plan:
        """The plan of what the result needs; raises Unfit where that cannot be computed."""
        needed: set[int] = set()
        open_ = [result]
        while open_:
            value = open_.pop()
            if value not in needed:
                needed.add(value)
                open_ += self._steps[value].inputs
        place = {value: index for index, value in enumerate(sorted(needed))}
        used = sorted({index for value in needed for index in self._steps[value].arrays})
        seat = {index: at for at, index in enumerate(used)}
        steps = tuple(
            Step(
                step.kind,
                tuple(place[value] for value in step.inputs),
                step.numbers,
                tuple(seat[index] for index in step.arrays),
            )
            for step in (self._steps[value] for value in sorted(needed))
        )
        plan = Plan(steps, tuple(self._arrays[index] for index in used), sides)
        plan.facts()
        return plan

    def _array(self, array: Weights) -> int:
        self._room -= array.size
        if self._room < 0:
            raise Unfit("has more weights than any such graph")
        if not np.isfinite(array).all():
            raise Unfit("has weights that are not finite")
        self._arrays.append(np.array(array, np.float32, order="C"))
        return len(self._arrays) - 1

    def _as_affine(self, value: int) -> tuple[int, Numbers]:
        """(base, factors and summands) of a value."""
        step = self._steps[value]
        return (step.inputs[0], step.numbers) if step.kind == "affine" else (value, (1.0, 0.0))

    def _box(self, value: int) -> tuple[int, Numbers, float] | None:
        """(what is summed, radii, weight of each pixel) where a value is such a sum over a box around each pixel."""
        step = self._steps[value]
        if step.kind != "conv":
            return None
        weight, bias = (self._arrays[index] for index in step.arrays)
        down, _, top, bottom, left, right, groups = step.numbers
        even = top != bottom or left != right or weight.shape[2:] != (2 * top + 1, 2 * left + 1)
        if down != 1 or groups != len(weight) or weight.shape[1] != 1 or even or bias.any():
            return None
        if not np.ptp(weight) <= _EQUAL * abs(float(weight.flat[0])):
            return None
        return step.inputs[0], (top, left), float(weight.flat[0])


def _spread(numbers: Numbers, wide: int) -> Numbers:
    return numbers * wide if len(numbers) == 1 else numbers


def _halves(numbers: Numbers, wide: int) -> tuple[Numbers, Numbers]:
    half = len(numbers) // 2
    return _spread(numbers[:half], wide), _spread(numbers[half:], wide)


def _spread2(numbers: Numbers, wide: int) -> Numbers:
    factors, summands = _halves(numbers, wide)
    return factors + summands


def _near(numbers: Numbers, others: Numbers, factor: float) -> bool:
    return all(abs(a - factor * b) <= _EQUAL * max(abs(a), abs(b)) for a, b in zip(numbers, others, strict=True))
