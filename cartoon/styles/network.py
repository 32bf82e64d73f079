"""One loaded network on one device, called with pictures of any size."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.errors import OptionsError, ResourceError, StyleError
from cartoon.styles.header import MULTIPLE
from cartoon.styles.unet import CartoonNet, stack
from cartoon.styles.weights import load_weights

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_BATCH: Final = 1  # a CPU gains nothing from larger ones at these sizes, and memory stays low
CUDA_BATCH: Final = 8


@dataclass(frozen=True, eq=False)
class Canvas:
    """One network input: pixels uint8 (H, W, 3) sRGB, guide uint8 (G, H, W)."""

    pixels: NDArray[np.uint8]
    guide: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The layers of one canvas: float32 (11, H, W), 0..1, in the order of cartoon.styles.layers.PLANES."""

    stack: NDArray[np.float32]


class StyleNet:
    """The network of one or more styles, resident on a device, ready as soon as it is constructed."""

    def __init__(self, path: Path, sha256: str | None, device: str, precision: str = "auto") -> None:
        weights = load_weights(path, sha256)
        self.device = pick_device(device)
        if self.device.type == "cpu":
            torch.set_num_threads(os.cpu_count() or 1)  # torch's default leaves hyper-threads out; here they help
        self.precision: Precision = pick_precision(self.device, precision)
        self._dtype = _DTYPES[self.precision]
        with torch.device("meta"):  # shapes alone: whatever a file claims to need, no memory is taken for it
            net = CartoonNet(weights.config)
        try:
            net.load_state_dict(weights.state, assign=True)
        except RuntimeError as error:
            raise StyleError(f"{path.name} does not fit this version's network: fetch the matching release.") from error
        try:
            self._net = net.to(self.device, self._dtype).to(memory_format=torch.channels_last).eval()
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"{self.device} has too little free memory for {path.name}: try again later."
            ) from error

    def draw(self, canvases: Sequence[Canvas]) -> list[Drawn]:
        """Draw each canvas; those of equal size share a forward pass. Same order out as in.

        Raises ResourceError when the device runs out of memory even one by one.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, canvas in enumerate(canvases):
            groups.setdefault(canvas.pixels.shape, []).append(index)
        limit = CPU_BATCH if self.device.type == "cpu" else CUDA_BATCH
        results: dict[int, Drawn] = {}
        for members in groups.values():
            for start in range(0, len(members), limit):
                chosen = members[start : start + limit]
                for index, drawn in zip(chosen, self._fitting([canvases[i] for i in chosen]), strict=True):
                    results[index] = drawn
        return [results[i] for i in range(len(canvases))]

    def _fitting(self, batch: list[Canvas]) -> list[Drawn]:
        """Run a batch, halved for as long as the device's memory does not hold it."""
        try:
            return self._run(batch)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if len(batch) == 1:
                height, width = batch[0].pixels.shape[:2]
                raise ResourceError(
                    f"{self.device} has too little free memory for {width}x{height}: ask for a smaller size."
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._fitting(batch[:half]) + self._fitting(batch[half:])

    @torch.inference_mode()
    def _run(self, batch: list[Canvas]) -> list[Drawn]:
        height, width = batch[0].pixels.shape[:2]
        pad = ((0, -height % MULTIPLE), (0, -width % MULTIPLE))
        photo = np.stack([np.pad(c.pixels, (*pad, (0, 0)), mode="edge") for c in batch])
        guide = np.stack([np.pad(c.guide, ((0, 0), *pad), mode="edge") for c in batch])
        colours, logits = self._net(
            self._to_device(torch.from_numpy(photo).permute(0, 3, 1, 2)), self._to_device(torch.from_numpy(guide))
        )
        planes = stack(colours, logits)[..., :height, :width].cpu().numpy()
        return [Drawn(np.ascontiguousarray(plane)) for plane in planes]

    def _to_device(self, planes: torch.Tensor) -> torch.Tensor:
        moved = planes.to(self.device).contiguous(memory_format=torch.channels_last)
        return moved.to(self._dtype).div_(255)


def pick_device(asked: str) -> torch.device:
    """ "auto" -> the first CUDA device, else the CPU; a named device that is not there raises OptionsError."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise OptionsError(f"device {asked!r} is not known: use auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise OptionsError(f"device {asked!r} is not supported: use auto, cpu, cuda or cuda:N.")
    present = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= present:
        raise OptionsError(f"device {asked!r} is not there, {present} CUDA devices are: use cpu or auto.")
    return device


def pick_precision(device: torch.device, asked: str) -> Precision:
    """The fastest number format the device computes in hardware, unless one was asked for."""
    if asked in _DTYPES:
        return asked  # type: ignore[return-value]
    if asked != "auto":
        raise OptionsError(f"precision {asked!r} is not known: use auto, fp32, bf16 or fp16.")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # Private in torch, public nowhere: without the answer float32 is the safe choice.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "fp32"
