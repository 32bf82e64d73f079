"""A picture cut into tiles that see a rim of their neighbours, so that their seams cannot be seen.

Two ways: evenly, for a network that looks at the whole picture once before; and into tiles all alike, for one that
looks at each alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

import torch

from cartoon.models.style_file import MULTIPLE

HALO: Final = 128
"""Px that an even tile sees beyond its own. The network's receptive field reaches about 200, with next to no weight
there."""
LEAST: Final = 4 * HALO
"""The smallest side of an even tile, px: half of it is its own."""


@dataclass(frozen=True, eq=False)
class Network:
    """float (B, 3, h, w), 0..1 -> (B, 3, scale * h, scale * w).

    name: for people. window: px, h and w must be multiples, and a tile starts at one. halo: px beyond a tile's own that
    it must see. bytes_per_pixel: what a pass takes at its peak for each pixel given, by precision. on_cpu: the
    precision there, unless one is asked for.
    """

    module: torch.nn.Module
    name: str
    scale: int
    window: int
    halo: int
    bytes_per_pixel: Mapping[str, int]
    on_cpu: str = "auto"


@dataclass(frozen=True)
class Span:
    """One side of a tile: what it is responsible for, and what it sees."""

    own: slice
    seen: slice

    @property
    def inner(self) -> slice:
        """Its own part within what it sees."""
        return slice(self.own.start - self.seen.start, self.own.stop - self.seen.start)


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a tile."""

    rows: Span
    columns: Span

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns that it sees."""
        return self.rows.seen, self.columns.seen

    def place(self, reduced: int = 1) -> tuple[slice, slice]:
        """Its own part within the whole picture, both reduced by a divisor of what it is cut at."""
        return _reduced(self.rows.own, reduced), _reduced(self.columns.own, reduced)

    def inner(self, reduced: int = 1) -> tuple[slice, slice]:
        """Its own part within what it sees, both reduced by a divisor of what it is cut at."""
        return _reduced(self.rows.inner, reduced), _reduced(self.columns.inner, reduced)


def cut_evenly(shape: tuple[int, int], most: tuple[int, int]) -> Iterator[Tile]:
    """Cut (height, width) into tiles that see at most `most`, each side at least LEAST; row by row.

    They are cut at multiples of MULTIPLE.
    """
    for rows, columns in product(*(_even_spans(side, limit) for side, limit in zip(shape, most, strict=True))):
        yield Tile(rows, columns)


def cut(shape: tuple[int, ...], side: int, halo: int, window: int) -> Iterator[Tile]:
    """Cut (height, width) into tiles alike, of at most `side` px, that see `halo` px or more of their neighbours.

    All are multiples of `window`, and every tile starts at one.
    """
    for rows, columns in product(*(_spans(length, side, halo, window) for length in shape[:2])):
        yield Tile(rows, columns)


def _spans(length: int, side: int, halo: int, window: int) -> list[Span]:
    if length <= side:
        return [Span(slice(0, length), slice(0, length))]
    count = -(-(length - 2 * halo) // (side - 2 * halo))
    starts = [(length - side) * index // (count - 1) // window * window for index in range(count)]
    borders = [(left + side + right) // 2 for left, right in pairwise(starts)]  # mid-way in what both see
    ends = zip((0, *borders), (*borders, length), strict=True)
    return [
        Span(slice(begin, end), slice(start, start + side)) for start, (begin, end) in zip(starts, ends, strict=True)
    ]


def scaled(span: slice, scale: int) -> slice:
    """The same span of the enlarged picture."""
    return slice(span.start * scale, span.stop * scale)


def _even_spans(side: int, most: int) -> list[Span]:
    """One side, evenly cut at multiples of MULTIPLE."""
    if side <= most:
        return [Span(slice(0, side), slice(0, side))]
    count = -(-side // (most - 2 * HALO))
    step = -(-side // (count * MULTIPLE)) * MULTIPLE
    owns = [slice(start, min(start + step, side)) for start in range(0, side, step)]
    return [Span(own, slice(max(0, own.start - HALO), min(side, own.stop + HALO))) for own in owns]


def _reduced(span: slice, factor: int) -> slice:
    return slice(span.start // factor, span.stop // factor)
