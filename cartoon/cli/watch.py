"""What the command line's `watch` does: draws whatever appears in a folder, once it has stopped growing."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from cartoon.cli.output import DONE, FAILED, event_of, reporter, stopping
from cartoon.cli.run import Request, executor_for, order_of, summary_of
from cartoon.errors import OptionsError
from cartoon.jobs.executors.base import Load
from cartoon.jobs.runner import run
from cartoon.jobs.store import index
from cartoon.jobs.store.additions import look_again
from cartoon.jobs.store.folder import open_order
from cartoon.options import Options
from cartoon.settings import Settings
from cartoon.styles.catalogue import Register

LOOK_SECONDS: Final = 1.0
"""Between two looks at the folder."""
QUIET_SECONDS: Final = 2.0
"""How long a file's size and time must have stayed the same before it counts as whole."""


class Quiet:
    """Tells which files have stopped growing, by what they were at earlier looks."""

    def __init__(self, quiet_seconds: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: in seconds."""
        self._quiet_seconds, self._clock = quiet_seconds, clock
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}

    def __call__(self, path: Path) -> bool:
        """Whether a file has been the same for long enough."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        now, is_now = self._clock(), (status.st_size, status.st_mtime_ns)
        was, since = self._seen.get(str(path), ((-1, -1), now))
        if was != is_now:
            self._seen[str(path)] = (is_now, now)
            return False
        return status.st_size > 0 and now - since >= self._quiet_seconds


def watch(request: Request, options: Options, settings: Settings, load: Load | None) -> int:
    """Draw what is in a folder and what appears there, until interrupted; then the exit code.

    It is one durable job that grows: started again, it goes on.
    """
    logging.getLogger("cartoon.jobs.inputs.discovery").setLevel(logging.ERROR)  # an empty folder is no news here
    folder = request.inputs[0]
    if not folder.is_dir():
        raise OptionsError(f"{folder} is no folder to watch: make it first, or give another.")
    order = order_of(request, options, Register(settings.styles_dir).find(options.style).sha256)
    job = open_order(order, grows=True)
    index.note(settings.data_dir, order.out)
    try:
        executor, quiet, before, began = executor_for(request, settings, load), Quiet(), job.counts, time.perf_counter()
        try:
            with reporter(None, request.as_json) as reports, stopping() as stop:
                while not stop.is_set():
                    look_again(job, quiet)
                    with closing(run(job, executor, stop.is_set, settings.max_pixels)) as attempts:
                        for attempt in attempts:
                            reports.photo(event_of(attempt, str(attempt.item.source)))
                    stop.wait(LOOK_SECONDS)
                reports.summary(summary_of(request, job, before, time.perf_counter() - began, None, None))
        finally:
            executor.close()
        return FAILED if job.counts.failed or job.counts.quarantined else DONE
    finally:
        job.close()
