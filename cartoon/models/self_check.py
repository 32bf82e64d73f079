"""Whether this machine computes a network right in few bits: found out by a probe when the network is loaded.

A number format that works on one processor proves nothing about another: torch 2.15.0 on one with AMX computes a
convolution in bfloat16 (8 channels, 8 x 8, stride 2) that is off by 0.6 to 1.0 of its values, and nothing raises.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cartoon.models.devices import DTYPES, Precision

log = logging.getLogger(__name__)

Net = TypeVar("Net")
Drawing = NDArray[np.float32]
"""float32 (planes, H, W), 0..1."""

ROUNDING: Final[Mapping[Precision, float]] = {"bf16": 0.02, "fp16": 0.005}
"""What a layer's result may be off, of its values, from float32's of the same input. Rounding it once is 0.002 in
bfloat16 and 0.0003 in float16; the most that any row, column or channel of our networks, of ten graphs and of both
enlargers was off is 0.0031 and 0.0005. A kernel may round partial sums as well; faults are 0.6 to 1.0."""
PICTURE: Final[Mapping[Precision, float]] = {"bf16": 2 / 255, "fp16": 0.5 / 255}
"""What a plane of the drawing may be off on average: half of what is promised of a pixel, 4/255, and less in
float16, which keeps three bits more. Seen at most, of the same networks: 0.96 / 255 and 0.13 / 255."""
_LAYERS: Final = frozenset({torch.conv2d, F.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__})


def trusted(
    name: str,
    device: torch.device,
    asked: Precision,
    make: Callable[[Precision], Net],
    draw: Callable[[Net], Sequence[Drawing]],
) -> tuple[Net, Precision]:
    """A network in the precision asked for, or in fp32 where this device draws it wrong in that; the log says so once.

    name: for the log. draw: draws probes, always the same and small: it is done twice.
    """
    net = make(asked)
    if asked == "fp32":
        return net, asked
    exact = make("fp32")
    if _agree(device, asked, draw(exact), lambda: draw(net)):
        return net, asked
    log.warning("%s comes out wrong in %s on this machine's %s: drawing with it in fp32", name, asked, device)
    return exact, "fp32"


def scene(height: int, width: int, planes: int = 3) -> NDArray[np.uint8]:
    """A picture with what photos have - slopes, shapes with edges, texture -, always the same.

    uint8 (height, width, planes); what comes after the first three has no texture, like a guide.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    down, across = y / height - 0.5, x / width - 0.5
    texture = np.sin(0.9 * x + 0.5 * y) + np.sin(0.11 * x - 0.23 * y)
    result = np.empty((height, width, planes), np.uint8)
    for plane in range(planes):
        sine, cosine = np.sin(2.4 * plane), np.cos(2.4 * plane)  # no two planes alike
        near = (across - 0.1 * cosine) ** 2 / 0.06 + (down - 0.1 * sine) ** 2 / 0.12
        if plane < 3:
            values = 128 + 90 * (cosine * across + sine * down) + 40 * (near < 1) + 5 * texture
        else:
            values = 255 * (1.5 - near)
        result[..., plane] = np.rint(values.clip(0, 255))
    return result


def _agree(
    device: torch.device, precision: Precision, wanted: Sequence[Drawing], draw: Callable[[], Sequence[Drawing]]
) -> bool:
    """Whether every layer on the way, and what comes out, is what it should be but for rounding; never for NaN."""
    recount = _Recount(DTYPES[precision])
    try:
        with recount:
            drawn = draw()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as problem:  # this device has no such kernel
        log.info("%s on %s: %s", precision, device, problem)
        return False
    layers = bool(torch.stack(recount.off).amax() <= ROUNDING[precision]) if recount.off else True
    return layers and all(
        bool(np.abs(one - other).mean((1, 2)).max() <= PICTURE[precision])
        for one, other in zip(drawn, wanted, strict=True)
    )


class _Recount(TorchFunctionMode):
    """Computes what layers return in a number format once more, in float32: by how much each is off.

    That finds a fault wherever it is. In the drawing alone it may not show: much of what the deepest layers say is
    nothing to one picture and all to another.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.off: list[Tensor] = []
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _LAYERS and result.dtype == self._dtype:
            with torch.autocast(result.device.type, enabled=False):
                exact = func(*map(self._exact, args), **{key: self._exact(value) for key, value in kwargs.items()})
            self.off.append(_off(result.float(), exact))
        return result

    def _exact(self, value: Any) -> Any:
        """An argument as the layer had it, under autocast too, in float32."""
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(self._dtype).float()
        return value


def _off(one: Tensor, exact: Tensor) -> Tensor:
    """The root mean square error, of the values' own: the greatest of any row, column, channel.

    A fault may be in the last columns alone, which a kernel takes apart from the others.
    """
    errors, values = (one - exact).square(), exact.square()
    worst = errors.new_zeros(())
    for axis in range(errors.ndim):
        others = [other for other in range(errors.ndim) if other != axis]
        error, value = errors.mean(others), values.mean(others)
        # What is next to nothing beside its neighbours is measured by them; all zeros are right if they should be.
        error = error / value.clamp(min=float(values.mean()) + torch.finfo(torch.float32).tiny)
        worst = torch.maximum(worst, error.amax().sqrt())  # NaN wins
    return worst
