"""Nodes of a frozen TensorFlow graph -> the plan of what its result takes, or the reason why there is none."""

from typing import Final

from cartoon.models.dctnet.graphdef import Damaged, Node
from cartoon.models.dctnet.ops import Translation
from cartoon.models.dctnet.plan import Plan, Unfit

OUTPUT: Final = "output_image"
"""What the official graphs call their result; in a graph without such a node it is the one that nothing takes."""
_IDLE: Final = frozenset({"Const", "Placeholder", "NoOp", "Assert"})
_LONGEST_NAME: Final = 80


def translate(nodes: dict[str, Node]) -> Plan:
    """The plan of a graph. Raises Unfit, in words that follow a file's name, where it is not one that is known."""
    order = _ordered(nodes, _output(nodes))
    translation = Translation(any(node.op == "ExpandDims" for node in order))
    for node in order:
        try:
            translation.add(node)
        except (Unfit, Damaged) as problem:
            raise Unfit(f"cannot be used, its {_shown(node.op)} node {_shown(node.name)!r} {problem}") from problem
    try:
        return translation.plan(order[-1])
    except Unfit as problem:
        raise Unfit(f"cannot be used, it {problem}") from problem


def _shown(name: str) -> str:
    """A name as a person can read it: what a file says is not to be trusted with a terminal."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    return "".join(sign if sign.isprintable() else "?" for sign in short)


def _source(given: str) -> str:
    """The node whose first output is meant by "name" or "name:0"; further outputs are names that no node has."""
    return given.removesuffix(":0")


def _output(nodes: dict[str, Node]) -> Node:
    if OUTPUT in nodes:
        return nodes[OUTPUT]
    taken = {_source(given) for node in nodes.values() for given in node.inputs}
    last = [node for node in nodes.values() if node.name.rpartition("/")[2] == OUTPUT]
    last = last or [node for node in nodes.values() if node.name not in taken and node.op not in _IDLE]
    if len(last) != 1:
        names = ", ".join(_shown(node.name) for node in last[:3]) or "none"
        raise Unfit(f"cannot be used, which of its nodes is the result is not clear ({names})")
    return last[0]


def _ordered(nodes: dict[str, Node], output: Node) -> list[Node]:
    """What the output needs, each after what it takes itself; raises Unfit for a circle or a node that is not there."""
    order: list[Node] = []
    finished: dict[str, bool] = {}
    under_way = [output.name]
    while under_way:
        node = nodes[under_way[-1]]
        if node.name in finished:
            under_way.pop()
            if not finished[node.name]:
                finished[node.name] = True
                order.append(node)
            continue
        finished[node.name] = False
        for given in map(_source, node.inputs):
            if given not in nodes:
                raise Unfit(f"cannot be used, its node {_shown(node.name)!r} takes {_shown(given)!r}, which is missing")
            if not finished.get(given, True):
                raise Unfit(f"cannot be used, its nodes go round in a circle at {_shown(given)!r}")
            if given not in finished:
                under_way.append(given)
    return order
