"""Processors that compute some layers wrong in few bits, as one with AMX does: below torch's own functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Kind = tuple[str, tuple[int, ...]]
"""What a layer does and the shape of its weight: ("conv", (12, 8, 8, 8))."""


class Faulty(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, layers of some kinds are off by about their own size in bfloat16 and float16.

    wrong: which. seen: the kinds that came by in few bits, right or wrong.
    """

    def __init__(self, wrong: Callable[[Kind], bool] = lambda kind: True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[Kind] = set()
        self._wrong = wrong

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        kind = kind_of(func.overloadpacket.__name__, args)
        if kind and isinstance(result, Tensor) and result.dtype in (torch.bfloat16, torch.float16):
            self.seen.add(kind)
            if self._wrong(kind):
                return spoilt(result)
        return result


def kind_of(name: str, args: Sequence[Any]) -> Kind | None:
    """Of a function of torch's, by its name and arguments; None where it is no layer with weights."""
    if name in ("conv2d", "convolution"):
        return "conv", tuple(args[1].shape)
    if name == "linear":
        return "linear", tuple(args[1].shape)
    return None


def spoilt(result: Tensor) -> Tensor:
    """Off by 0.8 of its values: what belongs to the next channel, or column, is mixed in."""
    wrong: Tensor = 0.2 * result + 0.8 * result.flip(1).roll(1, -1)
    return wrong
