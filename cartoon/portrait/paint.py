"""The four styles: layers and faces -> a painted person and backdrop. Pure torch, differentiable, the same on any device.

Everything that makes a drawing of a picture and is exactly known - where tones step, what colour a shadow has, how heavy
ink is - happens here, after the network: a network trained to draw steps averages over where they might lie and draws
ramps. The same functions paint the teacher's layers, so that the network is taught what is seen, not how to paint.
All pictures are float32 (B, C, H, W); one call paints one photo (B = 1) or, in training, crops of one style.

Sources: tones at percentiles of blurred lightness after Winnemöller, Olsen, Gooch (2006); watercolour's pale washes and
darkened edges after Bousseau et al. (2006).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.portrait.guide import OVAL
from cartoon.portrait.tones import EQUALISE_SIGMA, EQUALISED, SMOOTH_SIGMA, FaceTones
from cartoon.styles.layers import (
    ALPHA, BACKGROUND, FOREGROUND, HAIR, INK, LINE, SKIN,
    blur, luma, masked_blur, opponent, over, smoothstep, steps, terrace, to_rgb, vibrance,
)

BEARD_GREYER: Final = 0.55
BEARD_DARKER: Final = 0.06
"""How a beard is set off from skin: share of its colour taken out, and of luma."""
NO_FACE_WIDTH: Final = 0.25
"""Stands for a face's width where none was found: this share of the picture's shorter side."""


@dataclass(frozen=True, eq=False)
class Painted:
    """A drawing in two parts, before features and finish.

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
class SkinLook:
    """How a style paints skin; lumas 0..1. lift: lightening of the main tone; shadow, light: its neighbours' offsets; deep:
    the deepest tone as a multiple of shadow; ramp: half-width of a step; forms: share of the soft modelling kept;
    blush: on the cheeks; chroma: gain."""

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


ANIME_SKIN: Final = SkinLook(0.070, -0.095, 0.050, 1.75, 0.010, 0.22, 0.030, 1.22)
ANIME_HAIR: Final = HairLook(1.15, 0.85, 1.25, 0.03, 0.7)
COMIC_SKIN: Final = SkinLook(0.055, -0.130, 0.055, 1.8, 0.006, 0.05, 0.012, 1.28)
COMIC_HAIR: Final = HairLook(1.45, 1.0, 1.40, 0.0, 0.9)
WATER_SKIN: Final = SkinLook(0.085, -0.085, 0.060, 1.8, 0.022, 0.25, 0.030, 1.20)
WATER_HAIR: Final = HairLook(1.10, 0.75, 1.55, 0.05, 0.6)


def paint(stack: Tensor, faces: Sequence[FaceTones], style: str) -> Painted:
    """Paint a stack (B, 11, H, W) in a style: "anime", "comic", "watercolor", "sketch" or "painted" (as it is)."""
    return _PAINTERS[style](stack.float(), faces)


def feature_areas(stack: Tensor, faces: Sequence[FaceTones]) -> tuple[Tensor, Tensor]:
    """Where contours give way to the drawn features, and where spectacles keep them: (1, 1, H, W) each."""
    height, width = stack.shape[2:]
    quiet = torch.zeros(1, 1, height, width, device=stack.device)
    rims = torch.zeros_like(quiet)
    for face in faces:
        window = _Window(face, stack, reach=0.75)
        part, (x, y) = window.part, (window.x, window.y)
        for corners in ((33, 133), (263, 362)):
            a, b = face.landmarks[corners[0]], face.landmarks[corners[1]]
            (cx, cy), ew = ((a + b) / 2).tolist(), float(((a - b) ** 2).sum() ** 0.5)
            eye = torch.exp(-((((x - cx) / (0.68 * ew)) ** 2 + ((y - cy) / (0.46 * ew)) ** 2) ** 2))
            ring = torch.exp(-((((x - cx) / (1.12 * ew)) ** 2 + ((y - cy - 0.12 * ew) / (0.88 * ew)) ** 2) ** 4))
            quiet[part] = torch.maximum(quiet[part], eye)
            rims[part] = torch.maximum(rims[part], ring * face.glasses)
        a, b = face.landmarks[61], face.landmarks[291]
        (cx, cy), mw = face.landmarks[[0, 17, 61, 291]].mean(0).tolist(), float(((a - b) ** 2).sum() ** 0.5)
        tall = max(0.30 * mw, 0.75 * float(abs(face.landmarks[17, 1] - face.landmarks[0, 1])))
        lips = torch.exp(-((((x - cx) / (0.58 * mw)) ** 2 + ((y - cy) / tall) ** 2) ** 2))
        quiet[part] = torch.maximum(quiet[part], lips)
    return quiet, rims


