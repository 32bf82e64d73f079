"""How far the network is from what this machine allows: `python -m benchmarks.roofline [--size 1024] [--device auto]`.

Counts multiplications and the bytes that every convolution must read and write (its input, output and weights once, all
else fused into them); measures what the machine reaches in a matrix product and in a copy, in the same number format;
prints both floors, the time taken and the ratio (roofline model: Williams, Waterman, Patterson 2009).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine
from cartoon.faces.guide import CHANNELS
from cartoon.models.devices import DTYPES
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.models.unet import CartoonNet
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import available

MATRIX: Final = 4096
COUNTED: Final = 256
"""Px, the side of the picture whose operations are counted."""
COPIED: Final = 256 << 20
"""Bytes, far beyond the caches."""


def main() -> None:
    """Count, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    a = parser.parse_args()
    toon = Cartoonizer.load(a.device, a.precision)
    net = StyleNet(available()[0].path, None, a.device, a.precision)
    dtype = DTYPES[net.precision]
    flops, moved = counted(a.size, dtype.itemsize)
    rng = np.random.default_rng(1)
    canvas = Canvas(
        rng.integers(0, 255, (a.size, a.size, 3), dtype=np.uint8),
        rng.integers(0, 255, (len(CHANNELS), a.size, a.size), dtype=np.uint8),
    )
    x = torch.randn(MATRIX, MATRIX, device=net.device).to(dtype)
    source = torch.zeros(COPIED // 4, device=net.device)
    target = torch.empty_like(source)
    rate = 2 * MATRIX**3 / seconds(lambda: x @ x, net.device, a.runs)
    width = 2 * COPIED / seconds(lambda: target.copy_(source), net.device, a.runs)
    taken = seconds(lambda: net.run([canvas], (a.size, a.size)), net.device, a.runs)
    print(f"{machine(toon)}; one picture of {a.size}x{a.size}, medians of {a.runs}\n")
    print("| | counted | the machine's rate | floor, ms |\n|---|---|---|---|")
    print(f"| arithmetic | {flops / 2e9:.1f} GMAC | {rate / 1e12:.2f} TFLOP/s | {1000 * flops / rate:.1f} |")
    print(f"| memory | {moved / 2**20:.0f} MB | {width / 1e9:.1f} GB/s | {1000 * moved / width:.1f} |")
    floor = max(flops / rate, moved / width)
    print(f"\nTaken: {1000 * taken:.1f} ms, {taken / floor:.1f} times the larger floor.")


def counted(size: int, itemsize: int) -> tuple[float, float]:
    """FLOPs of one pass, and the bytes its convolutions read and write."""
    photo, guide = torch.zeros(1, 3, COUNTED, COUNTED), torch.zeros(1, len(CHANNELS), COUNTED, COUNTED)
    # With gradients on, attention takes the path of plain products, which are counted.
    with FlopCounterMode(display=False) as operations, _Traffic() as traffic:  # type: ignore[no-untyped-call]
        CartoonNet().eval()(photo, guide)
    times = (size / COUNTED) ** 2  # everything, the pooled attention too, is linear in pixels
    return operations.get_total_flops() * times, traffic.numbers * itemsize * times


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what convolutions read and write: inputs, weights, outputs."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.numbers += sum(tensor.numel() for tensor in (args[0], args[1], result))
        return result


def seconds(work: Callable[[], object], device: torch.device, runs: int) -> float:
    """Median time of a piece of work, after two to burn in."""
    taken = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
