"""MediaPipe's networks on files of our own: a picture in, plain arrays out; imported late and made quietly."""

import atexit
import hashlib
import logging
import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Final, Protocol, TypeVar
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from cartoon.assets import ASSETS
from cartoon.errors import DrainingError, ResourceError, StyleError
from cartoon.faces.candidates import FULL, SHORT, Array
from cartoon.images.types import Pixels

VERSION: Final = "0.10.33"
"""Of mediapipe. 0.10.35 links libcurl, and from 1.0 on it sends usage metrics home, with no switch to stop it; 0.10.30
hangs and 0.10.32 refuses the full-range detector."""
FOLDER: Final = ASSETS / "mediapipe"
LANDMARKS: Final = "face_landmarker.task"
PERSON: Final = "selfie_segmentation.tflite"
DETECTORS: Final = {FULL: "face_detection_full_range_sparse.tflite", SHORT: "face_detection_short_range.tflite"}
SHA256: Final = {
    DETECTORS[FULL]: "ec7335918c59ec9ed5406c568f7b9c4edacd90005f9987a432aef01cc536a9f2",
    DETECTORS[SHORT]: "00f7b6b1653f1370a66106f454426526043c3b0f5ee2786678c86272b986fb8e",
    LANDMARKS: "3a9ba9b2a2a522e75f912bd6fbe0b1e47f8404d21dfa6f1bdabb9958c645d984",
    PERSON: "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}
"""What each file of assets/mediapipe must be; training/face_models.py makes them."""
LEAST_SCORE: Final = {FULL: 0.6, SHORT: 0.5}
"""Least score of a detection. MediaPipe up to 0.10.21 never reported less than 0.6 from the full-range detector."""
_OVERLAP: Final = 0.3
"""Intersection over union from which the detector merges two finds into one; that of MediaPipe's own graphs."""
_CORNERS: Final = slice(4, 6)
_POINTS: Final = slice(0, 4)
"""Of a detection's six keypoints. In our files the box's exact corners take the place of the ears: MediaPipe's own
`bounding_box` is in whole pixels, which moves landmarks by 0.3 % of the face's width."""
_log: Final = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Kind = TypeVar("Kind", bound="Task")


class Task(Protocol):
    """What MediaPipe's tasks have in common."""

    def close(self) -> None:
        """Free it; a second time does nothing."""
        ...


_open: Final[set[Task]] = set()
"""Tasks that nobody has closed yet. Held here, so that no `__del__` of MediaPipe's runs: called by the garbage
collector, it waits for ever for a thread that the collector has ended before."""
_dropped: Final[deque[Task]] = deque()
"""Tasks whose owner is gone without having closed them; closed when another is made, or when Python ends."""


@dataclass(frozen=True, eq=False)
class Detection:
    """A face as a detector sees it, in shares of the picture's width and height, so mostly 0..1.

    box: float32 (2, 2), x, y of the upper left and of the lower right corner. points: float32 (4, 2), x, y of the
    person's right eye, left eye, nose tip, mouth centre. score: 0..1.
    """

    box: Array
    points: Array
    score: float


class FaceDetector:
    """One of MediaPipe's two face detectors, FULL or SHORT; for one thread at a time."""

    def __init__(self, network: str) -> None:
        """Raises ResourceError and StyleError as vision() and model() do."""
        api = vision()
        options = api.FaceDetectorOptions(
            base_options=_base(DETECTORS[network]),
            min_detection_confidence=LEAST_SCORE[network],
            min_suppression_threshold=_OVERLAP,
        )
        self._task = _kept(self, api.FaceDetector.create_from_options(options))

    def close(self) -> None:
        """Free the network."""
        _close(self._task)

    def detect(self, picture: Pixels) -> list[Detection]:
        """The faces in uint8 (H, W, 3) sRGB pixels."""
        found = []
        for seen in _answer(self._task.detect, picture).detections:
            points = np.array([[point.x, point.y] for point in seen.keypoints], np.float32)
            found.append(Detection(points[_CORNERS], points[_POINTS], float(seen.categories[0].score)))
        return found


class FaceLandmarker:
    """MediaPipe's face mesh with irises, for one thread at a time; keeps nothing from one picture to the next."""

    def __init__(self, faces: int, least_score: float) -> None:
        """faces: at most so many in a picture. least_score: of the detector inside, 0..1. Raises as FaceDetector."""
        api = vision()
        options = api.FaceLandmarkerOptions(
            base_options=_base(LANDMARKS), num_faces=faces, min_face_detection_confidence=least_score
        )
        self._task = _kept(self, api.FaceLandmarker.create_from_options(options))

    def close(self) -> None:
        """Free the networks."""
        _close(self._task)

    def landmarks(self, picture: Pixels) -> list[Array]:
        """For each face in uint8 (H, W, 3) sRGB pixels float32 (478, 2): x, y in shares of the width and height."""
        faces = _answer(self._task.detect, picture).face_landmarks
        return [np.array([[point.x, point.y] for point in face], np.float32) for face in faces]


class PersonSegmenter:
    """MediaPipe's selfie segmentation; for one thread at a time."""

    def __init__(self) -> None:
        """Raises as FaceDetector."""
        api = vision()
        options = api.ImageSegmenterOptions(base_options=_base(PERSON), output_confidence_masks=True)
        self._task = _kept(self, api.ImageSegmenter.create_from_options(options))

    def close(self) -> None:
        """Free the network."""
        _close(self._task)

    def mask(self, picture: Pixels) -> NDArray[np.float32]:
        """How surely each of uint8 (H, W, 3) sRGB pixels is a person: float32 (H, W), 0..1."""
        mask = _answer(self._task.segment, picture).confidence_masks[0]
        # A copy: the view points into memory that MediaPipe frees together with its answer.
        return np.array(mask.numpy_view(), np.float32).reshape(picture.shape[:2])


def vision() -> ModuleType:
    """MediaPipe's module of tasks on pictures, imported at the first call (a second or two).

    Raises ResourceError, naming what to install, when it is missing, is of another version than VERSION, or lacks a
    system library.
    """
    install = "install what requirements.txt lists"
    try:
        installed = version("mediapipe")
        if installed != VERSION:
            raise ResourceError(
                f"Faces are not looked for with mediapipe {installed}, only {VERSION} was seen to stay offline: "
                f"{install}."
            )
        from mediapipe.tasks.python import vision as tasks
    except (PackageNotFoundError, ImportError, OSError) as missing:  # OSError: without libEGL.so.1 or libGLESv2.so.2
        raise ResourceError(
            f"Faces cannot be found because mediapipe does not load ({missing}): {install}."
        ) from missing
    module: ModuleType = tasks
    return module


def model(name: str) -> bytes:
    """One of the files in FOLDER, as it was shipped.

    Raises StyleError, naming the file, when it is missing or altered.
    """
    restore = "restore the assets folder"
    try:
        content = (FOLDER / name).read_bytes()
    except OSError as error:
        raise StyleError(f"{name} cannot be read from {FOLDER} ({error.strerror}): {restore}.") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise StyleError(f"{name} is not the file that was shipped (its sha256 differs): {restore}.")
    return content


@contextmanager
def quiet() -> Iterator[None]:
    """Send what MediaPipe's C++ side prints while its graphs start to the debug log.

    It writes straight to file descriptor 2 and its own log-level switches do not reach these lines, so the descriptor
    itself is turned aside; for the whole process, hence only around the making of graphs, a fraction of a second.
    """
    with tempfile.TemporaryFile() as aside:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError, AttributeError):  # no standard error at all: nothing to turn aside
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


