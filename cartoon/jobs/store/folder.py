"""A job's folder: begun once from what was asked, found again by the same command, opened by one process at a time."""

import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from filelock import FileLock, Timeout

from cartoon.errors import BusyError, CartoonError, DamagedError, InputError, OptionsError, StorageError
from cartoon.files import FULL, write_atomically
from cartoon.jobs.inputs import remote
from cartoon.jobs.inputs.discovery import Found, find, output_paths
from cartoon.jobs.inputs.hashing import Watcher, scanned, silent, stale, unsound
from cartoon.jobs.model import Attempt, Counts, Entry, Item, Order, differences
from cartoon.jobs.store import manifest, salvage
from cartoon.jobs.store.checksums import SpoiltError
from cartoon.jobs.store.journal import Journal, Replay
from cartoon.jobs.store.salvage import LOCK

HOME: Final = ".cartoon"
"""The folder, in an output folder, that holds the folders of its jobs. Hidden, so that a walk leaves it out."""
INPUTS: Final = "inputs"
"""Where a job keeps what it unpacked or was sent."""
REPLACED: Final = "replaced"
"""Where it keeps outputs that somebody has altered."""
LOCK_SECONDS: Final = 5.0
"""How long a lock is waited for: a process that was just killed takes a moment to let go."""
MARK_LETTERS: Final = 8

log = logging.getLogger(__name__)


@dataclass(eq=False)
class OpenJob:
    """A job that this process alone works on, until it is closed.

    ignored: files that were no pictures by name. fresh: begun by this process.
    """

    folder: Path
    order: Order
    entries: list[Entry]
    state: Replay
    journal: Journal
    lock: FileLock
    ignored: int = 0
    fresh: bool = False
    closed: bool = False
    _recording: threading.Lock = field(default_factory=threading.Lock)

    @property
    def mark(self) -> str:
        """Begins the names of this job's temporary files."""
        return mark_of(self.order)

    @property
    def counts(self) -> Counts:
        """How many items came to what so far."""
        return self.state.counts(len(self.entries))

    def record(self, settled: Sequence[tuple[Entry, Attempt]]) -> None:
        """Outcomes, into the journal first; raises StorageError, and then nothing has changed."""
        with self._recording:
            self.journal.attempts(settled)
            for entry, attempt in settled:
                self.state.settle(entry.number, attempt)

    def again(self) -> Iterator[Attempt]:
        """What was settled before this process opened the job, in order, marked as such."""
        for number in sorted(self.state.settled):
            yield replace(self.state.settled[number], again=True)

    def look_again(self, ready: Callable[[Path], bool]) -> None:
        """Take in photos that have appeared among the inputs or have changed, as far as they are ready."""
        with _full_disk_told(self.order.out):
            _look_again(self, silent, ready)

    def retry(self) -> None:
        """Forget what failed or was quarantined, so that it is tried again."""
        with self._recording:
            self.journal.say("retry")
            self.state.forget_failures()

    def close(self) -> None:
        """Let another process have it; what was unpacked goes when nothing needs it any more."""
        if self.closed:
            return
        self.closed = True
        if not self.counts.remaining:
            _clean(self.order, self.entries)  # of workers that were killed while they wrote
        if self.order.inputs and not self.counts.remaining:
            shutil.rmtree(self.folder / INPUTS, ignore_errors=True)
        self.journal.close()
        self.lock.release()

    def discard(self) -> None:
        """Close it and, if it was begun for nothing, remove its folder and what was made for it."""
        self.close()
        if self.fresh and not self.state.settled:
            shutil.rmtree(self.folder, ignore_errors=True)
            _tidy(self.folder.parent.parent)


def mark_of(order: Order) -> str:
    """Begins the names of a job's temporary files."""
    return f"{order.id[:MARK_LETTERS]}-"


