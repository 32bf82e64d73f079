"""The network, its weights and the register of the shipped styles."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cartoon.errors import OptionsError, StyleError
from cartoon.faces.guide import CHANNELS
from cartoon.models import unet_inference
from cartoon.models.devices import pick_device, pick_precision
from cartoon.models.layers import ALPHA, PLANES
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.models.style_file import SHIPPED_CONFIG, NetConfig
from cartoon.models.unet import CartoonNet, PooledAttention, stack
from cartoon.models.unet_inference import InferenceNet
from cartoon.models.weights import load_weights, sha256_of
from cartoon.styles.catalogue import Register, available
from tests.fakes import CARDS
from tests.small_style import SMALL, write_weights
from training.export import export


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, its last layers included, in a style file."""
    return write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", ["ink", "wash"])


def canvas(height: int, width: int, seed: int = 0) -> Canvas:
    """A random canvas."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Canvas(pixels, rng.integers(0, 256, (len(CHANNELS), height, width), dtype=np.uint8))


def test_layers_have_the_promised_shapes() -> None:
    colours, logits = CartoonNet(SMALL)(torch.rand(2, 3, 48, 64), torch.rand(2, len(CHANNELS), 48, 64))
    assert colours.shape == (2, ALPHA, 48, 64)
    assert logits.shape == (2, len(PLANES) - ALPHA, 48, 64)
    layers = stack(colours, logits)
    assert layers.shape == (2, len(PLANES), 48, 64)
    assert bool(((layers >= 0) & (layers <= 1)).all())


def test_the_guide_has_as_many_channels_as_the_network_takes() -> None:
    assert len(CHANNELS) == SHIPPED_CONFIG.guide_channels


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 48), (50, 99), (1, 1), (300, 7)])
def test_any_size_is_padded_and_cut_back(small_file: Path, height: int, width: int) -> None:
    drawn = StyleNet(small_file, None, "cpu", "fp32").draw([canvas(height, width)])[0]
    assert drawn.stack.shape == (len(PLANES), height, width)
    assert np.isfinite(drawn.stack).all()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2 / 255), ("bf16", 4 / 255)])
def test_a_mixed_batch_draws_what_singles_draw(small_file: Path, precision: str, tolerance: float) -> None:
    net = StyleNet(small_file, None, "cpu", precision)
    canvases = [canvas(h, w, seed) for seed, (h, w) in enumerate([(64, 64), (80, 48), (64, 64), (33, 70)])]
    together = net.draw(canvases)
    for one, alone in zip(canvases, together, strict=True):
        assert np.abs(net.draw([one])[0].stack - alone.stack).max() <= tolerance


def test_half_precision_stays_close_to_single(small_file: Path) -> None:
    one = canvas(96, 96)
    full = StyleNet(small_file, None, "cpu", "fp32").draw([one])[0].stack
    half = StyleNet(small_file, None, "cpu", "bf16").draw([one])[0].stack
    assert np.abs(full - half).mean() < 4 / 255  # bfloat16 keeps 8 bits: 1/256 a step, a few layers deep


@pytest.mark.parametrize("keeps_photo", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_strips_cannot_be_told_from_the_whole(depth: int, keeps_photo: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    net = InferenceNet(replace(SMALL, depths=(depth, 1, 1, 1), keeps_photo=keeps_photo)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    inputs = torch.randint(0, 256, (1, 144, 80, 3 + len(CHANNELS)), dtype=torch.uint8)
    photo, guide = (inputs[..., part].permute(0, 3, 1, 2) / 255 for part in (slice(3), slice(3, None)))
    whole = stack(*net(photo, guide)).detach()
    monkeypatch.setattr(unet_inference, "STRIP", 1)
    with torch.inference_mode():
        assert (net.layers(inputs) - whole).abs().max() < 1e-4


def test_attention_cost_is_linear_in_pixels() -> None:
    attention = PooledAttention(32, pooled=4)
    assert attention(torch.rand(1, 32, 40, 24)).shape == (1, 32, 40, 24)
    assert attention(torch.rand(1, 32, 2, 3)).shape == (1, 32, 2, 3)  # smaller than the pooled grid


def test_shipped_styles_are_registered_with_their_true_hash() -> None:
    cards = available()
    for card in cards:
        assert sha256_of(card.path) == card.sha256
        assert card.path.stat().st_size <= 10_000_000
    # The four that the network was shipped with; whatever else is painted with its layers is in no file's list.
    first = [card for card in cards if card.id in ("anime", "comic", "watercolor", "sketch")]
    assert [card.painter for card in first] == ["anime", "comic", "watercolor", "sketch"]
    for card in first:
        assert card.painter == card.id
        assert card.id in load_weights(card.path, card.sha256).styles


def test_an_unknown_style_names_the_known_ones() -> None:
    with pytest.raises(StyleError, match=r"'oils'.*anime"):
        Register(None, CARDS).find("oils")


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
