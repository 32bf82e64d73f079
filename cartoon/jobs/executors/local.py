"""Who draws the photos of jobs: threads over the artist of this process, or a process of their own that may die."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, Protocol

from cartoon.errors import CartoonError, QuarantineError, ResourceError, WorkerLostError
from cartoon.jobs.photo import Artist, Judge, Result, Task, draw_file
from cartoon.settings import Settings
from cartoon.telemetry.logs import set_up

log = logging.getLogger(__name__)

LOOK_AHEAD: Final = 2
"""Photos beyond those being drawn: they are opened and written meanwhile."""
CLOSE_SECONDS: Final = 10.0
"""How long a worker may take to end before it is killed."""
LAST_TRY_SECONDS: Final = 3600.0
"""How long a photo may take in a process of its own; nothing else of its job waits for it."""


class Crew(Protocol):
    """Takes Tasks and draws them, several at a time."""

    @property
    def places(self) -> int:
        """How many tasks keep it busy; it takes more, but they only wait."""
        ...

    def submit(self, task: Task) -> "Future[Result]":
        """Draw a task. The future raises WorkerLostError when its worker died."""
        ...

    def apart(self, task: Task) -> "Future[Result]":
        """Draw a task with nothing else in its process: the last try of a photo that may have crashed others.

        Asked for while nothing else of the job is under way. The future raises WorkerLostError when the process died
        over the photo, ResourceError when there was none to be had, QuarantineError when it took too long.
        """
        ...

    def close(self) -> None:
        """End when what is under way is done."""
        ...


class Threads:
    """A crew in this process, over one artist that others may use as well.

    spare: for last tries; without it this process has to do.
    """

    def __init__(self, artist: Artist, judge: Judge | None = None, spare: "Spare | None" = None) -> None:
        self._artist, self._judge, self._spare = artist, judge, spare
        self.places = artist.at_once + LOOK_AHEAD
        self._pool = ThreadPoolExecutor(self.places, thread_name_prefix="draw")

    def submit(self, task: Task) -> "Future[Result]":
        """Draw a task in one of the threads."""
        return self._pool.submit(draw_file, task, self._artist, self._judge)

    def apart(self, task: Task) -> "Future[Result]":
        """Draw a task in a process started for it."""
        return self._spare.draw(task) if self._spare else self.submit(task)

    def close(self) -> None:
        """Cancel what waits, finish what is under way."""
        self._pool.shutdown(cancel_futures=True)
        if self._spare:
            self._spare.close()


class Worker:
    """A crew in a process of its own: loads the artist once, is started anew when it dies.

    Raises what loading the artist raised.
    """

    def __init__(self, load: Callable[[Settings], Artist], settings: Settings, judge: Judge | None = None) -> None:
        self._load, self._settings, self._judge = load, settings, judge
        self._spare = Spare(partial(Worker, load, settings, judge))
        self._lock = threading.Lock()
        self._child = self._start()
        self.places = self._child.places

    def submit(self, task: Task) -> "Future[Result]":
        """Send a task to the process, a new one if the last has died."""
        with self._lock:
            if self._child.lost:
                self._child = self._start()
            return self._child.submit(task)

    def apart(self, task: Task) -> "Future[Result]":
        """Draw a task in a process started for it; the usual one makes room, and comes back when it is needed."""
        self.close()
        return self._spare.draw(task)

    def close(self) -> None:
        """Let the process end; kill it when it does not."""
        self._spare.close()
        with self._lock:
            self._child.close()

    def kill(self) -> None:
        """End the process at once."""
        self._child.process.kill()

    def _start(self) -> "_Child":
        # Not fork: threads and CUDA do not survive it.
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(theirs, self._load, self._settings, self._judge), name="cartoon-worker"
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


class Spare:
    """Processes for last tries: one for each, one at a time, as each loads an artist of its own."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        self._start = start
        self._one = threading.Lock()
        self._worker: Worker | None = None

    def draw(self, task: Task) -> "Future[Result]":
        """Draw a task in a process that is started for it and ends with it; the future raises what Crew.apart says."""
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

    def _begun(self, task: Task) -> Worker:
        try:
            return self._start()
        except CartoonError as problem:
            told = f"{task.name} has to be tried in a process of its own, and there was none to be had ({problem})"
            raise ResourceError(f"{told}: run it again.") from problem


@dataclass(eq=False)
class _Child:
    """One process and what is under way in it."""

    process: BaseProcess
    pipe: Connection
    places: int
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


def _work(pipe: Connection, load: Callable[[Settings], Artist], settings: Settings, judge: Judge | None) -> None:
    """The process: load, say how many photos it takes at a time, then draw what comes until nothing more does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, name="parent", daemon=True).start()
    set_up(settings.log, logging.WARNING)
    logging.getLogger("cartoon").setLevel(logging.INFO)
    try:
        artist = load(settings)
    except CartoonError as error:
        pipe.send(error)
        return
    crew, sending = Threads(artist, judge), threading.Lock()
    pipe.send(crew.places)

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
        crew.submit(task).add_done_callback(lambda done, task=task: answer(task, done))  # type: ignore[misc]
    crew.close()
    pipe.close()
    os._exit(0)  # without waiting for the threads of libraries


def _leave_with_parent() -> None:
    """End when the parent was killed: neither a half-loaded model nor a half-drawn photo is of use to anybody."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
