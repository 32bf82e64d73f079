"""What draws the photos of jobs, wherever it is: made from one value, asked by one call; who asks cannot tell which.

A finished photo has three forms on its way to a page, each made from the one before and nothing else: the `Result`
that a worker says of a `Task` (it crosses processes), the `Attempt` that the job records (its line in the journal is
the same, spelled in JSON), and the `Row` of the report, which is what doors tell.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from cartoon import __version__
from cartoon.jobs.model import Result, Task
from cartoon.jobs.photo import Stylizer
from cartoon.quality.gate import Judge
from cartoon.settings import Settings

LOOK_AHEAD: Final = 2
"""Photos beyond those being drawn: they are opened and written meanwhile."""

Load = Callable[[Settings], Stylizer]
"""Makes a stylizer. One that other processes or nodes are to call has to be importable there."""


@dataclass(frozen=True)
class WorkerSpec:
    """What every executor is made from: how a worker gets its stylizer, in whatever process it is.

    judge: the quality gate. isolated: what a process of its own loads for a last try, where `load` hands out one that
    this process has; without it this process has to do. cluster: the address of one, for executors that need it.
    version: of the program that asks; nodes of a cluster have to have the same.
    """

    load: Load
    settings: Settings
    judge: Judge | None = None
    isolated: Load | None = None
    cluster: str = ""
    version: str = __version__


class Executor(Protocol):
    """Takes Tasks and draws them, several at a time."""

    @property
    def slots(self) -> int:
        """How many tasks keep it busy; it takes more, but they only wait."""
        ...

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        """Draw a task. The future raises WorkerLostError when its worker died.

        isolated: with nothing else in its process: the last try of a photo that may have crashed others, asked for
        while nothing else of the job is under way. Then the future raises WorkerLostError when the process died over
        the photo, ResourceError when there was none to be had, QuarantineError when it took too long.
        """
        ...

    def close(self) -> None:
        """End when what is under way is done; what waits is cancelled."""
        ...
