"""The workshop, on two made-up pairs: crops, one short run, its resumption, and what it exports."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cartoon.portrait.guide import CHANNELS
from cartoon.styles.network import StyleNet
from cartoon.styles.unet import CartoonNet, Layers
from tests.test_portrait import noise, template
from training.dataset import Crops, drawing_share, line_layer
from training.distil import Plan, Run, learning_rate, losses, split

STYLES = ("anime", "comic")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of 300 x 280 px, and their faces.npz."""
    folder = tmp_path_factory.mktemp("pairs")
    known = {}
    for seed, name in enumerate(("ada", "bob")):
        photo = noise(300, 280, seed)
        cv2.imwrite(str(folder / f"{name}.photo.jpg"), photo)
        for style in STYLES:
            drawing = 255 - photo if style == "comic" else photo // 64 * 64
            cv2.imwrite(str(folder / f"{name}.{style}.jpg"), drawing)
        known[f"{name}.landmarks"] = template((140, 150), 120)
        known[f"{name}.person"] = np.full((300, 280), 255, np.uint8)
    np.savez(folder / "faces.npz", **known)
    return folder


@pytest.fixture
def plan(pairs: Path, tmp_path: Path) -> Plan:
    return Plan(
        pairs, pairs / "faces.npz", tmp_path / "out.safetensors", tmp_path, STYLES, 60.0, 2, 1, 1e-3, 1, "cpu", 0
    )


def crops(pairs: Path, seed: int = 3) -> Crops:
    return Crops(pairs, pairs / "faces.npz", ["ada", "bob"], STYLES, 1, seed, side=128)


def test_crops_are_in_range_and_repeat_with_their_seed(pairs: Path) -> None:
    first, again, other = (next(crops(pairs, seed).batches(4)) for seed in (3, 3, 4))
    assert first.photo.shape == first.target.shape == (4, 3, 128, 128)
    assert first.guide.shape == (4, len(CHANNELS), 128, 128)
    for planes in (first.photo, first.guide, first.target, first.line):
        assert 0 <= planes.min().item() <= planes.max().item() <= 1
    assert torch.equal(first.photo, again.photo)
    assert not torch.equal(first.photo, other.photo)


def test_the_target_at_full_strength_is_the_drawing() -> None:
    shares = drawing_share(np.array([0.1, 0.5, 0.7, 1.0], np.float32))
    assert list(shares) == sorted(shares)
    assert shares[-1] == 1
    assert shares[2] > 0.9


def test_the_line_layer_holds_thin_dark_lines_only() -> None:
    drawing = np.full((100, 100, 3), 200, np.uint8)
    drawing[:, 50:52] = 10
    drawing[:, 70:] = 10
    line = line_layer(drawing, 100.0)
    assert line[50, 50] == 255
    assert line[50, 20] == 0
    assert line[50, 90] == 0


def test_a_perfect_drawing_costs_next_to_nothing(pairs: Path) -> None:
    batch = next(crops(pairs).batches(2))
    nothing = torch.zeros_like(batch.line)
    perfect = losses(Layers(batch.target, batch.target, batch.guide[:, :1], nothing), batch)
    worse = losses(Layers(1 - batch.target, batch.target, batch.guide[:, :1], nothing), batch)
    assert perfect["colour"].item() < 1e-6
    assert perfect["edges"].item() < 1e-6
    assert worse["colour"].item() > 0.05


def test_training_lowers_the_loss_and_resumes_where_it_stopped(plan: Plan, pairs: Path) -> None:
    run = Run(plan)
    batch = next(crops(pairs).batches(2))
    run.spent_s = 30.0  # past the warm-up
    first = sum(v.item() for v in run._update(batch).values())
    for _ in range(12):
        last = sum(v.item() for v in run._update(batch).values())
    assert last < 0.9 * first
    run.save()

    resumed = Run(plan)
    assert (resumed.step, resumed.spent_s) == (13, 30.0)
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name])


def test_what_was_trained_can_be_loaded_and_drawn_with(plan: Plan) -> None:
    run = Run(plan)
    run.save()
    net = StyleNet(plan.out, None, "cpu", "fp32")
    assert net.styles == STYLES
    assert plan.out.stat().st_size < 10_000_000
    assert sum(p.numel() for p in CartoonNet().parameters()) < 5_000_000


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(p, 1.0) for p in (0.0, 0.015, 0.03, 0.5, 1.0)]
    assert rates[0] == 0
    assert rates[2] == pytest.approx(1.0)
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] > 0


def test_nobody_is_both_trained_on_and_held_out() -> None:
    names = [f"p{i}" for i in range(50)]
    train, held = split(names, 10, seed=1)
    assert len(held) == 10
    assert sorted(train + held) == sorted(names)
    assert split(names, 10, seed=1) == (train, held)


def test_the_released_card_matches_the_plan() -> None:
    rows = json.loads((Path(__file__).parents[1] / "assets" / "styles.json").read_text())
    assert {row["id"] for row in rows} == set(STYLES)
