"""One photo's time, step by step: `python -m benchmarks.latency [--sizes 512,1024,2048] [--runs 5]`.

Burns in once a size, then takes the sizes in turns, and prints medians as a Markdown table with the machine it ran on.
"""

import argparse
import statistics
from pathlib import Path
from typing import Final

from benchmarks.machine import machine
from cartoon.images.decode import read
from cartoon.images.resize import resize, result_shape
from cartoon.images.types import Photo
from cartoon.pipeline.cartoonizer import Cartoonizer

EXAMPLE: Final = Path(__file__).resolve().parents[1] / "assets" / "examples" / "021902.jpg"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="512,1024,2048")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    sizes = [int(size) for size in a.sizes.split(",")]
    toon = Cartoonizer.load(a.device)
    photo = read(EXAMPLE).pixels
    inputs = {size: Photo(resize(photo, result_shape(photo.shape, size))) for size in sizes}
    taken: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for turn in range(a.runs + 1):
        for size, given in inputs.items():
            cartoon = toon(given, size=size)
            if turn:  # the first is the burn-in
                taken[size].append(cartoon.seconds)
    steps = list(taken[sizes[0]][0])
    print(f"{machine(toon)}; one face, medians of {a.runs}, ms\n")
    print("| long side | " + " | ".join(steps) + " | all |")
    print("|---" * (len(steps) + 2) + "|")
    for size in sizes:
        medians = [1000 * statistics.median(run[step] for run in taken[size]) for step in steps]
        whole = 1000 * statistics.median(sum(run.values()) for run in taken[size])
        print(f"| {size} | " + " | ".join(f"{m:.0f}" for m in medians) + f" | {whole:.0f} |")


if __name__ == "__main__":
    main()
