"""One job of a server: the one owner of its files, of what is asked of it, and of what is known of it.

Whoever looks waits for no drawing and no disk: where a job stands is in memory, always. Its items and outcomes are
there while it is drawn and while somebody looks; else they are read again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from cartoon.errors import DamagedError
from cartoon.jobs.model import Attempt, Counts, Entry, State
from cartoon.jobs.store import salvage
from cartoon.jobs.store.folder import open_stored, resume
from cartoon.jobs.store.journal import Control, Journal
from cartoon.jobs.store.open_job import OpenJob
from cartoon.jobs.store.replay import Replay
from cartoon.jobs.store.salvage import StoredJob

RECENT: Final = 60
"""Outcomes that the rate is measured over."""
OURS: Final = "Something went wrong on our side: resume to try again."


class HaltedError(Exception):
    """A job was told to stop before it had begun to draw."""


@dataclass(frozen=True, eq=False)
class JobContents:
    """All about a job: its items and what became of them."""

    entries: list[Entry]
    state: Replay

    @property
    def counts(self) -> Counts:
        """How many came to what."""
        return self.state.counts(len(self.entries))

    def settled(self) -> list[Attempt]:
        """What has come to an outcome, in the order it came; a copy in one go, as the drawing records meanwhile."""
        return list(self.state.settled.values())


class ServedJob:
    """A job that the service knows from its beginning, or from the service's, until it is removed.

    control: what was said to it last. reason: why it was paused. damage: what is wrong with its files, in a sentence.
    turn: grows with every change. running: something of it is under way. removed: it is about to go. stop: set to end
    what is under way. speaking: held by whoever says something to it, until that is written.
    """

    def __init__(self, told: StoredJob, checked: bool = False) -> None:
        """checked: its outputs are known to be what was written."""
        self.folder, self.order, self.damage = told.folder, told.order, told.sentence
        control = told.state.control
        self.control: Literal["pause", "cancel"] | None = control if control in ("pause", "cancel") else None
        self.reason = told.state.reason
        self.turn, self.running, self.removed = 0, False, False
        self.stop = threading.Event()
        self.speaking = threading.Lock()
        self.touched = time.monotonic()
        self._checked = checked
        self._contents: JobContents | None = JobContents(told.entries, told.state)
        self._counts = self._contents.counts
        self._finished_at: deque[float] = deque(maxlen=RECENT)
        self._open: OpenJob | None = None
        self._files = threading.Lock()  # whoever opens, writes or closes them; taken before the next
        self._reading = threading.Lock()  # whoever makes a contents

    @property
    def counts(self) -> Counts:
        """How many of its items came to what."""
        contents = self._contents
        return contents.counts if contents else self._counts

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.state_at(self.counts)

    def state_at(self, counts: Counts) -> State:
        """Where it stands with these counts, which may be a moment old."""
        if self.damage:
            return "damaged"
        if not counts.remaining:
            return "finished"
        if self.control:
            return "paused" if self.control == "pause" else "cancelled"
        return "running" if self.running else "waiting"

    @property
    def wants_to_run(self) -> bool:
        """Whether there is something left to draw and nobody has said otherwise."""
        return not self.removed and self.state in ("waiting", "running")

    @property
    def rate(self) -> float | None:
        """Pictures a second lately."""
        times = self._finished_at
        if len(times) < 2 or times[-1] <= times[0]:
            return None
        return (len(times) - 1) / (times[-1] - times[0])

    @property
    def has_contents(self) -> bool:
        """Whether its items are in memory."""
        return self._contents is not None

    def check(self) -> None:
        """Raise DamagedError where its files are damaged."""
        if self.damage:
            raise DamagedError(self.damage)

    def contents(self) -> JobContents:
        """Its items and outcomes; read where they are not in memory."""
        self.touched = time.monotonic()
        contents = self._contents
        if contents is None:
            with self._reading:
                contents = self._contents or self._read()
        return contents

    def forget(self) -> None:
        """Keep only where it stands, unless something of it is under way."""
        if not self._files.acquire(blocking=False):
            return
        try:
            if self._contents and self._open is None:
                self._counts, self._contents = self._contents.counts, None
        finally:
            self._files.release()

    def came(self) -> None:
        """An outcome has come."""
        self._finished_at.append(time.monotonic())

    @contextmanager
    def opened(self, halted: Callable[[], bool]) -> Iterator[OpenJob]:
        """Have its files open, to draw; raises HaltedError, DamagedError, StorageError, BusyError."""
        with self._files:
            opened = self._open = self._opened(halted)
        try:
            yield opened
        finally:
            with self._files:
                self._open = None
                opened.close()

    def say(self, control: Control) -> None:
        """Write into the journal what was said; raises StorageError and DamagedError."""
        with self._files:
            self._say(control)

    def retry(self) -> None:
        """Forget what failed, in the journal too; raises StorageError and DamagedError."""
        with self._files:
            if self._open:
                self._open.retry()
                return
            contents = self.contents()
            self._say("retry")
            contents.state.forget_failures()

    def _say(self, control: Control) -> None:
        if self._open:
            self._open.journal.say(control)
            return
        journal = Journal(self.folder)
        try:
            journal.say(control)
        finally:
            journal.close()

    def _opened(self, halted: Callable[[], bool]) -> OpenJob:
        def watch(what: str, done: int, total: int) -> None:
            if halted():
                raise HaltedError

        contents = self._contents
        if contents:
            stored = StoredJob(self.folder, self.order, contents.entries, contents.state)
            opened = open_stored(stored, watch, check=not self._checked)
            self._checked = True
            return opened
        opened = resume(self.folder, watch, check=not self._checked)
        with self._reading:
            self._contents = JobContents(opened.entries, opened.state)
        self._checked = True
        return opened

    def _read(self) -> JobContents:
        told = salvage.read(self.folder)
        self.damage = self.damage or told.sentence
        self._contents = JobContents(told.entries, told.state)
        return self._contents