def _base(name: str) -> object:
    from mediapipe.tasks.python import BaseOptions

    base: object = BaseOptions(model_asset_buffer=model(name))  # the bytes that were checked, not the file again
    return base


def _answer(ask: Callable[[object], Answer], picture: Pixels) -> Answer:
    """What a task says of uint8 (H, W, 3) sRGB pixels; raises DrainingError once Python ends.

    From then on MediaPipe refuses, or answers that there is nothing to be seen, which must not be drawn.
    """
    from mediapipe import Image, ImageFormat

    image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(picture))
    leaving = "The process ends before the picture is done: draw it again."
    try:
        answer = ask(image)
    except RuntimeError as error:
        if threading.main_thread().is_alive():
            raise
        raise DrainingError(leaving) from error
    if not threading.main_thread().is_alive():
        raise DrainingError(leaving)
    return answer


def _kept(owner: object, task: Kind) -> Kind:
    """Sees to it that a task is closed, at the latest some time after its owner is gone."""
    while _dropped:
        _close(_dropped.popleft())
    _open.add(task)
    # Nothing but noted there: in a garbage collection, in whatever thread that is, nothing can be waited for.
    finalize(owner, _dropped.append, task).atexit = False
    return task


def _close(task: Task) -> None:
    _open.discard(task)
    task.close()


@atexit.register  # before mediapipe registers its own, so called after that, when close() only lets go
def _let_go() -> None:
    """Close what nobody has closed: MediaPipe's `__del__` stumbles over modules that are gone by then, and says so."""
    for task in list(_open):
        task.close()
