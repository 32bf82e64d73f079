"""What one visitor may take: counted for the cookie and, four times as much, for the address."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import LimitError
from cartoon.images.encode import encode
from cartoon.jobs.service.creation import JobRequest, Sent
from cartoon.jobs.service.jobs import JobService
from cartoon.options import Options
from cartoon.settings import Settings
from cartoon.web.access.limits import SHARED, Limits
from cartoon.web.access.visitors import Visitor
from cartoon.web.backend import model_of
from tests.fakes import FakeStylizer, TroubledStylizer, spec_of
from tests.waiting import PATIENCE, wait_for

ANN, BOB, NOBODY = Visitor("a" * 32, "10.0.0.1"), Visitor("b" * 32, "10.0.0.1"), Visitor("", "10.0.0.1")
CAROL = Visitor("c" * 32, "10.0.0.2")
SETTINGS = Settings(visitor_mb=1, visitor_jobs=2, visitor_requests=5)
MB = 2**20


@pytest.fixture
def service(tmp_path: Path) -> Iterator[JobService]:
    stylizer = FakeStylizer()
    service = JobService(tmp_path / "jobs", spec_of(stylizer), model_of(stylizer), 10**6)
    yield service
    service.close()


def test_requests_are_counted_and_come_back_with_time(service: JobService) -> None:
    now = [0.0]
    limits = Limits(SETTINGS, service, lambda: now[0])
    for _ in range(5):
        limits.ask(ANN)
    with pytest.raises(LimitError, match="CARTOON_VISITOR_REQUESTS"):
        limits.ask(ANN)
    limits.ask(BOB)
    limits.ask(CAROL)
    now[0] = 12.5  # a fifth of a minute, and a little
    limits.ask(ANN)
    with pytest.raises(LimitError):
        limits.ask(ANN)


def test_new_cookies_from_one_address_do_not_multiply_what_it_may(service: JobService) -> None:
    limits = Limits(SETTINGS, service, lambda: 0.0)
    for number in range(5 * SHARED):
        limits.ask(Visitor(f"{number:032x}", "10.0.0.1"))
    with pytest.raises(LimitError):
        limits.ask(Visitor("f" * 32, "10.0.0.1"))


def test_bytes_on_the_disk_are_counted_until_they_are_gone(service: JobService, tmp_path: Path) -> None:
    limits = Limits(SETTINGS, service)
    limits.check_quota(ANN, MB)
    folder = tmp_path / "upload"
    folder.mkdir()
    limits.stored(ANN, folder, MB)
    with pytest.raises(LimitError, match="CARTOON_VISITOR_MB"):
        limits.check_quota(ANN, 1)
    limits.check_quota(BOB, MB)
    with pytest.raises(LimitError):
        limits.check_quota(Visitor("d" * 32, ANN.address), 4 * MB)
    folder.rmdir()
    limits.check_quota(ANN, MB)


def test_unfinished_jobs_are_counted_and_an_owners_earlier_ones_are_known(tmp_path: Path) -> None:
    door = threading.Event()

    def held(name: str) -> None:
        assert door.wait(PATIENCE)

    stylizer = TroubledStylizer(held)
    service = JobService(tmp_path / "jobs", spec_of(stylizer), model_of(stylizer), 10**6)
    picture = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")

    def start(visitor: Visitor) -> str:
        photo = tmp_path / "photo"
        photo.write_bytes(picture)
        return service.create([Sent(photo, "a.png")], JobRequest(Options(), visitor.owner))

    def finished(id: str) -> bool:
        return service.status(id).state == "finished"

    earlier = [start(ANN) for _ in range(2)]
    limits = Limits(SETTINGS, service)  # of a server that has just started
    with pytest.raises(LimitError, match="CARTOON_VISITOR_JOBS"):
        limits.check_jobs(ANN)
    nobodys = []
    for _ in range(2):
        limits.check_jobs(NOBODY)
        nobodys.append(start(NOBODY))
        limits.stored(NOBODY, tmp_path / "jobs" / nobodys[-1], 1, nobodys[-1])
    with pytest.raises(LimitError):
        limits.check_jobs(NOBODY)
    limits.check_jobs(BOB)
    door.set()
    for id in (*earlier, *nobodys):
        wait_for(partial(finished, id))
    limits.check_jobs(ANN)
    limits.check_jobs(NOBODY)
    service.close()
