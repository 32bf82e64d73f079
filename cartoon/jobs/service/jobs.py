"""The jobs of a server: takes them, lets them share the machine, and outlives pages, refreshes and restarts.

A job lives in `<root>/<id>/`: manifest and journal, `inputs/`, `results/`. Whatever of it is not finished, paused or
cancelled goes on when a service is opened over the same root. The lock of `_changed` guards what is in memory;
nobody holds it while a disk is read or written.
"""

import logging
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from cartoon import __version__
from cartoon.errors import (
    DamagedError,
    DrainingError,
    InputError,
    MissingError,
    OptionsError,
    ResourceError,
    StorageError,
)
from cartoon.files import FULL
from cartoon.jobs import report
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.fair import FairExecutor
from cartoon.jobs.inputs.zips import unpack
from cartoon.jobs.model import Attempt, Counts, Gate, Item, Order, State
from cartoon.jobs.service.scheduler import JobScheduler
from cartoon.jobs.service.served import JobContents, ServedJob
from cartoon.jobs.store import salvage
from cartoon.jobs.store.folder import begin
from cartoon.jobs.store.home import INPUTS, new_id
from cartoon.jobs.store.journal import JOURNAL
from cartoon.jobs.store.lock import FolderLock
from cartoon.jobs.store.salvage import RESULTS, StoredJob
from cartoon.options import Options

log = logging.getLogger(__name__)

CONTENTS_KEPT: Final = 16
"""Jobs not under way whose items stay in memory; where each job stands does anyway."""
ID: Final = re.compile(r"[0-9a-f]{32}")
GONE: Final = ".gone-"
"""Begins the name of a job's folder while it is being removed: half removed, it is no job any more."""


@dataclass(frozen=True)
class Sent:
    """A file that a client sent: where it lies now (it is moved from there) and its clean name."""

    path: Path
    name: str


@dataclass(frozen=True)
class JobRequest:
    """What a client asks for besides its photos."""

    options: Options
    owner: str = ""
    gate: Gate = "flag"
    priority: int = 1
    title: str = ""


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands. rate: pictures a second lately. seconds_left: an estimate. reason: why it was paused, or
    what of its files is damaged.

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


