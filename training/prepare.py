"""Find the face and the person on every pair's photo, once: `python -m training.prepare --pairs DIR --out faces.npz`.

Training reads the result, so it runs on machines that have no face detector.
"""

import argparse
from pathlib import Path

import numpy as np

from cartoon.image import read
from cartoon.portrait.compose import to_uint8
from cartoon.portrait.faces import MediaPipeDetector
from cartoon.portrait.guide import smoothstep
from cartoon.portrait.person import PersonMask
from cartoon.portrait.pipeline import MATTE_EDGE


def main() -> None:
    """Write NAME.landmarks float32 (478, 2) px and NAME.person uint8 (H, W) for each NAME.photo.jpg with one face."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    detector, person = MediaPipeDetector(), PersonMask()
    found: dict[str, np.ndarray] = {}
    for path in sorted(a.pairs.glob("*.photo.jpg")):
        name = path.name.removesuffix(".photo.jpg")
        pixels = read(path).pixels
        faces = detector.detect(pixels)
        if not faces:
            print(f"{path.name}: no face found, left out")
            continue
        largest = max(faces, key=lambda f: f.box[2] - f.box[0])
        found[f"{name}.landmarks"] = largest.landmarks
        found[f"{name}.person"] = to_uint8(smoothstep(person.matte(pixels, faces), *MATTE_EDGE))
    a.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(a.out, **found)
    print(f"{len(found) // 2} pairs -> {a.out}")


if __name__ == "__main__":
    main()
