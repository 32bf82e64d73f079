"""What a command says: a progress bar on a terminal, plain lines elsewhere, JSON lines for programs; and exit codes."""

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import typer

from cartoon.errors import CartoonError, InputError, OptionsError, StyleError
from cartoon.telemetry.logs import hush

if TYPE_CHECKING:
    from cartoon.jobs.forecast import Forecast
    from cartoon.jobs.inputs.hashing import Watcher
    from cartoon.jobs.model import Attempt

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


@dataclass(frozen=True, kw_only=True)
class PhotoEvent:
    """One photo's outcome; status is done, failed or skipped, `code` the error's, `message` a sentence or null."""

    event: str = "photo"
    input: str
    output: str | None
    status: str
    code: str | None
    message: str | None
    seconds: float
    faces: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end of a run: how many photos came to what.

    `remaining` were not reached, `flagged` are drawn but failed the quality gate, `ignored` were no pictures. job: the
    folder with the manifest, the journal and the report.
    """

    event: str = "summary"
    done: int
    failed: int
    skipped: int
    remaining: int
    flagged: int
    ignored: int
    seconds: float
    out: str
    job: str
    zip: str | None
    interrupted: bool

    def sentence(self) -> str:
        """The same for a person."""
        parts = [f"{self.done} drawn"]
        parts += [f"{count} {word}" for count, word in ((self.skipped, "skipped"), (self.failed, "failed")) if count]
        parts += [f"{self.flagged} to look at (see report.csv in {self.job})"] if self.flagged else []
        parts += [f"{self.remaining} not reached"] if self.remaining else []
        parts += [f"{self.ignored} other files ignored"] if self.ignored else []
        return f"{', '.join(parts)} in {self.seconds:.1f} s; results in {self.zip or self.out}"


class Reporter(Protocol):
    """Where a run's news goes."""

    def photo(self, event: PhotoEvent) -> None:
        """One more photo is settled."""
        ...

    def summary(self, summary: Summary) -> None:
        """The run is over."""
        ...


class JsonLines:
    """One JSON object per line on stdout, and nothing else there."""

    def photo(self, event: PhotoEvent) -> None:
        """The event as one line."""
        print(json.dumps(asdict(event)), flush=True)

    def summary(self, summary: Summary) -> None:
        """The summary as the last line."""
        print(json.dumps(asdict(summary)), flush=True)


class PlainLines:
    """One line per photo: results on stdout, failures on stderr."""

    def photo(self, event: PhotoEvent) -> None:
        """The event as one line."""
        print(line_for(event), file=sys.stderr if event.status == "failed" else sys.stdout, flush=True)

    def summary(self, summary: Summary) -> None:
        """The summary as the last line."""
        print(printable(summary.sentence()), flush=True)


@contextmanager
def reporter(total: int | None, as_json: bool) -> Iterator[Reporter]:
    """The reporter that fits where stdout leads; the bar is taken down on leaving. total: None where it grows."""
    if as_json:
        yield JsonLines()
    elif not sys.stdout.isatty():
        yield PlainLines()
    else:
        with _bar(total) as bar:
            yield bar


def event_of(attempt: "Attempt", shown: str) -> PhotoEvent:
    """An Attempt as an event; `shown` is the input as the user knows it."""
    error = attempt.error
    message = str(error) if error else " ".join(attempt.notes) or None
    if attempt.skipped and not error:
        message = f"{attempt.output} is already there: give --overwrite to draw it again."
    return PhotoEvent(
        input=shown,
        output=str(attempt.output) if attempt.output else None,
        status="failed" if error else "skipped" if attempt.skipped else "done",
        code=error.code if error else None,
        message=message,
        seconds=round(attempt.seconds, 4),
        faces=attempt.faces,
    )


def line_for(event: PhotoEvent) -> str:
    """An event as one line for a person."""
    if event.status != "done":
        return printable(f"{event.status}: {event.message}")
    faces = "1 face" if event.faces == 1 else f"{event.faces or 'no'} faces"
    return printable(f"{event.input} -> {event.output}  ({event.seconds:.1f} s, {faces})")


def printable(text: str) -> str:
    """Text that any terminal can take: control characters and bytes that are no UTF-8 in file names are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_forecast(forecast: "Forecast", as_json: bool, in_full: bool) -> None:
    """What is to come: a sentence for a person; in full also what will fail. Programs get it only in full."""
    if as_json:
        if in_full:
            print(json.dumps({"event": "forecast", **asdict(forecast)}), flush=True)
        return
    print(printable(forecast.sentence()), flush=True)
    for failing in forecast.failing if in_full else ():
        print(printable(f"will fail: {failing.message}"), flush=True)


@contextmanager
def watching() -> Iterator["Watcher"]:
    """A watcher for what comes before drawing: a line that counts up on a terminal, nothing elsewhere."""
    if not sys.stdout.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console

    with Console(highlight=False).status("looking at the photos") as status:
        yield lambda what, done, total: status.update(f"{what} {done}/{total}")


@contextmanager
def downloading() -> Iterator[Callable[[str, int, int | None], None]]:
    """A watcher for files that come: a bar for each on a terminal, nothing elsewhere."""
    if not sys.stdout.isatty():
        yield lambda name, done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()) as progress:
        tasks = {}

        def watch(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield watch


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turns errors into one sentence on stderr and typer's exit; SIGTERM counts as Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("cartoon").setLevel(logging.INFO)  # device, precision and model, once
    hush()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except (OptionsError, StyleError, InputError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)
        raise typer.Exit(USAGE) from error
    except CartoonError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as stop:
        print("interrupted: run the same command again to go on where it stopped.", file=sys.stderr, flush=True)
        raise typer.Exit(INTERRUPTED) from stop
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, so that what is under way can end; the second interrupts."""
    stop = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(total: int | None) -> Iterator[Reporter]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=Console(highlight=False)) as progress:
        task = progress.add_task("drawing", total=total)

        class Bar:
            """A bar, with failures and the summary as lines above it."""

            def photo(self, event: PhotoEvent) -> None:
                """One step further; a failure is printed above the bar."""
                if event.status == "failed":
                    progress.console.print(line_for(event), markup=False)
                progress.advance(task)

            def summary(self, summary: Summary) -> None:
                """The summary as the last line."""
                progress.console.print(printable(summary.sentence()), markup=False)

        yield Bar()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