class JobService:
    """Jobs over one executor; safe to call from any thread, and never the second over one root."""

    def __init__(self, root: Path, spec: WorkerSpec, model_of: Callable[[str], str], max_pixels: int) -> None:
        """spec: who draws. model_of: the sha256 of a style's weights, by the style's id; raises StyleError.

        Raises BusyError while another process has the root, StorageError where it cannot be used.
        """
        self._root, self._model_of = root, model_of
        self._lock = _lock_of(root)
        self._changed = threading.Condition(threading.RLock())
        self._jobs: dict[str, ServedJob] = {}
        self._closing = False
        try:
            self._read_all()
        except BaseException:
            self._lock.release()
            raise
        self._scheduler = JobScheduler(FairExecutor(spec), max_pixels, self._changed)
        with self._changed:
            for job in sorted(self._jobs.values(), key=lambda job: job.order.made):
                self._scheduler.enqueue(job)

    def create(self, sent: Sequence[Sent], request: JobRequest) -> str:
        """Begin a job and return its id; zips are unpacked.

        Raises InputError where there is no photo, StyleError, and ResourceError when the disk is full.
        """
        if self._closing:
            raise ResourceError("The server is about to stop: send the job again in a minute.")
        model = self._model_of(request.options.style)
        id = new_id()
        folder = self._root / id
        order = Order(
            id,
            (),
            folder / RESULTS,
            request.options,
            model,
            __version__,
            time.time(),
            request.gate,
            owner=request.owner,
            priority=request.priority,
            title=request.title,
        )
        try:
            (folder / INPUTS).mkdir(parents=True, mode=0o700)
            (folder / RESULTS).mkdir()
            items = _taken_in(sent, folder / INPUTS)
            if not items:
                raise InputError("There is no photo in what was sent: send pictures, or a zip of them.")
            opened = begin(folder, order, items)
        except BaseException as problem:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(problem, OptionsError) or (isinstance(problem, OSError) and problem.errno not in FULL):
                raise StorageError("The server's disk cannot be written now: try again later.") from problem
            raise
        opened.close()
        with self._changed:
            self._jobs[id] = job = ServedJob(StoredJob(folder, order, opened.entries, opened.state), checked=True)
            self._scheduler.enqueue(job)
        self._forget_some()
        return id

    def status(self, id: str) -> JobStatus:
        """Where a job stands; raises MissingError."""
        with self._changed:
            return _status(self._job(id))

    def wait(self, id: str, turn: int, seconds: float) -> JobStatus:
        """The job once it has changed since `turn`, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._job(id).turn != turn, seconds)
            return self.status(id)

    def jobs(self, owner: str) -> list[JobStatus]:
        """The jobs of an owner, the latest first; nobody ("") owns none."""
        with self._changed:
            mine = [job for job in self._jobs.values() if owner and job.order.owner == owner and not job.removed]
            return sorted(map(_status, mine), key=lambda one: -one.order.made)

    def settled(self, id: str) -> list[Attempt]:
        """What has come to an outcome, in the order of the items."""
        return sorted(self._contents(id).settled(), key=lambda one: one.entry.number)

    def latest(self, id: str, most: int) -> list[Attempt]:
        """The pictures that came last, the last one first."""
        return list(islice((one for one in reversed(self._contents(id).settled()) if one.output), most))

    def failures(self, id: str) -> list[Attempt]:
        """What could not be drawn, in the order of the items."""
        counts = self._job(id).counts
        if not counts.failed + counts.quarantined:
            return []
        return [attempt for attempt in self.settled(id) if attempt.error]

    def outcome(self, id: str, number: int) -> Attempt:
        """What one item has come to; raises MissingError as long as that is nothing."""
        attempt = self._contents(id).state.settled.get(number)
        if attempt is None:
            raise MissingError("There is nothing of this photo yet: ask again when it is drawn.")
        return attempt

    def rows(self, id: str, offset: int = 0, limit: int | None = None) -> list[report.Row]:
        """The report, one row per item; of a large job a part."""
        contents = self._contents(id)
        part = contents.entries[offset:] if limit is None else contents.entries[offset : offset + limit]
        return report.rows(part, contents.state.settled)

    def pause(self, id: str) -> None:
        """Start nothing further until resumed."""
        self._halt(id, "pause")

    def cancel(self, id: str) -> None:
        """Start nothing further; what is done stays."""
        self._halt(id, "cancel")

    def resume(self, id: str) -> None:
        """Go on after a pause or a cancel; raises StorageError, DamagedError."""
        job = self._job(id)
        with job.speaking:
            job.check()
            job.say("resume")
            self._go_on(job)

    def retry(self, id: str) -> None:
        """Try the failed and quarantined photos again; raises StorageError, DamagedError."""
        job = self._job(id)
        with job.speaking:
            job.check()
            job.retry()
            self._go_on(job)

    def remove(self, id: str) -> None:
        """Stop a job and remove everything of it; raises StorageError where something of it stays."""
        with self._changed:
            job = self._job(id)
            job.removed = True
            self._scheduler.leave(job)
            self._changed.wait_for(lambda: not job.running)
        gone = self._root / f"{GONE}{id}"
        try:
            with suppress(FileNotFoundError):  # somebody else has removed it
                job.folder.rename(gone)
        except OSError as problem:
            with self._changed:
                job.removed = False
                self._scheduler.enqueue(job)
            raise StorageError(
                f"This job cannot be removed ({problem.strerror}): the server's disk must be writable for that."
            ) from problem
        with self._changed:
            self._jobs.pop(id, None)
            self._changed.notify_all()
        _remove_all(gone)

    def sweep(self, keep_seconds: float) -> None:
        """Remove jobs that came to an end so long ago, and what earlier removals have left."""
        with self._changed:
            known = list(self._jobs.items())
        for id, job in known:
            if job.state in ("finished", "cancelled", "damaged") and time.time() - _changed_at(job) > keep_seconds:
                with suppress(MissingError, StorageError):  # somebody was faster; or the next sweep tries again
                    self.remove(id)
        for gone in self._root.glob(f"{GONE}*"):
            with suppress(StorageError):
                _remove_all(gone)

    def states(self) -> dict[str, int]:
        """How many known jobs are in each state."""
        with self._changed:
            return dict(Counter(job.state for job in self._jobs.values()))

    def photos_left(self) -> int:
        """How many photos of jobs that are drawn, or wait for their turn, have no outcome yet."""
        with self._changed:
            return sum(job.counts.remaining for job in self._jobs.values() if job.wants_to_run)

    @property
    def closing(self) -> bool:
        """Whether it takes no more jobs, and what is under way ends."""
        return self._closing

    def check(self) -> None:
        """Raise DrainingError when it is closing."""
        if self._closing:
            raise DrainingError("The server is about to stop: the job goes on when it is back.")

    def close(self) -> None:
        """Let every job end what is under way; they go on when a job service is opened over the same root."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._scheduler.close()
        self._lock.release()

    def _read_all(self) -> None:
        try:
            folders = _folders(self._root)
        except OSError as problem:
            raise _unusable(self._root, problem) from problem
        for folder in folders:
            told = salvage.read(folder)
            if told.damage:
                log.warning("a job is damaged", extra={"job": folder.name})
            self._jobs[folder.name] = ServedJob(told)
            self._forget_some()

    def _job(self, id: str) -> ServedJob:
        with self._changed:
            job = self._jobs.get(id)
        if job is None or job.removed:
            raise MissingError("There is no such job here: it may have been removed; check the address.")
        return job

    def _contents(self, id: str) -> JobContents:
        job = self._job(id)
        if job.has_contents:
            return job.contents()
        contents = job.contents()
        self._forget_some()
        return contents

    def _forget_some(self) -> None:
        """Of jobs that are not under way, the items of those that were looked at longest ago."""
        with self._changed:
            at_rest = [job for job in self._jobs.values() if job.has_contents and not job.running]
        for job in sorted(at_rest, key=lambda job: -job.touched)[CONTENTS_KEPT:]:
            job.forget()

    def _halt(self, id: str, control: Literal["pause", "cancel"]) -> None:
        job = self._job(id)
        if not self._halted(job, control):
            return
        # What is written waits for whoever has the files; that nothing further begins does not.
        with job.speaking, suppress(StorageError, DamagedError):  # on a full disk it stops while this process lives
            self._halted(job, control)
            job.say(control)

    def _halted(self, job: ServedJob, control: Literal["pause", "cancel"]) -> bool:
        with self._changed:
            if job.damage or not job.counts.remaining:
                return False
            job.control, job.reason = control, ""
            self._scheduler.leave(job)
            job.turn += 1
            self._changed.notify_all()
            return True

    def _go_on(self, job: ServedJob) -> None:
        with self._changed:
            job.control, job.reason = None, ""
            self._scheduler.enqueue(job)
            job.turn += 1
            self._changed.notify_all()


