"""Several jobs share one executor: each has a share, and they are served in proportion to their jobs' priorities.

Stride scheduling (Waldspurger, Weihl 1995): a share's pass grows by 1 / priority for every photo served, and the share
with the smallest pass goes next.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from cartoon.errors import ResourceError
from cartoon.jobs.executors.base import Executor, WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.model import Result, Task

SHARE_DEPTH: Final = 2
"""Tasks in a share for each slot: so many that it has one when its turn comes, and comes again."""


class FairExecutor:
    """Hands tasks to an executor of another kind, as many as it has slots for, so that none of them waits there."""

    def __init__(self, spec: WorkerSpec, kind: Callable[[WorkerSpec], Executor] = ThreadExecutor) -> None:
        """kind: what draws."""
        self._executor = kind(spec)
        self._shares: list[FairShare] = []
        self._lock = threading.RLock()
        self._closed = False
        self._under_way = 0
        self._time = 0.0

    def share(self, priority: int = 1) -> "FairShare":
        """An executor of its own for one job; closing it gives it up."""
        with self._lock:
            share = FairShare(self, SHARE_DEPTH * self._executor.slots, priority, self._time)
            self._shares.append(share)
            return share

    def add(self, share: "FairShare", task: Task, isolated: bool) -> "Future[Result]":
        """Draw a task when the share's turn comes; an isolated one at once, as it takes nobody's slot."""
        if isolated:
            return self._executor.submit(task, isolated=True)
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                future.cancel()
                return future
            if not share.queue:  # it was idle: no credit for that
                share.passed = max(share.passed, self._time)
            share.queue.append((future, task))
        self._hand_out()
        return future

    def leave(self, share: "FairShare") -> None:
        """A share is no more."""
        with self._lock:
            if share in self._shares:
                self._shares.remove(share)

    def close(self) -> None:
        """Finish what is under way; what waits is cancelled."""
        with self._lock:
            self._closed = True
            waiting = [future for share in self._shares for future, _ in share.queue]
            for share in self._shares:
                share.queue.clear()
        for future in waiting:
            future.cancel()
        self._executor.close()

    def _hand_out(self) -> None:
        with self._lock:
            while self._under_way < self._executor.slots and (share := self._next()):
                future, task = share.queue.popleft()
                self._time = share.passed
                share.passed += 1 / share.priority
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    drawing = self._executor.submit(task)
                except Exception as problem:  # noqa: BLE001 - whoever waits must hear of it
                    future.set_exception(problem)
                    continue
                self._under_way += 1
                drawing.add_done_callback(partial(self._ended, future))

    def _ended(self, future: "Future[Result]", done: "Future[Result]") -> None:
        if done.cancelled():  # its executor closed before it began
            future.set_exception(ResourceError("The drawing was called off as the program ends: run it again."))
        elif problem := done.exception():
            future.set_exception(problem)
        else:
            future.set_result(done.result())
        with self._lock:
            self._under_way -= 1
        self._hand_out()

    def _next(self) -> "FairShare | None":
        return min((share for share in self._shares if share.queue), key=lambda share: share.passed, default=None)


@dataclass(eq=False)
class FairShare:
    """One job's executor."""

    fair: FairExecutor
    slots: int
    priority: int
    passed: float
    queue: "deque[tuple[Future[Result], Task]]" = field(default_factory=deque)

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        """Draw a task when the share's turn comes; an isolated one out of turn."""
        return self.fair.add(self, task, isolated)

    def close(self) -> None:
        """Give the share up."""
        self.fair.leave(self)
