"""What became of a job, on disk: an append-only file of JSON lines, forced to the disk; its state is their replay."""

import errno
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from cartoon.errors import StorageError, restored
from cartoon.image import FULL, sync_folder
from cartoon.jobs.job import Attempt, Counts, Entry, How, Losses, Order
from cartoon.jobs.manifest import lines_of

JOURNAL: Final = "journal.jsonl"
STARTED: Final = "started.jsonl"
"""Marks of what is under way. Not forced to the disk: they outlive the process, which is what they are for."""
GONE: Final = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.EROFS, errno.ESTALE, errno.ENOENT})
"""What the system says when a disk was unplugged."""

_TOLD: Final[dict[How, dict[str, bool]]] = {
    "company": {"alone": False},
    "alone": {"alone": True},
    "apart": {"alone": True, "apart": True},
}
Control = Literal["pause", "resume", "cancel", "retry"]


@dataclass
class Replay:
    """A job's state; one thread changes it, others may look meanwhile.

    settled: what became of each item that has an outcome, in the order they came to it; changed by `settle` and
    `unsettle` alone, which keep the counts. control: the last thing said to the job. reason: why it was paused.
    losses: of items without an outcome. cut_short: what was under way when the program last died; it is among the
    losses, and not yet in the journal. seconds: of work, over all attempts.
    """

    settled: dict[int, Attempt] = field(default_factory=dict)
    control: Control | None = None
    reason: str = ""
    losses: dict[int, Losses] = field(default_factory=dict)
    cut_short: dict[int, How] = field(default_factory=dict)
    seconds: float = 0.0
    _counts: Counts = field(default_factory=lambda: Counts(0))

    def counts(self, total: int) -> Counts:
        """How many items of a job of `total` came to what; as fast for a large job as for a small one."""
        return replace(self._counts, total=total)

    def settle(self, number: int, attempt: Attempt) -> None:
        """An item has come to this."""
        self.unsettle(number)
        self.settled[number] = attempt
        self._counts = self._counts.changed(attempt, 1)
        self.seconds += attempt.seconds

    def unsettle(self, number: int) -> None:
        """An item has no outcome any more, if it had one."""
        before = self.settled.pop(number, None)
        if before:
            self._counts = self._counts.changed(before, -1)

    def forget_failures(self) -> None:
        """What failed or was quarantined is to be tried again."""
        self.losses.clear()
        for number in [number for number, attempt in list(self.settled.items()) if attempt.error]:
            self.unsettle(number)


class Journal:
    """An open journal; appends from one process at a time (the job's lock), from any of its threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._writing = threading.Lock()
        fresh = not self._path.exists()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._marks = os.open(folder / STARTED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._length = _repaired(self._file)
        if fresh:
            sync_folder(folder)

    def attempts(self, settled: Iterable[tuple[Entry, Attempt]]) -> None:
        """Record outcomes; they last once this returns. Raises StorageError, and then nothing of them was recorded."""
        self._append([_told(entry, attempt) for entry, attempt in settled])

    def lost(self, numbers: Iterable[int], reason: str) -> None:
        """Record that the outputs of items are no longer what was written."""
        self._append([{"event": "lost", "item": number, "reason": reason} for number in numbers])

    def crashed(self, losses: Mapping[int, How], whole: bool) -> None:
        """Record that a process died while it drew these photos; whole: the program itself, the last time it ran."""
        self._append([{"event": "crashed", "item": n, **_TOLD[how], "whole": whole} for n, how in losses.items()])

    def say(self, control: Control, reason: str = "") -> None:
        """Record that the job is to pause, go on, end, or try its failures again."""
        self._append([{"event": control, "reason": reason}])

    def started(self, number: int, how: How) -> None:
        """Mark an item as under way."""
        self._mark([{"item": number, **_TOLD[how]}])

    def ended(self, numbers: Iterable[int]) -> None:
        """Items are not under way any more, with an outcome or without."""
        self._mark([{"item": number, "ended": True} for number in numbers])

    def in_place(self) -> bool:
        """Whether the journal's file is still where it was: not when its disk was unplugged or its folder removed."""
        try:
            there, open_one = os.stat(self._path), os.fstat(self._file)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (open_one.st_dev, open_one.st_ino)

    def forget_marks(self) -> None:
        """Nothing is under way any more."""
        os.ftruncate(self._marks, 0)

    def close(self) -> None:
        """Close both files."""
        os.close(self._file)
        os.close(self._marks)

    def _mark(self, lines: list[dict[str, Any]]) -> None:
        try:
            os.write(self._marks, "".join(json.dumps(line) + "\n" for line in lines).encode())
        except OSError as problem:
            raise _storage_error(problem) from problem

    def _append(self, lines: list[dict[str, Any]]) -> None:
        now = round(time.time(), 3)
        data = "".join(json.dumps({"time": now, **line}) + "\n" for line in lines).encode()
        if not data:
            return
        with self._writing:
            try:
                if not self.in_place():
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                if os.write(self._file, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file)
            except OSError as problem:
                os.ftruncate(self._file, self._length)  # half a line must not stay in the way of the next
                raise _storage_error(problem) from problem
            self._length += len(data)


