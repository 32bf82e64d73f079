"""What the network makes of a photo and the styles paint with: a stack of eleven planes, and the arithmetic they share.

A stack is float32 (B, 11, H, W), 0..1. "Luma" is gamma-encoded (ITU-R BT.601 weights on sRGB), close to L* / 100, and
"chroma" what is left of R, G and B without it: a linear change of coordinates in which a tone can be stepped while its
hue stays.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

PLANES: Final = ("fg_r", "fg_g", "fg_b", "bg_r", "bg_g", "bg_b", "alpha", "line", "ink", "skin", "hair")
"""foreground and background: the flattened colours of the person and of what is behind, each going on behind the other
(sRGB); alpha: 1 is person; line, ink: fine and bold contours; skin, hair: shares of the person."""
FOREGROUND: Final = slice(0, 3)
BACKGROUND: Final = slice(3, 6)
ALPHA: Final = PLANES.index("alpha")
LINE: Final = PLANES.index("line")
INK: Final = PLANES.index("ink")
SKIN: Final = PLANES.index("skin")
HAIR: Final = PLANES.index("hair")

LEAST_SIGMA: Final = 0.3
"""Px; a blur of less does nothing."""
_LUMA: Final = (0.299, 0.587, 0.114)


def luma(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB -> (B, 1, H, W)."""
    weights = torch.tensor([_LUMA], device=rgb.device, dtype=rgb.dtype)
    return (weights @ rgb.flatten(2)).view(len(rgb), 1, *rgb.shape[2:])


