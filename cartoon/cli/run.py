"""What the command line's `run` does: a durable job in the output folder, told as it goes, and packed at the end."""

import hashlib
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from cartoon import __version__
from cartoon.cli.output import DONE, FAILED, PhotoEvent, Summary, event_of, reporter, show_forecast, stopping, watching
from cartoon.errors import CartoonError, OptionsError
from cartoon.files import write_atomically
from cartoon.jobs import report
from cartoon.jobs.executors.base import Executor, Load, WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.executors.process import ProcessExecutor
from cartoon.jobs.forecast import Forecast, check_disk, survey
from cartoon.jobs.inputs import remote
from cartoon.jobs.inputs.zips import check_target, write_zip
from cartoon.jobs.model import Attempt, Counts, Gate, Order
from cartoon.jobs.runner import run
from cartoon.jobs.store import index
from cartoon.jobs.store.folder import open_order
from cartoon.jobs.store.home import INPUTS, mark_of, new_id
from cartoon.jobs.store.open_job import OpenJob
from cartoon.options import Options
from cartoon.pipeline import load_cartoonizer
from cartoon.quality.gate import judge
from cartoon.settings import Settings
from cartoon.styles.catalogue import Register


@dataclass(frozen=True)
class Request:
    """What a command asks: where it reads and writes, and how it reports."""

    inputs: tuple[Path, ...]
    out: Path
    zip: Path | None
    overwrite: bool
    as_json: bool
    gate: Gate = "flag"
    dry_run: bool = False
    anyway: bool = False
    retry_failed: bool = False
    cluster: str | None = None


def draw(request: Request, options: Options, settings: Settings, load: Load | None) -> int:
    """Run the job of a request to its end; the exit code.

    load: the stylizer for this process; without one it is loaded in a process of its own, so that a photo that crashes
    it takes nothing else down. Raises what open_order and run raise, KeyboardInterrupt after a summary.
    """
    return finish(request, options, settings, load, Register(settings.styles_dir).find(options.style).sha256)


def finish(
    request: Request, options: Options, settings: Settings, load: Load | None, model: str, usual: Load | None = None
) -> int:
    """As draw, for a model with this sha256. usual: what a process of its own loads, unless it is the Cartoonizer."""
    with watching() as watch:
        order = order_of(request, options, model)
        job = open_order(order, watch, _beside(order, settings.data_dir))
        index.note(settings.data_dir, job.folder.parent.parent)
    try:
        try:
            if request.retry_failed:
                job.retry()
            _check_zip(request, job)
            if job.counts.remaining or request.dry_run:
                forecast = _foreseen(request, job, settings.max_pixels)
                if request.dry_run:
                    job.discard()
                    return FAILED if forecast.failing else DONE
            executor = executor_for(request, settings, load, usual) if job.counts.remaining else None
        except CartoonError:
            job.discard()
            raise
        try:
            return drawn(request, job, executor, settings.max_pixels)
        finally:
            if executor:
                executor.close()
    finally:
        job.close()


def _foreseen(request: Request, job: OpenJob, max_pixels: int) -> Forecast:
    """What is to come, told; raises StorageError where the disk cannot hold it."""
    due = [
        entry for entry in job.entries if entry.number not in job.state.settled and not remote.is_url(entry.item.source)
    ]
    with watching() as watch:
        forecast = survey(due, job.order.options, job.order.out, max_pixels, watch)
    if len(due) == job.counts.remaining:
        show_forecast(forecast, request.as_json, in_full=request.dry_run)
    elif request.dry_run:
        raise OptionsError("--dry-run looks at files of this machine only: leave it out where an INPUT is a URL.")
    if not request.anyway and not remote.is_url(job.order.out):
        check_disk(forecast, job.order.out, twice=request.zip is not None)
    return forecast


def order_of(request: Request, options: Options, model: str) -> Order:
    """What a request asks, as a job has it."""
    inputs = tuple(str(remote.located(given)) for given in request.inputs)
    out = remote.located(request.out)
    for given in (*inputs, str(out)):
        if remote.is_url(given):
            remote.check(Path(given))
    return Order(new_id(), inputs, out, options, model, __version__, time.time(), request.gate, request.overwrite)


