"""Enlarge a drawn picture 2 or 4 times by a network, in tiles whose seams cannot be seen, or by a filter.

The network is Swin2SR where its weights are, otherwise the small one that is shipped.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.errors import OptionsError, ResourceError, StyleError
from cartoon.images.types import Alpha, Pixels
from cartoon.memory import SHARE, PrioritySemaphore, Ticket, give_back
from cartoon.models.crisp import load_crisp
from cartoon.models.devices import DTYPES, Precision, pick_device, pick_precision
from cartoon.models.self_check import scene, trusted
from cartoon.models.swin2sr import load_network
from cartoon.models.tiling import Network, cut, scaled
from cartoon.pipeline.capacity import free_on
from cartoon.styles.official import find, verified

log = logging.getLogger(__name__)

SCALES: Final = (2, 4)
TILES: Final = (512, 256, 192, 128)
"""Sides of a tile, px, the largest first: steps, so that a little more or less free memory changes no pixel."""
CPU_PASS: Final = 1 << 30
"""Bytes that a pass may take on a CPU, however much is free."""
CPU_TOGETHER: Final = 1
"""Tiles in a pass on a CPU: nothing is gained by more."""
PROBE: Final = (3, 5)
"""Height and width, in windows, of the picture that a network is checked with."""

Admission = AbstractContextManager[Callable[[], None]]
"""The right to run the network, as PrioritySemaphore.admit gives it: entered once, with a function that steps aside."""


@dataclass(frozen=True, eq=False)
class Enlarged:
    """pixels: uint8 (s*H, s*W, 3) sRGB. alpha: uint8 (s*H, s*W), None when opaque."""

    pixels: Pixels
    alpha: Alpha | None


class Lanczos:
    """Enlarges by the Lanczos filter of 8 x 8 px: no weights, no guesses, never in a network's place unasked."""

    def __init__(self, scale: int) -> None:
        self.scale = _checked(scale)

    def upscale(self, pixels: Pixels, alpha: Alpha | None = None) -> Enlarged:
        """Enlarge uint8 (H, W, 3) sRGB, and alpha uint8 (H, W), `scale` times."""
        return Enlarged(enlarged(pixels, self.scale), None if alpha is None else enlarged(alpha, self.scale))


