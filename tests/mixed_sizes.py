"""Draws 100 photos of mixed sizes, 64 to 4000 px, several at a time, and prints what memory that took, as JSON.

In a process of its own: `python -m tests.mixed_sizes [STYLE]`.
"""

import json
import random
import sys
from pathlib import Path

from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.images.types import Photo
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from tests import ROOT

LARGE = 4
"""Of the hundred have 4000 px."""


def memory_mb(name: str) -> int:
    """VmRSS or VmHWM of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024


def main() -> None:
    """Warm up, draw all, print."""
    style = sys.argv[1] if len(sys.argv) > 1 else "anime"
    portraits = [read(path).pixels for path in sorted((ROOT / "assets" / "examples").glob("*.jpg"))]
    toon = Cartoonizer.load("cpu")
    toon(portraits[0], size=128)
    idle = memory_mb("VmRSS:")
    chance = random.Random(7)
    sides = [4000] * LARGE + [round(64 * (2400 / 64) ** chance.random()) for _ in range(100 - LARGE)]
    chance.shuffle(sides)
    waiting = []
    drawn = 0
    for number, side in enumerate(sides):
        photo = Photo(resize(portraits[number % len(portraits)], (side, max(1, round(side * 0.8)))))
        waiting.append(toon.submit(photo, Options(style, size="original"), urgent=False))
        if len(waiting) > toon.at_once:  # as a batch does: few photos are decoded ahead
            drawn += waiting.pop(0).result().pixels.shape[0] > 0
    drawn += sum(future.result().pixels.shape[0] > 0 for future in waiting)
    print(json.dumps({"drawn": drawn, "idle_mb": idle, "peak_mb": memory_mb("VmHWM:")}))


if __name__ == "__main__":
    main()
