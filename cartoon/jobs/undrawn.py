"""What becomes of items that need no drawing: refused or taken ones, the one to blame, the twin of another."""

import hashlib
from dataclasses import replace
from pathlib import Path

from cartoon.errors import CartoonError, QuarantineError, StorageError
from cartoon.jobs.model import Attempt, Entry, Losses, Order, Task, next_try
from cartoon.jobs.photo import put


def settled_at_once(entry: Entry, order: Order, losses: Losses) -> Attempt | None:
    """The attempt of an item that is not to be drawn; None where it is."""
    if entry.item.refused:
        return Attempt(entry, "failed", error=entry.item.refused)
    if entry.taken:
        return Attempt(entry, "skipped", order.out / entry.output)
    if next_try(losses) is None:
        told = (
            f"{entry.item.name} ended the process that drew it, also when nothing else was drawn there: leave it out."
        )
        return Attempt(entry, "quarantined", error=QuarantineError(told), tries=losses.all)
    return None


def settled_as_twin(entry: Entry, leader: Attempt, task: Task) -> Attempt | None:
    """The attempt of an item whose photo an earlier one has too, byte for byte; None where it may fare better alone.

    It is given the same picture, unless that cannot be read any more. What crashed one process need not crash another.
    Raises StorageError when the disk is full.
    """
    if leader.output is not None:
        try:
            data = leader.output.read_bytes()
            if hashlib.sha256(data).hexdigest() != leader.sha256:
                return None
            put(task, data)
        except StorageError:
            raise
        except (OSError, CartoonError):
            return None
        notes = (*leader.notes, f"The same photo as {leader.item.name}, drawn once.")
        return replace(leader, entry=entry, output=Path(task.root, task.output), seconds=0.0, notes=notes, again=False)
    if leader.outcome == "quarantined":
        told = f"{entry.item.name} is the same photo as {leader.item.name}, which is quarantined: leave it out."
        return Attempt(entry, "quarantined", error=QuarantineError(told))
    return None
