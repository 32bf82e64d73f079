"""What no network can learn, drawn last: halftone dots, wash border and grain, hatching, paper.

Pure torch, seeded per picture: the same photo always gets the same grain, another photo another. All sizes follow the
face, so that a drawing looks the same at every resolution.

Sources: clustered-dot screens (Ulichney, "Digital Halftoning", 1987); pigment density, edge darkening and granulation,
Bousseau et al., "Interactive watercolor rendering" (2006); hatching from noise smeared along a direction, Cabral,
Leedom (1993).
"""

import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cartoon.portrait.areas import feature_areas
from cartoon.portrait.paint import PAPER_LUMA, Painted
from cartoon.portrait.tones import FaceTones
from cartoon.styles.layers import SKIN, blur, luma, over, smoothstep

WATER_PAPER: Final = (0.985, 0.975, 0.955)
SKETCH_PAPER: Final = (0.972, 0.965, 0.945)


def seed_of(pixels: NDArray[np.uint8]) -> int:
    """A seed that belongs to a photo: CRC-32 of a reduced copy, so that nothing random is left."""
    step = max(1, min(pixels.shape[:2]) // 64)
    return zlib.crc32(np.ascontiguousarray(pixels[::step, ::step]).tobytes())


def finish(
    picture: Tensor, painted: Painted, stack: Tensor, faces: Sequence[FaceTones], style: str, seed: int, whole: bool
) -> Tensor:
    """Finish a flattened picture (1, 3, H, W) in a style's manner; styles without a finish return it as it is.

    painted, stack, faces: what the picture was made from. whole: False where the person stands on another background
    than the drawn one; then nothing is done to that background.
    """
    if style == "comic":
        return _halftone(picture, painted, stack, faces, whole)
    if style == "watercolor":
        return _wash(picture, painted, stack, seed, whole)
    if style == "sketch":
        return _hatch(picture, painted, stack, seed, whole)
    return picture


class _Noise:
    """Fields of one seed; sizes in px of the picture."""

    def __init__(self, picture: Tensor, seed: int) -> None:
        self.height, self.width = picture.shape[2:]
        self.device = picture.device
        self._seed = seed

    def white(self, turn: int, rows: int, columns: int) -> Tensor:
        """Uniform -0.5..0.5, (1, 1, rows, columns), the same on every device."""
        maker = torch.Generator().manual_seed((self._seed * 31 + turn) & 0x7FFFFFFF)
        # Cut from a larger field: a row or column more, at another size, must not shuffle all the rest.
        side = 64
        while side < max(rows, columns):
            side *= 2
        return (torch.rand(1, 1, side, side, generator=maker)[..., :rows, :columns] - 0.5).to(self.device)

    def cloud(self, turn: int, size: float, octaves: int = 3) -> Tensor:
        """Smooth noise of unit variance with features of about `size` px."""
        reduced = 4 if size / 2 ** (octaves - 1) > 12 else 2  # nothing in it is finer: a few pixels carry it
        height, width = math.ceil(self.height / reduced), math.ceil(self.width / reduced)
        total = torch.zeros(1, 1, height, width, device=self.device)
        for octave in range(octaves):
            cell = max(2.0, size / reduced / 2**octave)
            rows, columns = (max(4, math.ceil(n / cell) + 3) for n in (height, width))
            field = self.white(turn * 8 + octave, rows, columns)
            grown = F.interpolate(field, scale_factor=cell, mode="bicubic", recompute_scale_factor=False)
            total += grown[..., :height, :width] * 0.55**octave
        total = (total - total.mean()) / total.std().clamp_min(1e-6)
        grown = F.interpolate(total, scale_factor=reduced, mode="bilinear")
        return grown[..., : self.height, : self.width]

    def paper(self, turn: int, grain: float) -> Tensor:
        """The paper's tooth, about 0..1."""
        fine = blur(self.white(turn, self.height, self.width), 0.8 * grain)
        coarse = blur(self.white(turn + 1, self.height, self.width), 2.2 * grain)
        return torch.sigmoid(1.7 * (fine / fine.std() + 0.8 * coarse / coarse.std()))

    def strokes(self, turn: int, degrees: float, length: float, thick: float) -> Tensor:
        """A field of slanted strokes, 0..1 evenly spread: noise stretched along a direction."""
        angle = math.radians(degrees)
        c, s = math.cos(angle), math.sin(angle)
        # Noise on a grid that is long along the strokes and thin across, sampled at a slant.
        side = math.hypot(self.height, self.width)
        rows, columns = math.ceil(side / thick) + 4, math.ceil(side / length) + 4
        field = self.white(turn, rows, columns)
        y = torch.arange(self.height, device=self.device, dtype=torch.float32)[:, None] - self.height / 2
        x = torch.arange(self.width, device=self.device, dtype=torch.float32)[None, :] - self.width / 2
        wave = 0.6 * thick * torch.sin((x * c + y * s) / (2.3 * length) + turn)
        along, across = (x * c + y * s) / (side / 2), (-x * s + y * c + wave) / (side / 2)
        grid = torch.stack([along, across], -1)[None]
        smeared = F.grid_sample(field, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
        spread = (smeared - smeared.mean()) / smeared.std().clamp_min(1e-6)
        return torch.sigmoid(1.7 * spread)


def _halftone(picture: Tensor, painted: Painted, stack: Tensor, faces: Sequence[FaceTones], whole: bool) -> Tensor:
    """Dots in the skin's shade and over the backdrop, darker towards its foot."""
    pitch = max(3.0, 0.026 * painted.width)
    height, width = picture.shape[2:]
    y = torch.arange(height, device=picture.device, dtype=torch.float32)[:, None]
    x = torch.arange(width, device=picture.device, dtype=torch.float32)[None, :]
    skin = smoothstep(stack[:, SKIN : SKIN + 1], 0.6, 0.9)
    if faces:
        face = max(faces, key=lambda f: f.width)
        light = blur(luma(stack[:, :3]), 0.02 * face.width)
        shade = ((face.cuts[2] - light) / max(face.cuts[2] - face.cuts[0], 0.05)).clamp(0, 1)
        dark = blur(picture, 0.012 * face.width) * torch.tensor([0.80, 0.68, 0.66], device=picture.device).view(
            1, 3, 1, 1
        )
        away = 1 - feature_areas(stack, faces)[0]
        dots = _screen(x, y, pitch, 0.42, 0.5 * shade) * skin * away
        picture = over(picture, dark, 0.5 * dots)
    if whole:
        foot = (0.10 + 0.42 * y / height).clamp(0, 0.6).expand(1, 1, height, width)
        dots = _screen(x, y, 1.6 * pitch, 0.42, foot) * (1 - painted.cover)
        picture = picture * (1 - 0.17 * dots)
    return picture


def _screen(x: Tensor, y: Tensor, pitch: float, angle: float, tone: Tensor) -> Tensor:
    """Clustered dots that cover about `tone` (1, 1, H, W) of the paper, anti-aliased."""
    c, s = math.cos(angle), math.sin(angle)
    turn = 2 * math.pi / pitch
    height = (torch.cos((x * c + y * s) * turn) + torch.cos((-x * s + y * c) * turn)) / 4 + 0.5
    soft = min(0.35, 0.9 / pitch)
    limit = (1 - tone) * 0.92 + 0.04
    return smoothstep(height, limit - soft, limit + soft) * (tone > 0.01)


def _pigment(colour: Tensor, density: Tensor) -> Tensor:
    """Thicker (density > 1) or thinner washes of the same colour (Bousseau et al. 2006)."""
    return (colour - (colour - colour * colour) * (density - 1)).clamp(0, 1)


def _wash(picture: Tensor, painted: Painted, stack: Tensor, seed: int, whole: bool) -> Tensor:
    """Hand wobble, edge darkening, uneven pigment, paper; a torn border of its own for every picture."""
    fw, noise = painted.width, _Noise(picture, seed)
    person = painted.cover
    flow, fine = noise.cloud(1, 0.35 * fw), noise.cloud(2, 0.10 * fw)
    tooth = noise.paper(9, max(0.8, 0.005 * fw))
    y = blur(luma(picture), max(0.8, 0.006 * fw))
    rim = (blur(y, max(1.6, 0.016 * fw)) - y).clamp_min(0)  # a wash is darkest just inside its edge
    uneven = (0.17 * flow + 0.08 * fine) * (1 - 0.45 * smoothstep(stack[:, SKIN : SKIN + 1], 0.5, 0.9))
    density = 1 + 5.0 * rim + uneven + 0.22 * (0.5 - tooth)
    paper = torch.tensor(WATER_PAPER, device=picture.device).view(1, 3, 1, 1) * (1 - 0.018 * (tooth - 0.5))
    if not whole:
        return over(picture, _pigment(picture, density), person)
    wet = _pigment(picture, density)
    height, width = picture.shape[2:]
    u = (
        (torch.arange(width, device=picture.device, dtype=torch.float32) / max(width - 1, 1) * 2 - 1)
        .abs()
        .view(1, 1, 1, -1)
    )
    v = (
        (torch.arange(height, device=picture.device, dtype=torch.float32) / max(height - 1, 1) * 2 - 1)
        .abs()
        .view(1, 1, -1, 1)
    )
    maker = np.random.default_rng(seed)
    round_, low = float(maker.uniform(3.5, 7)), float(maker.uniform(0.86, 0.93))
    border = (u**round_ + v**round_) ** (1 / round_) + 0.05 * noise.cloud(3, 0.9 * fw) + 0.016 * fine
    inside = 1 - smoothstep(border, low, low + 0.05)
    front = (1 - (border - low).abs() / 0.03).clamp(0, 1)  # pigment gathers where the water stopped
    wet = _pigment(wet, 1 + 0.5 * front)
    thin = (0.30 + 0.70 * smoothstep(0.4 * noise.cloud(4, 0.8 * fw) + 1.15 - border, 0.0, 0.6)).clamp(0, 1)
    return paper + inside * torch.maximum(person, thin) * (wet - paper)


def _hatch(picture: Tensor, painted: Painted, stack: Tensor, seed: int, whole: bool) -> Tensor:
    """Graphite: layers of slanted strokes as dense as the tone asks, on a smudged ground, on toothed paper."""
    fw, noise = painted.width, _Noise(picture, seed)
    thick, length = max(1.2, 0.0072 * fw), max(12.0, 0.15 * fw)
    tooth = noise.paper(9, max(0.7, 0.004 * fw))
    y = luma(picture)
    dark = (1 - y / PAPER_LUMA).clamp(0, 1)
    tone = blur(dark, 0.006 * fw)
    detail = (dark - tone).clamp(-1, 1)  # contours and features stay drawn
    layers = (
        (noise.strokes(1, -54, length, thick), 0.05, 0.70, 0.26),
        (noise.strokes(2, -32, 0.8 * length, thick), 0.30, 1.00, 0.20),
        (noise.strokes(3, -75, 0.8 * length, thick), 0.52, 1.08, 0.20),
    )
    graphite = 0.55 * tone
    for field, low, high, amount in layers:
        level = ((tone - low) / (high - low)).clamp(0, 1)
        graphite = graphite + amount * smoothstep(1.25 * level - field, -0.22, 0.22) * (6 * level).clamp(0, 1)
    graphite = (graphite + 0.95 * detail) * (0.74 + 0.26 * smoothstep(tooth, 0.15, 0.8))
    paper = torch.tensor(SKETCH_PAPER, device=picture.device).view(1, 3, 1, 1) * (1 - 0.03 * (1 - tooth) * 0.5)
    drawn = paper * (1 - graphite.clamp(0, 0.94))
    return drawn if whole else over(picture, drawn, painted.cover)
