"""Draw the example portraits in every style into one sheet: `python -m benchmarks.demo [--out out/demo.jpg]`."""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cartoon.assets import EXAMPLES
from cartoon.files import write_atomically
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.types import Photo, Pixels
from cartoon.pipeline.cartoonizer import Cartoonizer

TILE: Final = 384
"""px a side; the photos' middles are shown at this size, drawn at twice that."""
CAPTION: Final = 40
"""px above each column."""


def main() -> None:
    """Draw, lay out, and say where the sheet is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo.jpg"))
    parser.add_argument("--photos", type=int, default=8, help="how many of the examples")
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    toon = Cartoonizer.load(a.device)
    photos = [read(path) for path in sorted(EXAMPLES.glob("*.jpg"))[: a.photos]]
    columns = [column("Photo", [photo.pixels for photo in photos])]
    for card in toon.styles:
        drawn = [draw(toon, photo, card.id) for photo in photos]
        columns.append(column(card.title, drawn))
    a.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(a.out, encode(np.hstack(columns), None, "jpg", 92))
    print(f"{len(photos)} portraits in {len(toon.styles)} styles: {a.out.resolve()}")


def draw(toon: Cartoonizer, photo: Photo, style: str) -> Pixels:
    """The photo in one style, at the default strength; progress on the terminal."""
    cartoon = toon(photo, style=style, size=2 * TILE)
    print(f"{photo.name} as {style}: {sum(cartoon.seconds.values()):.1f} s, {len(cartoon.faces)} face(s)")
    return cartoon.pixels


def column(title: str, pictures: list[Pixels]) -> Pixels:
    """A caption over the pictures' middles, each TILE x TILE px."""
    caption = Image.new("RGB", (TILE, CAPTION), "white")
    pen = ImageDraw.Draw(caption)
    pen.text((TILE / 2, CAPTION / 2), title, fill="black", font=ImageFont.load_default(CAPTION * 0.6), anchor="mm")
    return np.vstack([np.asarray(caption), *(square(picture) for picture in pictures)])


def square(pixels: Pixels) -> Pixels:
    """The largest square in the middle (towards the top, where portraits have the face), TILE px a side."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 3, (width - side) // 2
    cut = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(cut.resize((TILE, TILE), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
