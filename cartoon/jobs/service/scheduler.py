"""Where the jobs of a server are drawn: so many places, the queue for them, and a thread for each job that has one."""

import logging
import threading
import time

from cartoon.errors import CartoonError, DamagedError
from cartoon.jobs.executors.fair import FairExecutor
from cartoon.jobs.runner import run
from cartoon.jobs.service.fairness import AT_ONCE, TURN_SECONDS, Claim, gives_way, next_of
from cartoon.jobs.service.served import OURS, HaltedError, ServedJob

log = logging.getLogger(__name__)


class JobScheduler:
    """Draws jobs, AT_ONCE of them at a time; only those have a thread and open files.

    changed: guards all that is in memory and is told of every change; whoever calls enqueue or leave holds it.
    """

    def __init__(self, executor: FairExecutor, max_pixels: int, changed: threading.Condition) -> None:
        self._executor, self._max_pixels, self._changed = executor, max_pixels, changed
        self._waiting: dict[str, ServedJob] = {}
        self._running: dict[str, ServedJob] = {}
        self._giving: set[str] = set()
        self._threads: set[threading.Thread] = set()
        self._closing = False

    def enqueue(self, job: ServedJob) -> None:
        """Have a job drawn when its turn comes; one that is being halted waits again once that has ended."""
        if job.wants_to_run and not job.running and not self._closing:
            self._waiting.setdefault(job.order.id, job)
            self._hand_out()

    def leave(self, job: ServedJob) -> None:
        """Begin nothing more of a job; what is under way ends."""
        self._waiting.pop(job.order.id, None)
        job.stop.set()

    def close(self) -> None:
        """Let every job end what is under way."""
        with self._changed:
            self._closing = True
            for job in [*self._waiting.values(), *self._running.values()]:
                self.leave(job)
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._executor.close()

    def _hand_out(self) -> None:
        """Give free places to waiting jobs."""
        while self._waiting and len(self._running) < AT_ONCE:
            claim = next_of([_claim(job) for job in self._waiting.values()], map(_claim, self._running.values()))
            job = self._running[claim.id] = self._waiting.pop(claim.id)
            job.running, job.stop = True, threading.Event()
            thread = threading.Thread(target=self._work, args=(job, job.stop), name="job", daemon=True)
            self._threads.add(thread)
            thread.start()
            self._tell(job)

    def _work(self, job: ServedJob, stop: threading.Event) -> None:
        share = self._executor.share(job.order.priority)
        turn_over = time.monotonic() + TURN_SECONDS

        def stopped() -> bool:
            return stop.is_set() or self._gives_way(job, turn_over)

        try:
            with job.opened(stop.is_set) as opened:
                for _ in run(opened, share, stopped, self._max_pixels):
                    with self._changed:
                        job.came()
                        self._tell(job)
        except HaltedError:
            log.debug("job halted while it was opened", extra={"job": job.order.id})
        except DamagedError as error:
            job.damage = str(error)
            log.warning("a job is damaged", extra={"job": job.order.id})
        except CartoonError as error:
            job.control, job.reason = "pause", str(error)
            log.warning("job paused: %s", error.code, extra={"job": job.order.id})
        except Exception:
            job.control, job.reason = "pause", OURS
            log.exception("job stopped", extra={"job": job.order.id})
        finally:
            share.close()
            with self._changed:
                del self._running[job.order.id]
                self._giving.discard(job.order.id)
                self._threads.discard(threading.current_thread())
                job.running = False
                self.enqueue(job)  # its turn was over, or somebody had it go on while it was being halted
                if not self._closing:
                    self._hand_out()
                self._tell(job)

    def _gives_way(self, job: ServedJob, turn_over: float) -> bool:
        id = job.order.id
        if id in self._giving:
            return True
        if not self._waiting or time.monotonic() < turn_over:
            return False
        with self._changed:
            waiting, running = map(_claim, self._waiting.values()), [_claim(one) for one in self._running.values()]
            if gives_way(_claim(job), waiting, running, len(self._giving)):
                self._giving.add(id)
            return id in self._giving

    def _tell(self, job: ServedJob) -> None:
        job.turn += 1
        self._changed.notify_all()


def _claim(job: ServedJob) -> Claim:
    return Claim(job.order.id, job.order.owner, job.order.priority)
