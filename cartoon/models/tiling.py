"""What a network must tell to be run in tiles, and how a picture is cut into them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import torch


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
