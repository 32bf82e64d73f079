"""What became of a job, on disk: an append-only file of JSON lines, forced to the disk; its state is their replay."""

import errno
import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, get_args

from cartoon.errors import DamagedError, StorageError, restored
from cartoon.files import FULL, sync_folder
from cartoon.jobs.model import Attempt, Counts, Entry, How, Item, Losses, Order, Outcome
from cartoon.jobs.store.checksums import (
    Line,
    SpoiltError,
    lines_of,
    opened_plainly,
    real,
    sealed,
    text,
    texts,
    truth,
    whole,
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
_KEYS: Final = frozenset(
    "time event item path outcome seconds tries code message output sha256 bytes faces score flaws notes reason "
    "alone".split()
)


@dataclass
class Replay:
    """A job's state; any thread may look at it and change it.

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
    _changing: threading.RLock = field(default_factory=threading.RLock)

    def counts(self, total: int) -> Counts:
        """How many items of a job of `total` came to what; as fast for a large job as for a small one."""
        return replace(self._counts, total=total)

    def settle(self, number: int, attempt: Attempt) -> None:
        """An item has come to this."""
        with self._changing:
            self.unsettle(number)
            self.settled[number] = attempt
            self._counts = self._counts.changed(attempt, 1)
            self.seconds += attempt.seconds

    def unsettle(self, number: int) -> None:
        """An item has no outcome any more, if it had one."""
        with self._changing:
            before = self.settled.pop(number, None)
            if before:
                self._counts = self._counts.changed(before, -1)

    def forget_failures(self) -> None:
        """What failed or was quarantined is to be tried again."""
        with self._changing:
            self.losses.clear()
            for number in [number for number, attempt in self.settled.items() if attempt.error]:
                self.unsettle(number)


@dataclass(frozen=True, eq=False)
class Played:
    """What a journal came to. entries: the job's, and those that only an outcome still tells of. wrong: sentences."""

    state: Replay
    entries: dict[int, Entry]
    wrong: tuple[str, ...]


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


def replay(folder: Path, entries: dict[int, Entry], order: Order) -> Played:
    """The state of a job from its journal and marks; a missing journal is a job not begun.

    An outcome counts only for the item whose number, path and place of its result it names.
    """
    playing = _Playing(order, dict(entries))
    wrong: list[str] = []
    if os.path.lexists(folder / JOURNAL):
        try:
            for line in lines_of(folder / JOURNAL, _KEYS):
                if not playing.takes(line):
                    wrong.append(f"line {line.number} of {JOURNAL} is not what was written")
        except SpoiltError as spoilt:
            wrong.append(f"{JOURNAL} {spoilt}")
    state, crashes = playing.state, playing.crashes
    state.cut_short = {n: how for n, how in _marks(folder / STARTED).items() if n not in state.settled}
    for number, how in state.cut_short.items():
        crashes[number] = crashes.get(number, Losses()).after(how, whole=True)
    state.losses = {number: seen for number, seen in crashes.items() if number not in state.settled}
    return Played(state, playing.entries, tuple(wrong))


def _marks(path: Path) -> dict[int, How]:
    """What was under way, as far as it can be told: a mark that is damaged accuses nobody."""
    try:
        marks = [line.told for line in lines_of(path, frozenset({"item", "alone"}))]
    except SpoiltError:
        return {}
    found: dict[int, How] = {}
    for told in marks:
        try:
            if told is not None and truth(told, "ended"):
                found.pop(whole(told, "item"), None)
            elif told is not None:
                found[whole(told, "item")] = _how(told)
        except ValueError:
            continue
    return found


class _Playing:
    """A journal on its way to a state."""

    def __init__(self, order: Order, entries: dict[int, Entry]) -> None:
        self.state, self.entries = Replay(), entries
        self.crashes: dict[int, Losses] = {}
        self._order, self._listed = order, frozenset(entries)

    def takes(self, line: Line) -> bool:
        """Go on by one line; False where it is not what was written, and then nothing has changed."""
        if line.told is None:
            return False
        try:
            self._apply(line.told, line.sealed)
        except (ValueError, TypeError, KeyError):
            return False
        return True

    def _apply(self, told: dict[str, Any], sealed: bool) -> None:
        state, event = self.state, text(told, "event")
        if event == "attempt":
            entry = self._entry(told, sealed)
            state.settle(entry.number, _attempt(told, entry, self._order))
            self.crashes.pop(entry.number, None)
        elif event == "lost":
            state.unsettle(whole(told, "item"))
        elif event == "crashed":
            number = whole(told, "item")
            seen = self.crashes.get(number, Losses())
            self.crashes[number] = seen.after(_how(told), truth(told, "whole"))
        elif event in ("pause", "resume", "cancel"):
            reason = text(told, "reason", "")
            state.control, state.reason = event, reason  # type: ignore[assignment]  # one of three, as was just seen
        elif event == "retry":
            state.control, state.reason = None, ""
            self.crashes.clear()
            state.forget_failures()
        else:
            raise ValueError(event)

    def _entry(self, told: dict[str, Any], sealed: bool) -> Entry:
        """The item that an outcome is of; raises ValueError where it names another one."""
        number, path, output = whole(told, "item"), text(told, "path"), text(told, "output", "")
        if number not in self._listed:
            if not sealed:  # nothing else says what it is of
                raise ValueError("item")
            self.entries[number] = Entry(number, Item(Path(path), PurePosixPath(path)), PurePosixPath(output or path))
        entry = self.entries[number]
        if path != str(entry.item.relative) or (output or str(entry.output)) != str(entry.output):
            raise ValueError("path")
        return entry


def _how(told: dict[str, Any]) -> How:
    return "apart" if truth(told, "apart") else "alone" if truth(told, "alone") else "company"


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
    outcome = text(told, "outcome")
    failed = "code" in told
    if outcome not in get_args(Outcome) or failed != (outcome in ("failed", "quarantined")):
        raise ValueError("outcome")
    return Attempt(
        entry.item,
        outcome,  # type: ignore[arg-type]  # one of its choices, as was just seen
        None if failed else order.out / entry.output,
        restored(text(told, "code"), text(told, "message")) if failed else None,
        text(told, "sha256", ""),
        whole(told, "bytes", 0),
        real(told, "seconds"),
        whole(told, "faces", 0),
        whole(told, "tries"),
        real(told, "score") if "score" in told else None,
        texts(told, "flaws"),
        texts(told, "notes"),
    )


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
