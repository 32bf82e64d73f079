"""What a serving process does beside its requests, from its start to its end."""

import gc
import logging
from collections.abc import Iterator

import pytest

from cartoon.errors import ResourceError
from cartoon.web.lifecycle import Readiness, keep_for_good, warm_up


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Nothing of this process is kept from the collector before or after."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_the_first_picture_is_tried_again_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(warm=False)
    problems: list[Exception] = [RuntimeError("lost the device"), ResourceError("too little memory: close others.")]

    def warm() -> None:
        assert readiness.state == "starting"
        if problems:
            raise problems.pop()

    warm_up(warm, readiness, retry_seconds=0.01)
    assert readiness.state == "ready"
    assert [vars(record)["code"] for record in caplog.records if record.levelno >= logging.WARNING] == [
        "no_resources",
        "internal",
    ]


def test_what_is_there_for_good_is_not_collected_over_and_over() -> None:
    before = len(gc.get_objects())
    keep_for_good()
    assert len(gc.get_objects()) < before / 10
