"""Painters, features, finishes and strength, on a synthetic person made of flat areas."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cartoon.drawing import bands
from cartoon.drawing.compose import enlarge
from cartoon.drawing.painters import paint
from cartoon.drawing.render import Asked, render
from cartoon.drawing.textures import seed_of
from cartoon.drawing.tones import measure
from cartoon.images.resize import drawing_share
from cartoon.models import layers
from cartoon.models.layers import ALPHA, HAIR, LINE, SKIN
from cartoon.styles.card import PLAIN
from cartoon.styles.catalogue import available, shipped
from tests.drawing.test_compose import template

STYLES = tuple(card.id for card in available())
SIDE = 240


def asked(style: str, strength: float = 1.0, background: str = "drawn", seed: int = 0, textured: bool = True) -> Asked:
    """What is asked in a shipped style, or of a style whose layers are a drawing."""
    card = shipped(style)
    painter, texture = (card.painter, card.texture) if card else (style, PLAIN)
    return Asked(painter, texture if textured else PLAIN, strength, background, seed)


def person() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """A stack, its photo and landmarks: an oval of shaded skin, dark hair above, a blue backdrop."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    face = template((SIDE / 2, 130), 110)
    oval = np.hypot((x - SIDE / 2) / 60, (y - 130) / 80) < 1
    head = np.hypot((x - SIDE / 2) / 75, (y - 115) / 95) < 1
    body = (y > 200) & (abs(x - SIDE / 2) < 100)
    stack = np.zeros((len(layers.PLANES), SIDE, SIDE), np.float32)
    shade = 0.75 + 0.2 * (x - SIDE / 2) / 60
    for c, (skin, hair, cloth, behind) in enumerate(
        zip((0.9, 0.7, 0.6), (0.2, 0.15, 0.1), (0.5, 0.1, 0.1), (0.2, 0.3, 0.6), strict=True)
    ):
        strands = hair + 0.05 * np.sin(x / 3)
        stack[c] = np.where(oval, skin * shade, np.where(head, strands, cloth))
        stack[3 + c] = behind
    stack[ALPHA] = head | body
    stack[SKIN] = oval
    stack[HAIR] = head & ~oval
    stack[LINE, 30:34, 20:200] = 1
    stack = np.clip(stack, 0, 1)
    alpha = stack[ALPHA]
    photo = np.moveaxis(stack[3:6] + alpha * (stack[:3] - stack[3:6]), 0, 2)
    return stack, (photo * 255).astype(np.uint8), face


@pytest.mark.parametrize("painter", [*STYLES, "painted"])
def test_every_painter_draws_the_same_picture_twice(painter: str) -> None:
    stack, photo, face = person()
    first, _ = render(stack, photo, [face], asked(painter))
    again, _ = render(stack.copy(), photo.copy(), [face], asked(painter))
    assert np.array_equal(first, again)
    assert first.shape == photo.shape
    assert np.isfinite(first).all()
    assert first.min() >= -1e-4
    assert first.max() <= 1 + 1e-4


@pytest.mark.parametrize("painter", STYLES)
def test_nothing_is_changed_in_place(painter: str) -> None:
    stack, photo, face = person()
    given = stack.copy(), photo.copy(), face.copy()
    render(stack, photo, [face], asked(painter, 0.6, "#FF0000"))
    now = stack, photo, face
    for place in range(3):
        assert np.array_equal(given[place], now[place])


def test_skin_becomes_a_few_flat_tones() -> None:
    stack, photo, face = person()
    tones = measure(stack, photo, face)
    assert tones is not None
    painted = paint(torch.from_numpy(stack)[None], [tones], "comic").person[0, 0].numpy()
    row, before = painted[90, 85:155], stack[0, 90, 85:155]
    flat = np.abs(np.diff(row)) < 0.25 * np.abs(np.diff(before)).mean()
    assert flat.mean() > 0.6, "still a ramp"
    assert np.ptp(row) > 0.08, "no tones at all"