def _beside(order: Order, data_dir: Path | None) -> Path | None:
    """Where a job whose results go to a URL has its own files: a folder of this machine, the same for the same URL."""
    if not remote.is_url(order.out):
        return None
    if data_dir is None:
        raise OptionsError(f"The job of {remote.shown(order.out)} needs a folder here: set CARTOON_DATA_DIR.")
    return data_dir / "cluster-jobs" / hashlib.sha256(remote.shown(order.out).encode()).hexdigest()


def executor_for(request: Request, settings: Settings, load: Load | None, usual: Load | None = None) -> Executor:
    """Who draws: a cluster, or a process of its own, or for a given stylizer this process."""
    if request.cluster:
        from cartoon.jobs.executors.ray import RayExecutor

        gate = None if load else judge
        return RayExecutor(WorkerSpec(load or load_cartoonizer, settings, gate, cluster=request.cluster))
    if load:
        return ThreadExecutor(WorkerSpec(load, settings, isolated=load))
    return ProcessExecutor(WorkerSpec(usual or load_cartoonizer, settings, judge))


def drawn(request: Request, job: OpenJob, executor: Executor | None, max_pixels: int) -> int:
    started, before = time.perf_counter(), job.counts
    problem: KeyboardInterrupt | CartoonError | None = None
    packed = None
    with reporter(len(job.entries), request.as_json) as reports, stopping() as stop:
        try:
            with closing(_attempts(job, executor, stop.is_set, max_pixels)) as attempts:
                for attempt in attempts:
                    reports.photo(_with_url(event_of(attempt, shown(attempt, job)), attempt))
            if job.counts.remaining:
                raise KeyboardInterrupt
            packed = _pack(request, job)
        except (KeyboardInterrupt, CartoonError) as reason:  # what is done is told first
            problem = reason
        reports.summary(summary_of(request, job, before, time.perf_counter() - started, packed, problem))
    if problem:
        raise problem
    return FAILED if job.counts.failed or job.counts.quarantined else DONE


def _with_url(event: PhotoEvent, attempt: Attempt) -> PhotoEvent:
    """The event with its output spelled as a person would."""
    if attempt.output is None or not remote.is_url(attempt.output):
        return event
    path, url = str(attempt.output), remote.shown(attempt.output)
    return replace(event, output=url, message=event.message and event.message.replace(path, url))


def _attempts(
    job: OpenJob, executor: Executor | None, stopped: Callable[[], bool], max_pixels: int
) -> Generator[Attempt, None, None]:
    yield from list(job.again())
    if executor:
        with closing(run(job, executor, stopped, max_pixels)) as attempts:
            yield from attempts


def summary_of(
    request: Request, job: OpenJob, before: Counts, seconds: float, packed: Path | None, stop: BaseException | None
) -> Summary:
    """What a run came to; before: the counts when it began."""
    now = job.counts
    return Summary(
        done=now.done - before.done,
        failed=now.failed + now.quarantined,
        skipped=now.skipped + before.done,
        remaining=now.remaining,
        flagged=now.flagged,
        ignored=job.ignored,
        seconds=round(seconds, 3),
        out=remote.shown(request.out),
        job=str(job.folder),
        zip=str(packed) if packed else None,
        interrupted=isinstance(stop, KeyboardInterrupt),
    )


def _check_zip(request: Request, job: OpenJob) -> None:
    if request.zip is None:
        return
    if remote.is_url(job.order.out):
        raise OptionsError("--zip packs results of this machine: leave it out where OUT is a URL.")
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
        if remote.is_url(job.order.out):
            remote.save(job.order.out / name, data, job.mark)
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


def shown(attempt: Attempt, job: OpenJob) -> str:
    """The input as the user knows it: its path, or for a zip's member its path inside."""
    item = attempt.item
    return item.name if item.source.is_relative_to(job.folder / INPUTS) else remote.shown(item.source)
