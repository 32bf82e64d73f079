"""Prepared photos -> training crops.

A folder of prepared photos holds NAME.npz (training/prepare.py): photo, person mask, landmarks, the teacher's stack.
Every photo becomes a few variants (scale, roll, light, JPEG), each with its guide drawn at that scale, held in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.faces.guide import CHANNELS, draw_guide, face_width
from cartoon.models.layers import ALPHA

FACES_PX = (70.0, 400.0)
"""Face widths, px, the network is to know; log-uniform."""
LARGEST_GROWTH = 2.0
"""A photo is not enlarged by more: there is nothing to learn from blur."""
FACELESS_SHARE = 0.08
FACE_SHARE = 0.6
"""Share of the crops that are taken around the face."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One augmented photo, all uint8: photo (H, W, 3), guide (G, H, W), stack (11, H, W); centre: the face's, xy px."""

    photo: NDArray[np.uint8]
    guide: NDArray[np.uint8]
    stack: NDArray[np.uint8]
    centre: tuple[float, float]
    width: float


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops, float32 NCHW 0..1: photo (B, 3, ...), guide (B, G, ...), target: the stack (B, 11, ...), or a drawing with
    the person mask (B, 4, ...)."""

    photo: torch.Tensor
    guide: torch.Tensor
    target: torch.Tensor


def make_variant(given: Mapping[str, NDArray[Any]], rng: np.random.Generator, side: int) -> Variant:
    """One random scale, roll, light and JPEG quality of a prepared photo, at least side x side px."""
    photo, person, landmarks, stack = (given[k] for k in ("photo", "person", "landmarks", "stack"))
    fw = face_width(landmarks)
    height, width = person.shape
    smallest = side / min(height, width)
    scale = np.exp(rng.uniform(*np.log(FACES_PX))) / fw
    scale = float(np.clip(scale, smallest, max(LARGEST_GROWTH, smallest)))
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    roll = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), float(rng.normal(0, 8)), 1.0)

    def turn(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return np.asarray(cv2.warpAffine(resized, roll, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))

    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    points = ((landmarks * ratio) @ roll[:, :2].T + roll[:, 2]).astype(np.float32)
    photo, person = turn(photo), turn(person)
    planes = np.stack([turn(plane) for plane in stack])
    if scale > 1.1:  # enlarged masks and lines are as steep as before, as they would be in a larger photo
        centred = (planes[ALPHA:].astype(np.float32) - 127.5) * scale + 127.5
        planes[ALPHA:] = np.clip(centred, 0, 255).astype(np.uint8)
    # Light, white balance, hue and saturation, alike on both sides.
    table, mixing = _light(rng), _tint(rng)
    photo = _lit(photo, table, mixing)
    for layer in (slice(0, 3), slice(3, 6)):
        planes[layer] = _lit(planes[layer].transpose(1, 2, 0), table, mixing).transpose(2, 0, 1)
    guide = draw_guide(person.astype(np.float32) / np.float32(255), [points])
    return Variant(_worn(photo, rng), guide, planes, (float(points[1, 0]), float(points[1, 1])), face_width(points))


def _light(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A table (3, 256) of exposure, gamma and white balance."""
    x = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(rng.normal(0, 0.18))
    gains = rng.uniform(0.82, 1.12) * rng.uniform(0.94, 1.06, 3)
    return np.stack([np.clip(255 * g * x**gamma + 0.5, 0, 255) for g in gains]).astype(np.uint8)


def _tint(rng: np.random.Generator) -> NDArray[np.float32]:
    """A (3, 3) matrix on RGB that turns hues around the grey axis and scales saturation; luma stays."""
    turn, scale = rng.normal(0, 0.18), rng.uniform(0.6, 1.35)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    # Rodrigues' rotation about (1, 1, 1), applied to what differs from luma.
    axis = np.ones((3, 3)) / 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    grey = np.tile(np.array([0.299, 0.587, 0.114]), (3, 1))
    rotate = axis + c * (np.eye(3) - axis) + s * cross
    return np.asarray(grey + (rotate - np.tile(grey[0] @ rotate, (3, 1))) @ (np.eye(3) - grey), np.float32)


def _lit(picture: NDArray[np.uint8], table: NDArray[np.uint8], mixing: NDArray[np.float32]) -> NDArray[np.uint8]:
    lit = np.stack([table[c][picture[..., c]] for c in range(3)], 2)
    return np.asarray(cv2.transform(lit, mixing))


def _worn(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What cameras and uploads do to a photo; the drawing stays as it is."""
    if rng.random() < 0.25:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(1, 7), photo.shape)
        photo = np.clip(photo + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(45, 96))
        _, coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
        photo = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return photo


class Crops:
    """Endless random crops from variants held in memory.

    folder: of prepared photos. names: which of them. variants: how many of each. side: of a crop, px.
    """

    def __init__(self, folder: Path, names: Sequence[str], variants: int, seed: int, side: int = 256) -> None:
        self.rng = np.random.default_rng(seed)
        self.side = side
        self.variants: list[Variant] = []
        for name in names:
            with np.load(folder / f"{name}.npz") as file:
                given = {key: file[key] for key in file.files}
            self.variants += [make_variant(given, self.rng, side + 8) for _ in range(variants)]

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of `size` crops for ever."""
        return collate(self._crop, size)

    def _crop(self) -> tuple[NDArray[np.uint8], ...]:
        rng, side = self.rng, self.side
        v = self.variants[int(rng.integers(len(self.variants)))]
        height, width = v.photo.shape[:2]
        if rng.random() < FACE_SHARE:
            x, y = np.array(v.centre) + rng.normal(0, 0.5, 2) * v.width - side / 2
        else:
            x, y = rng.uniform(0, width - side + 1), rng.uniform(0, height - side + 1)
        x0, y0 = int(np.clip(x, 0, width - side)), int(np.clip(y, 0, height - side))
        part = np.s_[y0 : y0 + side, x0 : x0 + side]
        guide = v.guide[(slice(None), *part)]
        if rng.random() < FACELESS_SHARE:
            guide = blind(guide)
        planes = (v.photo[part].transpose(2, 0, 1), guide, v.stack[(slice(None), *part)])
        if rng.random() < 0.5:
            planes = tuple(p[..., ::-1] for p in planes)  # type: ignore[assignment]
        return planes


def blind(guide: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A guide map as it would be had no face been found."""
    guide = guide.copy()
    guide[1:] = 0
    guide[CHANNELS.index("down")] = 128
    return guide


def collate(crop: Callable[[], Sequence[NDArray[np.uint8]]], size: int) -> Iterator[Batch]:
    """Batches of `size` crops for ever; a crop is photo, guide and target, (C, H, W) each."""
    while True:
        samples = [crop() for _ in range(size)]
        yield Batch(*(tensor([sample[k] for sample in samples]) for k in range(3)))


def tensor(crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Crops, uint8 (C, H, W) each, as a batch: float32 (B, C, H, W), 0..1."""
    planes = torch.from_numpy(np.stack(crops))
    return planes.contiguous(memory_format=torch.channels_last).float().mul_(1 / 255)
