"""A job's folder: begun once from what was asked, found again by the same command, opened by one process at a time."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from cartoon.errors import CartoonError, DamagedError, OptionsError
from cartoon.jobs.inputs.discovery import Found
from cartoon.jobs.inputs.hashing import Watcher, scanned, silent, unsound
from cartoon.jobs.model import Item, Order, differences
from cartoon.jobs.store import manifest, salvage
from cartoon.jobs.store.additions import add_new, placed, taken_by_others, unpacked
from cartoon.jobs.store.home import HOME, clean, full_disk_told, jobs_in, make, remove_all, sweep, tidy
from cartoon.jobs.store.journal import Journal
from cartoon.jobs.store.lock import job_lock, locked
from cartoon.jobs.store.open_job import OpenJob
from cartoon.jobs.store.replay import Replay
from cartoon.jobs.store.salvage import LOCK, Header, StoredJob

log = logging.getLogger(__name__)


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
    make(home)
    try:
        with locked(home / LOCK, order.out):
            sweep(home)
            earlier = _earlier(home, order)
            if earlier is None:
                return begin(home / order.id, order, [] if grows else None, watch)
        return _gone_on_with(earlier, order, watch, look=not grows)
    except CartoonError:
        tidy(home.parent)
        raise


def begin(folder: Path, order: Order, items: Sequence[Item] | None = None, watch: Watcher = silent) -> OpenJob:
    """Write the manifest of a new job into a new folder; items: its inputs, where they are not to be looked for."""
    make(folder)
    lock = job_lock(folder / LOCK, order.out)
    try:
        with full_disk_told(order.out):
            found = Found(tuple(items)) if items is not None else unpacked(folder, order, order.inputs)
            taken = frozenset() if order.overwrite else taken_by_others(folder)
            entries = list(scanned(placed(order, found.items, [], taken), watch))
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
    header = salvage.read_header(folder)
    out = header.order.out
    lock = job_lock(folder / LOCK, out)
    try:
        with full_disk_told(out):
            stored = salvage.read(folder, header)
            stored.check()
            return _opened(stored, lock, watch, look, check)
    except BaseException:
        lock.release()
        raise


def open_stored(stored: StoredJob, watch: Watcher = silent, check: bool = True) -> OpenJob:
    """As resume, a job that this process has read, and alone has had since; nothing of it is read again."""
    lock = job_lock(stored.folder / LOCK, stored.order.out)
    try:
        with full_disk_told(stored.order.out):
            return _opened(stored, lock, watch, look=False, check=check)
    except BaseException:
        lock.release()
        raise


@dataclass(frozen=True, eq=False)
class _Earlier:
    """A job that an order goes on with. lock, stored: where it had to be read to know that, and so is held already."""

    header: Header
    lock: FileLock | None = None
    stored: StoredJob | None = None


def _earlier(home: Path, order: Order) -> _Earlier | None:
    """The job that an order goes on with; raises OptionsError if it asks for something else, DamagedError.

    Whose inputs are others is told by the manifest alone; what became of the job is read once, when it is held.
    """
    for folder in jobs_in(home.parent):
        header = salvage.read_header(folder)
        if not header.known:
            log.warning("%s cannot be read (%s) and is left alone.", folder, header.damage[0])
            continue
        before = header.order
        if before.inputs != order.inputs:
            continue
        other = differences(before, order)
        if not order.overwrite:
            if header.damage or other:  # nothing goes on: what is worse is told
                _check_whole(salvage.read(folder, header), order)
                raise OptionsError(
                    f"{order.out} holds the job of these photos with other options ({'; '.join(other)}): "
                    "give another -o, or --overwrite to draw them anew."
                )
            return _Earlier(header)
        if before.overwrite and not other and not header.damage:
            lock = job_lock(folder / LOCK, order.out)
            stored = salvage.read(folder, header)
            if stored.state.counts(len(stored.entries)).remaining and not stored.damage:
                return _Earlier(header, lock, stored)
            lock.release()
        _replace(folder, order)
    return None


def _gone_on_with(earlier: _Earlier, order: Order, watch: Watcher, look: bool) -> OpenJob:
    folder = earlier.header.folder
    lock = earlier.lock or job_lock(folder / LOCK, order.out)
    try:
        with full_disk_told(order.out):
            stored = earlier.stored or salvage.read(folder, earlier.header)
            _check_whole(stored, order)
            return _opened(stored, lock, watch, look)
    except BaseException:
        lock.release()
        raise


def _check_whole(stored: StoredJob, order: Order) -> None:
    if stored.damage:
        raise DamagedError(
            f"The job of these photos in {order.out} is damaged ({stored.damage[0]}): remove {stored.folder} to draw "
            "what is not there yet, or give --overwrite to draw them all anew."
        )


def _opened(stored: StoredJob, lock: FileLock, watch: Watcher, look: bool, check: bool = True) -> OpenJob:
    if check:
        clean(stored.order, stored.entries)
    job = OpenJob(stored.folder, stored.order, stored.entries, stored.state, Journal(stored.folder), lock)
    try:
        if check:
            lost = unsound(job.state.settled, watch)
            job.set_aside(lost)
            job.forget(lost, "missing or altered")
        if job.order.inputs and look:
            add_new(job, watch)
    except BaseException:
        job.journal.close()
        raise
    return job


def _replace(folder: Path, order: Order) -> None:
    """Remove an earlier job, which another one takes the place of."""
    try:
        if (folder / LOCK).is_file():
            with locked(folder / LOCK, order.out):
                remove_all(folder)
        else:
            remove_all(folder)
    except OSError as problem:
        raise OptionsError(f"{folder} cannot be removed ({problem.strerror}): give another -o.") from problem
