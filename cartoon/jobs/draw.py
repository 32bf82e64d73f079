"""One photo of a job, from file to file: read, draw, judge, redraw where the gate says so, encode, put in place."""

import errno
import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from cartoon.errors import CartoonError, OutputError, ResourceError, StorageError
from cartoon.image import FULL, Cartoon, OutputFormat, Photo, encode, read, write_atomically
from cartoon.jobs.job import Gate
from cartoon.settings import Options

log = logging.getLogger(__name__)

PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ETIMEDOUT, errno.EBUSY}
)
"""What the system says when the same call may succeed later."""
UNPLUGGED: Final = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EROFS})


class Artist(Protocol):
    """What drawing a file needs of a Cartoonizer."""

    @property
    def at_once(self) -> int:
        """How many photos it works on at the same time."""
        ...

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """Draw one photo, before those of batches if it is urgent; raises CartoonError."""
        ...


@dataclass(frozen=True)
class Task:
    """One photo to draw, in any process.

    number: of the item. source: its file. name: for sentences. root, output: the folder of all results, which must
    exist, and the result's place in it. mark: begins the names of temporary files.
    """

    number: int
    source: str
    name: str
    root: str
    output: str
    options: Options
    gate: Gate
    max_pixels: int
    mark: str = ""


@dataclass(frozen=True)
class Result:
    """What a worker says of a Task: an error, or what lies in the output file now."""

    error: CartoonError | None = None
    sha256: str = ""
    size: int = 0
    seconds: float = 0.0
    faces: int = 0
    score: float | None = None
    flaws: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def draw_file(task: Task, artist: Artist) -> Result:
    """Draw one file; whatever goes wrong with it is its Result's error."""
    began = time.perf_counter()
    try:
        photo = read(Path(task.source), task.name, task.max_pixels)
        cartoon = artist.draw(photo, task.options, urgent=False)
        format = cast(OutputFormat, task.output.rpartition(".")[2])  # the manifest has chosen it
        data = encode(cartoon.pixels, cartoon.alpha, format, task.options.quality)
        put(task, data)
    except Exception as problem:  # noqa: BLE001 - one photo never ends the batch; explain logs what is unexpected
        return Result(explained(task.name, problem), seconds=time.perf_counter() - began)
    return Result(
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        seconds=time.perf_counter() - began,
        faces=len(cartoon.faces),
        notes=(*photo.notes, *cartoon.notes),
    )


def put(task: Task, data: bytes) -> None:
    """Write a result atomically and for good; raises StorageError when the disk is full or its folder is gone."""
    root, place = Path(task.root), Path(task.root, task.output)
    try:
        # Not mkdir with all parents: where a disk was unplugged, they would be made on the one below.
        for parent in reversed(place.relative_to(root).parents):
            if parent != Path():
                (root / parent).mkdir(exist_ok=True)
    except FileNotFoundError as problem:
        raise _gone(root) from problem
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"{place.name} does not fit on the disk: free some space and run again.") from problem
        raise
    try:
        write_atomically(place, data, task.mark)
    except OutputError as problem:
        if not root.is_dir() or getattr(problem.__cause__, "errno", None) in UNPLUGGED:
            raise _gone(root) from problem
        raise


def explained(name: str, problem: Exception) -> CartoonError:
    """Any exception over one photo as an error of ours."""
    if isinstance(problem, CartoonError):
        return problem
    if isinstance(problem, MemoryError):
        return ResourceError(f"{name}: memory ran out; run it again with a smaller size or fewer programs open.")
    if isinstance(problem, OSError):
        # Without the path: behind a web door it would show how the server's disk is laid out.
        message = f"{name}: {problem.strerror or 'the disk failed'}; fix it and run it again."
        return ResourceError(message) if problem.errno in PASSING else CartoonError(message)
    log.error("unexpected error", exc_info=problem)  # no names in logs
    kind = type(problem).__name__
    return CartoonError(f"{name}: unexpected {kind} ({problem}): a bug; please report it with the log.")


def _gone(root: Path) -> StorageError:
    return StorageError(f"The folder {root.name} for the results is gone: put it back and run again.")
