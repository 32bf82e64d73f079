"""The slow teacher: filters along the flow, regions, contours; on pictures whose answer is known."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cartoon.models.layers import ALPHA, HAIR, LINE, PLANES, SKIN
from tests.drawing.test_compose import template
from training import flow
from training.people import people_of, split
from training.regions import segment
from training.teacher import analyse

SIDE = 220


def stripes(side: int = 96) -> NDArray[np.float32]:
    """Slanted stripes of L* 40 and 60 with noise, (H, W, 3) CIELAB."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    light = np.where(np.sin((x + y) / 6) > 0, 60, 40) + np.random.default_rng(0).normal(0, 3, (side, side))
    return np.dstack([light, 0 * light, 0 * light]).astype(np.float32)


def portrait() -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Skin-coloured oval, dark textured hair around its top, a white collar, a blue suit and a green wall."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    face = template((SIDE / 2, 100), 90)
    oval = np.hypot((x - SIDE / 2) / 45, (y - 100) / 61) < 1
    head = (np.hypot((x - SIDE / 2) / 58, (y - 85) / 66) < 1) & (y < 120)
    neck = (abs(x - SIDE / 2) < 25) & (y > 140)
    body = (abs(x - SIDE / 2) < 40 + (y - 165)) & (y > 165)
    picture = np.full((SIDE, SIDE, 3), (60, 130, 80), np.float32)
    for where, colour in (
        (body, (30, 40, 90)),
        (neck & (y > 168), (245, 245, 245)),
        (neck & (y <= 168), (200, 145, 120)),
        (head, (50, 35, 30)),
        (oval, (215, 160, 135)),
    ):
        picture[where] = colour
    picture[head & ~oval] += rng.normal(0, 12, (SIDE, SIDE, 1))[head & ~oval]
    person = (oval | head | neck | body).astype(np.float32)
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8), person, face


def test_flow_runs_along_the_stripes() -> None:
    direction = flow.tangents(stripes())
    middle = direction[30:-30, 30:-30]
    assert np.allclose(np.linalg.norm(middle, axis=2), 1, atol=1e-3)
    along = np.abs(middle @ np.array([1, -1], np.float32) / np.sqrt(2))
    assert along.mean() > 0.9


def test_flattening_removes_noise_and_keeps_edges() -> None:
    noisy = stripes()
    flat = flow.flatten(noisy, np.full(noisy.shape[:2], 9, np.float32), rounds=2, across=2, along=4)
    y, x = np.mgrid[:96, :96].astype(np.float32)
    inner = np.abs(np.sin((x + y) / 6)) > 0.7
    light = np.sin((x + y) / 6) > 0
    for side in (light & inner, ~light & inner):
        assert flat[..., 0][side].std() < 0.5 * noisy[..., 0][side].std()
    assert flat[..., 0][light & inner].mean() - flat[..., 0][~light & inner].mean() > 17


def test_lines_are_found_where_a_dark_line_is() -> None:
    light = np.full((80, 80), 70, np.float32)
    light[:, 39:42] = 30
    found = flow.lines(light, flow.tangents(light), 1.25, 6.0)
    assert found[40, 40] > 4
    assert abs(found[40, 10]) < 0.2


@pytest.mark.parametrize(
    "call", [lambda x: flow.paint_strands(x), lambda x: flow.flatten(x, np.full(x.shape[:2], 8, np.float32), 1, 2, 4)]
)
def test_filters_are_deterministic_and_leave_their_input_alone(call: Callable[[flow.Array], flow.Array]) -> None:
    given = stripes()
    before = given.copy()
    assert np.array_equal(call(given), call(given))
    assert np.array_equal(given, before)


def test_regions_are_told_apart() -> None:
    pixels, person, face = portrait()
    lab = np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)
    found = segment(lab, person, face)
    assert found.skin[110, SIDE // 2 - 25] > 0.8
    assert found.hair[30, SIDE // 2] > 0.8
    assert found.clothes[210, SIDE // 2 - 50] > 0.8
    assert np.allclose(found.skin + found.hair + found.clothes, person, atol=0.05)


def test_a_bald_head_is_skin() -> None:
    pixels, person, face = portrait()
    bald = pixels.copy()
    dark = (pixels.astype(int).sum(2) < 260) & (np.mgrid[:SIDE, :SIDE][0] < 125)
    bald[dark] = (212, 158, 133)
    lab = np.asarray(cv2.cvtColor(bald.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)
    assert segment(lab, person, face).skin[30, SIDE // 2] > 0.6


def test_a_photo_is_taken_apart() -> None:
    pixels, person, face = portrait()
    stack = analyse(pixels, person, face)
    assert stack.shape == (len(PLANES), SIDE, SIDE)
    assert stack.min() >= 0
    assert stack.max() <= 1
    assert np.array_equal(stack, analyse(pixels, person, face))
    at = (110, SIDE // 2 - 25)
    assert np.allclose(stack[:3, at[0], at[1]] * 255, pixels[at], atol=12)
    # The wall goes on behind the person, the person's colours beyond its border.
    assert np.allclose(stack[3:6, 110, SIDE // 2] * 255, (60, 130, 80), atol=25)
    assert stack[ALPHA, 110, 10] == 0
    assert stack[SKIN, at[0], at[1]] > 0.8
    assert stack[HAIR, 30, SIDE // 2] > 0.8
    assert stack[LINE].max() > 0.3


def test_nobody_is_on_both_sides_of_the_split(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("file,person\n" + "".join(f"{i // 3}/{i}.jpg,p{i // 2}\n" for i in range(40)), encoding="utf-8")
    people = people_of(table)
    names = [str(i) for i in range(40)] + ["stranger"]
    learn, held = split(names, people, 5, seed=1)
    assert sorted(learn + held) == sorted(names)
    assert not {people.get(n, n) for n in learn} & {people.get(n, n) for n in held}
    assert len({people.get(n, n) for n in held}) == 5
    assert split(names, people, 5, seed=1) == (learn, held)
    assert people_of(None) == {}
