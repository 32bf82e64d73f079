"""Who goes first where only a few can work at a time: the urgent before the rest, and each in order of arrival."""

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_arrivals = itertools.count()


@dataclass(frozen=True, order=True)
class Ticket:
    """A request's place in every queue: drawn once, when it arrives. A smaller one goes first.

    later: False for somebody who waits in front of a page, True for a photo of a batch.
    """

    later: bool = False
    arrived: int = field(default_factory=lambda: next(_arrivals))


class Gate:
    """Lets `places` threads through at a time."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[Ticket, int, threading.Event]] = []
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, ticket: Ticket) -> Iterator[None]:
        """Wait for a place, hold it, give it back."""
        event = threading.Event()
        with self._lock:
            heapq.heappush(self._waiting, (ticket, next(_arrivals), event))
            self._admit()
        event.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._admit()

    def _admit(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            heapq.heappop(self._waiting)[2].set()
