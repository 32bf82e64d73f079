"""DCT-Net's generator, read from its frozen graph, as a network among ours: checked, on a device, for any thread."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.errors import OptionsError, ResourceError, StyleError
from cartoon.models.dctnet.detect import Unfit, detect
from cartoon.models.dctnet.graphdef import Damaged, read_nodes
from cartoon.models.dctnet.module import MULTIPLE, Generator, Weights
from cartoon.models.devices import DTYPES, Precision, pick_device, pick_precision
from cartoon.models.layers import ALPHA, BACKGROUND, FOREGROUND, PLANES
from cartoon.models.runtime import Canvas, Drawn, whole
from cartoon.models.self_check import scene, trusted
from cartoon.models.style_file import LARGEST_FILE
from cartoon.models.tiling import cut_evenly
from cartoon.models.weights import sha256_of

Drawing = NDArray[np.float32]
"""float32 (H, W, 3), 0..255, channels as the input's."""
PROBES: Final = ((32, 256), (80, 48))
"""(height, width) px of what a graph is checked with: one wide, one with odd sides below."""
WHITE: Final = 255
"""What a picture is padded with, as DCT-Net's own pipeline does."""
_NEXT: Final = "use a frozen graph of DCT-Net's generator, as its authors publish them"


class FrozenGraph:
    """A graph on a device. It holds no state between calls, and several threads may call it.

    multiple: what height and width must be multiples of. sides: (height, width) where it draws one size alone.
    precision: "fp32", "bf16" or "fp16"; fp32 instead of what was asked for, where this machine gets that wrong. In fp32
    on a GPU, torch's own settings say whether convolutions round to TF32.
    """

    multiple: Final = MULTIPLE

    def __init__(self, weights: Weights, device: torch.device, precision: str, name: str) -> None:
        """name: of its file, for the log."""
        self.sides, self.device = weights.sides, device
        self._net: Generator
        self.precision: Precision
        self._net, self.precision = trusted(
            name,
            device,
            pick_precision(device, precision),
            make=lambda chosen: Generator(weights, device, DTYPES[chosen]),
            draw=_probed,
        )

    def __call__(self, picture: NDArray[Any]) -> Drawing:
        """Draw one picture: uint8 or float32 (H, W, 3), 0..255, channels in the order that the graph was trained on.

        That is BGR for the official ones. Raises OptionsError for a shape, type or size that does not fit;
        torch.OutOfMemoryError or MemoryError when the device does not hold it. The picture is not changed.
        """
        drawing: Drawing = self.batch([picture])[0]
        return drawing

    def batch(self, pictures: Sequence[NDArray[Any]] | NDArray[Any]) -> Drawing:
        """Draw pictures of one size, as a list or (B, H, W, 3) -> float32 (B, H, W, 3); errors as of a call."""
        for picture in pictures:
            self._check(picture)
        if len({(picture.shape, picture.dtype) for picture in pictures}) != 1:
            raise OptionsError(
                "a batch needs pictures of one size and type, and one at least: draw others in another call."
            )
        # On a CPU one by one: what fits into its cache is faster than what is done at once.
        parts = [pictures] if self.device.type != "cpu" else [[picture] for picture in pictures]
        return np.concatenate([self._net(_tensor(part)).numpy() for part in parts])

    def _check(self, picture: NDArray[Any]) -> None:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype not in (np.uint8, np.float32):
            raise OptionsError(
                f"a {picture.dtype} array of shape {picture.shape} cannot be drawn: give uint8 or float32 (H, W, 3)."
            )
        height, width = picture.shape[:2]
        if not height or not width or height % self.multiple or width % self.multiple:
            raise OptionsError(
                f"{height} x {width} px cannot be drawn: pad both to multiples of {self.multiple} and crop the result."
            )
        if self.sides not in (None, (height, width)):
            raise OptionsError(f"this graph draws {self.sides} px alone, not {height} x {width}: resize the picture.")


def load(path: Path | str, device: str = "cpu", precision: str = "fp32") -> FrozenGraph:
    """Read a frozen graph and put it on a device.

    device: "cpu", "cuda", "cuda:N" or "auto". precision: "fp32" (TensorFlow's results within 0.001 of 255), "bf16" (0.3
    off on average, about twice as fast where the processor has it), "fp16" or "auto", the fastest one.

    Raises StyleError, which names the file, for one that is missing, damaged or no such graph, whatever is in it, in
    bounded time and memory; OptionsError for a device or precision that is not there; ResourceError without memory.
    """
    path, at = Path(path), pick_device(device)
    try:
        return FrozenGraph(detect(read_nodes(_read(path))), at, precision, path.name)
    except Damaged as problem:
        raise StyleError(f"{path.name} {problem}: copy or fetch it again, or {_NEXT}.") from problem
    except Unfit as problem:
        raise StyleError(f"{path.name} {problem}: {_NEXT}.") from problem
    except (MemoryError, torch.OutOfMemoryError) as problem:
        raise ResourceError(f"{path.name} does not fit into memory now: try again later.") from problem


def _read(path: Path) -> bytes:
    name = path.name
    try:
        if not path.is_file():  # nor a pipe, which would be waited on for ever
            raise StyleError(f"{name} is missing from {path.parent}: check the path, or fetch the file again.")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise StyleError(f"{name} cannot be read ({reason}): check the path and its permissions.") from error
    if len(data) > LARGEST_FILE:
        raise StyleError(f"{name} has more than {LARGEST_FILE >> 20} MB, which no such graph has: {_NEXT}.")
    return data


def _probed(net: Generator) -> list[Drawing]:
    """What a generator makes of PROBES: (3, H, W), 0..1."""
    drawn = [net(_tensor([scene(height, width)]))[0] for height, width in PROBES]
    return [np.asarray(picture.permute(2, 0, 1).numpy() / 255, np.float32) for picture in drawn]


def _tensor(pictures: Sequence[NDArray[Any]] | NDArray[Any]) -> torch.Tensor:
    """(B, H, W, 3); a view where that is possible without touching a caller's array."""
    whole = pictures[0][None] if len(pictures) == 1 else np.stack(list(pictures))
    return torch.from_numpy(np.require(whole, requirements=["C", "W"]))


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
        self._graph = load(path, device, precision)
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
