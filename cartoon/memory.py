"""What memory is free, how much of it photos may take, who takes it first, and giving it back."""

import ctypes
import heapq
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

SHARE: Final = 0.8
"""Of the free memory that may be taken."""
PHOTO_BYTES: Final = 125
"""What a photo takes at its peak for each pixel drawn, from layers to picture; benchmarks.memory, 4000x3200 px."""
PHOTOS_MOST: Final = 1536 << 20
"""Bytes that all photos under way take on a CPU, however much is free; a larger one alone may take more."""

M_ARENA_MAX: Final = -8
"""From glibc's malloc.h."""
CGROUP: Final = Path("/sys/fs/cgroup")
MEMINFO: Final = Path("/proc/meminfo")

_arrivals: Final = itertools.count()


@dataclass(frozen=True, order=True)
class Ticket:
    """A request's place in every queue: drawn once, when it arrives. A smaller one goes first.

    later: False for somebody who waits in front of a page, True for a photo of a batch.
    """

    later: bool = False
    arrived: int = field(default_factory=lambda: next(_arrivals))


class PrioritySemaphore:
    """Lets threads through while their places, of `places` in all, last; strictly in the order of their tickets.

    A place is whatever is counted: a photo that is painted, a pixel of memory.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = places
        self._waiting: list[tuple[Ticket, int, int, threading.Event]] = []
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Places that nobody holds now."""
        return self._free

    @property
    def waiting(self) -> int:
        """Threads that wait for places now."""
        return len(self._waiting)

    @contextmanager
    def admit(self, ticket: Ticket, places: int = 1) -> Iterator[Callable[[], None]]:
        """Wait for so many places, hold them, give them back; whoever asks for more than there are gets all.

        Gives a function for long work that can pause: it lets those with smaller tickets go first, where any wait.
        """
        places = min(places, self.places)
        self._enter(ticket, places)
        try:
            yield partial(self._step_aside, ticket, places)
        finally:
            with self._lock:
                self._free += places
                self._admit()

    def _enter(self, ticket: Ticket, places: int, held: int = 0) -> None:
        """Wait for places; held: those given back at the same moment."""
        event = threading.Event()
        with self._lock:
            self._free += held
            heapq.heappush(self._waiting, (ticket, next(_arrivals), places, event))
            self._admit()
        event.wait()

    def _step_aside(self, ticket: Ticket, places: int) -> None:
        self._enter(ticket, places, held=places)

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][2] <= self._free:
            _, _, places, event = heapq.heappop(self._waiting)
            self._free -= places
            event.set()


def give_back() -> None:
    """Hand freed memory to the system: after a large picture glibc would keep hundreds of megabytes of it."""
    _glibc("malloc_trim", 0)


def one_heap() -> None:
    """Let threads that are started from now on share a heap: else each keeps what it freed for itself."""
    _glibc("mallopt", M_ARENA_MAX, 1)


def _glibc(name: str, *numbers: int) -> None:
    """Call a function of the GNU C library; where there is another library, nothing is done."""
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)
        if function is not None:
            function(*numbers)


def free_memory() -> int:
    """Bytes that this process may still take: what the system has available, and what its control group leaves."""
    available = _field(MEMINFO, "MemAvailable:") * 1024
    most, now = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    if most is None or now is None:
        return available
    return min(available, max(0, most - now + _field(CGROUP / "memory.stat", "inactive_file")))


def pixels_of_photos(kind: str) -> tuple[int, int]:
    """Pixels that one photo may be painted with, and all under way on "cpu" or "cuda", by the memory free now."""
    free = int(SHARE * free_memory())
    together = min(free, PHOTOS_MOST) if kind == "cpu" else free
    return free // PHOTO_BYTES, together // PHOTO_BYTES


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control groups here, or "max"
        return None


def _field(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
