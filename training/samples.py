"""Draw the sample picture of every shipped style into assets/samples: `python -m training.samples`.

One person, the same in each, at the default options; the records in assets/styles.json then name their picture.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from cartoon.assets import ASSETS, EXAMPLES
from cartoon.files import write_atomically
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.types import Cartoon, Photo, Pixels
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import available
from training.release import write_records

SUBJECT: Final = EXAMPLES / "021340.jpg"
SIDE: Final = 256
"""Px of a sample, which is square."""
AROUND: Final = 1.05
"""Of the face's width, from its middle to the sample's border."""
QUALITY: Final = 88


def main() -> None:
    """Draw, crop, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS / "samples")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    toon, photo = Cartoonizer.load("cpu", "fp32"), read(SUBJECT)
    cards = []
    for card in available():
        path = a.out / f"{card.id}.jpg"
        write_atomically(path, encode(sample(photo, toon.draw(photo, Options(card.id))), None, "jpg", QUALITY))
        cards.append(replace(card, sample=f"samples/{path.name}"))
    toon.close()
    if a.out == ASSETS / "samples":
        write_records(cards)
    print(f"{len(cards)} samples in {a.out}")


def sample(photo: Photo, cartoon: Cartoon) -> Pixels:
    """The head of the first person in a drawing, SIDE x SIDE px."""
    height, width = cartoon.pixels.shape[:2]
    x0, y0, x1, y1 = (float(v) * width / photo.pixels.shape[1] for v in cartoon.faces[0].box)
    half = min(AROUND * (x1 - x0), width / 2, height / 2)
    left = int(np.clip((x0 + x1) / 2 - half, 0, width - 2 * half))
    top = int(np.clip((y0 + y1) / 2 - 1.1 * half, 0, height - 2 * half))
    part = cartoon.pixels[top : top + int(2 * half), left : left + int(2 * half)]
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
