"""A folder held by one process alone, as long as it lives: the system itself lets go when the process is killed."""

import errno
import logging
import os
import time
from pathlib import Path
from typing import Final

from cartoon.errors import BusyError

log = logging.getLogger(__name__)

HOLD_SECONDS: Final = 5.0
"""How long a folder is waited for: a process that was just killed takes a moment to let go."""
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
