"""The person's parts recoloured each on its own: skin in a few tones, hair in strands, graphite. Pure torch.

Tones at percentiles of blurred lightness after Winnemöller, Olsen, Gooch, "Real-time video abstraction" (2006).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from cartoon.portrait.areas import Window, beards, bounds, feature_areas, grid, moved, scale
from cartoon.portrait.tones import EQUALISE_SIGMA, EQUALISED, SMOOTH_SIGMA, FaceTones
from cartoon.styles.layers import (
    ALPHA,
    FOREGROUND,
    HAIR,
    SKIN,
    enlarged,
    luma,
    masked_blur,
    opponent,
    over,
    reduced,
    smoothstep,
    steps,
    to_rgb,
)

STRAND_SIGMA: Final = 0.006
"""Face widths: strands finer than this are texture, no drawing."""
FINEST: Final = 0.75
"""Px that a strand keeps: skin and hair are smooth, and are painted on a picture reduced so far, then enlarged."""
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

    def __init__(self, stack: Tensor, faces: Sequence[FaceTones], crisp: bool = False) -> None:
        self.stack, self.faces = stack, tuple(faces)
        low, high = (0.3, 0.7) if crisp else (0.2, 0.8)
        skin = stack[:, SKIN : SKIN + 1]
        hair = stack[:, HAIR : HAIR + 1]
        alpha = stack[:, ALPHA : ALPHA + 1].clamp_min(0.05)
        # The masks end with the person; the colours must go on to the other side of a soft border.
        skin, hair = (smoothstep((m / alpha).clamp(0, 1), low, high) for m in (skin, hair))
        self.beard = beards(stack, self.faces) * skin
        skin, hair = skin - self.beard, hair + self.beard
        total = (skin + hair).clamp_min(1)
        self.skin = skin / total if self.faces else torch.zeros_like(skin)
        self.hair = hair / total
        self.quiet, self.rims = feature_areas(stack, self.faces)
        # Eyes and lips are drawn afterwards: skin goes on under them instead of taking on their colours.
        self.bare = stack[:, SKIN : SKIN + 1] * (1 - self.quiet) * (1 - self.beard)

    def mix(self, cloth: Tensor, skin: SkinLook, hair: HairLook, hair_pale: float = 0.0) -> Tensor:
        """Clothes with hair and skin laid over them."""
        mixed = self._laid(cloth, self.hair, lambda part: _paint_hair(part, hair, hair_pale))
        return self._laid(mixed, self.skin, lambda part: _by_face(part, lambda p, face: _paint_skin(p, face, skin)))

    def darkness(self, cloth: Tensor) -> Tensor:
        """Graphite on each part, 0..1."""
        mixed = self._laid(cloth, self.hair, _shade_hair)
        return self._laid(mixed, self.skin, lambda part: _by_face(part, _shade_skin))

    def _laid(self, base: Tensor, mask: Tensor, painter: Callable[["_Part"], Tensor]) -> Tensor:
        """What a painter makes of the part of the picture where the mask is, laid over `base` there, in place."""
        found = bounds(mask)
        if found is None:
            return base
        rows, columns = found
        part = np.s_[:, :, rows, columns]
        faces = tuple(moved(face, columns.start, rows.start) for face in self.faces)
        width = scale(self.stack, self.faces)
        whole = _Part(self.stack[part][:, FOREGROUND], self.hair[part], self.bare[part], self.beard[part], faces, width)
        factor = 1
        while FINEST * 2 * factor <= STRAND_SIGMA * width:
            factor *= 2
        painted = enlarged(painter(whole.reduced(factor)), factor, base[part])
        base[part] = over(base[part], painted, mask[part])
        return base

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

    def reduced(self, factor: int) -> "_Part":
        """The same on fewer pixels."""
        if factor == 1:
            return self
        planes = (reduced(plane, factor) for plane in (self.rgb, self.hair, self.bare, self.beard))
        faces = tuple(replace(f, landmarks=f.landmarks / factor, width=f.width / factor) for f in self.faces)
        return _Part(*planes, faces, self.width / factor)


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
    """The skin's luma, smoothed to forms and with the light partly equalised; and its smooth chroma, R - Y and B - Y."""
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