def _status(job: ServedJob) -> JobStatus:
    counts, rate, left = job.counts, job.rate, None
    if rate and job.running:
        left = counts.remaining / rate
    reason = job.damage or job.reason
    return JobStatus(
        job.order.id, job.order, job.state_at(counts), counts, rate, left, reason, job.turn, busy=job.running
    )


def _lock_of(root: Path) -> FolderLock:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        refusal = f"Another server has its jobs in {root.parent}: stop it, or set CARTOON_DATA_DIR to another folder."
        return FolderLock(root, refusal)
    except OSError as problem:
        raise _unusable(root, problem) from problem


def _unusable(root: Path, problem: OSError) -> StorageError:
    return StorageError(
        f"{root} cannot be used ({problem.strerror}): make it writable, or set CARTOON_DATA_DIR to another folder."
    )


def _folders(root: Path) -> list[Path]:
    """Where jobs lie; what a process left that was killed before its job had begun is put aside for the sweep."""
    found = []
    for folder in sorted(root.iterdir()):
        if not ID.fullmatch(folder.name):
            continue
        if salvage.is_leftover(folder):
            with suppress(OSError):
                folder.rename(root / f"{GONE}{folder.name}")
        else:
            found.append(folder)
    return found


def _changed_at(job: ServedJob) -> float:
    """When something of a job was written last, seconds since 1970."""
    for path in (job.folder / JOURNAL, job.folder):
        with suppress(OSError):
            return path.lstat().st_mtime
    return job.order.made


def _remove_all(gone: Path) -> None:
    """Remove a folder as far as that can be done; raises StorageError where something stays."""
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        with suppress(OSError):
            gone.unlink()
    if os.path.lexists(gone):
        raise StorageError("Not all files of this job could be removed: the server tries again within the hour.")


def _taken_in(sent: Sequence[Sent], inputs: Path) -> list[Item]:
    """What was sent, moved into the job's folder under numbers, never under the names it came with."""
    items: list[Item] = []
    for number, one in enumerate(sent):
        if one.name.lower().endswith(".zip"):
            items += unpack(one.path, inputs / f"zip-{number}", one.name).items
            continue
        place = inputs / f"{number:06d}"
        shutil.move(one.path, place)
        items.append(Item(place, PurePosixPath(one.name)))
    return items
