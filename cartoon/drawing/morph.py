"""Photo and drawing brought to one geometry before they are mixed: a drawing that moves features then does not ghost.

Both are carried along the optical flow between them, each the part of the way that the other does not go (Beier, Neely,
"Feature-based image metamorphosis", 1992; the flow: Kroeger et al., "Fast Optical Flow using Dense Inverse Search",
2016).
"""

from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.images.types import Pixels

SIDE: Final = 384
"""Long side, px, at which the flow is found."""
SMOOTH: Final = 5.0
"""Px of that size; a face moves as a whole, noise does not."""
FURTHEST: Final = 0.03
"""Of the long side, that anything may move; what seems to go further is no match."""

Flow = NDArray[np.float32]


def flow_between(photo: Pixels, drawing: Pixels) -> Flow:
    """Where the drawing shows what the photo shows: offsets float32 (h, w, 2), in shares of the long side.

    photo, drawing: uint8 (H, W, 3), the same size.
    """
    factor = min(1.0, SIDE / max(photo.shape[:2]))
    size = (max(16, round(photo.shape[1] * factor)), max(16, round(photo.shape[0] * factor)))
    small = [
        cv2.equalizeHist(cv2.cvtColor(cv2.resize(p, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))
        for p in (photo, drawing)
    ]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    there, back = (
        finder.calc(one, other, np.zeros((*one.shape, 2), np.float32)) for one, other in (small, small[::-1])
    )
    # A place whose way back does not lead home was not found.
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    home = there + cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR)
    most = FURTHEST * max(size)
    weight = (np.hypot(home[..., 0], home[..., 1]) < 0.25 * most + 1).astype(np.float32)
    weight *= (np.hypot(there[..., 0], there[..., 1]) < most).astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), SMOOTH) + 1e-3
    smooth = cv2.GaussianBlur(there * weight[..., None], (0, 0), SMOOTH) / total[..., None]
    return np.asarray(smooth / max(size), np.float32)


Picture = TypeVar("Picture", NDArray[np.float32], NDArray[np.uint8])


def carried(picture: Picture, flow: Flow, share: float) -> Picture:
    """A picture (H, W, ...) whose content has gone a share (-1..1) of the way along the flow."""
    height, width = picture.shape[:2]
    full = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(share * max(height, width))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(picture, x - full[..., 0], y - full[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(picture.dtype, copy=False)
