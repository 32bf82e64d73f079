"""Plans kept as safetensors, so that a graph is read once; a damaged file gives no plan rather than a wrong one.

The file's metadata hold a SHA-256 and, after a space, what it is of beside the arrays: the plan's steps (JSON).
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cartoon.errors import CartoonError, StyleError
from cartoon.files import write_atomically
from cartoon.models.dctnet.plan import Plan, Step
from cartoon.models.style_file import read_metadata

log = logging.getLogger(__name__)

VERSION: Final = 1
"""Of the plans; a file of another version is not looked at."""


def place(folder: Path, sha256: str) -> Path:
    """Where the plan of the graph with that digest is kept."""
    return folder / f"{sha256}.plan{VERSION}.safetensors"


def load(path: Path) -> Plan | None:
    """The plan that was saved there; None where there is none, or not one that can be trusted."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        metadata = read_metadata(path)
        with safe_open(path, framework="numpy") as file:
            arrays = tuple(file.get_tensor(f"{index:04}") for index in range(len(file.keys())))
        digest, _, text = metadata["plan"].partition(" ")
        if digest != _digest(text, arrays):
            raise ValueError("its checksum differs")
        told = json.loads(text)
        steps = tuple(
            Step(kind, tuple(map(int, inputs)), tuple(map(float, numbers)), tuple(map(int, places)))
            for kind, inputs, numbers, places in told["steps"]
        )
        plan = Plan(steps, arrays, tuple(told["sides"]) if told["sides"] else None)
        plan.facts()
    except (StyleError, SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        log.warning("%s is damaged and made anew: %s", path.name, problem)
        return None
    return plan


def save(path: Path, plan: Plan) -> None:
    """Keep a plan. A folder that cannot be written to is logged: the plan is there anyway."""
    from safetensors.numpy import save as packed

    steps = [[step.kind, step.inputs, step.numbers, step.arrays] for step in plan.steps]
    text = json.dumps({"steps": steps, "sides": plan.sides})
    tensors = {f"{index:04}": array for index, array in enumerate(plan.arrays)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, packed(tensors, {"plan": f"{_digest(text, plan.arrays)} {text}"}))
    except (CartoonError, OSError) as problem:
        log.warning("%s is not kept: %s", path.name, problem)


def _digest(text: str, arrays: tuple[NDArray[np.float32], ...]) -> str:
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