def _anime(stack: Tensor, faces: Sequence[FaceTones]) -> Painted:
    fw, regions = _scale(stack, faces), _Regions(stack, faces)
    fg, bg = stack[:, FOREGROUND], stack[:, BACKGROUND]
    y, chroma = opponent(fg)
    cloth = to_rgb(0.05 + 0.96 * (y + 0.8 * (terrace(y, 0.075, 0.16) - y)), vibrance(chroma, 0.4))
    person = regions.mix(cloth, ANIME_SKIN, ANIME_HAIR)
    y, chroma = opponent(bg)
    y = y + 0.55 * (terrace(y, 0.10, 0.12) - y)
    backdrop = to_rgb(y + 0.15 * (0.93 - y), vibrance(chroma, 0.4))
    line = regions.contours(stack[:, LINE : LINE + 1], skin=0.30, hair=0.75)
    person = over(person, _darker(fg, 0.30), 0.9 * line)
    backdrop = over(backdrop, _darker(bg, 0.42), 0.5 * stack[:, LINE : LINE + 1])
    edge = _outline(stack, 0.004 * fw)
    return Painted(over(person, _darker(fg, 0.30), 0.55 * edge), backdrop, _cover(stack, 0.55 * edge), fw)


def _comic(stack: Tensor, faces: Sequence[FaceTones]) -> Painted:
    fw, regions = _scale(stack, faces), _Regions(stack, faces, crisp=True)
    fg, bg = stack[:, FOREGROUND], stack[:, BACKGROUND]
    y, chroma = opponent(fg)
    cloth = to_rgb(0.02 + terrace(y, 0.13, 0.07, 0.15), vibrance(chroma, 0.65))
    person = regions.mix(cloth, COMIC_SKIN, COMIC_HAIR)
    y, chroma = opponent(bg)
    y = 0.18 + 0.84 * (y + 0.8 * (terrace(y, 0.15, 0.08, 0.5) - y))
    backdrop = to_rgb(y, vibrance(chroma, 0.8))
    ink = regions.contours(stack[:, INK : INK + 1], skin=0.42, hair=0.9)
    black = (1 - smoothstep(luma(fg), 0.075, 0.115)) * (1 - regions.skin)
    person = over(person, INK_BLACK, 0.95 * torch.maximum(ink, 0.9 * black))
    backdrop = over(backdrop, INK_BLACK, 0.45 * stack[:, INK : INK + 1])
    edge = _outline(stack, 0.009 * fw)
    return Painted(over(person, INK_BLACK, edge), backdrop, _cover(stack, edge), fw)


def _watercolor(stack: Tensor, faces: Sequence[FaceTones]) -> Painted:
    fw, regions = _scale(stack, faces), _Regions(stack, faces)
    fg, bg = stack[:, FOREGROUND], stack[:, BACKGROUND]
    y, chroma = opponent(fg)
    cloth = to_rgb(0.25 + 0.74 * (y + 0.65 * (terrace(y, 0.11, 0.22) - y)), vibrance(chroma, 0.6))
    person = regions.mix(cloth, WATER_SKIN, WATER_HAIR, hair_pale=0.12)
    y, chroma = opponent(blur(bg, 0.07 * fw))
    backdrop = to_rgb(0.37 + 0.62 * y, vibrance(chroma, 0.75))
    line = regions.contours(stack[:, LINE : LINE + 1], skin=0.22, hair=0.65)
    person = over(person, PENCIL, 0.6 * line)
    edge = _outline(stack, 0.003 * fw)
    return Painted(over(person, PENCIL, 0.4 * edge), backdrop, _cover(stack, 0.4 * edge), fw)


def _sketch(stack: Tensor, faces: Sequence[FaceTones]) -> Painted:
    fw, regions = _scale(stack, faces), _Regions(stack, faces)
    y = luma(stack[:, FOREGROUND])
    cloth = (1 - y / 0.9).clamp(0, 1) ** 1.2 * 0.8
    dark = regions.darkness(cloth)
    graphite = PAPER_LUMA * (1 - 0.78 * dark.clamp(0, 1))
    line = regions.contours(torch.maximum(0.85 * stack[:, LINE : LINE + 1], 0.5 * stack[:, INK : INK + 1]), skin=0.5, hair=0.7)
    edge = _outline(stack, 0.004 * fw)
    graphite = graphite * (1 - 0.66 * torch.maximum(line, 0.6 * edge))
    near = blur(stack[:, ALPHA : ALPHA + 1], 0.16 * fw)
    halo = 0.26 * smoothstep(near, 0.03, 0.55)
    backdrop = (PAPER_LUMA * (1 - halo)).expand(-1, 3, -1, -1)
    return Painted(graphite.expand(-1, 3, -1, -1), backdrop, _cover(stack, 0.75 * edge), fw)


