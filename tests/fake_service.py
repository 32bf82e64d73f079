"""A server's service without its doors, as it starts within a second: `python -m tests.fake_service FOLDER PHOTOS`.

Over FOLDER/jobs, with a stylizer that takes DRAWING_SECONDS; it sends PHOTOS as a job where there is none, and ends
once all jobs have. Photos called POISON kill the process that draws them. A line in FOLDER/log for every photo begun.
"""

import os
import shutil
import signal
import sys
import time
from math import inf
from pathlib import Path
from typing import Final

from cartoon.images.types import Cartoon, Photo
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.service.creation import JobRequest, Sent
from cartoon.jobs.service.jobs import JobService
from cartoon.options import Options
from cartoon.settings import Settings
from tests.fakes import FakeStylizer
from tests.waiting import wait_for

DRAWING_SECONDS: Final = 0.6
OWNER: Final = "somebody"
POISON: Final = "poison"


class SlowStylizer(FakeStylizer):
    """A FakeStylizer that can be caught drawing, and dies of poison."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._log = home / "log"

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """As FakeStylizer, after a while."""
        with self._log.open("a") as log:
            log.write(f"{os.getpid()} {photo.name}\n")
        time.sleep(DRAWING_SECONDS)  # a slow network
        if POISON in photo.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(photo, options, urgent=urgent)


def load_slow(settings: Settings) -> SlowStylizer:
    """Stands in for Cartoonizer.load; data_dir says where its log is."""
    assert settings.data_dir
    return SlowStylizer(settings.data_dir)


def main(home: Path, photos: Path) -> None:
    """Run the jobs to their end."""
    settings = Settings(data_dir=home)
    spec = WorkerSpec(load_slow, settings, isolated=load_slow)
    service = JobService(home / "jobs", spec, lambda style: "m", 10**8)
    if not service.jobs(OWNER):
        (home / "sent").mkdir(exist_ok=True)
        sent = [Sent(Path(shutil.copy(path, home / "sent")), path.name) for path in sorted(photos.rglob("*.[jp][pn]g"))]
        service.create(sent, JobRequest(Options(size=64), OWNER))
    wait_for(lambda: not {status.state for status in service.jobs(OWNER)} & {"waiting", "running"}, inf)
    service.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
