"""Run a job: an Attempt for every item that has no outcome yet, recorded before it is told."""

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Final

from cartoon.errors import CartoonError, ResourceError, StorageError, WorkerLostError
from cartoon.images.decode import MAX_PIXELS
from cartoon.jobs.executors.base import Executor
from cartoon.jobs.model import (
    Attempt,
    Entry,
    How,
    Losses,
    Result,
    Task,
    leaders,
    wait_before_retry,
)
from cartoon.jobs.photo import explained
from cartoon.jobs.queue import Next, Waiting
from cartoon.jobs.store.open_job import OpenJob
from cartoon.jobs.undrawn import settled_as_twin, settled_at_once

LISTEN_SECONDS: Final = 0.5
"""How soon a pause or cancel is noticed while all places are busy."""
OUTLIVE_SECONDS: Final = 1.0
"""How long this process has to outlive another before that one's death is laid to a photo: who kills them all may begin
with that one."""
PROGRAM_BEGAN: Final = time.monotonic()


def run(
    job: OpenJob, executor: Executor, stopped: Callable[[], bool] = lambda: False, max_pixels: int = MAX_PIXELS
) -> Generator[Attempt, None, None]:
    """Yield what became of each item without an outcome, in their order as far as retries allow.

    An output lies whole in its place before its attempt is in the journal, and is in the journal before it is yielded.
    Once `stopped()` is true nothing further is started and the generator ends with what is under way; so it does when
    it is closed. What was under way when a process died is drawn alone from then on; over what it died twice like that,
    a process of its own decides, after everything else: when that dies as well, the photo is quarantined.
    Raises StorageError when the disk is full or the job's folder is gone; the same call again goes on.
    """
    yield from _Run(job, executor, stopped, max_pixels).attempts()


@dataclass(frozen=True)
class _Drawing:
    """A photo that is under way."""

    entry: Entry
    how: How


