"""Where the folders of jobs lie: in `.cartoon` of an output folder; made, and cleared up after killed processes."""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cartoon.errors import CartoonError, DamagedError, OptionsError, StorageError
from cartoon.files import FULL
from cartoon.jobs.model import Entry, Order
from cartoon.jobs.store import manifest, salvage
from cartoon.jobs.store.checksums import SpoiltError
from cartoon.jobs.store.lock import locked
from cartoon.jobs.store.salvage import LOCK

HOME: Final = ".cartoon"
"""The folder, in an output folder, that holds the folders of its jobs. Hidden, so that a walk leaves it out."""
INPUTS: Final = "inputs"
"""Where a job keeps what it unpacked or was sent."""
REPLACED: Final = "replaced"
"""Where it keeps outputs that somebody has altered."""
MARK_LETTERS: Final = 8


def mark_of(order: Order) -> str:
    """Begins the names of a job's temporary files."""
    return f"{order.id[:MARK_LETTERS]}-"


def new_id() -> str:
    """128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


def jobs_in(out: Path) -> list[Path]:
    """The folders of the jobs whose results go into `out`, damaged ones too, the oldest first."""
    try:
        found = [folder for folder in (out / HOME).iterdir() if salvage.is_job(folder)]
    except (OSError, ValueError):  # there is none, or nobody may look
        return []
    return sorted(found, key=lambda folder: (_age(folder), folder.name))


def remove_all(folder: Path) -> None:
    """Remove a folder, or whatever lies in its place; raises OSError where something stays."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def clean(order: Order, entries: Sequence[Entry]) -> None:
    """Remove temporary files that a killed process of this job left among its outputs."""
    for place in {(order.out / entry.output).parent for entry in entries} | {order.out}:
        with suppress(OSError):  # what cannot be looked into was not written into
            for part in list(place.glob(f".{mark_of(order)}*.part")):
                part.unlink(missing_ok=True)


def tidy(out: Path) -> None:
    """Remove the home of no jobs, and an output folder with nothing else in it."""
    if not jobs_in(out):
        shutil.rmtree(out / HOME, ignore_errors=True)
        with suppress(OSError):  # not empty: then it stays
            out.rmdir()


def sweep(home: Path) -> None:
    """Remove what a process that was killed before its manifest was written has left."""
    for folder in home.iterdir():
        if not folder.is_symlink() and salvage.is_leftover(folder):
            with suppress(CartoonError), locked(folder / LOCK, home, seconds=0):
                shutil.rmtree(folder, ignore_errors=True)


def make(folder: Path) -> None:
    """Make a folder; raises StorageError, OptionsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"The disk of {folder.parent} is full: free some space and run again.") from problem
        raise OptionsError(
            f"{folder.parent} cannot be the output folder ({problem.strerror}): give another -o."
        ) from problem


@contextmanager
def full_disk_told(out: Path) -> Iterator[None]:
    """Whatever the disk says of a job in `out`, as an error of ours."""
    try:
        yield
    except SpoiltError as spoilt:
        raise DamagedError(f"A file of the job in {out} {spoilt}: give another -o.") from spoilt
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"The disk of {out} is full: free some space and run again.") from problem
        raise OptionsError(
            f"The job in {out} cannot be worked on ({problem.strerror}): check the permissions of its folder."
        ) from problem


def _age(folder: Path) -> int:
    try:
        return (folder / manifest.MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0
