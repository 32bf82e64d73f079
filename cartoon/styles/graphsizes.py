"""Whole numbers that a graph computes from a picture's size (Shape, StridedSlice, Pack ...), kept as formulas.

An Extent is "height times 1/4", say: enough to see that a ResizeBilinear doubles, before any picture is there.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import numpy as np

from cartoon.styles.graphdef import Array
from cartoon.styles.graphplan import Unfit

MOST_ENTRIES: Final = 64
_WORK: Final[dict[str, Callable[[Fraction, Fraction], Fraction]]] = {"Mul": operator.mul, "FloorDiv": operator.truediv,
    "RealDiv": operator.truediv, "Div": operator.truediv}


@dataclass(frozen=True)
class Extent:
    """A part of the input's batch, height or width: `times` as much."""

    side: Literal["batch", "height", "width"]
    times: Fraction = Fraction(1)


Entry = int | Extent


@dataclass(frozen=True)
class Sizes:
    """A vector of whole numbers or, `scalar`, one of them."""

    entries: tuple[Entry, ...]
    scalar: bool = False


def of_array(array: Array) -> Sizes:
    """A constant of at most one side as Sizes; a float constant must hold whole numbers."""
    flat = array.reshape(-1)
    if array.ndim > 1 or len(flat) > MOST_ENTRIES or not np.all(np.isfinite(flat)) or np.any(flat != np.trunc(flat)):
        raise Unfit(f"reckons sizes with a constant of shape {array.shape}")
    return Sizes(tuple(int(number) for number in flat), array.ndim == 0)


def shape_of(rank: int, level: int, channels: int) -> Sizes:
    """What Shape gives for a picture."""
    sides: list[Entry] = [Extent("height", Fraction(1, level)), Extent("width", Fraction(1, level)), channels]
    return Sizes((Extent("batch"), *sides) if rank == 4 else tuple(sides))


def reckoned(op: str, left: Sizes, right: Sizes) -> Sizes:
    """Mul, FloorDiv, RealDiv and Div of sizes, entry by entry."""
    if op not in _WORK:
        raise Unfit("reckons sizes in a way that is not known")
    if len(left.entries) != len(right.entries) and 1 not in (len(left.entries), len(right.entries)):
        raise Unfit("reckons with sizes of different lengths")
    count = max(len(left.entries), len(right.entries))
    pairs = zip(_spread(left, count), _spread(right, count), strict=True)
    return Sizes(tuple(_entry(op, *pair) for pair in pairs), left.scalar and right.scalar)


def _spread(sizes: Sizes, count: int) -> tuple[Entry, ...]:
    return sizes.entries * count if len(sizes.entries) == 1 else sizes.entries


def _entry(op: str, left: Entry, right: Entry) -> Entry:
    if isinstance(right, Extent):
        if op != "Mul" or isinstance(left, Extent):
            raise Unfit("multiplies or divides by a picture's size")
        left, right = right, left
    if right == 0 and op != "Mul":
        raise Unfit("divides by zero")
    if isinstance(left, Extent):
        return Extent(left.side, _WORK[op](left.times, Fraction(right)))
    found = _WORK[op](Fraction(left), Fraction(right))
    return found.numerator // found.denominator


def joined(parts: Sequence[Sizes]) -> Sizes:
    """Pack of scalars, or ConcatV2 of vectors."""
    entries = tuple(entry for part in parts for entry in part.entries)
    if len(entries) > MOST_ENTRIES:
        raise Unfit("joins too many sizes")
    return Sizes(entries)


def sliced(sizes: Sizes, ends: Sequence[Sizes], masks: dict[str, int]) -> Sizes:
    """StridedSlice of a vector; ends: begin, end and stride, one entry each; masks as the node's attributes."""
    whole = [part.entries[0] for part in ends if len(part.entries) == 1 and isinstance(part.entries[0], int)]
    if sizes.scalar or len(whole) != 3 or masks["ellipsis_mask"] or masks["new_axis_mask"] or whole[2] == 0:
        raise Unfit("cuts sizes in a way that is not known")
    begin, end, stride = whole
    if masks["shrink_axis_mask"]:
        if not -len(sizes.entries) <= begin < len(sizes.entries):
            raise Unfit(f"asks for entry {begin} of {len(sizes.entries)}")
        return Sizes((sizes.entries[begin],), scalar=True)
    first, last = (None if masks["begin_mask"] else begin), (None if masks["end_mask"] else end)
    return Sizes(sizes.entries[first:last:stride])