def _plain(stack: Tensor, faces: Sequence[FaceTones]) -> Painted:
    """Layers that are a drawing already, as a style of a user's own has them."""
    ink = 1 - stack[:, LINE : LINE + 1]
    return Painted(
        stack[:, FOREGROUND] * ink, stack[:, BACKGROUND] * ink, stack[:, ALPHA : ALPHA + 1], _scale(stack, faces)
    )


_PAINTERS: Final = {
    "anime": _anime, "comic": _comic, "watercolor": _watercolor, "sketch": _sketch, "painted": _plain,
}

INK_BLACK: Final = (0.075, 0.065, 0.085)
PENCIL: Final = (0.27, 0.21, 0.20)
PAPER_LUMA: Final = 0.965


class _Regions:
    """Skin, hair and the rest of the person, recoloured each on its own; every face with its own tones."""

    def __init__(self, stack: Tensor, faces: Sequence[FaceTones], crisp: bool = False) -> None:
        self.stack, self.faces = stack, tuple(faces)
        low, high = (0.3, 0.7) if crisp else (0.2, 0.8)
        skin = stack[:, SKIN : SKIN + 1]
        hair = stack[:, HAIR : HAIR + 1]
        alpha = stack[:, ALPHA : ALPHA + 1].clamp_min(0.05)
        # The masks end with the person; the colours must go on to the other side of a soft border.
        skin, hair = (smoothstep((m / alpha).clamp(0, 1), low, high) for m in (skin, hair))
        self.beard = _beards(stack, self.faces) * skin
        skin, hair = skin - self.beard, hair + self.beard
        total = (skin + hair).clamp_min(1)
        self.skin = skin / total if self.faces else torch.zeros_like(skin)
        self.hair = hair / total
        self.quiet, self.rims = feature_areas(stack, self.faces)

    def mix(self, cloth: Tensor, skin: SkinLook, hair: HairLook, hair_pale: float = 0.0) -> Tensor:
        """Clothes with hair and skin laid over them."""
        mixed = over(cloth, self._hair(hair, hair_pale), self.hair)
        if self.faces:
            mixed = over(mixed, self._by_face(lambda part, face: _paint_skin(part, face, skin)), self.skin)
        return mixed

    def darkness(self, cloth: Tensor) -> Tensor:
        """Graphite on each part, 0..1."""
        y = luma(self.stack[:, FOREGROUND])
        fw = _scale(self.stack, self.faces)
        mean, spread = _local(y, self.hair, fw)
        strands = ((y - mean) / spread).clamp(-2.2, 2.2)
        hair = ((1 - mean / 0.92).clamp(0.14, 0.80) - 0.16 * strands + 0.10 * self.beard).clamp(0.02, 0.92)
        mixed = over(cloth, hair, self.hair)
        if self.faces:
            mixed = over(mixed, self._by_face(_shade_skin), self.skin)
        return mixed

    def contours(self, line: Tensor, skin: float, hair: float) -> Tensor:
        """Lines as heavy as each part bears them; none under the drawn features, all of a spectacle's frame."""
        weight = (1 - (1 - skin) * self.skin) * (1 - (1 - hair) * self.hair) * (1 - self.quiet)
        eyes = smoothstep(self.quiet, 0.55, 0.9)
        return line * torch.maximum(weight, self.rims * (1 - eyes))

    def _by_face(self, painter: Callable[[Tensor, FaceTones], Tensor]) -> Tensor:
        """Paint the whole picture as the largest face asks, then the surroundings of each other face as that one does."""
        order = sorted(self.faces, key=lambda face: -face.width)
        result = painter(self.stack, order[0])
        for face in order[1:]:
            window = _Window(face, self.stack, reach=1.5)
            own = window.distance(face)
            near = 1 - smoothstep(own, 1.1, 1.45)
            for other in order:
                if other is not face:
                    near = torch.minimum(near, smoothstep(window.distance(other) - own, -0.15, 0.15))
            inside = result[window.part]
            result[window.part] = over(inside, painter(self.stack[window.part], window.own(face)), near)
        return result

    def _hair(self, look: HairLook, pale: float) -> Tensor:
        y, chroma = opponent(self.stack[:, FOREGROUND])
        fw = _scale(self.stack, self.faces)
        mean, spread = _local(y, self.hair, fw)
        z = (y - mean) / spread
        ramp = (0.007 / spread).clamp(0.06, 0.5)
        dark = look.shine * ((0.45 - mean) / 0.35).clamp(0, 1)
        tone = torch.full_like(z, -1.55)
        # strands as five tones around the local mean; dark hair shines
        for cut, low, high, shine in ((-1.0, -1.55, -0.7, 0.0), (-0.25, -0.7, 0.1, 0.012), (0.55, 0.1, 0.9, 0.03), (1.35, 0.9, 1.75, 0.06)):
            rise = smoothstep(z, cut - ramp, cut + ramp)
            tone = tone + ((high - low) + shine * dark / spread) * rise
        stepped = mean + look.contrast * spread * tone
        painted = y + look.flat * (stepped - y) + look.lift + 0.05 * mean
        painted = torch.minimum(torch.maximum(painted, y - 0.14), y + 0.11 + 0.03 * dark)
        broad = masked_blur(chroma, self.hair, 0.05 * fw)
        painted = painted * (1 - pale) + pale
        # Skin shines through a beard in the photo; drawn, it has to differ from skin.
        kept = look.chroma * (1 - BEARD_GREYER * self.beard)
        return to_rgb(painted - BEARD_DARKER * self.beard, (0.6 * broad + 0.4 * chroma) * kept)


