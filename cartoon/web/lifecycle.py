"""The life of a serving process: it starts, is ready, drains before it stops; and what runs beside its requests."""

import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, Literal

from cartoon.errors import CartoonError, DrainingError
from cartoon.jobs.service.jobs import JobService
from cartoon.telemetry import metrics
from cartoon.web.data_dir import DataDir

RETRY_SECONDS: Final = 5
"""Until the first picture is tried again, when memory was too short for it."""
CLOSE_SECONDS: Final = 1.0
"""How long jobs may take to end what is under way once all requests have ended; what is cut off is drawn again."""
SWEEP_SECONDS: Final = 3600

State = Literal["starting", "ready", "draining"]

log = logging.getLogger(__name__)


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


def lifespan(
    readiness: Readiness, service: JobService, data: DataDir, keep_seconds: float, warm: Callable[[], None] | None
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """What an ASGI application does from its start to its end: draws its first picture (`warm`), keeps the disk clean,
    and closes the jobs once the process drains."""

    @asynccontextmanager
    async def living(_: Any) -> AsyncIterator[None]:
        keep_for_good()
        if warm is not None:
            _begin("warm", warm_up, warm, readiness)
        _begin("clean", _keep_clean, service, data, keep_seconds, readiness)
        closing = _begin("close", _close_jobs, service, readiness)
        yield
        readiness.drain()  # under a server that has not said so
        closing.join(CLOSE_SECONDS)
        data.close()

    return living


def keep_for_good() -> None:
    """Have Python's garbage collector look no more at what is there now: libraries, the page, the networks.

    A full collection over all that stops every thread, so every answer, for 0.2 s and more; while photos and jobs come
    in there is one every few hundred of them.
    """
    gc.collect()
    gc.freeze()


def warm_up(warm: Callable[[], None], readiness: Readiness, retry_seconds: float = RETRY_SECONDS) -> None:
    """Draws the first picture, again and again until there is the memory for it."""
    while not readiness.draining:
        try:
            warm()
        except CancelledError:  # the stylizer was closed meanwhile
            return
        except CartoonError as error:
            log.warning("not ready: %s", error, extra={"event": "not_ready", "code": error.code})
        except Exception:
            told = {"event": "not_ready", "code": metrics.INTERNAL}
            log.exception("not ready: the first picture failed", extra=told)
        else:
            keep_for_good()
            readiness.warmed()
            log.info("ready", extra={"event": "ready"})
            return
        readiness.wait_for_drain(retry_seconds)


def _close_jobs(service: JobService, readiness: Readiness) -> None:
    """Once the process drains: jobs end what is under way, and are gone on with by the next process."""
    readiness.wait_for_drain()
    with readiness.work():
        service.close()


def _keep_clean(service: JobService, data: DataDir, keep_seconds: float, readiness: Readiness) -> None:
    """Now and every hour: old jobs go, and what interrupted uploads have left."""
    while not readiness.draining:
        try:
            service.sweep(keep_seconds)
            data.sweep()
        except (CartoonError, OSError) as problem:  # one job that cannot be read must not end it
            log.warning("not everything old was removed: %s", type(problem).__name__, extra={"event": "not_swept"})
        readiness.wait_for_drain(SWEEP_SECONDS)


def _begin(name: str, run: Callable[..., None], *given: object) -> threading.Thread:
    thread = threading.Thread(target=run, args=given, name=name, daemon=True)
    thread.start()
    return thread
