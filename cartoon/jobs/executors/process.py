"""Draws the photos of jobs in processes of their own, which may die: one for all photos, or one for a single photo."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from cartoon.errors import CartoonError, QuarantineError, ResourceError, WorkerLostError
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.model import Result, Task
from cartoon.telemetry.logs import set_up

CLOSE_SECONDS: Final = 10.0
"""How long a worker may take to end before it is killed."""
LAST_TRY_SECONDS: Final = 3600.0
"""How long a photo may take in a process of its own; nothing else of its job waits for it."""


class ProcessExecutor:
    """A process that loads its stylizer once, and is started anew when it dies.

    Raises what loading the stylizer raised.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._isolated = IsolatedExecutor(spec)
        self._lock = threading.Lock()
        self._child = self._start()
        self.slots = self._child.slots

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        """Send a task to the process, a new one if the last has died; for an isolated one the usual process ends.

        It makes room like that, and comes back when it is needed.
        """
        if isolated:
            self.close()
            return self._isolated.submit(task)
        with self._lock:
            if self._child.lost:
                self._child = self._start()
            return self._child.submit(task)

    def close(self) -> None:
        """Let the process end; kill it when it does not."""
        self._isolated.close()
        with self._lock:
            self._child.close()

    def kill(self) -> None:
        """End the process at once."""
        self._child.process.kill()

    def _start(self) -> "_Child":
        # Not fork: threads and CUDA do not survive it.
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(theirs, self._spec), name="cartoon-worker"
        )
        process.start()
        theirs.close()  # so that its end shows here as the end of the stream
        try:
            answer = ours.recv()
        except (EOFError, OSError) as problem:
            raise ResourceError("The worker ended while it loaded the model: is there enough free memory?") from problem
        if isinstance(answer, CartoonError):
            process.join(CLOSE_SECONDS)
            raise answer
        return _Child(process, ours, answer)


class IsolatedExecutor:
    """Processes for last tries: one for each, one at a time, as each loads a stylizer of its own."""

    slots = 1

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = replace(spec, isolated=None)
        self._one = threading.Lock()
        self._worker: ProcessExecutor | None = None

    def submit(self, task: Task, *, isolated: bool = True) -> "Future[Result]":
        """Draw a task in a process that is started for it and ends with it."""
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._draw, args=(task, future), name="last-try", daemon=True).start()
        return future

    def close(self) -> None:
        """End what is still under way."""
        worker = self._worker
        if worker:
            worker.kill()

    def _draw(self, task: Task, future: "Future[Result]") -> None:
        try:
            with self._one, contextlib.closing(self._begun(task)) as self._worker:
                result = self._worker.submit(task).result(LAST_TRY_SECONDS)
        except TookTooLong:  # before Python 3.11 it is not the built-in one
            told = f"{task.name} ended other processes, and had no end in one of its own within an hour: leave it out."
            future.set_exception(QuarantineError(told))
        except Exception as problem:  # noqa: BLE001 - whoever waits must hear of it
            future.set_exception(problem)
        else:
            future.set_result(result)

    def _begun(self, task: Task) -> ProcessExecutor:
        try:
            return ProcessExecutor(self._spec)
        except CartoonError as problem:
            told = f"{task.name} has to be tried in a process of its own, and there was none to be had ({problem})"
            raise ResourceError(f"{told}: run it again.") from problem


@dataclass(eq=False)
class _Child:
    """One process and what is under way in it."""

    process: BaseProcess
    pipe: Connection
    slots: int
    lost: bool = False
    waiting: "dict[int, Future[Result]]" = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, name="worker-results", daemon=True)
        self._reader.start()

    def submit(self, task: Task) -> "Future[Result]":
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        with self.lock:
            self.waiting[task.number] = future
        try:
            self.pipe.send(task)
        except OSError:
            self._lose()
        return future

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(CLOSE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._reader.join(CLOSE_SECONDS)
        self.pipe.close()

    def _read(self) -> None:
        while True:
            try:
                number, result = self.pipe.recv()
            except (EOFError, OSError):
                break
            with self.lock:
                future = self.waiting.pop(number, None)
            if future:
                future.set_result(result)
        self._lose()

    def _lose(self) -> None:
        with self.lock:
            self.lost = True
            waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            future.set_exception(WorkerLostError("The process that drew it died."))


def _work(pipe: Connection, spec: WorkerSpec) -> None:
    """The process: load, say how many photos it takes at a time, then draw what comes until nothing more does."""
    from cartoon.jobs.executors.local import ThreadExecutor  # which has isolated processes of its own from here

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, name="parent", daemon=True).start()
    set_up(spec.settings.log, logging.WARNING)
    logging.getLogger("cartoon").setLevel(logging.INFO)
    try:
        executor = ThreadExecutor(spec)
    except CartoonError as error:
        pipe.send(error)
        return
    sending = threading.Lock()
    pipe.send(executor.slots)

    def answer(task: Task, done: "Future[Result]") -> None:
        with sending, contextlib.suppress(OSError):
            pipe.send((task.number, done.result()))

    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        if task is None:
            break
        executor.submit(task).add_done_callback(lambda done, task=task: answer(task, done))  # type: ignore[misc]
    executor.close()
    pipe.close()
    os._exit(0)  # without waiting for the threads of libraries


def _leave_with_parent() -> None:
    """End when the parent was killed: neither a half-loaded model nor a half-drawn photo is of use to anybody."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