def opponent(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """sRGB (B, 3, H, W) -> luma (B, 1, H, W) and chroma (B, 3, H, W): R - Y, G - Y, B - Y. Their sum is sRGB again."""
    y = luma(rgb)
    return y, rgb - y


def to_rgb(y: Tensor, red: Tensor, blue: Tensor) -> Tensor:
    """sRGB of luma, R - Y and B - Y, (B, 1, H, W) each; not clamped."""
    green = torch.add(red * (-_LUMA[0] / _LUMA[1]), blue, alpha=-_LUMA[2] / _LUMA[1])
    return torch.cat([y + red, y + green, y + blue], 1)


def toned(rgb: Tensor, luma: float, red: float, blue: float, offset: tuple[float, float]) -> Tensor:
    """sRGB whose luma, R - Y and B - Y are multiplied; offset: of luma and R - Y. One product with a matrix."""
    y = torch.tensor(_LUMA)
    matrix = torch.zeros(3, 3)
    matrix[0], matrix[2] = -red * y, -blue * y
    matrix[0, 0] += red
    matrix[2, 2] += blue
    shift = torch.tensor([offset[1], 0.0, 0.0])
    for of in (matrix, shift):  # green follows from the other two
        of[1] = (of[0] * -_LUMA[0] + of[2] * -_LUMA[2]) / _LUMA[1]
    matrix, shift = matrix + luma * y, shift + offset[0]
    product = matrix.to(rgb) @ rgb.flatten(2)
    return product.add_(shift.to(rgb).view(1, 3, 1)).view(rgb.shape)


def smoothstep(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = (x - low).div_(high - low).clamp_(0, 1)
    return (t * t).mul_(3 - 2 * t)


def steps(x: Tensor, cuts: Sequence[float], values: Sequence[float], ramp: float) -> Tensor:
    """Flat tones: values[i] between cuts[i - 1] and cuts[i], joined by ramps of +-`ramp` around each cut."""
    out = torch.full_like(x, values[0])
    for cut, low, high in zip(cuts, values, values[1:], strict=False):
        out += (high - low) * smoothstep(x, cut - ramp, cut + ramp)
    return out


def terrace(x: Tensor, height: float, ramp: float, phase: float = 0.0) -> Tensor:
    """Endless flat tones of `height`; ramp is the half-width of the joint in steps."""
    scaled = x / height + phase
    floor = scaled.floor()
    return (floor + smoothstep(scaled - floor, 0.5 - ramp, 0.5 + ramp) - phase) * height


def over(base: Tensor, colour: Tensor | Sequence[float], cover: Tensor | float) -> Tensor:
    """`colour` laid over `base` where `cover` (B, 1, H, W) says so (Porter, Duff 1984)."""
    if not isinstance(colour, Tensor):
        colour = torch.tensor(colour, device=base.device, dtype=base.dtype).view(1, -1, 1, 1)
    return torch.lerp(base, colour, cover)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, edges repeated; large ones on a reduced picture, so that the cost does not grow with sigma."""
    if sigma < LEAST_SIGMA:
        return x
    factor = _reduction(x, sigma)
    return enlarged(_gauss(reduced(x, factor), sigma / factor), factor, x.shape[2:])


def masked_blur(x: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """Blur that takes only what lies in the mask (B, 1, H, W): normalised convolution (Knutsson, Westin 1993)."""
    if sigma < LEAST_SIGMA:
        return x
    weight = mask + 1e-3
    factor = _reduction(x, sigma)
    both = torch.cat([reduced(x * weight, factor), reduced(weight, factor)], 1)
    soft = _gauss(both, sigma / factor)
    return enlarged(soft[:, :-1] / soft[:, -1:], factor, x.shape[2:])


def _reduction(x: Tensor, sigma: float) -> int:
    """By how much a picture can be reduced before it is blurred so far."""
    factor = 1
    while sigma / factor > 3 and min(x.shape[2:]) // (2 * factor) >= 4:
        factor *= 2
    return factor


def reduced(x: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) reduced by a whole factor: means of squares of pixels."""
    if factor == 1:
        return x
    if x.device.type == "cpu" and not x.requires_grad:  # as in _gauss
        height, width = (-(-side // factor) for side in x.shape[2:])
        down, right = height * factor - x.shape[2], width * factor - x.shape[3]
        whole = (
            cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE) if down or right else plane
            for plane in _planes(x)
        )
        small = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in whole]
        return torch.from_numpy(np.stack(small)).view(*x.shape[:2], height, width)
    return F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)


def enlarged(small: Tensor, factor: int, shape: Sequence[int]) -> Tensor:
    """The inverse of `reduced`, linear between pixels; shape: height and width, within a pixel of `small`."""
    height, width = shape
    if factor == 1:
        return small
    if small.device.type == "cpu" and not small.requires_grad:  # as in _gauss
        size = (factor * small.shape[3], factor * small.shape[2])
        grown = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in _planes(small)]
        return torch.from_numpy(np.stack([plane[:height, :width] for plane in grown])).view(
            *small.shape[:2], height, width
        )
    return F.interpolate(small, scale_factor=factor, mode="bilinear")[..., :height, :width]


def _gauss(x: Tensor, sigma: float) -> Tensor:
    reach = min(max(1, round(2.5 * sigma)), max(x.shape[2:]))
    if x.device.type == "cpu" and not x.requires_grad:
        # The same taps through OpenCV, which is ten times as fast as torch's depthwise convolution on a CPU.
        size = (2 * reach + 1, 2 * reach + 1)
        soft = [cv2.GaussianBlur(plane, size, sigma, borderType=cv2.BORDER_REPLICATE) for plane in _planes(x)]
        return torch.from_numpy(np.stack(soft)).view(x.shape)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(x.shape[1], 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), taps[:, :, None, :], groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), taps[:, :, :, None], groups=x.shape[1])


def _planes(x: Tensor) -> NDArray[np.float32]:
    """(B, C, H, W) -> (B * C, H, W) for OpenCV."""
    planes: NDArray[np.float32] = x.float().contiguous().view(-1, *x.shape[2:]).numpy()
    return planes


def vibrance(chroma: Tensor, gain: float) -> Tensor:
    """Raise the saturation of pale colours by `gain`, of vivid ones by less. chroma: as of `opponent`."""
    size = torch.addcmul(chroma[:, :1].square(), chroma[:, 2:], chroma[:, 2:])
    return chroma * size.mul_(-1 / 0.06).exp_().mul_(gain).add_(1)
