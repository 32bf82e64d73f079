"""Several jobs share one artist: each has a lane, and the lanes are served in proportion to their jobs' priorities.

Stride scheduling (Waldspurger, Weihl 1995): a lane's pass grows by 1 / priority for every photo served, and the lane
with the smallest pass goes next.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from cartoon.jobs.executors.local import LOOK_AHEAD, IsolatedExecutor
from cartoon.jobs.photo import Judge, Result, Stylizer, Task, draw_file

LANE_DEPTH: Final = 2
"""Tasks in a lane for each place: so many that it has one when its turn comes, and comes again."""


class FairExecutor:
    """Threads over one artist, and the lanes they serve."""

    def __init__(self, artist: Stylizer, judge: Judge | None = None, spare: IsolatedExecutor | None = None) -> None:
        """spare: for last tries; without it this process has to do."""
        self._artist, self._judge, self._spare = artist, judge, spare
        self.places = artist.at_once + LOOK_AHEAD
        self._lanes: list[Share] = []
        self._changed = threading.Condition()
        self._closed = False
        self._time = 0.0
        self._threads = [
            threading.Thread(target=self._serve, name=f"draw-{n}", daemon=True) for n in range(self.places)
        ]
        for thread in self._threads:
            thread.start()

    def lane(self, priority: int = 1) -> "Share":
        """An executor of its own for one job; closing it gives it up."""
        with self._changed:
            lane = Share(self._add, self._leave, LANE_DEPTH * self.places, priority, self._time, self._spare)
            self._lanes.append(lane)
            return lane

    def close(self) -> None:
        """Finish what is under way; what waits is cancelled."""
        with self._changed:
            self._closed = True
            waiting = [future for lane in self._lanes for future, _ in lane.queue]
            for lane in self._lanes:
                lane.queue.clear()
            self._changed.notify_all()
        for future in waiting:
            future.cancel()
        for thread in self._threads:
            thread.join()
        if self._spare:
            self._spare.close()

    def _add(self, lane: "Share", task: Task) -> "Future[Result]":
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            if not lane.queue:  # it was idle: no credit for that
                lane.passed = max(lane.passed, self._time)
            lane.queue.append((future, task))
            self._changed.notify()
        return future

    def _leave(self, lane: "Share") -> None:
        with self._changed:
            if lane in self._lanes:
                self._lanes.remove(lane)

    def _serve(self) -> None:
        while True:
            with self._changed:
                lane = self._next()
                while lane is None and not self._closed:
                    self._changed.wait()
                    lane = self._next()
                if lane is None:
                    return
                future, task = lane.queue.popleft()
                self._time = lane.passed
                lane.passed += 1 / lane.priority
            if future.set_running_or_notify_cancel():
                future.set_result(draw_file(task, self._artist, self._judge))
            del future, task

    def _next(self) -> "Share | None":
        return min((lane for lane in self._lanes if lane.queue), key=lambda lane: lane.passed, default=None)


@dataclass(eq=False)
class Share:
    """One job's executor."""

    add: "Callable[[Share, Task], Future[Result]]"
    leave: "Callable[[Share], None]"
    places: int
    priority: int
    passed: float
    spare: IsolatedExecutor | None = None
    queue: "deque[tuple[Future[Result], Task]]" = field(default_factory=deque)

    def submit(self, task: Task) -> "Future[Result]":
        """Draw a task when the lane's turn comes."""
        return self.add(self, task)

    def apart(self, task: Task) -> "Future[Result]":
        """Draw a task in a process started for it, out of turn."""
        return self.spare.draw(task) if self.spare else self.submit(task)

    def close(self) -> None:
        """Give the lane up."""
        self.leave(self)
