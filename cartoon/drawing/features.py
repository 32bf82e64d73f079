"""The features of a face, drawn with a pen from its landmarks: eyes, brows, mouth, nose.

Drawn at the size of the result, so they are crisp from 64 to 4096 px; a network cannot be: it knows a highlight's place
to within a pixel and averages it to grey. Their colours are the photo's own - iris, lips, brows, teeth - so that
nobody gets make-up or another eye colour. Work happens in CIELAB on the face's part of the picture; a pen covers by
exact area (OpenCV's polygons, supersampled), so no edge is jagged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cartoon.drawing.tones import FaceTones
from cartoon.faces.guide import (
    EYES,
    JAW,
    LIPS_LOWER_INNER,
    LIPS_LOWER_OUTER,
    LIPS_UPPER_INNER,
    LIPS_UPPER_OUTER,
    Points,
    smoothstep,
    spline,
)
from cartoon.images.types import Pixels

Plane = NDArray[np.float32]
Lab = NDArray[np.float32]

SUPERSAMPLING: Final = 4
BLUR_REACH: Final = 4
"""Sigmas: how far OpenCV's blur of float32 reaches."""
SMALLEST: Final = 14.0
"""Face width, px, below which features would be dots: left as painted."""
IRIS_BROWN: Final = 26.0
"""Chroma of eyes too dark to show a colour."""
WHITE_SHARE: Final = 0.9
"""Of the cast on the eyes' whites, as far as the iris is as light as they, that is taken out of the iris."""
LIPS_APART: Final = 0.035
"""Opening of the mouth, in mouth widths, from which teeth are drawn (the guide's own limit)."""


@dataclass(frozen=True)
class FeatureLook:
    """How a style draws features. ink: Lab of lids and lip line, None for the skin's own dark; iris: gain of its
    chroma; jaw: width of the jaw's line in face widths and its cover; white: cover of the eye's white; lips, brows,
    nose: covers; colour: share of colour kept (0 for graphite); weight: widths of all lines."""

    ink: tuple[float, float, float] | None
    iris: float
    jaw: tuple[float, float]
    white: float
    lips: float
    brows: float
    nose: float
    colour: float = 1.0
    weight: float = 1.0


LOOKS: Final = {
    "anime": FeatureLook((11, 5, 5), 1.0, (0.010, 0.45), 0.80, 0.62, 0.85, 0.75),
    "comic": FeatureLook((6, 1, -3), 0.9, (0.017, 0.80), 0.80, 0.62, 0.95, 0.95, weight=1.15),
    "watercolor": FeatureLook((20, 6, 4), 0.9, (0.008, 0.35), 0.70, 0.60, 0.72, 0.6),
    "sketch": FeatureLook((20, 0, 0), 0.0, (0.008, 0.45), 0.85, 0.30, 0.55, 0.6, colour=0.0, weight=0.85),
}


def draw_features(person: Tensor, photo: Pixels, faces: Sequence[FaceTones], style: str) -> None:
    """Draw every face's features into the painted person (1, 3, H, W), in place.

    photo: uint8 (H, W, 3) sRGB, what the person was painted from. A style without features leaves it as it is.
    """
    look = LOOKS.get(style)
    if look is None or not faces:
        return
    height, width = photo.shape[:2]
    for face in sorted(faces, key=lambda f: f.width):
        if face.width < SMALLEST:
            continue
        x0, y0 = (int(v) for v in np.clip(np.floor(face.landmarks.min(0) - 0.12 * face.width), 0, [width, height]))
        x1, y1 = (int(v) for v in np.clip(np.ceil(face.landmarks.max(0) + 0.12 * face.width), 0, [width, height]))
        if x1 - x0 < 8 or y1 - y0 < 8:
            continue
        part = np.s_[0, :, y0:y1, x0:x1]
        painted = person[part].permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
        drawing = _Drawing(
            _lab(np.ascontiguousarray(painted)),
            photo[y0:y1, x0:x1],
            face.landmarks - np.array([x0, y0], np.float32),
            face,
            look,
        )
        drawn = torch.from_numpy(drawing.draw()).permute(2, 0, 1)
        person[part] = drawn.to(person.device, person.dtype)


