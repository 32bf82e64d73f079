"""Ours against the incumbent's networks in TensorFlow's session, interleaved: `python -m benchmarks.peers GRAPHS`.

GRAPHS holds cartoon_bg.pb and cartoon_h.pb. --python names an interpreter that has TensorFlow:

    python3 -m venv runs/tensorflow && runs/tensorflow/bin/pip install tensorflow

It is measured twice: with TensorFlow's own kernels (Eigen), which are all that the incumbent's TensorFlow 1.15 has, and
with oneDNN's, which later TensorFlows use where the processor suits them.

The incumbent's photo is decoding, background network, one 288 px head, blending, encoding; how it finds the face is
left out, in its favour. Ours is everything. Times are medians of interleaved runs; the ratios are of those of one turn.
"""

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Final, cast

import cv2
import numpy as np

from benchmarks.latency import EXAMPLE
from benchmarks.machine import machine
from cartoon.image import decode, encode, read
from cartoon.portrait.guide import CHANNELS
from cartoon.portrait.pipeline import Cartoonizer
from cartoon.portrait.scale import resize
from cartoon.settings import Options
from cartoon.styles.network import Canvas, StyleNet
from cartoon.styles.registry import available

PHOTO: Final = (1024, 820)
"""Height and width of the photo drawn, px."""
SQUARE: Final = (1024, 1024)
"""Of the picture for the network alone."""
CAPPED: Final = 720
"""The incumbent draws no shorter side than this, and enlarges the result."""
HEAD: Final = (288, 288)
BACKGROUND_GRAPH, HEAD_GRAPH = 0, 1
KERNELS: Final = {"Eigen": "0", "oneDNN": "1"}
QUALITY: Final = 95
PAUSE_S: Final = 0.2
"""Between measurements: the threads of the one before go on looking for work for a while."""


class Incumbent:
    """TensorFlow's session in its own process, and what the incumbent does around it."""

    def __init__(self, python: Path, graphs: Path, kernels: str) -> None:
        paths = [str(graphs / name) for name in ("cartoon_bg.pb", "cartoon_h.pb")]
        script = Path(__file__).with_name("tensorflow_session.py")
        self._process = subprocess.Popen(
            [str(python), str(script), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": KERNELS[kernels]},
        )
        self.version = self._answer()

    def network(self, graph: int, shape: tuple[int, int]) -> float:
        """Seconds of one run of a graph."""
        cast(IO[str], self._process.stdin).write(f"{graph} {shape[0]} {shape[1]}\n")
        cast(IO[str], self._process.stdin).flush()
        return float(self._answer())

    def photo(self, data: bytes, cap: int | None) -> float:
        """Seconds for one photo, JPEG to JPEG; cap: the most its shorter side may have when it is drawn, px."""
        began = time.perf_counter()
        full = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        height, width = full.shape[:2]
        scale = min(1.0, cap / min(height, width)) if cap else 1.0
        small = cv2.resize(full, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        rows, columns = small.shape[:2]
        padded = cv2.copyMakeBorder(
            small, 0, -rows % 16, 0, -columns % 16, cv2.BORDER_CONSTANT, value=(255, 255, 255)
        ).astype(np.float32)
        around = time.perf_counter() - began
        drawn = self.network(BACKGROUND_GRAPH, padded.shape[:2]) + self.network(HEAD_GRAPH, HEAD)
        began = time.perf_counter()
        place = np.array([[HEAD[1] / columns, 0, 0], [0, HEAD[0] / rows, 0]], np.float32)
        head = cv2.warpAffine(padded, place, HEAD).clip(0, 255)
        back = cv2.warpAffine(head, place, (columns, rows), flags=cv2.WARP_INVERSE_MAP)
        alpha = cv2.warpAffine(np.ones((*HEAD, 1), np.float32), place, (columns, rows), flags=cv2.WARP_INVERSE_MAP)
        mixed = back * alpha[..., None] + padded[:rows, :columns] * (1 - alpha[..., None])
        result = cv2.resize(mixed.clip(0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return around + drawn + time.perf_counter() - began

    def _answer(self) -> str:
        line = cast(IO[str], self._process.stdout).readline().strip()
        if not line:
            raise SystemExit("TensorFlow's process ended: give --python an interpreter that can import tensorflow.")
        return line

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


def main() -> None:
    """Burn in, take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path)
    parser.add_argument("--python", type=Path, default=Path("runs/tensorflow/bin/python"))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    if not a.python.exists():
        raise SystemExit(f"{a.python} is not there: make an environment with TensorFlow, see --help.")
    toon = Cartoonizer.load(a.device)
    data = encode(resize(read(EXAMPLE).pixels, PHOTO), None, "jpg", QUALITY)
    options = Options(size="original", format="jpg")
    net = StyleNet(available()[0].path, None, a.device)
    rng = np.random.default_rng(1)
    square = Canvas(
        rng.integers(0, 255, (*SQUARE, 3), dtype=np.uint8),
        rng.integers(0, 255, (len(CHANNELS), *SQUARE), dtype=np.uint8),
    )
    incumbents = [Incumbent(a.python, a.graphs, kernels) for kernels in KERNELS]

    def ours() -> float:
        began = time.perf_counter()
        cartoon = toon.draw(decode(data, "photo.jpg"), options)
        encode(cartoon.pixels, cartoon.alpha, "jpg", QUALITY)
        return time.perf_counter() - began

    def our_network() -> float:
        began = time.perf_counter()
        net.run([square], SQUARE)
        return time.perf_counter() - began

    size = f"{PHOTO[1]}x{PHOTO[0]}"
    rows: list[tuple[str, Callable[[Incumbent], float], Callable[[], float]]] = [
        ("network alone, 1024x1024", lambda one: one.network(BACKGROUND_GRAPH, SQUARE), our_network),
        (f"photo {size}, drawn at that size", lambda one: one.photo(data, None), ours),
        (f"photo {size}, its usual way: drawn at {CAPPED} px", lambda one: one.photo(data, CAPPED), ours),
    ]
    print(f"{machine(toon)}; {incumbents[0].version}; medians of {a.runs}\n")
    names = " | ".join(f"{kernels}, ms | times as fast" for kernels in KERNELS)
    print(f"| | ours, ms | {names} |\n|---" + "|---" * (1 + 2 * len(KERNELS)) + "|")
    for name, theirs, mine in rows:
        print(_row(name, [partial(theirs, one) for one in incumbents], mine, a.runs), flush=True)
    for incumbent in incumbents:
        incumbent.close()


def _row(name: str, theirs: Sequence[Callable[[], float]], mine: Callable[[], float], runs: int) -> str:
    taken = [[rested(work) for work in (mine, *theirs)] for _ in range(runs + 1)][1:]
    cells = [f"{1000 * statistics.median(turn[0] for turn in taken):.0f}"]
    for index in range(1, len(theirs) + 1):
        cells.append(f"{1000 * statistics.median(turn[index] for turn in taken):.0f}")
        cells.append(f"{statistics.median(turn[index] / turn[0] for turn in taken):.2f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def rested(work: Callable[[], float]) -> float:
    """Seconds that the work took, after a pause."""
    time.sleep(PAUSE_S)
    return work()


if __name__ == "__main__":
    main()
