"""Frozen graphs in torch: every spelling draws what TensorFlow draws, and nothing else is let in."""

import json
import math
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cartoon.errors import OptionsError, StyleError
from cartoon.models import dctnet
from cartoon.models.dctnet import module
from cartoon.models.devices import pick_precision
from tests.conftest import Painter
from tests.tfgraph_maker import (
    BYTE,
    FLOAT,
    Net,
    Spelling,
    drawn,
    field,
    frozen,
    kind,
    node,
    random_net,
    shape_of,
    tensor,
    varint,
    whole_numbers,
)

SPELLINGS = {
    "TensorFlow 2": Spelling(),
    "TensorFlow 1": Spelling(
        add="Add", leaky="Maximum", clip="ClipByValue", dtype=BYTE, shape=(1, -1, -1, 3), attributes="few", divide="Div"
    ),
    "uint8 without a batch": Spelling(dtype=BYTE, leaky="Maximum turned", bias="Add 4"),
    "uint8 cast late": Spelling(dtype=BYTE, cast_late=True, clip="Maximum"),
    "unknown batch": Spelling(shape=(-1, -1, -1, 3), bias="Add"),
    "fixed batch of uint8": Spelling(shape=(1, 40, 48, 3), dtype=BYTE, size="constant"),
    "fixed size": Spelling(shape=(40, 48, 3), size="constant"),
    "unknown rank": Spelling(shape=None),
    "no shape": Spelling(shape=()),
    "slices": Spelling(expand="slice", squeeze="slice", size="slice"),
    "squeezes all": Spelling(squeeze="Squeeze all", size="turned", divide="Mul"),
    "reckons in floats": Spelling(size="float", ones="like"),
    "passes on": Spelling(identities=2, controls=True, ports=True, rubbish=True),
    "shuffled": Spelling(shuffled=True, scope="model_anime_bg/a/b", identities=1),
    "no shared values": Spelling(splat=False, constants="listed", folded=False),
    "packed values": Spelling(splat=False, constants="packed", attributes="few"),
    "explicit padding": Spelling(explicit=True),
    "uint8 out": Spelling(cast_out=True, dtype=BYTE),
    "another output": Spelling(output="cartoon/result", scope="x"),
    "a scoped output": Spelling(output="model/output_image", rubbish=True),
}
TOLERANCE = {"fp32": 1e-3, "bf16": 1.5, "fp16": 0.2}
"""Of 255: the greatest difference in fp32, else the mean one; measured on these graphs 2e-4, 0.4 and 0.05."""


@pytest.fixture(scope="module")
def picture(paint: Painter) -> np.ndarray:
    return paint(40, 48)