def test_a_face_without_skin_is_not_measured_and_still_drawn() -> None:
    stack, photo, face = person()
    stack[SKIN] = 0
    assert measure(stack, photo, face) is None
    picture, _ = render(stack, photo, [face], asked("anime"))
    assert np.isfinite(picture).all()


@pytest.mark.parametrize("painter", STYLES)
def test_without_a_face_all_is_drawn(painter: str) -> None:
    stack, photo, _ = person()
    picture, _ = render(stack, photo, [], asked(painter))
    assert np.abs(picture - photo.astype(np.float32) / 255).mean() > 0.005


@pytest.mark.parametrize("painter", STYLES)
def test_distance_to_the_photo_rises_with_strength(painter: str) -> None:
    stack, photo, face = person()
    before = photo.astype(np.float32) / 255
    distances = [
        float(np.abs(render(stack, photo, [face], asked(painter, s / 10))[0] - before).mean()) for s in range(1, 11)
    ]
    assert all(a < b for a, b in itertools.pairwise(distances)), distances
    assert distances[6] >= 0.85 * distances[9]
    assert distances[0] <= 4 / 255


def test_drawing_share_rises_from_almost_nothing_to_all() -> None:
    shares = [drawing_share(s / 100) for s in range(10, 101)]
    assert all(a < b for a, b in itertools.pairwise(shares))
    assert shares[0] < 0.02
    assert shares[60] > 0.9
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize("painter", STYLES)
def test_backgrounds_differ_only_behind_the_person(painter: str) -> None:
    stack, photo, face = person()
    cut, alpha = render(stack, photo, [face], asked(painter, background="transparent"))
    green, none = render(stack, photo, [face], asked(painter, background="#00FF00"))
    own, _ = render(stack, photo, [face], asked(painter, background="photo"))
    assert none is None
    assert alpha is not None
    assert alpha[130, 120] > 0.99
    assert alpha[100, 10] < 0.01
    assert np.allclose(green[100, 10], [0, 1, 0], atol=1e-3)
    assert np.allclose(own[100, 10], photo[100, 10] / 255, atol=1e-3)
    assert np.allclose(green[130, 120], cut[130, 120], atol=1e-3)


def test_a_finish_belongs_to_its_picture() -> None:
    stack, photo, face = person()
    other = np.clip(photo.astype(int) + 3, 0, 255).astype(np.uint8)
    assert seed_of(photo) != seed_of(other)
    for painter in ("watercolor", "sketch"):
        plain, _ = render(stack, photo, [face], asked(painter, textured=False))
        finished, _ = render(stack, photo, [face], asked(painter, seed=seed_of(photo)))
        varied, _ = render(stack, photo, [face], asked(painter, seed=seed_of(other)))
        assert np.abs(finished - plain).mean() > 0.01
        assert np.abs(finished - varied).mean() > 0.003


def test_a_finish_stays_the_same_at_another_size() -> None:
    stack, photo, face = person()
    for painter in ("watercolor", "sketch"):
        small, _ = render(stack, photo, [face], asked(painter, seed=5))
        wide_stack = np.pad(stack, ((0, 0), (0, 0), (0, 3)), mode="edge")
        wide_photo = np.pad(photo, ((0, 0), (0, 3), (0, 0)), mode="edge")
        wider, _ = render(wide_stack, wide_photo, [face], asked(painter, seed=5))
        other, _ = render(stack, photo, [face], asked(painter, seed=6))
        inside = np.s_[40:200, 40:200]
        near, far = (np.abs(small[inside] - x[inside]).mean() for x in (wider, other))
        assert near < 0.5 * far, painter


def test_features_are_drawn_at_the_eyes() -> None:
    stack, photo, face = person()
    picture, _ = render(stack, photo, [face], asked("anime", textured=False))
    for centre in (468, 473):
        x, y = (int(v) for v in face[centre])
        eye = picture[y - 8 : y + 9, x - 12 : x + 13].mean(2)
        assert eye.min() < 0.2, "no pupil"
        assert eye.max() > 0.85, "no highlight, no white"