def replay(folder: Path, entries: list[Entry], order: Order) -> Replay:
    """The state of a job from its journal and marks; a missing journal is a job not begun."""
    state = Replay()
    crashes: dict[int, Losses] = {}
    if (folder / JOURNAL).exists():
        for told in lines_of(folder / JOURNAL):
            _apply(state, crashes, told, entries, order)
    if (folder / STARTED).exists():
        marks: dict[int, How] = {}
        for told in lines_of(folder / STARTED):
            if told.get("ended"):
                marks.pop(told["item"], None)
            else:
                marks[told["item"]] = _how(told)
        state.cut_short = {number: how for number, how in marks.items() if number not in state.settled}
        for number, how in state.cut_short.items():
            crashes[number] = crashes.get(number, Losses()).after(how, whole=True)
    state.losses = {number: seen for number, seen in crashes.items() if number not in state.settled}
    return state


def _apply(state: Replay, crashes: dict[int, Losses], told: dict[str, Any], entries: list[Entry], order: Order) -> None:
    event, number = told.get("event"), told.get("item", -1)
    if event == "attempt" and 0 <= number < len(entries):
        state.settle(number, _attempt(told, entries[number], order))
        crashes.pop(number, None)
    elif event == "lost":
        state.unsettle(number)
    elif event == "crashed":
        seen = crashes.get(number, Losses())
        crashes[number] = seen.after(_how(told), told.get("whole", False))
    elif event in ("pause", "resume", "cancel"):
        state.control, state.reason = event, told.get("reason", "")
    elif event == "retry":
        state.control, state.reason = None, ""
        crashes.clear()
        state.forget_failures()


def _how(told: dict[str, Any]) -> How:
    return "apart" if told.get("apart") else "alone" if told.get("alone") else "company"


def _told(entry: Entry, attempt: Attempt) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": "attempt",
        "item": entry.number,
        "path": str(entry.item.relative),
        "outcome": attempt.outcome,
        "seconds": round(attempt.seconds, 3),
        "tries": attempt.tries,
    }
    if attempt.error:
        return {**told, "code": attempt.error.code, "message": str(attempt.error)}
    told |= {"output": str(entry.output), "sha256": attempt.sha256, "bytes": attempt.size, "faces": attempt.faces}
    if attempt.score is not None:
        told["score"] = round(attempt.score, 3)
    if attempt.flaws:
        told["flaws"] = attempt.flaws
    if attempt.notes:
        told["notes"] = attempt.notes
    return told


def _attempt(told: dict[str, Any], entry: Entry, order: Order) -> Attempt:
    failed = "code" in told
    return Attempt(
        entry.item,
        told["outcome"],
        None if failed else order.out / entry.output,
        restored(told["code"], told["message"]) if failed else None,
        told.get("sha256", ""),
        told.get("bytes", 0),
        told["seconds"],
        told.get("faces", 0),
        told["tries"],
        told.get("score"),
        tuple(told.get("flaws", ())),
        tuple(told.get("notes", ())),
    )


def _repaired(file: int) -> int:
    """Cut off a line that a crash left unfinished; the length of what stays."""
    length = os.fstat(file).st_size
    tail = os.pread(file, min(length, 1 << 16), max(0, length - (1 << 16)))
    if not tail.endswith(b"\n") and length:
        length = max(0, length - (1 << 16)) + tail.rfind(b"\n") + 1
        os.ftruncate(file, length)
    return length


def _storage_error(problem: OSError) -> StorageError:
    if problem.errno in FULL:
        return StorageError("The disk is full: free some space, then run the same command again.")
    return StorageError(
        f"The job's folder cannot be written ({problem.strerror}): put its disk back, then run the same command again."
    )
