"""Which pixels are people: a soft mask that follows the picture's own edges."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces import mediapipe
from cartoon.faces.guide import OVAL, smoothstep
from cartoon.faces.pool import Pool
from cartoon.images.resize import reduced
from cartoon.images.types import Face, Pixels

Mask = NDArray[np.float32]

LONGEST: Final = 1024
"""Long side, px, at which the mask is made; it is enlarged to the picture afterwards."""
NETWORK_SIDE: Final = 256
"""MediaPipe's selfie segmentation squeezes whatever it gets into a square of this side."""
SMALL_FACE: Final = 44
"""A face of fewer px than this in the network's square is looked at again in a crop of its own."""
CROP: Final = (2.4, 1.9, 3.3)
"""The crop around a small face, in face widths from its centre: to each side, up, down (hair and shoulders)."""
CLOSER: Final = ((1.7, 1.4, 1.9), (1.2, 1.1, 1.2))
"""Crops for a face that the network missed: the less there is around it, the surer it gets."""
MISSED: Final = 0.9
"""A face is missed where less of its middle than this was taken for a person."""
MIDDLE: Final = 0.9
"""The middle of a face: its oval, shrunken so far."""
FEATHER: Final = 0.6
"""Over this many face widths a crop's mask fades out towards sides that are not the picture's."""
EDGE: Final = (0.3, 0.7)
"""The network's answers between these are its edge; less and more are taken for none and all of a person."""
RADIUS: Final = 0.04
"""Radius of the guided filter in face widths: the reach of loose hair. At 0.09 heads glow on flat walls."""
COARSEST: Final = 4
"""The guided filter works on a picture reduced until its radius is this, px: fast guided filter (He, Sun 2015)."""
EPSILON: Final = 1e-5
"""The guided filter's epsilon: contrasts above its root, 0.3 % of the range, count as edges."""


class PersonMask:
    """MediaPipe's selfie segmentation, over the whole picture and again around each small face.

    Resident and safe to call from several threads (`count` at a time are served, for 12 MB each); keeps nothing between
    pictures.
    Raises ResourceError when mediapipe does not load, and StyleError when its model is missing or altered.
    """

    def __init__(self, count: int = 1) -> None:
        mediapipe.vision()  # imported first: what that takes is no time to hold standard error back
        with mediapipe.quiet():
            self._segmenters = Pool(_Segmenter, count)

    def close(self) -> None:
        """Free the graphs; the mask-maker is of no use afterwards."""
        self._segmenters.close(_Segmenter.close)

    def matte(self, pixels: Pixels, faces: Sequence[Face]) -> Mask:
        """How much of each pixel is a person: float32 (H, W), 0..1, for uint8 (H, W, 3) sRGB pixels.

        faces: the picture's, in its own px; they tell where to look closer and how fine the edges are.
        """
        height, width = pixels.shape[:2]
        work = np.ascontiguousarray(reduced(pixels, LONGEST))
        scale = max(work.shape[:2]) / max(height, width)
        ovals = [np.asarray(face.landmarks[OVAL] * scale, np.float32) for face in faces]
        boxes = [np.asarray(face.box * scale, np.float32) for face in faces]
        widths = [float(box[2] - box[0]) for box in boxes]
        with self._segmenters.one() as segmenter:
            # The largest face sets how fine the whole pass is; smaller ones get their own.
            mask = segmenter.segment(work, max(widths, default=work.shape[1] / 6))
            for box, face_width, oval in zip(boxes, widths, ovals, strict=True):
                if 1 < face_width < SMALL_FACE * max(work.shape[:2]) / NETWORK_SIDE:
                    segmenter.look_closer(mask, work, box, CROP)
                middle = _Middle(oval, mask.shape)
                for crop in CLOSER:
                    if middle.covered(mask) < MISSED:
                        segmenter.look_closer(mask, work, box, crop)
                middle.cover(mask)  # whatever the network says, a face is a person
        if scale < 1:
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
        return np.clip(mask, 0, 1)


