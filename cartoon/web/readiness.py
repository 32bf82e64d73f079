"""Whether this process takes work: it starts, is ready, and drains before it stops."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from cartoon.errors import DrainingError

State = Literal["starting", "ready", "draining"]


class Readiness:
    """One per process, asked by every door and set by the process that serves; safe from any thread.

    warm: whether the first photo would already be drawn as fast as the next ones.
    """

    def __init__(self, *, warm: bool = True) -> None:
        self._warm, self._draining = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._works = 0
        if warm:
            self._warm.set()

    @property
    def state(self) -> State:
        """What a load balancer wants to know."""
        if self.draining:
            return "draining"
        return "ready" if self._warm.is_set() else "starting"

    @property
    def draining(self) -> bool:
        """Whether the process was told to stop: what is under way ends, nothing new is begun. Never false again."""
        return self._draining.is_set()

    @property
    def busy(self) -> bool:
        """Whether somebody works at this moment, see `work`."""
        return self._works > 0

    def warmed(self) -> None:
        """The first photo was drawn."""
        self._warm.set()

    def drain(self) -> None:
        """Begin nothing more; may be called from a signal handler."""
        self._draining.set()

    def wait_for_drain(self, seconds: float | None = None) -> bool:
        """Wait until the process drains, at most so long; whether it does."""
        return self._draining.wait(seconds)

    def check(self) -> None:
        """Raise DrainingError when nothing new may be begun."""
        if self.draining:
            raise DrainingError("Cartoon is shutting down: send this again in a few seconds.")

    @contextmanager
    def work(self) -> Iterator[None]:
        """Something that ought to end before the process does; the server waits for it a few seconds."""
        with self._lock:
            self._works += 1
        try:
            yield
        finally:
            with self._lock:
                self._works -= 1
