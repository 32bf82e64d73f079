"""Damages graphs and loads them, in a process with little memory: `python -m tests.tfgraph_mutations FOLDER GRAPH...`.

Each is refused with a StyleError that names it, or loaded and run; in under MOST_S and MOST_BYTES above what torch and
numpy take. Prints what came of them as JSON; ends with 1 for anything else.
"""

import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from cartoon.errors import StyleError
from cartoon.models import dctnet
from tests.tfgraph_maker import varint

COUNT = 500
MOST_S = 2.0
MOST_BYTES = 500 << 20
LARGE = 1 << 20
"""Bytes; a file of more is damaged SHARE times, the rest of COUNT are of the small ones."""
SHARE = 20


def mutations(graphs: list[bytes], seed: int) -> Iterator[bytes]:
    """COUNT damaged copies: cut, bits turned, lengths and numbers made huge, parts left out, doubled or swapped."""
    rng = random.Random(seed)
    small = [graph for graph in graphs if len(graph) <= LARGE]
    large = [graph for graph in graphs if len(graph) > LARGE]
    for at in range(COUNT):
        data = bytearray(large[at % len(large)] if large and at < SHARE else small[at % len(small)])
        place = rng.randrange(len(data))
        end = min(len(data), place + rng.choice((1, 10, 1000)))
        match at % 7:
            case 0:
                del data[place:]
            case 1:
                for _ in range(rng.choice((1, 5, 50))):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 2:  # a length bomb
                data[place : place + 1] = varint(rng.choice((1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1, 1 << 20)))
            case 3:
                del data[place:end]
            case 4:
                data[place:place] = data[place:end]
            case 5:
                data[place:end] = rng.randbytes(end - place)
            case 6:  # only the names, ops, shapes and numbers: what still parses
                names = [
                    b"Conv2D",
                    b"AddV2",
                    b"Mul",
                    b"strides",
                    b"value",
                    b"Maximum",
                    b"\x08\x03",
                    b"\x08\x04",
                    b"\x1a",
                ]
                name = rng.choice(names)
                found = data.find(name, place)
                found = found if found >= 0 else data.find(name)
                if found >= 0:
                    data[found + len(name) - 1] = rng.randrange(256)
        yield bytes(data)


def main() -> int:
    """Load them all."""
    folder, *paths = map(Path, sys.argv[1:])
    picture = np.full((16, 16, 3), 100, np.uint8)
    torch.set_num_threads(1)  # threads that start later take address space
    for path in paths:  # what the first call alone needs is no matter of the file
        dctnet.load(path)(picture)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, taken + MOST_BYTES))
    path, told = folder / "damaged.pb", {"refused": 0, "loaded": 0, "slowest": 0.0}
    for at, data in enumerate(mutations([path.read_bytes() for path in paths], seed=1)):
        path.write_bytes(data)
        began = time.process_time()
        try:
            graph = dctnet.load(path)
        except StyleError as error:
            if not str(error).startswith("damaged.pb "):
                raise
            told["refused"] += 1
        else:
            told["loaded"] += 1
            if graph.multiple <= 16 and graph.sides is None:
                graph(picture)
        told["slowest"] = max(told["slowest"], time.process_time() - began)
        if told["slowest"] > MOST_S:
            print(f"mutation {at} took {told['slowest']:.1f} s")
            return 1
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