def _beards(stack: Tensor, faces: Sequence[FaceTones]) -> Tensor:
    """All faces' beards as one plane, (1, 1, H, W)."""
    found = torch.zeros_like(stack[:1, :1])
    height, width = stack.shape[2:]
    for face in faces:
        x0, y0, x1, y1 = face.beard.box
        cover = torch.from_numpy(face.beard.cover).to(stack.device)[None, None]
        grown = F.interpolate(cover, size=(y1 - y0, x1 - x0), mode="bilinear")
        # In training a crop may cut the face.
        left, top = max(-x0, 0), max(-y0, 0)
        inside = found[..., max(y0, 0) : max(min(y1, height), 0), max(x0, 0) : max(min(x1, width), 0)]
        part = grown[..., top : top + inside.shape[2], left : left + inside.shape[3]]
        torch.maximum(inside, part, out=inside)
    return found


def _local(y: Tensor, hair: Tensor, fw: float) -> tuple[Tensor, Tensor]:
    """Mean luma of the hair around each pixel, and the strands' standard deviation."""
    mean = masked_blur(y, hair, 0.13 * fw)
    spread = masked_blur((y - mean) ** 2, hair, 0.25 * fw).clamp_min(0).sqrt()
    return mean, spread.clamp(0.028, 0.16)


def _levels(stack: Tensor, face: FaceTones) -> tuple[Tensor, Tensor]:
    """The skin's luma, smoothed to forms and with the light partly equalised; and its smooth chroma."""
    y, chroma = opponent(stack[:, FOREGROUND])
    # Eyes and lips are drawn afterwards: skin goes on under them instead of taking on their colours.
    skin = stack[:, SKIN : SKIN + 1] * (1 - feature_areas(stack, [face])[0])
    smooth = masked_blur(torch.cat([y, chroma], 1), skin, SMOOTH_SIGMA * face.width)
    wide = masked_blur(y, skin, EQUALISE_SIGMA * face.width)
    return smooth[:, :1] - EQUALISED * (wide - face.base), smooth[:, 1:]


def _paint_skin(stack: Tensor, face: FaceTones, look: SkinLook) -> Tensor:
    level, smooth = _levels(stack, face)
    deep, shade, bright = face.cuts
    middle = face.middle
    extra = max(0.0, middle - 0.58) * 0.28 * min(max((0.9 - middle) / 0.18, 0.0), 1.0)
    main = min(middle + look.lift + extra, 0.87)
    depth = min(max(main / 0.62, 0.62), 1.0)  # dark skin needs smaller steps to look as soft
    tones = (main + look.shadow * look.deep * depth, main + look.shadow * depth, main, main + look.light)
    luma_ = steps(level, face.cuts, tones, look.ramp) + look.forms * (level - bright_middle(face)).clamp(-0.2, 0.1)
    broad = masked_blur(smooth, stack[:, SKIN : SKIN + 1], 0.10 * face.width)
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
        spot = _spot(stack, face, cx, cy)
        red, luma_ = red + look.blush * spot, luma_ - 0.3 * look.blush * spot
    return to_rgb(luma_, torch.cat([red, blue], 1) * look.chroma)


