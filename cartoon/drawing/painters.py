"""The painters by name: layers and faces -> a painted person and backdrop. Pure torch, differentiable, on any device.

Everything that makes a drawing of a picture and is exactly known - where tones step, what colour a shadow has, how
heavy ink is - happens here, after the network: a network trained to draw steps averages over where they might lie and
draws ramps. The same functions paint the teacher's layers, so that the network is taught what is seen, not how to
paint.

Sources: Winnemöller, Olsen, Gooch, "Real-time video abstraction" (2006); watercolour's pale washes after Bousseau et
al. (2006).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from cartoon.drawing.bands import Band, bands
from cartoon.drawing.features.canvas import FeatureStyle
from cartoon.drawing.skin_hair import HairLook, Regions, SkinLook
from cartoon.drawing.tones import FaceTones
from cartoon.memory import give_back
from cartoon.models.layers import (
    ALPHA,
    BACKGROUND,
    FOREGROUND,
    INK,
    LINE,
    blur,
    luma,
    opponent,
    over,
    smoothstep,
    terrace,
    toned,
    vibrance,
)
from cartoon.styles.card import PAINTED

INK_BLACK: Final = (0.075, 0.065, 0.085)
PENCIL: Final = (0.27, 0.21, 0.20)
PAPER_LUMA: Final = 0.965
ANIME_SKIN: Final = SkinLook(0.070, -0.095, 0.050, 1.75, 0.010, 0.22, 0.030, 1.22)
ANIME_HAIR: Final = HairLook(1.15, 0.85, 1.25, 0.03, 0.7)
COMIC_SKIN: Final = SkinLook(0.055, -0.130, 0.055, 1.8, 0.006, 0.05, 0.012, 1.28)
COMIC_HAIR: Final = HairLook(1.45, 1.0, 1.40, 0.0, 0.9)
WATER_SKIN: Final = SkinLook(0.085, -0.085, 0.060, 1.8, 0.022, 0.25, 0.030, 1.20)
WATER_HAIR: Final = HairLook(1.10, 0.75, 1.55, 0.05, 0.6)
ANIME_FEATURES: Final = FeatureStyle((11, 5, 5), 1.0, (0.010, 0.45), 0.80, 0.62, 0.85, 0.75)
COMIC_FEATURES: Final = FeatureStyle((6, 1, -3), 0.9, (0.017, 0.80), 0.80, 0.62, 0.95, 0.95, weight=1.15)
WATER_FEATURES: Final = FeatureStyle((20, 6, 4), 0.9, (0.008, 0.35), 0.70, 0.60, 0.72, 0.6)
SKETCH_FEATURES: Final = FeatureStyle((20, 0, 0), 0.0, (0.008, 0.45), 0.85, 0.30, 0.55, 0.6, colour=0.0, weight=0.85)


@dataclass(frozen=True, eq=False)
class Painted:
    """A drawing in two parts, before features and texture.

    person, backdrop: (B, 3, H, W) sRGB, each going on behind the other. cover: (B, 1, H, W), how much of the person
    is seen. width: the face width, px, that line widths and grain follow.
    """

    person: Tensor
    backdrop: Tensor
    cover: Tensor
    width: float

    def picture(self) -> Tensor:
        """The person over the drawn backdrop."""
        return over(self.backdrop, self.person, self.cover)


@dataclass(frozen=True)
class Painter:
    """What makes a drawing of layers.

    paint: paints a band. features: how the pen draws faces over it, None: not at all. own_colours: it has colours of
    its own, others' are kept near the photo's. flattened: its layers are the photo, flattened, and may be mixed with
    it; False: they are a drawing already.
    """

    paint: Callable[[Band], Painted]
    features: FeatureStyle | None = None
    own_colours: bool = False
    flattened: bool = True


def paint(stack: Tensor, faces: Sequence[FaceTones], painter: str) -> Painted:
    """Paint a stack (1, 11, H, W) by the painter of that name in PAINTERS."""
    result: Painted | None = None
    for band, rows, inner in bands(stack.float(), faces):
        painted = PAINTERS[painter].paint(band)
        if painted.cover.shape[2] == stack.shape[2]:
            return painted
        parts = (painted.person, painted.backdrop, painted.cover)
        if result is None:
            person, backdrop, cover = (part.new_empty(*part.shape[:2], *stack.shape[2:]) for part in parts)
            result = Painted(person, backdrop, cover, painted.width)
        for whole, part in zip((result.person, result.backdrop, result.cover), parts, strict=True):
            whole[:, :, rows] = part[:, :, inner]
    assert result is not None
    give_back()
    return result


def _anime(band: Band) -> Painted:
    stack, fw, regions = band.stack, band.width, Regions(band)
    fg, bg = stack[:, FOREGROUND], stack[:, BACKGROUND]
    y, chroma = opponent(fg)
    cloth = vibrance(chroma, 0.4) + (0.05 + 0.96 * torch.lerp(y, terrace(y, 0.075, 0.16), 0.8))
    person = regions.mix(cloth, ANIME_SKIN, ANIME_HAIR)
    y, chroma = opponent(bg)
    y = torch.lerp(y, terrace(y, 0.10, 0.12), 0.55)
    backdrop = vibrance(chroma, 0.4) + (0.85 * y + 0.15 * 0.93)
    line = 0.9 * regions.contours(stack[:, LINE : LINE + 1], skin=0.30, hair=0.75)
    backdrop = over(backdrop, _darker(bg, 0.42), 0.5 * stack[:, LINE : LINE + 1])
    edge = 0.55 * _outline(stack, 0.004 * fw)
    return Painted(over(person, _darker(fg, 0.30), line + edge - line * edge), backdrop, _cover(stack, edge), fw)


def _comic(band: Band) -> Painted:
    stack, fw, regions = band.stack, band.width, Regions(band, crisp=True)
    fg, bg = stack[:, FOREGROUND], stack[:, BACKGROUND]
    y, chroma = opponent(fg)
    cloth = vibrance(chroma, 0.6) + (0.02 + torch.lerp(y, terrace(y, 0.13, 0.12, 0.15), 0.75))
    person = regions.mix(cloth, COMIC_SKIN, COMIC_HAIR)
    y, chroma = opponent(bg)
    backdrop = vibrance(chroma, 0.7) + (0.18 + 0.84 * torch.lerp(y, terrace(y, 0.14, 0.12, 0.5), 0.6))
    ink = regions.contours(stack[:, INK : INK + 1], skin=0.38, hair=0.85)
    black = (1 - smoothstep(luma(fg), 0.075, 0.115)) * (1 - regions.skin)
    person = over(person, INK_BLACK, torch.maximum(0.74 * ink, 0.82 * black))
    backdrop = over(backdrop, INK_BLACK, 0.34 * stack[:, INK : INK + 1])
    edge = 0.93 * _outline(stack, 0.009 * fw)
    return Painted(over(person, INK_BLACK, edge), backdrop, _cover(stack, edge), fw)


def _watercolor(band: Band) -> Painted:
    stack, fw, regions = band.stack, band.width, Regions(band)
    y, chroma = opponent(stack[:, FOREGROUND])
    cloth = vibrance(chroma, 0.6) + (0.25 + 0.74 * torch.lerp(y, terrace(y, 0.11, 0.22), 0.65))
    person = regions.mix(cloth, WATER_SKIN, WATER_HAIR, hair_pale=0.12)
    backdrop = band.smooth("backdrop", _washed)
    line = regions.contours(stack[:, LINE : LINE + 1], skin=0.22, hair=0.65)
    person = over(person, PENCIL, 0.6 * line)
    edge = _outline(stack, 0.003 * fw)
    return Painted(over(person, PENCIL, 0.4 * edge), backdrop, _cover(stack, 0.4 * edge), fw)


def _washed(band: Band) -> Tensor:
    y, chroma = opponent(blur(band.stack[:, BACKGROUND], 0.07 * band.width))
    return vibrance(chroma, 0.75) + (0.37 + 0.62 * y)


def _sketch(band: Band) -> Painted:
    stack, fw, regions = band.stack, band.width, Regions(band)
    y = luma(stack[:, FOREGROUND])
    cloth = (1 - y / 0.9).clamp(0, 1) ** 1.2 * 0.8
    dark = regions.darkness(cloth)
    graphite = PAPER_LUMA * (1 - 0.78 * dark.clamp(0, 1))
    line = regions.contours(
        torch.maximum(0.85 * stack[:, LINE : LINE + 1], 0.5 * stack[:, INK : INK + 1]), skin=0.5, hair=0.7
    )
    edge = _outline(stack, 0.004 * fw)
    graphite = graphite * (1 - 0.66 * torch.maximum(line, 0.6 * edge))
    near = band.smooth("near", lambda small: blur(small.stack[:, ALPHA : ALPHA + 1], 0.16 * small.width))
    halo = 0.26 * smoothstep(near, 0.03, 0.55)
    person, backdrop = (grey.repeat(1, 3, 1, 1) for grey in (graphite, PAPER_LUMA * (1 - halo)))
    return Painted(person, backdrop, _cover(stack, 0.75 * edge), fw)


def _plain(band: Band) -> Painted:
    """Layers that are a drawing already, as a style of a user's own has them."""
    stack = band.stack
    ink = 1 - stack[:, LINE : LINE + 1]
    return Painted(stack[:, FOREGROUND] * ink, stack[:, BACKGROUND] * ink, stack[:, ALPHA : ALPHA + 1], band.width)


def _outline(stack: Tensor, half_width: float) -> Tensor:
    """The person's contour as a band: where the smoothed alpha is near one half."""
    alpha = blur(smoothstep(stack[:, ALPHA : ALPHA + 1], 0.3, 0.7), max(0.8, half_width))
    return smoothstep(1 - (2 * alpha - 1).abs(), 0.15, 0.55)


def _cover(stack: Tensor, edge: Tensor) -> Tensor:
    """Alpha, and the contour that straddles its border belongs to the person."""
    return torch.maximum(stack[:, ALPHA : ALPHA + 1], edge)


def _darker(rgb: Tensor, share: float) -> Tensor:
    """A line's colour: the local one, darkened, a little warmer."""
    return toned(rgb, share, red=0.75, blue=0.70, offset=(0.015, 0.02))


PAINTERS: Final = {
    "anime": Painter(_anime, ANIME_FEATURES),
    "comic": Painter(_comic, COMIC_FEATURES),
    "watercolor": Painter(_watercolor, WATER_FEATURES),
    "sketch": Painter(_sketch, SKETCH_FEATURES, own_colours=True),
    PAINTED: Painter(_plain, own_colours=True, flattened=False),
}
"""By the names that style cards give them (cartoon.styles.card)."""
