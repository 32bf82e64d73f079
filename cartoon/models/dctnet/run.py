"""A plan on a device: pictures in, pictures out, in bands of rows where a picture is large.

What has the picture's full resolution is most of the memory (44 MB for 32 channels of 720 x 960 in two bytes) and, on
a CPU, most of the time beside the convolutions: fresh pages, and caches that hold nothing for the next step. So of a
large picture it is never there as a whole. What is smaller is kept; rows of full size are computed when they are asked
for, with as many neighbours as the steps after them reach, and come out the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from cartoon.models.dctnet.plan import Plan
from cartoon.models.dctnet.steps import EXACT, Block, Conv, How, Mean, Pointwise, Resize, Rows

BAND_BYTES: Final = {"cpu": 12 << 20, "cuda": 1 << 30}
"""Of the widest value of full size. A 288 x 288 head in float32 is one band, and so in two bytes."""
_BAND_ROWS: Final = 64
"""Bands begin at multiples of this: at whole rows of every level, and at pairs of them."""


@dataclass(frozen=True, eq=False)
class _Node:
    """A block, and the nodes that it takes from."""

    block: Block
    inputs: tuple[int, ...]
    channels: int
    level: int


@dataclass(frozen=True)
class _Task:
    """A value to be kept: the passing ones that are computed on the way, in order, and what nobody needs after it."""

    target: int
    passing: tuple[int, ...]
    spent: tuple[int, ...]


class Runner:
    """Constant once constructed: calls from several threads do not meet."""

    def __init__(self, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
        """Raises Unfit for a plan that cannot be computed."""
        self._nodes = _nodes(plan, How(device, dtype))
        self._device = device
        self._pixel_bytes = max(node.channels for node in self._nodes if node.level == 1) * dtype.itemsize
        last = len(self._nodes) - 1
        self._at_once = _tasks(self._nodes, set(range(last + 1)))
        self._in_bands = _tasks(self._nodes, {at for at, node in enumerate(self._nodes) if node.level > 1} | {0, last})
        takers = [given for node in self._nodes for given in node.inputs]
        self._alone = {given for given in range(1, last) if takers.count(given) == 1}
        """Values that one step alone takes, once."""

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3), uint8 or float32, 0..255, H and W multiples of the plan's -> the drawings, alike, float32."""
        x = pictures.to(self._device).permute(0, 3, 1, 2)
        band = BAND_BYTES[self._device.type] // (len(x) * x.shape[3] * self._pixel_bytes)
        rows = max(1, band // _BAND_ROWS) * _BAND_ROWS
        kept = {0: x}
        for task in self._at_once if rows >= x.shape[2] else self._in_bands:
            kept[task.target] = self._value(task, kept, (x.shape[2], x.shape[3]), rows)
            for given in task.spent:
                del kept[given]
        return kept[len(self._nodes) - 1].permute(0, 2, 3, 1).to("cpu", torch.float32).contiguous()

    def _value(self, task: _Task, kept: Mapping[int, Tensor], size: tuple[int, int], rows: int) -> Tensor:
        """The whole value of a task's target; size: of the picture, px."""
        node = self._nodes[task.target]
        height, width = (side // node.level for side in size)
        if not task.passing:
            return self._rows(task, (0, height), kept, size[0])
        whole: Tensor | None = None
        for first in range(0, height, rows // node.level):
            last = min(height, first + rows // node.level)
            part = self._rows(task, (first, last), kept, size[0])
            if whole is None:
                whole = part.new_empty(len(part), height, width, node.channels).permute(0, 3, 1, 2)
            whole[:, :, first:last] = part
        assert whole is not None
        return whole

    def _rows(self, task: _Task, rows: Rows, kept: Mapping[int, Tensor], height: int) -> Tensor:
        """Some rows of a task's target; height: of the picture, px."""
        order = (*task.passing, task.target)
        wanted = {task.target: rows}
        last_use: dict[int, int] = {}
        for index in reversed(order):
            first, last = self._reach(index, wanted[index], height)[0]
            for given in self._nodes[index].inputs:
                before = wanted.get(given, (first, last))
                wanted[given] = min(first, before[0]), max(last, before[1])
                last_use.setdefault(given, index)
        passing: dict[int, Tensor] = {}
        for index in order:
            node = self._nodes[index]
            (first, last), cut = self._reach(index, wanted[index], height)
            given_rows, own = [], []
            for given in node.inputs:
                start = wanted[given][0] if given in passing else 0
                given_rows.append((passing if given in passing else kept)[given][:, :, first - start : last - start])
                own.append(given in self._alone and (given in passing or not task.passing))
            passing[index] = node.block.run(given_rows, own, wanted[index], cut)
            for given in passing.keys() & set(node.inputs):
                if last_use[given] == index:
                    del passing[given]
        return passing[task.target]

    def _reach(self, index: int, rows: Rows, height: int) -> tuple[Rows, Rows]:
        """What a node's rows need of the values it takes: the rows, and how many above and below are not there."""
        node = self._nodes[index]
        first, last = node.block.reach(rows)
        end = height // self._nodes[node.inputs[0]].level
        return (max(0, first), min(last, end)), (max(0, -first), max(0, last - end))


def _tasks(nodes: Sequence[_Node], keep: set[int]) -> list[_Task]:
    """What to compute, in order, where the values in `keep` are kept and the others pass."""
    needs: dict[int, tuple[list[int], set[int]]] = {}
    for target in sorted(keep - {0}):
        passing, taken, ahead = set(), set(), [*nodes[target].inputs]
        while ahead:
            given = ahead.pop()
            if given in keep:
                taken.add(given)
            elif given not in passing:
                passing.add(given)
                ahead += nodes[given].inputs
        needs[target] = sorted(passing), taken
    last_use = {given: target for target, (_, taken) in needs.items() for given in taken}
    return [
        _Task(target, tuple(passing), tuple(given for given in taken if last_use[given] == target))
        for target, (passing, taken) in needs.items()
    ]


def _nodes(plan: Plan, how: How) -> list[_Node]:
    """A plan's steps as blocks, a slope below zero joined to the convolution before it."""
    facts = plan.facts()
    takers: dict[int, list[int]] = {index: [] for index in range(len(plan.steps))}
    for index, step in enumerate(plan.steps):
        for given in step.inputs:
            takers[given].append(index)
    nodes: list[_Node] = []
    place: dict[int, int] = {}
    for index, step in enumerate(plan.steps):
        if index in place:  # joined
            continue
        place[index], result = len(nodes), index
        block: Block
        if step.kind == "conv":
            slope = None
            if len(takers[index]) == 1 and plan.steps[takers[index][0]].kind == "leaky":
                result = takers[index][0]
                slope = plan.steps[result].numbers[0]
                place[result] = len(nodes)
            exact = any(plan.steps[taker].kind in EXACT for taker in takers[result]) or not takers[result]
            block = Conv(step, plan, slope, exact, how)
        elif step.kind == "resize":
            block = Resize(int(step.numbers[0]))
        elif step.kind == "mean":
            block = Mean((int(step.numbers[0]), int(step.numbers[1])))
        else:
            block = Pointwise(step.kind, step.numbers)
        inputs = tuple(place[given] for given in step.inputs)
        nodes.append(_Node(block, inputs, facts[index].channels, facts[index].level))
    return nodes
