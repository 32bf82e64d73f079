"""One photo of a job, from file to file: fetched, drawn by whoever the doors gave for that, put in place."""

import errno
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol, cast

from cartoon.errors import CartoonError, OutputError, QualityError, ResourceError, StorageError
from cartoon.files import FULL, write_atomically
from cartoon.images.decode import read
from cartoon.images.formats import OutputFormat
from cartoon.images.types import Cartoon, Photo
from cartoon.jobs.inputs import remote
from cartoon.jobs.model import Result, Task
from cartoon.options import Options
from cartoon.quality.gate import Judge, Verdict

log = logging.getLogger(__name__)

PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ETIMEDOUT, errno.EBUSY}
)
"""What the system says when the same call may succeed later."""
UNPLUGGED: Final = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EROFS})


class Drawing(Protocol):
    """What a job wants of a drawn file; cartoon.pipeline.one_file has it."""

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        ...

    @property
    def photo(self) -> Photo:
        """What it was drawn from."""
        ...

    @property
    def cartoon(self) -> Cartoon:
        """What was drawn."""
        ...

    @property
    def verdict(self) -> Verdict | None:
        """What the judge said of it; None where nobody judged."""
        ...


class Stylizer(Protocol):
    """Who draws the files of a job; the doors bring it, as what draws is not known here."""

    @property
    def at_once(self) -> int:
        """How many photos it works on at the same time."""
        ...

    def draw_file(
        self, source: Callable[[], Photo], options: Options, *, urgent: bool = True, judge: Judge | None = None
    ) -> Drawing:
        """The photo that `source` gives, drawn and encoded, past the judge if there is one; raises CartoonError."""
        ...


def draw_file(task: Task, stylizer: Stylizer, judge: Judge | None = None) -> Result:
    """Draw one file, past the quality gate if there is one; whatever goes wrong with it is its Result's error."""
    began = time.perf_counter()
    try:
        fetch = remote.photo if remote.is_url(task.source) else read
        source = partial(fetch, Path(task.source), task.name, task.max_pixels)
        format = cast(OutputFormat, task.output.rpartition(".")[2])  # the manifest has chosen it
        options, asked = replace(task.options, format=format), None if task.gate == "off" else judge
        drawing = stylizer.draw_file(source, options, urgent=False, judge=asked)
        _check(task, drawing.verdict)
        put(task, drawing.data)
    except Exception as problem:  # noqa: BLE001 - one photo never ends the batch; explain logs what is unexpected
        return Result(explained(task.name, problem), seconds=time.perf_counter() - began)
    data, cartoon, verdict = drawing.data, drawing.cartoon, drawing.verdict
    flaws = verdict.flaws if verdict else ()
    return Result(
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        seconds=time.perf_counter() - began,
        faces=len(cartoon.faces),
        score=verdict.score if verdict else None,
        flaws=tuple(flaw.code for flaw in flaws),
        notes=(*drawing.photo.notes, *cartoon.notes, *(flaw.sentence for flaw in flaws)),
    )


def _check(task: Task, verdict: Verdict | None) -> None:
    """Raise QualityError where the task refuses what is the best there was after every fallback."""
    if task.gate == "refuse" and verdict and not verdict.ok:
        told = " ".join(flaw.sentence for flaw in verdict.flaws[:2])
        raise QualityError(f"{task.name}: the drawing does not look right ({told}) Try another style or strength.")


def put(task: Task, data: bytes) -> None:
    """Write a result atomically and for good; raises StorageError when the disk is full or its folder is gone."""
    root, place = Path(task.root), Path(task.root, task.output)
    if remote.is_url(root):
        remote.save(place, data, task.mark)
        return
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
