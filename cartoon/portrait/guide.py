"""The guide map: where the person and the features of each face are, drawn for the network to follow.

The channels are fixed by the shipped weights; changing one means training again. Strokes and highlights lie where the
teacher draws them, so the network only has to colour what it is shown (LOOK.md explains why a small network
needs that). Landmark numbers are MediaPipe's face mesh with irises, 478 points.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.image import Pixels

Points = NDArray[np.float32]
"""float32 (N, 2), x and y in px."""
Plane = NDArray[np.float32]
"""float32 (H, W), 0..1 unless said otherwise."""

CHANNELS: Final = (
    "person",
    "oval",
    "eyes",
    "iris",
    "highlight",
    "brows",
    "lids",
    "lips",
    "mouth",
    "nose",
    "jaw",
    "skin_light",
    "skin_steps",
    "hair_steps",
    "light_steps",
)
FEATURES: Final = [CHANNELS.index(name) for name in ("eyes", "brows", "lids", "lips", "mouth", "nose")]
_DRAWN: Final = CHANNELS[1:11]

# fmt: off
OVAL: Final = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148,
               176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
JAW: Final = [234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454]
LIPS_UPPER_OUTER: Final = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
LIPS_LOWER_OUTER: Final = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]
LIPS_UPPER_INNER: Final = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LIPS_LOWER_INNER: Final = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
# One row per eye: upper lid, lower lid, crease, iris rim, iris centre, upper and lower edge of the brow.
EYES: Final = (
    ([33, 246, 161, 160, 159, 158, 157, 173, 133], [33, 7, 163, 144, 145, 153, 154, 155, 133],
     [30, 29, 27, 28, 56], [469, 470, 471, 472], 468, [70, 63, 105, 66, 107], [46, 53, 52, 65, 55]),
    ([263, 466, 388, 387, 386, 385, 384, 398, 362], [263, 249, 390, 373, 374, 380, 381, 382, 362],
     [260, 259, 257, 258, 286], [474, 475, 476, 477], 473, [300, 293, 334, 296, 336], [276, 283, 282, 295, 285]),
)
# fmt: on
TEMPLES: Final = (234, 454)
"""The two ends of the face's width."""
FOREHEAD, CHIN, NOSE_TIP = 10, 152, 1

_SUBPIXEL_BITS: Final = 4  # cv2.fillPoly takes fixed-point corners


def face_width(landmarks: Points) -> float:
    """Distance between the temples, px."""
    a, b = landmarks[list(TEMPLES)]
    return float(np.linalg.norm(a - b))


def draw_guide(pixels: Pixels, person: Plane, faces: Sequence[Points]) -> NDArray[np.uint8]:
    """Draw the guide map of one picture.

    pixels: uint8 (H, W, 3) sRGB. person: float32 (H, W) 0..1. faces: landmarks (478, 2), x and y px in this picture.
    Returns uint8 (len(CHANNELS), H, W), 0..255; with no face all but "person" and "light_steps" are zero.
    """
    height, width = person.shape
    guide = np.zeros((len(CHANNELS), height, width), np.uint8)
    guide[0] = np.clip(person * 255 + 0.5, 0, 255)
    light = _lightness(pixels)
    guide[CHANNELS.index("light_steps")] = _light_steps(light)
    for landmarks in faces:
        _Face(landmarks).draw(guide)
        _draw_tones(guide, light, person, landmarks)
    return guide


