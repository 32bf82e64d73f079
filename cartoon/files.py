"""Files that are there whole or not at all; what the system says when they do not fit."""

import errno
import os
import secrets
from pathlib import Path
from typing import Final

from cartoon.errors import (
    OutputError,
    StorageError,
)

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a file does not fit."""


def write_atomically(path: Path, data: bytes, mark: str = "") -> None:
    """Put `data` at `path` so that a reader, or a restart after a crash, finds the old file or the new, never a part.

    mark: begins the temporary file's name, `.<mark><random>.part`, so that its owner can tell it after a crash.
    The folder must exist. Raises StorageError when the disk is full, OutputError when the folder is missing or not
    writable; `path` is then untouched.
    """
    part = path.with_name(f".{mark}{secrets.token_hex(8)}.part")
    try:
        try:
            # Not tempfile: its files are private (0600), results follow the umask.
            with open(part, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"{path.name} does not fit on the disk: free some space and run again.") from problem
        reason = problem.strerror or str(problem)
        raise OutputError(f"{path.name} cannot be written ({reason}): check the output folder.") from problem


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut, where the system can."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
