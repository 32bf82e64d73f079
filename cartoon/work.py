"""What the command line's `run` does: a durable job in the output folder, told as it goes, and packed at the end."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cartoon import __version__
from cartoon.console import DONE, FAILED, Summary, event_of, reporter
from cartoon.errors import CartoonError, OptionsError
from cartoon.image import write_atomically
from cartoon.jobs import report
from cartoon.jobs.archive import check_target, write_zip
from cartoon.jobs.crew import Crew, Threads, Worker
from cartoon.jobs.draw import Artist
from cartoon.jobs.folder import INPUTS, OpenJob, mark_of, new_id, open_order
from cartoon.jobs.job import Attempt, Counts, Gate, Order
from cartoon.jobs.runner import run
from cartoon.settings import Options, Settings
from cartoon.styles.registry import Register

Load = Callable[[Settings], Artist]


@dataclass(frozen=True)
class Request:
    """What a command asks: where it reads and writes, and how it reports."""

    inputs: tuple[Path, ...]
    out: Path
    zip: Path | None
    overwrite: bool
    as_json: bool
    gate: Gate = "flag"


def draw(request: Request, options: Options, settings: Settings, load: Load | None) -> int:
    """Run the job of a request to its end; the exit code.

    load: the artist for this process; without one it is loaded in a process of its own, so that a photo that crashes it
    takes nothing else down. Raises what open_order and run raise, KeyboardInterrupt after a summary.
    """
    card = Register(settings.styles_dir).find(options.style)
    job = open_order(_order(request, options, card.sha256))
    try:
        try:
            _check_zip(request, job)
            crew = _crew(settings, load) if job.counts.remaining else None
        except CartoonError:
            job.discard()
            raise
        try:
            return _drawn(request, job, crew, settings.max_pixels)
        finally:
            if crew:
                crew.close()
    finally:
        job.close()


def _order(request: Request, options: Options, model: str) -> Order:
    inputs = tuple(os.path.abspath(given) for given in request.inputs)
    out = Path(os.path.abspath(request.out))
    return Order(new_id(), inputs, out, options, model, __version__, time.time(), request.gate, request.overwrite)


def _crew(settings: Settings, load: Load | None) -> Crew:
    return Threads(load(settings)) if load else Worker(load_cartoonizer, settings)


def load_cartoonizer(settings: Settings) -> Artist:
    """The real artist; imports torch."""
    from cartoon.portrait.pipeline import Cartoonizer

    return Cartoonizer.load(settings.device, settings.precision, settings.styles_dir)


def _drawn(request: Request, job: OpenJob, crew: Crew | None, max_pixels: int) -> int:
    started, before = time.perf_counter(), job.counts
    stop: KeyboardInterrupt | CartoonError | None = None
    packed = None
    with reporter(len(job.entries), request.as_json) as reports:
        try:
            with closing(_attempts(job, crew, max_pixels)) as attempts:
                for attempt in attempts:
                    reports.photo(event_of(attempt, _shown(attempt, job)))
            packed = _pack(request, job)
        except (KeyboardInterrupt, CartoonError) as reason:  # what is done is told first
            stop = reason
        reports.summary(_summary(request, job, before, time.perf_counter() - started, packed, stop))
    if stop:
        raise stop
    return FAILED if job.counts.failed or job.counts.quarantined else DONE


def _attempts(job: OpenJob, crew: Crew | None, max_pixels: int) -> Generator[Attempt, None, None]:
    yield from list(job.again())
    if crew:
        with closing(run(job, crew, max_pixels=max_pixels)) as attempts:
            yield from attempts


def _summary(
    request: Request, job: OpenJob, before: Counts, seconds: float, packed: Path | None, stop: BaseException | None
) -> Summary:
    now = job.counts
    return Summary(
        done=now.done - before.done,
        failed=now.failed + now.quarantined,
        skipped=now.skipped + before.done,
        remaining=now.remaining,
        flagged=now.flagged,
        ignored=job.ignored,
        seconds=round(seconds, 3),
        out=str(request.out),
        job=str(job.folder),
        zip=str(packed) if packed else None,
        interrupted=isinstance(stop, KeyboardInterrupt),
    )


def _check_zip(request: Request, job: OpenJob) -> None:
    if request.zip is None:
        return
    for part in request.zip.parent.glob(f".{mark_of(job.order)}*.part"):  # left by a process that was killed
        part.unlink(missing_ok=True)
    names = {str(entry.output) for entry in job.entries} | set(report.NAMES)
    inputs = (*request.inputs, *(entry.item.source for entry in job.entries))
    check_target(request.zip, names, inputs, request.overwrite)


def _pack(request: Request, job: OpenJob) -> Path | None:
    """The report into the job's folder, and everything into the zip that was asked for."""
    told = report.rows(job.entries, job.state.settled)
    for name, data in zip(report.NAMES, (report.as_csv(told), report.as_json(told)), strict=True):
        write_atomically(job.folder / name, data, job.mark)
    pictures = [(attempt.output, job.entries[n]) for n, attempt in sorted(job.state.settled.items()) if attempt.output]
    if request.zip is None or not pictures:
        return None
    try:
        request.zip.parent.mkdir(parents=True, exist_ok=True)
        files = [(path, str(entry.output)) for path, entry in pictures]
        write_zip(request.zip, [*files, *((job.folder / name, name) for name in report.NAMES)], job.mark)
    except OSError as problem:
        raise OptionsError(f"{request.zip} cannot be written ({problem.strerror}): give another --zip.") from problem
    return request.zip


def _shown(attempt: Attempt, job: OpenJob) -> str:
    """The input as the user knows it: its path, or for a zip's member its path inside."""
    item = attempt.item
    return item.name if item.source.is_relative_to(job.folder / INPUTS) else str(item.source)
