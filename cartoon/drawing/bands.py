"""A stack that is painted in bands: what is crisp band by band, what is smooth once, on a reduced picture.

Memory then follows the band, and the blurs that reach across a face cost next to nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from torch import Tensor

from cartoon.drawing.areas import RASTER, moved, scale
from cartoon.drawing.tones import FaceTones
from cartoon.models.layers import enlarged, reduced

FINEST: Final = 0.008
"""Face widths that a pixel of the reduced picture may have: that of a strand of hair, about."""
BAND: Final = 3 << 20
"""Pixels of the largest picture that is painted in one band."""
ROWS: Final = 128
"""Of a band of a larger one."""
MARGIN: Final = 0.03
"""Face widths that a band sees beyond its own: the reach of an outline's blur."""


@dataclass(frozen=True, eq=False)
class Band:
    """What a painter gets: rows of a picture.

    stack: (1, 11, h, W). faces: in px of these rows. width: of the largest face, px. smooth: makes planes
    (1, C, h, W) from the whole picture, reduced; they are made once a name.
    """

    stack: Tensor
    faces: tuple[FaceTones, ...]
    width: float
    smooth: Callable[[str, Callable[["Band"], Tensor]], Tensor]


def cuts(shape: Sequence[int], margin: int) -> Iterator[tuple[slice, slice, slice]]:
    """Bands of a picture (height, width): rows with the margin they see, their own, these among those they see."""
    height, width = shape
    step = height if height * width <= BAND else ROWS
    for top in range(0, height, step):
        bottom = min(top + step, height)
        low, high = max(top - margin, 0) // RASTER * RASTER, min(bottom + margin, height)
        yield slice(low, high), slice(top, bottom), slice(top - low, bottom - low)


def bands(stack: Tensor, faces: Sequence[FaceTones]) -> Iterator[tuple[Band, slice, slice]]:
    """Bands that make up a picture: with each the rows it is responsible for, in the picture and in the band."""
    picture = _Picture(stack, faces)
    margin = int(MARGIN * picture.width) + 2 * picture.factor
    try:
        for around, own, inner in cuts(stack.shape[2:], margin):
            yield picture.band(around), own, inner
    finally:
        picture.forget()


class _Picture:
    """The whole of it, and what was made of it on fewer pixels."""

    def __init__(self, stack: Tensor, faces: Sequence[FaceTones]) -> None:
        self.stack, self.faces, self.width = stack, tuple(faces), scale(stack, faces)
        self.factor = 1
        while 2 * self.factor <= FINEST * self.width:
            self.factor *= 2
        self._small: Band | None = None
        self._kept: dict[str, Tensor] = {}

    def band(self, rows: slice) -> Band:
        """Some rows; they start at a multiple of RASTER, and so of the factor."""
        low, high = rows.start, rows.stop
        faces = tuple(moved(face, 0, low) for face in self.faces)

        def smooth(name: str, make: Callable[[Band], Tensor]) -> Tensor:
            if name not in self._kept:
                self._kept[name] = make(self._reduced())
            first = max(low // self.factor - 1, 0)  # a row more, to be linear up to the border
            small = self._kept[name][:, :, first : -(-high // self.factor) + 1]
            skipped = low - first * self.factor
            grown = enlarged(small, self.factor, (min(skipped + high - low, self.factor * small.shape[2]), width))
            return grown[:, :, skipped:]

        height, width = self.stack.shape[2:]
        band = Band(self.stack[:, :, rows], faces, self.width, smooth)
        if self.factor == 1 and high - low == height:
            self._small = band
        return band

    def forget(self) -> None:
        """Let go of what was made: in a circle of references half a gigabyte would wait for the garbage collector."""
        self._small = None
        self._kept.clear()

    def _reduced(self) -> Band:
        if self._small is None:
            faces = tuple(_shrunk(face, self.factor) for face in self.faces)
            self._small = Band(reduced(self.stack, self.factor), faces, self.width / self.factor, _already)
        return self._small


def _already(name: str, make: Callable[[Band], Tensor]) -> Tensor:
    raise AssertionError(f"{name} is made on a picture that is reduced already")


def _shrunk(face: FaceTones, factor: int) -> FaceTones:
    """A face on a picture reduced by a factor."""
    x0, y0, x1, y1 = (side // factor for side in face.beard.box)
    beard = replace(face.beard, box=(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    return replace(face, landmarks=face.landmarks / np.float32(factor), width=face.width / factor, beard=beard)