def new_id() -> str:
    """128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


def open_order(order: Order, watch: Watcher = silent, beside: Path | None = None, grows: bool = False) -> OpenJob:
    """The job of an order in its output folder: begun now, or gone on with where the same was ordered before.

    beside: a folder of this machine for the job's own files, where the results go to a URL. grows: it begins without a
    photo, and takes them in when it is told to look.
    Outputs of an earlier run are checked by their hashes; what is missing or altered is drawn again (an altered file is
    moved into the job's folder first). Photos that have appeared among the inputs since, or have changed, are added.
    Raises OptionsError when the folder holds a job for the same inputs with other options or weights, DamagedError when
    that job's files are damaged (unless the order may overwrite), BusyError while another process works on it,
    StorageError when the disk is full, and what `find` raises; an output folder that was made for nothing is gone again
    then.
    """
    home = (beside or order.out) / HOME
    _make(home)
    try:
        with _locked(home / LOCK, order.out):
            _sweep(home)
            earlier = _earlier(home, order)
            if earlier is None:
                return begin(home / order.id, order, [] if grows else None, watch)
        return resume(earlier, watch, look=not grows)
    except CartoonError:
        _tidy(home.parent)
        raise


def begin(folder: Path, order: Order, items: Sequence[Item] | None = None, watch: Watcher = silent) -> OpenJob:
    """Write the manifest of a new job into a new folder; items: its inputs, where they are not to be looked for."""
    _make(folder)
    lock = _lock(folder / LOCK, order.out)
    try:
        with _full_disk_told(order.out):
            found = Found(tuple(items)) if items is not None else _unpacked(folder, order, order.inputs)
            taken = frozenset() if order.overwrite else _taken(folder)
            entries = list(scanned(_placed(order, found.items, [], taken), watch))
            manifest.write(folder, order, entries)
            return OpenJob(folder, order, entries, Replay(), Journal(folder), lock, found.ignored, fresh=True)
    except BaseException:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def resume(folder: Path, watch: Watcher = silent, look: bool = True, check: bool = True) -> OpenJob:
    """Open the job of a folder: its state replayed, its outputs checked, temporary files gone, new inputs added.

    look: also for photos that have appeared among the inputs, or changed. check: whether the outputs are what was
    written. Raises DamagedError where the folder's files are not what was written.
    """
    out = _out_of(folder)
    lock = _lock(folder / LOCK, out)
    try:
        with _full_disk_told(out):
            told = salvage.read(folder)
            told.check()
            order = told.order
            _clean(order, told.entries)
            job = OpenJob(folder, order, told.entries, told.state, Journal(folder), lock)
            try:
                lost = unsound(job.state.settled, watch) if check else []
                _set_aside(job, lost)
                _forget(job, lost, "missing or altered")
                if order.inputs and look:
                    _look_again(job, watch)
            except BaseException:
                job.journal.close()
                raise
            return job
    except BaseException:
        lock.release()
        raise


def reopen(folder: Path, order: Order, entries: list[Entry], state: Replay) -> OpenJob:
    """Open a job again that this process alone has had since it was opened last, and knows all about."""
    lock = _lock(folder / LOCK, order.out)
    try:
        return OpenJob(folder, order, entries, state, Journal(folder), lock)
    except BaseException:
        lock.release()
        raise


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


def _out_of(folder: Path) -> Path:
    """Where a job's results go; the folder itself where that cannot be read."""
    try:
        return manifest.read_order(folder).order.out
    except SpoiltError:
        return folder


def _age(folder: Path) -> int:
    try:
        return (folder / manifest.MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def _earlier(home: Path, order: Order) -> Path | None:
    """The folder of a job that this order goes on with; raises OptionsError where it asks for something else."""
    for folder in jobs_in(home.parent):
        told = salvage.read(folder)
        if not told.known:
            log.warning("%s cannot be read (%s) and is left alone.", folder, told.damage[0])
            continue
        before = told.order
        if before.inputs != order.inputs:
            continue
        if told.damage and not order.overwrite:
            raise DamagedError(
                f"The job of these photos in {order.out} is damaged ({told.damage[0]}): remove {folder} to draw what "
                "is not there yet, or give --overwrite to draw them all anew."
            )
        other = differences(before, order)
        if other and not order.overwrite:
            raise OptionsError(
                f"{order.out} holds the job of these photos with other options ({'; '.join(other)}): "
                "give another -o, or --overwrite to draw them anew."
            )
        unfinished = told.state.counts(len(told.entries)).remaining > 0
        if not order.overwrite or (before.overwrite and unfinished and not other and not told.damage):
            return folder
        _replace(folder, order)
    return None


def _replace(folder: Path, order: Order) -> None:
    """Remove an earlier job, which another one takes the place of."""
    try:
        if (folder / LOCK).is_file():
            with _locked(folder / LOCK, order.out):
                remove_all(folder)
        else:
            remove_all(folder)
    except OSError as problem:
        raise OptionsError(f"{folder} cannot be removed ({problem.strerror}): give another -o.") from problem


def _unpacked(folder: Path, order: Order, inputs: Sequence[str]) -> Found:
    """What the inputs are now; pictures of zips are unpacked into the job's folder."""
    unpack_to = folder / INPUTS
    unpack_to.mkdir(exist_ok=True)
    found = find([Path(given) for given in inputs], unpack_to, order.out)
    if not any(unpack_to.iterdir()):
        unpack_to.rmdir()
    return found


def _placed(order: Order, items: Sequence[Item], before: Sequence[Entry], taken: frozenset[str]) -> list[Entry]:
    """Entries for items that follow those there are. taken: outputs of other jobs."""
    paths = output_paths(items, order.options, order.out, [entry.output for entry in before])
    entries = []
    stored = remote.names(order.out) if remote.is_url(order.out) and not order.overwrite else frozenset()
    for number, (item, path) in enumerate(zip(items, paths, strict=True), len(before)):
        output = PurePosixPath(path.relative_to(order.out).as_posix())
        kept = not order.overwrite and (str(output) in taken or output in stored or os.path.lexists(path))
        entries.append(Entry(number, item, output, taken=kept))
    return entries


def _taken(folder: Path) -> frozenset[str]:
    """Outputs that other jobs in the same place have, or will have."""
    taken: set[str] = set()
    for other in jobs_in(folder.parent.parent) if folder.parent.name == HOME else []:
        taken |= {str(entry.output) for entry in manifest.read_entries(other).entries.values() if not entry.taken}
    return frozenset(taken)


def _look_again(job: OpenJob, watch: Watcher, ready: Callable[[Path], bool] = lambda path: True) -> None:
    """Add photos that have appeared among the inputs, take note of those that have changed, unpack zips again."""
    zipped, order = job.folder / INPUTS, job.order
    needed = [entry.item.source for entry in job.entries if entry.number not in job.state.settled]
    again = any(source.is_relative_to(zipped) and not source.exists() for source in needed)
    if again:
        shutil.rmtree(zipped, ignore_errors=True)
    inputs = [
        given
        for given in order.inputs
        if remote.is_url(given) or ((again or not given.lower().endswith(".zip")) and os.path.exists(given))
    ]
    try:
        found = _unpacked(job.folder, order, inputs)
    except InputError:  # nothing there any more; what is needed will say so itself
        return
    job.ignored = found.ignored
    known = {entry.item.source for entry in job.entries}
    fresh = [item for item in found.items if item.source not in known and not item.refused and ready(item.source)]
    altered = [entry for entry in job.entries if stale(entry) and ready(entry.item.source)]
    if not (fresh or altered):
        return
    looked = list(scanned([*altered, *_placed(order, fresh, job.entries, _taken(job.folder))], watch))
    manifest.append(job.folder, looked)
    changed = [entry.number for entry in looked[: len(altered)] if entry.sha256 != job.entries[entry.number].sha256]
    for entry in looked[: len(altered)]:
        job.entries[entry.number] = entry
    job.entries.extend(looked[len(altered) :])
    _forget(job, [number for number in changed if number in job.state.settled], "the photo has changed")


def _forget(job: OpenJob, numbers: Sequence[int], reason: str) -> None:
    job.journal.lost(numbers, reason)
    for number in numbers:
        job.state.unsettle(number)


def _set_aside(job: OpenJob, numbers: Sequence[int]) -> None:
    """Keep files that somebody has altered: perhaps they were retouched."""
    for number in numbers:
        altered = job.order.out / job.entries[number].output
        if remote.is_url(altered):
            _fetch_aside(job, number, altered)
        elif altered.is_file():
            (job.folder / REPLACED).mkdir(exist_ok=True)
            with suppress(OSError):
                altered.replace(job.folder / REPLACED / f"{number:06d}-{secrets.token_hex(4)}{altered.suffix}")


def _fetch_aside(job: OpenJob, number: int, altered: Path) -> None:
    with suppress(CartoonError):  # it is gone
        data = remote.load(altered)
        (job.folder / REPLACED).mkdir(exist_ok=True)
        write_atomically(job.folder / REPLACED / f"{number:06d}-{secrets.token_hex(4)}{altered.suffix}", data)


def _clean(order: Order, entries: Sequence[Entry]) -> None:
    """Remove temporary files that a killed process of this job left among its outputs."""
    for place in {(order.out / entry.output).parent for entry in entries} | {order.out}:
        with suppress(OSError):  # what cannot be looked into was not written into
            for part in list(place.glob(f".{mark_of(order)}*.part")):
                part.unlink(missing_ok=True)


def _tidy(out: Path) -> None:
    """Remove the home of no jobs, and an output folder with nothing else in it."""
    if not jobs_in(out):
        shutil.rmtree(out / HOME, ignore_errors=True)
        with suppress(OSError):  # not empty: then it stays
            out.rmdir()


def _sweep(home: Path) -> None:
    """Remove what a process that was killed before its manifest was written has left."""
    for folder in home.iterdir():
        if not folder.is_symlink() and salvage.is_leftover(folder):
            with suppress(CartoonError), _locked(folder / LOCK, home, seconds=0):
                shutil.rmtree(folder, ignore_errors=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"The disk of {folder.parent} is full: free some space and run again.") from problem
        raise OptionsError(
            f"{folder.parent} cannot be the output folder ({problem.strerror}): give another -o."
        ) from problem


def _lock(path: Path, out: Path, seconds: float | None = None) -> FileLock:
    lock = FileLock(path, timeout=LOCK_SECONDS if seconds is None else seconds, thread_local=False)
    try:
        lock.acquire()
    except Timeout as busy:
        raise BusyError(f"Another process works on this job in {out}: wait until it has ended, or stop it.") from busy
    except OSError as problem:
        raise OptionsError(f"{out} cannot be the output folder ({problem.strerror}): give another -o.") from problem
    return lock


@contextmanager
def _locked(path: Path, out: Path, seconds: float | None = None) -> Iterator[None]:
    lock = _lock(path, out, seconds)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _full_disk_told(out: Path) -> Iterator[None]:
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
