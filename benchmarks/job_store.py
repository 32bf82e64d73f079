"""Where a job's outcomes are kept, the journal against SQLite in WAL mode: `python -m benchmarks.job_store`.

Both with what a job asks of them: each outcome lasts once `record` has returned. Measured are outcomes a second, the
time to read them all back, bytes, what 100 kills (-9) at random moments lose, what a full disk does (a tmpfs of 1 MiB,
which takes root), and, with --network A B, what a second machine sees: A and B are two mounts of the same folder of a
network file system, so two clients. SQLite is read as JSON alone, the journal also as the state that a job is made of.
A kill is no power cut: the disk's own promise to keep what fsync has returned is taken for granted. Markdown.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.job_stores import KINDS, Kind, SqliteStore, entry, read_sqlite
from benchmarks.machine import processor
from cartoon.errors import CartoonError
from cartoon.jobs.model import Order
from cartoon.jobs.store.replay import replay
from cartoon.options import Options

AT_ONCE: Final = 1000
"""Outcomes in one write, where only the file matters and not how it came about."""
KILL_WITHIN: Final = 0.05
"""Seconds after its first outcome within which a writer is killed."""
DISK_BYTES: Final = 1 << 20
LEFT_BYTES: Final = 200_000
"""Of that disk, for the store."""
FAR: Final = 200
"""Outcomes over the network."""


@dataclass
class Rows:
    """The table that is printed."""

    columns: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, kind: Kind, what: str, value: str) -> None:
        """One cell."""
        self.columns.setdefault(what, {})[kind.name] = value


def main() -> None:
    """All of it, one store after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", type=Path, nargs=2, metavar=("A", "B"), help="two mounts of the same folder")
    a = parser.parse_args()
    rows = Rows()
    with tempfile.TemporaryDirectory(prefix="cartoon-bench-") as place:
        for kind in KINDS:
            home = Path(place, kind.files.rstrip("*"))
            measure_speed(kind, home, a.outcomes, rows)
            measure_kills(kind, home, a.kills, random.Random(a.seed), rows)
            measure_full_disk(kind, home, rows)
            if a.network:
                measure_network(kind, a.network[0], a.network[1], rows)
    print(f"{processor()}, SQLite {sqlite3.sqlite_version}\n")
    print("| | " + " | ".join(kind.name for kind in KINDS) + " |")
    print("|---" * (1 + len(KINDS)) + "|")
    for what, values in rows.columns.items():
        print(f"| {what} | " + " | ".join(values.get(kind.name, "-") for kind in KINDS) + " |")


def measure_speed(kind: Kind, home: Path, outcomes: int, rows: Rows) -> None:
    """One outcome after another, each forced to the disk; then reading so many, and ten times as many."""
    with _folder(home) as folder, closing(kind.open(folder)) as store:
        began = time.perf_counter()
        for number in range(outcomes):
            store.record(range(number, number + 1))
        rows.put(kind, f"{outcomes} outcomes, one by one", f"{outcomes / (time.perf_counter() - began):.0f} a second")
    for many in (outcomes, 10 * outcomes):
        with _folder(home) as folder:
            with closing(kind.open(folder)) as store:
                for number in range(0, many, AT_ONCE):
                    store.record(range(number, min(many, number + AT_ONCE)))
            size = sum(file.stat().st_size for file in folder.glob(kind.files))
            rows.put(kind, f"bytes of {many}", f"{size / 1e6:.1f} MB")
            rows.put(kind, f"reading {many}, with its check", f"{_seconds(partial(kind.read, folder)):.2f} s")
            if kind.open is SqliteStore:
                rows.put(kind, f"reading {many}, unchecked", f"{_seconds(partial(read_sqlite, folder)):.2f} s")
            else:
                entries = {number: entry(number) for number in range(many)}
                order = Order("", (), Path("/out"), Options(), "", "", 0.0)
                took = _seconds(partial(replay, folder, entries, order))
                rows.put(kind, f"{many} as a job's state", f"{took:.2f} s")


def measure_kills(kind: Kind, home: Path, kills: int, chance: random.Random, rows: Rows) -> None:
    """A writer is killed again and again, and another goes on: what it had acknowledged has to be there."""
    acknowledged: set[int] = set()
    lost, damaged, seconds = 0, 0, 0.0
    with _folder(home) as folder:
        following = 0
        for _ in range(kills):
            with _writer(kind, folder, following) as (child, heard):
                acknowledged.add(_heard(heard))
                time.sleep(chance.uniform(0, KILL_WITHIN))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                acknowledged.update(_rest(heard))
            began = time.perf_counter()
            kind.open(folder).close()
            seconds += time.perf_counter() - began
            told = kind.read(folder)
            lost, damaged = len(acknowledged - told.numbers), damaged + len(told.damage)
            following = max(told.numbers) + 1
    said = f"{lost} of {len(acknowledged)} lost, {damaged} damaged"
    rows.put(kind, f"{kills} kills (-9)", f"{said}; opened again in {1000 * seconds / kills:.1f} ms")


