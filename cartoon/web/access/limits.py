"""How much one visitor may take of a server that others use as well: work a minute, unfinished jobs, bytes on its disk.

A visitor is a cookie, which anybody can throw away; so every limit holds for an address too, four times as high, since
several people may share one.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cartoon.errors import CartoonError, LimitError
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.store.home import INPUTS
from cartoon.settings import Settings
from cartoon.web.access.visitors import Visitor

SHARED: Final = 4
"""Visitors' worth that one address may have."""
REMEMBERED: Final = 10_000
"""Visitors and addresses."""
AT_REST: Final = frozenset({"finished", "cancelled", "damaged"})
MINUTE: Final = 60.0
FOLDERS: Final = 1000
"""Of an account; with more of them those that are gone are forgotten."""


@dataclass(eq=False)
class _Account:
    """What is known of one visitor or address: requests left, as of when; folders with their bytes; jobs."""

    left: float
    at: float
    folders: dict[Path, int] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    bytes: int = 0
    looked_up: bool = False


class Limits:
    """Counts, in memory; what an owner had before a restart is looked up on the disk. Safe from any thread."""

    def __init__(self, settings: Settings, service: JobService, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._service, self._clock = settings, service, clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, visitor: Visitor) -> None:
        """An upload, a drawing or a job is asked for; raises LimitError when there were too many in a minute."""
        most = self._settings.visitor_requests
        with self._lock:
            accounts = list(self._of(visitor))
            now = self._clock()
            for account, times in accounts:
                account.left = min(most * times, account.left + (now - account.at) * most * times / MINUTE)
                account.at = now
            if any(account.left < 1 for account, _ in accounts):
                raise LimitError(
                    f"These are more than {most} requests in a minute from one visitor (CARTOON_VISITOR_REQUESTS):"
                    " wait a few seconds, and send many photos as one job."
                )
            for account, _ in accounts:
                account.left -= 1

    def check_quota(self, visitor: Visitor, size: int) -> None:
        """So many bytes are about to come; raises LimitError when the visitor has too many on the disk."""
        most = self._settings.visitor_mb
        self._look_up(visitor)
        with self._lock:
            accounts = list(self._of(visitor))
        full = [
            (one, times)
            for one, times in accounts
            if one.bytes + size > most * times * 2**20 or len(one.folders) > FOLDERS
        ]
        for account, times in full:
            # Without the lock, for which the event loop may wait: there may be many folders to look for.
            gone = [folder for folder in tuple(account.folders) if not folder.exists()]
            with self._lock:
                for folder in gone:
                    account.bytes -= account.folders.pop(folder, 0)
            if account.bytes + size > most * times * 2**20:
                raise LimitError(
                    f"Your photos on this server would take more than {most} MB (CARTOON_VISITOR_MB): delete jobs"
                    " that you need no longer, or wait until they expire."
                )

    def check_jobs(self, visitor: Visitor) -> None:
        """A job is about to be begun; raises LimitError when the visitor has too many that are not finished."""
        most = self._settings.visitor_jobs
        self._look_up(visitor)
        with self._lock:
            crowded = [(account, times) for account, times in self._of(visitor) if len(account.jobs) >= most * times]
        for account, times in crowded:
            account.jobs = {job for job in tuple(account.jobs) if self._unfinished(job)}
            if len(account.jobs) >= most * times:
                raise LimitError(
                    f"You have {most} jobs that are not finished (CARTOON_VISITOR_JOBS): wait for one, or cancel one."
                )

    def stored(self, visitor: Visitor, folder: Path, size: int, job: str = "") -> None:
        """So many bytes of the visitor's lie in a folder now; job: the id of the job they are for."""
        with self._lock:
            for account, _ in self._of(visitor):
                account.bytes += size - account.folders.get(folder, 0)
                account.folders[folder] = size
                if job:
                    account.jobs.add(job)

    def _unfinished(self, job: str) -> bool:
        try:
            return self._service.status(job).state not in AT_REST
        except CartoonError:  # removed
            return False

    def _of(self, visitor: Visitor) -> Iterator[tuple[_Account, int]]:
        own = f"owner {visitor.owner}" if visitor.owner else f"nobody at {visitor.address}"
        for key, times in ((own, 1), (f"address {visitor.address}", SHARED)):
            account = self._accounts.get(key)
            if account is None:
                account = self._accounts[key] = _Account(self._settings.visitor_requests * times, self._clock())
                while len(self._accounts) > REMEMBERED:
                    self._accounts.popitem(last=False)
            self._accounts.move_to_end(key)
            yield account, times

    def _look_up(self, visitor: Visitor) -> None:
        """What an owner has from before this process."""
        with self._lock:
            account, _ = next(self._of(visitor))
            known, account.looked_up = account.looked_up, True
        if known or not visitor.owner:
            return
        for status in self._service.jobs(visitor.owner):  # without the lock: there may be many files to weigh
            inputs = status.order.out.parent / INPUTS
            size = size_of(inputs)
            with self._lock:
                account.bytes += size - account.folders.get(inputs, 0)
                account.folders[inputs] = size
                account.jobs.add(status.id)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below; what vanishes meanwhile counts nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total
