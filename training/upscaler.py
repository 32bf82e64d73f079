"""Teach the small upscaler: `python -m training.upscaler --photos DIR [--minutes 10] [--out crisp-v1.safetensors]`.

The photos are drawn in every shipped style, the drawings made half as large by area, and the network learns to undo
that. Photos of assets/examples are never learned from: benchmarks.upscale measures with them.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional

from cartoon.assets import ASSETS
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.types import Pixels
from cartoon.models.crisp import DEPTH, WIDTH, Crisp
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import available

PATCH = 96
"""Px of a side of what is learned from, after enlarging twice that."""
BATCH = 16
RATE = 2e-3
SIZES = (640, 1024)
"""Long side, px, of the drawings: lines are as wide as they are in what people enlarge."""
STRENGTHS = (0.5, 1.0)


def main() -> None:
    """Draw, teach, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60, help="photos to draw")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--drawings", type=Path, help="keep the drawings here, and use those that are")
    parser.add_argument("--out", type=Path, default=Path("crisp-v1.safetensors"))
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    rng = np.random.default_rng(a.seed)
    torch.manual_seed(a.seed)
    with tempfile.TemporaryDirectory() as folder:
        drawings = a.drawings or Path(folder)
        draw(a.photos, a.count, drawings, rng)
        pictures = [read(path).pixels for path in sorted(drawings.glob("*.png"))]
    net = Crisp()
    steps = teach(net, pictures, a.minutes * 60, rng)
    state = {name: value.detach().half().contiguous() for name, value in net.state_dict().items()}
    partial = a.out.with_suffix(".partial")
    facts = {"config": json.dumps({"width": WIDTH, "depth": DEPTH}), "steps": str(steps)}
    save_file(state, partial, facts)
    os.replace(partial, a.out)
    print(f"{a.out}: {steps} steps over {len(pictures)} drawings")


def draw(photos: Path, count: int, into: Path, rng: np.random.Generator) -> None:
    """Draw photos that are not there yet, in every style, at sizes and strengths at random."""
    into.mkdir(parents=True, exist_ok=True)
    examples = {path.stem for path in (ASSETS / "examples").glob("*.jpg")}
    paths = [path for path in sorted(photos.glob("*.jpg")) if path.stem not in examples]
    chosen = [paths[index] for index in rng.permutation(len(paths))[:count]]
    wanted = [(path, card.id, into / f"{path.stem}.{card.id}.png") for path in chosen for card in available()]
    if all(target.exists() for _, _, target in wanted):
        return
    toon = Cartoonizer.load("auto")
    for path, style, target in wanted:
        size, strength = int(rng.integers(*SIZES)), float(rng.uniform(*STRENGTHS))
        if not target.exists():
            done = toon(read(path), style=style, size=size, strength=strength)
            target.write_bytes(encode(done.pixels, None, "png"))
    toon.close()


def teach(net: Crisp, pictures: Sequence[Pixels], seconds: float, rng: np.random.Generator) -> int:
    """Learn for so long, the rate falling to nothing; returns the steps."""
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    began, step, errors = time.monotonic(), 0, []
    while (passed := (time.monotonic() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.5 + 0.5 * np.cos(np.pi * passed)) * min(1, (step + 1) / 200)
        large = np.stack([patch(pictures, rng) for _ in range(BATCH)])
        small = np.stack([cv2.resize(each, (PATCH // 2, PATCH // 2), interpolation=cv2.INTER_AREA) for each in large])
        loss = functional.l1_loss(net(tensor(small)), tensor(large))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimiser.step()
        step += 1
        errors.append(float(loss.detach()))
        if step % 200 == 0:
            print(f"step {step}, {passed:.0%}: {255 * np.mean(errors[-200:]):.3f} levels", flush=True)
    return step


def patch(pictures: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    """A square at random, turned and mirrored at random: uint8 (PATCH, PATCH, 3)."""
    picture = pictures[int(rng.integers(len(pictures)))]
    y, x = (int(rng.integers(0, side - PATCH + 1)) for side in picture.shape[:2])
    part = np.rot90(picture[y : y + PATCH, x : x + PATCH], int(rng.integers(4)))
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Uint8 (B, h, w, 3) -> float32 (B, 3, h, w), 0..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    main()
