"""Frozen graphs in torch against TensorFlow on the same files, interleaved: `python -m benchmarks.graphs GRAPHS`.

GRAPHS holds cartoon_bg.pb and cartoon_h.pb; --python names an interpreter with TensorFlow, as for benchmarks.peers, and
it is measured with both of its kernels. First each network alone, with how far its drawing of a portrait is from
TensorFlow's; then photos, JPEG to JPEG, of the size at which the incumbent draws: it takes them one by one, we twenty
at once, faces found and all. Times are medians; a ratio is the median of those within one turn, so that other work on
the machine, which comes and goes, strikes both. It does not strike both alike: torch's threads (OpenMP) wait for each
other after every step, TensorFlow's do not. OMP_WAIT_POLICY=passive in the environment makes them sleep rather than
spin, which on processors shared with other work is several times as fast, and on a quiet machine 8 to 28 % slower.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.incumbent import (
    BACKGROUND_GRAPH,
    CAPPED,
    GRAPHS,
    HEAD,
    HEAD_GRAPH,
    QUALITY,
    Incumbent,
    arguments,
    compared,
    head,
    incumbents,
    interleaved,
    photos,
)
from benchmarks.latency import EXAMPLE
from benchmarks.machine import machine, processor
from cartoon.images.decode import decode, read
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from cartoon.images.types import Pixels
from cartoon.jobs.executors.base import LOOK_AHEAD
from cartoon.models import dctnet
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.official import add, find

BACKGROUND: Final = (720, 960)
"""Height and width of what the incumbent makes of a photo, px."""
PHOTO: Final = (900, CAPPED)
PHOTOS: Final = 20
PHOTO_RUNS: Final = 2
"""Turns of twenty photos: each takes a minute."""
PRECISIONS: Final = ("fp32", "bf16")
STYLE: Final = "dctnet-anime"


def main() -> None:
    """Take turns, print the tables."""
    a = arguments(__doc__).parse_args()
    with incumbents(a.python, a.graphs) as peers:
        tables(peers, a.graphs, a.runs)


def tables(peers: Sequence[Incumbent], graphs: Path, runs: int) -> None:
    """Each network alone, then whole photos."""
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'not set')}; {peers[0].version}\n"
    )
    _networks(peers, graphs, runs)
    print()
    _photos(peers, graphs)


def _networks(peers: Sequence[Incumbent], graphs: Path, runs: int) -> None:
    print(head(("the same graph", "in torch", "mean off, of 255", "at most", "ms")))
    rng = np.random.default_rng(1)
    for name, graph, shape in (("head", HEAD_GRAPH, HEAD), ("background", BACKGROUND_GRAPH, BACKGROUND)):
        noise = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
        portrait = np.ascontiguousarray(resize(read(EXAMPLE).pixels, shape)[..., ::-1])
        wanted = peers[0].drawn(graph, portrait)
        loaded = [dctnet.load(graphs / GRAPHS[graph], precision=precision) for precision in PRECISIONS]
        ours = [partial(_seconds, one, noise) for one in loaded]
        taken = interleaved([*ours, *(partial(one.network, graph, shape) for one in peers)], runs)
        for index, (precision, one) in enumerate(zip(PRECISIONS, loaded, strict=True)):
            off = np.abs(one(portrait) - wanted)
            cells = [f"{name} {shape[0]} x {shape[1]}", precision, f"{off.mean():.4f}", f"{off.max():.3f}"]
            cells += compared(taken, index, range(len(PRECISIONS), len(taken[0])))
            print("| " + " | ".join(cells) + " |", flush=True)


def _photos(peers: Sequence[Incumbent], graphs: Path) -> None:
    given = apart(resize(read(EXAMPLE).pixels, PHOTO))
    options = Options(STYLE, strength=1.0, size="original", format="jpg")
    with tempfile.TemporaryDirectory() as folder:
        add(find(STYLE), Path(folder), graphs)
        toon = Cartoonizer.load("auto", styles_dir=Path(folder))
        theirs = [partial(photos, one.network, given, CAPPED) for one in peers]
        taken = interleaved([partial(together, toon, given, options), *theirs], PHOTO_RUNS)
        print(head((f"{PHOTOS} photos of {PHOTO[1]}x{PHOTO[0]}, JPEG to JPEG", "ms a photo")))
        cells = compared(taken, 0, range(1, 1 + len(peers)))
        print(f"| {machine(toon)} | " + " | ".join(cells) + " |")
        toon.close()


def apart(portrait: Pixels) -> list[bytes]:
    """PHOTOS JPEGs of a portrait, each a little darker than the one before, so that no two are the same."""
    return [encode(np.maximum(portrait, 2 * n) - 2 * n, None, "jpg", QUALITY) for n in range(PHOTOS)]


def together(toon: Cartoonizer, given: Sequence[bytes], options: Options) -> float:
    """Seconds a photo, JPEG to JPEG, of all of them at once."""

    def drawn(data: bytes) -> None:
        cartoon = toon.draw(decode(data, "photo.jpg"), options, urgent=False)
        encode(cartoon.pixels, cartoon.alpha, "jpg", QUALITY)

    began = time.perf_counter()
    with ThreadPoolExecutor(toon.at_once + LOOK_AHEAD) as pool:
        list(pool.map(drawn, given))
    return (time.perf_counter() - began) / len(given)


def _seconds(graph: dctnet.FrozenGraph, picture: NDArray[np.uint8]) -> float:
    began = time.perf_counter()
    graph(picture)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
