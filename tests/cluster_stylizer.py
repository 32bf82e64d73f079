"""A stylizer for clusters: importable by Ray's workers, slow enough to be caught drawing, and mortal."""

import os
import time
from pathlib import Path
from typing import Final

from cartoon.images.types import Cartoon, Photo
from cartoon.options import Options
from cartoon.settings import Settings
from tests.fakes import FakeStylizer

SECONDS: Final = 0.1
"""A drawing takes."""
POISON: Final = "poison"
"""Photos with this in their name kill the process that draws them."""


class MortalStylizer(FakeStylizer):
    """A FakeStylizer that takes a while, dies of poison, and leaves its process id in a file of the folder `pids`."""

    at_once = 2

    def __init__(self, pids: Path) -> None:
        super().__init__()
        self._mark = pids / f"{os.getpid()}"
        self._mark.touch()

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """As FakeStylizer; a line in this process's file for each photo."""
        with self._mark.open("a") as file:
            file.write(photo.name + "\n")
        time.sleep(SECONDS)
        if POISON in photo.name:
            os._exit(7)
        return super().draw(photo, options, urgent=urgent)


def load_mortal(settings: Settings) -> MortalStylizer:
    """Stands in for Cartoonizer.load; styles_dir says where process ids are left."""
    return MortalStylizer(settings.styles_dir)