class _Pen:
    """Covers areas of a picture by polygons and tapered strokes; masks are (H, W) float32, 0..1, inside `box`."""

    def __init__(self, shape: tuple[int, ...], points: Points, margin: float) -> None:
        low, high = np.floor(points.min(0) - margin), np.ceil(points.max(0) + margin)
        x0, y0 = (int(v) for v in np.clip(low, 0, [shape[1] - 1, shape[0] - 1]))
        x1, y1 = (int(v) for v in np.clip(high, 1, [shape[1], shape[0]]))
        self.box = np.s_[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        self._origin = np.array([x0, y0], np.float32)
        self._size = (max(x1 - x0, 1), max(y1 - y0, 1))
        y, x = np.mgrid[y0 : y0 + self._size[1], x0 : x0 + self._size[0]].astype(np.float32)
        self.x, self.y = x, y

    def area(self, *polygons: Points, soft: float = 0.0) -> Plane:
        """What the polygons cover; soft: sigma of a blur, px."""
        mask = np.zeros(self._size[::-1], np.float32)
        # Only around the polygons, as far as a blur carries: most are a small part of what the pen may reach.
        all_corners = np.vstack(polygons) - self._origin
        margin = BLUR_REACH * soft + 2
        low, high = all_corners.min(0) - margin, all_corners.max(0) + margin
        x0, y0 = (max(int(v), 0) for v in low)
        x1, y1 = (min(int(v) + 1, most) for v, most in zip(high, self._size, strict=True))
        if x1 <= x0 or y1 <= y0:
            return mask
        canvas = np.zeros(((y1 - y0) * SUPERSAMPLING, (x1 - x0) * SUPERSAMPLING), np.uint8)
        origin = self._origin + np.array([x0, y0], np.float32)
        for polygon in polygons:
            # Pixel centres lie at whole coordinates: the supersampled canvas starts half a pixel earlier.
            corners = (polygon - origin + 0.5) * SUPERSAMPLING - 0.5
            cv2.fillPoly(canvas, [np.round(corners * 16).astype(np.int32)], (255,), cv2.LINE_8, 4)
        small = cv2.resize(canvas, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        part = small.astype(np.float32) / np.float32(255)
        mask[y0:y1, x0:x1] = cv2.GaussianBlur(part, (0, 0), soft) if soft > 0.2 else part
        return mask

    def disc(self, centre: Points, radius: float, tall: float = 1.0, soft: float = 0.0) -> Plane:
        """A filled ellipse."""
        turn = np.linspace(0, 2 * np.pi, 49)[:-1]
        ring = np.stack([np.cos(turn), tall * np.sin(turn)], 1) * radius
        return self.area((centre + ring).astype(np.float32), soft=soft)

    def stroke(self, path: Points, width: float, profile: Sequence[float], soft: float = 0.0) -> Plane:
        """A tapered stroke along a smooth curve; profile: width factors at even steps along it."""
        curve = spline(path, 12)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        if along[-1] < 1e-3:
            return np.zeros(self._size[::-1], np.float32)
        step = np.gradient(curve, axis=0)
        step /= np.linalg.norm(step, axis=1, keepdims=True) + 1e-6
        normal = np.stack([-step[:, 1], step[:, 0]], 1)
        half = np.interp(along / along[-1], np.linspace(0, 1, len(profile)), profile)[:, None] * width / 2
        # Thinner than a pixel it is not narrowed further but made fainter, by the area it covers.
        outline = np.vstack([curve + normal * half, (curve - normal * half)[::-1]]).astype(np.float32)
        return self.area(outline, soft=soft)


class _Drawing:
    """One face on its way: `canvas`, Lab (H, W, 3), is drawn on, `photo`, uint8 (H, W, 3) sRGB, gives the colours."""

    def __init__(self, canvas: Lab, photo: Pixels, points: Points, face: FaceTones, look: FeatureLook) -> None:
        self.canvas, self.photo, self.p, self.face, self.look = canvas, photo, points, face, look
        self.skin = self._median([50, 280, 205, 425, 151, 9], 0.05)
        self.painted_skin = self._median([50, 280, 205, 425, 151, 9], 0.05, painted=True)

    def draw(self) -> NDArray[np.float32]:
        """All features; RGB float32 (H, W, 3)."""
        self._jaw()
        self._nose()
        self._brows()
        self._mouth()
        iris = self._iris_colour()
        for eye in EYES:
            self._eye(eye, iris)
        return np.asarray(np.clip(cv2.cvtColor(self.canvas, cv2.COLOR_Lab2RGB), 0, 1), np.float32)

    def _lay(self, pen: _Pen, mask: Plane, colour: Sequence[float] | Lab, cover: float = 1.0) -> None:
        x, y, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
        inside = np.s_[y : y + height, x : x + width]
        part = self.canvas[pen.box][inside]
        tint = np.array(colour, np.float32)
        if self.look.colour < 1:
            tint = tint * np.array([1, self.look.colour, self.look.colour], np.float32)
        part += np.float32(cover) * mask[inside][..., None] * (tint - part)

    def _seen(self, box: tuple[slice, slice]) -> Lab:
        """Part of the photo, Lab."""
        return _lab(self.photo[box].astype(np.float32) / np.float32(255))

    def _median(self, landmarks: Sequence[int], reach: float, painted: bool = False) -> NDArray[np.float32]:
        """Median Lab around some landmarks; reach in face widths."""
        radius = max(1, round(reach * self.face.width))
        height, width = self.canvas.shape[:2]
        rows = []
        for index in landmarks:
            x, y = (int(v) for v in np.clip(self.p[index], 0, [width - 1, height - 1]))
            box = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            rows.append((self.canvas[box] if painted else self._seen(box)).reshape(-1, 3))
        return np.asarray(np.median(np.vstack(rows), 0), np.float32)

    def _dark(self, share: float = 0.42) -> tuple[float, float, float]:
        """The skin's own dark, for lines on it."""
        skin = self.painted_skin
        return max(9.0, share * float(skin[0])), 0.8 * float(skin[1]) + 6, 0.85 * float(skin[2])

    def _ink(self, share: float = 0.42) -> tuple[float, float, float]:
        """A feature's line: the style's ink where it has its own, else the skin's dark."""
        dark = self._dark(share)
        if self.look.ink is None or self.look.ink[0] > 10:
            return dark
        return self.look.ink[0] + 3, self.look.ink[1] + 3, self.look.ink[2] + 3

    def _jaw(self) -> None:
        width, cover = self.look.jaw
        path = self.p[JAW]
        pen = _Pen(self.canvas.shape, path, 3)
        line = pen.stroke(path, width * self.face.width, (0.05, 0.7, 1.0, 0.9, 1.0, 0.7, 0.05), soft=0.4)
        # Only as far as there is a face to see: over hair or a beard the line would float.
        like_skin = np.exp(-(((self.canvas[pen.box][..., 0] - self.painted_skin[0]) / 28.0) ** 2))
        self._lay(pen, line * like_skin.astype(np.float32), self._ink(0.5), cover)

    def _nose(self) -> None:
        p, fw, look = self.p, self.face.width, self.look
        pen = _Pen(self.canvas.shape, p[[98, 327, 2, 129, 358, 4, 6, 64, 294]], 0.06 * fw)
        light = (min(97.0, float(self.painted_skin[0]) + 9), 0.6 * self.painted_skin[1], 0.75 * self.painted_skin[2])
        tip = 0.5 * (p[4] + p[5])
        self._lay(pen, pen.disc(tip, 0.022 * fw, 0.75, soft=0.007 * fw), light, 0.5)
        bridge = pen.stroke(p[[6, 197, 195]], 0.026 * fw, (0.05, 0.8, 1.0, 0.8, 0.05), soft=0.008 * fw)
        self._lay(pen, bridge, light, 0.28 * (1 - self.face.glasses))
        for outer, inner in ((98, 97), (327, 326)):
            a, b = p[outer], p[inner]
            start = a + 0.3 * (a - b) - np.array([0, 0.012 * fw], np.float32)
            path = np.vstack([start, 0.5 * (a + b) - np.array([0, 0.004 * fw], np.float32), b, 0.6 * b + 0.4 * p[2]])
            nostril = pen.stroke(path, 0.022 * fw * look.weight, (0.1, 0.55, 1.0, 0.6, 0.05), soft=0.3)
            self._lay(pen, nostril, self._ink(0.36), look.nose)
        for wing in ([129, 102, 64], [358, 331, 294]):
            self._lay(
                pen,
                pen.stroke(p[wing], 0.011 * fw * look.weight, (0, 0.8, 1.0, 0.4), soft=0.3),
                self._ink(),
                0.6 * look.nose,
            )

    def _brows(self) -> None:
        for _, _, _, _, _, upper, lower in EYES:
            top, bottom = self.p[upper], self.p[lower]
            pen = _Pen(self.canvas.shape, np.vstack([top, bottom]), 0.06 * self.face.width)
            thick = float(np.median(np.linalg.norm(top - bottom, axis=1)))
            path = 0.5 * (top + bottom)
            path[0] += 0.1 * (path[0] - path[1])
            inside = pen.area(np.vstack([top, bottom[::-1]]))
            rows = self._seen(pen.box)[inside > 0.6]
            if len(rows) < 4:
                continue
            own = float(np.percentile(rows[:, 0], 20))
            colour = np.median(rows[rows[:, 0] <= np.percentile(rows[:, 0], 40)], 0)
            # As dark as the photo has it, no darker: pale brows stay pale, nobody gets a pencil.
            contrast = float(np.clip((self.skin[0] - own) / 20, 0.15, 1))
            shape = pen.stroke(path, 0.95 * thick, (0.15, 0.6, 0.9, 1.05, 0.95, 0.5), soft=0.06 * thick)
            darkness = 0.8 if self.look.ink is None or self.look.ink[0] > 10 else 0.6
            self._lay(pen, shape, (max(7.0, darkness * float(own)), colour[1], colour[2]), self.look.brows * contrast)

    def _mouth(self) -> None:
        p, look = self.p, self.look
        mw = float(np.linalg.norm(p[61] - p[291]))
        outer_up, outer_low = spline(p[LIPS_UPPER_OUTER]), spline(p[LIPS_LOWER_OUTER])
        inner_up, inner_low = spline(p[LIPS_UPPER_INNER]), spline(p[LIPS_LOWER_INNER])
        pen = _Pen(self.canvas.shape, np.vstack([outer_up, outer_low]), 0.12 * mw)
        whole = pen.area(np.vstack([outer_up, outer_low[::-1]]))
        apart = float(np.linalg.norm(p[13] - p[14])) / max(mw, 1e-3) > LIPS_APART
        mouth = pen.area(np.vstack([inner_up, inner_low[::-1]])) if apart else np.zeros_like(whole)
        rows = self._seen(pen.box)[(whole > 0.7) & (mouth < 0.2)]
        lip = np.median(rows, 0) if len(rows) > 4 else self.skin + np.array([-8, 5, 0])
        # The lips differ from the painted skin as they do from the skin in the photo.
        own = self.painted_skin + np.array([0.85, 1.1, 0.9], np.float32) * (lip - self.skin)
        own[0] = min(own[0], self.painted_skin[0] - 3)
        soft = 0.014 * mw
        upper = pen.area(np.vstack([outer_up, inner_up[::-1]]), soft=soft)
        lower = pen.area(np.vstack([inner_low, outer_low[::-1]]), soft=soft)
        self._lay(pen, upper, own + np.array([-5, 1, 0], np.float32), look.lips + 0.12)
        self._lay(pen, lower, own, look.lips)
        gloss = pen.disc(0.45 * p[17] + 0.55 * p[14], 0.11 * mw, 0.17, soft=0.012 * mw)
        self._lay(pen, gloss * lower, own + np.array([11, -3, -2], np.float32), 0.35)
        if apart:
            self._teeth(pen, mouth, mw)
        line_colour = (max(9.0, 0.36 * float(own[0])), 0.9 * float(own[1]) + 2, 0.7 * float(own[2]))
        if look.ink is not None and look.ink[0] <= 10:
            line_colour = self._ink()
        between = p[LIPS_UPPER_INNER] if apart else 0.5 * (p[LIPS_UPPER_INNER] + p[LIPS_LOWER_INNER])
        ends = (p[61] + 0.015 * (p[61] - p[291]), p[291] + 0.015 * (p[291] - p[61]))
        path = np.vstack([ends[0], between, ends[1]])
        line = pen.stroke(path, 0.028 * mw * look.weight, (0.2, 1.0, 0.65, 0.75, 0.65, 1.0, 0.2))
        self._lay(pen, line, line_colour, 0.85)
        if apart:
            low = pen.stroke(p[LIPS_LOWER_INNER][1:-1], 0.016 * mw * look.weight, (0.1, 0.8, 1.0, 0.8, 0.1))
            self._lay(pen, low, line_colour, 0.5)
        under = p[[181, 84, 17, 314, 405]] + np.array([0, 0.012 * mw], np.float32)
        self._lay(
            pen, pen.stroke(under, 0.018 * mw * look.weight, (0, 0.8, 1.0, 0.8, 0), soft=0.5), self._ink(0.5), 0.45
        )

    def _teeth(self, pen: _Pen, mouth: Plane, mw: float) -> None:
        """The mouth's inside as it is: teeth brighter, less yellow, with their own forms; the rest a warm dark."""
        photo = np.asarray(cv2.GaussianBlur(self._seen(pen.box), (0, 0), max(0.4, 0.010 * mw)), np.float32)
        inside = mouth > 0.5
        if int(inside.sum()) < 4:
            return
        skin = float(self.skin[0])
        chroma: Plane = np.hypot(photo[..., 1], photo[..., 2])
        bright = smoothstep(photo[..., 0], 0.58 * skin, 0.86 * skin) * (1 - smoothstep(chroma, 24, 38))
        side = max(1, round(0.05 * mw)) | 1
        tooth = cv2.GaussianBlur(
            cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)), (0, 0), max(0.5, 0.012 * mw)
        )[..., None]
        mean = (
            float(np.median(photo[..., 0][inside & (tooth[..., 0] > 0.5)]))
            if (inside & (tooth[..., 0] > 0.5)).any()
            else 70.0
        )
        forms = np.clip(0.55 * (photo[..., 0] - mean), -14, 5)
        white = np.dstack([np.clip(91 + forms, 60, 97), 0.15 * photo[..., 1] + 0.5, 0.25 * photo[..., 2] + 1.5])
        throat = np.dstack([np.clip(0.5 * photo[..., 0] + 6, 12, 42), 0 * forms + 18, 0 * forms + 9])
        colours = tooth * white + (1 - tooth) * throat
        part = self.canvas[pen.box]
        if self.look.colour < 1:
            colours[..., 1:] *= self.look.colour
        part += (0.94 * mouth)[..., None] * (colours.astype(np.float32) - part)
        shade = pen.stroke(
            self.p[LIPS_UPPER_INNER] + np.array([0, 0.012 * mw], np.float32),
            0.05 * mw,
            (0.2, 0.9, 1, 0.9, 0.2),
            soft=0.012 * mw,
        )
        self._lay(pen, shade * mouth, (48, 14, 8), 0.4)

    def _iris_colour(self) -> Lab:
        """One colour for both eyes, (3,): how light they are, L*, and the a*b* to paint them in.

        Measured in the irises' lower halves, where neither lid nor highlight lies, against the eyes' whites, which
        show what the light adds. Dark eyes are brown; grey ones stay grey.
        """
        irises, whites = [], []
        for upper, lower, _, rim, centre, _, _ in EYES:
            middle = self.p[centre]
            radius = float(np.linalg.norm(self.p[rim] - middle, axis=1).mean())
            pen = _Pen(self.canvas.shape, np.vstack([self.p[rim], self.p[upper]]), 2)
            open_part = pen.area(np.vstack([spline(self.p[upper]), spline(self.p[lower])[::-1]]))
            ring = pen.disc(middle, 0.85 * radius) * (1 - pen.disc(middle, 0.42 * radius)) * open_part
            irises.append(self._seen(pen.box)[(ring > 0.5) & (pen.y > middle[1] - 0.1 * radius)])
            whites.append(self._seen(pen.box)[(open_part > 0.7) & (pen.disc(middle, 1.15 * radius) < 0.1)])
        iris, white = np.vstack(irises), np.vstack(whites)
        brown = IRIS_BROWN * np.array([np.cos(np.deg2rad(58)), np.sin(np.deg2rad(58))])
        if len(iris) < 8:
            return np.array([26, *brown], np.float32)
        light = float(np.percentile(iris[:, 0], 55))
        tint = np.median(iris[:, 1:], 0)
        seen = float(tint[1])
        if len(white) >= 8:
            lit = np.median(white, 0)
            tint = tint - WHITE_SHARE * min(light / max(float(lit[0]), 1.0), 1.0) * lit[1:]
        chroma = float(np.hypot(*tint))
        tint = tint / max(chroma, 1e-3) * np.clip(1.8 * chroma + 2, 4, 28)
        known = float(smoothstep(np.full(1, light, np.float32), 25, 34)[0])
        if seen < -3:  # blue in spite of the dark: as it is
            known = 1.0
        return np.array([light, *(known * tint + (1 - known) * brown)], np.float32)

    def _eye(
        self, eye: tuple[list[int], list[int], list[int], list[int], int, list[int], list[int]], iris: Lab
    ) -> None:
        upper, lower, crease, rim, centre, _, _ = eye
        p, look = self.p, self.look
        up, low, middle = p[upper], p[lower], p[centre]
        ew = max(float(np.linalg.norm(up[0] - up[-1])), 1.0)
        pen = _Pen(self.canvas.shape, np.vstack([up, low, p[crease]]), 0.35 * ew)
        opening = float(np.linalg.norm(up[3:6] - low[3:6], axis=1).max())
        open_ = float(smoothstep(np.full(1, opening / ew, np.float32), 0.10, 0.19)[0])
        aperture = pen.area(np.vstack([spline(up), spline(low)[::-1]]))
        radius = max(1.12 * float(np.linalg.norm(p[rim] - middle, axis=1).mean()), 0.205 * ew)
        # The white is as bright as this light allows: pure white would stare out of a dark face.
        own = self._seen(pen.box)[aperture > 0.5]
        brightest = float(np.percentile(own[:, 0], 90)) if len(own) > 4 else 80.0
        self._lay(pen, aperture, (float(np.clip(brightest + 16, 78, 95)), 0.5, 1.5), look.white * open_)
        tint = self.look.iris * iris[1:]
        disc = pen.disc(middle, radius) * aperture
        # Dark above, where the lid shades it, bright below, where light gathers.
        depth = np.clip(((pen.y - middle[1]) / radius + 0.75) / 1.6, 0, 1)[..., None]
        top = np.array([16, *(0.6 * tint)], np.float32)
        bottom = np.array([np.clip(54 + 1.1 * (float(iris[0]) - 28), 54, 67), *(1.25 * tint)], np.float32)
        part = self.canvas[pen.box]
        part += (disc * open_)[..., None] * (top + depth * (bottom - top) - part)
        ring = np.clip(pen.disc(middle, radius) - pen.disc(middle, 0.86 * radius), 0, 1) * aperture
        self._lay(pen, ring, (12, *(0.4 * tint)), 0.75 * open_)
        self._lay(pen, pen.disc(middle, 0.40 * radius) * aperture, (6, 1, 1), 0.95 * open_)
        shade = pen.stroke(up + np.array([0, 0.05 * opening], np.float32), 0.46 * opening, (1, 1), soft=0.018 * ew)
        self._lay(pen, shade * aperture, (30, 5, -4), 0.40 * open_)
        large = pen.disc(middle + np.array([-0.34, -0.36], np.float32) * radius, 0.28 * radius, 1.15)
        small = pen.disc(middle + np.array([0.36, 0.42], np.float32) * radius, 0.13 * radius)
        self._lay(pen, large * np.clip(1.5 * aperture, 0, 1), (99, 0, 0), 0.97 * open_)
        self._lay(pen, small * aperture, (97, 0, 0), 0.75 * open_)
        ink = look.ink if look.ink is not None else self._dark(0.2)
        lash: Points = np.vstack([up[0] + 0.35 * (up[0] - up[1]), up]) - np.array([0, 0.012 * ew], np.float32)
        lid = pen.stroke(lash, 0.100 * ew * look.weight, (0.1, 0.75, 1.0, 0.95, 0.72, 0.22))
        self._lay(pen, lid, ink, 0.95)
        below = pen.stroke(
            low[1:8] + np.array([0, 0.01 * ew], np.float32), 0.038 * ew * look.weight, (0.3, 0.9, 1.0, 0.5, 0.1)
        )
        self._lay(pen, below, self._dark(0.38), 0.5)
        fold = pen.stroke(up[2:7] + 0.9 * (p[crease] - up[2:7]), 0.033 * ew * look.weight, (0.05, 0.8, 1.0, 0.8, 0.05))
        self._lay(pen, fold, self._dark(0.45), 0.55)


def _lab(rgb: NDArray[np.float32]) -> Lab:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab), np.float32)
