"""The brows, in their own colour and no darker than the photo has them."""

import numpy as np

from cartoon.drawing.features.canvas import FaceCanvas
from cartoon.drawing.features.pen import Pen
from cartoon.faces.guide import EYES


def draw_brows(face: FaceCanvas) -> None:
    """Draw both brows."""
    for _, _, _, _, _, upper, lower in EYES:
        top, bottom = face.points[upper], face.points[lower]
        pen = Pen(face.canvas.shape, np.vstack([top, bottom]), 0.06 * face.tones.width)
        thick = float(np.median(np.linalg.norm(top - bottom, axis=1)))
        path = 0.5 * (top + bottom)
        path[0] += 0.1 * (path[0] - path[1])
        inside = pen.area(np.vstack([top, bottom[::-1]]))
        rows = face.seen(pen.box)[inside > 0.6]
        if len(rows) < 4:
            continue
        own = float(np.percentile(rows[:, 0], 20))
        colour = np.median(rows[rows[:, 0] <= np.percentile(rows[:, 0], 40)], 0)
        # As dark as the photo has it, no darker: pale brows stay pale, nobody gets a pencil.
        contrast = float(np.clip((face.skin[0] - own) / 20, 0.15, 1))
        shape = pen.stroke(path, 0.95 * thick, (0.15, 0.6, 0.9, 1.05, 0.95, 0.5), soft=0.06 * thick)
        darkness = 0.8 if face.style.ink is None or face.style.ink[0] > 10 else 0.6
        face.lay(pen, shape, (max(7.0, darkness * float(own)), colour[1], colour[2]), face.style.brows * contrast)
