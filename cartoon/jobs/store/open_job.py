"""A job that this process alone works on: what happens to it goes into its journal first, then into memory."""

import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from cartoon.errors import CartoonError
from cartoon.files import write_atomically
from cartoon.jobs.inputs import remote
from cartoon.jobs.model import Attempt, Counts, Entry, Order
from cartoon.jobs.store.home import INPUTS, REPLACED, clean, mark_of, tidy
from cartoon.jobs.store.journal import Journal
from cartoon.jobs.store.replay import Replay


@dataclass(eq=False)
class OpenJob:
    """A job that this process alone works on, until it is closed.

    ignored: files that were no pictures by name. fresh: begun by this process.
    """

    folder: Path
    order: Order
    entries: list[Entry]
    state: Replay
    journal: Journal
    lock: FileLock
    ignored: int = 0
    fresh: bool = False
    closed: bool = False
    _recording: threading.Lock = field(default_factory=threading.Lock)

    @property
    def mark(self) -> str:
        """Begins the names of this job's temporary files."""
        return mark_of(self.order)

    @property
    def counts(self) -> Counts:
        """How many items came to what so far."""
        return self.state.counts(len(self.entries))

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Outcomes, into the journal first; raises StorageError, and then nothing has changed."""
        with self._recording:
            self.journal.attempts(attempts)
            for attempt in attempts:
                self.state.settle(attempt)

    def again(self) -> Iterator[Attempt]:
        """What was settled before this process opened the job, in order, marked as such."""
        for number in sorted(self.state.settled):
            yield replace(self.state.settled[number], again=True)

    def retry(self) -> None:
        """Forget what failed or was quarantined, so that it is tried again."""
        with self._recording:
            self.journal.say("retry")
            self.state.forget_failures()

    def forget(self, numbers: Sequence[int], reason: str) -> None:
        """These have no outcome any more."""
        self.journal.lost(numbers, reason)
        for number in numbers:
            self.state.unsettle(number)

    def set_aside(self, numbers: Sequence[int]) -> None:
        """Keep outputs that somebody has altered: perhaps they were retouched."""
        for number in numbers:
            altered = self.order.out / self.entries[number].output
            if remote.is_url(altered):
                with suppress(CartoonError):  # it is gone
                    data = remote.load(altered)
                    write_atomically(self._aside(number, altered), data)
            elif altered.is_file():
                kept = self._aside(number, altered)
                with suppress(OSError):
                    altered.replace(kept)

    def close(self) -> None:
        """Let another process have it; what was unpacked goes when nothing needs it any more."""
        if self.closed:
            return
        self.closed = True
        if not self.counts.remaining:
            clean(self.order, self.entries)  # of workers that were killed while they wrote
        if self.order.inputs and not self.counts.remaining:
            shutil.rmtree(self.folder / INPUTS, ignore_errors=True)
        self.journal.close()
        self.lock.release()

    def discard(self) -> None:
        """Close it and, if it was begun for nothing, remove its folder and what was made for it."""
        self.close()
        if self.fresh and not self.state.settled:
            shutil.rmtree(self.folder, ignore_errors=True)
            tidy(self.folder.parent.parent)

    def _aside(self, number: int, altered: Path) -> Path:
        (self.folder / REPLACED).mkdir(exist_ok=True)
        return self.folder / REPLACED / f"{number:06d}-{secrets.token_hex(4)}{altered.suffix}"
