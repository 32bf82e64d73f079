"""Where a person's jobs lie: a list of output folders, kept beside the server's own jobs."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from cartoon.jobs.model import Counts, Order, State
from cartoon.jobs.store import salvage
from cartoon.jobs.store.home import jobs_in
from cartoon.jobs.store.salvage import LOCK

NOTES: Final = "outputs.jsonl"
SERVED: Final = "jobs"


@dataclass(frozen=True)
class FoundJob:
    """A job as found on disk."""

    folder: Path
    order: Order
    state: State
    counts: Counts


def note(data_dir: Path | None, out: Path) -> None:
    """Remember an output folder; where that cannot be written, nothing is remembered."""
    if data_dir is None or out in _noted(data_dir):
        return
    with suppress(OSError):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (data_dir / NOTES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(str(out)) + "\n")


def found_jobs(data_dir: Path | None, out: Path | None = None) -> Iterator[FoundJob]:
    """The jobs of one output folder, or of all that were noted and of the server."""
    if out is not None:
        folders = jobs_in(out)
    elif data_dir is None:
        folders = []
    else:
        folders = [folder for place in _noted(data_dir) for folder in jobs_in(place)]
        with suppress(OSError):  # there are none, or nobody may look
            places = (folder for folder in (data_dir / SERVED).iterdir() if not folder.name.startswith("."))
            folders += sorted(folder for folder in places if salvage.is_job(folder))
    for folder in folders:
        yield _found(folder)


def _found(folder: Path) -> FoundJob:
    told = salvage.read(folder)
    now, counts = told.state, told.state.counts(len(told.entries))
    state: State = "waiting"
    if told.damage:
        state = "damaged"
    elif not counts.remaining:
        state = "finished"
    elif now.control in ("pause", "cancel"):
        state = "paused" if now.control == "pause" else "cancelled"
    elif _is_locked(folder):
        state = "running"
    return FoundJob(folder, told.order, state, counts)


def _is_locked(folder: Path) -> bool:
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _noted(data_dir: Path) -> list[Path]:
    try:
        lines = (data_dir / NOTES).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    places = []
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):
            places.append(Path(json.loads(line)))
    return list(dict.fromkeys(places))
