"""Requests of one process meet here: canvases of one bucket share the network's passes, on every device there is.

A bucket is a style's network and a padded shape. It runs when it is full or when its first canvas has waited a few
milliseconds; the urgent go first. How many fit is told by `Capacity`, a model of the memory that a picture takes, and
learned from what did not fit.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Protocol

import torch

from cartoon.errors import ResourceError
from cartoon.memory import Ticket
from cartoon.models.runtime import Canvas, Drawn
from cartoon.pipeline.capacity import Capacity, Shape
from cartoon.styles.catalogue import StyleCard
from cartoon.telemetry import metrics

log = logging.getLogger(__name__)

LINGER_S: Final = 0.004
"""How long a canvas waits for others of its bucket on an idle device; while it is busy they gather anyway."""


class Net(Protocol):
    """One network on one device: cartoon.models.runtime.StyleNet."""

    @property
    def device(self) -> torch.device: ...

    def run(self, batch: Sequence[Canvas], shape: tuple[int, int]) -> list[Drawn]:
        """Draw canvases in one pass, each padded to `shape`."""
        ...

    def run_in_tiles(self, canvas: Canvas, tile: tuple[int, int]) -> Drawn:
        """Draw one canvas in tiles of at most (height, width) px."""
        ...


class Nets(Protocol):
    """The networks of one device: cartoon.pipeline.networks.Residents."""

    def of(self, card: StyleCard) -> Net:
        """The network that draws a style."""
        ...


@dataclass(frozen=True)
class Tally:
    """What was run so far: passes, canvases, their own pixels, and all pixels with the padding."""

    passes: int = 0
    canvases: int = 0
    pixels: int = 0
    padded: int = 0

    @property
    def waste(self) -> float:
        """Share of the pixels computed that were padding, 0..1."""
        return 1 - self.pixels / self.padded if self.padded else 0.0


@dataclass(frozen=True)
class Bucket:
    """What may share a pass. network: sha256 of its file. shape: (height, width) that a canvas is padded to."""

    network: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class _Queued:
    """One canvas on its way: where it belongs, its place among others, who waits for it."""

    card: StyleCard
    canvas: Canvas
    bucket: Bucket
    ticket: Ticket
    due: float
    future: "Future[Drawn]" = field(default_factory=Future)


class Batcher:
    """One queue for all devices, and a thread for each.

    workers: the networks of each device, all of one kind. capacity: how many pictures of a shape fit. Every canvas
    handed in comes out drawn or with an error, also when a device fails and when the batcher is closed.
    """

    def __init__(self, workers: Sequence[Nets], capacity: Capacity, linger_s: float = LINGER_S) -> None:
        self.tally = Tally()
        self._capacity, self._linger_s = capacity, linger_s
        self._queue: list[_Queued] = []
        self._change = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(nets,), name=f"network-{index}", daemon=True)
            for index, nets in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Canvases that wait for a pass now."""
        return len(self._queue)

    def draw(self, card: StyleCard, canvases: Sequence[Canvas], ticket: Ticket) -> list[Drawn]:
        """Draw the canvases of one photo; same order out as in.

        Raises ResourceError when not even one fits the memory or the batcher was closed, StyleError for a style file
        that cannot be used.
        """
        due = time.monotonic() + self._linger_s
        queued = [
            _Queued(card, canvas, Bucket(card.sha256, self._capacity.bucket(canvas.pixels.shape)), ticket, due)
            for canvas in canvases
        ]
        with self._change:
            if self._closed:
                raise _shutting_down()
            self._queue += queued
            metrics.canvases_queued(len(queued))
            self._change.notify_all()
        return [one.future.result() for one in queued]

    def close(self) -> None:
        """Finish the passes under way; whoever still waits gets a ResourceError."""
        with self._change:
            self._closed = True
            left, self._queue = self._queue, []
            metrics.canvases_queued(-len(left))
            self._change.notify_all()
        for one in left:
            one.future.set_exception(_shutting_down())
        for thread in self._threads:
            thread.join()

    def _serve(self, nets: Nets) -> None:
        while True:
            batch = self._next()
            if not batch:
                return
            try:
                self._run(nets.of(batch[0].card), batch)
            except BaseException as problem:  # noqa: BLE001 - whoever waits must hear of it, and the thread goes on
                for one in batch:
                    if not one.future.done():
                        one.future.set_exception(problem)
            del batch  # its futures hold the results, which must not live until the next batch

    def _next(self) -> list[_Queued]:
        """The batch to run now, taken out of the queue; waits for one; empty once closed."""
        with self._change:
            while not self._closed:
                wait: float | None = None
                if self._queue:
                    self._queue.sort(key=lambda one: one.ticket)
                    batch = [one for one in self._queue if one.bucket == self._queue[0].bucket]
                    most = self._capacity.most(batch[0].bucket.shape)
                    wait = min(one.due for one in batch) - time.monotonic()
                    if len(batch) >= most or wait <= 0:
                        chosen = batch[:most]
                        self._queue = [one for one in self._queue if one not in chosen]
                        metrics.canvases_queued(-len(chosen))
                        return chosen
                self._change.wait(wait)
            return []

    def _run(self, net: Net, batch: Sequence[_Queued]) -> None:
        """One pass, halved while the device's memory does not hold it; a single picture is then cut into tiles."""
        shape = batch[0].bucket.shape
        tile = self._capacity.tile(shape) if len(batch) == 1 else None
        try:
            canvases = [one.canvas for one in batch]
            drawn = net.run(canvases, shape) if tile is None else [net.run_in_tiles(canvases[0], tile)]
        except (torch.OutOfMemoryError, MemoryError):
            drawn = []
        if drawn:
            metrics.pass_run(len(batch))
            own = sum(canvas.pixels.shape[0] * canvas.pixels.shape[1] for canvas in canvases)
            with self._change:
                t = self.tally
                padded = t.padded + len(batch) * shape[0] * shape[1]
                self.tally = Tally(t.passes + 1, t.canvases + len(batch), t.pixels + own, padded)
            for one, result in zip(batch, drawn, strict=True):
                one.future.set_result(result)
            return
        # Outside the except clause, whose traceback would keep the tensors that are in the way.
        if net.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) > 1:
            half = len(batch) // 2
            self._capacity.learn(shape, half)
            log.info("memory holds no %d pictures of %dx%d: trying %d", len(batch), shape[1], shape[0], half)
            self._run(net, batch[:half])
            self._run(net, batch[half:])
        elif self._capacity.learn_tile(shape, tile):
            log.info("memory holds no picture of %dx%d: trying tiles", shape[1], shape[0])
            self._run(net, batch)
        else:
            height, width = canvases[0].pixels.shape[:2]
            batch[0].future.set_exception(
                ResourceError(f"{net.device} has too little free memory for {width}x{height}: ask for a smaller size.")
            )


def _shutting_down() -> ResourceError:
    return ResourceError("Cartoon is shutting down: send the photo again once it is back.")
