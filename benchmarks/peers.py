"""Ours against the incumbent's networks in TensorFlow's session, interleaved: `python -m benchmarks.peers GRAPHS`.

GRAPHS holds cartoon_bg.pb and cartoon_h.pb; --python names an interpreter that has TensorFlow (benchmarks.incumbent
says how to make one). First our own network and pipeline, then the same graphs in torch (benchmarks.graphs), last, and
with --no-tensorflow alone, as on a GPU: twenty photos at once against the incumbent's way, its graphs in torch in
float32, one photo after the other, on the same device.

The incumbent's photo is decoding, background network, one 288 px head, blending, encoding; how it finds the face is
left out, in its favour. Ours is everything. Times are medians of interleaved runs; the ratios are of those of one turn.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import graphs
from benchmarks.incumbent import (
    BACKGROUND_GRAPH,
    CAPPED,
    QUALITY,
    Incumbent,
    InTorch,
    arguments,
    compared,
    head,
    incumbents,
    interleaved,
    photo,
    photos,
)
from benchmarks.latency import EXAMPLE
from benchmarks.machine import machine
from cartoon.faces.guide import CHANNELS
from cartoon.images.decode import decode, read
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from cartoon.models.devices import pick_device
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import available

PHOTO: Final = (1024, 820)
"""Height and width of the photo drawn, px."""
SQUARE: Final = (1024, 1024)
"""Of the picture for the network alone."""


def main() -> None:
    """Burn in, take turns, print the tables."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-tensorflow", action="store_true")
    a = parser.parse_args()
    if not a.no_tensorflow:
        with incumbents(a.python, a.graphs) as peers:
            own(peers, a.runs, a.device)
            print()
            graphs.tables(peers, a.graphs, a.runs)
        print()
    one_by_one(a.graphs, a.device)


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
        (f"photo {size}, drawn at that size", lambda one: photo(one.network, data, None), ours),
        (f"photo {size}, its usual way: drawn at {CAPPED} px", lambda one: photo(one.network, data, CAPPED), ours),
    ]
    print(f"{machine(toon)}; {peers[0].version}; medians of {runs}\n")
    print(head(("", "ours, ms")))
    for name, theirs, mine in rows:
        taken = interleaved([mine, *(partial(theirs, one) for one in peers)], runs)
        print("| " + " | ".join([name, *compared(taken, 0, range(1, 1 + len(peers)))]) + " |", flush=True)
    toon.close()


def one_by_one(graphs_folder: Path, device: str) -> None:
    """The table of twenty photos at once against one after the other."""
    toon = Cartoonizer.load(device)
    incumbent = InTorch(graphs_folder, str(pick_device(device)))
    given = graphs.apart(resize(read(EXAMPLE).pixels, PHOTO))
    ours = partial(graphs.together, toon, given, Options(size="original", format="jpg"))
    ways = {"one by one in torch fp32": None, f"drawn at {CAPPED} px": CAPPED}
    theirs = [partial(photos, incumbent.network, given, cap) for cap in ways.values()]
    taken = interleaved([ours, *theirs], graphs.PHOTO_RUNS)
    cells = compared(taken, 0, (1, 2))
    print(head((f"{len(given)} photos of {PHOTO[1]}x{PHOTO[0]}, JPEG to JPEG", "ours, ms a photo"), ways))
    print(f"| {machine(toon)} | " + " | ".join(cells) + " |")
    toon.close()


if __name__ == "__main__":
    main()
