"""Where a face's parts lie on a stack: windows, features, spectacles, beards. Pure torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.drawing.tones import FaceTones
from cartoon.faces.guide import OVAL
from cartoon.models.layers import enlarged, reduced

NO_FACE_WIDTH: Final = 0.25
"""Stands for a face's width where none was found: this share of the picture's shorter side."""

RIM: Final = 8
"""Px kept around what a mask holds: the reach of the finest blurs."""
COARSE: Final = 0.012
"""Face widths: what is as soft as an eye's surroundings is computed on pixels of this size."""
RASTER: Final = 64
"""Px; a multiple of what blurs reduce a picture by."""


class Window:
    """The part of a stack around one face: an index into (B, C, H, W), and its pixels' coordinates in the whole."""

    def __init__(self, face: FaceTones, stack: Tensor, reach: float) -> None:
        height, width = stack.shape[2:]
        centre = face.landmarks[OVAL].mean(0)
        low = np.clip(np.floor(centre - reach * face.width), 0, [width - 1, height - 1]).astype(int)
        high = np.clip(np.ceil(centre + reach * face.width), low + 1, [width, height]).astype(int)
        self.origin = low
        self.part = np.s_[:, :, int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
        x, y = grid(stack)
        self.x, self.y = x[..., int(low[0]) : int(high[0])], y[..., int(low[1]) : int(high[1]), :]
        self.shape = (self.y.shape[2], self.x.shape[3])

    def own(self, face: FaceTones) -> FaceTones:
        """The face in the window's coordinates."""
        return moved(face, int(self.origin[0]), int(self.origin[1]))

    def distance(self, face: FaceTones) -> Tensor:
        """From each pixel to a face's centre, in that face's widths."""
        cx, cy = face.landmarks[OVAL].mean(0).tolist()
        return torch.hypot(self.x - cx, self.y - cy) / face.width


def moved(face: FaceTones, x: int, y: int) -> FaceTones:
    """A face as seen from (x, y), px."""
    x0, y0, x1, y1 = face.beard.box
    beard = replace(face.beard, box=(x0 - x, y0 - y, x1 - x, y1 - y))
    return replace(face, landmarks=face.landmarks - np.array([x, y], np.float32), beard=beard)


def bounds(mask: Tensor) -> tuple[slice, slice] | None:
    """Rows and columns that hold all of a mask (1, 1, H, W) and a rim around it; None for an empty one.

    They start at multiples of RASTER: blurs on reduced pictures then fall on the same pixels as in the whole.
    """
    height, width = mask.shape[2:]
    rows, columns = mask.amax((0, 1, 3)).nonzero(), mask.amax((0, 1, 2)).nonzero()
    if not len(rows):
        return None
    (top, bottom), (left, right) = ((int(found[0]), int(found[-1])) for found in (rows, columns))
    return (
        slice((max(top - RIM, 0) // RASTER) * RASTER, min(bottom + 1 + RIM, height)),
        slice((max(left - RIM, 0) // RASTER) * RASTER, min(right + 1 + RIM, width)),
    )


def grid(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (1, 1, 1, W) and rows (1, 1, H, 1) of a stack, px."""
    height, width = stack.shape[2:]
    x = torch.arange(width, device=stack.device, dtype=torch.float32).view(1, 1, 1, -1)
    return x, torch.arange(height, device=stack.device, dtype=torch.float32).view(1, 1, -1, 1)


def scale(stack: Tensor, faces: Sequence[FaceTones]) -> float:
    """The width of the largest face, px, or what stands for it."""
    return max((face.width for face in faces), default=NO_FACE_WIDTH * min(stack.shape[2:]))


def feature_areas(stack: Tensor, faces: Sequence[FaceTones]) -> tuple[Tensor, Tensor]:
    """Where contours give way to the drawn features, and where spectacles keep them: (1, 1, H, W) each."""
    height, width = stack.shape[2:]
    quiet = torch.zeros(1, 1, height, width, device=stack.device)
    rims = torch.zeros_like(quiet)
    for face in faces:
        window = Window(face, stack, reach=0.75)
        coarse = max(1, int(COARSE * face.width))
        x, y = (reduced(axis.expand(1, 1, *window.shape), coarse) for axis in (window.x, window.y))
        for plane, found in zip((quiet, rims), _feature_areas(face, x, y), strict=True):
            part = plane[window.part]
            torch.maximum(part, enlarged(found, coarse, part.shape[2:]), out=part)
    return quiet, rims


def _feature_areas(face: FaceTones, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same for one face, at the places x, y (1, 1, h, w), px: soft blobs."""
    quiet, rims = torch.zeros_like(x), torch.zeros_like(x)
    for corners in ((33, 133), (263, 362)):
        a, b = face.landmarks[corners[0]], face.landmarks[corners[1]]
        (cx, cy), ew = ((a + b) / 2).tolist(), float(((a - b) ** 2).sum() ** 0.5)
        eye = torch.exp(-((((x - cx) / (0.68 * ew)) ** 2 + ((y - cy) / (0.46 * ew)) ** 2) ** 2))
        ring = torch.exp(-((((x - cx) / (1.12 * ew)) ** 2 + ((y - cy - 0.12 * ew) / (0.88 * ew)) ** 2) ** 4))
        quiet, rims = torch.maximum(quiet, eye), torch.maximum(rims, ring * face.glasses)
    a, b = face.landmarks[61], face.landmarks[291]
    (cx, cy), mw = face.landmarks[[0, 17, 61, 291]].mean(0).tolist(), float(((a - b) ** 2).sum() ** 0.5)
    tall = max(0.30 * mw, 0.75 * float(abs(face.landmarks[17, 1] - face.landmarks[0, 1])))
    lips = torch.exp(-((((x - cx) / (0.58 * mw)) ** 2 + ((y - cy) / tall) ** 2) ** 2))
    return torch.maximum(quiet, lips), rims


def beards(stack: Tensor, faces: Sequence[FaceTones]) -> Tensor:
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