class _Run:
    def __init__(self, job: OpenJob, executor: Executor, stopped: Callable[[], bool], max_pixels: int) -> None:
        self._job, self._executor, self._stopped, self._max_pixels = job, executor, stopped, max_pixels
        self._losses = job.state.losses
        self._leaders = leaders(job.entries)
        self._tries: dict[int, int] = {}
        open_ones = [entry.number for entry in job.entries if entry.number not in job.state.settled]
        self._waiting = Waiting(open_ones, self._losses, PROGRAM_BEGAN)
        self._followers: dict[int, list[int]] = {}
        self._under_way: dict[Future[Result], _Drawing] = {}
        self._order: deque[int] = deque()  # what was started, and is told in that order
        self._ready: dict[int, Attempt] = {}
        self._storage: StorageError | None = None

    def attempts(self) -> Generator[Attempt, None, None]:
        try:
            self._record_cut_short()
            while self._goes_on():
                if self._halted():
                    self._call_back()
                else:
                    self._fill()
                if not self._next_is_ready():
                    self._collect()
                while self._next_is_ready():
                    yield self._ready.pop(self._order.popleft())
            if self._storage:
                raise self._storage
        finally:
            self._wind_up()

    def _record_cut_short(self) -> None:
        """What the marks tell of the last time goes into the journal, so that they tell of this time alone."""
        self._job.journal.crashed(self._job.state.cut_short, whole=True)
        self._job.state.cut_short.clear()
        self._job.journal.forget_marks()

    def _seen(self, number: int) -> Losses:
        return self._losses.get(number, Losses())

    def _goes_on(self) -> bool:
        return bool(self._under_way or self._ready or (self._waiting and not self._halted()))

    def _next_is_ready(self) -> bool:
        return bool(self._order) and self._order[0] in self._ready

    def _halted(self) -> bool:
        return self._storage is not None or self._stopped()

    def _fill(self) -> None:
        """Start what there is room for."""
        while not self._halted():
            under_way = [drawing.how for drawing in self._under_way.values()]
            following = self._waiting.next(time.monotonic(), under_way, self._executor.slots)
            if following is None:
                return
            self._start(following)

    def _start(self, following: Next) -> None:
        number, how = following.number, following.how
        entry = self._job.entries[number]
        attempt = settled_at_once(entry, self._job.order, self._seen(number))
        if attempt is None and number in self._leaders:
            leader = self._job.state.settled.get(self._leaders[number])
            if leader is None:
                self._followers.setdefault(self._leaders[number], []).append(number)
                return
            try:
                attempt = settled_as_twin(entry, leader, self._task(entry))
            except StorageError as problem:
                self._storage = problem
                return
            if attempt is None:
                self._leaders.pop(number)
        if attempt:
            self._record([attempt])
            return
        try:
            self._job.journal.started(number, how)
        except StorageError as problem:
            self._storage = problem
            return
        drawing = self._executor.submit(self._task(entry), isolated=how == "apart")
        self._under_way[drawing] = _Drawing(entry, how)
        self._order.append(number)

    def _collect(self) -> None:
        """Wait until something under way ends, or a retry is due, or it is time to listen again."""
        if not self._under_way:
            due = self._waiting.due()
            if due is not None:
                time.sleep(max(0.0, min(LISTEN_SECONDS, due - time.monotonic())))
            return
        done, _ = wait(self._under_way, timeout=LISTEN_SECONDS, return_when=FIRST_COMPLETED)
        if any(_lost(future) for future in done):
            time.sleep(OUTLIVE_SECONDS)
            done, _ = wait(self._under_way, timeout=0)  # with all that was in the same process
        ended = [self._under_way[one].entry.number for one in done]
        settled: list[Attempt] = []
        lost: list[_Drawing] = []
        for future in sorted(done, key=lambda one: self._under_way[one].entry.number):
            drawing = self._under_way.pop(future)
            entry = drawing.entry
            if _lost(future):
                lost.append(drawing)
                continue
            problem = future.exception()
            result = Result(_error(entry, problem)) if problem else future.result()
            attempt = self._judged(entry, result)
            if attempt:
                settled.append(attempt)
            else:
                self._order.remove(entry.number)
        self._record(settled)
        if lost:
            self._lose(lost, alone=len(done) == 1 and not self._under_way)
        if ended:
            self._unmark(ended)

    def _judged(self, entry: Entry, result: Result) -> Attempt | None:
        """The attempt a result makes; None when the photo is tried again."""
        tries = self._tries[entry.number] = self._tries.get(entry.number, 0) + 1
        if isinstance(result.error, StorageError):
            self._storage = result.error
            return None
        pause = wait_before_retry(result.error, tries) if result.error else None
        if pause is not None:
            self._waiting.add_later(entry.number, time.monotonic() + pause)
            return None
        return Attempt.of(entry, result, self._job.order.out / entry.output, tries)

    def _lose(self, lost: list[_Drawing], alone: bool) -> None:
        """A process died, and this one outlived it: each photo it had is drawn alone from now on, or apart."""
        seen: dict[int, How] = {}
        for drawing in lost:
            number = drawing.entry.number
            seen[number] = "alone" if alone and drawing.how == "company" else drawing.how
            self._losses[number] = self._seen(number).after(seen[number], whole=False)
            self._order.remove(number)
            self._waiting.add(number)
        try:
            self._job.journal.crashed(seen, whole=False)
        except StorageError as problem:
            self._storage = problem

    def _unmark(self, numbers: list[int]) -> None:
        try:
            self._job.journal.ended(numbers)
        except StorageError as problem:
            self._storage = problem

    def _record(self, settled: list[Attempt]) -> None:
        """Into the journal, then into the state, then to whoever listens."""
        if not settled:
            return
        try:
            self._job.record(settled)
        except StorageError as problem:
            self._storage = problem  # on resume they are drawn again, over the files written now
            self._order = deque(n for n in self._order if n not in {attempt.entry.number for attempt in settled})
            return
        for attempt in settled:
            number = attempt.entry.number
            self._losses.pop(number, None)
            self._ready[number] = attempt
            if number not in self._order:
                self._order.append(number)
            for follower in reversed(self._followers.pop(number, [])):
                self._waiting.add(follower, first=True)

    def _task(self, entry: Entry) -> Task:
        order = self._job.order
        return Task(
            entry.number,
            str(entry.item.source),
            entry.item.name,
            str(order.out),
            str(entry.output),
            order.options,
            order.gate,
            self._max_pixels,
            self._job.mark,
        )

    def _wind_up(self) -> None:
        """Let what is under way end and be recorded, also when the generator is closed or interrupted."""
        self._call_back()
        while self._under_way:
            self._collect()
        self._job.journal.forget_marks()

    def _call_back(self) -> None:
        """Take back what the executor has not begun."""
        for future in list(self._under_way):
            if future.cancel():
                self._order.remove(self._under_way.pop(future).entry.number)


def _lost(future: Future[Result]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), WorkerLostError)


def _error(entry: Entry, problem: BaseException) -> CartoonError:
    if isinstance(problem, Exception):
        return explained(entry.item.name, problem)
    return ResourceError(f"{entry.item.name}: its drawing was cancelled; run it again.")
