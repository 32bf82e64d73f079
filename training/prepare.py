"""Photos -> what training reads: `python -m training.prepare PHOTOS... --out DIR`, a folder or files, resumable.

Finds the face and the person, warps the face by a random amount (the network will see warped faces), lets the teacher
take the photo apart, and writes NAME.npz: photo uint8 (H, W, 3), person uint8 (H, W), landmarks float32 (478, 2),
stack uint8 (11, H, W). Training itself then needs neither a face detector nor the teacher. A photo that already has
its file is left alone; photos without a face are named and left out.
"""

import argparse
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cartoon.drawing.compose import to_uint8
from cartoon.errors import InputError
from cartoon.faces.detector import MediaPipeDetector
from cartoon.faces.guide import smoothstep
from cartoon.faces.segmentation import PersonMask
from cartoon.faces.warp import warp
from cartoon.images.decode import read
from cartoon.images.types import Face, Pixels
from cartoon.pipeline.stages import MATTE_EDGE
from training.teacher import analyse

LARGEST_WARP = 1.35
"""The strongest warp of any style at exaggeration 1."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def photos_of(places: Sequence[Path]) -> Iterator[Path]:
    """Every picture file among `places` and directly in the folders among them, sorted."""
    for place in places:
        yield from sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES) if place.is_dir() else [place]


class Preparer:
    """Detector and person mask, loaded once."""

    def __init__(self) -> None:
        self._detector, self._person = MediaPipeDetector(), PersonMask()

    def look(self, pixels: Pixels) -> tuple[Face, NDArray[np.float32]] | None:
        """The largest face and the person mask (H, W) 0..1; None without a face."""
        faces = self._detector.detect(pixels)
        if not faces:
            return None
        largest = max(faces, key=lambda face: face.box[2] - face.box[0])
        return largest, smoothstep(self._person.matte(pixels, faces), *MATTE_EDGE)


def main() -> None:
    """Prepare what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take only every N-th photo")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    preparer = Preparer()
    done = 0
    for path in list(photos_of(a.photos))[:: a.every]:
        target = a.out / f"{path.stem}.npz"
        if not target.exists():
            try:
                pixels = read(path).pixels
            except InputError as error:
                print(f"{error} Left out.", flush=True)
                continue
            seen = preparer.look(pixels)
            if seen is None:
                print(f"{path.name}: no face found, left out.", flush=True)
                continue
            face, person = seen
            amount = np.random.default_rng(zlib.crc32(path.stem.encode())).uniform(0, LARGEST_WARP)
            pixels, person, landmarks = warp(pixels, person, face.landmarks, amount)
            _write(
                target,
                photo=pixels,
                person=to_uint8(person),
                landmarks=landmarks,
                stack=to_uint8(analyse(pixels, person, landmarks)),
            )
        done += 1
    print(f"{done} photos prepared in {a.out}")


def _write(target: Path, **arrays: NDArray[np.generic]) -> None:
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(partial, target)


if __name__ == "__main__":
    main()
