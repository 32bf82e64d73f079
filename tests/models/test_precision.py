"""Few bits are used where this machine computes them right, and nowhere else; cores are kept to."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cartoon.models import cores, dctnet
from cartoon.models import runtime as style_network
from cartoon.models.dctnet import GraphNet, net
from cartoon.models.devices import pick_precision
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.models.self_check import scene, trusted
from cartoon.models.tiling import Network
from cartoon.models.weights import sha256_of
from cartoon.pipeline import cartoonizer, upscaler
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.pipeline.networks import Residents
from cartoon.pipeline.upscaler import Upscaler
from cartoon.styles.catalogue import Register, available
from tests import ROOT
from tests.conftest import Painter
from tests.faulty import Faulty, Kind, spoilt
from tests.small_style import write_style, write_weights
from tests.small_swin2sr import state_of, write_pth
from tests.tfgraph_maker import frozen, random_net

CPU = torch.device("cpu")

Draw = Callable[[], tuple[str, NDArray[np.generic]]]
"""Loads a network and draws with it: the precision that it says it has, and what came out."""


@pytest.fixture(autouse=True)
def _small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that only imitates bfloat16 takes seconds for the usual ones."""
    for module in (style_network, net):
        monkeypatch.setattr(module, "PROBES", ((16, 32),))
    monkeypatch.setattr(upscaler, "PROBE", (1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small file for each kind of network."""
    folder = tmp_path_factory.mktemp("networks")
    write_weights(folder / "style.safetensors")
    (folder / "graph.pb").write_bytes(frozen(random_net(channels=8, eps=0.01)))
    write_pth(folder / "swin2sr.pth", state_of(depths=1, blocks=2))
    return folder


def kinds_of_networks(folder: Path, picture: NDArray[np.uint8]) -> dict[str, Callable[[str], Draw]]:
    """Every way to a network, for a precision."""
    style, graph, swin2sr = (folder / name for name in ("style.safetensors", "graph.pb", "swin2sr.pth"))
    canvas = Canvas(picture, np.zeros((6, *picture.shape[:2]), np.uint8))

    def draws(net: StyleNet | GraphNet) -> tuple[str, NDArray[np.generic]]:
        return net.precision, net.run([canvas], picture.shape[:2])[0].stack

    def enlarges(upscaler: Upscaler) -> tuple[str, NDArray[np.generic]]:
        return upscaler.precision, upscaler.upscale(picture).pixels

    def draws_alone(frozen: dctnet.FrozenGraph) -> tuple[str, NDArray[np.generic]]:
        return frozen.precision, frozen(picture)

    return {
        "ours": lambda precision: lambda: draws(StyleNet(style, None, "cpu", precision)),
        "a frozen graph": lambda precision: lambda: draws_alone(dctnet.load(graph, "cpu", precision)),
        "a style of a graph": lambda precision: lambda: draws(GraphNet(graph, sha256_of(graph), "cpu", precision)),
        "the small network": lambda precision: lambda: enlarges(Upscaler.small(2, "cpu", precision)),
        "Swin2SR": lambda precision: lambda: enlarges(Upscaler.load(swin2sr, 2, "cpu", precision)),
    }


NETWORKS = ["ours", "a frozen graph", "a style of a graph", "the small network", "Swin2SR"]


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if "comes out wrong" in line.getMessage()]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("network", NETWORKS)
def test_where_few_bits_are_wrong_fp32_is_used_and_said_once(
    folder: Path, paint: Painter, caplog: pytest.LogCaptureFixture, network: str, precision: str
) -> None:
    make = kinds_of_networks(folder, paint(16, 32))[network]
    exact = make("fp32")()
    with Faulty():
        told, drawn = make(precision)()
    assert told == "fp32"
    np.testing.assert_array_equal(drawn, exact[1])
    assert len(faults(caplog)) == 1
    assert precision in faults(caplog)[0]
    assert "fp32" in faults(caplog)[0]


@pytest.mark.parametrize(
    "network",
    [pytest.param("ours", marks=pytest.mark.slow), "a frozen graph", pytest.param("Swin2SR", marks=pytest.mark.slow)],
)
def test_one_wrong_layer_is_enough_wherever_it_is(folder: Path, paint: Painter, network: str) -> None:
    """In the drawing of the probe most of them would not show."""
    make = kinds_of_networks(folder, paint(16, 16))[network]
    with Faulty(lambda kind: False) as processor:
        make("bf16")()
    if not processor.seen:  # this machine itself gets all of them wrong before any is drawn
        pytest.skip("no layer is computed in bf16 here")
    for kind in sorted(processor.seen):
        with Faulty(partial(eq, kind)):
            assert make("bf16")()[0] == "fp32", kind


def test_the_fault_of_amx_is_found(folder: Path, paint: Painter) -> None:
    """torch 2.15.0 there: convolutions of 8 channels, 8 x 8, stride 2; the last of this graph is one."""
    with Faulty(lambda kind: kind[1][1:] == (8, 8, 8)) as amx:
        assert dctnet.load(folder / "graph.pb", precision="bf16").precision == "fp32"
    assert ("conv", (12, 8, 8, 8)) in amx.seen


@pytest.mark.parametrize("share", ["last column", "last channel", "not a number", "infinite"])
def test_a_fault_may_be_in_a_small_part(folder: Path, monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    def partly(result: Tensor) -> Tensor:
        result = result.clone()
        match share:
            case "last column":
                result[..., -1] = 0
            case "last channel":
                result[:, -1] *= -1
            case "not a number":
                result[0, 0, 0, 0] = float("nan")
            case "infinite":
                result[0, 0, 0, 0] = float("inf")
        return result

    monkeypatch.setattr("tests.faulty.spoilt", partly)
    stem: list[Kind] = []

    def first(kind: Kind) -> bool:
        stem.append(kind)
        return kind == stem[0]

    with Faulty(first):
        assert StyleNet(folder / "style.safetensors", None, "cpu", "bf16").precision == "fp32"


def test_a_wrong_layer_above_torch_is_found_by_the_drawing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.conv2d

    def conv2d(x: Tensor, *args: Any, **more: Any) -> Tensor:
        result: Tensor = right(x, *args, **more)
        return spoilt(result) if x.dtype == torch.bfloat16 else result

    monkeypatch.setattr(functional, "conv2d", conv2d)
    assert StyleNet(folder / "style.safetensors", None, "cpu", "bf16").precision == "fp32"
    assert dctnet.load(folder / "graph.pb", precision="bf16").precision == "fp32"


class Moody(nn.Module):
    """Enlarges twice; in few bits it does something else, which may be to refuse."""

    def __init__(self, otherwise: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._otherwise = otherwise

    def forward(self, x: Tensor) -> Tensor:
        large = functional.interpolate(x, scale_factor=2)
        return self._otherwise(large) if torch.is_autocast_enabled("cpu") else large


def refuse(x: Tensor) -> Tensor:
    raise RuntimeError("could not create a primitive descriptor")


@pytest.mark.parametrize(
    ("otherwise", "used"),
    [
        (lambda x: x + 0.001, "bf16"),
        (lambda x: x + 0.02, "fp32"),
        (lambda x: x * float("nan"), "fp32"),
        (lambda x: x * float("inf"), "fp32"),
        (refuse, "fp32"),
    ],
    ids=["rounds", "is off", "is not a number", "is infinite", "cannot"],
)
def test_a_drawing_decides_where_no_layer_does(
    otherwise: Callable[[Tensor], Tensor], used: str, paint: Painter, caplog: pytest.LogCaptureFixture
) -> None:
    module = Moody(otherwise)
    bytes_per_pixel = {"fp32": 1, "bf16": 1, "fp16": 1}
    upscaler = Upscaler(Network(module, "moody", 2, 8, 8, bytes_per_pixel), CPU, "bf16")
    assert upscaler.precision == used
    assert len(faults(caplog)) == (used == "fp32")
    picture = paint(16, 16)
    off = np.abs(upscaler.upscale(picture).pixels.astype(int) - picture.repeat(2, 0).repeat(2, 1))
    assert off.max() <= (1 if used == "bf16" else 0)


def test_memory_that_is_gone_is_no_fault_of_the_precision() -> None:
    def full(precision: str) -> list[NDArray[np.float32]]:
        if precision == "fp32":
            return []
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        trusted("a network", CPU, "bf16", lambda precision: precision, full)


def test_in_fp32_nothing_is_drawn_to_check() -> None:
    def never(precision: str) -> list[NDArray[np.float32]]:
        raise AssertionError

    assert trusted("a network", CPU, "fp32", lambda precision: precision, never) == ("fp32", "fp32")


def test_the_probe_is_always_the_same_and_uses_the_range() -> None:
    planes = scene(48, 64, 9)
    np.testing.assert_array_equal(planes, scene(48, 64, 9))
    assert planes.shape == (48, 64, 9)
    for plane in range(9):
        assert planes[..., plane].std() > 15
        assert all((planes[..., plane] != planes[..., other]).mean() > 0.2 for other in range(plane))


class AsItComes:
    """A device's first network meets a fault, the ones after it none."""

    def __init__(self) -> None:
        self.loaded = 0

    def __call__(self, kind: Kind) -> bool:
        return self.loaded == 1


def test_a_stylizer_says_what_is_really_used(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, best = [], Upscaler.best

    def noted(scale: int, folder: Path, device: str, precision: str) -> Upscaler:
        asked.append(best(scale, folder, device, precision))
        return asked[-1]

    monkeypatch.setattr(Upscaler, "best", noted)
    with Faulty():
        toon = Cartoonizer.load("cpu", "bf16", None)
    try:
        assert toon.precision == "fp32"
        assert len(faults(caplog)) == 1
        small = toon(scene(64, 64), size=64, upscale=2)
        assert small.pixels.shape == (128, 128, 3)
        assert [(upscaler.scale, upscaler.precision) for upscaler in asked] == [(2, "fp32")]
        assert len(faults(caplog)) == 1
    finally:
        toon.close()


def test_each_device_is_checked_and_all_draw_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a kind, of which the first computes wrong."""
    fault = AsItComes()

    def load(*args: object) -> StyleNet:
        fault.loaded += 1
        net = StyleNet(*args)  # type: ignore[arg-type]
        nets.append(net)
        return net

    nets: list[StyleNet] = []
    monkeypatch.setattr(cartoonizer, "devices", lambda asked: ["cpu", "cpu"])
    monkeypatch.setattr(cartoonizer, "StyleNet", load)
    with Faulty(fault):
        toon = Cartoonizer.load("cpu", "bf16", None)
    toon.close()
    assert nets[0].precision == "fp32"
    assert [net.precision for net in nets[-2:]] == ["fp32", "fp32"]
    assert toon.precision == "fp32"


def test_a_style_of_ones_own_is_checked_by_itself(tmp_path: Path, folder: Path) -> None:
    """The shipped network's luck says nothing about other shapes."""
    write_style(tmp_path / "mine.safetensors", "mine")
    card = Register(tmp_path).find("mine")
    net = StyleNet(folder / "style.safetensors", None, "cpu", "fp32")
    net.precision = "bf16"
    with Faulty():
        assert Residents(net, available()[0]).of(card).precision == "fp32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gpu_is_trusted_until_it_is_wrong(precision: str) -> None:
    card = available()[0]
    assert StyleNet(card.path, card.sha256, "cuda", precision).precision == precision
    with Faulty():
        assert StyleNet(card.path, card.sha256, "cuda", precision).precision == "fp32"


@pytest.mark.parametrize(
    ("native", "convolutions", "chosen"),
    [(True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32"), (False, False, "fp32")],
    ids=["AVX-512 with bf16, AMX", "the same, held to AVX2", "AVX-512", "AVX2"],
)
def test_a_cpu_draws_in_bf16_only_where_it_has_it(
    native: bool, convolutions: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: convolutions, raising=False)
    assert pick_precision(CPU, "auto") == chosen
    assert pick_precision(CPU, "bf16") == "bf16"


# Cores.


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_takes_more_threads(one_thread: None, folder: Path, paint: Painter, network: str) -> None:
    kinds_of_networks(folder, paint(48, 64))[network]("auto")()
    assert torch.get_num_threads() == 1


RESIDENT = """
import asyncio, sys
import numpy as np
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.ray_actor import RayWorker
from cartoon.images.types import Photo
from cartoon.settings import Settings
from cartoon.options import Care, Options
stylizers = []
def load(settings):
    from cartoon.cli.run import load_cartoonizer
    stylizers.append(load_cartoonizer(settings))
    return stylizers[0]
print(asyncio.run(RayWorker().open(WorkerSpec(load, Settings(device="cpu")), int(sys.argv[1]))))
import torch
toon, photo = stylizers[0], Photo(np.full((64, 64, 3), 128, np.uint8))
print(torch.get_num_threads())
toon.redraw(photo, Options(size=64), Care(precise=True))
toon.redraw(photo, Options(size=64), Care(precise=True, tiles=True))
toon.draw(photo, Options(size=64, upscale=2))
print(torch.get_num_threads())
"""


def test_a_stylizer_told_one_core_keeps_to_it() -> None:
    """As in an actor of a cluster; after a redraw, which loads networks, and after an enlargement, which loads one."""
    command = [sys.executable, "-W", "ignore", "-c", RESIDENT, "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["1", "1"]


def test_a_process_is_told_its_cores_by_its_affinity() -> None:
    code = "from cartoon.models.cores import *; print(usable_cores()); keep_to(5); print(usable_cores())"
    command = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "5"]


@pytest.mark.parametrize(
    ("files", "of_process", "granted"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", [1.5]),
        ({"cpu.max": "max 100000\n"}, "0::/\n", []),
        ({"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "400000 100000\n"}, "0::/a/b\n", [0.5, 4.0]),
        ({"cpu.max": "200000 100000\n"}, "0::/system.slice/docker-12.scope\n", [2.0]),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/docker/1\n", [3.0]),
        ({"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, "1:cpu:/x\n0::/\n", []),
        ({"cpu.max": "nonsense", "cpu/cpu.cfs_quota_us": ""}, "3:cpuset:/\n1:cpu:/\n0::/\n", []),
        ({}, "", []),
    ],
    ids=[
        "docker --cpus",
        "no limit",
        "limits within limits",
        "host's path",
        "first kind",
        "-1",
        "nonsense",
        "no groups",
    ],
)
def test_quotas_of_control_groups_are_found(
    tmp_path: Path, files: dict[str, str], of_process: str, granted: list[float]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "of_process").write_text(of_process)
    assert list(cores.quotas(tmp_path, tmp_path / "of_process")) == granted
    assert list(cores.quotas(tmp_path, tmp_path / "nothing")) == []