class Upscaler:
    """A network on one device, ready as soon as it is there; threads take turns, in order of arrival unless told."""

    def __init__(
        self, network: Network, device: torch.device, precision: Precision, free: Callable[[], int] | None = None
    ) -> None:
        """precision: fp32 is used where this machine computes the network wrong in another.

        free: bytes that passes may share, asked before each picture; without it what the device has.
        """
        self.name, self.scale, self.device = network.name, network.scale, device
        self._network, self._module = network, network.module.to(device)
        self.precision: Precision
        _, self.precision = trusted(network.name, device, precision, make=lambda chosen: chosen, draw=self._probe)
        self._free = free or free_on(device)
        self._alone = PrioritySemaphore(1)
        self._largest = TILES[0]

    @classmethod
    def load(cls, weights: Path | None, scale: int, device: str = "auto", precision: str = "auto") -> "Upscaler":
        """Load weights in the form that Swin2SR's authors publish, .pth or .safetensors.

        Raises StyleError without weights or for a file that is damaged, of another network or scale; OptionsError for
        a scale or device that is not there.
        """
        _checked(scale)
        if weights is None:
            raise StyleError(
                f"Swin2SR has no weights for x{scale} here: run `python -m cartoon styles add swin2sr-x{scale}` once, "
                "or use the small network, which is here, or lanczos, which needs none."
            )
        network = load_network(weights)
        if network.scale != scale:
            raise StyleError(f"{weights.name} enlarges x{network.scale}, not x{scale}: give the weights for x{scale}.")
        return cls._placed(network, device, precision)

    @classmethod
    def small(cls, scale: int, device: str = "auto", precision: str = "auto") -> "Upscaler":
        """Load the network that is shipped. Errors as `load`."""
        return cls._placed(load_crisp(_checked(scale)), device, precision)

    @classmethod
    def best(cls, scale: int, styles_dir: Path, device: str = "auto", precision: str = "auto") -> "Upscaler":
        """Swin2SR where `styles add swin2sr-xN` brought its weights, otherwise the small one; `name` says which."""
        weights = weights_of(scale, styles_dir)
        return cls.small(scale, device, precision) if weights is None else cls.load(weights, scale, device, precision)

    @classmethod
    def _placed(cls, network: Network, device: str, precision: str) -> "Upscaler":
        place = pick_device(device)
        if place.type == "cpu":
            precision = network.on_cpu if precision == "auto" else precision
        return cls(network, place, pick_precision(place, precision))

    def upscale(self, pixels: Pixels, alpha: Alpha | None = None, admission: Admission | None = None) -> Enlarged:
        """Enlarge uint8 (H, W, 3) sRGB `scale` times; alpha, uint8 (H, W), by Lanczos.

        admission: where its turn is told by somebody else, who thinks of others too; it steps aside between passes.
        Raises ResourceError when the result, or the smallest tile, does not fit into memory.
        """
        height, width = pixels.shape[:2]
        with admission or self._alone.admit(Ticket()) as step_aside:
            if height * width * self.scale**2 * 4 > SHARE * free_on(torch.device("cpu"))():
                raise ResourceError(
                    f"{width}x{height} px enlarged {self.scale} times do not fit into memory now: enlarge less."
                )
            out = self._in_tiles(pixels, step_aside)
        give_back()
        return Enlarged(out, None if alpha is None else enlarged(alpha, self.scale))

    def _in_tiles(self, pixels: Pixels, step_aside: Callable[[], None]) -> Pixels:
        """The largest tiles that fit; smaller ones where memory runs out all the same."""
        for side in TILES:
            together = self._together(side)
            if side > self._largest or (not together and side != TILES[-1]):
                continue
            try:
                return self._run(pixels, side, max(1, together), step_aside)
            except (torch.OutOfMemoryError, MemoryError):
                log.info("memory holds no tiles of %d px: trying smaller ones", side)
            # Outside the except clause, whose traceback would keep the tensors that are in the way.
            self._largest = max((less for less in TILES if less < side), default=side)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        height, width = pixels.shape[:2]
        raise ResourceError(f"{self.device} has too little free memory to enlarge {width}x{height}: try again later.")

    def _together(self, side: int) -> int:
        """Tiles that a pass may hold now."""
        free, each = int(SHARE * self._free()), self._network.bytes_per_pixel[self.precision] * side * side
        if self.device.type == "cpu":
            return min(CPU_TOGETHER, min(free, CPU_PASS) // each)
        return free // each

    @torch.inference_mode()
    def _run(self, pixels: Pixels, side: int, together: int, step_aside: Callable[[], None]) -> Pixels:
        """All tiles of a side, so many in a pass; between two of them it steps aside."""
        height, width = pixels.shape[:2]
        window, scale = self._network.window, self.scale
        halo = -(-self._network.halo // window) * window
        side = max(side // window * window, 2 * halo + window)
        below, right = -height % window, -width % window
        padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="reflect")  # as Swin2SR pads by itself
        tiles = list(cut(padded.shape[:2], side, halo, window))
        out = np.empty((height * scale, width * scale, 3), np.uint8)
        for start in range(0, len(tiles), together):
            if start:
                step_aside()
            batch = tiles[start : start + together]
            seen = np.stack([padded[tile.rows.seen, tile.columns.seen] for tile in batch])
            for tile, drawn in zip(batch, self._pass(seen), strict=True):
                into = out[scaled(tile.rows.own, scale), scaled(tile.columns.own, scale)]
                inner = drawn[scaled(tile.rows.inner, scale), scaled(tile.columns.inner, scale)]
                into[:] = inner[: into.shape[0], : into.shape[1]]
        return out

    def _pass(self, seen: Pixels) -> Pixels:
        """uint8 (B, h, w, 3) -> uint8 (B, s*h, s*w, 3)."""
        levels = self._drawn(seen, self.precision).mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        pixels: Pixels = levels.permute(0, 2, 3, 1).cpu().numpy()
        return pixels

    def _drawn(self, seen: Pixels, precision: Precision) -> torch.Tensor:
        """uint8 (B, h, w, 3) -> float32 (B, 3, s*h, s*w), nominally 0..1."""
        given = torch.from_numpy(seen).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        # Not cast as a whole: attention's masks, the norms and the sums over many blocks stay in float32.
        with torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "fp32"):
            drawn: torch.Tensor = self._module(given)
        return drawn.float()

    @torch.inference_mode()
    def _probe(self, precision: Precision) -> list[NDArray[np.float32]]:
        """What the network makes of a small picture, (3, H, W)."""
        height, width = (windows * self._network.window for windows in PROBE)
        return list(self._drawn(scene(height, width)[None], precision).cpu().numpy())


def enlarged(picture: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Enlarge uint8 (H, W) or (H, W, 3) by the Lanczos filter."""
    size = (picture.shape[1] * scale, picture.shape[0] * scale)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LANCZOS4).astype(np.uint8, copy=False)


def weights_of(scale: int, styles_dir: Path) -> Path | None:
    """The weights that `styles add swin2sr-xN` brought, None where there are none; StyleError for altered ones."""
    row = find(f"swin2sr-x{_checked(scale)}")
    if not (styles_dir / row.id).is_dir():
        return None
    return verified(row, styles_dir) / row.files[0].name


def _checked(scale: int) -> int:
    if scale not in SCALES:
        raise OptionsError(f"upscale must be 2 or 4; got {scale!r}.")
    return scale
