"""The network, its weights and the register of styles."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cartoon.errors import OptionsError, StyleError
from cartoon.portrait.guide import CHANNELS
from cartoon.styles import registry
from cartoon.styles.network import Canvas, StyleNet, pick_device, pick_precision
from cartoon.styles.unet import CartoonNet, NetConfig, PooledAttention
from cartoon.styles.weights import load_weights, sha256_of
from training.export import export

SMALL = NetConfig(widths=(8, 16, 32, 64), depths=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, its last layers included, in a style file."""
    torch.manual_seed(0)
    net = CartoonNet(SMALL)
    for parameter in net.parameters():  # the residual branches start at zero: wake them
        torch.nn.init.normal_(parameter, std=0.05)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    export(net.state_dict(), SMALL, ["ink", "wash"], path, {})
    return path


def canvas(height: int, width: int, slot: int = 0, seed: int = 0) -> Canvas:
    """A random canvas."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Canvas(pixels, rng.integers(0, 256, (len(CHANNELS), height, width), dtype=np.uint8), slot, 0.7)


def test_layers_have_the_promised_shapes() -> None:
    layers = CartoonNet(SMALL)(torch.rand(2, 3, 48, 64), torch.rand(2, 15, 48, 64), torch.tensor([0, 1]), torch.ones(2))
    assert layers.foreground.shape == layers.background.shape == (2, 3, 48, 64)
    assert layers.alpha.shape == layers.line.shape == (2, 1, 48, 64)
    flat = layers.flatten()
    assert flat.shape == (2, 3, 48, 64)
    assert bool(((flat >= 0) & (flat <= 1)).all())


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 48), (50, 99), (1, 1), (300, 7)])
def test_any_size_is_padded_and_cut_back(small_file: Path, height: int, width: int) -> None:
    drawn = StyleNet(small_file, None, "cpu", "fp32").draw([canvas(height, width)])[0]
    assert drawn.stack.shape == (8, height, width)
    assert np.isfinite(drawn.stack).all()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2 / 255), ("bf16", 4 / 255)])
def test_a_mixed_batch_draws_what_singles_draw(small_file: Path, precision: str, tolerance: float) -> None:
    net = StyleNet(small_file, None, "cpu", precision)
    canvases = [canvas(h, w, seed % 2, seed) for seed, (h, w) in enumerate([(64, 64), (80, 48), (64, 64), (33, 70)])]
    together = net.draw(canvases)
    for one, alone in zip(canvases, together, strict=True):
        assert np.abs(net.draw([one])[0].stack - alone.stack).max() <= tolerance


def test_style_and_strength_change_the_drawing(small_file: Path) -> None:
    net = StyleNet(small_file, None, "cpu", "fp32")
    base = canvas(64, 64)
    other_style = Canvas(base.pixels, base.guide, 1, base.strength)
    other_strength = Canvas(base.pixels, base.guide, 0, 0.1)
    first, second, third = (d.stack for d in net.draw([base, other_style, other_strength]))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_half_precision_stays_close_to_single(small_file: Path) -> None:
    one = canvas(96, 96)
    full = StyleNet(small_file, None, "cpu", "fp32").draw([one])[0].stack
    half = StyleNet(small_file, None, "cpu", "bf16").draw([one])[0].stack
    assert np.abs(full - half).mean() < 4 / 255  # bfloat16 keeps 8 bits: 1/256 a step, a few layers deep


def test_attention_cost_is_linear_in_pixels() -> None:
    attention = PooledAttention(32, pooled=4)
    assert attention(torch.rand(1, 32, 40, 24)).shape == (1, 32, 40, 24)
    assert attention(torch.rand(1, 32, 2, 3)).shape == (1, 32, 2, 3)  # smaller than the pooled grid


def test_shipped_styles_are_registered_with_their_true_hash() -> None:
    cards = registry.available()
    assert {"anime", "comic"} <= {card.id for card in cards}
    for card in cards:
        assert sha256_of(card.path) == card.sha256
        assert card.path.stat().st_size <= 10_000_000
        assert load_weights(card.path, card.sha256).styles[card.slot] == card.id


def test_an_unknown_style_names_the_known_ones() -> None:
    with pytest.raises(StyleError, match=r"'oils'.*anime"):
        registry.find("oils")


def test_an_altered_file_is_refused(small_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "altered.safetensors"
    shutil.copy(small_file, copy)
    honest = sha256_of(copy)
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(StyleError, match=r"altered\.safetensors"):
        load_weights(copy, honest)


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\xff" * 64])
def test_a_file_that_is_no_style_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(StyleError, match=r"odd\.safetensors"):
        load_weights(path, None)


def test_a_missing_file_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(StyleError, match=r"gone\.safetensors is missing"):
        load_weights(tmp_path / "gone.safetensors", None)


def test_weights_of_another_shape_are_refused(small_file: Path, tmp_path: Path) -> None:
    weights = load_weights(small_file, None)
    other = tmp_path / "other.safetensors"
    export(weights.state, NetConfig(), weights.styles, other, {})
    with pytest.raises(StyleError, match=r"other\.safetensors does not fit"):
        StyleNet(other, None, "cpu", "fp32")


@pytest.mark.parametrize("device", ["tpu", "mps:0", "cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(OptionsError, match=device):
        pick_device(device)


def test_precision_can_be_chosen_and_is_checked() -> None:
    assert pick_precision(torch.device("cpu"), "fp32") == "fp32"
    assert pick_precision(torch.device("cpu"), "auto") in ("fp32", "bf16")
    with pytest.raises(OptionsError, match="int4"):
        pick_precision(torch.device("cpu"), "int4")


def test_styles_json_is_what_release_writes() -> None:
    rows = json.loads((registry.ASSETS / "styles.json").read_text())
    assert [row["slot"] for row in rows] == list(range(len(rows)))
