"""Look for faces with MediaPipe's two detectors: over the whole picture, over tiles, padded, and turned."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from cartoon.faces.candidates import FULL, SHORT, Array, Candidate, Tile, tiles
from cartoon.faces.mediapipe import FaceDetector
from cartoon.images.resize import reduced
from cartoon.images.types import Pixels

SURE_SCORE: Final = 0.75
"""Of true faces from 32 px up 99 in 100 score more than 0.85 in their best tile; of the false candidates in 60 faceless
pictures two scored this much, at most 0.82."""

INPUT: Final = {FULL: 384, SHORT: 256}
"""Long side, px, of what the networks get: twice their own 192 and 128, so that reducing by area comes before."""
COARSE_TILE: Final = (1024, 512)
FULL_TILE: Final = (384, 192)
SHORT_TILE: Final = (256, 96)
PORTRAIT_TILE: Final = (640, 192)
"""Side and overlap, px. The full-range network sees faces from about 1/12 of a tile's side, the other from 1/8."""
PORTRAIT_LONGEST: Final = 1280
"""Up to this long side, px, a picture with one dominant face gets the few PORTRAIT_TILEs only."""
DOMINANT: Final = 0.2
"""Face width as a share of the picture's short side from which a picture is a portrait."""
FLAT: Final = 4.0
"""A tile whose channels all have a smaller standard deviation (of 255) holds no face."""


class FaceSearch:
    """The detectors and the order in which a picture is searched; says where faces may be, not that they are."""

    def __init__(self) -> None:
        """Raises as FaceDetector."""
        self._networks = {network: FaceDetector(network) for network in (SHORT, FULL)}

    def close(self) -> None:
        """Free the graphs."""
        for graph in self._networks.values():
            graph.close()

    def upright(self, picture: Pixels) -> list[Candidate]:
        """Candidates of every size, up to about 60 degrees of tilt, in the picture's coordinates."""
        whole = Tile(0, 0, picture.shape[1], picture.shape[0])
        candidates = self._look(picture, whole, FULL) + self._look(picture, whole, SHORT)
        if not _portrait(candidates, picture):
            candidates += self._look_padded(picture)
        small_portrait = max(picture.shape[:2]) <= PORTRAIT_LONGEST and _portrait(candidates, picture)
        for network, tile in _plan(picture, small_portrait):
            candidates += self._look(picture, tile, network)
        return candidates

    def turned(self, picture: Pixels) -> list[Candidate]:
        """Sure candidates in the picture turned by one, two and three quarters, in the unturned picture."""
        candidates = (c for turns in (1, 2, 3) for c in self._look_turned(picture, turns))
        return [c for c in candidates if c.score >= SURE_SCORE]

    def detections(
        self, part: Pixels, network: str, extent: tuple[float, float], origin: tuple[float, float] = (0, 0)
    ) -> list[Candidate]:
        """One run of a network on `part`, which shows the picture's area of that extent from that origin, px."""
        candidates = []
        for seen in self._networks[network].detect(part):
            box, points = ((shares * extent + origin).astype(np.float32) for shares in (seen.box, seen.points))
            candidates.append(Candidate(box.ravel(), points, seen.score, network))
        return [c for c in candidates if c.width > 1]

    def _look(self, picture: Pixels, tile: Tile, network: str) -> list[Candidate]:
        """Candidates in one tile without those that its border cuts: another tile or scale shows them whole."""
        part = picture[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
        if float(cv2.meanStdDev(part)[1].max()) < FLAT:
            return []
        part = reduced(part, INPUT[network])
        found = self.detections(part, network, (tile.width, tile.height), (tile.x, tile.y))
        return [c for c in found if not tile.cuts(c.box, picture.shape[1], picture.shape[0])]

    def _look_padded(self, picture: Pixels) -> list[Candidate]:
        """Candidates in the picture with a margin around it: a face that fills the picture is only seen so."""
        small = reduced(picture, INPUT[SHORT])
        margin = max(small.shape[:2]) // 2
        padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE).astype(np.uint8)
        across, down = picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]
        extent = (padded.shape[1] * across, padded.shape[0] * down)
        origin = (-margin * across, -margin * down)
        return [c for network in (FULL, SHORT) for c in self.detections(padded, network, extent, origin)]

    def _look_turned(self, picture: Pixels, turns: int) -> Iterator[Candidate]:
        """Candidates in the picture turned counter-clockwise by so many quarters, in the unturned picture."""
        turned = np.ascontiguousarray(np.rot90(picture, turns))
        height, width = picture.shape[:2]
        whole = Tile(0, 0, turned.shape[1], turned.shape[0])
        for c in self._look(turned, whole, FULL) + self._look(turned, whole, SHORT):
            corners = _turn_back(c.box.reshape(2, 2), turns, width, height)
            box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
            yield Candidate(box, _turn_back(c.points, turns, width, height), c.score, c.network)


def _plan(picture: Pixels, small_portrait: bool) -> Iterator[tuple[str, Tile]]:
    height, width = picture.shape[:2]
    levels = (
        [(FULL, PORTRAIT_TILE)] if small_portrait else [(FULL, COARSE_TILE), (FULL, FULL_TILE), (SHORT, SHORT_TILE)]
    )
    for network, (side, overlap) in levels:
        if max(height, width) > side * 1.1:  # else the tile would be the whole picture again
            for tile in tiles(width, height, side, overlap):
                yield network, tile


def _portrait(candidates: list[Candidate], picture: Pixels) -> bool:
    least = DOMINANT * min(picture.shape[:2])
    return any(c.score >= SURE_SCORE and c.width >= least for c in candidates)


def _turn_back(points: Array, turns: int, width: int, height: int) -> Array:
    """Points of a picture turned by np.rot90(turns), in the picture of that width and height before."""
    x, y = points[:, 0], points[:, 1]
    back = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns]
    return np.column_stack(back).astype(np.float32, copy=False)
