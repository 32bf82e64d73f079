"""Every face's features, laid into a painted person.

Drawn at the size of the result, so they are crisp from 64 to 4096 px; a network cannot be: it knows a highlight's place
to within a pixel and averages it to grey. Their colours are the photo's own - iris, lips, brows, teeth - so that
nobody gets make-up or another eye colour.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cartoon.drawing.features.brows import draw_brows
from cartoon.drawing.features.canvas import FaceCanvas, FeatureStyle, lab_of
from cartoon.drawing.features.eyes import draw_eye, iris_colour
from cartoon.drawing.features.jaw import draw_jaw
from cartoon.drawing.features.mouth import draw_mouth
from cartoon.drawing.features.nose import draw_nose
from cartoon.drawing.tones import FaceTones
from cartoon.faces.guide import EYES
from cartoon.images.types import Pixels

SMALLEST: Final = 14.0
"""Face width, px, below which features would be dots: left as painted."""


def draw_features(person: Tensor, photo: Pixels, faces: Sequence[FaceTones], style: FeatureStyle | None) -> None:
    """Draw every face's features into the painted person (1, 3, H, W), in place.

    photo: uint8 (H, W, 3) sRGB, what the person was painted from. style: None leaves it as it is.
    """
    if style is None:
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
        canvas = FaceCanvas(
            lab_of(np.ascontiguousarray(painted)),
            photo[y0:y1, x0:x1],
            face.landmarks - np.array([x0, y0], np.float32),
            face,
            style,
        )
        drawn = torch.from_numpy(_drawn(canvas)).permute(2, 0, 1)
        person[part] = drawn.to(person.device, person.dtype)


def _drawn(face: FaceCanvas) -> NDArray[np.float32]:
    """All features of one face; RGB float32 (H, W, 3)."""
    draw_jaw(face)
    draw_nose(face)
    draw_brows(face)
    draw_mouth(face)
    iris = iris_colour(face)
    for eye in EYES:
        draw_eye(face, eye, iris)
    return np.asarray(np.clip(cv2.cvtColor(face.canvas, cv2.COLOR_Lab2RGB), 0, 1), np.float32)
