"""Several of a thing that serves one thread at a time: MediaPipe's graphs, of which a GPU needs one for every core."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Pool(Generic[Thing]):
    """Lends things to threads, the one that was used last first; whoever finds none waits."""

    def __init__(self, make: Callable[[], Thing], count: int) -> None:
        """All are made now: what making one raises is raised here."""
        self._things = [make() for _ in range(count)]
        self._idle = list(self._things)
        self._change = threading.Condition()
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[Thing]:
        """One of them, for this thread alone. Raises RuntimeError once the pool is closed."""
        with self._change:
            self._change.wait_for(lambda: self._idle or self._closed)
            if self._closed:
                raise RuntimeError("the pool is closed")
            thing = self._idle.pop()
        try:
            yield thing
        finally:
            with self._change:
                self._idle.append(thing)
                self._change.notify_all()

    def close(self, each: Callable[[Thing], None]) -> None:
        """Take all of them back, waiting for those that are lent, and close each."""
        with self._change:
            self._change.wait_for(lambda: len(self._idle) == len(self._things))
            self._closed = True
            self._change.notify_all()
        for thing in self._things:
            each(thing)
