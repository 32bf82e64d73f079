"""What lives in an actor of a Ray cluster: one resident stylizer, drawing several photos at a time."""

import asyncio
import logging

from cartoon import __version__
from cartoon.errors import CartoonError, ResourceError
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.model import Result, Task
from cartoon.models.cores import keep_to
from cartoon.telemetry.logs import hush


class RayWorker:
    """One stylizer and threads over it, so that its passes have several photos to choose from."""

    def __init__(self) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        hush()
        logging.getLogger("cartoon").setLevel(logging.INFO)  # into the files of Ray's session

    async def open(self, spec: WorkerSpec, cores: int) -> int | CartoonError:
        """Load the stylizer: how many photos keep it busy, or why it cannot draw. cores: on a CPU, else 0."""
        if spec.version != __version__:
            return ResourceError(
                f"A node has version {__version__} of Cartoon, not {spec.version}: install the same there."
            )
        if cores:  # those that Ray granted: others draw on the node as well
            keep_to(cores)
        try:
            self._executor = ThreadExecutor(spec)
        except CartoonError as error:
            return error
        return self._executor.slots

    async def draw(self, task: Task) -> Result:
        """Draw one photo; several calls are under way at a time."""
        return await asyncio.wrap_future(self._executor.submit(task))
