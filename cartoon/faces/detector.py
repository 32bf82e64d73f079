"""Find every face of a picture, from 32 px wide to filling it, with 478 landmarks each."""

from typing import Final, Protocol

import cv2
import numpy as np

from cartoon.faces import mediapipe
from cartoon.faces.candidates import FULL, INSIDE_SHARE, SAME_FACE_IOU, SHORT, Candidate, cluster, inside, iou
from cartoon.faces.mesh import FaceMesh
from cartoon.faces.pool import Pool
from cartoon.faces.search import SURE_SCORE, FaceSearch
from cartoon.faces.upright import AlignedCrop, aligned_crop
from cartoon.images.resize import reduced
from cartoon.images.types import Face, Pixels

LONGEST: Final = 2600
"""Long side, px, at which a larger picture is searched: bounds the time; 32 px there are 50 px in 12 megapixels."""
LEAST: Final = 16
"""Short side, px, under which no picture is searched."""
STRONG_SCORE: Final = 0.85
"""When no upright face scores this much, the picture is also searched turned."""
MESH_CROPS: Final = ((160, 2.2), (160, 1.6), (200, 3.0), (96, 2.2))
"""Face width, px, and margin in face widths of the crops tried on the face mesh until one fits."""
SEEN_AGAIN_IOU: Final = 0.35
BELIEF: Final = 1.42
"""Least evidence for a face, see _evidence. Over 60 faceless pictures (ties, flags, lapel pins) at most 1.24; over 440
faces in 22 groups at least 1.63, bar one cut in half."""


class Detector(Protocol):
    """Finds faces; the seam at which tests and other models come in."""

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """All faces in the picture's pixels, left to right, then top to bottom; equal pixels give equal faces."""
        ...


class MediaPipeDetector:
    """MediaPipe's two face detectors over the whole picture and over tiles, each find checked by its face mesh.

    Resident: the graphs are made here, once, and freed by close(). Safe to call from several threads: `count` at a time
    are served, for 45 MB each. Keeps nothing from one picture to the next. Coordinates are continuous: a pixel's centre
    is at .5.
    Raises ResourceError when mediapipe does not load, and StyleError when a model of its is missing or altered.
    """

    def __init__(self, count: int = 1) -> None:
        mediapipe.vision()  # imported first: what that takes is no time to hold standard error back
        with mediapipe.quiet():
            self._lookers = Pool(_Looker, count)

    def close(self) -> None:
        """Free the graphs; the detector is of no use afterwards."""
        self._lookers.close(_Looker.close)

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """All faces of uint8 (H, W, 3) sRGB pixels, left to right, then top to bottom, in these pixels.

        A box is what MediaPipe's detector gives, brow to chin, about square, clipped to the picture.
        """
        height, width = pixels.shape[:2]
        if min(height, width) < LEAST:
            return ()
        work = np.ascontiguousarray(reduced(pixels, LONGEST))
        with self._lookers.one() as looker:
            found = looker.faces(work)
        scale = np.array([width / work.shape[1], height / work.shape[0]], dtype=np.float32)
        limit = np.array([width, height, width, height], dtype=np.float32)
        faces = [Face(np.clip(f.box * np.tile(scale, 2), 0, limit), f.landmarks * scale, f.score) for f in found]
        return tuple(sorted(faces, key=lambda face: (float(face.box[0]), float(face.box[1]))))


class _Looker:
    """The graphs that one picture at a time needs."""

    def __init__(self) -> None:
        self._search, self._mesh = FaceSearch(), FaceMesh()
        self.faces(_drawn_face())  # the first run of each graph is slow and prints warnings

    def close(self) -> None:
        self._search.close()
        self._mesh.close()

    def faces(self, picture: Pixels) -> list[Face]:
        """All faces of a picture of at most LONGEST px."""
        candidates = self._search.upright(picture)
        found = self._verified(picture, candidates)
        if any(face.score >= STRONG_SCORE for face in found):
            return found
        # A phone held sideways or upside down, and nothing in the file that says so. Asked also when faces were
        # found, but only weak ones: upside-down faces can pass for poor upright ones.
        return self._verified(picture, candidates + self._search.turned(picture))

    def _verified(self, picture: Pixels, candidates: list[Candidate]) -> list[Face]:
        faces: list[Face] = []
        for group in cluster(candidates):
            face = self._verify(picture, group)
            if face is not None and not any(_one_face(face, other) for other in faces):
                faces.append(face)
        return faces

    def _verify(self, picture: Pixels, group: list[Candidate]) -> Face | None:
        """The face that a group of candidates is about, or None if the face mesh or a second look denies it."""
        best = group[0]
        # The full-range network places its boxes better; the short-range one often scores higher.
        chosen = next((c for c in group if c.network == FULL and c.score > best.score - 0.2), best)
        # Folds and lapel pins can please one network; over 60 faceless pictures none pleased both this much.
        agreed = all(any(c.network == name and c.score >= SURE_SCORE for c in group) for name in (FULL, SHORT))
        attempts = [(chosen, shape) for shape in MESH_CROPS]
        attempts.insert(1, (best, MESH_CROPS[0]))  # where the chosen box is the one that is off
        for candidate, (face_width, margin) in attempts if best.score >= SURE_SCORE else attempts[:1]:
            crop = aligned_crop(picture, candidate, face_width, margin)
            fit = self._mesh.fit(crop, crop.to_crop(candidate.points))
            if fit is not None:
                believed = agreed or self._evidence(best, crop) - fit.misfit >= BELIEF
                return Face(candidate.box, crop.to_picture(fit.landmarks), best.score) if believed else None
        return None

    def _evidence(self, candidate: Candidate, crop: AlignedCrop) -> float:
        """The candidate's score and both networks' in the aligned crop, summed: 0..3."""
        side = crop.pixels.shape[0]
        total = candidate.score
        for network in (FULL, SHORT):
            found = self._search.detections(crop.pixels, network, (side, side))
            total += max((c.score for c in found if iou(c.box, crop.box) > SEEN_AGAIN_IOU), default=0.0)
        return total


def _one_face(a: Face, b: Face) -> bool:
    return iou(a.box, b.box) > SAME_FACE_IOU or inside(a.box, b.box) > INSIDE_SHARE


def _drawn_face() -> Pixels:
    """A face of a few strokes, enough for every graph to run once."""
    picture = np.full((256, 256, 3), 200, np.uint8)
    cv2.ellipse(picture, (128, 132), (58, 76), 0, 0, 360, (225, 175, 145), cv2.FILLED, cv2.LINE_AA)
    cv2.ellipse(picture, (128, 80), (62, 42), 0, 180, 360, (60, 40, 30), cv2.FILLED, cv2.LINE_AA)
    for x in (105, 151):
        cv2.ellipse(picture, (x, 118), (11, 5), 0, 0, 360, (245, 245, 245), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, (x, 118), 5, (40, 30, 25), cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(picture, (x, 106), (14, 4), 0, 180, 360, (60, 40, 30), 3, cv2.LINE_AA)
    cv2.line(picture, (128, 122), (122, 148), (190, 135, 110), 3, cv2.LINE_AA)
    cv2.ellipse(picture, (126, 148), (9, 4), 0, 0, 180, (180, 120, 100), 3, cv2.LINE_AA)
    cv2.ellipse(picture, (128, 172), (20, 7), 0, 0, 360, (185, 85, 85), cv2.FILLED, cv2.LINE_AA)
    return picture
