"""Enlarging: Swin2SR over spandrel, the small network of our own, tiles, files, memory."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from cartoon.errors import OptionsError, ResourceError, StyleError
from cartoon.models.crisp import SHA256, WEIGHTS, load_crisp
from cartoon.models.devices import pick_precision
from cartoon.models.swin2sr import BYTES_PER_PIXEL, HALO, load_network
from cartoon.models.tiling import cut
from cartoon.models.weights import sha256_of
from cartoon.pipeline.upscaler import CPU_PASS, Lanczos, Upscaler, weights_of
from cartoon.styles.official import PINS, add, find, official
from tests import ROOT
from tests.small_swin2sr import state_of, write_pth

Painter = Callable[..., NDArray[np.uint8]]

TOLERANCE = {"fp32": 1, "bf16": 4, "fp16": 4}
"""Levels of 255 between tiled and whole: what 32 px of overlap leave, 0.01, may still turn a rounding; CONTRACT.md."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pth(tmp_path_factory.mktemp("weights") / "small.pth", state_of())


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pth(tmp_path_factory.mktemp("weights") / "shallow.pth", state_of(depths=1, blocks=2))


@pytest.fixture(scope="module")
def upscaler(weights: Path) -> Upscaler:
    return Upscaler.load(weights, 2, "cpu", "fp32")


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """The hardest picture: every pixel matters to its neighbours."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def in_tiles(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr("cartoon.pipeline.upscaler.TILES", (side,))


# Tiles.


@pytest.mark.parametrize("window", [7, 8])
@pytest.mark.parametrize("side_windows", [9, 12, 20, 32])
def test_tiles_cover_everything_once_alike_and_aligned(window: int, side_windows: int) -> None:
    halo, side = -(-HALO // window) * window, max(side_windows, 2 * -(-HALO // window) + 1) * window
    for windows in (*range(1, 90), 300):
        shape = (windows * window, 5 * window)
        owned = np.zeros(shape, int)
        for tile in cut(shape, side, halo, window):
            owned[tile.rows.own, tile.columns.own] += 1
            assert tile.rows.seen.stop - tile.rows.seen.start == min(side, shape[0])
            assert tile.rows.seen.start % window == 0
            assert tile.rows.seen.start == 0 or tile.rows.inner.start >= halo
            assert tile.rows.seen.stop == shape[0] or tile.rows.seen.stop - tile.rows.own.stop >= halo
            assert tile.rows.inner.start == tile.rows.own.start - tile.rows.seen.start
        assert (owned == 1).all()


real_bf16 = pytest.param(
    "bf16",
    marks=pytest.mark.skipif(
        pick_precision(torch.device("cpu"), "auto") != "bf16",
        reason="this CPU only imitates bfloat16, which takes minutes to hours and is not what it is used with",
    ),
)


@pytest.mark.parametrize("precision", ["fp32", real_bf16, pytest.param("fp16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [(150, 67), (17, 201)])
def test_tiled_is_whole(weights: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], precision: str) -> None:
    """fp16 is there on a CPU, but slow."""
    upscaler = Upscaler.load(weights, 2, "cpu", precision)
    picture = noise(*shape)
    in_tiles(monkeypatch, 256)
    whole = upscaler.upscale(picture).pixels
    in_tiles(monkeypatch, 96)
    tiled = upscaler.upscale(picture).pixels
    assert tiled.shape == (2 * shape[0], 2 * shape[1], 3)
    assert np.abs(tiled.astype(int) - whole).max() <= TOLERANCE[upscaler.precision]
    assert whole.std() > 20  # of a network that does something


def test_on_a_cpu_swin2sr_is_exact_unless_less_is_asked_for(
    shallow: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cartoon.pipeline.upscaler.PROBE", (1, 2))
    monkeypatch.setattr("cartoon.models.devices.cpu_has_bf16", lambda: True)
    assert Upscaler.load(shallow, 2, "cpu").precision == "fp32"
    assert not caplog.records
    less = Upscaler.load(shallow, 2, "cpu", "bf16").precision
    assert less == "bf16" or caplog.records  # where this machine computes it wrong


def test_tiles_in_one_pass_are_tiles_one_by_one(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    in_tiles(monkeypatch, 96)
    picture = noise(40, 200)
    alone = upscaler.upscale(picture).pixels
    monkeypatch.setattr("cartoon.pipeline.upscaler.CPU_TOGETHER", 2)
    assert np.abs(upscaler.upscale(picture).pixels.astype(int) - alone).max() <= 1


def test_the_same_bytes_every_time(upscaler: Upscaler) -> None:
    picture = noise(40, 50)
    assert np.array_equal(upscaler.upscale(picture).pixels, upscaler.upscale(picture).pixels)


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (8, 8), (9, 17), (16, 33)])
def test_small_and_odd_pictures_are_enlarged(upscaler: Upscaler, shape: tuple[int, int]) -> None:
    alpha = noise(*shape)[..., 0]
    done = upscaler.upscale(noise(*shape), alpha)
    assert done.pixels.shape == (2 * shape[0], 2 * shape[1], 3)
    assert done.alpha is not None
    assert done.alpha.shape == done.pixels.shape[:2]
    assert done.pixels.dtype == done.alpha.dtype == np.uint8


def test_the_picture_given_is_not_changed_and_alpha_is_lanczos(upscaler: Upscaler, paint: Painter) -> None:
    picture, alpha = paint(30, 40), paint(30, 40)[..., 0]
    before = picture.copy(), alpha.copy()
    done = upscaler.upscale(picture, alpha)
    assert np.array_equal(picture, before[0])
    assert np.array_equal(alpha, before[1])
    lanczos = Lanczos(2).upscale(picture, alpha)
    assert done.alpha is not None
    assert lanczos.alpha is not None
    assert np.array_equal(done.alpha, lanczos.alpha)
    assert upscaler.upscale(picture).alpha is None
    assert not np.array_equal(lanczos.pixels, done.pixels)


# The small network that is shipped.


def line_drawing(side: int = 256) -> NDArray[np.uint8]:
    """Black curves over flat colours, as wide as this project's are at 1024 px."""
    picture = np.full((side, side, 3), (236, 200, 170), np.uint8)
    cv2.ellipse(picture, (side // 2, side // 2), (90, 70), 20, 0, 360, (90, 130, 200), -1, cv2.LINE_AA)
    for index in range(6):
        at = (30 + 35 * index, 60 + 25 * index)
        cv2.ellipse(picture, at, (60, 25), 30 * index, 0, 250, (25, 20, 30), 2 + index % 3, cv2.LINE_AA)
    return picture


def psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.square(first.astype(float) - second).mean()))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_small_network_beats_lanczos_at_lines(scale: int) -> None:
    picture = line_drawing()
    given = cv2.resize(picture, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    small = Upscaler.small(scale, "cpu", "fp32").upscale(given).pixels
    assert psnr(small, picture) > psnr(Lanczos(scale).upscale(given).pixels, picture) + 1


@pytest.mark.parametrize("scale", [2, 4])
def test_the_small_network_is_the_same_in_tiles(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler.small(scale, "cpu", "fp32")
    in_tiles(monkeypatch, 512)
    whole = upscaler.upscale(noise(150, 203)).pixels
    in_tiles(monkeypatch, 64)
    assert np.abs(upscaler.upscale(noise(150, 203)).pixels.astype(int) - whole).max() <= 1


def test_it_stands_in_for_swin2sr_and_says_so(tmp_path: Path, weights: Path) -> None:
    assert Upscaler.best(2, tmp_path, "cpu").name == "the small network"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / find("swin2sr-x2").files[0].name).write_bytes(weights.read_bytes())
    add(find("swin2sr-x2"), tmp_path, tmp_path / "own")
    assert Upscaler.best(2, tmp_path, "cpu").name == "Swin2SR"
    with pytest.raises(OptionsError, match="upscale must be 2 or 4"):
        Upscaler.small(3)


def test_its_file_is_small_pinned_and_checked(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    assert sha256_of(WEIGHTS) == SHA256
    changed = tmp_path / "crisp-v1.safetensors"
    changed.write_bytes(WEIGHTS.read_bytes()[:-2] + b"xx")
    with pytest.raises(StyleError, match=r"^crisp-v1\.safetensors is not the file that was shipped"):
        load_crisp(2, changed)
    save_file({"first.bias": torch.zeros(3)}, changed, {"config": '{"width": 4, "depth": 1}'})
    with pytest.raises(StyleError, match=r"^crisp-v1\.safetensors does not fit"):
        load_crisp(2, changed, None)


# Memory.


class Measured(torch.nn.Module):
    """Doubles the pixels, notes how wide what it is given is, and has no memory for more than `most` px of it."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []
        self.most = 512

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        self.widths.append(given.shape[-1])
        if self.widths[-1] > self.most:
            raise MemoryError
        return torch.nn.functional.interpolate(given, scale_factor=2)

    def tried(self) -> list[int]:
        """The sides of the tiles since it was last asked, each once."""
        sides = list(dict.fromkeys(self.widths))
        self.widths.clear()
        return sides


LONG = (8, 96 * 7)
"""A picture whose tiles are all as wide as they may be, whatever of TILES they are: 192 - 64 and 128 - 64 divide it."""


def measured(weights: Path, free: Callable[[], int]) -> tuple[Upscaler, Measured]:
    module = Measured()
    network = replace(load_network(weights), module=module)
    return Upscaler(network, torch.device("cpu"), "fp32", free), module


def test_tiles_follow_the_free_memory_in_steps(weights: Path) -> None:
    free, used = 0, []
    upscaler, network = measured(weights, lambda: free)
    for amount in (64 << 30, 8 << 30, 1 << 30, 1 << 29, 1):
        free = amount
        upscaler.upscale(noise(*LONG))
        used += network.tried()
    assert used == [192, 192, 192, 128, 128]  # on a CPU never more than a pass may take; the last is tried all the same
    assert BYTES_PER_PIXEL["fp32"] * 192**2 < CPU_PASS < BYTES_PER_PIXEL["fp32"] * 256**2


def test_what_does_not_fit_is_tried_smaller_and_remembered(weights: Path) -> None:
    upscaler, network = measured(weights, lambda: 64 << 30)
    network.most = 128
    tried = []
    for _ in range(2):
        upscaler.upscale(noise(*LONG))
        tried += network.tried()
    assert tried == [192, 128, 128]
    network.most = 0
    with pytest.raises(ResourceError, match=r"^cpu has too little free memory to enlarge 9x8"):
        upscaler.upscale(noise(8, 9))


def test_a_result_that_cannot_fit_is_refused_before_anything_is_drawn(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoon.pipeline.upscaler.free_on", lambda device: lambda: 1000)
    with pytest.raises(ResourceError, match=r"^40x30 px enlarged 2 times do not fit"):
        upscaler.upscale(noise(30, 40))


CHILD = """
import sys, numpy as np
from pathlib import Path
from cartoon.pipeline.upscaler import Upscaler
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) >> 10
upscaler = Upscaler.load(Path(sys.argv[1]), 4, "cpu", sys.argv[2])
idle = status("VmRSS")
side = int(sys.argv[3])
upscaler.upscale(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))
print(idle, status("VmHWM"))
"""


def taken(weights: Path, precision: str, side: int) -> int:
    """MB over the idle process that a child takes to enlarge a square four times."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(weights), precision, str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    idle, peak = map(int, done.stdout.split())
    return peak - idle


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_four_times_a_whole_tile_stays_under_two_gigabytes(tmp_path: Path) -> None:
    """What is larger takes the same tiles. The width and heads of the real network; two of its blocks."""
    state = state_of(4, width=180, depths=1, blocks=2, upsampler="pixelshuffle")
    assert taken(write_pth(tmp_path / "x4.pth", state), "fp32", 192) < 1500


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", real_bf16])
def test_four_times_512_in_tiles_stays_under_two_gigabytes(tmp_path: Path, precision: str) -> None:
    """A sixth of the real network's depth: what is held while one layer runs does not grow with their number."""
    state = state_of(4, width=180, depths=1, upsampler="pixelshuffle")
    assert taken(write_pth(tmp_path / "x4.pth", state), precision, 512) < 2048


