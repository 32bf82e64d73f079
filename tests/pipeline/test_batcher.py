"""Canvases of several requests share passes; whatever happens, every one comes out or says why not."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cartoon.errors import ResourceError
from cartoon.memory import Ticket
from cartoon.models.runtime import Canvas, Drawn, StyleNet
from cartoon.models.tiling import cut_evenly
from cartoon.pipeline.batcher import Batcher
from cartoon.pipeline.capacity import BYTES_PER_PIXEL, Capacity
from cartoon.styles.catalogue import StyleCard
from tests.fakes import CARDS
from tests.small_style import write_weights
from tests.waiting import PATIENCE, wait_for

PLENTY = 64 << 30


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights in a style file."""
    return write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


class FakeNet:
    """A network that returns each canvas's first value, writes down its passes, and may be troubled first."""

    device = torch.device("cpu")

    def __init__(self, trouble: Callable[[int], None] = lambda size: None) -> None:
        self.passes: list[list[int]] = []
        self.tiles: list[tuple[int, int]] = []
        self._trouble = trouble

    def run(self, batch: Sequence[Canvas], shape: tuple[int, int]) -> list[Drawn]:
        """As StyleNet.run."""
        self._trouble(len(batch))
        self.passes.append([int(canvas.pixels[0, 0, 0]) for canvas in batch])
        return [Drawn(np.full((11, *canvas.pixels.shape[:2]), canvas.pixels[0, 0, 0], np.float32)) for canvas in batch]

    def run_in_tiles(self, canvas: Canvas, tile: tuple[int, int]) -> Drawn:
        """As StyleNet.run_in_tiles."""
        self.tiles.append(tile)
        self._trouble(tile[0] * tile[1])
        return Drawn(np.full((11, *canvas.pixels.shape[:2]), canvas.pixels[0, 0, 0], np.float32))

    def of(self, card: StyleCard) -> "FakeNet":
        """The networks of a device: this one draws everything."""
        return self


def canvas(value: int, height: int = 32, width: int = 48) -> Canvas:
    return Canvas(np.full((height, width, 3), value, np.uint8), np.zeros((6, height, width), np.uint8))


def plentiful(free: int = PLENTY) -> Capacity:
    """Capacity as on a GPU, so that canvases do share passes."""
    return Capacity("cuda", "fp32", lambda: free)


def ask(batcher: Batcher, value: int, later: bool = False, card: StyleCard = CARDS[0]) -> int:
    return int(batcher.draw(card, [canvas(value)], Ticket(later))[0].stack[0, 0, 0])