def measure_full_disk(kind: Kind, home: Path, rows: Rows) -> None:
    """Until it is full; then what was acknowledged is read while it still is, and more is written with room again."""
    home.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        rows.put(kind, "a full disk", "not measured: only root mounts one")
        return
    try:
        (home / "filler").write_bytes(bytes(DISK_BYTES - LEFT_BYTES))
        store, count, told = kind.open(home), 0, ""
        try:
            for number in itertools.count():
                store.record(range(number, number + 1))
                count += 1
        except (CartoonError, sqlite3.Error) as problem:
            told = f"{count} fit, then {type(problem).__name__}"
        try:
            lost = len(set(range(count)) - kind.read(home).numbers)
            told += f"; {lost} lost while it is full"
        except (CartoonError, sqlite3.Error) as problem:
            told += f"; cannot be read while it is full ({problem})"
        (home / "filler").unlink()
        for number in range(count, count + 10):
            store.record(range(number, number + 1))
        store.close()
        after = kind.read(home)
        told += f"; with room again {len(set(range(count + 10)) - after.numbers)} lost, {len(after.damage)} damaged"
        rows.put(kind, "a full disk", told)
    finally:
        subprocess.run(["umount", str(home)], check=False)


def measure_network(kind: Kind, near: Path, far: Path, rows: Rows) -> None:
    """One machine writes, another looks; the first is killed, the other goes on; the first looks again."""
    name = f"bench-{kind.files.rstrip('*')}-{os.getpid()}"
    (near / name).mkdir()
    try:
        with closing(kind.open(near / name)) as store:
            began = time.perf_counter()
            for number in range(FAR):
                store.record(range(number, number + 1))
            rate = FAR / (time.perf_counter() - began)
        rows.put(kind, "network: outcomes, one by one", f"{rate:.0f} a second")
        with _writer(kind, near / name, FAR) as (child, heard):
            acknowledged = set(range(FAR)) | {_heard(heard) for _ in range(FAR)}
            rows.put(kind, "network: another machine looks", _looked(kind, far / name, acknowledged))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            acknowledged.update(_rest(heard))
        rows.put(kind, "network: after a kill, elsewhere", _looked(kind, far / name, acknowledged))
        try:
            with closing(kind.open(far / name)) as store:
                store.record(range(10 * FAR, 10 * FAR + 100))
                acknowledged.update(range(10 * FAR, 10 * FAR + 100))
            said = _looked(kind, near / name, acknowledged)
        except (CartoonError, sqlite3.Error, OSError) as problem:
            said = f"it cannot: {type(problem).__name__}: {problem}"
        rows.put(kind, "network: the other goes on, the first looks", said)
    finally:
        shutil.rmtree(near / name, ignore_errors=True)


def _looked(kind: Kind, folder: Path, acknowledged: set[int]) -> str:
    try:
        told = kind.read(folder)
    except (CartoonError, sqlite3.Error, OSError) as problem:
        return f"it cannot: {type(problem).__name__}: {problem}"
    said = f"{len(acknowledged - told.numbers)} of {len(acknowledged)} missing"
    return said + (f", damaged ({told.damage[0][:60]})" if told.damage else "")


@contextmanager
def _folder(home: Path) -> Iterator[Path]:
    home.mkdir(parents=True)
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def _writer(kind: Kind, folder: Path, following: int) -> Iterator[tuple[int, int]]:
    """A process that records one outcome after another and says each number once it lasts."""
    heard, says = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store = kind.open(folder)
            for number in itertools.count(following):
                store.record(range(number, number + 1))
                os.write(says, number.to_bytes(4, "big"))
        finally:
            os._exit(1)
    os.close(says)
    try:
        yield child, heard
    finally:
        os.close(heard)


def _heard(pipe: int) -> int:
    said = os.read(pipe, 4)
    if not said:
        raise RuntimeError("the writer has ended")
    return int.from_bytes(said, "big")


def _rest(pipe: int) -> Iterator[int]:
    while said := os.read(pipe, 4):
        yield int.from_bytes(said, "big")


def _seconds(act: Callable[[], object]) -> float:
    """The best of three."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return min(took)


if __name__ == "__main__":
    main()
