"""The service of a server: takes jobs, lets them share the machine, and outlives pages, refreshes and restarts.

A job lives in `<root>/<id>/`: manifest and journal, `inputs/`, `results/`. Whatever of it is not finished, paused or
cancelled goes on when a service is opened over the same root. The lock of `_changed` guards what is in memory; nobody
holds it while a disk is read or written.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from cartoon.errors import (
    DamagedError,
    DrainingError,
    MissingError,
    ResourceError,
    StorageError,
)
from cartoon.jobs import report
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.fair import FairExecutor
from cartoon.jobs.model import Attempt
from cartoon.jobs.service.creation import JobRequest, Sent, begin_sent
from cartoon.jobs.service.root import GONE, changed_at, held, job_folders, remove_all, unusable
from cartoon.jobs.service.scheduler import JobScheduler
from cartoon.jobs.service.served import JobContents, ServedJob
from cartoon.jobs.service.status import JobStatus, status_of
from cartoon.jobs.store import salvage

log = logging.getLogger(__name__)

CONTENTS_KEPT: Final = 16
"""Jobs not under way whose items stay in memory; where each job stands does anyway."""


class JobService:
    """Jobs over one executor; safe to call from any thread, and never the second over one root."""

    def __init__(self, root: Path, spec: WorkerSpec, model_of: Callable[[str], str], max_pixels: int) -> None:
        """spec: who draws. model_of: the sha256 of a style's weights, by the style's id; raises StyleError.

        Raises BusyError while another process has the root, StorageError where it cannot be used.
        """
        self._root, self._model_of = root, model_of
        self._lock = held(root)
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
        stored = begin_sent(self._root, sent, request, self._model_of(request.options.style))
        id = stored.order.id
        with self._changed:
            self._jobs[id] = job = ServedJob(stored, checked=True)
            self._scheduler.enqueue(job)
        self._forget_some()
        return id

    def status(self, id: str) -> JobStatus:
        """Where a job stands; raises MissingError."""
        with self._changed:
            return status_of(self._job(id))

    def wait(self, id: str, turn: int, seconds: float) -> JobStatus:
        """The job once it has changed since `turn`, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._job(id).turn != turn, seconds)
            return self.status(id)

    def jobs(self, owner: str) -> list[JobStatus]:
        """The jobs of an owner, the latest first; nobody ("") owns none."""
        with self._changed:
            mine = [job for job in self._jobs.values() if owner and job.order.owner == owner and not job.removed]
            return sorted(map(status_of, mine), key=lambda one: -one.order.made)

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
        remove_all(gone)

    def sweep(self, keep_seconds: float) -> None:
        """Remove jobs that came to an end so long ago, and what earlier removals have left."""
        with self._changed:
            known = list(self._jobs.items())
        for id, job in known:
            quiet = time.time() - changed_at(job.folder, job.order.made)
            if job.state in ("finished", "cancelled", "damaged") and quiet > keep_seconds:
                with suppress(MissingError, StorageError):  # somebody was faster; or the next sweep tries again
                    self.remove(id)
        for gone in self._root.glob(f"{GONE}*"):
            with suppress(StorageError):
                remove_all(gone)

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
            folders = job_folders(self._root)
        except OSError as problem:
            raise unusable(self._root, problem) from problem
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
