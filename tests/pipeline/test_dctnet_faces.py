"""Faces for DCT-Net's second network: cut out on five points, put back where they were; mixing without ghosts."""

import cv2
import numpy as np
import pytest

from cartoon.drawing.morph import carried, flow_between
from cartoon.faces.detector import MediaPipeDetector
from cartoon.images.decode import read
from cartoon.images.types import Pixels
from cartoon.models.layers import FOREGROUND, PLANES
from cartoon.pipeline.dctnet_faces import FIVE, RATIO, REFERENCE, SIDE, align, paste, similarity
from tests import ROOT

EXAMPLE = ROOT / "assets" / "examples" / "021902.jpg"


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return read(EXAMPLE).pixels


def test_a_similarity_is_found_again() -> None:
    angle, scale, shift = 0.4, 1.7, np.array([12.0, -3.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.random.default_rng(1).uniform(0, 100, (5, 2)).astype(np.float32)
    found = similarity(points, (points @ turn.T + shift).astype(np.float32))
    assert np.allclose(found, np.column_stack([turn, shift]), atol=1e-3)


def test_a_head_has_its_five_points_where_the_network_expects_them(photo: Pixels) -> None:
    (face,) = MediaPipeDetector().detect(photo)
    rolled = cv2.getRotationMatrix2D((photo.shape[1] / 2, photo.shape[0] / 2), 25, 1.0)
    turned = np.asarray(cv2.warpAffine(photo, rolled, photo.shape[1::-1]), np.uint8)
    points = (face.landmarks @ rolled[:, :2].T + rolled[:, 2]).astype(np.float32)
    crop = align(turned, points)
    assert crop.pixels.shape == (SIDE, SIDE, 3)
    there = points[list(FIVE)] @ crop.matrix[:, :2].T + crop.matrix[:, 2]
    wanted = ((REFERENCE - 56) * RATIO + 56) * SIDE / 112
    assert np.abs(there - wanted).max() < 0.08 * SIDE  # people differ; the fit is the best there is
    assert abs(there[0, 1] - there[1, 1]) < 0.03 * SIDE  # the eyes are level again


def test_a_head_put_back_lies_where_it_was(photo: Pixels) -> None:
    (face,) = MediaPipeDetector().detect(photo)
    crop = align(photo, face.landmarks)
    stack = np.zeros((len(PLANES), *photo.shape[:2]), np.float32)
    drawn = np.zeros((len(PLANES), SIDE, SIDE), np.float32)
    drawn[FOREGROUND] = crop.pixels.transpose(2, 0, 1) / np.float32(255)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[40:-40, 40:-40] = 1
    paste(stack, drawn, crop.matrix, np.asarray(cv2.GaussianBlur(mask, (0, 0), 6), np.float32))
    x, y = face.landmarks[list(FIVE)].mean(0).astype(int)
    near = np.s_[y - 25 : y + 25, x - 25 : x + 25]
    back = stack[FOREGROUND].transpose(1, 2, 0)[near] * 255
    assert np.abs(back - photo[near]).mean() < 4  # twice resampled
    assert not stack[:, :5, :5].any()  # far away nothing was touched
    whole = stack.copy()
    paste(stack, drawn, crop.matrix, mask * 0)
    assert (stack == whole).all()


def test_a_head_at_the_edge_of_a_picture_is_put_back_without_a_word(photo: Pixels) -> None:
    (face,) = MediaPipeDetector().detect(photo)
    x0 = int(face.landmarks[:, 0].mean())
    half = np.ascontiguousarray(photo[:, x0:])
    crop = align(half, face.landmarks - np.array([x0, 0], np.float32))
    stack = np.zeros((len(PLANES), *half.shape[:2]), np.float32)
    paste(stack, np.ones((len(PLANES), SIDE, SIDE), np.float32), crop.matrix, np.ones((SIDE, SIDE), np.float32))
    assert 0.9 < stack[0].max() <= 1.0 + 1e-6


def test_photo_and_drawing_meet_half_way(photo: Pixels) -> None:
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    centre, width = (photo.shape[1] / 2, photo.shape[0] / 2), 0.2 * photo.shape[1]
    bump = 6 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    drawing = np.asarray(cv2.remap(photo, x - bump, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    flow = flow_between(photo, drawing)
    before = np.abs(photo.astype(np.int16) - drawing).mean()
    met = [carried(photo, flow, 0.5), carried(drawing, flow, -0.5)]
    after = np.abs(met[0].astype(np.int16) - met[1].astype(np.int16)).mean()
    assert after < 0.55 * before
    assert (carried(photo, flow, 0.0) == photo).mean() > 0.99
    still = flow_between(photo, photo)
    assert np.abs(still).max() * max(photo.shape) < 0.5
