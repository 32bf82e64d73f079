"""What the inputs of a job are, and have become: looked for, unpacked, and given their places among the outputs."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from cartoon.errors import InputError
from cartoon.jobs.inputs import remote
from cartoon.jobs.inputs.discovery import Found, find, output_paths
from cartoon.jobs.inputs.hashing import Watcher, scanned, silent, stale
from cartoon.jobs.model import Entry, Item, Order
from cartoon.jobs.store import manifest
from cartoon.jobs.store.home import HOME, INPUTS, full_disk_told, jobs_in
from cartoon.jobs.store.open_job import OpenJob


def look_again(job: OpenJob, ready: Callable[[Path], bool]) -> None:
    """Take in photos that have appeared among the inputs or have changed, as far as they are ready."""
    with full_disk_told(job.order.out):
        add_new(job, silent, ready)


def add_new(job: OpenJob, watch: Watcher, ready: Callable[[Path], bool] = lambda path: True) -> None:
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
        found = unpacked(job.folder, order, inputs)
    except InputError:  # nothing there any more; what is needed will say so itself
        return
    job.ignored = found.ignored
    known = {entry.item.source for entry in job.entries}
    fresh = [item for item in found.items if item.source not in known and not item.refused and ready(item.source)]
    altered = [entry for entry in job.entries if stale(entry) and ready(entry.item.source)]
    if not (fresh or altered):
        return
    looked = list(scanned([*altered, *placed(order, fresh, job.entries, taken_by_others(job.folder))], watch))
    manifest.append(job.folder, looked)
    changed = [entry.number for entry in looked[: len(altered)] if entry.sha256 != job.entries[entry.number].sha256]
    for entry in looked[: len(altered)]:
        job.entries[entry.number] = entry
    job.entries.extend(looked[len(altered) :])
    job.forget([number for number in changed if number in job.state.settled], "the photo has changed")


def unpacked(folder: Path, order: Order, inputs: Sequence[str]) -> Found:
    """What the inputs are now; pictures of zips are unpacked into the job's folder."""
    unpack_to = folder / INPUTS
    unpack_to.mkdir(exist_ok=True)
    found = find([Path(given) for given in inputs], unpack_to, order.out)
    if not any(unpack_to.iterdir()):
        unpack_to.rmdir()
    return found


def placed(order: Order, items: Sequence[Item], before: Sequence[Entry], taken: frozenset[str]) -> list[Entry]:
    """Entries for items that follow those there are. taken: outputs of other jobs."""
    paths = output_paths(items, order.options, order.out, [entry.output for entry in before])
    entries = []
    stored = remote.names(order.out) if remote.is_url(order.out) and not order.overwrite else frozenset()
    for number, (item, path) in enumerate(zip(items, paths, strict=True), len(before)):
        output = PurePosixPath(path.relative_to(order.out).as_posix())
        kept = not order.overwrite and (str(output) in taken or output in stored or os.path.lexists(path))
        entries.append(Entry(number, item, output, taken=kept))
    return entries


def taken_by_others(folder: Path) -> frozenset[str]:
    """Outputs that other jobs in the same place have, or will have."""
    taken: set[str] = set()
    for other in jobs_in(folder.parent.parent) if folder.parent.name == HOME else []:
        if other == folder:
            continue
        taken |= {str(entry.output) for entry in manifest.read_entries(other).entries.values() if not entry.taken}
    return frozenset(taken)
