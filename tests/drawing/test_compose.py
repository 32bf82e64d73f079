"""Guide, warp, crop and composition: the pure parts of the pipeline, on faces made from a template of points."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cartoon.drawing import compose
from cartoon.faces.guide import CHANNELS, EYES, OVAL, draw_guide, face_width, smoothstep, spline
from cartoon.faces.warp import CROP_SIDES, align, warp
from cartoon.models.layers import ALPHA

GREY = 128


def template(centre: tuple[float, float], width: float, roll: float = 0.0) -> NDArray[np.float32]:
    """A schematic face: 478 points on an oval, with eyes, brows, lips and nose where they belong."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.3, 0.3, (478, 2))
    turn = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points[OVAL] = np.stack([0.5 * np.sin(turn), -0.68 * np.cos(turn)], 1)
    points[[234, 454]] = [[-0.5, 0], [0.5, 0]]
    for side, (upper, lower, crease, rim, middle, brow_upper, brow_lower) in zip((-1, 1), EYES, strict=True):
        x = side * np.linspace(0.32, 0.1, len(upper))
        bow = np.sin(np.linspace(0, np.pi, len(upper)))
        points[upper] = np.stack([x, -0.12 - 0.04 * bow], 1)
        points[lower] = np.stack([x, -0.12 + 0.03 * bow], 1)
        points[crease] = points[upper[2:7]] - [0, 0.04]
        points[middle] = [side * 0.21, -0.125]
        points[rim] = points[middle] + 0.045 * np.array([[1, 0], [0, -1], [-1, 0], [0, 1]])
        points[brow_upper] = np.stack([side * np.linspace(0.36, 0.08, 5), np.full(5, -0.27)], 1)
        points[brow_lower] = np.stack([side * np.linspace(0.36, 0.08, 5), np.full(5, -0.23)], 1)
    angle = np.deg2rad(roll)
    turned = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(turned * width + np.array(centre), np.float32)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(
        60, 200, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_guide_shows_each_feature_where_it_lies() -> None:
    face = template((150, 160), 120)
    guide = draw_guide(np.ones((320, 300), np.float32), [face])
    assert guide.shape == (len(CHANNELS), 320, 300)
    at = {name: guide[i] for i, name in enumerate(CHANNELS)}
    assert at["near"][160, 150] > 245
    assert at["near"][10, 10] < 64
    assert at["down"][40, 150] < GREY < at["down"][280, 150]
    for *_, middle, _brow_upper, _brow_lower in EYES:
        x, y = (int(v) for v in face[middle])
        assert at["eyes"][y, x] == 255
    for name in ("brows", "lips"):
        assert at[name].any(), name


def test_guide_turns_with_the_face() -> None:
    on_its_side = draw_guide(np.ones((300, 300), np.float32), [template((150, 150), 100, roll=90)])
    down = on_its_side[CHANNELS.index("down")].astype(int)
    assert abs(down[150, 60] - down[150, 240]) > 60
    assert abs(down[60, 150] - down[240, 150]) < 10


def test_guide_without_a_face_has_the_person_only() -> None:
    guide = draw_guide(np.full((64, 80), 0.5, np.float32), [])
    assert (guide[0] == GREY).all()
    assert (guide[CHANNELS.index("down")] == GREY).all()
    assert not np.delete(guide, [0, CHANNELS.index("down")], 0).any()


@pytest.mark.parametrize("centre", [(-40, 30), (10, 10), (310, 150), (1000, 1000)])
def test_guide_of_a_face_at_or_over_the_border_is_cut(centre: tuple[float, float]) -> None:
    draw_guide(np.ones((200, 300), np.float32), [template(centre, 100)])


@pytest.mark.parametrize("width", [3, 8, 20, 900])
def test_guide_of_tiny_and_huge_faces_is_drawn(width: float) -> None:
    guide = draw_guide(np.ones((300, 300), np.float32), [template((150, 150), width)])
    assert guide[CHANNELS.index("near")].any()


def test_spline_passes_through_its_points() -> None:
    points = np.array([[0, 0], [10, 5], [20, 0], [30, 8]], np.float32)
    curve = spline(points, 8)
    assert np.allclose(curve[::8], points, atol=1e-4)


def test_smoothstep_is_flat_outside_its_range() -> None:
    assert smoothstep(np.array([-1, 0, 0.5, 1, 2], np.float32), 0, 1).tolist() == [0, 0, 0.5, 1, 1]


def test_warp_of_nothing_changes_nothing() -> None:
    pixels, person, face = noise(200, 200), np.ones((200, 200), np.float32), template((100, 100), 80)
    after, _, points = warp(pixels, person, face, 0.0)
    assert np.array_equal(after, pixels)
    assert np.array_equal(points, face)


def test_warp_enlarges_eyes_and_leaves_the_rest_alone() -> None:
    pixels, person, face = noise(400, 400), np.ones((400, 400), np.float32), template((200, 200), 120)
    before = pixels.copy()
    after, _, points = warp(pixels, person, face, 1.0)
    upper = EYES[0][0]
    eye = np.linalg.norm(face[upper[0]] - face[upper[-1]])
    grown = np.linalg.norm(points[upper[0]] - points[upper[-1]])
    assert 1.05 < grown / eye < 1.3
    assert np.linalg.norm(points[454] - points[234]) <= face_width(face) + 0.5
    assert np.array_equal(pixels, before), "the argument was changed"
    assert np.array_equal(after[:20], pixels[:20])
    assert np.array_equal(after[:, :20], pixels[:, :20])


def test_warp_carries_the_landmarks_with_the_pixels() -> None:
    face = template((200, 200), 160)
    upper = EYES[0][0]
    pixels = np.zeros((400, 400, 3), np.uint8)
    corner = face[upper[0]]
    cv2.circle(pixels, tuple(int(v) for v in np.round(corner)), 3, (255, 255, 255), -1)
    after, _, points = warp(pixels, np.ones((400, 400), np.float32), face, 1.0)
    y, x = (float(v.mean()) for v in np.nonzero(after[..., 0] > 128))
    assert np.hypot(*(points[upper[0]] - [x, y])) < 2


@pytest.mark.parametrize(("width", "roll"), [(12, 0), (60, 20), (150, -35), (500, 90)])
def test_crop_is_upright_and_of_a_known_size(width: float, roll: float) -> None:
    picture = noise(700, 700)
    crop = align(picture, np.ones((700, 700), np.float32), template((350, 350), width, roll))
    side = crop.pixels.shape[0]
    assert crop.pixels.shape == (side, side, 3)
    assert side in CROP_SIDES
    across = crop.landmarks[454] - crop.landmarks[234]
    assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 1
    assert np.allclose(crop.landmarks[OVAL].mean(0), side / 2, atol=1)


@pytest.mark.parametrize(("width", "roll"), [(40, 0), (150, 15), (240, -20)])
def test_paste_returns_a_crop_to_where_it_came_from(width: float, roll: float) -> None:
    picture, face = noise(500, 500), template((250, 250), width, roll)
    crop = align(picture, np.ones((500, 500), np.float32), face)
    drawn = np.zeros((11, *crop.pixels.shape[:2]), np.float32)
    drawn[:3] = crop.pixels.transpose(2, 0, 1) / 255
    drawn[ALPHA] = 1  # all of it a person: what is behind one is left alone
    stack = np.zeros((11, 500, 500), np.float32)
    compose.paste(stack, drawn, crop.matrix, face)
    inside = cv2.fillPoly(np.zeros((500, 500), np.uint8), [face[OVAL].astype(np.int32)], 1).astype(bool)
    error = np.abs(stack[:3].transpose(1, 2, 0)[inside] * 255 - picture[inside])
    assert error.mean() < 3
    assert not stack[:, :20].any(), "pasted outside the face's region"


def layered(height: int = 60, width: int = 60) -> NDArray[np.float32]:
    """Red person in the middle third of a blue background, with a line down its border."""
    stack = np.zeros((11, height, width), np.float32)
    stack[0], stack[5] = 0.8, 0.6
    stack[6, :, width // 3 : 2 * width // 3] = 1
    stack[7, :, width // 3] = 1
    return stack


def test_a_green_face_gets_its_hue_back() -> None:
    face = template((150, 150), 120)
    photo = np.full((300, 300, 3), (200, 150, 130), np.uint8)
    drawn = np.full((300, 300, 3), (0.6, 0.75, 0.5), np.float32)
    fixed = drawn.copy()
    compose.correct_skin(fixed, photo, [face])
    x, y = (int(v) for v in face[compose.CHEEKS[0]])

    def hue(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.cvtColor(picture[y : y + 1, x : x + 1], cv2.COLOR_RGB2Lab)[0, 0, 1:], np.float32)

    wanted = hue(photo.astype(np.float32) / np.float32(255))
    assert np.linalg.norm(hue(drawn) - wanted) > 20
    assert np.linalg.norm(hue(fixed) - wanted) <= 10


def test_true_colours_are_left_alone() -> None:
    photo = noise(120, 120)
    picture = photo.astype(np.float32) / np.float32(255)
    kept = picture.copy()
    compose.correct_skin(picture, photo, [template((60, 60), 50)])
    compose.correct_cast(picture, photo)
    assert np.array_equal(picture, kept)


def test_a_cast_over_the_whole_picture_is_taken_back() -> None:
    photo = noise(120, 120)
    gains = np.array([1.25, 0.8, 1.0], np.float32)
    cast = np.asarray(np.clip(photo.astype(np.float32) / np.float32(255) * gains, 0, 1), np.float32)
    fixed = cast.copy()
    compose.correct_cast(fixed, photo)

    def mean(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)[..., 1:].mean((0, 1)), np.float32)

    true = mean(photo.astype(np.float32) / np.float32(255))
    assert np.linalg.norm(mean(cast) - true) > 10
    assert np.linalg.norm(mean(fixed) - true) < compose.CAST_SHIFT + 1.5


def test_enlarged_layers_keep_their_place_and_their_edges() -> None:
    stack = layered(60, 60)
    large = compose.enlarge(stack, (180, 180))
    assert large.shape == (11, 180, 180)
    assert large.min() >= 0
    assert large.max() <= 1
    assert np.allclose(large[:6, 90, 90], stack[:6, 30, 30], atol=1e-3)
    rise = large[6, 90, 40:80]
    assert ((rise > 0.05) & (rise < 0.95)).sum() <= 4, "the outline went soft"
