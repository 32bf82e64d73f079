"""The textures by name, which no network can learn and which are drawn last: halftone dots, washes, hatching.

Pure torch, seeded per picture: the same photo always gets the same grain, another photo another. All sizes follow the
face, so that a drawing looks the same at every resolution.

Sources: clustered-dot screens (Ulichney, "Digital Halftoning", 1987); pigment density, edge darkening and granulation,
Bousseau et al., "Interactive watercolor rendering" (2006); hatching from noise smeared along a direction, Cabral,
Leedom (1993).
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cartoon.drawing.areas import feature_areas, moved
from cartoon.drawing.bands import cuts
from cartoon.drawing.painters import PAPER_LUMA, Painted
from cartoon.drawing.tones import FaceTones
from cartoon.models.layers import SKIN, blur, luma, over, smoothstep

WATER_PAPER: Final = (0.985, 0.975, 0.955)
SKETCH_PAPER: Final = (0.972, 0.965, 0.945)
REACH: Final = 0.05
"""Face widths around a band that its blurs see."""
BLOCK: Final = 128
"""Rows of noise drawn at a time."""
SPARSE: Final = 4
"""Px from one to the next where the spread of a field is measured."""


def seed_of(pixels: NDArray[np.uint8]) -> int:
    """A seed that belongs to a photo: CRC-32 of a reduced copy, so that nothing random is left."""
    step = max(1, min(pixels.shape[:2]) // 64)
    return zlib.crc32(np.ascontiguousarray(pixels[::step, ::step]).tobytes())


@dataclass(frozen=True, eq=False)
class Ground:
    """What a texture is laid on: a painted stack (1, 11, H, W), the faces in it, the seed of whatever is random.

    whole: False where the person stands on another background than the drawn one; nothing is done to that background.
    The planes of `painted` may be used up.
    """

    painted: Painted
    stack: Tensor
    faces: Sequence[FaceTones]
    seed: int
    whole: bool


def lay_texture(picture: Tensor, ground: Ground, texture: str) -> Tensor:
    """Lay the texture of that name in TEXTURES over a flattened picture (1, 3, H, W)."""
    lay, painted = TEXTURES[texture], ground.painted
    noise = _Noise(picture, ground.seed)
    spare = painted.person if ground.whole else painted.backdrop  # the one of the two that is not the picture
    for around, own, inner in cuts(picture.shape[2:], int(REACH * painted.width) + 2):
        part, cover, layers = (plane[:, :, around] for plane in (picture, painted.cover, ground.stack))
        near = tuple(moved(face, 0, around.start) for face in ground.faces)
        laid = lay(_Flat(part, cover, layers, near, painted.width, around, noise), ground.whole)
        if laid.shape == picture.shape:
            return laid
        spare[:, :, own] = laid[:, :, inner]
    return spare


class _Noise:
    """Fields over a whole picture, of one seed; what they return is a band of rows. Sizes in px of the picture."""

    def __init__(self, picture: Tensor, seed: int) -> None:
        self.height, self.width = picture.shape[2:]
        self.device = picture.device
        self.seed = seed
        self._kept: dict[tuple[str, int], Tensor] = {}

    def white(self, turn: int, rows: int, columns: int) -> Tensor:
        """Uniform -0.5..0.5, (1, 1, rows, columns), the same on every device."""
        maker = torch.Generator().manual_seed((self.seed * 31 + turn) & 0x7FFFFFFF)
        # Cut from a larger field: a row or column more, at another size, must not shuffle all the rest.
        sides = [64, 64]
        for axis, most in enumerate((rows, columns)):
            while sides[axis] < most:
                sides[axis] *= 2
        return torch.rand(1, 1, *sides, generator=maker)[..., :rows, :columns].sub_(0.5).to(self.device)

    def cloud(self, rows: slice, turn: int, size: float, octaves: int = 3) -> Tensor:
        """Smooth noise of unit variance with features of about `size` px."""
        reduced = 4 if size / 2 ** (octaves - 1) > 12 else 2  # nothing in it is finer: a few pixels carry it
        total = self._once("cloud", turn, lambda: self._reduced_cloud(turn, size, octaves, reduced))
        first = max(rows.start // reduced - 1, 0)
        part = total[:, :, first : -(-rows.stop // reduced) + 1]
        grown = F.interpolate(part, scale_factor=reduced, mode="bilinear")
        return grown[:, :, rows.start - first * reduced : rows.stop - first * reduced, : self.width]

    def _reduced_cloud(self, turn: int, size: float, octaves: int, reduced: int) -> Tensor:
        height, width = math.ceil(self.height / reduced), math.ceil(self.width / reduced)
        total = torch.zeros(1, 1, height, width, device=self.device)
        for octave in range(octaves):
            cell = max(2.0, size / reduced / 2**octave)
            rows, columns = (max(4, math.ceil(n / cell) + 3) for n in (height, width))
            field = self.white(turn * 8 + octave, rows, columns)
            grown = F.interpolate(field, scale_factor=cell, mode="bicubic", recompute_scale_factor=False)
            total += grown[..., :height, :width] * 0.55**octave
        return (total - total.mean()) / total.std().clamp_min(1e-6)

    def paper(self, rows: slice, turn: int, grain: float) -> Tensor:
        """The paper's tooth, about 0..1."""
        fine, coarse = (turn, 0.8 * grain), (turn + 1, 2.2 * grain)
        tooth = self._soft(rows, *fine).div_(self._spread(*fine))
        return tooth.add_(self._soft(rows, *coarse), alpha=0.8 / self._spread(*coarse)).mul_(1.7).sigmoid_()

    def _soft(self, rows: slice, turn: int, sigma: float) -> Tensor:
        """Blurred white noise that no band needs the whole of: it is drawn in blocks of rows, each of its own seed."""
        margin = int(4 * sigma) + BLOCK // 8
        first, last = max(rows.start - margin, 0) // BLOCK, -(-min(rows.stop + margin, self.height) // BLOCK)
        field = torch.cat([self.white(turn + 64 * (1 + i), BLOCK, self.width) for i in range(first, last)], 2)
        return blur(field, sigma)[:, :, rows.start - first * BLOCK : rows.stop - first * BLOCK]

    def _spread(self, turn: int, sigma: float) -> float:
        """The standard deviation of such noise, from its first blocks: every band must take the same."""
        return self._once("spread", turn, lambda: self._soft(slice(0, BLOCK), turn, sigma).std()).item()

    def strokes(self, rows: slice, turn: int, degrees: float, length: float, thick: float) -> Tensor:
        """A field of slanted strokes, 0..1 evenly spread: noise stretched along a direction."""
        angle = math.radians(degrees)
        c, s = math.cos(angle), math.sin(angle)
        # Noise on a grid that is long along the strokes and thin across, sampled at a slant.
        side = math.hypot(self.height, self.width)
        field = self._once(
            "strokes", turn, lambda: self.white(turn, math.ceil(side / thick) + 4, math.ceil(side / length) + 4)
        )

        def sampled(rows: slice, step: int) -> Tensor:
            y = torch.arange(rows.start, rows.stop, step, device=self.device, dtype=torch.float32)[:, None]
            x = torch.arange(0, self.width, step, device=self.device, dtype=torch.float32)[None, :]
            x, y = x - self.width / 2, y - self.height / 2
            wave = 0.6 * thick * torch.sin((x * c + y * s) / (2.3 * length) + turn)
            along, across = (x * c + y * s) / (side / 2), (-x * s + y * c + wave) / (side / 2)
            grid = torch.stack([along, across], -1)[None]
            return F.grid_sample(field, grid, mode="bicubic", padding_mode="reflection", align_corners=False)

        few = self._once("sample", turn, lambda: sampled(slice(0, self.height), SPARSE))
        return torch.sigmoid((sampled(rows, 1) - few.mean()) * (1.7 / few.std().clamp_min(1e-6)))

    def _once(self, name: str, turn: int, make: Callable[[], Tensor]) -> Tensor:
        if (name, turn) not in self._kept:
            self._kept[name, turn] = make()
        return self._kept[name, turn]


