"""Where the server keeps things: a folder that outlasts the process, or a temporary one where none can be written."""

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cartoon.errors import StorageError
from cartoon.files import FULL
from cartoon.jobs.store.lock import FolderLock

KEPT_SECONDS: Final = 6 * 3600.0
"""Uploads that became no job, and single results, go after this; so does what a killed process has left of them."""
VISITORS: Final = "visitors"
"""In the page's folder: a folder for every visitor, see `cartoon.web.visitor_files`."""
SECRET_BYTES: Final = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataDir:
    """The server's folder. lasts: it is there after a restart."""

    folder: Path
    lasts: bool

    @property
    def jobs(self) -> Path:
        """Where jobs live."""
        return self.folder / "jobs"

    @property
    def incoming(self) -> Path:
        """Where uploads wait until they are a job."""
        return self.folder / "incoming"

    @property
    def page(self) -> Path:
        """The page's files: its own, and `visitors/`."""
        return self.folder / "page"

    def secret(self) -> bytes:
        """32 random bytes that only this server knows, the same after a restart."""
        place = self.folder / "secret"
        if not place.is_file():
            made = place.with_name(f".secret-{secrets.token_hex(8)}")
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
            os.replace(made, place)
        return place.read_bytes()

    def sweep(self) -> None:
        """Remove what has been left behind."""
        sweep(self.incoming)
        visitors = self.page / VISITORS
        for visitor in visitors.iterdir() if visitors.is_dir() else ():
            sweep(visitor)
            with suppress(OSError):  # somebody's folder that is still needed
                visitor.rmdir()

    def close(self) -> None:
        """Remove what only this process could use."""
        if not self.lasts:
            shutil.rmtree(self.folder, ignore_errors=True)


def open_data_dir(asked: Path | None) -> DataDir:
    """The folder asked for, made if need be; a private temporary one where there is none that can be written."""
    try:
        if asked is not None:
            return _made(DataDir(_resolved(asked), True))
    except OSError as problem:
        log.warning(
            "the data folder cannot be written (%s): jobs will not survive a restart; set CARTOON_DATA_DIR",
            problem.strerror,
            extra={"event": "not_durable"},
        )
    else:
        log.warning("there is no data folder: jobs will not survive a restart; set CARTOON_DATA_DIR")
    return _made(DataDir(Path(tempfile.mkdtemp(prefix="cartoon-")).resolve(), False))


def check_unused(asked: Path | None) -> None:
    """Raise BusyError while another server has its jobs in the folder asked for: what has the lock for good, the jobs
    themselves, is opened only when the model is loaded, which takes its time."""
    jobs = asked and DataDir(asked, True).jobs
    if not jobs or not jobs.is_dir():
        return
    refusal = f"Another server has its jobs in {jobs.parent}: stop it, or set CARTOON_DATA_DIR to another folder."
    with suppress(PermissionError):  # which is told when it is opened
        FolderLock(jobs, refusal).release()


def private_folder(root: Path) -> Path:
    """A fresh folder in `root`, made if need be, whose name nobody can guess; raises StorageError."""
    folder = root / secrets.token_hex(16)
    with disk_told():
        folder.mkdir(mode=0o700, parents=True)
    return folder


@contextmanager
def disk_told() -> Iterator[None]:
    """Turns what the system says of the server's disk into a StorageError, fit for a client."""
    try:
        yield
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError("The server's disk is full: try again later, or send fewer photos.") from problem
        raise StorageError(
            f"The server's disk cannot be used ({problem.strerror}): try again later, or tell its operator."
        ) from problem


def sweep(root: Path) -> None:
    """Remove the folders in `root` that nothing was put into for KEPT_SECONDS."""
    limit = time.time() - KEPT_SECONDS
    for old in root.iterdir() if root.is_dir() else ():
        try:
            if old.stat().st_mtime < limit:
                shutil.rmtree(old, ignore_errors=True)
        except FileNotFoundError:  # another process swept it
            continue


def _resolved(asked: Path) -> Path:
    asked.mkdir(mode=0o700, parents=True, exist_ok=True)
    return asked.resolve()


def _made(home: DataDir) -> DataDir:
    # Also tells whether it can be written: before a word is said about durable jobs.
    for place in (home.page, home.incoming):
        place.mkdir(mode=0o700, exist_ok=True)
    home.secret()
    return home
