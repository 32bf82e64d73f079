"""The workshop, on two made-up photos: crops, one short run, its resumption, and what it exports."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cartoon.errors import StyleError
from cartoon.faces.guide import CHANNELS
from cartoon.models.layers import ALPHA, PLANES
from cartoon.models.runtime import StyleNet
from cartoon.models.unet import CartoonNet, PooledAttention
from cartoon.styles.catalogue import available
from tests.drawing.test_compose import noise, template
from tests.small_style import SMALL
from training.dataset import Crops
from training.losses import composite, drawing_losses, layer_losses
from training.people import split
from training.release import cards_of
from training.run import Run, Window, learning_rate, names_in

STYLES = ("anime", "comic", "watercolor", "sketch")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos of 300 x 280 px, prepared as training.prepare does, their layers made up."""
    folder = tmp_path_factory.mktemp("prepared")
    for seed, name in enumerate(("ada", "bob")):
        photo = noise(300, 280, seed)
        stack = np.zeros((len(PLANES), 300, 280), np.uint8)
        stack[:3] = stack[3:6] = (photo // 64 * 64).transpose(2, 0, 1)
        stack[ALPHA:, 40:, 60:200] = 255
        person = np.full((300, 280), 255, np.uint8)
        np.savez(folder / f"{name}.npz", photo=photo, person=person, landmarks=template((140, 150), 120), stack=stack)
    return folder


@pytest.fixture
def window(tmp_path: Path) -> Window:
    return Window(tmp_path / "out.safetensors", tmp_path, 60.0, 3e-3, 1, "cpu", STYLES)


def crops(prepared: Path, seed: int = 3) -> Crops:
    return Crops(prepared, names_in(prepared), 1, seed, side=128)


def logits_of(masks: Tensor) -> Tensor:
    return torch.logit(masks.clamp(1e-4, 1 - 1e-4))


def total(terms: Mapping[str, Tensor]) -> float:
    return sum(value.item() for value in terms.values())


def test_crops_are_in_range_and_repeat_with_their_seed(prepared: Path) -> None:
    first, again, other = (next(crops(prepared, seed).batches(4)) for seed in (3, 3, 4))
    assert first.photo.shape == (4, 3, 128, 128)
    assert first.guide.shape == (4, len(CHANNELS), 128, 128)
    assert first.target.shape == (4, len(PLANES), 128, 128)
    for planes in (first.photo, first.guide, first.target):
        assert 0 <= planes.min().item() <= planes.max().item() <= 1
    assert torch.equal(first.photo, again.photo)
    assert not torch.equal(first.photo, other.photo)


def test_perfect_layers_cost_next_to_nothing(prepared: Path) -> None:
    target = next(crops(prepared).batches(2)).target.round()
    perfect = layer_losses(target[:, :ALPHA], logits_of(target[:, ALPHA:]), target)
    worse = layer_losses(1 - target[:, :ALPHA], logits_of(target[:, ALPHA:]), target)
    assert total(perfect) < 0.01
    assert worse["colour"].item() > 0.05


def test_layers_that_flatten_to_the_drawing_cost_next_to_nothing(prepared: Path) -> None:
    target = next(crops(prepared).batches(2)).target
    drawing, person = target[:, :3], target[:, ALPHA : ALPHA + 1].round()
    wanted = torch.cat([drawing, person], 1)
    nothing = torch.zeros_like(person).expand(-1, 4, -1, -1)
    logits = logits_of(torch.cat([person, nothing], 1))
    colours = torch.cat([drawing, drawing], 1)
    assert total(drawing_losses(colours, logits, wanted)) < 0.01
    assert drawing_losses(1 - colours, logits, wanted)["colour"].item() > 0.05
    assert drawing_losses(colours, -logits, wanted)["person"].item() > 0.1


def test_a_colour_out_of_range_is_clamped_and_finds_its_way_back() -> None:
    colours = torch.full((1, 6, 4, 4), 1.5, requires_grad=True)
    logits = torch.full((1, 5, 4, 4), -9.0)
    drawn = composite(colours, logits)
    assert drawn.max().item() <= 1
    drawn.sum().backward()  # type: ignore[no-untyped-call]
    assert colours.grad is not None
    assert colours.grad[:, 3:].min().item() > 0.9  # the background: there is no person here


def test_training_lowers_the_loss_and_resumes_where_it_stopped(window: Window, prepared: Path) -> None:
    run = Run(window, layer_losses, config=SMALL)
    batch = next(crops(prepared).batches(2))
    run.spent_s = 30.0  # past the warm-up
    first = total(run.update(batch))
    for _ in range(25):
        last = total(run.update(batch))
    assert last < 0.9 * first
    run.save()

    resumed = Run(window, layer_losses, config=SMALL)
    assert (resumed.step, resumed.spent_s) == (26, 30.0)
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name])


