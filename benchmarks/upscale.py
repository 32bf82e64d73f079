"""Enlarging: `python -m benchmarks.upscale [--scale 2] [--weights FILE] [--size 1024] [--reach] [--device auto]`.

The examples are drawn in every shipped style, made smaller by area and enlarged again: PSNR to the drawing, in dB over
all of them, and seconds a picture. Swin2SR takes part where weights are given. With --reach: how far what lies beyond a
tile's border still shows within it, in levels of 255, by distance; without weights, with random ones of the published
network's size, three times as large as a training begins with.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.latency import EXAMPLE
from benchmarks.machine import machine
from cartoon.images.decode import read
from cartoon.images.types import Pixels
from cartoon.models.devices import pick_device, use_cores
from cartoon.models.swin2sr import HALO, load_network
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.pipeline.upscaler import SCALES, Lanczos, Upscaler
from cartoon.styles.catalogue import available

DISTANCES = (0, 8, 16, 24, 32, 48, 64, 96, 128, 152, 160)
"""Px from the border; beyond 155 the published networks see nothing."""
STRIP = (16, 352)
"""(height, width) px; the left half is changed."""

Enlarge = Callable[[Pixels], Pixels]


def main() -> None:
    """Draw, enlarge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=2, choices=SCALES)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--reach", action="store_true")
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    if a.reach:
        print_reach(a.weights, a.scale)
        return
    toon = Cartoonizer.load(a.device)
    print(f"{machine(toon)}; x{a.scale}, drawn at {a.size} px\n")
    drawings = {card.id: drawn(toon, card.id, a.size, a.scale) for card in available()}
    toon.close()
    print("| by | " + " | ".join(drawings) + " | s a picture |\n|---" + "|---" * (len(drawings) + 1) + "|")
    for name, enlarge in enlargers(a.scale, a.weights, a.device).items():
        first = next(iter(drawings.values()))[0]
        enlarge(smaller(first, a.scale))  # burn in
        cells, began, count = [], 0.0, 0
        for pictures in drawings.values():
            errors = []
            for picture in pictures:
                small = smaller(picture, a.scale)
                start = time.perf_counter()
                large = enlarge(small)
                began, count = began + time.perf_counter() - start, count + 1
                errors.append(np.square(large.astype(np.float32) - picture).mean())
            cells.append(f"{10 * np.log10(255**2 / np.mean(errors)):.2f}")
        print(f"| {name} | " + " | ".join(cells) + f" | {began / count:.3f} |", flush=True)


def enlargers(scale: int, weights: Path | None, device: str) -> dict[str, Enlarge]:
    """What is compared, by name."""
    use_cores(pick_device(device))
    ours = Upscaler.small(scale, device, "fp32")
    chosen: dict[str, Enlarge] = {
        "cubic": lambda small: np.asarray(
            cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8
        ),
        "lanczos": lambda small: Lanczos(scale).upscale(small).pixels,
        "small, fp32": lambda small: ours.upscale(small).pixels,
    }
    if weights is not None:
        upscaler = Upscaler.load(weights, scale, device)
        chosen[f"Swin2SR, {upscaler.precision}"] = lambda small: upscaler.upscale(small).pixels
    return chosen


def drawn(toon: Cartoonizer, style: str, size: int, scale: int) -> list[Pixels]:
    """The examples in a style, their sides cut to multiples of the scale."""
    pictures = [toon(read(path), style=style, size=size).pixels for path in sorted(EXAMPLE.parent.glob("*.jpg"))]
    return [picture[: len(picture) // scale * scale, : picture.shape[1] // scale * scale] for picture in pictures]


def smaller(picture: Pixels, scale: int) -> Pixels:
    """Uint8 (H, W, 3), by area."""
    size = (picture.shape[1] // scale, picture.shape[0] // scale)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def print_reach(weights: Path | None, scale: int) -> None:
    """The table that HALO stands on."""
    network = random_network(scale) if weights is None else load_network(weights).module
    torch.manual_seed(0)
    first = torch.rand(1, 3, *STRIP)
    second = first.clone()
    half = STRIP[1] // 2
    second[..., :half] = torch.rand(1, 3, STRIP[0], half)
    with torch.inference_mode():
        differs: NDArray[np.float32] = (network(first) - network(second)).abs().amax((0, 1, 2)).numpy() * 255
    print(f"what changes {'with random weights' if weights is None else weights.name}, of 255; a tile sees {HALO} px\n")
    print(row("px beyond the border", [str(px) for px in DISTANCES]))
    print(row("---", ["---"] * len(DISTANCES)))
    print(row("largest change", [f"{differs[(half + px) * scale :].max():.4f}" for px in DISTANCES]))


def row(name: str, cells: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {name} | " + " | ".join(cells) + " |"


def random_network(scale: int) -> torch.nn.Module:
    """Of the published classical network's size, 12 million weights."""
    from spandrel.architectures.Swin2SR import Swin2SR

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: torch.nn.Module = Swin2SR(
            img_size=64,
            embed_dim=180,
            depths=[6] * 6,
            num_heads=[6] * 6,
            window_size=8,
            mlp_ratio=2,
            upscale=scale,
            upsampler="pixelshuffle",
            resi_connection="1conv",
        )
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Linear):
                part.weight.mul_(3)
    return network.eval()


if __name__ == "__main__":
    main()
