"""Turn and scale the picture around one face so that it stands upright at a known size. Pure geometry, no models."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.candidates import Array, Candidate
from cartoon.images.resize import reduced
from cartoon.images.types import Pixels


@dataclass(frozen=True, eq=False)
class AlignedCrop:
    """A square around one upright face.

    pixels: uint8 (side, side, 3) sRGB. matrix: float64 (2, 3), picture -> crop, continuous coordinates.
    box: float32 (4,), the face's box in the crop, px.
    """

    pixels: Pixels
    matrix: NDArray[np.float64]
    box: Array

    def to_picture(self, points: Array) -> Array:
        """Points (N, 2) of the crop in the picture's coordinates, px."""
        # Not by numpy's inv: the threads of its BLAS then go on looking for work for 100 ms, on every core.
        back = cv2.invertAffineTransform(self.matrix)
        return np.asarray(points @ back[:, :2].T + back[:, 2], dtype=np.float32)

    def to_crop(self, points: Array) -> Array:
        """Points (N, 2) of the picture in the crop's coordinates, px."""
        return np.asarray(points @ self.matrix[:, :2].T + self.matrix[:, 2], dtype=np.float32)


def aligned_crop(picture: Pixels, candidate: Candidate, face_width: int, margin: float) -> AlignedCrop:
    """The face upright and `face_width` px wide in the middle of a square of `margin` face widths.

    Beyond the picture its edge is repeated. A large face is reduced by area first, so that it does not alias.
    """
    side = round(face_width * margin)
    scale = face_width / max(candidate.width, 1e-3)
    angle = candidate.tilt
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = scale * np.array([[cosine, sine], [-sine, cosine]], dtype=np.float64)
    centre = (candidate.box[:2].astype(np.float64) + candidate.box[2:]) / 2
    shift = side / 2 - turn @ centre

    # Only the part of the picture under the crop, and no more than twice the crop's resolution.
    height, width = picture.shape[:2]
    reach = margin * candidate.width * 0.75  # half the square's diagonal is 0.71 of its side
    x0, y0 = (int(np.clip(v, 0, n - 1)) for v, n in zip(centre - reach, (width, height), strict=True))
    x1, y1 = (int(np.clip(np.ceil(v), 1, n)) for v, n in zip(centre + reach, (width, height), strict=True))
    whole_part = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    part = reduced(whole_part, max(1, round(max(whole_part.shape[:2]) * scale * 2)))
    reduction = np.array([part.shape[1] / whole_part.shape[1], part.shape[0] / whole_part.shape[0]])
    part_turn = turn / reduction
    part_shift = turn @ np.array([x0, y0]) + shift
    # OpenCV counts from the first pixel's centre: half a pixel, which is 6 % of the eye distance in a 32 px face.
    warp = np.column_stack([part_turn, part_shift + part_turn @ [0.5, 0.5] - 0.5])
    pixels = cv2.warpAffine(part, warp, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    half = face_width / 2
    tall = float(candidate.box[3] - candidate.box[1]) * scale / 2
    box = np.array([side / 2 - half, side / 2 - tall, side / 2 + half, side / 2 + tall], dtype=np.float32)
    return AlignedCrop(pixels.astype(np.uint8, copy=False), np.column_stack([turn, shift]), box)