@dataclass(frozen=True, eq=False)
class _Flat:
    """Rows of a flattened picture: (1, C, h, w) each, faces in px of these rows, width of the largest."""

    picture: Tensor
    cover: Tensor
    stack: Tensor
    faces: tuple[FaceTones, ...]
    width: float
    rows: slice
    noise: _Noise

    def axes(self) -> tuple[Tensor, Tensor]:
        """Columns (1, W) and rows (H, 1) of the whole picture, px."""
        device = self.picture.device
        y = torch.arange(self.rows.start, self.rows.stop, device=device, dtype=torch.float32)[:, None]
        return torch.arange(self.noise.width, device=device, dtype=torch.float32)[None, :], y


def _halftone(flat: _Flat, whole: bool) -> Tensor:
    """Dots in the skin's shade and over the backdrop, darker towards its foot."""
    picture, pitch = flat.picture, max(3.0, 0.026 * flat.width)
    x, y = flat.axes()
    skin = smoothstep(flat.stack[:, SKIN : SKIN + 1], 0.6, 0.9)
    if flat.faces:
        face = max(flat.faces, key=lambda f: f.width)
        light = blur(luma(flat.stack[:, :3]), 0.02 * face.width)
        shade = ((face.cuts[2] - light) / max(face.cuts[2] - face.cuts[0], 0.05)).clamp(0, 1)
        dark = blur(picture, 0.012 * face.width) * torch.tensor([0.80, 0.68, 0.66], device=picture.device).view(
            1, 3, 1, 1
        )
        away = 1 - feature_areas(flat.stack, flat.faces)[0]
        dots = _screen(x, y, pitch, 0.42, 0.5 * shade) * skin * away
        picture = over(picture, dark, 0.5 * dots)
    if whole:
        foot = (0.10 + 0.42 * y / flat.noise.height).clamp(0, 0.6).expand(1, 1, -1, flat.noise.width)
        dots = _screen(x, y, 1.6 * pitch, 0.42, foot) * (1 - flat.cover)
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


