"""Photo and drawing pairs -> training crops.

A folder of pairs holds NAME.photo.jpg (already warped: what the network will see) and NAME.STYLE.jpg for each style.
Faces and person masks come from `faces.npz` (see training/prepare.py), so that training itself needs no detector.
Every pair becomes a few variants (scale, roll, colour, JPEG), each with its guide drawn natively at that scale.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cartoon.portrait.guide import CHANNELS, FEATURES, draw_guide, face_width

SCALES = (0.4, 1.7)
"""Range of the resize factor, log-uniform: faces of about 80 to 340 px from pairs whose faces are 200 px wide."""
FACELESS_SHARE = 0.1
FULL_STRENGTH_SHARE = 0.8
FACE_CHANNELS = [i for i, name in enumerate(CHANNELS) if name not in ("person", "light_steps")]


@dataclass(frozen=True, eq=False)
class Variant:
    """One augmented pair, all uint8: photo, flat (the smoothed photo that low strengths lead to) and drawings are
    (H, W, 3), guide (G, H, W), line (styles, H, W); centre is the face's, xy px; width is the face's, px."""

    photo: NDArray[np.uint8]
    flat: NDArray[np.uint8]
    guide: NDArray[np.uint8]
    drawings: tuple[NDArray[np.uint8], ...]
    line: NDArray[np.uint8]
    centre: tuple[float, float]
    width: float


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops, float32 NCHW 0..1; style int64 (B,), strength float32 (B,)."""

    photo: torch.Tensor
    guide: torch.Tensor
    target: torch.Tensor
    line: torch.Tensor
    style: torch.Tensor
    strength: torch.Tensor
    weight: torch.Tensor


def drawing_share(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the drawing is in the target at a strength; steep, so that 0.7 already reads as a drawing (93 %)."""
    return np.asarray(1 - (1 - strength) ** 2.2, np.float32)


def load_pair(folder: Path, name: str, styles: Sequence[str]) -> list[NDArray[np.uint8]]:
    """The photo and its drawings, uint8 (H, W, 3) sRGB."""
    pictures = []
    for kind in ("photo", *styles):
        path = folder / f"{name}.{kind}.jpg"
        picture = cv2.imread(str(path))
        if picture is None:
            raise FileNotFoundError(f"{path} is missing or unreadable: each pair needs a photo and all styles.")
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return pictures


def line_layer(drawing: NDArray[np.uint8], width: float) -> NDArray[np.uint8]:
    """What is darker than its closing: thin dark structures, i.e. the drawing's lines, as ink 0..255."""
    light = cv2.cvtColor(drawing, cv2.COLOR_RGB2Lab)[..., 0].astype(np.float32)
    side = 2 * max(1, round(0.022 * width)) + 1
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    ink = 1 - (light + 4) / (closed + 4)
    return np.asarray(np.clip((ink - 0.12) / 0.6, 0, 1) * 255, np.uint8)


def make_variant(
    pictures: list[NDArray[np.uint8]],
    landmarks: NDArray[np.float32],
    person: NDArray[np.uint8],
    rng: np.random.Generator,
) -> Variant:
    """One random scale, roll, mirror, exposure and JPEG quality of a pair."""
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    degrees = float(rng.normal(0, 7))
    height, width = pictures[0].shape[:2]
    size = (max(272, round(width * scale)), max(272, round(height * scale)))
    scale = size[0] / width
    matrix = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1.0)
    ratio = np.float32([size[0] / width, size[1] / height])

    def turn(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return np.asarray(cv2.warpAffine(resized, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))

    points = (landmarks * ratio) @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    photo, *drawings = (turn(p) for p in pictures)
    mask = turn(person)
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)  # exposure and white balance, alike on both sides
    photo, *drawings = (np.clip(p * gain, 0, 255).astype(np.uint8) for p in (photo, *drawings))
    guide = draw_guide(photo, mask.astype(np.float32) / 255, [points.astype(np.float32)])
    flat = cv2.bilateralFilter(photo, 9, 30, max(2.0, 4 * scale))
    if rng.random() < 0.5:
        quality = int(rng.integers(50, 96))
        _, coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
        photo = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if rng.random() < 0.2:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 1.0))
    fw = face_width(points)
    lines = np.stack([line_layer(d, fw) for d in drawings])
    return Variant(photo, flat, guide, tuple(drawings), lines, tuple(map(float, points[1])), fw)


class Crops:
    """Endless random crops from variants held in memory.

    pairs: folder of pairs. names: which of them. variants: how many of each pair. side: of a crop, px.
    """

    def __init__(
        self,
        pairs: Path,
        faces: Path,
        names: Sequence[str],
        styles: Sequence[str],
        variants: int,
        seed: int,
        side: int = 256,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.side, self.styles = side, tuple(styles)
        self.variants: list[Variant] = []
        with np.load(faces) as known:
            for name in names:
                pictures = load_pair(pairs, name, styles)
                for _ in range(variants):
                    self.variants.append(
                        make_variant(pictures, known[f"{name}.landmarks"], known[f"{name}.person"], self.rng)
                    )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of `size` crops for ever."""
        while True:
            yield _collate([self._crop() for _ in range(size)])

    def _crop(self) -> "_Sample":
        rng, side = self.rng, self.side
        v = self.variants[int(rng.integers(len(self.variants)))]
        height, width = v.photo.shape[:2]
        if rng.random() < 0.6:  # most crops hold part of the face
            x, y = np.array(v.centre) + rng.normal(0, 0.4, 2) * v.width - side / 2
        else:
            x, y = rng.uniform(0, width - side + 1), rng.uniform(0, height - side + 1)
        x0, y0 = int(np.clip(x, 0, width - side)), int(np.clip(y, 0, height - side))
        part = np.s_[y0 : y0 + side, x0 : x0 + side]
        style = int(rng.integers(len(self.styles)))
        strength = np.float32(1.0 if rng.random() < FULL_STRENGTH_SHARE else rng.uniform(0.1, 1.0))
        share = drawing_share(np.asarray(strength))
        drawing = v.drawings[style][part].astype(np.float32)
        target = drawing if share == 1 else share * drawing + (1 - share) * v.flat[part]
        guide = v.guide[(slice(None), *part)].copy()
        weight = 1 + 4 * cv2.dilate(guide[FEATURES].max(0), np.ones((5, 5), np.uint8)).astype(np.float32) / 255
        if rng.random() < FACELESS_SHARE:
            guide[FACE_CHANNELS] = 0
        planes = [v.photo[part].transpose(2, 0, 1), guide, target.transpose(2, 0, 1)]
        planes += [v.line[style][part][None] * share, weight[None]]
        if rng.random() < 0.5:
            planes = [p[..., ::-1] for p in planes]
        return _Sample(*planes, style=style, strength=float(strength))


@dataclass(frozen=True, eq=False)
class _Sample:
    photo: NDArray[np.uint8]
    guide: NDArray[np.uint8]
    target: NDArray[np.float32]
    line: NDArray[np.float32]
    weight: NDArray[np.float32]
    style: int
    strength: float


def _collate(samples: Sequence[_Sample]) -> Batch:
    def stack(name: str, scale: float) -> torch.Tensor:
        planes = torch.from_numpy(np.stack([getattr(s, name) for s in samples]))
        return planes.contiguous(memory_format=torch.channels_last).float().mul_(1 / scale)

    return Batch(
        photo=stack("photo", 255),
        guide=stack("guide", 255),
        target=stack("target", 255),
        line=stack("line", 255),
        weight=stack("weight", 1),
        style=torch.tensor([s.style for s in samples]),
        strength=torch.tensor([s.strength for s in samples]),
    )