def bright_middle(face: FaceTones) -> float:
    """The luma in the middle of a face's main tone."""
    return 0.5 * (face.cuts[1] + face.cuts[2])


def _shade_skin(stack: Tensor, face: FaceTones) -> Tensor:
    """Graphite on skin: forms in soft steps, and a grey of its own for dark skin."""
    level, _ = _levels(stack, face)
    middle = bright_middle(face)
    stepped = steps(level, face.cuts, (-0.22, -0.115, 0.0, 0.05), 0.03)
    forms = 0.55 * (level - middle).clamp(-0.3, 0.12) + 0.75 * stepped
    own = min(max((0.80 - face.middle) / 1.05, 0.06), 0.40)
    return (own - 1.25 * forms).clamp(0.015, 0.80)


def _spot(stack: Tensor, face: FaceTones, cx: float, cy: float) -> Tensor:
    """A soft round patch of a cheek's size, (1, 1, H, W)."""
    x, y = _grid(stack)
    return torch.exp(-(((x - cx) / (0.12 * face.width)) ** 2 + ((y - cy) / (0.075 * face.width)) ** 2))


def _outline(stack: Tensor, half_width: float) -> Tensor:
    """The person's contour as a band: where the smoothed alpha is near one half."""
    alpha = blur(smoothstep(stack[:, ALPHA : ALPHA + 1], 0.3, 0.7), max(0.8, half_width))
    return smoothstep(1 - (2 * alpha - 1).abs(), 0.15, 0.55)


def _cover(stack: Tensor, edge: Tensor) -> Tensor:
    """Alpha, and the contour that straddles its border belongs to the person."""
    return torch.maximum(stack[:, ALPHA : ALPHA + 1], edge)


def _darker(rgb: Tensor, share: float) -> Tensor:
    """A line's colour: the local one, darkened, a little warmer."""
    y, chroma = opponent(rgb)
    red, blue = chroma.split(1, 1)
    return to_rgb(share * y + 0.015, torch.cat([0.75 * red + 0.02, 0.70 * blue], 1))


class _Window:
    """The part of a stack around one face: an index into (B, C, H, W), and its pixels' coordinates in the whole."""

    def __init__(self, face: FaceTones, stack: Tensor, reach: float) -> None:
        height, width = stack.shape[2:]
        centre = face.landmarks[OVAL].mean(0)
        low = np.clip(np.floor(centre - reach * face.width), 0, [width - 1, height - 1]).astype(int)
        high = np.clip(np.ceil(centre + reach * face.width), low + 1, [width, height]).astype(int)
        self.origin = low
        self.part = np.s_[:, :, int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
        x, y = _grid(stack)
        self.x, self.y = x[..., int(low[0]) : int(high[0])], y[..., int(low[1]) : int(high[1]), :]

    def own(self, face: FaceTones) -> FaceTones:
        """The face in the window's coordinates."""
        x, y = int(self.origin[0]), int(self.origin[1])
        x0, y0, x1, y1 = face.beard.box
        beard = replace(face.beard, box=(x0 - x, y0 - y, x1 - x, y1 - y))
        return replace(face, landmarks=face.landmarks - self.origin.astype(np.float32), beard=beard)

    def distance(self, face: FaceTones) -> Tensor:
        """From each pixel to a face's centre, in that face's widths."""
        cx, cy = face.landmarks[OVAL].mean(0).tolist()
        return torch.hypot(self.x - cx, self.y - cy) / face.width


def _grid(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (1, 1, 1, W) and rows (1, 1, H, 1) of a stack, px."""
    height, width = stack.shape[2:]
    x = torch.arange(width, device=stack.device, dtype=torch.float32).view(1, 1, 1, -1)
    return x, torch.arange(height, device=stack.device, dtype=torch.float32).view(1, 1, -1, 1)


def _scale(stack: Tensor, faces: Sequence[FaceTones]) -> float:
    """The width of the largest face, px, or what stands for it."""
    return max((face.width for face in faces), default=NO_FACE_WIDTH * min(stack.shape[2:]))
