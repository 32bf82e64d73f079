"""Make assets/mediapipe from the models inside mediapipe 0.10.21: `python -m training.face_models WHEEL`.

WHEEL is any `mediapipe-0.10.21-*.whl` (`pip download --no-deps mediapipe==0.10.21`). The networks and their weights
stay as they are. What changes is how they hand over their answers, so that the Tasks of newer releases take them and
lose nothing; assets/mediapipe/README.md says it in words. The same wheel gives the same bytes.
"""

import argparse
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cartoon.faces.candidates import FULL, SHORT
from cartoon.faces.mediapipe import DETECTORS, FOLDER, LANDMARKS, PERSON
from cartoon.models.weights import sha256_of

SHORT_RANGE: Final = "face_detection/face_detection_short_range.tflite"
FULL_RANGE: Final = "face_detection/face_detection_full_range_sparse.tflite"
ATTENTION_MESH: Final = "face_landmark/face_landmark_with_attention.tflite"
SEGMENTATION: Final = "selfie_segmentation/selfie_segmentation.tflite"
"""Inside the wheel, under mediapipe/modules."""

# Which of the mesh's points each further output of the attention mesh places anew: those of MediaPipe's
# face_landmark_with_attention graph (tensors_to_face_landmarks_with_attention.pbtxt).
LIPS: Final = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
LEFT_EYE: Final = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    *(130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190),
    *(226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193),
)
RIGHT_EYE: Final = (
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
    *(359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414),
    *(446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413),
    *(
        265,
        353,
        276,
        283,
        282,
        295,
        372,
        340,
        346,
        347,
        348,
        349,
        350,
        357,
        465,
        383,
        300,
        293,
        334,
        296,
        336,
        285,
        417,
    ),
)
MESH, LEFT_IRIS, RIGHT_IRIS, ALL = 468, range(468, 473), range(473, 478), 478
LEFT_LID, RIGHT_LID = 159, 386
"""Upper lids, whose depth an iris takes; 0.10.21 took a mean of several points. Depth is not used in this project."""
NUMBERS: Final = 16
"""Of a detection: x, y, width, height and six keypoints."""
EARS: Final = 12
"""Where in them the last two keypoints begin."""


