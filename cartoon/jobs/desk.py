"""The desk of a server: takes jobs, lets them share the machine, and outlives pages, refreshes and restarts.

A job lives in `<root>/<id>/`: manifest and journal, `inputs/`, `results/`. Whatever of it is not finished, paused or
cancelled goes on when a desk is opened over the same root.
"""

import logging
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from cartoon import __version__
from cartoon.errors import CartoonError, DrainingError, InputError, MissingError, ResourceError, StorageError
from cartoon.jobs import manifest, report
from cartoon.jobs.archive import unpack
from cartoon.jobs.crew import Spare
from cartoon.jobs.draw import Artist, Judge
from cartoon.jobs.folder import INPUTS, OpenJob, begin, new_id, resume
from cartoon.jobs.job import Attempt, Counts, Entry, Gate, Item, Order, State
from cartoon.jobs.journal import JOURNAL, Journal, Replay, replay
from cartoon.jobs.lanes import Lanes
from cartoon.jobs.runner import run
from cartoon.settings import Options

log = logging.getLogger(__name__)

RESULTS: Final = "results"
RECENT: Final = 60
"""Outcomes that the rate is measured over."""
CLOSED_KEPT: Final = 16
"""Jobs at rest whose state stays in memory."""
ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Sent:
    """A file that a client sent: where it lies now (it is moved from there) and its clean name."""

    path: Path
    name: str


@dataclass(frozen=True)
class Ask:
    """What a client asks for besides its photos."""

    options: Options
    owner: str = ""
    gate: Gate = "flag"
    priority: int = 1
    title: str = ""


@dataclass(frozen=True)
class Glance:
    """Where a job stands. rate: pictures a second lately. seconds_left: an estimate. reason: why it was paused.

    turn: grows with every change. busy: something of it is still under way, also when it was paused meanwhile.
    """

    id: str
    order: Order
    state: State
    counts: Counts
    rate: float | None
    seconds_left: float | None
    reason: str
    turn: int
    busy: bool = False


@dataclass(eq=False)
class _Job:
    """A job that the desk knows."""

    folder: Path
    order: Order
    entries: list[Entry]
    state: Replay
    open: OpenJob | None = None
    thread: threading.Thread | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    finished_at: "deque[float]" = field(default_factory=lambda: deque(maxlen=RECENT))
    turn: int = 0
    touched: float = field(default_factory=time.monotonic)