# Files.


@pytest.mark.parametrize(
    ("scale", "upsampler", "width"), [(2, "pixelshuffle", 36), (4, "pixelshuffle", 36), (4, "nearest+conv", 36)]
)
def test_the_published_kinds_are_read(tmp_path: Path, scale: int, upsampler: str, width: int, weights: Path) -> None:
    state = state_of(scale, width=width, depths=1, upsampler=upsampler)
    plain, packed = write_pth(tmp_path / "a.pth", state), tmp_path / "a.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, packed)
    first, second = (
        Upscaler.load(path, scale, "cpu", "fp32").upscale(noise(20, 12)).pixels for path in (plain, packed)
    )
    assert first.shape == (20 * scale, 12 * scale, 3)
    assert np.array_equal(first, second)
    with pytest.raises(StyleError, match=rf"^a\.pth enlarges x{scale}, not x{6 - scale}"):
        Upscaler.load(plain, 6 - scale)


class Trap:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def broken(name: str) -> object:
    """States that are not, or not quite, those of a network."""
    state = dict(state_of(depths=1))
    first = "layers.0.residual_group.blocks.0"
    changes: dict[str, dict[str, torch.Tensor]] = {
        "wide": {"conv_first.weight": torch.zeros(100_000, 3, 1, 1)},
        "grey": {"conv_first.weight": torch.zeros(60, 1, 3, 3)},
        "window": {f"{first}.attn.relative_position_index": torch.zeros(1 << 20, 1, dtype=torch.int64)},
        "mask": {f"{first[:-1]}1.attn_mask": torch.zeros(1 << 20, 1, 1)},
        "deep": {f"layers.{10**8}.residual_group.blocks.0.norm1.weight": torch.zeros(1)},
        "shape": {"norm.weight": torch.zeros(59)},
        "scalar": {"conv_first.weight": torch.zeros(())},
    }
    if name in changes:
        return {**state, **changes[name]}
    if name == "short":
        return {key: value for key, value in state.items() if key != "conv_last.weight" and "norm2" not in key}
    if name == "no upsampler":
        return {key: value for key, value in state.items() if not key.startswith("upsample")}
    others: dict[str, object] = {
        "list": [1],
        "number": 7,
        "empty": {},
        "words": {"params": {"a": "b"}},
        "other net": {"weight": torch.zeros(3)},
    }
    return others[name]


