"""The files of a job looked at: hashes, sizes and times of its inputs; whether its outputs are what was written."""

import hashlib
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cartoon.jobs.inputs import remote
from cartoon.jobs.model import Attempt, Entry
from cartoon.models import weights
from cartoon.models.cores import usable_cores

Watcher = Callable[[str, int, int], None]
"""Told what is being done ("scanning", "checking"), how many files are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """A watcher that does not care."""


def scanned(entries: Sequence[Entry], watch: Watcher = silent) -> Iterator[Entry]:
    """The entries with the hash, size and time of their inputs."""
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="scan") as pool:
        for number, entry in enumerate(pool.map(_scan, entries), 1):
            watch("scanning", number, len(entries))
            yield entry


def stale(entry: Entry) -> bool:
    """Whether an input is there and has another size or time than when it was scanned."""
    return _status(entry.item.source) not in ((entry.size, entry.changed), (0, 0))


def unsound(settled: Mapping[int, Attempt], watch: Watcher = silent) -> list[int]:
    """The numbers of items whose output is missing or is not, byte for byte, what was written."""
    done = [number for number, attempt in sorted(settled.items()) if attempt.output and attempt.outcome == "done"]

    def sound(number: int) -> bool:
        output = settled[number].output
        if output is not None and remote.is_url(output):  # hashing it would fetch all results again
            told = remote.stored(output)
            return told is not None and told.size == settled[number].size
        return output is not None and sha256_of(output) == settled[number].sha256

    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="check") as pool:
        verdicts = []
        for checked, is_sound in enumerate(pool.map(sound, done), 1):
            watch("checking", checked, len(done))
            verdicts.append(is_sound)
    return [number for number, is_sound in zip(done, verdicts, strict=True) if not is_sound]


def sha256_of(path: Path) -> str | None:
    """The sha256 of an ordinary file; None where there is none, or it cannot be read."""
    try:
        # A pipe would be waited on for ever.
        return weights.sha256_of(path) if stat.S_ISREG(path.stat().st_mode) else None
    except (OSError, ValueError):
        return None


def _scan(entry: Entry) -> Entry:
    if entry.item.refused:
        return entry
    if remote.is_url(entry.item.source):
        told = remote.stored(entry.item.source) or remote.StoredFile(0, "")
        # Not of its bytes, which nobody has read: as good for telling that it has changed, no good for finding twins.
        version = hashlib.sha256(f"{entry.item.source}\0{told.version}".encode()).hexdigest()
        return replace(entry, sha256=version, size=told.size, changed=told.changed)
    size, changed = _status(entry.item.source)
    return replace(entry, sha256=sha256_of(entry.item.source), size=size, changed=changed)


def _status(path: Path) -> tuple[int, int]:
    if remote.is_url(path):
        told = remote.stored(path)
        return (told.size, told.changed) if told else (0, 0)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns
