"""Where a face may be: the tiles that are searched, and the merging of what is found in them. Pure geometry, no models.

Coordinates are continuous: (0, 0) is the corner of the first pixel, whose centre is (0.5, 0.5).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FULL: Final = "full"
SHORT: Final = "short"
"""MediaPipe's two detectors: full range, for small faces, and short range, for selfies."""
SAME_FACE_IOU: Final = 0.3
"""Two boxes that overlap this much (intersection over union) are about one face."""
INSIDE_SHARE: Final = 0.6
"""Of two faces, one with this share of its box inside the other is a part of it (an eye taken for a face)."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A box in which a detector saw a face.

    box: float32 (4,) x0, y0, x1, y1 px. points: float32 (4, 2) x, y px: the person's right eye, left eye, nose tip,
    mouth centre. score: 0..1. network: FULL or SHORT.
    """

    box: Array
    points: Array
    score: float
    network: str

    @property
    def width(self) -> float:
        """Width of the box, px."""
        return float(self.box[2] - self.box[0])

    @property
    def tilt(self) -> float:
        """Angle of the face's own x axis in the picture, radians, clockwise; 0 is upright.

        The line of the eyes and the line from eyes to mouth both vote, weighted by their lengths: in a profile the
        eyes nearly coincide and their line alone says little.
        """
        eyes = self.points[1] - self.points[0]
        down = self.points[3] - (self.points[0] + self.points[1]) / 2
        return math.atan2(float(eyes[1] - down[0]), float(eyes[0] + down[1]))


@dataclass(frozen=True)
class Tile:
    """A part of a picture, in whole px, clipped to the picture."""

    x: int
    y: int
    width: int
    height: int

    def cuts(self, box: Array, picture_width: int, picture_height: int, slack: float = 2.0) -> bool:
        """Whether the box reaches a side of this tile that is not a side of the picture: the face goes on beyond."""
        right, bottom = self.x + self.width, self.y + self.height
        return bool(
            (self.x > 0 and box[0] < self.x + slack)
            or (self.y > 0 and box[1] < self.y + slack)
            or (right < picture_width and box[2] > right - slack)
            or (bottom < picture_height and box[3] > bottom - slack)
        )


def tiles(width: int, height: int, side: int, overlap: int) -> Iterator[Tile]:
    """Cover a picture with evenly spread square tiles that overlap by at least `overlap` px, rows first.

    A face no wider than the overlap lies whole in at least one of them.
    """
    for y in _starts(height, side, overlap):
        for x in _starts(width, side, overlap):
            yield Tile(x, y, min(side, width), min(side, height))


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def intersection(a: Array, b: Array) -> float:
    """Area that two boxes share, px^2."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return float(max(width, 0.0) * max(height, 0.0))


def area(box: Array) -> float:
    """Area of a box, px^2."""
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def iou(a: Array, b: Array) -> float:
    """Intersection over union of two boxes, 0..1."""
    shared = intersection(a, b)
    return shared / max(area(a) + area(b) - shared, 1e-6)


def inside(a: Array, b: Array) -> float:
    """The share of the smaller box that lies in the other, 0..1."""
    return intersection(a, b) / max(min(area(a), area(b)), 1e-6)


def cluster(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group candidates that are about one face, best first within a group and between groups.

    Only overlap counts here, not one box lying in another: a wrong huge box must not swallow the true faces in it.
    A face and the same face upside down are two claims, of which the better one will win.
    """
    groups: list[list[Candidate]] = []
    for candidate in sorted(candidates, key=_rank):
        for group in groups:
            if iou(candidate.box, group[0].box) > SAME_FACE_IOU and math.cos(candidate.tilt - group[0].tilt) > 0.5:
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return groups


def _rank(candidate: Candidate) -> tuple[float, ...]:
    # The box breaks ties, so that the order never depends on the order of the search.
    return (-candidate.score, *(float(v) for v in candidate.box))
