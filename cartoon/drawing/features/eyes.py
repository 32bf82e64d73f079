"""The eyes: white, iris, pupil and highlights, lids and lashes."""

from typing import Final

import numpy as np

from cartoon.drawing.features.canvas import FaceCanvas, Lab
from cartoon.drawing.features.pen import Pen
from cartoon.faces.guide import EYES, Points, smoothstep, spline

IRIS_BROWN: Final = 26.0
"""Chroma of eyes too dark to show a colour."""
WHITE_SHARE: Final = 0.9
"""Of the cast on the eyes' whites, as far as the iris is as light as they, that is taken out of the iris."""


def iris_colour(face: FaceCanvas) -> Lab:
    """One colour for both eyes, (3,): how light they are, L*, and the a*b* to paint them in.

    Measured in the irises' lower halves, where neither lid nor highlight lies, against the eyes' whites, which
    show what the light adds. Dark eyes are brown; grey ones stay grey.
    """
    irises, whites = [], []
    for upper, lower, _, rim, centre, _, _ in EYES:
        middle = face.points[centre]
        radius = float(np.linalg.norm(face.points[rim] - middle, axis=1).mean())
        pen = Pen(face.canvas.shape, np.vstack([face.points[rim], face.points[upper]]), 2)
        open_part = pen.area(np.vstack([spline(face.points[upper]), spline(face.points[lower])[::-1]]))
        ring = pen.disc(middle, 0.85 * radius) * (1 - pen.disc(middle, 0.42 * radius)) * open_part
        irises.append(face.seen(pen.box)[(ring > 0.5) & (pen.y > middle[1] - 0.1 * radius)])
        whites.append(face.seen(pen.box)[(open_part > 0.7) & (pen.disc(middle, 1.15 * radius) < 0.1)])
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


def draw_eye(
    face: FaceCanvas, eye: tuple[list[int], list[int], list[int], list[int], int, list[int], list[int]], iris: Lab
) -> None:
    """Draw one eye of EYES, with an iris of that colour."""
    upper, lower, crease, rim, centre, _, _ = eye
    p, style = face.points, face.style
    up, low, middle = p[upper], p[lower], p[centre]
    ew = max(float(np.linalg.norm(up[0] - up[-1])), 1.0)
    pen = Pen(face.canvas.shape, np.vstack([up, low, p[crease]]), 0.35 * ew)
    opening = float(np.linalg.norm(up[3:6] - low[3:6], axis=1).max())
    open_ = float(smoothstep(np.full(1, opening / ew, np.float32), 0.10, 0.19)[0])
    aperture = pen.area(np.vstack([spline(up), spline(low)[::-1]]))
    radius = max(1.12 * float(np.linalg.norm(p[rim] - middle, axis=1).mean()), 0.205 * ew)
    # The white is as bright as this light allows: pure white would stare out of a dark face.
    own = face.seen(pen.box)[aperture > 0.5]
    brightest = float(np.percentile(own[:, 0], 90)) if len(own) > 4 else 80.0
    face.lay(pen, aperture, (float(np.clip(brightest + 16, 78, 95)), 0.5, 1.5), style.white * open_)
    tint = style.iris * iris[1:]
    disc = pen.disc(middle, radius) * aperture
    # Dark above, where the lid shades it, bright below, where light gathers.
    depth = np.clip(((pen.y - middle[1]) / radius + 0.75) / 1.6, 0, 1)[..., None]
    top = np.array([16, *(0.6 * tint)], np.float32)
    bottom = np.array([np.clip(54 + 1.1 * (float(iris[0]) - 28), 54, 67), *(1.25 * tint)], np.float32)
    part = face.canvas[pen.box]
    part += (disc * open_)[..., None] * (top + depth * (bottom - top) - part)
    ring = np.clip(pen.disc(middle, radius) - pen.disc(middle, 0.86 * radius), 0, 1) * aperture
    face.lay(pen, ring, (12, *(0.4 * tint)), 0.75 * open_)
    face.lay(pen, pen.disc(middle, 0.40 * radius) * aperture, (6, 1, 1), 0.95 * open_)
    shade = pen.stroke(up + np.array([0, 0.05 * opening], np.float32), 0.46 * opening, (1, 1), soft=0.018 * ew)
    face.lay(pen, shade * aperture, (30, 5, -4), 0.40 * open_)
    large = pen.disc(middle + np.array([-0.34, -0.36], np.float32) * radius, 0.28 * radius, 1.15)
    small = pen.disc(middle + np.array([0.36, 0.42], np.float32) * radius, 0.13 * radius)
    face.lay(pen, large * np.clip(1.5 * aperture, 0, 1), (99, 0, 0), 0.97 * open_)
    face.lay(pen, small * aperture, (97, 0, 0), 0.75 * open_)
    ink = style.ink if style.ink is not None else face.dark(0.2)
    lash: Points = np.vstack([up[0] + 0.35 * (up[0] - up[1]), up]) - np.array([0, 0.012 * ew], np.float32)
    lid = pen.stroke(lash, 0.100 * ew * style.weight, (0.1, 0.75, 1.0, 0.95, 0.72, 0.22))
    face.lay(pen, lid, ink, 0.95)
    below = pen.stroke(
        low[1:8] + np.array([0, 0.01 * ew], np.float32), 0.038 * ew * style.weight, (0.3, 0.9, 1.0, 0.5, 0.1)
    )
    face.lay(pen, below, face.dark(0.38), 0.5)
    fold = pen.stroke(up[2:7] + 0.9 * (p[crease] - up[2:7]), 0.033 * ew * style.weight, (0.05, 0.8, 1.0, 0.8, 0.05))
    face.lay(pen, fold, face.dark(0.45), 0.55)