@pytest.mark.parametrize(
    "name",
    [*"wide grey window mask deep shape scalar short list number empty words".split(), "no upsampler", "other net"],
)
def test_what_is_no_network_is_refused_and_named(tmp_path: Path, name: str) -> None:
    torch.save(broken(name), tmp_path / "odd.pth")
    with pytest.raises(StyleError, match=r"^odd\.pth holds no Swin2SR network"):
        Upscaler.load(tmp_path / "odd.pth", 2)


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    torch.save({"params": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "void.safetensors").write_bytes(b"")
    (tmp_path / "cut.pth").write_bytes(write_pth(tmp_path / "a.pth", state_of(depths=1)).read_bytes()[:-500])
    for name in ("trap.pth", "plain.pth", "text.pth", "void.safetensors", "cut.pth"):
        with pytest.raises(StyleError, match=rf"^{name} cannot be read as weights: get the file again"):
            load_network(tmp_path / name)
    for path in (tmp_path / "gone.pth", tmp_path):
        with pytest.raises(StyleError, match="is missing from"):
            load_network(path)


def test_without_weights_the_way_to_them_is_said() -> None:
    with pytest.raises(StyleError, match=r"no weights for x4 here: run `python -m cartoon styles add swin2sr-x4`"):
        Upscaler.load(None, 4)
    for scale in (0, 3, 8):
        with pytest.raises(OptionsError, match="upscale must be 2 or 4"):
            Upscaler.load(None, scale)
        with pytest.raises(OptionsError, match="upscale must be 2 or 4"):
            Lanczos(scale)


def test_weights_come_by_name_and_are_verified(tmp_path: Path, weights: Path) -> None:
    assert [row.id for row in official("upscalers")] == ["swin2sr-x2", "swin2sr-x4"]
    assert weights_of(2, tmp_path) is None
    row, own = find("swin2sr-x2"), tmp_path / "own"
    assert row.files[0].url.startswith("https://github.com/mv-lab/swin2sr/releases/download/")
    own.mkdir()
    (own / row.files[0].name).write_bytes(b"<html>")
    with pytest.raises(StyleError, match="is no whole file of PyTorch's"):
        add(row, tmp_path, own)
    (own / row.files[0].name).write_bytes(weights.read_bytes())
    folder = add(row, tmp_path, own)
    assert (folder / PINS).exists()
    there = weights_of(2, tmp_path)
    assert there == folder / row.files[0].name
    assert Upscaler.load(there, 2, "cpu").scale == 2
    there.write_bytes(b"altered")
    with pytest.raises(StyleError, match="sha256 differs"):
        weights_of(2, tmp_path)
