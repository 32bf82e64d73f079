"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], seconds: float = 20, otherwise: str = "it did not come") -> None:
    """Returns as soon as the condition holds; fails, saying what is missing, when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, otherwise
        time.sleep(0.01)
