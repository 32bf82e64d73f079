"""MediaPipe's Tasks, imported late and made quietly, behind the few names of `mediapipe.solutions` that are used here."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from cartoon.errors import ResourceError

_log: Final = logging.getLogger(__name__)
MODELS: Final = Path(__file__).parents[2] / "assets" / "mediapipe"
INSTALL: Final = "install what requirements.txt lists"


def _image(picture: Any) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))


class _FaceDetection:
    def __init__(self, model_selection: int, min_detection_confidence: float) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        name = "full_range_sparse" if model_selection else "short_range"
        base = BaseOptions(model_asset_path=str(MODELS / f"face_detection_{name}.tflite"))
        options = vision.FaceDetectorOptions(
            base_options=base,
            min_detection_confidence=max(min_detection_confidence, 0.6)
            if model_selection
            else min_detection_confidence,
            min_suppression_threshold=0.3,
        )
        self._task = vision.FaceDetector.create_from_options(options)

    def process(self, picture: Any) -> Any:
        found = []
        for d in self._task.detect(_image(picture)).detections:
            low, high = d.keypoints[
                4:6
            ]  # the box's corners, put there by the build: `d.bounding_box` is in whole pixels
            frame = SimpleNamespace(xmin=low.x, ymin=low.y, width=high.x - low.x, height=high.y - low.y)
            place = SimpleNamespace(relative_bounding_box=frame, relative_keypoints=d.keypoints)
            found.append(SimpleNamespace(location_data=place, score=[d.categories[0].score]))
        return SimpleNamespace(detections=found)

    def close(self) -> None:
        self._task.close()


class _FaceMesh:
    def __init__(
        self, static_image_mode: bool, max_num_faces: int, refine_landmarks: bool, min_detection_confidence: float
    ) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        base = BaseOptions(model_asset_path=str(MODELS / "face_landmarker.task"))
        options = vision.FaceLandmarkerOptions(
            base_options=base, num_faces=max_num_faces, min_face_detection_confidence=min_detection_confidence
        )
        self._task = vision.FaceLandmarker.create_from_options(options)

    def process(self, picture: Any) -> Any:
        faces = self._task.detect(_image(picture)).face_landmarks
        return SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=points) for points in faces])

    def close(self) -> None:
        self._task.close()


class _SelfieSegmentation:
    def __init__(self, model_selection: int) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        base = BaseOptions(model_asset_path=str(MODELS / "selfie_segmentation.tflite"))
        options = vision.ImageSegmenterOptions(base_options=base, output_confidence_masks=True)
        self._task = vision.ImageSegmenter.create_from_options(options)

    def process(self, picture: Any) -> Any:
        mask = self._task.segment(_image(picture)).confidence_masks[0].numpy_view()
        return SimpleNamespace(segmentation_mask=np.array(mask, np.float32).reshape(picture.shape[:2]))

    def close(self) -> None:
        self._task.close()


def solutions() -> Any:
    try:
        import mediapipe  # noqa: F401
    except (ImportError, OSError) as missing:
        raise ResourceError(
            f"Faces cannot be found because mediapipe does not load ({missing}): {INSTALL}."
        ) from missing
    return SimpleNamespace(
        face_detection=SimpleNamespace(FaceDetection=_FaceDetection),
        face_mesh=SimpleNamespace(FaceMesh=_FaceMesh),
        selfie_segmentation=SimpleNamespace(SelfieSegmentation=_SelfieSegmentation),
    )


@contextmanager
def quiet() -> Iterator[None]:
    with tempfile.TemporaryFile() as aside:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError, AttributeError):
            yield
            return
        try:
            os.dup2(aside.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            for line in aside.read().decode("utf-8", "replace").splitlines():
                _log.debug("mediapipe: %s", line)
