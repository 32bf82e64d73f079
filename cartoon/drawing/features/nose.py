"""The nose: light on its bridge and tip, nostrils, wings."""

import numpy as np

from cartoon.drawing.features.canvas import FaceCanvas
from cartoon.drawing.features.pen import Pen


def draw_nose(face: FaceCanvas) -> None:
    """Draw the nose."""
    p, fw, style = face.points, face.tones.width, face.style
    pen = Pen(face.canvas.shape, p[[98, 327, 2, 129, 358, 4, 6, 64, 294]], 0.06 * fw)
    light = (min(97.0, float(face.painted_skin[0]) + 9), 0.6 * face.painted_skin[1], 0.75 * face.painted_skin[2])
    tip = 0.5 * (p[4] + p[5])
    face.lay(pen, pen.disc(tip, 0.022 * fw, 0.75, soft=0.007 * fw), light, 0.5)
    bridge = pen.stroke(p[[6, 197, 195]], 0.026 * fw, (0.05, 0.8, 1.0, 0.8, 0.05), soft=0.008 * fw)
    face.lay(pen, bridge, light, 0.28 * (1 - face.tones.glasses))
    for outer, inner in ((98, 97), (327, 326)):
        a, b = p[outer], p[inner]
        start = a + 0.3 * (a - b) - np.array([0, 0.012 * fw], np.float32)
        path = np.vstack([start, 0.5 * (a + b) - np.array([0, 0.004 * fw], np.float32), b, 0.6 * b + 0.4 * p[2]])
        nostril = pen.stroke(path, 0.022 * fw * style.weight, (0.1, 0.55, 1.0, 0.6, 0.05), soft=0.3)
        face.lay(pen, nostril, face.ink(0.36), style.nose)
    for wing in ([129, 102, 64], [358, 331, 294]):
        face.lay(
            pen,
            pen.stroke(p[wing], 0.011 * fw * style.weight, (0, 0.8, 1.0, 0.4), soft=0.3),
            face.ink(),
            0.6 * style.nose,
        )
