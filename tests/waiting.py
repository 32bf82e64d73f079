"""Waiting for what other threads and processes do."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 120.0
"""Seconds until something is taken for hanging: far more than it needs on a machine that is busy with others."""


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE, otherwise: str = "it did not come") -> None:
    """Returns as soon as the condition holds; fails, saying what is missing, when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, otherwise
        time.sleep(0.01)


async def soon(condition: Callable[[], bool], seconds: float = PATIENCE, otherwise: str = "it did not come") -> None:
    """As `wait_for`, while the event loop goes on."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, otherwise
        await asyncio.sleep(0.001)
