"""What nodes of a frozen TensorFlow graph take and how they change its form: pictures, constants, padding, batches."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cartoon.models.dctnet import sizes
from cartoon.models.dctnet.constants import axis_of
from cartoon.models.dctnet.draft import Numbers
from cartoon.models.dctnet.graphdef import Array, Node
from cartoon.models.dctnet.plan import MOST_CHANNELS, Unfit
from cartoon.models.dctnet.sizes import Sizes

_MASKS: Final = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


@dataclass(frozen=True)
class Picture:
    """A value that depends on the input's pixels.

    rank: 4 with a batch, 3 without. whole: uint8. pads: zeros (top, bottom, left, right) that stand around it.
    """

    value: int
    rank: int
    whole: bool = False
    pads: tuple[int, ...] | None = None


Value = Picture | Sizes | Array


def picture_of(value: Value, rank: int | None = None, whole: bool = False, padded: bool = False) -> Picture:
    """A picture of that rank. whole, padded: it may be uint8, or have zeros around it."""
    if not isinstance(value, Picture) or rank not in (None, value.rank):
        raise Unfit("takes something else than a batch of pictures" if rank else "takes no picture")
    if (value.whole and not whole) or (value.pads is not None and not padded):
        raise Unfit("computes with uint8" if value.whole else "computes with a picture with zeros around it")
    return value


def constant(value: Value) -> Array:
    """What does not depend on the picture; raises Unfit for anything else, as all here do."""
    if not isinstance(value, np.ndarray):
        raise Unfit("takes something that is not constant")
    return value


def channels_of(value: Value) -> Numbers:
    """A constant: one number, or one for each channel, which are the last axis."""
    array = constant(value)
    if array.dtype.kind != "f" or array.size != (array.shape[-1] if array.ndim else 1) or array.ndim > 4:
        raise Unfit(f"takes a constant of {array.dtype} {array.shape}")
    if array.size > MOST_CHANNELS or not np.isfinite(array).all():
        raise Unfit("takes numbers that are too many or not finite")
    return tuple(map(float, array.reshape(-1)))


def number_of(value: Value) -> float:
    """A constant of one number."""
    numbers = channels_of(value)
    if len(numbers) != 1:
        raise Unfit("takes something else than one number")
    return numbers[0]


def check_layout(node: Node) -> None:
    """Raise Unfit for a node whose channels are not the last axis."""
    if (layout := node.word("data_format", "NHWC")) != "NHWC":
        raise Unfit(f"has its channels elsewhere than last ({layout[:8]!r})")


def pads_of(node: Node, around: tuple[int, ...] | None, sides: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """(top, bottom, left, right) for ((kernel, stride), (kernel, stride)) and zeros that stand around already.

    "SAME" is reckoned for sides that the stride divides: pictures of another size are turned away.
    """
    padding, explicit = node.word("padding", ""), node.numbers("explicit_paddings")
    if padding == "VALID":
        return around or (0, 0, 0, 0)
    if around is not None:
        raise Unfit("pads what is padded")
    if padding == "EXPLICIT" and len(explicit) == 8 and not any(explicit[:2] + explicit[6:]):
        return explicit[2:6]
    if padding != "SAME":
        raise Unfit(f"has padding {padding[:16]!r}")
    pads: list[int] = []
    for kernel, stride in sides:
        total = max(kernel - stride, 0)
        pads += (total // 2, total - total // 2)
    return tuple(pads)


def padded(picture: Picture, pads: Array) -> Picture:
    """With zeros around it: pads (4, 2), before and after on each axis."""
    if pads.shape != (4, 2) or pads.dtype.kind != "i" or pads[[0, 3]].any() or picture.pads is not None:
        raise Unfit("pads something else than height and width")
    return replace(picture, pads=tuple(int(side) for side in pads[1:3].reshape(-1)))


def reshaped(node: Node, given: list[Value]) -> Picture:
    """With a batch put before, or without one: ExpandDims, Squeeze, StridedSlice."""
    picture = picture_of(given[0], whole=True)
    if node.op == "ExpandDims" and picture.rank == 3 and axis_of(constant(given[1]), 4) == 0:
        return replace(picture, rank=4)
    if node.op == "Squeeze" and picture.rank == 4 and set(node.numbers("squeeze_dims")) <= {0, -4}:
        return replace(picture, rank=3)
    if node.op == "StridedSlice":
        return replace(picture, rank=_indexed(node, sizes.of(constant(given[1])).entries, picture.rank))
    raise Unfit("changes the shape of a picture in a way that is not known")


def _indexed(node: Node, begin: tuple[sizes.Entry, ...], rank: int) -> int:
    """The rank of x[0], x[0, ...], x[None] and the like: a batch taken away or put before; nothing else is known."""
    no_begin, no_end, ellipsis, new_axis, one = (node.number(mask) for mask in _MASKS)
    rest = (1 << len(begin)) - 2
    everything = rest & ~ellipsis & ~(no_begin & no_end) == 0 and ellipsis & rest == ellipsis and begin
    if everything and rank == 4 and (new_axis, one) == (0, 1) and begin[0] == 0:
        return 3
    if everything and rank == 3 and (new_axis, one) == (1, 0):
        return 4
    raise Unfit("cuts a picture in a way that is not known")
