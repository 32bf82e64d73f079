"""What a graph computes from constants alone, such as the weight of a box filter: once, when it is read."""

import operator
from collections.abc import Callable
from typing import Final

import numpy as np

from cartoon.models.dctnet.graphdef import FLOAT, MOST_ELEMENTS, Array, Node
from cartoon.models.dctnet.plan import Unfit

_WORK: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "Add": operator.add,
    "AddV2": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "RealDiv": operator.truediv,
    "Div": operator.truediv,
}


class Folder:
    """Computes from constants; all that one graph computes has no more numbers than one constant may have."""

    def __init__(self) -> None:
        self._room = MOST_ELEMENTS

    def computed(self, node: Node, given: list[Array]) -> Array:
        """The value of a node that takes only constants; raises Unfit for an op that is not known here."""
        first = given[0]
        if node.op in _WORK:
            return self._work(_WORK[node.op], given)
        if node.op == "Square":
            return self._work(operator.mul, [first, first])
        if node.op == "ExpandDims":
            return np.expand_dims(first, axis_of(given[1], first.ndim + 1))
        if node.op == "Squeeze":
            return np.squeeze(first)
        if node.op == "Cast" and node.number("DstT") == FLOAT:
            self._spend(first.shape)
            return first.astype(np.float32)
        if node.op == "Fill" and first.ndim == 1 and first.dtype.kind == "i" and given[1].ndim == 0:
            shape = tuple(int(side) for side in first)
            self._spend(shape)
            return np.broadcast_to(given[1], shape)
        raise Unfit("computes from constants in a way that is not known")

    def _work(self, work: Callable[[Array, Array], Array], given: list[Array]) -> Array:
        if given[0].dtype != given[1].dtype or given[0].dtype.kind != "f":
            raise Unfit(f"computes with {given[0].dtype} and {given[1].dtype}")
        try:
            shape = np.broadcast_shapes(given[0].shape, given[1].shape)
        except ValueError as error:
            raise Unfit(f"computes with {given[0].shape} and {given[1].shape}") from error
        self._spend(shape)
        with np.errstate(all="ignore"):  # what comes out infinite is refused where it is used
            return np.asarray(work(given[0], given[1]), np.float32)

    def _spend(self, shape: tuple[int, ...]) -> None:
        size = 1
        for side in shape:
            size *= max(side, 0)
        self._room -= size
        if min(shape, default=0) < 0 or self._room < 0:
            raise Unfit("computes more numbers than any such graph")


def axis_of(array: Array, rank: int) -> int:
    """A constant that names one of `rank` axes, counted from the front."""
    axis = int(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind == "i" else rank
    if not -rank <= axis < rank:
        raise Unfit(f"names no axis of {rank}")
    return axis % rank
