"""The mouth: lips in their own colour, and what shows between them."""

from typing import Final

import cv2
import numpy as np

from cartoon.drawing.features.canvas import FaceCanvas
from cartoon.drawing.features.pen import Pen, Plane
from cartoon.faces.guide import (
    LIPS_LOWER_INNER,
    LIPS_LOWER_OUTER,
    LIPS_UPPER_INNER,
    LIPS_UPPER_OUTER,
    smoothstep,
    spline,
)

LIPS_APART: Final = 0.035
"""Opening of the mouth, in mouth widths, from which teeth are drawn (the guide's own limit)."""


def draw_mouth(face: FaceCanvas) -> None:
    """Draw the lips, the line between them, and teeth where they are apart."""
    p, style = face.points, face.style
    mw = float(np.linalg.norm(p[61] - p[291]))
    outer_up, outer_low = spline(p[LIPS_UPPER_OUTER]), spline(p[LIPS_LOWER_OUTER])
    inner_up, inner_low = spline(p[LIPS_UPPER_INNER]), spline(p[LIPS_LOWER_INNER])
    pen = Pen(face.canvas.shape, np.vstack([outer_up, outer_low]), 0.12 * mw)
    whole = pen.area(np.vstack([outer_up, outer_low[::-1]]))
    apart = float(np.linalg.norm(p[13] - p[14])) / max(mw, 1e-3) > LIPS_APART
    mouth = pen.area(np.vstack([inner_up, inner_low[::-1]])) if apart else np.zeros_like(whole)
    rows = face.seen(pen.box)[(whole > 0.7) & (mouth < 0.2)]
    lip = np.median(rows, 0) if len(rows) > 4 else face.skin + np.array([-8, 5, 0])
    # The lips differ from the painted skin as they do from the skin in the photo.
    own = face.painted_skin + np.array([0.85, 1.1, 0.9], np.float32) * (lip - face.skin)
    own[0] = min(own[0], face.painted_skin[0] - 3)
    soft = 0.014 * mw
    upper = pen.area(np.vstack([outer_up, inner_up[::-1]]), soft=soft)
    lower = pen.area(np.vstack([inner_low, outer_low[::-1]]), soft=soft)
    face.lay(pen, upper, own + np.array([-5, 1, 0], np.float32), style.lips + 0.12)
    face.lay(pen, lower, own, style.lips)
    gloss = pen.disc(0.45 * p[17] + 0.55 * p[14], 0.11 * mw, 0.17, soft=0.012 * mw)
    face.lay(pen, gloss * lower, own + np.array([11, -3, -2], np.float32), 0.35)
    if apart:
        _teeth(face, pen, mouth, mw)
    line_colour = (max(9.0, 0.36 * float(own[0])), 0.9 * float(own[1]) + 2, 0.7 * float(own[2]))
    if style.ink is not None and style.ink[0] <= 10:
        line_colour = face.ink()
    between = p[LIPS_UPPER_INNER] if apart else 0.5 * (p[LIPS_UPPER_INNER] + p[LIPS_LOWER_INNER])
    ends = (p[61] + 0.015 * (p[61] - p[291]), p[291] + 0.015 * (p[291] - p[61]))
    path = np.vstack([ends[0], between, ends[1]])
    line = pen.stroke(path, 0.028 * mw * style.weight, (0.2, 1.0, 0.65, 0.75, 0.65, 1.0, 0.2))
    face.lay(pen, line, line_colour, 0.85)
    if apart:
        low = pen.stroke(p[LIPS_LOWER_INNER][1:-1], 0.016 * mw * style.weight, (0.1, 0.8, 1.0, 0.8, 0.1))
        face.lay(pen, low, line_colour, 0.5)
    under = p[[181, 84, 17, 314, 405]] + np.array([0, 0.012 * mw], np.float32)
    face.lay(pen, pen.stroke(under, 0.018 * mw * style.weight, (0, 0.8, 1.0, 0.8, 0), soft=0.5), face.ink(0.5), 0.45)


def _teeth(face: FaceCanvas, pen: Pen, mouth: Plane, mw: float) -> None:
    """The mouth's inside as it is: teeth brighter, less yellow, with their own forms; the rest a warm dark."""
    photo = np.asarray(cv2.GaussianBlur(face.seen(pen.box), (0, 0), max(0.4, 0.010 * mw)), np.float32)
    inside = mouth > 0.5
    if int(inside.sum()) < 4:
        return
    skin = float(face.skin[0])
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
    part = face.canvas[pen.box]
    if face.style.colour < 1:
        colours[..., 1:] *= face.style.colour
    part += (0.94 * mouth)[..., None] * (colours.astype(np.float32) - part)
    shade = pen.stroke(
        face.points[LIPS_UPPER_INNER] + np.array([0, 0.012 * mw], np.float32),
        0.05 * mw,
        (0.2, 0.9, 1, 0.9, 0.2),
        soft=0.012 * mw,
    )
    face.lay(pen, shade * mouth, (48, 14, 8), 0.4)
