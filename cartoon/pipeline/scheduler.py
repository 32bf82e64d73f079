"""The one place that admits work: who is prepared, painted and enlarged next, and how much memory photos take.

Whoever comes first goes first, but a photo that somebody waits for goes before those of a batch, at every step; the
network's own queue (cartoon.pipeline.batcher) takes the same tickets.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from cartoon.memory import PrioritySemaphore, Ticket, give_back, pixels_of_photos
from cartoon.models.cores import usable_cores

CPU_AT_ONCE: Final = 3
"""Photos drawn at the same time on a CPU: one is prepared while the network has another and a third is finished."""
CUDA_AT_ONCE: Final = 24
"""On each GPU: enough to fill its passes while others are prepared and finished."""
LEAST_PIXELS: Final = 1 << 20
"""Pixels that a photo may have however little memory is free: one of 1024 px."""
LARGE: Final = 1 << 20
"""Pixels of a picture before and after which freed memory is handed back to the system."""

Result = TypeVar("Result")


def places_of(kind: str, devices: int) -> int:
    """Photos that may be prepared, and finished, at the same time: on a CPU the network wants every core."""
    return 1 if kind == "cpu" else min(usable_cores(), CUDA_AT_ONCE * devices)


class Scheduler:
    """Admits the photos of one process to so many devices of a kind, "cpu" or "cuda"."""

    def __init__(self, kind: str, devices: int) -> None:
        self.at_once = CPU_AT_ONCE if kind == "cpu" else CUDA_AT_ONCE * devices
        places = places_of(kind, devices)
        self.preparing, self.finishing = PrioritySemaphore(places), PrioritySemaphore(places)
        self.enlarging = PrioritySemaphore(1)
        one, together = pixels_of_photos(kind)
        self.most_pixels = max(LEAST_PIXELS, one)
        """Of one photo: a larger one is painted smaller."""
        self._pixels = PrioritySemaphore(max(LEAST_PIXELS, together))
        self._pools = {
            urgent: ThreadPoolExecutor(self.at_once, thread_name_prefix="urgent" if urgent else "later")
            for urgent in (True, False)
        }

    @contextmanager
    def memory(self, ticket: Ticket, pixels: int) -> Iterator[Callable[[], None]]:
        """Wait until a photo of so many pixels fits beside the others under way; it is alone if it is larger than that.

        Gives a function that hands freed memory to the system, for large photos; it is called before and after too.
        """
        trim = give_back if pixels > LARGE else _nothing
        with self._pixels.admit(ticket, pixels):
            trim()
            yield trim
            trim()

    def submit(self, work: Callable[[], Result], urgent: bool) -> "Future[Result]":
        """Work in a thread: `at_once` of the urgent and as many others; the rest waits, and may be cancelled."""
        return self._pools[urgent].submit(work)

    def stop(self) -> None:
        """Cancel what waits for a thread, and take no more."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Wait for what is under way."""
        for pool in self._pools.values():
            pool.shutdown()


def _nothing() -> None:
    pass
