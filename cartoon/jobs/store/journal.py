"""What became of a job, on disk: an append-only file of JSON lines, forced to the disk; its state is their replay."""

import errno
import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal

from cartoon.errors import DamagedError, StorageError
from cartoon.files import FULL, sync_folder
from cartoon.jobs.model import Attempt, How
from cartoon.jobs.store.checksums import (
    SpoiltError,
    opened_plainly,
    sealed,
)

JOURNAL: Final = "journal.jsonl"
STARTED: Final = "started.jsonl"
"""Marks of what is under way. Not forced to the disk: they outlive the process, which is what they are for."""
TAIL_BYTES: Final = 1 << 16
"""So much at a time is searched for the end of the last whole line."""

_TOLD: Final[dict[How, dict[str, bool]]] = {
    "company": {"alone": False},
    "alone": {"alone": True},
    "apart": {"alone": True, "apart": True},
}
Control = Literal["pause", "resume", "cancel", "retry"]


class Journal:
    """An open journal; appends from one process at a time (the job's lock), from any of its threads.

    Opening it raises DamagedError where something else lies in its place, StorageError where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._writing = threading.Lock()
        with ExitStack() as undo:
            fresh = not self._path.exists()
            self._file = _opened(self._path, os.O_RDWR)
            undo.callback(os.close, self._file)
            self._marks = _opened(folder / STARTED, os.O_WRONLY)
            undo.callback(os.close, self._marks)
            try:
                self._length = _repaired(self._file)
                if fresh:
                    sync_folder(folder)
            except OSError as problem:
                raise _storage_error(problem) from problem
            undo.pop_all()

    def attempts(self, attempts: Iterable[Attempt]) -> None:
        """Record outcomes; they last once this returns. Raises StorageError, and then nothing of them was recorded."""
        self._append([_told(attempt) for attempt in attempts])

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
            os.write(self._marks, b"".join(sealed(line, self._path.parent.name) for line in lines))
        except OSError as problem:
            raise _storage_error(problem) from problem

    def _append(self, lines: list[dict[str, Any]]) -> None:
        now = round(time.time(), 3)
        data = b"".join(sealed({"time": now, **line}, self._path.parent.name) for line in lines)
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


def _told(attempt: Attempt) -> dict[str, Any]:
    entry = attempt.entry
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


def _opened(path: Path, flags: int) -> int:
    try:
        return opened_plainly(path, flags | os.O_CREAT | os.O_APPEND)
    except SpoiltError as spoilt:
        raise DamagedError(f"{path.name} {spoilt}: the job cannot go on, but what is drawn can be fetched.") from spoilt
    except OSError as problem:
        raise _storage_error(problem) from problem


def _repaired(file: int) -> int:
    """Cut off a line that a crash left unfinished; the length of what stays."""
    length = whole_length = os.fstat(file).st_size
    while whole_length:
        begin = max(0, whole_length - TAIL_BYTES)
        end = os.pread(file, whole_length - begin, begin).rfind(b"\n") + 1
        whole_length = begin + end
        if end:
            break
    if whole_length < length:
        os.ftruncate(file, whole_length)
    return whole_length


def _storage_error(problem: OSError) -> StorageError:
    if problem.errno in FULL:
        return StorageError("The disk is full: free some space, then run the same command again.")
    return StorageError(
        f"The job's folder cannot be written ({problem.strerror}): put its disk back, then run the same command again."
    )
