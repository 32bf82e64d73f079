"""How well a style of a user's own is learned: `python -m benchmarks.own_style PORTRAITS [--minutes 18]`.

Draws 40 portraits with a filter that has nothing to do with the shipped styles (edge-preserving smoothing, six
colours, blue lines), teaches the network 30 of them, draws the other 10 through the Cartoonizer and prints a Markdown
table: decibels to the filter's own drawings, beside the photo's and its best affine recolouring's. Resumes.
"""

import argparse
import logging
import time
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from benchmarks.machine import processor
from cartoon.files import write_atomically
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.types import Pixels
from cartoon.models.devices import use_cores
from cartoon.pipeline.cartoonizer import Cartoonizer
from training.metrics import psnr
from training.own_style import OwnStyle, recoloured, teach
from training.pairs import SUFFIXES
from training.run import Window

LEARNED, TESTED = 30, 10
PALETTE: Final = ((250, 240, 215), (240, 190, 150), (205, 120, 90), (120, 160, 160), (105, 65, 60), (35, 35, 60))
"""Paper, two skins, a grey-green, brown and a dark: sRGB."""
TILE: Final = (336, 420)
"""Width and height of a picture on the sheet, px."""
LINES: Final = (20, 60, 200)
BAR: Final = "at least 20 dB, 5 dB above the photo, 3 dB above its best affine recolouring"


def drawing_of(photo: Pixels) -> Pixels:
    """The filter: smooth, take the nearest of six colours, draw blue lines where lightness steps."""
    bgr = cv2.stylization(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), sigma_s=60, sigma_r=0.45)
    smooth = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    palette = np.asarray(PALETTE, np.float32)
    away = np.stack([((smooth.astype(np.float32) - colour) ** 2).sum(2) for colour in palette])
    flat = np.asarray(PALETTE, np.uint8)[cv2.medianBlur(away.argmin(0).astype(np.uint8), 5)]
    light = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ridge = cv2.GaussianBlur(light, (0, 0), 2.4) - cv2.GaussianBlur(light, (0, 0), 1.5)
    cover = np.clip((ridge - 1.5) / 3, 0, 1)[..., None]
    return np.asarray(flat + cover * (np.asarray(LINES, np.float32) - flat) + 0.5, np.uint8)


def main() -> None:
    """Make pairs, teach, draw, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path, help="a folder of at least 40 portraits, each of somebody else")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-own-style"))
    parser.add_argument("--minutes", type=float, default=18.0)
    parser.add_argument("--start", type=Path, help="weights to begin with; the shipped ones")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    use_cores(torch.device("cpu"))
    photos = sorted(path for path in a.portraits.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(photos) < LEARNED + TESTED:
        raise SystemExit(f"{a.portraits} holds {len(photos)} pictures: give a folder of {LEARNED + TESTED} portraits.")
    order = np.random.default_rng(1).permutation(len(photos))
    learned, tested = ([photos[i] for i in part] for part in (order[:LEARNED], order[LEARNED : LEARNED + TESTED]))
    make_pairs(learned, a.work / "pairs")
    out = a.work / "bench.safetensors"
    window = Window(out, a.work / "training", a.minutes * 60, a.rate, 1, a.device, ("bench",))
    began = time.perf_counter()
    teach(OwnStyle(a.work / "pairs", window, "Six colours", a.start, holdout=0))
    minutes = (time.perf_counter() - began) / 60
    report(out, tested, a.device, a.work / "sheet.jpg")
    print(f"\n{minutes:.1f} min in all on {processor()}, {torch.get_num_threads()} threads, {a.device}.")
    print(f"The bar: {BAR}. The ten, photo, filter, network: {a.work / 'sheet.jpg'}")


def make_pairs(photos: list[Path], folder: Path) -> None:
    """Photo and drawing of each, as a user would hand them in."""
    for part in ("photos", "drawings"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for path in photos:
        pixels = read(path).pixels
        write_atomically(folder / "photos" / f"{path.stem}.png", encode(pixels, None, "png"))
        write_atomically(folder / "drawings" / f"{path.stem}.png", encode(drawing_of(pixels), None, "png"))


def report(style: Path, photos: list[Path], device: str, sheet: Path) -> None:
    """Draw unseen photos, print the table, write a contact sheet."""
    toon = Cartoonizer.load(device, styles_dir=None)
    names: list[str] = []
    rows: list[list[float]] = []
    strips: list[Pixels] = []
    for path in photos:
        photo = read(path).pixels
        wanted = drawing_of(photo)
        drawn = toon(photo, style=str(style), strength=1.0, exaggeration=0.0, size="original").pixels
        names.append(path.stem)
        rows.append([psnr(picture, wanted) for picture in (drawn, photo, recoloured(photo, wanted))])
        strips.append(np.hstack([_tile(picture) for picture in (photo, wanted, drawn)]))
    print("| photo | drawn dB | the photo dB | its best affine recolouring dB |\n|---|---|---|---|")
    mean = np.mean(rows, 0)
    for name, figures in zip((*names, "mean"), (*rows, mean), strict=True):
        print(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    print(f"\nMean: {mean[0] - mean[1]:+.2f} dB to the photo, {mean[0] - mean[2]:+.2f} dB to its recolouring.")
    half = (len(strips) + 1) // 2
    columns = [np.vstack(strips[:half]), np.vstack(strips[half:] + strips[:1] * (2 * half - len(strips)))]
    write_atomically(sheet, encode(np.hstack(columns), None, "jpg", 90))


def _tile(picture: Pixels) -> Pixels:
    return np.asarray(cv2.resize(picture, TILE, interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
