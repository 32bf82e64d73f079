"""What lives in an actor of a Ray cluster: one resident artist, drawing several photos at a time."""

import asyncio
import logging
import sys
from collections.abc import Callable

from cartoon import __version__
from cartoon.errors import CartoonError, ResourceError
from cartoon.jobs.crew import Threads
from cartoon.jobs.draw import Artist, Result, Task
from cartoon.logs import hush
from cartoon.settings import Settings


class Resident:
    """One artist and threads over it, so that its passes have several photos to choose from."""

    def __init__(self) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        hush()
        logging.getLogger("cartoon").setLevel(logging.INFO)  # into the files of Ray's session

    async def open(
        self, load: Callable[[Settings], Artist], settings: Settings, cores: int, version: str
    ) -> int | CartoonError:
        """Load the artist: how many photos keep it busy, or why it cannot draw."""
        if version != __version__:
            return ResourceError(f"A node has version {__version__} of Cartoon, not {version}: install the same there.")
        try:
            artist = load(settings)
        except CartoonError as error:
            return error
        if cores:
            _keep_to(cores)
        self._crew = Threads(artist)
        return self._crew.places

    async def draw(self, task: Task) -> Result:
        """Draw one photo; several calls are under way at a time."""
        return await asyncio.wrap_future(self._crew.submit(task))


def _keep_to(cores: int) -> None:
    """Hold torch to the cores that Ray granted: on a CPU a style takes all there are, and others draw on the node."""
    torch = sys.modules.get("torch")  # an artist of the tests' has none
    if torch is not None:
        torch.set_num_threads(cores)