def test_two_faces_keep_their_own_tones() -> None:
    stack, photo, face = person()
    dark = stack.copy()
    dark[:3] *= np.where(dark[SKIN] > 0, 0.5, 1)
    both = np.concatenate([stack, dark], 2)
    pair = np.concatenate([photo, photo // 2], 1)
    moved = face + np.array([SIDE, 0], np.float32)
    picture, _ = render(both, pair, [face, moved], asked("anime", textured=False))
    light, shade = (picture[150, x].mean() for x in (SIDE // 2 - 30, SIDE + SIDE // 2 - 30))
    alone, _ = render(dark, photo // 2, [face], asked("anime", textured=False))
    assert light > shade + 0.15
    assert abs(alone[150, SIDE // 2 - 30].mean() - shade) < 0.03


@pytest.mark.parametrize("width", [5, 14, 30, 700])
def test_tiny_and_huge_faces_are_drawn(width: float) -> None:
    stack, photo, _ = person()
    picture, _ = render(stack, photo, [template((120, 130), width)], asked("anime"))
    assert np.isfinite(picture).all()


def test_opponent_colours_go_there_and_back() -> None:
    rgb = torch.rand(2, 3, 5, 7)
    y, chroma = layers.opponent(rgb)
    assert torch.allclose(y + chroma, rgb, atol=1e-5)
    assert torch.allclose(layers.to_rgb(y, chroma[:, :1], chroma[:, 2:]), rgb, atol=1e-5)


def test_toned_multiplies_luma_and_chroma() -> None:
    rgb = torch.rand(2, 3, 5, 7)
    y, chroma = layers.opponent(rgb)
    wanted = layers.to_rgb(0.3 * y + 0.1, 0.75 * chroma[:, :1] + 0.02, 0.7 * chroma[:, 2:])
    assert torch.allclose(layers.toned(rgb, 0.3, 0.75, 0.7, (0.1, 0.02)), wanted, atol=1e-5)


def test_what_is_reduced_comes_back_in_its_size() -> None:
    ramp = torch.arange(90, dtype=torch.float32).view(1, 1, 1, 90).expand(1, 2, 70, 90)
    back = layers.enlarged(layers.reduced(ramp, 4), 4, (70, 90))
    assert back.shape == ramp.shape
    assert torch.allclose(back[..., 4:-6], ramp[..., 4:-6], atol=1e-3)


@pytest.mark.parametrize("sigma", [0.8, 2.0, 7.0, 40.0])
def test_blur_keeps_the_mean_and_is_the_same_with_and_without_gradients(sigma: float) -> None:
    x = torch.rand(1, 2, 96, 80, generator=torch.Generator().manual_seed(1))
    plain = layers.blur(x, sigma)
    tracked = layers.blur(x.clone().requires_grad_(), sigma).detach()
    assert torch.allclose(plain, tracked, atol=2e-3)
    assert abs(float(plain.mean() - x.mean())) < 0.02
    assert float(plain.std()) < float(x.std())


@pytest.mark.parametrize("painter", [*STYLES, "painted"])
def test_bands_of_a_picture_cannot_be_told_from_the_whole(painter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, photo, face = person()
    large = (3 * SIDE, 3 * SIDE)
    stack, photo, face = enlarge(stack, large), np.asarray(cv2.resize(photo, large), np.uint8), face * np.float32(3)
    whole, _ = render(stack.copy(), photo, [face], asked(painter))
    monkeypatch.setattr(bands, "BAND", 1)
    monkeypatch.setattr(bands, "ROWS", 96)
    banded, _ = render(stack.copy(), photo, [face], asked(painter))
    assert np.abs(whole - banded).max() < 3 / 255
    assert np.abs(whole - banded).mean() < 0.05 / 255