def test_the_average_follows_the_weights_and_forgets_its_beginning(window: Window, prepared: Path) -> None:
    run = Run(window, layer_losses, config=SMALL)
    batch = next(crops(prepared).batches(1))
    run.spent_s = 30.0
    expected: dict[str, Tensor] = {}
    for step in range(1, 6):
        run.update(batch)
        decay = step / (step + 20) if expected else 0.0  # of 5 steps nobody remembers more
        for name, value in run.net.state_dict().items():
            expected[name] = decay * expected.get(name, value) + (1 - decay) * value
    for name, value in run.averaged.module.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_with(window: Window, prepared: Path) -> None:
    before = Run(window, layer_losses, config=SMALL)
    average = {name: value + 0.25 for name, value in before.net.state_dict().items()}
    state = {
        "net": before.net.state_dict(),
        "average": average,
        "optimiser": before.optimiser.state_dict(),
        "step": 20_000,
        "spent_s": 30.0,
    }
    torch.save(state, before.checkpoint)
    run = Run(window, layer_losses, config=SMALL)
    assert all(torch.equal(value, average[name]) for name, value in run.averaged.module.state_dict().items())
    run.update(next(crops(prepared).batches(1)))
    for name, value in run.net.state_dict().items():
        wanted = 0.998 * average[name] + 0.002 * value
        assert torch.allclose(run.averaged.module.state_dict()[name], wanted, atol=1e-5)


def test_what_was_trained_can_be_loaded_and_has_the_size_of_a_shipped_file(window: Window) -> None:
    Run(window, layer_losses).save()
    StyleNet(window.out, None, "cpu", "fp32")
    assert window.out.stat().st_size < 10_000_000
    assert sum(p.numel() for p in CartoonNet().parameters()) < 5_000_000


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(p, 1.0) for p in (0.0, 0.015, 0.03, 0.5, 1.0)]
    assert rates[0] == 0
    assert rates[2] == pytest.approx(1.0)
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] > 0


def test_nobody_is_both_trained_on_and_held_out() -> None:
    names = [f"p{i}" for i in range(50)]
    people = {"p0": "ada", "p1": "ada"}  # two photos of one person stay together
    train, held = split(names, people, 10, seed=1)
    assert len({people.get(name, name) for name in held}) == 10
    assert sorted(train + held) == sorted(names)
    assert ("p0" in held) == ("p1" in held)
    assert split(names, people, 10, seed=1) == (train, held)


def test_released_cards_name_their_painter() -> None:
    cards = cards_of("some.safetensors", "0" * 64)
    assert [(card.file, card.sha256) for card in cards] == [("some.safetensors", "0" * 64)] * len(cards)
    assert [replace(card, file=old.file, sha256=old.sha256) for card, old in zip(cards, available(), strict=True)] == [
        *available()
    ]
    known = {card.id: card for card in cards}
    assert [known[style].painter for style in STYLES] == list(STYLES)
    assert [known[style].exaggeration for style in STYLES] == [1.35, 0.8, 0.8, 0.7]
    assert len({card.title for card in cards}) == len(cards)


def test_sharp_attention_has_finite_gradients_and_attends_alike() -> None:
    torch.manual_seed(2)
    attention = PooledAttention(64, pooled=16)
    with torch.no_grad():
        for layer in (attention.query, attention.key_value, attention.out):
            layer.weight.normal_(0, 3)
    x = torch.randn(2, 64, 16, 16, requires_grad=True)
    attended = attention(x)
    attended.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in attention.parameters() if p.grad is not None)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    with torch.no_grad():  # another kernel, the same attention
        assert (attention(x) - attended).abs().max() < 1e-3 * attended.abs().max()


def test_training_that_has_come_to_nothing_says_so(window: Window, prepared: Path) -> None:
    def hopeless(colours: Tensor, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"nothing": (colours.sum() + logits.sum()) * float("nan")}

    run = Run(replace(window, time_limit_s=600.0), hopeless, config=SMALL)
    with pytest.raises(StyleError, match="--rate"):
        run.train(crops(prepared).batches(1))
