"""Draw the pictures people look at first.

python -m docs.pictures demo      the example portraits in every style, one sheet: out/demo.jpg
python -m docs.pictures readme    the README's pictures: docs/result.jpg, docs/ui.png, docs/ui-batch.png (needs Chromium)
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.image import encode, read, write_atomically
from cartoon.portrait.pipeline import Cartoonizer, resize

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
TILE = (500, 400)
"""(height, width) of one picture on a sheet, px."""
LABEL = 36
"""Height of a row's title, px."""


def sheet(toon: Cartoonizer, photos: Sequence[Path], strength: float) -> NDArray[np.uint8]:
    """One row of photos and one row a style: uint8 (H, W, 3)."""
    pixels = [read(path).pixels for path in photos]
    rows = [_row("photo", pixels)]
    for card in toon.styles:
        drawn = [toon(photo, style=card.id, strength=strength, size=800).pixels for photo in pixels]
        rows.append(_row(card.title, drawn))
    return np.vstack(rows)


def _row(title: str, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    tiles = np.hstack([_tile(picture) for picture in pictures])
    band = np.full((LABEL, tiles.shape[1], 3), 255, np.uint8)
    cv2.putText(band, title, (8, LABEL - 11), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (40, 40, 40), 2, cv2.LINE_AA)
    return np.vstack([band, tiles])


def _tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centre-cropped to TILE."""
    height, width = TILE
    scale = max(height / picture.shape[0], width / picture.shape[1])
    scaled = resize(picture, (max(height, round(picture.shape[0] * scale)), max(width, round(picture.shape[1] * scale))))
    y, x = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[y : y + height, x : x + width]


def main() -> None:
    """Parse, draw, say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["demo", "readme"])
    parser.add_argument("--strength", type=float, default=1.0)
    a = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    toon = Cartoonizer.load()
    chosen, target = (EXAMPLES, ROOT / "out" / "demo.jpg") if a.what == "demo" else (EXAMPLES[:4], ROOT / "docs" / "result.jpg")
    target.parent.mkdir(exist_ok=True)
    write_atomically(target, encode(sheet(toon, chosen, a.strength), None, "jpg", 88))
    print(f"{len(chosen)} portraits in {len(toon.styles)} styles: {target}")
    if a.what == "readme":
        from tests.browser.screens import take_screenshots  # needs Playwright and Chromium, the demo does not

        for path in take_screenshots(ROOT / "docs"):
            print(path)


if __name__ == "__main__":
    main()
