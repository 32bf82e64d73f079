"""The person's parts recoloured each on its own: skin in a few tones, hair in strands, graphite. Pure torch.

Tones at percentiles of blurred lightness after Winnemöller, Olsen, Gooch, "Real-time video abstraction" (2006).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from cartoon.drawing.areas import Window, beards, bounds, feature_areas, grid, moved
from cartoon.drawing.bands import Band
from cartoon.drawing.tones import EQUALISE_SIGMA, EQUALISED, SMOOTH_SIGMA, FaceTones
from cartoon.models.layers import (
    ALPHA,
    FOREGROUND,
    HAIR,
    SKIN,
    luma,
    masked_blur,
    opponent,
    over,
    smoothstep,
    steps,
    to_rgb,
)

STRAND_SIGMA: Final = 0.006
"""Face widths: strands finer than this are texture, no drawing."""
BEARD_GREYER: Final = 0.55
BEARD_DARKER: Final = 0.06
"""How a beard is set off from skin: share of its colour taken out, and of luma."""


@dataclass(frozen=True)
class SkinLook:
    """How a style paints skin; lumas 0..1. lift: lightening of the main tone; shadow, light: its neighbours' offsets;
    deep: the deepest tone as a multiple of shadow; ramp: half-width of a step; forms: share of the soft modelling
    kept; blush: on the cheeks; chroma: gain."""

    lift: float
    shadow: float
    light: float
    deep: float
    ramp: float
    forms: float
    blush: float
    chroma: float


@dataclass(frozen=True)
class HairLook:
    """How a style paints hair. contrast: of the strands; flat: share of the stepped tones; chroma: gain; lift: luma;
    shine: extra light on dark hair."""

    contrast: float
    flat: float
    chroma: float
    lift: float
    shine: float


class Regions:
    """Skin, hair and the rest of the person, recoloured each on its own; every face with its own tones."""

    def __init__(self, band: Band, crisp: bool = False) -> None:
        self.band, self.crisp = band, crisp
        stack, faces = band.stack, band.faces
        low, high = (0.3, 0.7) if crisp else (0.2, 0.8)
        skin = stack[:, SKIN : SKIN + 1]
        hair = stack[:, HAIR : HAIR + 1]
        alpha = stack[:, ALPHA : ALPHA + 1].clamp_min(0.05)
        # The masks end with the person; the colours must go on to the other side of a soft border.
        skin, hair = (smoothstep((m / alpha).clamp(0, 1), low, high) for m in (skin, hair))
        self.beard = beards(stack, faces) * skin
        skin, hair = skin - self.beard, hair + self.beard
        total = (skin + hair).clamp_min(1)
        self.skin = skin / total if faces else torch.zeros_like(skin)
        self.hair = hair / total
        self.quiet, self.rims = feature_areas(stack, faces)

    def mix(self, cloth: Tensor, skin: SkinLook, hair: HairLook, hair_pale: float = 0.0) -> Tensor:
        """Clothes with hair and skin laid over them."""
        return self._laid(
            cloth,
            lambda part: _paint_hair(part, hair, hair_pale),
            lambda part: _by_face(part, lambda p, face: _paint_skin(p, face, skin)),
        )

    def darkness(self, cloth: Tensor) -> Tensor:
        """Graphite on each part, 0..1."""
        return self._laid(cloth, _shade_hair, lambda part: _by_face(part, _shade_skin))

    def _laid(self, base: Tensor, hair: "_Painter", skin: "_Painter") -> Tensor:
        """Hair and skin as their painters have them, laid over `base` in place."""
        areas = [bounds(mask) for mask in (self.hair, self.skin)]
        if any(areas):
            painted = self.band.smooth("figure", partial(self._painted, hair, skin, base.shape[1]))
            for area, mask, over_it in zip(areas, (self.hair, self.skin), painted.chunk(2, 1), strict=True):
                if area:
                    part = np.s_[:, :, area[0], area[1]]
                    base[part] = over(base[part], over_it[part], mask[part])
        return base

    def _painted(self, hair: "_Painter", skin: "_Painter", channels: int, band: Band) -> Tensor:
        """Hair and skin of a band, (1, channels, H, W) each, joined; zeros where there is none of it."""
        regions = self if band is self.band else Regions(band, self.crisp)
        # Eyes and lips are drawn afterwards: skin goes on under them instead of taking on their colours.
        bare = band.stack[:, SKIN : SKIN + 1] * (1 - regions.quiet) * (1 - regions.beard)
        rgb = band.stack[:, FOREGROUND]
        result = rgb.new_zeros(1, 2 * channels, *rgb.shape[2:])
        for mask, painter, planes in zip((regions.hair, regions.skin), (hair, skin), result.chunk(2, 1), strict=True):
            found = bounds(mask)
            if found:
                part = np.s_[:, :, found[0], found[1]]
                faces = tuple(moved(face, found[1].start, found[0].start) for face in band.faces)
                planes[part] = painter(
                    _Part(rgb[part], regions.hair[part], bare[part], regions.beard[part], faces, band.width)
                )
        return result

    def contours(self, line: Tensor, skin: float, hair: float) -> Tensor:
        """Lines as heavy as each part bears them; none under the drawn features, all of a spectacle's frame."""
        weight = (1 - (1 - skin) * self.skin) * (1 - (1 - hair) * self.hair) * (1 - self.quiet)
        eyes = smoothstep(self.quiet, 0.55, 0.9)
        return line * torch.maximum(weight, self.rims * (1 - eyes))


