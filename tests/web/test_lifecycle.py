"""What a serving process does beside its requests, from its start to its end."""

import logging

import pytest

from cartoon.errors import ResourceError
from cartoon.web.lifecycle import Readiness, warm_up


def test_the_first_picture_is_tried_again_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(warm=False)
    problems: list[Exception] = [RuntimeError("lost the device"), ResourceError("too little memory: close others.")]

    def warm() -> None:
        assert readiness.state == "starting"
        if problems:
            raise problems.pop()

    warm_up(warm, readiness, retry_seconds=0.01)
    assert readiness.state == "ready"
    assert [record.code for record in caplog.records if record.levelno >= logging.WARNING] == [
        "no_resources",
        "internal",
    ]
