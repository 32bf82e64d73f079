"""How many pictures of a shape a pass may hold: the buckets' shapes, what a picture takes, what memory is free."""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from cartoon.memory import SHARE, free_memory
from cartoon.models.style_file import MULTIPLE
from cartoon.models.tiling import LEAST
from cartoon.telemetry import metrics

BYTES_PER_PIXEL: Final = {"fp32": 220, "bf16": 150, "fp16": 150}
"""What a pass takes at its peak, measured by benchmarks.memory on a CPU."""
CPU_WHOLE: Final = 700 << 20
"""Bytes that a picture may take on a CPU to be drawn in one piece, however much is free."""
CPU_TILE: Final = 256 << 20
"""Bytes a tile of a larger one may take: its result, whole, is in memory as well."""
STEPS: Final = 8
"""Steps of a bucket's height and width per octave on a GPU: at most an eighth is padded in each direction."""
MOST: Final = {"cpu": 1, "cuda": 32}
"""Pictures in a pass; a CPU gains nothing from more than one at these sizes, and memory stays low."""

Shape = tuple[int, int]


class Capacity:
    """What fits one device, and what was learned when something did not.

    kind: "cpu" or "cuda". precision: of the network. free: bytes that are free now. tiles: pixels of the tiles that
    every picture is drawn in; 0 for tiles only where a picture does not fit.
    """

    def __init__(self, kind: str, precision: str, free: Callable[[], int], tiles: int = 0) -> None:
        self._kind, self._free, self._tiles = kind, free, tiles
        self._per_pixel = BYTES_PER_PIXEL[precision]
        self._learned: dict[Shape, int] = {}
        self._tiled: dict[Shape, int] = {}

    def bucket(self, shape: tuple[int, ...]) -> Shape:
        """(height, width) of the bucket for a canvas (H, W, ...): the same whoever else is drawn with it."""
        return self._padded(shape[0]), self._padded(shape[1])

    def most(self, shape: Shape) -> int:
        """Pictures of a bucket's shape that a pass may hold now, at least one."""
        limit = MOST[self._kind]
        if limit > 1:
            limit = min(limit, self._pixels() // (shape[0] * shape[1]))
        return max(1, min(limit, self._learned.get(shape, limit)))

    def tile(self, shape: Shape) -> Shape | None:
        """(height, width) of the tiles for one picture of a bucket's shape; None when it fits as it is."""
        if self._tiles and shape not in self._tiled:
            return tile_of(shape, self._tiles)
        if shape in self._tiled:
            return tile_of(shape, min(self._pixels(CPU_TILE), self._tiled[shape]))
        if shape[0] * shape[1] <= self._pixels(CPU_WHOLE):
            return None
        return tile_of(shape, self._pixels(CPU_TILE))

    def learn_tile(self, shape: Shape, tile: Shape | None) -> bool:
        """Remember that a picture, whole or in such tiles, did not fit; False when no smaller ones are left to try."""
        if tile is not None and max(tile) <= LEAST:
            return False
        height, width = tile or shape
        self._tiled[shape] = height * width // 2
        return True

    def _pixels(self, on_cpu: int = CPU_WHOLE) -> int:
        """Pixels that a pass may have now; on_cpu: bytes that it may take there at most."""
        free = int(SHARE * self._free())
        return (min(free, on_cpu) if self._kind == "cpu" else free) // self._per_pixel

    def learn(self, shape: Shape, most: int) -> None:
        """Remember that no more than `most` fitted."""
        self._learned[shape] = max(1, min(most, self._learned.get(shape, most)))

    def _padded(self, side: int) -> int:
        step = MULTIPLE
        if self._kind == "cuda":
            while side > STEPS * 2 * step:
                step *= 2
        return -(-side // step) * step


def tile_of(shape: Shape, pixels: int) -> Shape:
    """The tile of at most so many pixels, but never under LEAST a side: strips as wide as the picture, else squares."""
    height, width = shape
    rows = pixels // width // MULTIPLE * MULTIPLE
    if rows >= LEAST:
        return min(rows, height), width
    side = max(LEAST, int(pixels**0.5) // MULTIPLE * MULTIPLE)
    return min(side, height), min(side, width)


def free_on(device: torch.device) -> Callable[[], int]:
    """Tells the bytes that are free for a device: a GPU's own memory, or the machine's within its control group."""
    if device.type == "cpu":
        return free_memory
    return lambda: _free_on_cuda(device)


def watch(device: torch.device) -> None:
    """Let metrics tell how much memory the machine has left, and what a GPU's is used for."""
    metrics.watch_memory("cpu", "free", free_memory)
    if device.type == "cuda":
        metrics.watch_memory(str(device), "free", free_on(device))
        metrics.watch_memory(str(device), "allocated", partial(torch.cuda.memory_allocated, device))
        metrics.watch_memory(str(device), "reserved", partial(torch.cuda.memory_reserved, device))


def _free_on_cuda(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds back for itself is free as well.
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
