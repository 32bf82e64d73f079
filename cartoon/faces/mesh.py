"""MediaPipe's face mesh on one upright crop, believed only where it agrees with the detector."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cartoon.faces.candidates import Array, iou
from cartoon.faces.mediapipe import FaceLandmarker
from cartoon.faces.upright import AlignedCrop

MISFIT: Final = 0.25
"""Largest distance between the detector's eyes and mouth and the mesh's, in face widths. Measured over 640 true faces:
median 0.04, at most 0.21; false candidates on which a mesh settled at all: from 0.12, median 0.3."""
_BREADTH: Final = (0.5, 1.5)
_OVERLAP: Final = 0.4
"""The mesh's width in face widths (0.74 to 1.16 in the 640) and its overlap with the face's box (0.64 to 0.92)."""
_PUPILS: Final = (468, 473)
_LIPS: Final = (13, 14)
_FACES: Final = 2
"""In a crop: a neighbour may reach into it."""
_LEAST_SCORE: Final = 0.3


@dataclass(frozen=True, eq=False)
class Fit:
    """Landmarks float32 (478, 2), px of the crop, and how far they are from what the detector saw, in face widths."""

    landmarks: Array
    misfit: float


class FaceMesh:
    """Fits 478 landmarks."""

    def __init__(self) -> None:
        """Raises as FaceLandmarker."""
        self._landmarker = FaceLandmarker(_FACES, _LEAST_SCORE)

    def close(self) -> None:
        """Free the networks."""
        self._landmarker.close()

    def fit(self, crop: AlignedCrop, points: Array) -> Fit | None:
        """The mesh that agrees best with the detector's points (4, 2), px of the crop; None if none does."""
        side = np.float32(crop.pixels.shape[0])
        best: Fit | None = None
        for shares in self._landmarker.landmarks(crop.pixels):
            landmarks = shares * side
            wrong = misfit(landmarks, points, crop.box)
            if wrong < (MISFIT if best is None else best.misfit):
                best = Fit(landmarks, wrong)
        return best


def misfit(landmarks: Array, points: Array, box: Array) -> float:
    """How far a mesh is from what the detector saw, in face widths; infinite if it is no upright face of that size.

    landmarks: (478, 2) px; points: (4, 2) px as in Candidate; box: (4,) px; all in an aligned crop.
    """
    width = float(box[2] - box[0])
    eyes = landmarks[list(_PUPILS)]
    mouth = landmarks[list(_LIPS)].mean(axis=0)
    extent = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
    breadth = float(extent[2] - extent[0]) / width
    upright = mouth[1] > eyes[:, 1].max()
    if not upright or not _BREADTH[0] < breadth < _BREADTH[1] or iou(extent, box) < _OVERLAP:
        return float("inf")
    eyes_off = float(np.linalg.norm(eyes - points[:2], axis=1).mean())
    return max(eyes_off, float(np.linalg.norm(mouth - points[3]))) / width
