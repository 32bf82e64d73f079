"""What a picture takes: `python -m benchmarks.memory [--sizes 512,1024,2048] [--device auto]`.

For each size, square: peak memory of one pass of the network over the idle process, the bytes a pixel that makes, and
how many pictures such a pass may hold now and on a 16 GB GPU. Then the peak of a whole photo, from array to picture.
On a CPU the peak is the resident set's, reset between (Linux); on CUDA the allocator's.
"""

import argparse
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.latency import EXAMPLE
from benchmarks.machine import machine
from cartoon.faces.guide import CHANNELS
from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.memory import SHARE
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.pipeline.capacity import MOST, Capacity, free_on
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import available

T4_FREE: Final = 15 << 30
"""Bytes free on an idle GPU of 16 GB."""
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    """Burn in, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="512,1024,2048")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    a = parser.parse_args()
    toon = Cartoonizer.load(a.device, a.precision)
    net = StyleNet(available()[0].path, None, a.device, a.precision)
    example = read(EXAMPLE).pixels
    toon(resize(example, (160, 128)), size="original")
    capacity = Capacity(net.device.type, net.precision, free_on(net.device))
    print(f"{machine(toon)}\n")
    print(
        "| size | a pass, MB | bytes a pixel | a pass may hold now | on 16 GB | a whole photo, MB |\n|---"
        + "|---" * 5
        + "|"
    )
    rng = np.random.default_rng(1)
    for size in (int(word) for word in a.sizes.split(",")):
        canvas = Canvas(
            rng.integers(0, 255, (size, size, 3), dtype=np.uint8),
            rng.integers(0, 255, (len(CHANNELS), size, size), dtype=np.uint8),
        )
        shape = capacity.bucket((size, size))
        taken = peak(partial(net.run, [canvas], shape), net.device)
        photo = resize(example, (size, size))
        whole = peak(partial(toon, photo, size="original"), net.device)
        each = taken / size**2
        large = min(MOST["cuda"], int(SHARE * T4_FREE / taken))
        print(f"| {size} | {taken / 2**20:.0f} | {each:.0f} | {capacity.most(shape)} | {large} | {whole / 2**20:.0f} |")


def peak(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that `work` takes at its peak, beyond what is held before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    RESET.write_text("5", encoding="ascii")
    before = _status("VmRSS:")
    work()
    return max(_status("VmHWM:") - before, 1)


def _status(name: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


if __name__ == "__main__":
    main()
