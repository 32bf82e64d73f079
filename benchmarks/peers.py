"""Ours against the incumbent's networks in TensorFlow's session, interleaved: `python -m benchmarks.peers GRAPHS`.

GRAPHS holds cartoon_bg.pb and cartoon_h.pb; --python names an interpreter that has TensorFlow (benchmarks.incumbent
says how to make one). First our own network and pipeline, then the same graphs in torch (benchmarks.graphs).

The incumbent's photo is decoding, background network, one 288 px head, blending, encoding; how it finds the face is
left out, in its favour. Ours is everything. Times are medians of interleaved runs; the ratios are of those of one turn.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from benchmarks import graphs
from benchmarks.incumbent import (
    BACKGROUND_GRAPH,
    CAPPED,
    QUALITY,
    Incumbent,
    arguments,
    compared,
    head_row,
    incumbents,
    turns,
)
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


def main() -> None:
    """Burn in, take turns, print the tables."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    with incumbents(a.python, a.graphs) as peers:
        own(peers, a.runs, a.device)
        print()
        graphs.tables(peers, a.graphs, a.runs)


def own(peers: list[Incumbent], runs: int, device: str) -> None:
    """The table of our own network and pipeline."""
    toon = Cartoonizer.load(device)
    data = encode(resize(read(EXAMPLE).pixels, PHOTO), None, "jpg", QUALITY)
    options = Options(size="original", format="jpg")
    net = StyleNet(available()[0].path, None, device)
    rng = np.random.default_rng(1)
    square = Canvas(
        rng.integers(0, 255, (*SQUARE, 3), dtype=np.uint8),
        rng.integers(0, 255, (len(CHANNELS), *SQUARE), dtype=np.uint8),
    )

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
    print(f"{machine(toon)}; {peers[0].version}; medians of {runs}\n")
    print(head_row("", "ours, ms"))
    for name, theirs, mine in rows:
        taken = turns([mine, *(partial(theirs, one) for one in peers)], runs)
        print("| " + " | ".join([name, *compared(taken, 0, range(1, 1 + len(peers)))]) + " |", flush=True)
    toon.close()


if __name__ == "__main__":
    main()
