"""What each node of a frozen TensorFlow graph means, every shape checked on the way.

Ops are described at https://www.tensorflow.org/api_docs/python/tf/raw_ops, the padding "SAME" at
https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2. Whatever is not listed here is refused.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cartoon.styles import graphconst, graphsizes
from cartoon.styles.graphdef import FLOAT, UINT8, Array, Node
from cartoon.styles.graphdraft import Draft
from cartoon.styles.graphplan import Kind, Plan, Unfit
from cartoon.styles.graphsizes import Sizes

_PASSES: Final = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot"})
_JOINS: Final[dict[str, Kind]] = {
    "Add": "add",
    "AddV2": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "RealDiv": "divide",
    "Div": "divide",
}
_SIZE_ONLY: Final = frozenset({"FloorDiv"})
_TAKES: Final = {
    **dict.fromkeys(("Placeholder", "Const"), 0),
    **dict.fromkeys((*_PASSES, "Cast", "Squeeze", "LeakyRelu", "Square", "Shape", "OnesLike"), 1),
    **dict.fromkeys((*_JOINS, *_SIZE_ONLY, "Maximum", "Minimum", "BiasAdd", "ExpandDims", "Fill"), 2),
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative", "Pad", "ResizeBilinear"), 2),
    "ClipByValue": 3,
    "StridedSlice": 4,
    **dict.fromkeys(("Pack", "Concat", "ConcatV2"), None),
}
"""How many values an op takes; None: it says so itself."""
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


class Translation:
    """The values of the nodes so far, and the plan that they make. All methods raise Unfit or Damaged."""

    def __init__(self, expands: bool) -> None:
        """expands: the graph has an ExpandDims, so that an input of unknown rank has no batch."""
        self._draft = Draft()
        self._values: dict[str, Value] = {}
        self._sides: tuple[int, int] | None = None
        self._rank = 3 if expands else 4
        self._folder = graphconst.Folder()

    def add(self, node: Node) -> None:
        """Work out one node, whose inputs have been worked out before."""
        if node.op not in _TAKES:
            raise Unfit("is of a kind that is not known here")
        given = [self._values[name.removesuffix(":0")] for name in node.inputs]
        if len(given) != (wanted := _TAKES[node.op]) and (wanted is not None or not given):
            raise Unfit(f"takes {len(given)} values instead of {wanted or 'some'}")
        if node.op == "Const":
            self._values[node.name] = node.tensor("value")
        elif node.op in _PASSES:
            self._values[node.name] = given[0]
        elif node.op == "Placeholder":
            self._values[node.name] = self._input(node)
        elif node.op == "Fill" and isinstance(given[0], Sizes):
            self._values[node.name] = self._fill(given[0], given[1])
        elif node.op in ("Concat", "ConcatV2") and any(isinstance(part, Picture) for part in given):
            self._values[node.name] = self._concat(node, given)
        elif any(isinstance(part, Picture) for part in given):
            self._values[node.name] = self._drawn(node, given)
        elif any(isinstance(part, Sizes) for part in given):
            self._values[node.name] = graphsizes.computed(node, [graphsizes.of(part) for part in given if known(part)])
        else:
            self._values[node.name] = self._folder.computed(node, [part for part in given if isinstance(part, np.ndarray)])

    def plan(self, output: Node) -> Plan:
        """What the output's value takes."""
        value = self._values[output.name]
        if not isinstance(value, Picture) or value.pads is not None:
            raise Unfit("gives no picture")
        return self._draft.finish(value.value, self._sides)
