"""Draws the photos of jobs in this process: threads over one stylizer, which others may use as well."""

import queue
import threading
from concurrent.futures import Future
from dataclasses import replace

from cartoon.jobs.executors.base import LOOK_AHEAD, WorkerSpec
from cartoon.jobs.executors.process import IsolatedExecutor
from cartoon.jobs.model import Result, Task
from cartoon.jobs.photo import draw_file


class ThreadExecutor:
    """Threads of this process. They are no reason for it to stay: what they draw when it ends is drawn again.

    Raises what loading the stylizer raised.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._stylizer, self._judge = spec.load(spec.settings), spec.judge
        self._isolated = IsolatedExecutor(replace(spec, load=spec.isolated)) if spec.isolated else None
        self.slots = self._stylizer.at_once + LOOK_AHEAD
        self._tasks: queue.SimpleQueue[tuple[Future[Result], Task] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, name=f"draw-{n}", daemon=True) for n in range(self.slots)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        """Draw a task in one of the threads, or in a process started for it."""
        if isolated and self._isolated:
            return self._isolated.submit(task)
        future: Future[Result] = Future()
        with self._closing:
            if self._closed:
                future.cancel()
            else:
                self._tasks.put((future, task))
        return future

    def close(self) -> None:
        """Cancel what waits, finish what is under way."""
        with self._closing:
            self._closed = True
        try:
            while given := self._tasks.get_nowait():
                given[0].cancel()
        except queue.Empty:
            pass
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        if self._isolated:
            self._isolated.close()

    def _serve(self) -> None:
        while given := self._tasks.get():
            future, task = given
            if future.set_running_or_notify_cancel():
                try:
                    result = draw_file(task, self._stylizer, self._judge)
                except BaseException as problem:  # noqa: BLE001 - whoever waits must hear of it
                    future.set_exception(problem)
                else:
                    future.set_result(result)
            del future, task, given