def highlights(guide: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The guide's eye highlights as far as the eyes are open: uint8 (H, W)."""
    return np.asarray(np.minimum(guide[CHANNELS.index("highlight")], guide[CHANNELS.index("eyes")]), np.uint8)


class _Face:
    """Draws one face's features into the guide, each channel as a union with what is there."""

    def __init__(self, landmarks: Points) -> None:
        self.points = np.asarray(landmarks, np.float32)
        self.width = face_width(self.points)

    def draw(self, guide: NDArray[np.uint8]) -> None:
        height, width = guide.shape[1:]
        low = np.floor(self.points.min(0) - 0.15 * self.width - 2).astype(int)
        high = np.ceil(self.points.max(0) + 0.15 * self.width + 2).astype(int)
        x0, y0, x1, y1 = max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)
        if x1 <= x0 or y1 <= y0:
            return
        self.origin = np.array([x0, y0], np.float32)
        self.planes = {name: np.zeros((y1 - y0, x1 - x0), np.uint8) for name in _DRAWN}
        self._oval_and_jaw()
        for eye in EYES:
            self._eye(*eye)
        self._mouth()
        self._nose()
        for name, plane in self.planes.items():
            region = guide[CHANNELS.index(name), y0:y1, x0:x1]
            np.maximum(region, plane, out=region)

    def _fill(self, name: str, polygon: Points, value: int = 255) -> None:
        plane = self.planes[name]
        corners = np.round((polygon - self.origin) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        layer = np.zeros_like(plane)
        cv2.fillPoly(layer, [corners], (value,), cv2.LINE_AA, _SUBPIXEL_BITS)
        np.maximum(plane, layer, out=plane)

    def _disc(self, name: str, centre: Points, radius: tuple[float, float], value: int = 255) -> None:
        turn = np.linspace(0, 2 * np.pi, 33)[:-1]
        ring = np.stack([np.cos(turn) * radius[0], np.sin(turn) * radius[1]], 1)
        self._fill(name, (centre + ring).astype(np.float32), value)

    def _stroke(self, name: str, path: Points, width: float, profile: Sequence[float], value: int = 255) -> None:
        """A tapered stroke: `profile` holds width factors at even steps along the path."""
        curve = spline(path)
        step = np.gradient(curve, axis=0)
        step /= np.linalg.norm(step, axis=1, keepdims=True) + 1e-6
        normal = np.stack([-step[:, 1], step[:, 0]], 1)
        along = np.linspace(0, 1, len(curve))
        half = np.interp(along, np.linspace(0, 1, len(profile)), profile)[:, None] * max(width, 0.7) / 2
        self._fill(name, np.vstack([curve + normal * half, (curve - normal * half)[::-1]]).astype(np.float32), value)

    def _oval_and_jaw(self) -> None:
        p, fw = self.points, self.width
        self._fill("oval", p[OVAL])
        self._stroke("jaw", p[JAW], 0.016 * fw, (0.1, 0.8, 1.0, 0.8, 0.1))

    def _eye(
        self,
        upper: list[int],
        lower: list[int],
        crease: list[int],
        rim: list[int],
        centre: int,
        brow_upper: list[int],
        brow_lower: list[int],
    ) -> None:
        p = self.points
        up, low, middle = p[upper], p[lower], p[centre]
        ew = float(np.linalg.norm(up[0] - up[-1]))
        self._fill("eyes", np.vstack([spline(up), spline(low)[::-1]]))
        radius = max(1.12 * float(np.linalg.norm(p[rim] - middle, axis=1).mean()), 0.205 * ew)
        self._disc("iris", middle, (radius, radius), 150)
        self._disc("iris", middle, (0.45 * radius, 0.45 * radius))
        aperture = self.planes["eyes"]
        np.minimum(self.planes["iris"], aperture, out=self.planes["iris"])
        self._disc("highlight", middle + np.array([-0.34, -0.36], np.float32) * radius, (0.27 * radius, 0.31 * radius))
        self._disc(
            "highlight", middle + np.array([0.36, 0.42], np.float32) * radius, (0.13 * radius, 0.13 * radius), 190
        )
        lash: Points = np.vstack([up[0] + 0.35 * (up[0] - up[1]), up]) - np.array([0, 0.012 * ew], np.float32)
        self._stroke("lids", lash, 0.105 * ew, (0.1, 0.75, 1.0, 0.95, 0.72, 0.22))
        self._stroke("lids", low[1:8] + np.array([0, 0.01 * ew], np.float32), 0.04 * ew, (0.3, 0.9, 1.0, 0.5, 0.1), 140)
        self._stroke("lids", up[2:7] + 0.9 * (p[crease] - up[2:7]), 0.035 * ew, (0.05, 0.8, 1.0, 0.8, 0.05), 90)
        edge_u, edge_l = p[brow_upper], p[brow_lower]
        path = (edge_u + edge_l) / 2
        path[0] += 0.1 * (path[0] - path[1])
        thick = float(np.median(np.linalg.norm(edge_u - edge_l, axis=1)))
        self._stroke("brows", path, thick, (0.15, 0.55, 0.85, 1.05, 0.95, 0.45))

    def _mouth(self) -> None:
        p = self.points
        mw = float(np.linalg.norm(p[61] - p[291]))
        upper_outer, lower_outer = spline(p[LIPS_UPPER_OUTER]), spline(p[LIPS_LOWER_OUTER])
        upper_inner, lower_inner = p[LIPS_UPPER_INNER], p[LIPS_LOWER_INNER]
        self._fill("lips", np.vstack([upper_outer, lower_outer[::-1]]))
        opening = float(np.linalg.norm(p[13] - p[14])) / max(mw, 1e-3)
        if opening > 0.035:  # lips apart: below this the two inner edges are one line (the teacher's own limit)
            self._fill("mouth", np.vstack([spline(upper_inner), spline(lower_inner)[::-1]]), 128)
            line = upper_inner
        else:
            line = (upper_inner + lower_inner) / 2
        line = np.vstack([p[61] + 0.015 * (p[61] - p[291]), line, p[291] + 0.015 * (p[291] - p[61])])
        self._stroke("mouth", line, 0.028 * mw, (0.2, 1.0, 0.7, 0.8, 0.7, 1.0, 0.2))
        under = p[[181, 84, 17, 314, 405]] + np.array([0, 0.01 * mw], np.float32)
        self._stroke("nose", under, 0.02 * mw, (0.05, 0.8, 1.0, 0.8, 0.05), 110)

    def _nose(self) -> None:
        p, fw = self.points, self.width
        for outer, inner in ((98, 97), (327, 326)):
            a, b, tip = p[outer], p[inner], p[2]
            start = a + 0.3 * (a - b) - np.array([0, 0.012 * fw], np.float32)
            path = np.vstack([start, (a + b) / 2 - np.array([0, 0.004 * fw], np.float32), b, 0.6 * b + 0.4 * tip])
            self._stroke("nose", path.astype(np.float32), 0.024 * fw, (0.1, 0.55, 0.9, 1.0, 0.5, 0.05))
        for wing in ([129, 102, 64], [358, 331, 294]):
            self._stroke("nose", p[wing], 0.012 * fw, (0.1, 0.7, 1.0, 0.3), 150)


def spline(points: Points, steps: int = 8) -> Points:
    """Resample an open polyline as a Catmull-Rom curve (Catmull, Rom 1974), `steps` samples a segment."""
    p = np.asarray(points, np.float32)
    ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None, None]
    p0, p1, p2, p3 = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.vstack([curve.transpose(1, 0, 2).reshape(-1, 2), p[-1:]]).astype(np.float32)