def write(tmp_path: Path, data: bytes, name: str = "odd.pb") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("eps", [None, 0.01], ids=["head", "background"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_draws_the_same(tmp_path: Path, picture: np.ndarray, spelling: Spelling, eps: float) -> None:
    net = random_net(eps=eps)
    graph = dctnet.load(write(tmp_path, frozen(net, spelling)))
    expected = drawn(net, picture, spelling.cast_out)
    for given in (picture, picture.astype(np.float32)):
        result = graph(given)
        assert result.shape == picture.shape
        assert result.dtype == np.float32
        off = np.abs(result - expected)
        if spelling.cast_out:  # a value next to a whole number may fall to either side of it
            assert np.quantile(off, 0.99) == 0
        else:
            assert off.max() < TOLERANCE["fp32"]
    assert expected.std() > 20


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_fewer_bits_are_a_little_off(tmp_path: Path, picture: np.ndarray, precision: str) -> None:
    net = random_net(channels=8, eps=0.01)
    graph = dctnet.load(write(tmp_path, frozen(net)), precision=precision)
    off = np.abs(graph(picture) - drawn(net, picture)).mean()
    assert off < TOLERANCE[graph.precision]
    assert graph.precision == "fp32" or (graph.precision == precision and off > 0)  # as this machine computes it


@pytest.mark.parametrize(("channels", "blocks", "size"), [(3, 0, (4, 4)), (5, 3, (44, 28)), (16, 2, (8, 200))])
def test_other_widths_depths_and_sizes(
    tmp_path: Path, paint: Painter, channels: int, blocks: int, size: tuple[int, int]
) -> None:
    net = random_net(channels, blocks, eps=0.005, seed=3)
    graph = dctnet.load(str(write(tmp_path, frozen(net))))
    assert graph.multiple == 4
    picture = paint(*size)
    assert np.abs(graph(picture) - drawn(net, picture)).max() < TOLERANCE["fp32"]


def test_convolutions_may_have_no_biases(tmp_path: Path, picture: np.ndarray) -> None:
    net = random_net()
    bare = Net({name: (weight, np.zeros_like(bias)) for name, (weight, bias) in net.layers.items()}, net.blocks)
    graph = dctnet.load(write(tmp_path, frozen(bare, Spelling(bias="none"))))
    assert np.abs(graph(picture) - drawn(bare, picture)).max() < TOLERANCE["fp32"]


@pytest.mark.parametrize("eps", [None, 0.01], ids=["head", "background"])
def test_bands_of_rows_do_not_show(
    tmp_path: Path, paint: Painter, monkeypatch: pytest.MonkeyPatch, eps: float | None
) -> None:
    graph = dctnet.load(write(tmp_path, frozen(random_net(eps=eps))))
    picture = paint(212, 64)  # bands of 64, 64, 64 and 20 rows
    at_once = graph(picture)
    monkeypatch.setitem(module.BAND_BYTES, "cpu", 1)
    assert np.abs(graph(picture) - at_once).max() < TOLERANCE["fp32"]


def test_a_batch_is_drawn_as_its_pictures_are(tmp_path: Path, paint: Painter) -> None:
    graph = dctnet.load(write(tmp_path, frozen(random_net())))
    pictures = [paint(40, 48, seed) for seed in range(3)]
    one_by_one = np.stack([graph(picture) for picture in pictures])
    for batch in (pictures, np.stack(pictures), np.stack(pictures)[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(graph.batch(batch), one_by_one)


def test_threads_do_not_meet_and_pictures_stay_as_they_are(tmp_path: Path, paint: Painter) -> None:
    graph = dctnet.load(write(tmp_path, frozen(random_net(eps=0.01))))
    pictures = [paint(40, 48, seed).astype(np.float32) for seed in range(4)]
    for picture in pictures:
        picture.setflags(write=False)
    before = [picture.copy() for picture in pictures]
    expected = [graph(picture) for picture in pictures]
    results: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda at=at: results.update({at: graph(pictures[at])})) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at in range(4):
        np.testing.assert_array_equal(results[at], expected[at])
        np.testing.assert_array_equal(pictures[at], before[at])


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((40, 48), np.uint8, "shape"),
        ((40, 48, 4), np.uint8, "shape"),
        ((40, 48, 3), np.float64, "float64"),
        ((40, 48, 3), np.int32, "int32"),
        ((42, 48, 3), np.uint8, "multiples of 4"),
        ((0, 48, 3), np.uint8, "0 x 48"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, shape: tuple[int, ...], dtype: type, words: str) -> None:
    graph = dctnet.load(write(tmp_path, frozen(random_net())))
    with pytest.raises(OptionsError, match=words):
        graph(np.zeros(shape, dtype))


def test_batches_of_one_size_and_graphs_of_one_size(tmp_path: Path) -> None:
    graph = dctnet.load(write(tmp_path, frozen(random_net(), Spelling(shape=(40, 48, 3), size="constant"))))
    with pytest.raises(OptionsError, match=r"40, 48.* alone"):
        graph(np.zeros((48, 40, 3), np.uint8))
    for batch in ([], [np.zeros((40, 48, 3), np.uint8), np.zeros((40, 44, 3), np.uint8)]):
        with pytest.raises(OptionsError):
            graph.batch(batch)


# The official structure, as TensorFlow drew it.


@pytest.mark.parametrize(
    ("graph", "size"), [("cartoon_h", "288x288"), ("cartoon_bg", "288x288"), ("cartoon_bg", "720x960")]
)
def test_the_fixtures_are_drawn_as_tensorflow_drew_them(shared: Path, graph: str, size: str) -> None:
    folder = shared / "fixtures" / "dctnet"
    picture = np.asarray(Image.open(folder / f"input_{size}.png"))
    expected = np.load(folder / f"{graph}_{size}.npy")
    exact = dctnet.load(folder / f"{graph}.pb")
    assert np.abs(exact(picture) - expected).max() < 1e-3
    if pick_precision(torch.device("cpu"), "auto") == "bf16":  # where a CPU only imitates it, it takes minutes
        fast = dctnet.load(folder / f"{graph}.pb", precision="bf16")
        assert np.abs(fast(picture) - expected).mean() < TOLERANCE[fast.precision]


# What is refused.


def changed(old: bytes, new: bytes, count: int = 1) -> bytes:
    """The bytes of a graph in which one field's content was replaced by one of the same length."""
    data = frozen(random_net(), Spelling(attributes="all"))
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new, count)


HEAD = [
    node("input_image", "Placeholder", dtype=kind(FLOAT), shape=field(7, shape_of((-1, -1, -1, 3)))),
    node("one", "Const", dtype=kind(FLOAT), value=tensor(np.float32(1))),
]


def graph_of(*nodes: bytes) -> bytes:
    return b"".join((*HEAD, *nodes))


def const(name: str, value: object) -> bytes:
    return node(name, "Const", dtype=kind(FLOAT), value=tensor(np.asarray(value)))


def conv(kernel: tuple[int, ...], **attributes: bytes) -> bytes:
    told = {"T": kind(FLOAT), "strides": whole_numbers(1, 1, 1, 1), "padding": field(2, "SAME"), **attributes}
    weight = const("weight", np.ones(kernel, np.float32))
    return graph_of(weight, node("output_image", "Conv2D", ["input_image", "weight"], **told))


def claimed(shape: tuple[int, ...], values: bytes = b"", dtype: int = FLOAT) -> bytes:
    """A constant that says a shape of its own."""
    content = field(8, field(1, dtype) + field(2, shape_of(shape)) + values)
    held = node("c", "Const", dtype=kind(dtype), value=content)
    return graph_of(held, node("output_image", "Mul", ["input_image", "c"], T=kind(FLOAT)))


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no nodes"),
    "text": (b"this is a text and no graph at all", "GraphDef|cut off"),
    "zeros": (bytes(1000), "no nodes"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(60), "GraphDef|cut off|no nodes"),
    "safetensors": (struct.pack("<Q", 2) + b"{}", "GraphDef|cut off|no nodes"),
    "a group": (varint(1 << 3 | 3), "GraphDef"),
    "endless number": (b"\xff" * 100, "GraphDef"),
    "length of all ones": (b"\x0a" + b"\xff" * 9 + b"\x01", "cut off"),
    "two of one name": (graph_of(HEAD[0]), "same name"),
    "no name": (graph_of(node("", "NoOp")), "without a name"),
    "name of other letters": (graph_of(node("x", "Identity").replace(b"x", b"\xff", 1)), "GraphDef"),
    "many fields": (varint(1 << 3) * 1_000_000, "parts"),
    "many nodes": (graph_of(*[node(f"n{at}", "NoOp") for at in range(10_001)]), "nodes"),
    "two results": (graph_of(node("a", "Identity", ["one"]), node("b", "Identity", ["one"])), r"result.*a, b"),
    "no result": (b"".join(HEAD), "result"),
    "circle": (
        graph_of(node("a", "Identity", ["output_image"]), node("output_image", "Identity", ["a"])),
        "circle",
    ),
    "itself": (graph_of(node("output_image", "Add", ["input_image", "output_image"])), "circle"),
    "something missing": (graph_of(node("output_image", "Identity", ["gone"])), "'gone'.*missing"),
    "second output": (graph_of(node("output_image", "Identity", ["input_image:1"])), "missing"),
    "unknown op": (changed(b"LeakyRelu\x1a", b"LeakySoft\x1a"), "LeakySoft node 'generator/LeakyRelu"),
    "another activation": (graph_of(node("output_image", "Tanh", ["input_image"])), "Tanh node 'output_image'"),
    "control signs": (graph_of(node("output_image", "\x1b[2J", ["input_image"])), r"\?\[2J node"),
    "no arguments": (graph_of(node("output_image", "AddV2")), "AddV2 node 'output_image' takes 0"),
    "two inputs": (
        graph_of(
            node("other", "Placeholder", dtype=kind(FLOAT)),
            node("output_image", "Add", ["input_image", "other"], T=kind(FLOAT)),
        ),
        "second input",
    ),
    "no picture": (graph_of(node("output_image", "Identity", ["one"])), "no picture"),
    "nothing done": (graph_of(node("output_image", "Identity", ["input_image"])), "1 steps"),
    "half precision": (changed(b"dtype\x12\x020\x01*", b"dtype\x12\x020\x13*", 1), "Placeholder.*type 19"),
    "one channel": (
        node("input_image", "Placeholder", dtype=kind(FLOAT), shape=field(7, shape_of((-1, -1, 1))))
        + node("output_image", "Square", ["input_image"]),
        r"shape \[-1, -1, 1\]",
    ),
    "five axes": (
        node("input_image", "Placeholder", dtype=kind(FLOAT), shape=field(7, shape_of((1, 1, 1, 1, 3))))
        + node("output_image", "Square", ["input_image"]),
        "shape",
    ),
    "channels first": (conv((3, 3, 3, 3), data_format=field(2, "NCHW")), "NCHW"),
    "dilated": (conv((3, 3, 3, 3), dilations=whole_numbers(1, 2, 2, 1)), "dilations"),
    "uneven strides": (conv((3, 3, 3, 3), strides=whole_numbers(1, 1, 2, 1)), "strides"),
    "giant strides": (conv((3, 3, 3, 3), strides=whole_numbers(1, 1 << 40, 1 << 40, 1)), "strides|pads"),
    "no strides": (conv((3, 3, 3, 3), strides=whole_numbers()), "strides"),
    "strides of zero": (conv((3, 3, 3, 3), strides=whole_numbers(1, 0, 0, 1)), "strides|pads"),
    "valid padding": (conv((3, 3, 3, 3), padding=field(2, "VALID")), "pads a kernel of 3"),
    "unknown padding": (conv((3, 3, 3, 3), padding=field(2, "FULL")), "FULL"),
    "kernel of three axes": (conv((3, 3, 3)), "kernel"),
    "kernel for another width": (conv((3, 3, 4, 3)), "4 channels where 3 come"),
    "kernel too large": (conv((65, 1, 3, 3)), "kernel"),
    "kernel of nothing": (conv((3, 3, 3, 0)), "kernel|channels"),
    "result of one channel": (conv((3, 3, 3, 1)), "gives 1 channels"),
    "result of half the size": (conv((3, 3, 3, 3), strides=whole_numbers(1, 2, 2, 1)), "1/2"),
    "corners aligned": (changed(b"align_corners\x12\x02(\x00", b"align_corners\x12\x02(\x01"), "align_corners"),
    "half pixels": (changed(b"half_pixel_centers\x12\x02(\x00", b"half_pixel_centers\x12\x02(\x01"), "half_pixel"),
    "bias for another width": (
        graph_of(const("b", np.ones(4, np.float32)), node("output_image", "BiasAdd", ["input_image", "b"])),
        "4 numbers for 3 channels",
    ),
    "constant picture": (
        graph_of(const("b", np.ones((1, 2, 2, 3), np.float32)), node("output_image", "Add", ["input_image", "b"])),
        "constant",
    ),
    "whole numbers added": (
        graph_of(const("b", np.ones(3, np.int32)), node("output_image", "Add", ["input_image", "b"])),
        "int32",
    ),
    "not a number": (claimed((), field(5, math.nan)), "not finite"),
    "infinite weights": (conv((1, 1, 3, 3)).replace(struct.pack("<f", 1), struct.pack("<f", math.inf)), "finite"),
    "divided by zero": (
        graph_of(const("z", np.float32(0)), node("output_image", "RealDiv", ["input_image", "z"])),
        "zero",
    ),
    "gigantic constant": (claimed((1 << 31, 1 << 31), field(5, 1.0)), "claims 4611686018427387904"),
    "gigantic axis": (claimed(((1 << 62),) * 8, field(5, 1.0)), "claims"),
    "negative axis": (claimed((-3,), field(5, 1.0)), "shape"),
    "many axes": (claimed((1,) * 100, field(5, 1.0)), "100 sides"),
    "too few bytes": (claimed((3,), field(4, bytes(8))), "8 bytes for 3"),
    "too many values": (claimed((1,), field(5, 1.0) * 3), "3 values for 1"),
    "strings": (claimed((), field(8, b"x"), 7), "type 7"),
    "no value": (graph_of(node("c", "Const"), node("output_image", "Mul", ["input_image", "c"])), "no value"),
    "numbers too large": (claimed((1,), field(7, 1 << 40), 3), "too large"),
    "constants that grow": (
        graph_of(
            node("a", "Const", value=field(8, field(1, FLOAT) + field(2, shape_of((4096, 1))))),
            node("b", "Const", value=field(8, field(1, FLOAT) + field(2, shape_of((1, 8192))))),
            node("grown", "Mul", ["a", "b"]),
            node("output_image", "Mul", ["input_image", "grown"]),
        ),
        "more numbers",
    ),
    "pictures of different sizes": (
        changed(b"strides\x12\x08\x0a\x06\x1a\x04\x01\x02\x02\x01", b"strides\x12\x08\x0a\x06\x1a\x04\x01\x01\x01\x01"),
        "size",
    ),
}


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_in_a_sentence_that_names_the_file(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(StyleError, match=rf"^odd\.pb .*(?:{words}).*: .*\.$") as caught:
        dctnet.load(write(tmp_path, data))
    assert str(caught.value).isprintable()


def another_number(old: float, new: float) -> bytes:
    return changed(struct.pack("<f", old), struct.pack("<f", new))


def another_skip() -> bytes:
    """A residual block that adds what is within it, of the same shape as what it takes."""
    before, taken, after = frozen(random_net()).rpartition(b"generator/LeakyRelu_31")
    assert b"AddV2_41" in before[-60:]
    return before + taken.replace(b"31", b"36") + after


NEARLY = {
    "slope": another_number(0.2, 0.3),
    "scale": another_number(127.5, 128),
    "limit": another_number(255, 128),
    "skip": another_skip(),
}


@pytest.mark.parametrize("data", NEARLY.values(), ids=NEARLY.keys())
def test_what_is_nearly_a_generator_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StyleError, match=r"^odd\.pb .* steps are not those of DCT-Net's generator: "):
        dctnet.load(write(tmp_path, data))


def test_a_result_many_steps_away_is_found(tmp_path: Path, picture: np.ndarray) -> None:
    net, length = random_net(), 9_000
    data = frozen(net)
    assert data.index(b"input_image") < 20  # the placeholder's name
    nodes = [node("s0", "Identity", ["first_image"])]
    nodes += [node(f"s{at}", "Identity", [f"s{at - 1}"]) for at in range(1, length)]
    nodes += [node("input_image", "Identity", [f"s{length - 1}"])]
    long = write(tmp_path, data.replace(b"input_image", b"first_image", 1) + b"".join(nodes))
    np.testing.assert_array_equal(dctnet.load(long)(picture), dctnet.load(write(tmp_path, data))(picture))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    giant = tmp_path / "giant.pb"
    with giant.open("wb") as file:
        file.truncate((64 << 20) + 1)
    for path, words in (
        (tmp_path / "gone.pb", "is missing"),
        (tmp_path, "is missing"),
        (tmp_path / "a\0b.pb", "is missing"),
        (giant, "more than 64 MB"),
    ):
        with pytest.raises(StyleError, match=words):
            dctnet.load(path)
    with pytest.raises(OptionsError, match="tpu"):
        dctnet.load(tmp_path / "gone.pb", device="tpu")
    with pytest.raises(OptionsError, match="int8"):
        dctnet.load(write(tmp_path, frozen(random_net())), precision="int8")


def mutated(folder: Path, root: Path, graphs: list[Path]) -> dict[str, float]:
    """What came of 500 damaged graphs; fails where one was neither refused nor loaded."""
    command = [sys.executable, "-m", "tests.tfgraph_mutations", str(folder), *map(str, graphs)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, float] = json.loads(done.stdout)
    assert told["refused"] + told["loaded"] == 500
    return told


@pytest.fixture
def small(tmp_path: Path) -> list[Path]:
    """Two graphs of few weights."""
    old = Spelling(add="Add", leaky="Maximum", clip="ClipByValue", splat=False, constants="packed")
    nets = (random_net(1, eps=0.01), Spelling()), (random_net(1), old)
    return [write(tmp_path, frozen(*net), f"small{at}.pb") for at, net in enumerate(nets)]


def test_mutated_graphs_are_refused_or_loaded_in_bounded_time_and_memory(
    tmp_path: Path, pytestconfig: pytest.Config, small: list[Path]
) -> None:
    told = mutated(tmp_path, pytestconfig.rootpath, small)
    assert told["refused"] > 200
    assert told["loaded"] > 10


def test_so_are_those_of_the_official_size(
    tmp_path: Path, pytestconfig: pytest.Config, small: list[Path], shared: Path
) -> None:
    folder = shared / "fixtures" / "dctnet"
    mutated(tmp_path, pytestconfig.rootpath, [*small, folder / "cartoon_bg.pb", folder / "cartoon_h.pb"])