class _Segmenter:
    """The network, for one picture at a time."""

    def __init__(self) -> None:
        self._network = mediapipe.PersonSegmenter()
        self._network.mask(np.full((NETWORK_SIDE, NETWORK_SIDE, 3), 128, np.uint8))

    def close(self) -> None:
        self._network.close()

    def segment(self, part: Pixels, face_width: float) -> Mask:
        """The network's mask of one part, its edges moved to the picture's by a guided filter."""
        height, width = part.shape[:2]
        reduce = cv2.INTER_AREA if max(height, width) > NETWORK_SIDE else cv2.INTER_CUBIC
        square = cv2.resize(part, (NETWORK_SIDE, NETWORK_SIDE), interpolation=reduce)
        coarse = self._network.mask(np.asarray(square, np.uint8))
        mask = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        edge = np.clip((mask - EDGE[0]) / (EDGE[1] - EDGE[0]), 0, 1).astype(np.float32)
        # At least one and a half of the network's own pixels, else its staircase stays.
        radius = max(2, round(RADIUS * face_width), round(1.5 * max(height, width) / NETWORK_SIDE))
        guide = part.astype(np.float32) / 255
        scale = min(1.0, COARSEST / radius)
        refined = cv2.ximgproc.guidedFilter(guide, edge, round(scale * radius), EPSILON, scale=scale)
        return np.clip(refined, 0, 1).astype(np.float32, copy=False)

    def look_closer(
        self, mask: Mask, picture: Pixels, box: NDArray[np.float32], reach: tuple[float, float, float]
    ) -> None:
        """Raise the mask, in place, to what a crop around one face shows."""
        height, width = mask.shape
        face_width = float(box[2] - box[0])
        aside, up, down = (share * face_width for share in reach)
        x, y = (float(v) for v in (box[:2] + box[2:]) / 2)
        x0, x1 = max(0, int(x - aside)), min(width, int(np.ceil(x + aside)))
        y0, y1 = max(0, int(y - up)), min(height, int(np.ceil(y + down)))
        if x1 - x0 < 4 or y1 - y0 < 4:
            return
        part = picture[y0:y1, x0:x1]
        # A very small face is enlarged first, so that the guided filter has room for its radius.
        enlarge = max(1.0, NETWORK_SIDE / max(part.shape[:2]))
        size = (round(part.shape[1] * enlarge), round(part.shape[0] * enlarge))
        large = cv2.resize(part, size, interpolation=cv2.INTER_CUBIC) if enlarge > 1 else part
        closer = self.segment(np.ascontiguousarray(large), face_width * enlarge)
        if enlarge > 1:
            closer = cv2.resize(closer, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
        fade = _fade(x1 - x0, FEATHER * face_width, x0 > 0, x1 < width)[None, :]
        fade = fade * _fade(y1 - y0, FEATHER * face_width, y0 > 0, y1 < height)[:, None]
        region = mask[y0:y1, x0:x1]
        np.maximum(region, closer * fade, out=region)


class _Middle:
    """The middle of a face on a mask, with a soft rim."""

    def __init__(self, oval: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        centre = oval.mean(0)
        corners = centre + MIDDLE * (oval - centre)
        low = np.clip(np.floor(corners.min(0)), 0, np.array(shape[1::-1]) - 1).astype(int)
        high = np.clip(np.ceil(corners.max(0)) + 1, low + 1, shape[1::-1]).astype(int)
        self._part = np.s_[low[1] : high[1], low[0] : high[0]]
        inside = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(inside, [np.round(corners - low).astype(np.int32)], (1,))
        # Rises inwards from the oval's border.
        away = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        self._weight = np.clip(away / max(0.08 * float(np.ptp(oval[:, 0])), 1.0), 0, 1).astype(np.float32)

    def covered(self, mask: Mask) -> float:
        """How much of it is a person, 0..1; 1 where there is nothing of it."""
        total = float(self._weight.sum())
        return float((mask[self._part] * self._weight).sum()) / total if total else 1.0

    def cover(self, mask: Mask) -> None:
        """Make all of it a person, in place."""
        region = mask[self._part]
        np.maximum(region, self._weight, out=region)


def _fade(length: int, over: float, at_start: bool, at_end: bool) -> Mask:
    """Weights (length,) that rise smoothly from 0 over so many px at the chosen ends, and are 1 elsewhere."""
    steps = np.arange(length, dtype=np.float32) + 0.5
    rise = np.ones(length, np.float32)
    for wanted, distance in ((at_start, steps), (at_end, length - steps)):
        if wanted:
            rise *= smoothstep(distance, 0.0, max(over, 1.0))
    return rise