class Model:
    """A TensorFlow Lite model that takes further steps behind its last one."""

    def __init__(self, content: bytes) -> None:
        # Here, as training is imported on machines without mediapipe (and flatbuffers, which it brings), too.
        from mediapipe.tasks.metadata import schema_py_generated

        self._schema = tflite = schema_py_generated
        self._model = tflite.ModelT.InitFromObj(tflite.Model.GetRootAs(content, 0))
        self._graph = self._model.subgraphs[0]

    @property
    def outputs(self) -> list[int]:
        """The tensors that are its answer."""
        return [int(number) for number in self._graph.outputs]

    @outputs.setter
    def outputs(self, tensors: Sequence[int]) -> None:
        self._graph.outputs = np.array(tensors, np.int32)
        for signature in self._model.signatureDefs or ():
            signature.outputs = []

    def shape(self, tensor: int) -> list[int]:
        """Its sides."""
        return list(self._graph.tensors[tensor].shape)

    def take_name(self, tensor: int) -> bytes:
        """The tensor's name, for another to bear: MediaPipe finds outputs by theirs."""
        named = self._graph.tensors[tensor]
        name: bytes = named.name
        named.name = name + b"_raw"
        return name

    def tensor(self, name: bytes | str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
        """A new tensor: constant where it has values, float32 or int32, else a float32 result."""
        tflite = self._schema
        buffer, made = tflite.BufferT(), tflite.TensorT()
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        whole = values is not None and values.dtype == np.int32
        made.type = tflite.TensorType.INT32 if whole else tflite.TensorType.FLOAT32
        made.name, made.shape, made.buffer = name, np.array(shape, np.int32), len(self._model.buffers) - 1
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def step(self, kind: str, inputs: Sequence[int], output: int, version: int = 1, **settings: int | bool) -> None:
        """A new last operator. kind: as in BuiltinOptions, CamelCase; settings: of its options."""
        tflite = self._schema
        code = tflite.OperatorCodeT()
        operator = "".join(f"_{c}" if c.isupper() else c for c in kind).lstrip("_").upper()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(tflite.BuiltinOperator, operator)
        code.version = version
        self._model.operatorCodes.append(code)
        options = getattr(tflite, f"{kind}OptionsT")()
        for name, value in settings.items():
            setattr(options, name, value)
        made = tflite.OperatorT()
        made.opcodeIndex = len(self._model.operatorCodes) - 1
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        made.builtinOptionsType = getattr(tflite.BuiltinOptions, f"{kind}Options")
        made.builtinOptions = options
        self._graph.operators.append(made)

    def packed(self) -> bytes:
        """The file's content."""
        from flatbuffers import Builder

        builder = Builder()
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def main() -> None:
    """Wheel -> assets/mediapipe, and what cartoon/faces/mediapipe.py must say of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for name, content in models(a.wheel).items():
        (a.out / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes, sha256 {sha256_of(a.out / name)}")


def models(wheel: Path) -> dict[str, bytes]:
    """The content of each file of assets/mediapipe, by its name."""
    with zipfile.ZipFile(wheel) as inside:
        short, full, mesh, person = (
            inside.read(f"mediapipe/modules/{name}") for name in (SHORT_RANGE, FULL_RANGE, ATTENTION_MESH, SEGMENTATION)
        )
    return {
        DETECTORS[SHORT]: with_corners(short),
        DETECTORS[FULL]: with_corners(full),
        LANDMARKS: bundle({"face_detector.tflite": short, "face_landmarks_detector.tflite": with_one_mesh(mesh)}),
        PERSON: person,
    }


def with_corners(content: bytes) -> bytes:
    """A detector whose last two keypoints, the ears, are the box's corners instead.

    One multiplication behind the network: out = weights @ (x, y, width, height, six keypoints), for every anchor. A
    detection that the Tasks give back has its box in whole pixels, but its keypoints exactly.
    """
    model = Model(content)
    numbers, scores = model.outputs
    shape = model.shape(numbers)
    if shape[2] != NUMBERS:
        raise SystemExit(f"A detector of {NUMBERS} numbers a face was expected, this one has the shape {shape}.")
    weights = np.eye(NUMBERS, dtype=np.float32)
    weights[EARS:] = 0
    for corner, half in enumerate((-0.5, 0.5)):  # centre -> upper left, lower right
        for axis in (0, 1):
            weights[EARS + 2 * corner + axis, [axis, 2 + axis]] = 1, half
    name = model.take_name(numbers)
    corners = model.tensor("corners", weights.shape, weights)
    changed = model.tensor(name, shape)
    # Version 5 keeps the number of dimensions; -1: no bias.
    model.step("FullyConnected", [numbers, corners, -1], changed, version=5, keepNumDims=True)
    model.outputs = [changed, scores]
    return model.packed()


def with_one_mesh(content: bytes) -> bytes:
    """The attention mesh whose outputs for lips, eyes and irises are put where they belong among 478 x 3 numbers."""
    model = Model(content)
    *parts, presence = model.outputs
    joined = model.tensor("joined", (1, 1, 1, sum(model.shape(part)[-1] for part in parts)))
    places = model.tensor("places", [3 * ALL], mesh_places())
    landmarks = model.tensor("landmarks", (1, 1, 1, 3 * ALL))
    model.step("Concatenation", parts, joined, axis=3)
    model.step("Gather", [joined, places], landmarks, axis=3)
    model.outputs = [landmarks, presence]
    return model.packed()


def mesh_places() -> np.ndarray:
    """For each of the 478 x 3 numbers its place in all outputs laid end to end: int32 (1434,).

    The outputs: x, y, z of the mesh, then x, y of the lips, of both eyes and of both irises.
    """
    places = np.zeros((ALL, 3), np.int32)
    places[:MESH] = np.arange(3 * MESH).reshape(MESH, 3)
    start = 3 * MESH
    for part in (LIPS, LEFT_EYE, RIGHT_EYE, LEFT_IRIS, RIGHT_IRIS):
        places[list(part), :2] = start + np.arange(2 * len(part)).reshape(-1, 2)
        start += 2 * len(part)
    places[list(LEFT_IRIS), 2], places[list(RIGHT_IRIS), 2] = 3 * LEFT_LID + 2, 3 * RIGHT_LID + 2
    return places.ravel()


def bundle(parts: dict[str, bytes]) -> bytes:
    """A .task file: a zip without compression and of no day, so that equal parts give equal bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return made.getvalue()


if __name__ == "__main__":
    main()
