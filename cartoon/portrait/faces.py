"""Find every face of a picture, from 32 px wide to filling it, with 478 landmarks each."""

import threading
from typing import Final, Protocol

import cv2
import numpy as np

from cartoon.image import Face, Pixels
from cartoon.portrait import graphs
from cartoon.portrait.candidates import FULL, INSIDE_SHARE, SAME_FACE_IOU, SHORT, Candidate, cluster, inside, iou
from cartoon.portrait.mesh import FaceMesh
from cartoon.portrait.search import SURE_SCORE, FaceSearch
from cartoon.portrait.upright import AlignedCrop, aligned_crop, reduced

LONGEST: Final = 2600
"""Long side, px, at which a larger picture is searched: bounds the time; 32 px there are 50 px in 12 megapixels."""
LEAST: Final = 16
"""Short side, px, under which no picture is searched."""
MESH_CROPS: Final = ((160, 2.2), (160, 1.6), (200, 3.0), (96, 2.2))
"""Face width, px, and margin in face widths of the crops tried on the face mesh until one fits."""
SEEN_AGAIN_IOU: Final = 0.35
CLOSE_UP: Final = 0.45
"""Face width as a share of the picture's short side from which the full-range network may overlook a face."""
STRONG_SCORE: Final = 0.85


class Detector(Protocol):
    """Finds faces; the seam at which tests and other models come in."""

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """All faces in the picture's pixels, left to right, then top to bottom; equal pixels give equal faces."""
        ...


class MediaPipeDetector:
    """MediaPipe's two face detectors over the whole picture and over tiles, each find checked by its face mesh.

    Resident: the graphs are made here, once, and freed by close(). Safe to call from several threads (one at a time
    is served). Keeps nothing from one picture to the next. Coordinates are continuous: a pixel's centre is at .5.
    Raises ResourceError when mediapipe is not installed.
    """

    def __init__(self) -> None:
        solutions = graphs.solutions()
        self._lock = threading.Lock()
        with graphs.quiet():
            self._search = FaceSearch(solutions)
            self._mesh = FaceMesh(solutions)
            self.detect(_drawn_face())  # the first run of each graph is slow and prints warnings

    def close(self) -> None:
        """Free the graphs; the detector is of no use afterwards."""
        with self._lock:
            self._search.close()
            self._mesh.close()

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """All faces of uint8 (H, W, 3) sRGB pixels, left to right, then top to bottom, in these pixels.

        A box is what MediaPipe's detector gives, brow to chin, about square, clipped to the picture.
        """
        height, width = pixels.shape[:2]
        if min(height, width) < LEAST:
            return ()
        work = np.ascontiguousarray(reduced(pixels, LONGEST))
        with self._lock:
            candidates = self._search.upright(work)
            found = self._verified(work, candidates)
            if not any(face.score >= STRONG_SCORE for face in found):
                # A phone held sideways or upside down, and nothing in the file that says so. Asked also when faces
                # were found, but only weak ones: upside-down faces can pass for poor upright ones.
                found = self._verified(work, candidates + self._search.turned(work))
        scale = np.array([width / work.shape[1], height / work.shape[0]], dtype=np.float32)
        limit = np.array([width, height, width, height], dtype=np.float32)
        faces = [Face(np.clip(f.box * np.tile(scale, 2), 0, limit), f.landmarks * scale, f.score) for f in found]
        return tuple(sorted(faces, key=lambda face: (float(face.box[0]), float(face.box[1]))))

    def _verified(self, picture: Pixels, candidates: list[Candidate]) -> list[Face]:
        faces: list[Face] = []
        for group in cluster(candidates):
            face = self._verify(picture, group)
            if face is not None and not any(_one_face(face, other) for other in faces):
                faces.append(face)
        return faces

    def _verify(self, picture: Pixels, group: list[Candidate]) -> Face | None:
        """The face that a group of candidates is about, or None if a second look or the face mesh denies it.

        Noise and folds in clothes can please one network in one tile; over 50 faceless pictures the full-range
        network never saw one of them again in the aligned crop, and saw all of 640 true faces.
        """
        best = group[0]
        # The full-range network places its boxes better; the short-range one often scores higher.
        chosen = next((c for c in group if c.network == FULL and c.score > best.score - 0.2), best)
        agreed = all(any(c.network == name and c.score >= SURE_SCORE for c in group) for name in (FULL, SHORT))
        close_up = best.score >= STRONG_SCORE and best.width >= CLOSE_UP * min(picture.shape[:2])
        for face_width, margin in MESH_CROPS if best.score >= SURE_SCORE else MESH_CROPS[:1]:
            crop = aligned_crop(picture, chosen, face_width, margin)
            if agreed or close_up or self._seen_again(crop):
                landmarks = self._mesh.fit(crop, crop.to_crop(chosen.points))
                if landmarks is not None:
                    return Face(chosen.box, crop.to_picture(landmarks), best.score)
        return None

    def _seen_again(self, crop: AlignedCrop) -> bool:
        side = crop.pixels.shape[0]
        found = self._search.detections(crop.pixels, FULL, (side, side))
        return any(iou(c.box, crop.box) > SEEN_AGAIN_IOU for c in found)


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
