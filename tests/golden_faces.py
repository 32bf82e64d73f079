"""What faces and masks were found when tests/golden/faces.npz was made: `python -m tests.golden_faces` makes it again.

The file in git was made with mediapipe 0.10.21, whose models are the ones that assets/mediapipe hands on, numpy 1.26.4
and OpenCV 4.11.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.detector import MediaPipeDetector
from cartoon.faces.segmentation import PersonMask
from cartoon.images.types import Pixels
from tests import ROOT

GOLDEN: Final = Path(__file__).parent / "golden" / "faces.npz"
EXAMPLES: Final = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
SOME: Final = np.r_[0:468:6, 468:478]
"""The landmarks that are kept: one in six, and the irises."""
MASK_SIDE: Final = 128
"""Long side, px, at which masks are kept."""
FACES, LANDMARKS, MASK = "faces", "landmarks", "mask"


@dataclass(frozen=True, eq=False)
class Found:
    """boxes: float32 (N, 4); landmarks: float32 (N, len(SOME), 2), px of the picture; mask: uint8 (h, w)."""

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    mask: NDArray[np.uint8]


def read(path: Path) -> Pixels:
    """As OpenCV decodes it, which is what the file in git was made from."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)


def pictures() -> Iterator[tuple[str, Pixels]]:
    """Each example, all of them together at six sizes, one lying on its side, and one of nobody."""
    examples = [read(path) for path in EXAMPLES]
    yield from ((path.stem, picture) for path, picture in zip(EXAMPLES, examples, strict=True))
    group = np.full((1500, 1500, 3), (150, 165, 180), np.uint8)
    x, y, row = 10, 10, 0
    for number in range(24):
        picture = examples[number % len(examples)]
        width = (300, 220, 160, 120, 90, 70)[number % 6]
        small = cv2.resize(
            picture, (width, round(width * picture.shape[0] / picture.shape[1])), interpolation=cv2.INTER_AREA
        )
        if x + width > group.shape[1]:
            x, y, row = 10, y + row + 10, 0
        group[y : y + small.shape[0], x : x + width] = small
        x, row = x + width + 10, max(row, small.shape[0])
    yield "group", group
    yield "lying", np.ascontiguousarray(np.rot90(examples[0]))
    noise = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    yield "nobody", np.asarray(cv2.resize(noise, (800, 600)), np.uint8)


def found(detector: MediaPipeDetector, person: PersonMask, picture: Pixels) -> Found:
    """Its faces, left to right, and its mask."""
    faces = detector.detect(picture)
    mask = person.matte(picture, faces)
    scale = MASK_SIDE / max(mask.shape)
    size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return Found(
        np.array([face.box for face in faces], np.float32).reshape(-1, 4),
        np.array([face.landmarks[SOME] for face in faces], np.float32).reshape(-1, len(SOME), 2),
        np.rint(255 * small).astype(np.uint8),
    )


def load() -> dict[str, Found]:
    """What was found, by the picture's name."""
    with np.load(GOLDEN) as kept:
        names = {key.partition("/")[0] for key in kept.files}
        return {n: Found(kept[f"{n}/{FACES}"], kept[f"{n}/{LANDMARKS}"], kept[f"{n}/{MASK}"]) for n in names}


def main() -> None:
    """Find them and keep them."""
    detector, person = MediaPipeDetector(), PersonMask()
    arrays: dict[str, NDArray[np.float32] | NDArray[np.uint8]] = {}
    for name, picture in pictures():
        answer = found(detector, person, picture)
        print(f"{name}: {len(answer.boxes)} faces, {(answer.mask > 127).mean():.0%} of it people")
        arrays |= {
            f"{name}/{FACES}": answer.boxes,
            f"{name}/{LANDMARKS}": answer.landmarks,
            f"{name}/{MASK}": answer.mask,
        }
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, **arrays)  # type: ignore[arg-type]  # no array is named as numpy's own parameter is
    detector.close()
    person.close()


if __name__ == "__main__":
    main()
