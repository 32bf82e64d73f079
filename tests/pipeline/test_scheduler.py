"""Who goes first: at every place that a photo passes, enlarging included, the urgent go before a batch."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from torch.nn import functional

from cartoon.faces.detector import MediaPipeDetector
from cartoon.faces.segmentation import PersonMask
from cartoon.images.types import Cartoon, Photo
from cartoon.models.runtime import StyleNet
from cartoon.models.tiling import Network
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.pipeline.networks import Upscalers
from cartoon.pipeline.upscaler import Upscaler
from cartoon.styles.catalogue import Register
from tests.waiting import PATIENCE, wait_for

SIDE: Final = 96
"""Px of what is enlarged: PASSES tiles of 64 px, of which the outer 16 are the neighbours'."""
PASSES: Final = 4
BATCH: Final = (60, 100, 140)
"""Levels of the photos of a batch; a drawing at little strength comes out near its photo."""
PAGE: Final = 220


class Doubling(torch.nn.Module):
    """Enlarges by the nearest pixel, and notes for each of its passes the mean level of what it was given.

    It waits in a pass while it is `held`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.append(round(float(x.mean()) * 255))
        self.entered.set()
        assert self.go.wait(PATIENCE)
        return functional.interpolate(x, scale_factor=2, mode="nearest")

    def hold(self) -> None:
        """Forget what was noted, and wait in the next pass."""
        self.passes.clear()
        self.entered.clear()
        self.go.clear()


class Doublings(Upscalers):
    """One Doubling for every scale."""

    def __init__(self) -> None:
        super().__init__(Path(), "cpu", "fp32")
        self.doubling = Doubling()
        network = Network(self.doubling, "a doubling", 2, 16, 16, {"fp32": 1})
        self._upscaler = Upscaler(network, torch.device("cpu"), "fp32")

    def of(self, scale: int) -> Upscaler:
        """As Upscalers."""
        return self._upscaler


@pytest.fixture
def upscalers() -> Doublings:
    return Doublings()


@pytest.fixture
def toon(upscalers: Doublings) -> Iterator[Cartoonizer]:
    register = Register()
    shipped = register.shipped[0]
    net = StyleNet(shipped.path, shipped.sha256, "cpu", "fp32")
    toon = Cartoonizer([net], register, MediaPipeDetector(), PersonMask().matte, upscalers)
    yield toon
    toon.close()


def grey(level: int) -> Photo:
    """A photo of one level."""
    return Photo(np.full((SIDE, SIDE, 3), level, np.uint8))


def test_a_pages_enlargement_goes_before_those_of_a_batch(
    toon: Cartoonizer, upscalers: Doublings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoon.pipeline.upscaler.TILES", (64,))
    doubling, enlarging = upscalers.doubling, toon.scheduler.enlarging
    options = Options("sketch", 0.1, size=SIDE, upscale=2)
    doubling.hold()
    batch: list[Future[Cartoon]] = []
    for number, level in enumerate(BATCH):
        batch.append(toon.submit(grey(level), options, urgent=False))
        assert doubling.entered.wait(PATIENCE)
        wait_for(lambda others=number: enlarging.waiting == others)  # type: ignore[misc]
    page = toon.submit(grey(PAGE), options)
    wait_for(lambda: enlarging.waiting == len(batch))
    assert len(doubling.passes) == 1
    doubling.go.set()
    for future in (page, *batch):
        assert future.result(PATIENCE).pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    # The one under way steps aside after its pass; the page goes on to its end, then the batch in its order.
    expected = [BATCH[0], *[PAGE] * PASSES, *[BATCH[0]] * (PASSES - 1), *[BATCH[1]] * PASSES, *[BATCH[2]] * PASSES]
    assert [min((PAGE, *BATCH), key=lambda level: abs(level - one)) for one in doubling.passes] == expected
