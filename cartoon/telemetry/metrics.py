"""What is counted and measured while the process runs, and the text that Prometheus reads.

Packages above report here by name. The counts are the process's own, as its memory and its processors are: there is one
set, however many Cartoonizers there are. No label holds the name of a file or anything of a user's: a style of
somebody's own is "other", the rest are closed sets of words.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cartoon.assets import ASSETS
from cartoon.errors import CartoonError


def _shipped_styles() -> tuple[str, ...]:
    """The ids of the shipped styles; none where their list is damaged, which the catalogue is there to say."""
    try:
        return tuple(str(row["id"]) for row in json.loads((ASSETS / "styles.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return ()


STYLES: Final = _shipped_styles()
"""Styles counted by name: the shipped ones, whose catalogue lies above this package."""
OTHER: Final = "other"
DONE: Final = "done"
INTERNAL: Final = "internal"
"""The outcome of a photo that met an error of ours, as REST calls it."""
STEP_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: a matte takes hundredths, painting 4096 px on a CPU tens."""
PHOTO_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: with the wait for its turn a photo of a batch may take minutes."""
PASS_BUCKETS: Final = (1, 2, 4, 8, 16, 24, 32)
"""Pictures; 32 is the most that cartoon.pipeline.capacity lets into a pass."""

Number = TypeVar("Number")

log = logging.getLogger(__name__)


class _Watched(Collector):
    """Numbers that are asked for when somebody reads them, rather than reported."""

    def __init__(self) -> None:
        self.memory: dict[tuple[str, str], Callable[[], float]] = {}
        self.jobs: Callable[[], Mapping[str, int]] = dict

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without their numbers: what registering them asks for."""
        yield GaugeMetricFamily("cartoon_memory_bytes", "Memory by device and state.", labels=("device", "state"))
        yield GaugeMetricFamily("cartoon_jobs", "Jobs by state.", labels=("state",))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families with the numbers of now; what cannot be read is left out, and the rest still told."""
        memory, jobs = self.describe()
        for labels, read in sorted(self.memory.items()):
            number = _asked(read)
            if number is not None:
                memory.add_metric(labels, number)
        for state, count in (_asked(self.jobs) or {}).items():
            jobs.add_metric((state,), count)
        yield memory
        yield jobs


# Else every counter and histogram brings a second one along that tells its birthday.
disable_created_metrics()  # type: ignore[no-untyped-call]
_registry: Final = CollectorRegistry()
_watched: Final = _Watched()
_registry.register(_watched)
ProcessCollector(registry=_registry)
_photos: Final = Counter(
    "cartoon_photos", "Photos by style and outcome: done, or a reason code.", ("style", "outcome"), registry=_registry
)
_photo_seconds: Final = Histogram(
    "cartoon_photo_seconds",
    "Seconds from asking for a drawing to having it, the wait for its turn included.",
    buckets=PHOTO_BUCKETS,
    registry=_registry,
)
_step_seconds: Final = Histogram(
    "cartoon_step_seconds", "Seconds per step of a photo.", ("step",), buckets=STEP_BUCKETS, registry=_registry
)
_under_way: Final = Gauge("cartoon_photos_under_way", "Photos being drawn or waiting to be.", registry=_registry)
_waiting: Final = Gauge("cartoon_canvases_waiting", "Canvases waiting for a pass of the network.", registry=_registry)
_pass_pictures: Final = Histogram(
    "cartoon_pass_pictures", "Pictures in a pass of the network.", buckets=PASS_BUCKETS, registry=_registry
)
_flags: Final = Counter("cartoon_quality_flags", "Drawings with a doubt about them.", ("flag",), registry=_registry)
for _style in (*STYLES, OTHER):
    _photos.labels(_style, DONE)  # from zero on, so that the first one counts as a rise


@contextmanager
def photo_under_way(style: str) -> Iterator[None]:
    """Counts a photo as under way; times it when it is drawn, counts it as failed when that raises."""
    began = time.perf_counter()
    _under_way.inc()
    try:
        yield
        _photo_seconds.observe(time.perf_counter() - began)
    except Exception as problem:
        photo_failed(style, problem.code if isinstance(problem, CartoonError) else INTERNAL)
        raise
    finally:
        _under_way.dec()


def photo_done(style: str, seconds: Mapping[str, float]) -> None:
    """One photo was drawn; seconds: per step, as in Cartoon.seconds."""
    _photos.labels(_bounded(style), DONE).inc()
    for step, spent in seconds.items():
        step_done(step, spent)


def photo_failed(style: str, code: str) -> None:
    """One photo was not drawn; code: its CartoonError's, or INTERNAL."""
    _photos.labels(_bounded(style), code).inc()


def step_done(step: str, seconds: float) -> None:
    """A step of a photo took so long; step: a word of the code's own."""
    _step_seconds.labels(step).observe(seconds)


def pass_run(pictures: int) -> None:
    """The network ran once, with so many pictures."""
    _pass_pictures.observe(pictures)


def canvases_queued(change: int) -> None:
    """So many canvases more wait for a pass, or fewer."""
    _waiting.inc(change)


def quality_flagged(flag: str) -> None:
    """A drawing was delivered, or refused, with a doubt about it; flag: a word of the code's own."""
    _flags.labels(flag).inc()


def watch_memory(device: str, state: str, read: Callable[[], float]) -> None:
    """Ask `read` for the bytes of a device ("cpu", "cuda:0") in a state ("free", ...) whenever metrics are read."""
    _watched.memory[device, state] = read


def watch_jobs(count: Callable[[], Mapping[str, int]]) -> None:
    """Ask `count` for the number of jobs in each state whenever metrics are read; it must be quick."""
    _watched.jobs = count


def photos_under_way() -> int:
    """Photos being drawn or waiting to be, whichever door asked for them."""
    return int(next(iter(_under_way.collect())).samples[0].value)


def exposition(accept: str = "") -> tuple[bytes, str]:
    """All of it as text, and its content type; accept: what the reader's Accept header asks for."""
    encode, kind = choose_encoder(accept)
    return encode(_registry), kind


def _bounded(style: str) -> str:
    return style if style in STYLES else OTHER


def _asked(read: Callable[[], Number]) -> Number | None:
    """What `read` tells; None, and a line in the log, when it cannot."""
    try:
        return read()
    except Exception as problem:  # noqa: BLE001 - a lost GPU or a locked journal must not hide the other numbers
        log.warning("not measured: %s", type(problem).__name__)
        return None
