"""Serves the web doors with a FakeStylizer: `python -m tests.fake_server FOLDER` prints the port it took, then serves.

A process of its own because Gradio leaves event loops unclosed, and this project's tests count warnings as errors.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from cartoon.images.types import Cartoon, Photo
from cartoon.options import Options
from cartoon.settings import Settings
from cartoon.web.app import create_app
from cartoon.web.serve import SETTLE_SECONDS, Server, listen
from tests.fakes import FakeStylizer
from tests.waiting import wait_for

HELD: Final = "held.png"
LET_GO: Final = "let-go"
SLOW: Final = "slow-"
SLOW_SECONDS: Final = 0.1


class HoldingStylizer(FakeStylizer):
    """A FakeStylizer that draws a photo called HELD only once FOLDER/LET_GO exists; FOLDER/HELD then says it waits.

    Photos whose names begin with SLOW take it SLOW_SECONDS.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home / "styles")
        self._home = home

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """As FakeStylizer."""
        if photo.name == HELD:
            (self._home / HELD).touch()
            wait_for((self._home / LET_GO).exists, inf)
        if photo.name.startswith(SLOW):
            time.sleep(SLOW_SECONDS)  # a slow network
        return super().draw(photo, options, urgent=urgent)


def main(home: Path, settle_seconds: float = SETTLE_SECONDS, told: Callable[[int], None] | None = None) -> None:
    """Serves on a free port of this machine until the process is ended; pictures of more than 1 MB are refused, unless
    a CARTOON_* variable says otherwise.

    A user's own styles are those in FOLDER/styles. settle_seconds: the server's. told: hears the port,
    instead of its being printed.
    """
    os.environ.setdefault("CARTOON_MAX_UPLOAD_MB", "1")
    os.environ.setdefault("CARTOON_MAX_JOB_MB", "3")
    app = create_app(HoldingStylizer(home), Settings(data_dir=home))
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        (told or partial(print, flush=True))(listener.getsockname()[1])
        Server(app, settle_seconds).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else SETTLE_SECONDS)
