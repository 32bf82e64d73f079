"""The network once more, for what came out wrong: in single precision, in small tiles; loaded when first needed."""

import threading
from collections.abc import Sequence
from typing import Final

import torch

from cartoon.models.runtime import StyleNet
from cartoon.pipeline.batcher import Batcher
from cartoon.pipeline.capacity import Capacity, free_on
from cartoon.pipeline.networks import Residents
from cartoon.styles.catalogue import StyleCard

TILE: Final = 384 * 384
"""Pixels of a tile, where small ones are asked for."""


class RedrawBatchers:
    """Batchers over the same devices as the usual one, in single precision."""

    def __init__(self, usual: Sequence[torch.device], shipped: StyleCard) -> None:
        self._devices, self._shipped = tuple(usual), shipped
        self._lock = threading.Lock()
        self._nets: list[StyleNet] = []
        self._batchers: dict[bool, Batcher] = {}

    def of(self, tiles: bool) -> Batcher:
        """The batcher that draws everything whole, or everything in tiles. Raises ResourceError without the memory."""
        with self._lock:
            if not self._nets:
                shipped = self._shipped
                self._nets = [StyleNet(shipped.path, shipped.sha256, str(d), "fp32") for d in self._devices]
            if tiles not in self._batchers:
                first = self._devices[0]
                capacity = Capacity(first.type, "fp32", free_on(first), TILE if tiles else 0)
                self._batchers[tiles] = Batcher([Residents(net, self._shipped) for net in self._nets], capacity)
            return self._batchers[tiles]

    def close(self) -> None:
        """Close what was opened."""
        for batcher in self._batchers.values():
            batcher.close()
