"""One loaded network on one device, called with pictures of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.errors import ResourceError, StyleError
from cartoon.models.devices import DTYPES, Precision, pick_device, pick_precision
from cartoon.models.layers import PLANES
from cartoon.models.self_check import scene, trusted
from cartoon.models.style_file import MULTIPLE
from cartoon.models.tiling import Tile, cut_evenly
from cartoon.models.unet_inference import InferenceNet
from cartoon.models.weights import Weights, load_weights

PROBES: Final = ((32, 256), (80, 48))
"""(height, width) px of what a network is checked with: one wide, one with odd sides at the lower levels.
Together they take 1/85 of the time of a picture of 1024 x 1024."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """One network input: pixels uint8 (H, W, 3) sRGB, guide uint8 (G, H, W)."""

    pixels: NDArray[np.uint8]
    guide: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The layers of one canvas: float32 (11, H, W), 0..1, in the order of cartoon.models.layers.PLANES."""

    stack: NDArray[np.float32]


class StyleNet:
    """The network of one or more styles, resident on a device, ready as soon as it is constructed.

    precision: what it computes in: fp32 instead of what was asked for, where this machine gets that wrong.
    """

    def __init__(self, path: Path, sha256: str | None, device: str, precision: str = "auto") -> None:
        weights = load_weights(path, sha256)
        self.device: torch.device = pick_device(device)
        asked = pick_precision(self.device, precision)
        make = partial(_placed, weights, path.name, self.device)
        try:
            self._net, self.precision = trusted(path.name, self.device, asked, make, self._probe)
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"{self.device} has too little free memory for {path.name}: try again later."
            ) from error

    def draw(self, canvases: Sequence[Canvas]) -> list[Drawn]:
        """Draw each canvas in a pass of its own. Same order out as in."""
        return [self.run([canvas], whole(canvas.pixels.shape))[0] for canvas in canvases]

    @torch.inference_mode()
    def run(self, batch: Sequence[Canvas], shape: tuple[int, int]) -> list[Drawn]:
        """Draw canvases in one pass, each padded to `shape`: (height, width), multiples of MULTIPLE.

        What is padded repeats the canvas's own edge and is kept out of everything that looks at the whole picture.
        Raises torch.OutOfMemoryError or MemoryError when the device does not hold them.
        """
        return self._run(self._net, batch, shape)

    @torch.inference_mode()
    def run_in_tiles(self, canvas: Canvas, tile: tuple[int, int]) -> Drawn:
        """Draw one canvas in tiles of at most (height, width) px, each at least LEAST; memory follows the tile.

        Each tile sees HALO px of its neighbours; what looks at the whole picture does so once, before.
        """
        height, width = canvas.pixels.shape[:2]
        full = whole((height, width))
        tiles = list(cut_evenly(full, tile))
        deep: torch.Tensor | None = None
        for part in tiles:
            found = self._net.encoded(self._net.scaled(self._seen(canvas, part)))[0]
            if deep is None:
                deep = found.new_empty(1, found.shape[1], full[0] // MULTIPLE, full[1] // MULTIPLE)
            (rows, columns), (inner_rows, inner_columns) = part.place(MULTIPLE), part.inner(MULTIPLE)
            deep[..., rows, columns] = found[..., inner_rows, inner_columns]
        assert deep is not None
        seen = self._net.attend.keys_values(deep)
        result = np.empty((len(PLANES), height, width), np.float32)
        for part in tiles:
            planes = self._net.layers(self._seen(canvas, part), seen=seen)
            (rows, columns), (inner_rows, inner_columns) = part.place(), part.inner()
            into = result[:, rows, columns]  # cut at the picture's own border
            into[:] = planes[0, :, inner_rows, inner_columns][:, : into.shape[1], : into.shape[2]].cpu().numpy()
        return Drawn(result)

    def _run(self, net: InferenceNet, batch: Sequence[Canvas], shape: tuple[int, int]) -> list[Drawn]:
        sizes = [(canvas.pixels.shape[0], canvas.pixels.shape[1]) for canvas in batch]
        planes = net.layers(self._inputs(batch, shape), sizes).cpu().numpy()
        return [
            Drawn(np.ascontiguousarray(plane[:, :height, :width]))
            for plane, (height, width) in zip(planes, sizes, strict=True)
        ]

    @torch.inference_mode()
    def _probe(self, net: InferenceNet) -> list[NDArray[np.float32]]:
        """What a network makes of PROBES, the way that photos go."""
        drawn = []
        for shape in PROBES:
            planes = scene(*shape, planes=3 + net.config.guide_channels)
            canvas = Canvas(planes[..., :3], planes[..., 3:].transpose(2, 0, 1))
            drawn.append(self._run(net, [canvas], shape)[0].stack)
        return drawn

    def _seen(self, canvas: Canvas, tile: Tile) -> torch.Tensor:
        """What a tile sees of a canvas, as `_inputs`."""
        rows, columns = tile.seen
        part = Canvas(canvas.pixels[rows, columns], canvas.guide[:, rows, columns])
        return self._inputs([part], (rows.stop - rows.start, columns.stop - columns.start))

    def _inputs(self, batch: Sequence[Canvas], shape: tuple[int, int]) -> torch.Tensor:
        """Canvases, each padded to (height, width), as uint8 (B, H, W, 3 + G) on the device."""
        planes = torch.empty(len(batch), *shape, 3 + len(batch[0].guide), dtype=torch.uint8)
        for canvas, given in zip(batch, planes, strict=True):
            height, width = canvas.pixels.shape[:2]
            given[:height, :width, :3] = torch.from_numpy(canvas.pixels)
            given[:height, :width, 3:] = torch.from_numpy(canvas.guide).permute(1, 2, 0)
            given[:height, width:] = given[:height, width - 1 : width]
            given[height:] = given[height - 1]
        return planes.to(self.device)


def whole(shape: Sequence[int]) -> tuple[int, int]:
    """(height, width) up to the next multiples that the network takes."""
    return -(-shape[0] // MULTIPLE) * MULTIPLE, -(-shape[1] // MULTIPLE) * MULTIPLE


def _placed(weights: Weights, name: str, device: torch.device, precision: Precision) -> InferenceNet:
    """The network of weights on a device. name: of their file. Raises StyleError where they are another network's."""
    with torch.device("meta"):  # shapes alone: whatever a file claims to need, no memory is taken for it
        net = InferenceNet(weights.config)
    try:
        net.load_state_dict(weights.state, assign=True)
    except RuntimeError as error:
        raise StyleError(f"{name} does not fit this version's network: fetch the matching release.") from error
    return net.to(device, DTYPES[precision]).to(memory_format=torch.channels_last).eval()