class Held:
    """Trouble that holds the first pass until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, size: int) -> None:
        self.entered.set()
        assert self.go.wait(PATIENCE)


def test_those_of_one_bucket_share_a_pass_and_each_gets_its_own() -> None:
    held = Held()
    net = FakeNet(held)
    batcher = Batcher([net], plentiful())
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(ask, batcher, 1)
        held.entered.wait(PATIENCE)
        others = [pool.submit(ask, batcher, value) for value in range(2, 10)]
        wait_for(lambda: batcher.waiting == 8)
        held.go.set()
        assert [first.result(), *(other.result() for other in others)] == list(range(1, 10))
    assert net.passes[0] == [1]
    assert sorted(net.passes[1]) == list(range(2, 10))
    assert batcher.tally.passes == 2
    assert batcher.tally.canvases == 9
    batcher.close()


def test_the_urgent_go_first_and_each_in_order_of_arrival() -> None:
    held = Held()
    net = FakeNet(held)
    batcher = Batcher([net], Capacity("cpu", "fp32", lambda: PLENTY))

    def waits(count: int) -> bool:
        return batcher.waiting == count

    with ThreadPoolExecutor(7) as pool:
        futures = [pool.submit(ask, batcher, 1)]
        held.entered.wait(PATIENCE)
        for number, (value, later) in enumerate([(2, True), (3, True), (4, False), (5, True), (6, False)], 1):
            futures.append(pool.submit(ask, batcher, value, later))
            wait_for(partial(waits, number))
        held.go.set()
        for future in futures:
            future.result()
    assert net.passes == [[1], [4], [6], [2], [3], [5]]
    batcher.close()


def test_a_batch_that_does_not_fit_is_halved_and_the_bucket_remembers() -> None:
    held = Held()

    def two_at_most(size: int) -> None:
        held(size)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    net = FakeNet(two_at_most)
    capacity = plentiful()
    batcher = Batcher([net], capacity)
    with ThreadPoolExecutor(9) as pool:
        futures = [pool.submit(ask, batcher, 1)]
        held.entered.wait(PATIENCE)
        futures += [pool.submit(ask, batcher, value) for value in range(2, 10)]
        wait_for(lambda: batcher.waiting == 8)
        held.go.set()
        assert [future.result() for future in futures] == list(range(1, 10))
    assert max(len(values) for values in net.passes) == 2
    assert capacity.most((32, 48)) == 2
    assert capacity.most((64, 48)) > 2
    batcher.close()


def test_a_picture_that_does_not_fit_is_drawn_in_smaller_and_smaller_tiles_and_the_bucket_remembers() -> None:
    def small_ones_fit(size: int) -> None:
        if size == 1 or size > 600 * 600:
            raise MemoryError

    net = FakeNet(small_ones_fit)
    batcher = Batcher([net], plentiful())
    for _ in range(2):
        large = batcher.draw(CARDS[0], [canvas(7, 2000, 1600)], Ticket())[0]
        assert large.stack.shape == (11, 2000, 1600)
        assert large.stack[0, 0, 0] == 7
    assert net.tiles == [(1024, 1664), (512, 1664), (640, 640), (512, 512), (512, 512)]
    assert net.passes == []
    batcher.close()


def test_what_does_not_fit_even_in_tiles_is_an_error_that_names_size_and_way_out() -> None:
    def none_fits(size: int) -> None:
        raise MemoryError

    batcher = Batcher([FakeNet(none_fits)], plentiful())
    with pytest.raises(ResourceError, match="48x32: ask for a smaller size"):
        ask(batcher, 1)
    batcher.close()


def test_tiles_draw_what_the_whole_draws(small_file: Path) -> None:
    rng = np.random.default_rng(4)
    net = StyleNet(small_file, None, "cpu", "fp32")
    shape = (640, 560)  # is cut across, both ways and along by these tiles
    large = Canvas(rng.integers(0, 255, (*shape, 3), dtype=np.uint8), rng.integers(0, 255, (6, *shape), dtype=np.uint8))
    whole = net.draw([large])[0].stack
    for tile in ((512, 640), (512, 512), (640, 512)):
        assert np.abs(net.run_in_tiles(large, tile).stack - whole).max() < 1 / 255


@pytest.mark.parametrize("free", [8 << 20, 100 << 20, 300 << 20, 8 << 30])
def test_what_is_large_for_the_memory_is_cut_into_tiles(free: int) -> None:
    capacity = Capacity("cpu", "bf16", lambda: free)
    for shape in ((640, 512), (2048, 1648), (4096, 4096), (512, 4096)):
        tile = capacity.tile(shape)
        pixels = tile[0] * tile[1] if tile else shape[0] * shape[1]
        assert pixels * BYTES_PER_PIXEL["bf16"] <= max(free * 0.8, BYTES_PER_PIXEL["bf16"] * 512 * 512)
        if tile:
            parts = list(cut_evenly(shape, tile))
            assert (
                sum((p.rows.own.stop - p.rows.own.start) * (p.columns.own.stop - p.columns.own.start) for p in parts)
                == shape[0] * shape[1]
            )
            for part in parts:
                assert all(s.stop - s.start <= most for s, most in zip(part.seen, tile, strict=True))


def test_a_pass_that_fails_is_told_to_those_in_it_and_the_next_are_drawn() -> None:
    failures = [RuntimeError("lost the device")]

    def once(size: int) -> None:
        if failures:
            raise failures.pop()

    batcher = Batcher([FakeNet(once)], plentiful())
    with pytest.raises(RuntimeError, match="lost the device"):
        ask(batcher, 1)
    assert ask(batcher, 2) == 2
    batcher.close()


def test_closing_answers_those_who_wait_and_turns_away_those_who_come() -> None:
    held = Held()
    batcher = Batcher([FakeNet(held)], Capacity("cpu", "fp32", lambda: PLENTY))
    with ThreadPoolExecutor(3) as pool:
        under_way = pool.submit(ask, batcher, 1)
        held.entered.wait(PATIENCE)
        waiting = pool.submit(ask, batcher, 2)
        wait_for(lambda: batcher.waiting == 1)
        closing = pool.submit(batcher.close)
        with pytest.raises(ResourceError, match="shutting down"):
            waiting.result(20)
        held.go.set()
        closing.result(20)
        assert under_way.result(20) == 1
    with pytest.raises(ResourceError, match="shutting down"):
        ask(batcher, 3)


def test_two_devices_work_on_one_queue() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)

    def meet(size: int) -> None:
        both.wait()

    nets = [FakeNet(meet), FakeNet(meet)]
    batcher = Batcher(nets, Capacity("cpu", "fp32", lambda: PLENTY))
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda value: ask(batcher, value), [1, 2])) == [1, 2]
    assert [len(net.passes) for net in nets] == [1, 1]  # the barrier lets nobody through alone
    batcher.close()


def test_padding_does_not_leak_into_a_picture(small_file: Path) -> None:
    net = StyleNet(small_file, None, "cpu", "fp32")
    rng = np.random.default_rng(3)
    shapes = [(300, 240), (310, 250), (320, 256), (97, 131), (128, 100)]
    canvases = [
        Canvas(rng.integers(0, 255, (*shape, 3), dtype=np.uint8), rng.integers(0, 255, (6, *shape), dtype=np.uint8))
        for shape in shapes
    ]
    capacity = plentiful()
    buckets = [capacity.bucket(shape) for shape in shapes]
    assert buckets == [(320, 240), (320, 256), (320, 256), (112, 144), (128, 112)]
    alone = [net.run([one], bucket)[0].stack for one, bucket in zip(canvases, buckets, strict=True)]
    together = net.run(canvases, (320, 256))
    for many, shape in zip(together, shapes, strict=True):
        assert many.stack.shape == (11, *shape)
    shared = net.run(canvases[1:3], (320, 256))
    for one, many in zip(alone[1:3], shared, strict=True):
        assert np.abs(one - many.stack).max() < 1e-4
    # Even in a bucket of another shape all that changes is a rim of what the convolutions reach from the border.
    inner = np.s_[:, 100:200, 100:140]
    assert np.abs(alone[0][inner] - together[0].stack[inner]).max() < 1e-4


def test_buckets_waste_little_on_photos_of_any_shape() -> None:
    rng = np.random.default_rng(5)
    capacity = plentiful()
    own = padded = 0
    for _ in range(500):
        long = int(np.exp(rng.uniform(np.log(256), np.log(2048))))
        shape = (long, max(64, int(long * rng.uniform(0.5, 1))))
        bucket = capacity.bucket(shape)
        assert all(b >= s and b % 16 == 0 for b, s in zip(bucket, shape, strict=True))
        own, padded = own + shape[0] * shape[1], padded + bucket[0] * bucket[1]
    assert 1 - own / padded < 0.15


def test_less_free_memory_means_smaller_batches_but_never_none() -> None:
    shape = (1024, 1024)
    sizes = [plentiful(free).most(shape) for free in (40 << 30, 8 << 30, 2 << 30, 1 << 20)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[1] > sizes[2] >= sizes[3] == 1
