"""The incumbent: DCT-Net's frozen graphs in TensorFlow's session, in a process of its own, and what it does around it.

Python with TensorFlow is another environment than the project's:

    python3 -m venv runs/tensorflow && runs/tensorflow/bin/pip install tensorflow

It is measured twice: with TensorFlow's own kernels (Eigen), which are all that the incumbent's TensorFlow 1.15 has, and
with oneDNN's, which later TensorFlows use where the processor suits them.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.models import dctnet

CAPPED: Final = 720
"""The incumbent draws no shorter side than this, and enlarges the result."""
HEAD: Final = (288, 288)
GRAPHS: Final = ("cartoon_bg.pb", "cartoon_h.pb")
BACKGROUND_GRAPH, HEAD_GRAPH = 0, 1
Network = Callable[[int, tuple[int, int]], float]
"""(graph, (height, width)) -> the seconds of one run."""
KERNELS: Final = {"Eigen": "0", "oneDNN": "1"}
QUALITY: Final = 95
PAUSE_S: Final = 0.2
"""Between measurements: the threads of the one before go on looking for work for a while."""


class Incumbent:
    """TensorFlow's session in its own process, and what the incumbent does around it."""

    def __init__(self, python: Path, graphs: Path, kernels: str) -> None:
        paths = [str(graphs / name) for name in GRAPHS]
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
        return float(self._asked(f"{graph} {shape[0]} {shape[1]}"))

    def drawn(self, graph: int, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What a graph makes of a picture (H, W, 3), BGR: float32, 0..255."""
        with tempfile.TemporaryDirectory() as folder:
            given, result = Path(folder, "given.npy"), Path(folder, "result.npy")
            np.save(given, picture.astype(np.float32))
            self._asked(f"{graph} {given} {result}")
            return np.asarray(np.load(result), np.float32).reshape(picture.shape)

    def _asked(self, line: str) -> str:
        cast(IO[str], self._process.stdin).write(f"{line}\n")
        cast(IO[str], self._process.stdin).flush()
        return self._answer()

    def _answer(self) -> str:
        line = cast(IO[str], self._process.stdout).readline().strip()
        if not line:
            raise SystemExit("TensorFlow's process ended: give --python an interpreter that can import tensorflow.")
        return line

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


class InTorch:
    """The incumbent's graphs in torch, in float32: where there is no TensorFlow, or a GPU that it does not know."""

    def __init__(self, graphs: Path, device: str) -> None:
        self._graphs = [dctnet.load(graphs / name, device=device, precision="fp32") for name in GRAPHS]

    def network(self, graph: int, shape: tuple[int, int]) -> float:
        """Seconds of one run of a graph."""
        picture = np.random.default_rng(1).integers(0, 255, (*shape, 3), dtype=np.uint8)
        began = time.perf_counter()
        self._graphs[graph](picture)
        return time.perf_counter() - began


def photo(network: Network, data: bytes, cap: int | None) -> float:
    """Seconds for one photo, JPEG to JPEG, as the incumbent does it.

    network: the seconds of a run of a graph. cap: the most the photo's shorter side may have when it is drawn, px.
    """
    began = time.perf_counter()
    full = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    height, width = full.shape[:2]
    scale = min(1.0, cap / min(height, width)) if cap else 1.0
    small = cv2.resize(full, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    rows, columns = small.shape[:2]
    padded = cv2.copyMakeBorder(
        small, 0, -rows % 16, 0, -columns % 16, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    ).astype(np.float32)
    around = time.perf_counter() - began
    drawn = network(BACKGROUND_GRAPH, padded.shape[:2]) + network(HEAD_GRAPH, HEAD)
    began = time.perf_counter()
    place = np.array([[HEAD[1] / columns, 0, 0], [0, HEAD[0] / rows, 0]], np.float32)
    drawn_head = cv2.warpAffine(padded, place, HEAD).clip(0, 255)
    back = cv2.warpAffine(drawn_head, place, (columns, rows), flags=cv2.WARP_INVERSE_MAP)
    alpha = cv2.warpAffine(np.ones((*HEAD, 1), np.float32), place, (columns, rows), flags=cv2.WARP_INVERSE_MAP)
    mixed = back * alpha[..., None] + padded[:rows, :columns] * (1 - alpha[..., None])
    result = cv2.resize(mixed.clip(0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return around + drawn + time.perf_counter() - began


def photos(network: Network, given: Sequence[bytes], cap: int | None) -> float:
    """Seconds for each of several photos, one after the other."""
    return statistics.mean(photo(network, data, cap) for data in given)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What benchmarks against the incumbent are told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path, help=f"a folder with {' and '.join(GRAPHS)}")
    parser.add_argument("--python", type=Path, default=Path("runs/tensorflow/bin/python"))
    parser.add_argument("--runs", type=int, default=7)
    return parser


@contextmanager
def incumbents(python: Path, graphs: Path) -> Iterator[list[Incumbent]]:
    """One for each of KERNELS."""
    if not python.exists():
        raise SystemExit(f"{python} is not there: make an environment with TensorFlow, see --help.")
    with ExitStack() as running:
        yield [running.enter_context(closing(Incumbent(python, graphs, kernels))) for kernels in KERNELS]


def interleaved(works: Sequence[Callable[[], float]], runs: int) -> list[list[float]]:
    """Seconds of each work, turn by turn; one turn comes before."""
    return [[rested(work) for work in works] for _ in range(runs + 1)][1:]


def rested(work: Callable[[], float]) -> float:
    """Seconds that the work took, after a pause."""
    time.sleep(PAUSE_S)
    return work()


def compared(taken: Sequence[Sequence[float]], ours: int, theirs: Sequence[int]) -> list[str]:
    """Cells: our median, ms, then each of theirs and how many times as fast we are, the median of single turns."""
    cells = [f"{1000 * statistics.median(turn[ours] for turn in taken):.0f}"]
    for other in theirs:
        cells.append(f"{1000 * statistics.median(turn[other] for turn in taken):.0f}")
        cells.append(f"{statistics.median(turn[other] / turn[ours] for turn in taken):.2f}")
    return cells


def head(first: Sequence[str], theirs: Iterable[str] = KERNELS) -> str:
    """A table's head: our columns, then two for each of theirs, as `compared` fills them."""
    names = [*first, *(name for one in theirs for name in (f"{one}, ms", "times as fast"))]
    return f"| {' | '.join(names)} |\n" + "|---" * len(names) + "|"