class Desk:
    """Jobs over one artist; safe to call from any thread."""

    def __init__(
        self,
        root: Path,
        artist: Artist,
        model_of: Callable[[str], str],
        max_pixels: int,
        judge: Judge | None = None,
        spare: Spare | None = None,
    ) -> None:
        """model_of: the sha256 of a style's weights, by the style's id; raises StyleError. judge: the quality gate.

        spare: for the last tries of photos that this process may have died over.
        """
        self._root, self._model_of, self._max_pixels = root, model_of, max_pixels
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lanes = Lanes(artist, judge, spare)
        self._known: dict[str, _Job] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closing = False
        self._go_on()

    def create(self, sent: Sequence[Sent], ask: Ask) -> str:
        """Begin a job and return its id; zips are unpacked.

        Raises InputError where there is no photo, StyleError, and ResourceError when the disk is full.
        """
        if self._closing:
            raise ResourceError("The server is about to stop: send the job again in a minute.")
        model = self._model_of(ask.options.style)
        id = new_id()
        folder = self._root / id
        (folder / INPUTS).mkdir(parents=True, mode=0o700)
        (folder / RESULTS).mkdir()
        order = Order(
            id,
            (),
            folder / RESULTS,
            ask.options,
            model,
            __version__,
            time.time(),
            ask.gate,
            owner=ask.owner,
            priority=ask.priority,
            title=ask.title,
        )
        try:
            items = _taken_in(sent, folder / INPUTS)
            if not items:
                raise InputError("There is no photo in what was sent: send pictures, or a zip of them.")
            opened = begin(folder, order, items)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        opened.close()
        with self._changed:
            self._known[id] = job = _Job(folder, order, opened.entries, opened.state)
            self._start(job)
        return id

    def glance(self, id: str) -> Glance:
        """Where a job stands; raises MissingError."""
        with self._changed:
            job = self._job(id)
            counts = job.state.counts(len(job.entries))
            rate, left = _rate(job), None
            if rate and job.thread:
                left = counts.remaining / rate
            state, busy = self._state(job, counts), job.thread is not None
            return Glance(id, job.order, state, counts, rate, left, job.state.reason, job.turn, busy)

    def wait(self, id: str, turn: int, seconds: float) -> Glance:
        """The job once it has changed since `turn`, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._job(id).turn != turn, seconds)
            return self.glance(id)

    def jobs(self, owner: str) -> list[Glance]:
        """The jobs of an owner, the latest first; nobody ("") owns none."""
        if not owner:
            return []
        mine = [id for id in self._ids() if self._owned(id, owner)]
        return sorted((self.glance(id) for id in mine), key=lambda one: -one.order.made)

    def settled(self, id: str) -> list[tuple[Entry, Attempt]]:
        """What has come to an outcome, in the order of the items."""
        with self._changed:
            job = self._job(id)
            return [(job.entries[number], attempt) for number, attempt in sorted(_now(job), key=itemgetter(0))]

    def latest(self, id: str, most: int) -> list[tuple[Entry, Attempt]]:
        """The pictures that came last, the last one first."""
        with self._changed:
            job = self._job(id)
            pictures = ((job.entries[number], one) for number, one in reversed(_now(job)) if one.output)
            return list(islice(pictures, most))

    def failures(self, id: str) -> list[tuple[Entry, Attempt]]:
        """What could not be drawn, in the order of the items."""
        with self._changed:
            job = self._job(id)
            counts = job.state.counts(len(job.entries))
            if not counts.failed + counts.quarantined:
                return []
            return [(entry, attempt) for entry, attempt in self.settled(id) if attempt.error]

    def outcome(self, id: str, number: int) -> tuple[Entry, Attempt]:
        """What one item has come to; raises MissingError as long as that is nothing."""
        with self._changed:
            job = self._job(id)
            attempt = job.state.settled.get(number)
            if attempt is None:
                raise MissingError("There is nothing of this photo yet: ask again when it is drawn.")
            return job.entries[number], attempt

    def rows(self, id: str, offset: int = 0, limit: int | None = None) -> list[dict[str, object]]:
        """The report, one row per item; of a large job a part."""
        with self._changed:
            job = self._job(id)
            part = job.entries[offset:] if limit is None else job.entries[offset : offset + limit]
            return report.rows(part, job.state.settled)

    def pause(self, id: str) -> None:
        """Start nothing further until resumed."""
        self._say(id, "pause")

    def cancel(self, id: str) -> None:
        """Start nothing further; what is done stays."""
        self._say(id, "cancel")

    def resume(self, id: str) -> None:
        """Go on after a pause or a cancel."""
        self._restart(id, "resume")

    def retry(self, id: str) -> None:
        """Try the failed and quarantined photos again."""
        self._restart(id, "retry")

    def remove(self, id: str) -> None:
        """Stop a job and remove everything of it."""
        self._halt(self._job(id))
        with self._changed:
            self._known.pop(id, None)
        shutil.rmtree(self._root / id, ignore_errors=True)

    def sweep(self, keep_seconds: float) -> None:
        """Remove jobs that came to an end so long ago."""
        for id in self._ids():
            journal = self._root / id / JOURNAL
            last = (journal if journal.exists() else self._root / id).stat().st_mtime
            with suppress(CartoonError):  # of another version: left alone
                if time.time() - last > keep_seconds and self.glance(id).state in ("finished", "cancelled"):
                    self.remove(id)

    def states(self) -> dict[str, int]:
        """How many known jobs are in each state."""
        with self._changed:
            counted: dict[str, int] = {}
            for job in self._known.values():
                state = self._state(job, job.state.counts(len(job.entries)))
                counted[state] = counted.get(state, 0) + 1
            return counted

    def photos_left(self) -> int:
        """How many photos of running jobs have no outcome yet."""
        with self._changed:
            running = [job for job in self._known.values() if job.thread]
            return sum(job.state.counts(len(job.entries)).remaining for job in running)

    @property
    def closing(self) -> bool:
        """Whether it takes no more jobs, and what is under way ends."""
        return self._closing

    def check(self) -> None:
        """Raise DrainingError when it is closing."""
        if self._closing:
            raise DrainingError("The server is about to stop: the job goes on when it is back.")

    def close(self) -> None:
        """Let every job end what is under way; they go on when a desk is opened over the same root."""
        with self._changed:
            self._closing = True
            running = [job for job in self._known.values() if job.thread]
            for job in running:
                job.stop.set()
            self._changed.notify_all()
        for job in running:
            if job.thread:
                job.thread.join()
        self._lanes.close()

    def _go_on(self) -> None:
        for id in self._ids():
            try:
                with self._changed:
                    job = self._job(id)
                    if self._state(job, job.state.counts(len(job.entries))) == "waiting":
                        self._start(job)
            except CartoonError:
                log.warning("a job cannot be read and is left alone", extra={"job": id})

    def _ids(self) -> list[str]:
        names = [folder.name for folder in self._root.iterdir() if ID.fullmatch(folder.name)]
        return [name for name in names if (self._root / name / manifest.MANIFEST).is_file()]

    def _owned(self, id: str, owner: str) -> bool:
        try:
            return self._order(id).owner == owner
        except CartoonError:  # of another version: one such job must not hide the others
            return False

    def _order(self, id: str) -> Order:
        known = self._known.get(id)
        return known.order if known else manifest.read_order(self._root / id)

    def _job(self, id: str) -> _Job:
        """A job by its id, read from disk where it is not in memory."""
        with self._changed:
            job = self._known.get(id)
            if job is None:
                folder = self._root / id
                if not ID.fullmatch(id) or not (folder / manifest.MANIFEST).is_file():
                    raise MissingError("There is no such job here: it may have been removed; check the address.")
                order, entries = manifest.read_order(folder), manifest.read_entries(folder)
                job = self._known[id] = _Job(folder, order, entries, replay(folder, entries, order))
                self._forget_some()
            job.touched = time.monotonic()
            return job

    def _forget_some(self) -> None:
        at_rest = sorted((job for job in self._known.values() if not job.thread), key=lambda job: job.touched)
        for job in at_rest[: max(0, len(at_rest) - CLOSED_KEPT)]:
            del self._known[job.order.id]

    def _state(self, job: _Job, counts: Counts) -> State:
        if not counts.remaining:
            return "finished"
        if job.state.control == "pause":
            return "paused"
        if job.state.control == "cancel":
            return "cancelled"
        return "running" if job.thread else "waiting"

    def _start(self, job: _Job) -> None:
        if job.thread or self._closing:
            return
        job.stop.clear()
        job.thread = threading.Thread(target=self._work, args=(job,), name="job", daemon=True)
        job.thread.start()
        self._tell(job)

    def _work(self, job: _Job) -> None:
        lane = self._lanes.lane(job.order.priority)
        try:
            opened = resume(job.folder)
            try:
                with self._changed:
                    job.open, job.entries, job.state = opened, opened.entries, opened.state
                for _ in run(opened, lane, job.stop.is_set, self._max_pixels):
                    with self._changed:
                        job.finished_at.append(time.monotonic())
                        self._tell(job)
            finally:
                with self._changed:
                    job.open = None
                opened.close()
        except CartoonError as error:
            with self._changed:
                job.state.control, job.state.reason = "pause", str(error)
            log.warning("job paused: %s", error.code, extra={"job": job.order.id})
        except Exception:
            with self._changed:
                job.state.control, job.state.reason = "pause", "Something went wrong on our side: resume to try again."
            log.exception("job stopped", extra={"job": job.order.id})
        finally:
            lane.close()
            with self._changed:
                job.thread = None
                if self._state(job, job.state.counts(len(job.entries))) == "waiting" and not job.stop.is_set():
                    self._start(job)  # failures were to be tried again meanwhile
                self._tell(job)

    def _say(self, id: str, control: Literal["pause", "cancel"]) -> None:
        with self._changed:
            job = self._job(id)
            if not job.state.counts(len(job.entries)).remaining:
                return
            with suppress(StorageError):  # on a full disk it still stops, as long as this process lives
                self._write(job, control)
            job.state.control, job.state.reason = control, ""
            job.stop.set()
            self._tell(job)

    def _restart(self, id: str, control: Literal["resume", "retry"]) -> None:
        job = self._job(id)
        if job.stop.is_set():
            self._halt(job)
        with self._changed:
            self._write(job, control)
            job.state.control, job.state.reason = None, ""
            if control == "retry":
                job.state.forget_failures()
            if job.state.counts(len(job.entries)).remaining:
                self._start(job)
            self._tell(job)

    def _halt(self, job: _Job) -> None:
        job.stop.set()
        thread = job.thread
        if thread:
            thread.join()

    def _write(self, job: _Job, control: Literal["pause", "resume", "cancel", "retry"]) -> None:
        """Into the journal, which a running job has open."""
        if job.open:
            job.open.journal.say(control)
            return
        journal = Journal(job.folder)
        try:
            journal.say(control)
        finally:
            journal.close()

    def _tell(self, job: _Job) -> None:
        job.turn += 1
        self._changed.notify_all()


def _now(job: _Job) -> list[tuple[int, Attempt]]:
    """A copy in one go: the job's own thread records meanwhile."""
    return list(job.state.settled.items())


def _rate(job: _Job) -> float | None:
    times = job.finished_at
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return (len(times) - 1) / (times[-1] - times[0])


def _taken_in(sent: Sequence[Sent], inputs: Path) -> list[Item]:
    """What was sent, moved into the job's folder under numbers, never under the names it came with."""
    items: list[Item] = []
    for number, one in enumerate(sent):
        if one.name.lower().endswith(".zip"):
            items += unpack(one.path, inputs / f"zip-{number}").items
            continue
        place = inputs / f"{number:06d}"
        shutil.move(one.path, place)
        items.append(Item(place, PurePosixPath(one.name)))
    return items