@dataclass(frozen=True, eq=False)
class _Part:
    """A rectangle of the picture: foreground, masks of hair, bare skin and beards, faces; width: of the largest."""

    rgb: Tensor
    hair: Tensor
    bare: Tensor
    beard: Tensor
    faces: tuple[FaceTones, ...]
    width: float


_Painter = Callable[[_Part], Tensor]


def _by_face(part: _Part, painter: Callable[[_Part, FaceTones], Tensor]) -> Tensor:
    """Paint all as the largest face asks, then the surroundings of each other face as that one does."""
    order = sorted(part.faces, key=lambda face: -face.width)
    result = painter(part, order[0])
    for face in order[1:]:
        window = Window(face, part.rgb, reach=1.5)
        own = window.distance(face)
        near = 1 - smoothstep(own, 1.1, 1.45)
        for other in order:
            if other is not face:
                near = torch.minimum(near, smoothstep(window.distance(other) - own, -0.15, 0.15))
        at = window.part
        inside = replace(part, rgb=part.rgb[at], hair=part.hair[at], bare=part.bare[at], beard=part.beard[at])
        result[at] = over(result[at], painter(inside, window.own(face)), near)
    return result


def _paint_hair(part: _Part, look: HairLook, pale: float) -> Tensor:
    y, chroma = opponent(part.rgb)
    y = masked_blur(y, part.hair, STRAND_SIGMA * part.width)
    mean, spread = _local(y, part.hair, part.width)
    z = (y - mean) / spread
    ramp = (0.007 / spread).clamp(0.06, 0.5)
    dark = look.shine * ((0.45 - mean) / 0.35).clamp(0, 1)
    tone = torch.full_like(z, -1.55)
    # strands as five tones around the local mean; dark hair shines
    for cut, low, high, shine in (
        (-1.0, -1.55, -0.7, 0.0),
        (-0.25, -0.7, 0.1, 0.012),
        (0.55, 0.1, 0.9, 0.03),
        (1.35, 0.9, 1.75, 0.06),
    ):
        rise = smoothstep(z, cut - ramp, cut + ramp)
        tone = tone + ((high - low) + shine * dark / spread) * rise
    stepped = mean + look.contrast * spread * tone
    painted = y + look.flat * (stepped - y) + look.lift + 0.05 * mean
    painted = torch.minimum(torch.maximum(painted, y - 0.14), y + 0.11 + 0.03 * dark)
    broad = masked_blur(chroma, part.hair, 0.05 * part.width)
    painted = painted * (1 - pale) + pale
    # Skin shines through a beard in the photo; drawn, it has to differ from skin.
    kept = look.chroma * (1 - BEARD_GREYER * part.beard)
    return torch.lerp(broad, chroma, 0.4) * kept + (painted - BEARD_DARKER * part.beard)


def _shade_hair(part: _Part) -> Tensor:
    """Graphite on hair: its own grey, and strands."""
    y = luma(part.rgb)
    mean, spread = _local(y, part.hair, part.width)
    strands = ((y - mean) / spread).clamp(-2.2, 2.2)
    return ((1 - mean / 0.92).clamp(0.14, 0.80) - 0.16 * strands + 0.10 * part.beard).clamp(0.02, 0.92)


