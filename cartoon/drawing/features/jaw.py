"""The line of a face's jaw."""

import numpy as np

from cartoon.drawing.features.canvas import FaceCanvas
from cartoon.drawing.features.pen import Pen
from cartoon.faces.guide import JAW


def draw_jaw(face: FaceCanvas) -> None:
    """Draw the jaw from ear to ear."""
    width, cover = face.style.jaw
    path = face.points[JAW]
    pen = Pen(face.canvas.shape, path, 3)
    line = pen.stroke(path, width * face.tones.width, (0.05, 0.7, 1.0, 0.9, 1.0, 0.7, 0.05), soft=0.4)
    # Only as far as there is a face to see: over hair or a beard the line would float.
    like_skin = np.exp(-(((face.canvas[pen.box][..., 0] - face.painted_skin[0]) / 28.0) ** 2))
    face.lay(pen, line * like_skin.astype(np.float32), face.ink(0.5), cover)