def smoothstep(x: Plane, low: float, high: float) -> Plane:
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _lightness(pixels: Pixels) -> Plane:
    """CIELAB L*, 0..100, with fine texture smoothed away and edges kept."""
    height, width = pixels.shape[:2]
    half = cv2.resize(pixels, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    light = cv2.cvtColor(half, cv2.COLOR_RGB2Lab)[..., 0]
    smooth = cv2.bilateralFilter(light, 7, 14, 3)
    full = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32) * np.float32(100 / 255)


def _light_steps(light: Plane, step: float = 13.0) -> NDArray[np.uint8]:
    """Lightness in flat steps of `step` L* with short ramps between: where cel shading changes tone."""
    phase = light / step + 0.35
    whole = np.floor(phase)
    quantised = whole + smoothstep(phase - whole, 0.44, 0.56)
    return np.asarray(np.clip(quantised * (step / 100 * 255), 0, 255), np.uint8)


def _draw_tones(guide: NDArray[np.uint8], light: Plane, person: Plane, landmarks: Points) -> None:
    """Where skin and hair change tone: lightness against percentiles of this very face.

    The teacher puts its tone steps at percentiles over the face, which no convolution sees; drawn here they are local.
    """
    fw = face_width(landmarks)
    height, width = light.shape
    centre = landmarks[OVAL].mean(0)
    reach = np.array([1.5 * fw, 1.9 * fw])
    x0, y0 = np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(centre + reach), 1, [width, height]).astype(int)
    if x1 - x0 < 4 or y1 - y0 < 4 or fw < 4:
        return
    region = np.s_[y0:y1, x0:x1]
    local, body = light[region], person[region]
    scale = min(1.0, 96 / fw)  # percentiles and wide blurs need no more than a face of 96 px
    small_size = (max(2, round((x1 - x0) * scale)), max(2, round((y1 - y0) * scale)))
    small = cv2.resize(local, small_size, interpolation=cv2.INTER_AREA)
    offset = np.array([x0, y0], np.float32)
    ratio = np.array([small_size[0] / (x1 - x0), small_size[1] / (y1 - y0)], np.float32)
    points = (landmarks - offset) * ratio
    skin = _polygon(small.shape, points[OVAL], 0.92)
    features = _polygon(small.shape, points[EYES[0][0] + EYES[0][1][::-1]], 1.5)
    features = np.maximum(features, _polygon(small.shape, points[EYES[1][0] + EYES[1][1][::-1]], 1.5))
    features = np.maximum(features, _polygon(small.shape, points[LIPS_UPPER_OUTER + LIPS_LOWER_OUTER[::-1]], 1.1))
    chosen = (skin > 0.5) & (features < 0.5)
    if int(chosen.sum()) < 24:
        return
    near = _falloff(local.shape, (centre - offset), 1.25 * fw, 1.6 * fw)
    weight = skin + np.float32(1e-3)
    wide = cv2.GaussianBlur(small * weight, (0, 0), 0.3 * fw * scale) / cv2.GaussianBlur(
        weight, (0, 0), 0.3 * fw * scale
    )
    base = float(np.percentile(small[chosen], 58))
    level_small = small - np.float32(0.45) * (wide - base)
    p6, p22, p58, p88 = np.percentile(level_small[chosen], [6, 22, 58, 88])
    smooth = cv2.GaussianBlur(local, (0, 0), max(0.5, 0.02 * fw))
    wide_full = cv2.resize(wide, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    level = smooth - np.float32(0.45) * (wide_full - base)
    thresholds = (min(p6, p58 - 11), min(p22, p58 - 4.5), max(p88, p58 + 3.5))
    steps = np.mean([smoothstep(level, t - 1.2, t + 1.2) for t in thresholds], axis=0)
    _union(guide, "skin_light", region, np.clip((level - p58) / 60 + 0.5, 0.02, 1) * near)
    _union(guide, "skin_steps", region, (0.1 + 0.9 * steps) * near)

    chin = points[CHIN][1]
    rows = np.arange(small.shape[0], dtype=np.float32)[:, None]
    body_small = cv2.resize(body, small_size, interpolation=cv2.INTER_AREA)
    hair = (body_small > 0.6) & (_polygon(small.shape, points[OVAL], 1.06) < 0.5) & (rows < chin - 0.1 * fw * scale)
    if int(hair.sum()) < 24:
        return
    p4, q22, q50, q78, q96 = np.percentile(small[hair], [4, 22, 50, 78, 96])
    spread = max(q96 - p4, 8.0)
    cuts = ((p4 + q22) / 2 + 0.1 * spread, (q22 + q50) / 2, (q50 + q78) / 2, (q78 + q96) / 2)
    strand = np.asarray(cv2.GaussianBlur(local, (0, 0), max(0.5, 0.008 * fw)), np.float32)
    soft = max(0.9, 0.035 * spread)
    tone = np.mean([smoothstep(strand, c - soft, c + soft) for c in cuts], axis=0)
    _union(guide, "hair_steps", region, (0.1 + 0.9 * tone) * near * body)


def _union(guide: NDArray[np.uint8], name: str, region: tuple[slice, slice], plane: NDArray[Any]) -> None:
    view = guide[CHANNELS.index(name)][region]
    np.maximum(view, (plane * 255).astype(np.uint8), out=view)


def _polygon(shape: tuple[int, ...], points: Points, grow: float) -> Plane:
    centre = points.mean(0)
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(centre + (points - centre) * grow).astype(np.int32)], (255,))
    return mask.astype(np.float32) / np.float32(255)


def _falloff(shape: tuple[int, ...], centre: Points, inner: float, outer: float) -> Plane:
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot((x - centre[0]).astype(np.float32), (y - centre[1]).astype(np.float32) * np.float32(0.8))
    return 1 - smoothstep(distance, inner, outer)
