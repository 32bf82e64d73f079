"""Pictures of other sizes. Pure functions."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.image import Pixels

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
