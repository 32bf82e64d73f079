"""Frozen TensorFlow graphs of DCT-Net (Men et al. 2022, https://arxiv.org/abs/2207.02426), run by torch alone.

`load(path)` reads such a `.pb` and gives what TensorFlow's session would make of a picture, within float32's rounding.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.errors import OptionsError, ResourceError, StyleError
from cartoon.models.dctnet import cache as plans
from cartoon.models.dctnet.graphdef import Damaged, read_nodes
from cartoon.models.dctnet.plan import Plan, Unfit
from cartoon.models.dctnet.run import Runner
from cartoon.models.dctnet.translate import translate
from cartoon.models.devices import DTYPES, Precision, pick_device, pick_precision
from cartoon.models.self_check import scene, trusted
from cartoon.models.style_file import LARGEST_FILE

Drawing = NDArray[np.float32]
"""float32 (H, W, 3), 0..255, channels as the input's."""
PROBES: Final = ((32, 256), (80, 48))
"""(height, width) px of what a graph is checked with, up to its multiples: one wide, one with odd sides below."""
_NEXT: Final = "use a frozen graph of DCT-Net's generator, as its authors publish them"


class FrozenGraph:
    """A graph on a device. It holds no state between calls, and several threads may call it.

    multiple: what height and width must be multiples of. sides: (height, width) where it draws one size alone.
    precision: "fp32", "bf16" or "fp16"; fp32 instead of what was asked for, where this machine gets that wrong. In fp32
    on a GPU, torch's own settings say whether convolutions round to TF32.
    """

    def __init__(self, plan: Plan, device: torch.device, precision: str, name: str) -> None:
        """name: of its file, for the log."""
        self.multiple, self.sides, self.device = plan.multiple(), plan.sides, device
        self._run: Runner
        self.precision: Precision
        self._run, self.precision = trusted(
            name,
            device,
            pick_precision(device, precision),
            make=lambda chosen: Runner(plan, device, DTYPES[chosen]),
            draw=self._probe,
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
        return np.concatenate([self._run(_tensor(part)).numpy() for part in parts])

    def _probe(self, run: Runner) -> list[Drawing]:
        """What a runner makes of PROBES: (3, H, W), 0..1."""
        sides = [[-(-side // self.multiple) * self.multiple for side in shape] for shape in PROBES]
        drawn = [run(_tensor([scene(height, width)]))[0] for height, width in sides]
        return [np.asarray(picture.permute(2, 0, 1).numpy() / 255, np.float32) for picture in drawn]

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


def load(
    path: Path | str, device: str = "cpu", precision: str = "fp32", cache: Path | str | None = None
) -> FrozenGraph:
    """Read a frozen graph and put it on a device.

    device: "cpu", "cuda", "cuda:N" or "auto". precision: "fp32" (TensorFlow's results within 0.001 of 255), "bf16" (0.3
    off on average, about twice as fast where the processor has it), "fp16" or "auto", the fastest one. cache: a folder
    in which what was read is kept under the file's SHA-256 and is found the next time.

    Raises StyleError, which names the file, for one that is missing, damaged or no such graph, whatever is in it, in
    bounded time and memory; OptionsError for a device or precision that is not there; ResourceError without memory.
    """
    path, at = Path(path), pick_device(device)
    try:
        data = _read(path)
        kept = None if cache is None else plans.place(Path(cache), hashlib.sha256(data).hexdigest())
        plan = None if kept is None else plans.load(kept)
        if plan is None:
            plan = translate(read_nodes(data))
            if kept is not None:
                plans.save(kept, plan)
        return FrozenGraph(plan, at, precision, path.name)
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


def _tensor(pictures: Sequence[NDArray[Any]] | NDArray[Any]) -> torch.Tensor:
    """(B, H, W, 3); a view where that is possible without touching a caller's array."""
    whole = pictures[0][None] if len(pictures) == 1 else np.stack(list(pictures))
    return torch.from_numpy(np.require(whole, requirements=["C", "W"]))
