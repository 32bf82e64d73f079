"""A job's files are read once: by the command that goes on with it, by a server that starts over it."""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartoon.cli.run import Request, draw
from cartoon.images.encode import encode
from cartoon.jobs.service.creation import JobRequest, Sent
from cartoon.jobs.service.jobs import JobService
from cartoon.options import Options
from cartoon.settings import Settings
from tests.fakes import FakeStylizer, TroubledStylizer, load_fake, spec_of
from tests.waiting import PATIENCE, wait_for

FILES = ("manifest.json", "items.jsonl", "journal.jsonl")


class Reads:
    """Counts how often each file of jobs is opened to be read, while it is on.

    Python itself tells of every file that is opened (PEP 578); nobody can take such a hook away again.
    """

    def __init__(self) -> None:
        self.on = False
        self.of: Counter[str] = Counter()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, told: tuple[Any, ...]) -> None:
        if self.on and event == "open" and isinstance(told[0], str | bytes | os.PathLike):
            path, flags = Path(os.fsdecode(told[0])), told[2]
            if path.name in FILES and flags & os.O_ACCMODE == os.O_RDONLY:
                self.of[path.name] += 1


HEARD = Reads()


@pytest.fixture
def reads() -> Iterator[Reads]:
    HEARD.of.clear()
    HEARD.on = True
    yield HEARD
    HEARD.on = False


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        photo(folder, number)
    return folder


def photo(folder: Path, number: int) -> Path:
    """A picture of its own for each number below 50."""
    path = folder / f"{number}.png"
    path.write_bytes(encode(np.full((30, 40, 3), 5 * number, np.uint8), None, "png"))
    return path


def run(photos: Path, tmp_path: Path, overwrite: bool = False) -> int:
    request = Request((photos,), tmp_path / "out", None, overwrite, as_json=True)
    return draw(request, Options(size=64), Settings(data_dir=tmp_path / "data"), load_fake)


def test_the_first_run_reads_nothing_back(photos: Path, tmp_path: Path, reads: Reads) -> None:
    assert run(photos, tmp_path) == 0
    assert reads.of == {}


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_a_job_that_is_there_reads_each_file_once(
    photos: Path, tmp_path: Path, reads: Reads, finished: bool
) -> None:
    assert run(photos, tmp_path) == 0
    if not finished:
        (photos / "new.png").write_bytes(encode(np.full((30, 40, 3), 7, np.uint8), None, "png"))
        (tmp_path / "out" / "1.png").unlink()
    reads.of.clear()
    assert run(photos, tmp_path) == 0
    assert reads.of == dict.fromkeys(FILES, 1)
    assert len(list((tmp_path / "out").glob("*.png"))) == 4 + (not finished)


def test_beside_other_jobs_their_manifests_alone_are_read(photos: Path, tmp_path: Path, reads: Reads) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "other.png").write_bytes(encode(np.full((30, 40, 3), 9, np.uint8), None, "png"))
    assert run(other, tmp_path) == 0
    assert run(photos, tmp_path) == 0
    reads.of.clear()
    assert run(photos, tmp_path) == 0
    assert reads.of == {"manifest.json": 2, "items.jsonl": 1, "journal.jsonl": 1}


def test_an_interrupted_overwriting_run_reads_each_file_once(photos: Path, tmp_path: Path, reads: Reads) -> None:
    def interrupted(settings: Settings) -> FakeStylizer:
        def trouble(name: str) -> None:
            if name == "2.png":
                os.kill(os.getpid(), 2)

        return TroubledStylizer(trouble)

    request = Request((photos,), tmp_path / "out", None, True, as_json=True)
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        draw(request, Options(size=64), settings, interrupted)
    reads.of.clear()
    assert draw(request, Options(size=64), settings, load_fake) == 0
    assert reads.of == dict.fromkeys(FILES, 1)


def test_a_server_that_goes_on_reads_each_file_once(tmp_path: Path, reads: Reads) -> None:
    begun = threading.Event()

    def slowly(name: str) -> None:  # so that a pause finds most of them not begun, on a busy machine as well
        begun.set()
        time.sleep(0.1)

    service = JobService(tmp_path / "jobs", spec_of(TroubledStylizer(slowly)), lambda style: "m", 10**6)
    sent = [Sent(photo(tmp_path, number), f"{number}.png") for number in range(40)]
    id = service.create(sent, JobRequest(Options(size=64), "ann"))
    assert begun.wait(PATIENCE)
    service.pause(id)
    service.close()
    assert service.status(id).counts.remaining
    reads.of.clear()
    service = JobService(tmp_path / "jobs", spec_of(FakeStylizer()), lambda style: "m", 10**6)
    try:
        service.resume(id)
        wait_for(lambda: service.status(id).state == "finished" and not service.status(id).busy)
        assert len(service.settled(id)) == len(sent)
    finally:
        service.close()
    assert reads.of == dict.fromkeys(FILES, 1)
