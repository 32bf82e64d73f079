"""Frozen graphs in torch against TensorFlow on the same files, interleaved: `python -m benchmarks.graphs GRAPHS`.

GRAPHS holds cartoon_bg.pb and cartoon_h.pb; --python names an interpreter with TensorFlow, as for benchmarks.peers, and
it is measured with both of its kernels. Times are medians; a ratio is the median of those within one turn, so that
other work on the machine, which comes and goes, strikes both. It does not strike both alike: torch's threads (OpenMP)
wait for each other after every step, TensorFlow's do not. OMP_WAIT_POLICY=passive in the environment makes them sleep
rather than spin, which on shared processors is several times as fast.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import processor
from benchmarks.peers import BACKGROUND_GRAPH, HEAD, HEAD_GRAPH, KERNELS, Incumbent, rested
from cartoon.styles import tfgraph

BACKGROUND: Final = (720, 960)
"""Height and width of what the incumbent makes of a photo, px."""
PRECISIONS: Final = ("fp32", "bf16")


def main() -> None:
    """Burn in, take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path)
    parser.add_argument("--python", type=Path, default=Path("runs/tensorflow/bin/python"))
    parser.add_argument("--runs", type=int, default=15)
    a = parser.parse_args()
    if not a.python.exists():
        raise SystemExit(f"{a.python} is not there: make an environment with TensorFlow, see benchmarks.peers --help.")
    incumbents = [Incumbent(a.python, a.graphs, kernels) for kernels in KERNELS]
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'not set')}; {incumbents[0].version}\n"
    )
    print("| | ours | ms | " + " | ".join(f"{kernels}, ms | times as fast" for kernels in KERNELS) + " |")
    print("|---" * (3 + 2 * len(KERNELS)) + "|")
    for name, file, graph, shape in (
        ("head", "cartoon_h.pb", HEAD_GRAPH, HEAD),
        ("background", "cartoon_bg.pb", BACKGROUND_GRAPH, BACKGROUND),
    ):
        picture = np.random.default_rng(1).integers(0, 255, (*shape, 3), dtype=np.uint8)
        ours = [partial(_seconds, tfgraph.load(a.graphs / file, precision=one), picture) for one in PRECISIONS]
        theirs = [partial(one.network, graph, shape) for one in incumbents]
        taken = _turns([*ours, *theirs], a.runs)
        for index, precision in enumerate(PRECISIONS):
            cells = [f"{name} {shape[0]} x {shape[1]}", precision, f"{_median([turn[index] for turn in taken]):.0f}"]
            for other in range(len(PRECISIONS), len(taken[0])):
                cells.append(f"{_median([turn[other] for turn in taken]):.0f}")
                cells.append(f"{statistics.median(turn[other] / turn[index] for turn in taken):.2f}")
            print("| " + " | ".join(cells) + " |", flush=True)
    for incumbent in incumbents:
        incumbent.close()


def _seconds(graph: tfgraph.FrozenGraph, picture: NDArray[np.uint8]) -> float:
    began = time.perf_counter()
    graph(picture)
    return time.perf_counter() - began


def _turns(works: Sequence[Callable[[], float]], runs: int) -> list[list[float]]:
    """Seconds of each, turn by turn; two turns come before."""
    return [[rested(work) for work in works] for _ in range(runs + 2)][2:]


def _median(seconds: Sequence[float]) -> float:
    """In milliseconds."""
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    main()
