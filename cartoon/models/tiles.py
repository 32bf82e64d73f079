"""A large picture cut into tiles that see a rim of their neighbours, so that their seams cannot be seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from cartoon.models.style_file import MULTIPLE

HALO: Final = 128
"""Px that a tile sees beyond its own. The network's receptive field reaches about 200, with next to no weight there."""
LEAST: Final = 4 * HALO
"""The smallest side of a tile, px: half of it is its own."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns that a tile is responsible for, and those that it sees; multiples of MULTIPLE."""

    own: tuple[slice, slice]
    seen: tuple[slice, slice]

    def place(self, reduced: int = 1) -> tuple[slice, slice]:
        """Its own part within the whole picture, both reduced by a divisor of MULTIPLE."""
        rows, columns = (slice(own.start // reduced, own.stop // reduced) for own in self.own)
        return rows, columns

    def inner(self, reduced: int = 1) -> tuple[slice, slice]:
        """Its own part within what it sees, both reduced by a divisor of MULTIPLE."""
        rows, columns = (
            slice((own.start - seen.start) // reduced, (own.stop - seen.start) // reduced)
            for own, seen in zip(self.own, self.seen, strict=True)
        )
        return rows, columns


def cut(shape: tuple[int, int], most: tuple[int, int]) -> Iterator[Tile]:
    """Cut (height, width) into tiles that see at most `most`, each side at least LEAST; row by row."""
    spans = [_spans(side, limit) for side, limit in zip(shape, most, strict=True)]
    for rows, columns in product(*spans):
        yield Tile((rows.own, columns.own), (rows.seen, columns.seen))


@dataclass(frozen=True)
class _Span:
    own: slice
    seen: slice


def _spans(side: int, most: int) -> list[_Span]:
    """One side, evenly cut at multiples of MULTIPLE."""
    if side <= most:
        return [_Span(slice(0, side), slice(0, side))]
    count = -(-side // (most - 2 * HALO))
    step = -(-side // (count * MULTIPLE)) * MULTIPLE
    owns = [slice(start, min(start + step, side)) for start in range(0, side, step)]
    return [_Span(own, slice(max(0, own.start - HALO), min(side, own.stop + HALO))) for own in owns]
