"""Whole numbers that a graph computes from a picture's size (Shape, StridedSlice, Pack ...), kept as formulas.

An Extent is "height times 1/4", say: enough to see that a ResizeBilinear doubles, before any picture is there.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import numpy as np

from cartoon.models.dctnet.graphdef import Array, Node
from cartoon.models.dctnet.plan import Unfit

_MOST_ENTRIES: Final = 64
_LARGEST: Final = 1 << 32
_MASKS: Final = ("begin_mask", "end_mask", "shrink_axis_mask")


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


def of(value: "Array | Sizes") -> Sizes:
    """A constant of at most one axis as Sizes; where it is of floats, they must be whole numbers."""
    if isinstance(value, Sizes):
        return value
    flat = value.reshape(-1)
    if value.ndim > 1 or value.size > _MOST_ENTRIES or not np.all(np.abs(flat) < _LARGEST) or np.any(flat % 1):
        raise Unfit(f"computes sizes with a constant of shape {value.shape}")
    return Sizes(tuple(int(number) for number in flat), value.ndim == 0)


def shape_of(rank: int, level: int, channels: int) -> Sizes:
    """What Shape gives for a picture."""
    sides = (Extent("height", Fraction(1, level)), Extent("width", Fraction(1, level)), channels)
    return Sizes((Extent("batch"), *sides) if rank == 4 else sides)


def computed(node: Node, given: list[Sizes]) -> Sizes:
    """The value of a node that takes sizes; raises Unfit for an op that is not known here."""
    first = given[0]
    if node.op == "Cast":
        return first
    if node.op in ("Mul", "RealDiv", "Div", "FloorDiv"):
        return _product(given[0], given[1], node.op == "Mul")
    if node.op == "Pack" and all(part.scalar for part in given):
        return _joined(given)
    if node.op == "ConcatV2" and not any(part.scalar for part in given[:-1]):
        return _joined(given[:-1])
    if node.op == "Concat" and not any(part.scalar for part in given[1:]):
        return _joined(given[1:])
    if node.op == "ExpandDims" and first.scalar:
        return Sizes(first.entries)
    if node.op == "Squeeze" and len(first.entries) == 1:
        return Sizes(first.entries, scalar=True)
    if node.op == "StridedSlice":
        return _sliced(node, given)
    raise Unfit("computes sizes in a way that is not known")


def _product(left: Sizes, right: Sizes, multiplies: bool) -> Sizes:
    count = max(len(left.entries), len(right.entries))
    if {len(left.entries), len(right.entries)} - {1, count}:
        raise Unfit("computes with sizes of different lengths")
    ours, theirs = (side.entries * count if len(side.entries) == 1 else side.entries for side in (left, right))
    entries = tuple(_entry(one, other, multiplies) for one, other in zip(ours, theirs, strict=True))
    return Sizes(entries, left.scalar and right.scalar)


def _entry(left: Entry, right: Entry, multiplies: bool) -> Entry:
    if multiplies and isinstance(right, Extent):
        left, right = right, left
    if isinstance(right, Extent) or not (multiplies or right):
        raise Unfit("multiplies or divides by a size")
    factor = Fraction(right) if multiplies else Fraction(1, right)
    if isinstance(left, Extent):
        found = left.times * factor
        if max(found.numerator, found.denominator) > _LARGEST:
            raise Unfit("computes a size that no picture has")
        return Extent(left.side, found)
    whole = left * factor
    if abs(whole) > _LARGEST:
        raise Unfit("computes a size that no picture has")
    return whole.numerator // whole.denominator


def _joined(parts: list[Sizes]) -> Sizes:
    entries = tuple(entry for part in parts for entry in part.entries)
    if not 0 < len(entries) <= _MOST_ENTRIES:
        raise Unfit(f"joins {len(entries)} sizes")
    return Sizes(entries)


def _sliced(node: Node, given: list[Sizes]) -> Sizes:
    """StridedSlice of a vector: begin, end and stride have one entry each."""
    entries = given[0].entries
    spec = [part.entries[0] for part in given[1:] if len(part.entries) == 1]
    whole = [number for number in spec if isinstance(number, int)]
    other = node.number("ellipsis_mask") or node.number("new_axis_mask")
    if given[0].scalar or len(whole) != 3 or other or not whole[2]:
        raise Unfit("cuts sizes in a way that is not known")
    begin, end, stride = whole
    no_begin, no_end, one = (node.number(mask) & 1 for mask in _MASKS)
    if not one:
        return Sizes(entries[None if no_begin else begin : None if no_end else end : stride])
    if not -len(entries) <= begin < len(entries):
        raise Unfit(f"asks for entry {begin} of {len(entries)}")
    return Sizes((entries[begin],), scalar=True)
