"""What `benchmarks.job_store` compares: the journal that ships, and the same outcomes in SQLite (WAL)."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from cartoon.jobs.model import Attempt, Entry, Item
from cartoon.jobs.store.checksums import lines_of
from cartoon.jobs.store.journal import JOURNAL, Journal


class Store(Protocol):
    """Keeps outcomes for good."""

    def record(self, numbers: range) -> None:
        """So many outcomes; they last once this returns."""
        ...

    def close(self) -> None:
        """No more are recorded."""
        ...


@dataclass(frozen=True)
class Told:
    """What a store says when it is read. damage: what of it is not what was written."""

    numbers: frozenset[int]
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A store: how it is opened in a folder (and repaired), how it is read, which files it has."""

    name: str
    open: Callable[[Path], Store]
    read: Callable[[Path], Told]
    files: str


def entry(number: int) -> Entry:
    """An item like those of a folder of photos."""
    name = PurePosixPath(f"holiday/2026/IMG_{number:06d}.jpg")
    return Entry(number, Item(Path("/photos") / name, name), name.with_suffix(".png"), f"{number:064x}", 3_000_000)


def outcome(number: int) -> Attempt:
    """What becomes of most of them."""
    return Attempt(entry(number), sha256=f"{number:064x}", size=900_000, seconds=0.25, faces=1, score=0.93)


class JournalStore:
    """The one that ships."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder)

    def record(self, numbers: range) -> None:
        """One write and one fsync."""
        self._journal.attempts([outcome(number) for number in numbers])

    def close(self) -> None:
        """Close its files."""
        self._journal.close()


class SqliteStore:
    """The same lines as rows. FULL, as with NORMAL a WAL loses its last transactions when the power fails."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "job.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS attempt (id INTEGER PRIMARY KEY, told TEXT NOT NULL)")

    def record(self, numbers: range) -> None:
        """One transaction."""
        self._database.execute("BEGIN IMMEDIATE")
        rows = ((json.dumps(_row(number)),) for number in numbers)
        self._database.executemany("INSERT INTO attempt (told) VALUES (?)", rows)
        self._database.execute("COMMIT")

    def close(self) -> None:
        """With a checkpoint, which closing makes."""
        self._database.close()


def _row(number: int) -> dict[str, Any]:
    one = outcome(number)
    told = {"time": time.time(), "event": "attempt", "item": number, "path": str(one.item.relative), "tries": 1}
    told |= {"outcome": one.outcome, "seconds": one.seconds, "output": str(entry(number).output)}
    return told | {"sha256": one.sha256, "bytes": one.size, "faces": one.faces, "score": one.score}


def read_journal(folder: Path) -> Told:
    """Its lines, checked by their sums."""
    numbers, damage = set(), []
    for line in lines_of(folder / JOURNAL, frozenset()):
        if line.told is None:
            damage.append(f"line {line.number}")
        else:
            numbers.add(line.told["item"])
    return Told(frozenset(numbers), tuple(damage))


def read_sqlite(folder: Path) -> Told:
    """Its rows, after its own check."""
    with closing(sqlite3.connect(folder / "job.sqlite")) as database:
        numbers = {json.loads(told)["item"] for (told,) in database.execute("SELECT told FROM attempt ORDER BY id")}
        return Told(frozenset(numbers))


def check_sqlite(folder: Path) -> Told:
    """As read_sqlite, with its own check of every page, as the journal checks every line."""
    with closing(sqlite3.connect(folder / "job.sqlite")) as database:
        (said,) = database.execute("PRAGMA integrity_check").fetchone()
    return Told(read_sqlite(folder).numbers, () if said == "ok" else (said,))


KINDS: Final = (
    Kind("journal", JournalStore, read_journal, "j*"),
    Kind("SQLite, WAL", SqliteStore, check_sqlite, "job.sqlite*"),
)
