"""Pictures of other sizes, and how far a strength goes. Pure functions; no torch, as the quality gate has none."""

from collections.abc import Sequence
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.images.types import Pixels
from cartoon.options import Size

STEEP_UNTIL: Final = 0.9
"""The drawing comes in along a smooth S that ends here; the rest of the way it rises by a straight line."""
STRAIGHT: Final = 0.03

Value = TypeVar("Value", bound=np.generic)


def resize(picture: NDArray[Value], shape: tuple[int, int]) -> NDArray[Value]:
    """Resize (H, W) or (H, W, C) to shape (height, width): by area when shrinking, cubic when enlarging."""
    if picture.shape[:2] == shape:
        return picture
    shrinks = shape[0] < picture.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(picture, (shape[1], shape[0]), interpolation=interpolation)  # type: ignore[arg-type]
    return np.asarray(resized, picture.dtype)


def reduced(picture: Pixels, longest: int) -> Pixels:
    """The picture, made smaller by area where its long side is over so many px."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def result_shape(shape: Sequence[int], size: Size) -> tuple[int, int]:
    """(height, width) of the result: the photo's proportions with the long side asked for."""
    height, width = shape[0], shape[1]
    if size == "original":
        return height, width
    scale = size / max(height, width)
    if height >= width:
        return size, max(1, round(width * scale))
    return max(1, round(height * scale)), size


def drawing_share(strength: float) -> float:
    """How much of the drawing there is at a strength; 0.7 gives 91 %, 0.1 gives 1.4 %, and it rises all the way.

    A smoother S (Perlin, "Improving noise", 2002) rather than a line: at the default it must read as a drawing, at the
    lowest as the photo.
    """
    t = min(strength / STEEP_UNTIL, 1.0)
    return (1 - STRAIGHT) * t**3 * (10 - 15 * t + 6 * t * t) + STRAIGHT * strength
