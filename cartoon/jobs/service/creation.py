"""What a client asks of a server's jobs, and how a job begins from it: its photos move into the job's own folder."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cartoon import __version__
from cartoon.errors import InputError, OptionsError, StorageError
from cartoon.files import FULL
from cartoon.jobs.inputs.zips import unpack
from cartoon.jobs.model import Gate, Item, Order
from cartoon.jobs.store.folder import begin
from cartoon.jobs.store.home import INPUTS, new_id
from cartoon.jobs.store.salvage import RESULTS, StoredJob
from cartoon.options import Options


@dataclass(frozen=True)
class Sent:
    """A file that a client sent: where it lies now (it is moved from there) and its clean name."""

    path: Path
    name: str


@dataclass(frozen=True)
class JobRequest:
    """What a client asks for besides its photos."""

    options: Options
    owner: str = ""
    gate: Gate = "flag"
    priority: int = 1
    title: str = ""


def begin_sent(root: Path, sent: Sequence[Sent], request: JobRequest, model: str) -> StoredJob:
    """Begin a job in a new folder of `root`, which is closed again; model: the sha256 of the style's weights.

    Raises InputError where there is no photo, StorageError where the disk cannot be written, ResourceError where it is
    full; then nothing stays.
    """
    folder = root / new_id()
    order = Order(
        folder.name,
        (),
        folder / RESULTS,
        request.options,
        model,
        __version__,
        time.time(),
        request.gate,
        owner=request.owner,
        priority=request.priority,
        title=request.title,
    )
    try:
        (folder / INPUTS).mkdir(parents=True, mode=0o700)
        (folder / RESULTS).mkdir()
        items = _taken_in(sent, folder / INPUTS)
        if not items:
            raise InputError("There is no photo in what was sent: send pictures, or a zip of them.")
        opened = begin(folder, order, items)
    except BaseException as problem:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(problem, OptionsError) or (isinstance(problem, OSError) and problem.errno not in FULL):
            raise StorageError("The server's disk cannot be written now: try again later.") from problem
        raise
    opened.close()
    return StoredJob(folder, order, opened.entries, opened.state)


def _taken_in(sent: Sequence[Sent], inputs: Path) -> list[Item]:
    """What was sent, moved into the job's folder under numbers, never under the names it came with."""
    items: list[Item] = []
    for number, one in enumerate(sent):
        if one.name.lower().endswith(".zip"):
            items += unpack(one.path, inputs / f"zip-{number}", one.name).items
            continue
        place = inputs / f"{number:06d}"
        shutil.move(one.path, place)
        items.append(Item(place, PurePosixPath(one.name)))
    return items
