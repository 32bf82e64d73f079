"""What strangers send, staged on disk under our names and within limits until somebody takes it over."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from cartoon.errors import StorageError, TooLargeError
from cartoon.jobs.service.creation import Sent
from cartoon.settings import Settings
from cartoon.web.data_dir import disk_told, private_folder
from cartoon.web.photo import clean_name

MOST_FILES: Final = 20_000
"""In one upload; zips hold more."""
FREE_FACTOR: Final = 3
"""Free bytes on the disk for every byte sent: a zip beside its photos, and the drawings."""
ZIP: Final = ".zip"


class StagedUpload:
    """A folder that takes files one after the other; refuses what is too large or does not fit on the disk.

    root: where the folder is made, once it is needed. sent: what lies there, for whoever takes it over.
    quota: raises when so many bytes are more than the visitor may have here. came: hears how many bytes of which file
    have come. Every method raises TooLargeError, LimitError or StorageError.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        quota: Callable[[int], None] = lambda size: None,
        came: Callable[[str, int], None] = lambda name, size: None,
    ) -> None:
        self.sent: list[Sent] = []
        self._root, self._settings, self._quota, self._came = root, settings, quota, came
        self._folder: Path | None = None
        self._file: BinaryIO | None = None
        self._name, self._size, self._total = "", 0, 0
        self._in_use, self._closed = threading.Lock(), False

    @property
    def folder(self) -> Path:
        """Where the files lie; made when it is first asked for."""
        if self._folder is None:
            self._folder = private_folder(self._root)
        return self._folder

    def expect(self, size: int) -> None:
        """So many bytes are about to come, or have."""
        most = self._settings.max_job_mb
        if size > most * 2**20:
            raise TooLargeError(
                f"The photos are larger than {most} MB in all (CARTOON_MAX_JOB_MB): send them as several jobs."
            )
        self._quota(size)
        with disk_told():
            free = shutil.disk_usage(self.folder).free
        if free < FREE_FACTOR * size:
            raise StorageError(
                "There is no room for these photos on the server's disk: try again later, or send fewer."
            )

    def begin(self, raw_name: str | None) -> None:
        """A file of this name comes next."""
        self._next(raw_name)
        with disk_told():
            self._file = (self.folder / str(len(self.sent))).open("xb")

    def write(self, data: bytes) -> None:
        """More of the file."""
        assert self._file is not None
        self._count(len(data))
        with disk_told():
            self._file.write(data)
        self._came(self._name, len(data))

    def end(self) -> None:
        """The file is whole; one without a name and a byte is what a form's empty field sends, and no file."""
        assert self._file is not None
        with disk_told():
            self._file.close()
        self._file = None
        if self._size or self._name:
            self.sent.append(Sent(self.folder / str(len(self.sent)), clean_name(self._name)))
        else:
            (self.folder / str(len(self.sent))).unlink()

    @property
    def size(self) -> int:
        """Bytes that have come so far."""
        return self._total

    def link(self, path: Path, raw_name: str | None) -> None:
        """Take a file that lies on this machine already; it stays there, too."""
        self._next(raw_name)
        self._count(path.stat().st_size)
        place = self.folder / str(len(self.sent))
        link_or_copy(path, place)
        self.sent.append(Sent(place, clean_name(raw_name)))

    def finish(self) -> None:
        """Everything has come."""
        self.expect(self._total)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a thread works here, it is that thread which removes what is left when somebody closes meanwhile."""
        try:
            with self._in_use:
                yield
        finally:
            if self._closed:
                self._remove()

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    def close(self) -> None:
        """Remove what nobody has taken over, at once or when the thread that works here is done; never waits for it."""
        self._closed = True
        if self._in_use.acquire(blocking=False):
            try:
                self._remove()
            finally:
                self._in_use.release()

    def __enter__(self) -> "StagedUpload":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _remove(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _next(self, raw_name: str | None) -> None:
        if len(self.sent) >= MOST_FILES:
            raise TooLargeError(f"These are more than {MOST_FILES} files: send them as a zip, or as several jobs.")
        self._name, self._size = raw_name or "", 0

    def _count(self, size: int) -> None:
        self._size, self._total = self._size + size, self._total + size
        zipped = self._name.lower().endswith(ZIP)
        most = self._settings.max_job_mb if zipped else self._settings.max_upload_mb
        if self._size > most * 2**20:
            setting = "CARTOON_MAX_JOB_MB" if zipped else "CARTOON_MAX_UPLOAD_MB"
            raise TooLargeError(
                f"{clean_name(self._name)} is larger than {most} MB ({setting}): leave it out or make it smaller."
            )
        if self._total > self._settings.max_job_mb * 2**20:
            self.expect(self._total)


def link_or_copy(source: Path, place: Path) -> None:
    """The same file under a second name; a copy where the disks differ or know no links. Raises StorageError."""
    with disk_told():
        try:
            os.link(source, place)
        except OSError:
            shutil.copyfile(source, place)
