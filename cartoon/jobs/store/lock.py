"""Who works on a job, or has a server's jobs: one process, as long as it lives; the system itself lets go."""

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from cartoon.errors import BusyError, OptionsError

log = logging.getLogger(__name__)

HOLD_SECONDS: Final = 5.0
"""How long a folder is waited for: a process that was just killed takes a moment to let go."""
LOCK_SECONDS: Final = 5.0
"""The same, of the file in a job's folder."""
LOOK_SECONDS: Final = 0.05
TAKEN: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


class FolderLock:
    """A folder that is held; raises BusyError with a sentence while another process has it, OSError without it.

    It is the folder itself that is locked (flock), not a file in it: nothing is left behind, and a disk may become
    read-only meanwhile. Where a file system knows no such locks, that is logged, and nobody is kept out.
    """

    def __init__(self, folder: Path, refusal: str) -> None:
        self._folder = os.open(folder, os.O_RDONLY) if os.name == "posix" else -1
        try:
            if self._folder >= 0:
                _lock(self._folder, refusal)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let another process have it."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def job_lock(path: Path, out: Path, seconds: float | None = None) -> FileLock:
    """The lock file of a job, held; raises BusyError while another process works on it, OptionsError."""
    lock = FileLock(path, timeout=LOCK_SECONDS if seconds is None else seconds, thread_local=False)
    try:
        lock.acquire()
    except Timeout as busy:
        raise BusyError(f"Another process works on this job in {out}: wait until it has ended, or stop it.") from busy
    except OSError as problem:
        raise OptionsError(f"{out} cannot be the output folder ({problem.strerror}): give another -o.") from problem
    return lock


@contextmanager
def locked(path: Path, out: Path, seconds: float | None = None) -> Iterator[None]:
    """While such a file is held."""
    lock = job_lock(path, out, seconds)
    try:
        yield
    finally:
        lock.release()


def _lock(folder: int, refusal: str) -> None:
    import fcntl  # not on Windows

    until = time.monotonic() + HOLD_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as problem:
            if problem.errno not in TAKEN:
                log.warning("the folder of the jobs cannot be locked (%s): start no second server", problem.strerror)
                return
            if time.monotonic() > until:
                raise BusyError(refusal) from problem
        time.sleep(LOOK_SECONDS)
