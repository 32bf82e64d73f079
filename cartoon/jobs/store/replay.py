"""What a job has come to: its journal and its marks, read once from the beginning to the end."""

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_args

from cartoon.errors import restored
from cartoon.jobs.model import Attempt, Counts, Entry, How, Item, Losses, Order, Outcome
from cartoon.jobs.store.checksums import Line, SpoiltError, lines_of, real, text, texts, truth, whole
from cartoon.jobs.store.journal import JOURNAL, STARTED, Control

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

    def settle(self, attempt: Attempt) -> None:
        """An item has come to this."""
        with self._changing:
            self.unsettle(attempt.entry.number)
            self.settled[attempt.entry.number] = attempt
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
class Replayed:
    """What a journal came to. entries: the job's, and those that only an outcome still tells of. wrong: sentences."""

    state: Replay
    entries: dict[int, Entry]
    wrong: tuple[str, ...]


def replay(folder: Path, entries: dict[int, Entry], order: Order) -> Replayed:
    """The state of a job from its journal and marks; a missing journal is a job not begun.

    An outcome counts only for the item whose number, path and place of its result it names.
    """
    replaying = _Replaying(order, dict(entries))
    wrong: list[str] = []
    if os.path.lexists(folder / JOURNAL):
        try:
            for line in lines_of(folder / JOURNAL, _KEYS):
                if not replaying.takes(line):
                    wrong.append(f"line {line.number} of {JOURNAL} is not what was written")
        except SpoiltError as spoilt:
            wrong.append(f"{JOURNAL} {spoilt}")
    state, crashes = replaying.state, replaying.crashes
    state.cut_short = {n: how for n, how in _marks(folder / STARTED).items() if n not in state.settled}
    for number, how in state.cut_short.items():
        crashes[number] = crashes.get(number, Losses()).after(how, whole=True)
    state.losses = {number: seen for number, seen in crashes.items() if number not in state.settled}
    return Replayed(state, replaying.entries, tuple(wrong))


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


class _Replaying:
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
            state.settle(_attempt(told, entry, self._order))
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


def _attempt(told: dict[str, Any], entry: Entry, order: Order) -> Attempt:
    outcome = text(told, "outcome")
    failed = "code" in told
    if outcome not in get_args(Outcome) or failed != (outcome in ("failed", "quarantined")):
        raise ValueError("outcome")
    return Attempt(
        entry,
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
