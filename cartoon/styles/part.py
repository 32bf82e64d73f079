"""A file that is not whole yet: its bytes in `.NAME.part`, and in `.NAME.part.json` where they came from.

The second file tells how many bytes are surely on the disk and what they are a part of, so that a later run, also
after a power cut, adds to nothing that it cannot trust.
"""

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cartoon.errors import BusyError, OutputError, StorageError
from cartoon.files import FULL, sync_folder, write_atomically
from cartoon.models.weights import sha256_of

if sys.platform != "win32":
    import fcntl

SYNC_EVERY: Final = 4 << 20
"""Bytes after which what was written is made to last."""


@dataclass(frozen=True)
class Source:
    """What the bytes are a part of. validator: an ETag or a date that changes with the content, or "". total: bytes."""

    url: str
    validator: str = ""
    total: int | None = None


class Part:
    """The bytes so far of one file, held by one process at a time; made by `opened`."""

    def __init__(self, into: Path, file: BinaryIO) -> None:
        self.into, self._file = into, file
        self.source, self.size = self._noted()
        file.truncate(self.size)
        file.seek(self.size)
        self._lasting = self.size

    @property
    def whole(self) -> bool:
        """Whether all bytes that were announced are here."""
        return self.source is not None and 0 < self.size == self.source.total

    def restart(self, source: Source | None) -> None:
        """Forget all bytes: what follows is of this source."""
        if source is self.source is None:
            return
        self.size = 0
        self._file.seek(0)
        self._file.truncate(0)
        self.source = source
        self.keep()

    def add(self, block: bytes) -> None:
        """Add bytes."""
        self._file.write(block)
        self.size += len(block)
        if self.size - self._lasting >= SYNC_EVERY:
            self.keep()

    def keep(self) -> None:
        """Make all bytes so far last, and note how many there are."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._lasting = self.size
        note = {"bytes": self.size, **asdict(self.source)} if self.source else {}
        write_atomically(_note(self.into), json.dumps(note).encode())

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes as they lie on the disk."""
        self._file.flush()
        return sha256_of(_bytes(self.into))

    def finish(self) -> None:
        """Put the file in place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(_bytes(self.into), self.into)
        _note(self.into).unlink(missing_ok=True)
        sync_folder(self.into.parent)

    def _noted(self) -> tuple[Source | None, int]:
        """What the last run knew; nothing where that cannot be trusted."""
        try:
            note = json.loads(_note(self.into).read_text(encoding="utf-8"))
            size, source = note.pop("bytes"), Source(**note)
            there = os.fstat(self._file.fileno()).st_size
            if isinstance(size, int) and 0 < size <= there and isinstance(source.validator, str):
                return source, size
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return None, 0


@contextmanager
def opened(into: Path) -> Iterator[Part]:
    """The part of a file, its folder made if need be; what was added lasts, whatever ends the block.

    Raises BusyError while another process holds it, StorageError when the disk is full, OutputError when the folder
    cannot be written.
    """
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(_bytes(into), os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            _lock(file, into)
            part = Part(into, file)
            try:
                yield part
            finally:
                if _bytes(into).exists():  # it is in place otherwise
                    if part.size:
                        part.keep()
                    else:
                        _bytes(into).unlink()
                        _note(into).unlink(missing_ok=True)
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"{into.name} does not fit on the disk: free some space and run again.") from problem
        reason = problem.strerror or str(problem)
        raise OutputError(f"{into.name} cannot be written ({reason}): check its folder.") from problem


def _lock(file: BinaryIO, into: Path) -> None:
    """Hold the part alone until it is closed; Windows has no such lock, and two at once are not kept apart there."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno not in (errno.EAGAIN, errno.EACCES):
            return  # a file system without locks
        raise BusyError(f"{into.name} is being fetched by another process: wait until it has ended.") from problem
    with suppress(FileNotFoundError):
        if os.path.samestat(os.stat(_bytes(into)), os.fstat(file.fileno())):
            return
    raise BusyError(f"{into.name} was fetched by another process just now: run the command again.")


def _bytes(into: Path) -> Path:
    return into.with_name(f".{into.name}.part")


def _note(into: Path) -> Path:
    return into.with_name(f".{into.name}.part.json")
