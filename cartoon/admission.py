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
    """Lets threads through while their places, of `places` in all, last; strictly in the order of their tickets."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = places
        self._waiting: list[tuple[Ticket, int, int, threading.Event]] = []
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, ticket: Ticket, places: int = 1) -> Iterator[None]:
        """Wait for so many places, hold them, give them back; whoever asks for more than there are gets all."""
        places, event = min(places, self.places), threading.Event()
        with self._lock:
            heapq.heappush(self._waiting, (ticket, next(_arrivals), places, event))
            self._admit()
        event.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += places
                self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][2] <= self._free:
            _, _, places, event = heapq.heappop(self._waiting)
            self._free -= places
            event.set()