def _local(y: Tensor, hair: Tensor, fw: float) -> tuple[Tensor, Tensor]:
    """Mean luma of the hair around each pixel, and the strands' standard deviation."""
    mean = masked_blur(y, hair, 0.13 * fw)
    spread = masked_blur((y - mean) ** 2, hair, 0.25 * fw).clamp_min(0).sqrt()
    return mean, spread.clamp(0.028, 0.16)


def _levels(part: _Part, face: FaceTones) -> tuple[Tensor, Tensor]:
    """The skin's luma, smoothed to forms and with the light partly equalised; and its smooth R - Y and B - Y."""
    y, chroma = opponent(part.rgb)
    smooth = masked_blur(torch.cat([y, chroma[:, :1], chroma[:, 2:]], 1), part.bare, SMOOTH_SIGMA * face.width)
    wide = masked_blur(y, part.bare, EQUALISE_SIGMA * face.width)
    return smooth[:, :1] - EQUALISED * (wide - face.base), smooth[:, 1:]


def _paint_skin(part: _Part, face: FaceTones, look: SkinLook) -> Tensor:
    level, smooth = _levels(part, face)
    _, shade, bright = face.cuts
    middle = face.middle
    extra = max(0.0, middle - 0.58) * 0.28 * min(max((0.9 - middle) / 0.18, 0.0), 1.0)
    main = min(middle + look.lift + extra, 0.87)
    depth = min(max(main / 0.62, 0.62), 1.0)  # dark skin needs smaller steps to look as soft
    tones = (main + look.shadow * look.deep * depth, main + look.shadow * depth, main, main + look.light)
    tone = steps(level, face.cuts, tones, look.ramp) + look.forms * (level - _middle(face)).clamp(-0.2, 0.1)
    broad = masked_blur(smooth, part.bare, 0.10 * face.width)
    red = face.chroma[0] + (broad[:, :1] - face.chroma[0]).clamp(-0.030, 0.045)
    blue = face.chroma[1] + (broad[:, 1:] - face.chroma[1]).clamp(-0.045, 0.045)
    blue = blue - 0.7 * (blue + 0.62 * red).clamp_min(0)  # cold light makes no one purple
    shadow = 1 - smoothstep(level, shade - look.ramp, shade + look.ramp)
    light = smoothstep(level, bright - look.ramp, bright + look.ramp)
    pale = min(max((middle - 0.45) / 0.2, 0.0), 1.0)
    red = red * (1 + 0.10 * shadow - 0.10 * pale * light) + 0.012 * shadow
    blue = blue * (1 + 0.06 * shadow - 0.16 * pale * light)
    for cheek in (50, 280):
        cx, cy = (float(v) for v in face.landmarks[cheek])
        spot = _spot(part.rgb, face, cx, cy)
        red, tone = red + look.blush * spot, tone - 0.3 * look.blush * spot
    return to_rgb(tone, red * look.chroma, blue * look.chroma)


def _middle(face: FaceTones) -> float:
    """The luma in the middle of a face's main tone."""
    return 0.5 * (face.cuts[1] + face.cuts[2])


def _shade_skin(part: _Part, face: FaceTones) -> Tensor:
    """Graphite on skin: forms in soft steps, and a grey of its own for dark skin."""
    level, _ = _levels(part, face)
    middle = _middle(face)
    stepped = steps(level, face.cuts, (-0.22, -0.115, 0.0, 0.05), 0.03)
    forms = 0.55 * (level - middle).clamp(-0.3, 0.12) + 0.75 * stepped
    own = min(max((0.80 - face.middle) / 1.05, 0.06), 0.40)
    return (own - 1.25 * forms).clamp(0.015, 0.80)


def _spot(like: Tensor, face: FaceTones, cx: float, cy: float) -> Tensor:
    """A soft round patch of a cheek's size, (1, 1, H, W)."""
    x, y = grid(like)
    along, down = ((x - cx) / (0.12 * face.width)).square(), ((y - cy) / (0.075 * face.width)).square()
    return torch.exp(-along) * torch.exp(-down)
