"""One of DCT-Net's own graphs as a network among ours: pictures in, layers out that are a drawing already."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.errors import StyleError
from cartoon.models import dctnet
from cartoon.models.devices import Precision
from cartoon.models.layers import ALPHA, BACKGROUND, FOREGROUND, PLANES
from cartoon.models.runtime import Canvas, Drawn, whole
from cartoon.models.tiling import cut_evenly
from cartoon.models.weights import sha256_of

WHITE: Final = 255
"""What a picture is padded with, as DCT-Net's own pipeline does."""


class GraphNet:
    """A frozen graph, resident on a device; draws without a guide, and takes the person from it for the layers."""

    def __init__(self, path: Path, sha256: str, device: str, precision: str = "auto") -> None:
        """Raises StyleError when the file is not the one that was added, or no graph of this kind."""
        try:
            right = sha256_of(path) == sha256
        except OSError as problem:
            raise StyleError(f"{path.name} of {path.parent.name} is gone: add the style again.") from problem
        if not right:
            raise StyleError(f"{path.name} of {path.parent.name} is not the file that was added: add the style again.")
        self._graph = dctnet.load(path, device, precision)
        self.device: torch.device = self._graph.device
        self.precision: Precision = self._graph.precision

    def run(self, batch: Sequence[Canvas], shape: tuple[int, int]) -> list[Drawn]:
        """Draw canvases in one pass, each padded to `shape` (height, width), multiples of 16."""
        pictures = _padded(batch, shape)
        return [Drawn(_layers(drawn, canvas)) for drawn, canvas in zip(self._graph.batch(pictures), batch, strict=True)]

    def run_in_tiles(self, canvas: Canvas, tile: tuple[int, int]) -> Drawn:
        """Draw one canvas in tiles of at most (height, width) px; all that the graph sees lies near."""
        full = whole(canvas.pixels.shape)
        picture = _padded([canvas], full)
        drawn = np.empty((*full, 3), np.float32)
        for part in cut_evenly(full, tile):
            (rows, columns), (inner_rows, inner_columns) = part.place(), part.inner()
            seen = self._graph.batch(np.ascontiguousarray(picture[:, part.seen[0], part.seen[1]]))
            drawn[rows, columns] = seen[0][inner_rows, inner_columns]
        return Drawn(_layers(drawn, canvas))


def _padded(batch: Sequence[Canvas], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Canvases as uint8 (B, *shape, 3), BGR, with white below and to the right."""
    pictures = np.full((len(batch), *shape, 3), WHITE, np.uint8)
    for canvas, given in zip(batch, pictures, strict=True):
        height, width = canvas.pixels.shape[:2]
        cv2.cvtColor(canvas.pixels, cv2.COLOR_RGB2BGR, dst=given[:height, :width])
    return pictures


def _layers(drawn: NDArray[np.float32], canvas: Canvas) -> NDArray[np.float32]:
    """A drawing (H, W, 3), BGR, 0..255, maybe padded, as layers: all is before and behind; the guide has the person."""
    height, width = canvas.pixels.shape[:2]
    stack = np.zeros((len(PLANES), height, width), np.float32)
    for plane in range(3):
        np.multiply(drawn[:height, :width, 2 - plane], np.float32(1 / 255), out=stack[FOREGROUND][plane])
    np.clip(stack[FOREGROUND], 0, 1, out=stack[FOREGROUND])
    stack[BACKGROUND] = stack[FOREGROUND]
    np.multiply(canvas.guide[0], np.float32(1 / 255), out=stack[ALPHA])
    return stack
