"""What lives in an actor of a Ray cluster: one resident artist, drawing several photos at a time."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from cartoon import __version__
from cartoon.errors import CartoonError, ResourceError
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.photo import Judge, Result, Stylizer, Task
from cartoon.models.cores import keep_to
from cartoon.settings import Settings
from cartoon.telemetry.logs import hush


@dataclass(frozen=True)
class WorkerSpec:
    """How an artist is made, wherever that is; sent by reference, so what it names can be imported on every node.

    judge: the quality gate. version: of the program that asks.
    """

    load: Callable[[Settings], Stylizer]
    judge: Judge | None = None
    version: str = __version__


class RayWorker:
    """One artist and threads over it, so that its passes have several photos to choose from."""

    def __init__(self) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        hush()
        logging.getLogger("cartoon").setLevel(logging.INFO)  # into the files of Ray's session

    async def open(self, recipe: WorkerSpec, settings: Settings, cores: int) -> int | CartoonError:
        """Load the artist: how many photos keep it busy, or why it cannot draw. cores: of a CPU's artist, else 0."""
        if recipe.version != __version__:
            return ResourceError(
                f"A node has version {__version__} of Cartoon, not {recipe.version}: install the same there."
            )
        if cores:  # those that Ray granted: others draw on the node as well
            keep_to(cores)
        try:
            artist = recipe.load(settings)
        except CartoonError as error:
            return error
        self._executor = ThreadExecutor(artist, recipe.judge)
        return self._executor.places

    async def draw(self, task: Task) -> Result:
        """Draw one photo; several calls are under way at a time."""
        return await asyncio.wrap_future(self._executor.submit(task))