def _wash(flat: _Flat, whole: bool) -> Tensor:
    """Hand wobble, edge darkening, uneven pigment, paper; a torn border of its own for every picture."""
    picture, fw, noise, rows = flat.picture, flat.width, flat.noise, flat.rows
    flow, fine = noise.cloud(rows, 1, 0.35 * fw), noise.cloud(rows, 2, 0.10 * fw)
    tooth = noise.paper(rows, 9, max(0.8, 0.005 * fw))
    y = blur(luma(picture), max(0.8, 0.006 * fw))
    rim = (blur(y, max(1.6, 0.016 * fw)) - y).clamp_min(0)  # a wash is darkest just inside its edge
    uneven = (0.17 * flow + 0.08 * fine) * (1 - 0.45 * smoothstep(flat.stack[:, SKIN : SKIN + 1], 0.5, 0.9))
    density = 1 + 5.0 * rim + uneven + 0.22 * (0.5 - tooth)
    paper = torch.tensor(WATER_PAPER, device=picture.device).view(1, 3, 1, 1) * (1 - 0.018 * (tooth - 0.5))
    if not whole:
        return over(picture, _pigment(picture, density), flat.cover)
    wet = _pigment(picture, density)
    u, v = (
        (axis / max(side - 1, 1) * 2 - 1).abs()
        for axis, side in zip(flat.axes(), (noise.width, noise.height), strict=True)
    )
    maker = np.random.default_rng(noise.seed)
    round_, low = float(maker.uniform(3.5, 7)), float(maker.uniform(0.86, 0.93))
    border = (u**round_ + v**round_) ** (1 / round_) + 0.05 * noise.cloud(rows, 3, 0.9 * fw) + 0.016 * fine
    inside = 1 - smoothstep(border, low, low + 0.05)
    front = (1 - (border - low).abs() / 0.03).clamp(0, 1)  # pigment gathers where the water stopped
    wet = _pigment(wet, 1 + 0.5 * front)
    thin = (0.30 + 0.70 * smoothstep(0.4 * noise.cloud(rows, 4, 0.8 * fw) + 1.15 - border, 0.0, 0.6)).clamp(0, 1)
    return paper + inside * torch.maximum(flat.cover, thin) * (wet - paper)


def _hatch(flat: _Flat, whole: bool) -> Tensor:
    """Graphite: layers of slanted strokes as dense as the tone asks, on a smudged ground, on toothed paper."""
    picture, fw, noise, rows = flat.picture, flat.width, flat.noise, flat.rows
    thick, length = max(1.2, 0.0072 * fw), max(12.0, 0.15 * fw)
    tooth = noise.paper(rows, 9, max(0.7, 0.004 * fw))
    y = luma(picture)
    dark = (1 - y / PAPER_LUMA).clamp(0, 1)
    tone = blur(dark, 0.006 * fw)
    detail = (dark - tone).clamp(-1, 1)  # contours and features stay drawn
    layers = (
        (noise.strokes(rows, 1, -54, length, thick), 0.05, 0.70, 0.26),
        (noise.strokes(rows, 2, -32, 0.8 * length, thick), 0.30, 1.00, 0.20),
        (noise.strokes(rows, 3, -75, 0.8 * length, thick), 0.52, 1.08, 0.20),
    )
    graphite = 0.55 * tone
    for field, low, high, amount in layers:
        level = ((tone - low) / (high - low)).clamp(0, 1)
        graphite = graphite + amount * smoothstep(1.25 * level - field, -0.22, 0.22) * (6 * level).clamp(0, 1)
    graphite = (graphite + 0.95 * detail) * (0.74 + 0.26 * smoothstep(tooth, 0.15, 0.8))
    paper = torch.tensor(SKETCH_PAPER, device=picture.device).view(1, 3, 1, 1) * (1 - 0.03 * (1 - tooth) * 0.5)
    drawn = paper * (1 - graphite.clamp(0, 0.94))
    return drawn if whole else over(picture, drawn, flat.cover)


TEXTURES: Final[dict[str, Callable[[_Flat, bool], Tensor]]] = {
    "halftone": _halftone,
    "wash": _wash,
    "hatching": _hatch,
}
"""By the names that style cards give them (cartoon.styles.card)."""
