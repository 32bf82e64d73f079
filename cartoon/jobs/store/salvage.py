"""What the files of a job's folder say of it, whole or damaged: reading them never fails, waits or guesses."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from cartoon.errors import DamagedError
from cartoon.jobs.model import Entry, Item, Order
from cartoon.jobs.store import manifest
from cartoon.jobs.store.checksums import SpoiltError
from cartoon.jobs.store.journal import JOURNAL, STARTED
from cartoon.jobs.store.replay import Replay, replay
from cartoon.options import Options

LOCK: Final = "lock"
RESULTS: Final = "results"
"""Where a job of the server puts its pictures."""


@dataclass(frozen=True)
class Header:
    """What was asked of a job, as its folder tells it. items: how many it began with at least. damage: as below.

    known: whether the order could be read; else it is made up, and nobody's.
    """

    folder: Path
    order: Order
    items: int
    damage: tuple[str, ...]
    known: bool


@dataclass(frozen=True, eq=False)
class StoredJob:
    """A job as its folder tells it.

    entries: every item in its place; one that no file tells of any more has a made-up name. state: what became of them,
    each outcome tied to its item by number, path and place. damage: what of the files is not what was written.
    """

    folder: Path
    order: Order
    entries: list[Entry]
    state: Replay
    damage: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What is wrong and what to do; empty where nothing is."""
        if not self.damage:
            return ""
        more = f" and {len(self.damage) - 1} more" if len(self.damage) > 1 else ""
        return (
            f"The job's files are damaged ({self.damage[0]}{more}): what is drawn can be fetched; "
            "send the other photos as a new job."
        )

    def check(self) -> None:
        """Raise DamagedError where something is not what was written."""
        if self.damage:
            raise DamagedError(self.sentence)


def read_header(folder: Path) -> Header:
    """What the manifest of a folder says, or its copy; nothing else is read."""
    wrong = _in_the_way(folder)
    asked, known = _asked(folder, wrong)
    return Header(folder, asked.order, asked.items, tuple(wrong), known)


def read(folder: Path, header: Header | None = None) -> StoredJob:
    """The job of a folder, as far as its files can be read. header: where that is read already."""
    header = header or read_header(folder)
    listed = manifest.read_entries(folder, header.items)
    played = replay(folder, listed.entries, header.order)
    total = max(header.items, 1 + max(played.entries, default=-1))
    entries = [played.entries.get(number) or _lost(folder, number) for number in range(total)]
    damage = (*header.damage, *listed.wrong, *played.wrong)
    return StoredJob(folder, header.order, entries, played.state, damage)


def is_job(folder: Path) -> bool:
    """Whether a folder holds a job, or what is left of one."""
    return os.path.isdir(folder) and not is_leftover(folder)


def is_leftover(folder: Path) -> bool:
    """Whether a folder is what a process left that was killed before its job had begun: no files of one, no picture."""
    try:
        names = set(os.listdir(folder))
        pictures = os.listdir(folder / RESULTS) if RESULTS in names else []
    except OSError:  # nobody may look, or it is no folder: not ours to throw away
        return False
    return not pictures and names.isdisjoint((manifest.MANIFEST, manifest.COPY, JOURNAL))


def _asked(folder: Path, wrong: list[str]) -> tuple[manifest.Asked, bool]:
    for name in (manifest.MANIFEST, manifest.COPY):
        try:
            asked = manifest.read_order(folder, name)
        except SpoiltError as spoilt:
            if name == manifest.MANIFEST:
                wrong.append(f"{name} {spoilt}")
            continue
        if asked.order.id == folder.name:
            return asked, True
        wrong.append(f"{name} is of another job")
    return manifest.Asked(_nobodys(folder), 0), False


def _in_the_way(folder: Path) -> list[str]:
    """What lies in the place of the folder, or of files that are only ever written."""
    wrong = []
    for path, is_right in ((folder, stat.S_ISDIR), (folder / STARTED, stat.S_ISREG), (folder / LOCK, stat.S_ISREG)):
        try:
            if not is_right(path.lstat().st_mode):
                wrong.append(f"{'the folder' if path == folder else path.name} is something else")
        except OSError:  # missing: it is made; not permitted: reading the others says so
            continue
    return wrong


def _nobodys(folder: Path) -> Order:
    """An order for a job of which nothing is known but where it lies."""
    try:
        made = folder.lstat().st_mtime
    except OSError:
        made = 0.0
    return Order(folder.name, (), folder / RESULTS, Options(), "", "", made)


def _lost(folder: Path, number: int) -> Entry:
    """An item that no file tells of any more."""
    name = f"photo {number + 1} (its name is lost)"
    refused = DamagedError(f"{name}: send it again.")
    return Entry(number, Item(folder / "lost", PurePosixPath(name), refused), PurePosixPath(f"{name}.png"))
