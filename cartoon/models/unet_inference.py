"""The network as it draws: no gradients, less time, and the memory that a strip of the picture takes on a CPU."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.models.layers import PLANES
from cartoon.models.style_file import SHIPPED_CONFIG, NetConfig
from cartoon.models.unet import COLOUR_GAIN, CartoonNet, KeysValues

STRIP = 1 << 16
"""Pixels of the finest level that are worked on at a time on a CPU; what layers return then stays in its caches."""
_TWICE = {2: torch.float32, 4: torch.float64}
"""Types of twice so many bytes; of these, rather than of integers, torch's copies are fast on a CPU."""


class InferenceNet(CartoonNet):
    """A CartoonNet that draws; weights of the one fit the other."""

    def __init__(self, config: NetConfig = SHIPPED_CONFIG) -> None:
        super().__init__(config)
        # Rows around a strip that its own depend on: two of each block's convolutions, one of stem and heads; even.
        self.rim = 2 * (config.depths[0] + (1 if config.keeps_photo else 2))

    def layers(
        self, inputs: Tensor, sizes: Sequence[tuple[int, int]] | None = None, seen: "KeysValues | None" = None
    ) -> Tensor:
        """As forward, joined by `stack`, without gradients, in less time and memory.

        inputs: photo and guide, uint8 (B, H, W, 3 + G). sizes: (height, width) of each picture in the upper left
        corner, where the rest is padding. seen: what the attention looks at instead, where the input is one tile of a
        larger picture. Returns (B, 11, h, w), as large as the largest of `sizes`.
        """
        x = self.scaled(inputs)
        coarse, skip = self._coarse(x, sizes, seen)
        photo = inputs[..., :3].permute(0, 3, 1, 2)
        height, width = (max(sides) for sides in zip(*(sizes or [(inputs.shape[1], inputs.shape[2])]), strict=True))
        result = torch.empty(len(inputs), len(PLANES), height, width, device=x.device)
        # Without a photo under them the colours would be rounded to 1/255 by a bfloat16's eight bits.
        weight, bias = self._heads(x.dtype if self.config.keeps_photo else torch.float32)
        for around, own, inner in _strips(x, skip.shape[2:], self.rim):
            below = slice(around.start // 2, around.stop // 2)
            features = self._to_heads(coarse[:, :, below], skip[:, :, around], x[:, :3, _pixels(around)])
            planes = F.conv2d(features.to(weight.dtype), weight, bias, padding=1)[:, :, inner]
            rows = slice(2 * own.start, min(2 * own.stop, height))
            _shuffle(planes, result[:, :, rows])
            self._finish(result[:, :, rows], photo[:, :, rows, :width])
        return result

    def scaled(self, inputs: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> (B, C, H, W), -0.5..0.5 in the network's number format."""
        return inputs.to(self.stem.weight.dtype).div_(255).sub_(0.5).permute(0, 3, 1, 2)

    def _finest(self, x: Tensor) -> Tensor:
        finest = super()._finest
        strips = _strips(x, (x.shape[2] // 2, x.shape[3] // 2), self.rim)
        parts = [finest(x[:, :, _pixels(around)])[:, :, inner] for around, _, inner in strips]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def _finish(self, planes: Tensor, photo: Tensor) -> None:
        """What the heads returned becomes a stack, in place; photo: uint8, of the same size."""
        colours, masks = planes[:, :6], planes[:, 6:]
        if self.config.keeps_photo:
            under = photo.contiguous().float().div_(255)
            for part in (colours[:, :3], colours[:, 3:]):
                torch.add(under, part, alpha=COLOUR_GAIN, out=part)
        else:
            colours += 0.5
        colours.clamp_(0, 1)
        masks.sigmoid_()


def _strips(x: Tensor, shape: Sequence[int], rim: int) -> Iterator[tuple[slice, slice, slice]]:
    """Rows of the finest level to work on at a time: with the rim they see, their own, these among those they see.

    shape: its (height, width). All of it at once where x is on a GPU, and where gradients are wanted.
    """
    rows, columns = shape
    step = rows
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        step = max(2 * rim, STRIP // columns // 2 * 2)
    for top in range(0, rows, step):
        bottom = min(top + step, rows)
        low, high = max(top - rim, 0), min(bottom + rim, rows)
        yield slice(low, high), slice(top, bottom), slice(top - low, bottom - low)


def _pixels(rows: slice) -> slice:
    """The picture's rows under rows of the finest level."""
    return slice(2 * rows.start, 2 * rows.stop)


def _shuffle(planes: Tensor, into: Tensor) -> None:
    """F.pixel_shuffle by 2 of (B, 4C, h, w) into (B, C, H, W), which may be a pixel smaller than 2h x 2w."""
    batch, channels, height, width = planes.shape
    # Two neighbours in a row of the result are neighbouring channels: moved as one number of twice the bytes, they
    # come to lie side by side by the same copy that takes the channels apart.
    pairs = planes.permute(0, 2, 3, 1).contiguous().view(_TWICE[planes.element_size()]).permute(0, 3, 1, 2)
    rows = pairs.contiguous().view(planes.dtype).view(batch, channels // 4, 2, height, 2 * width)
    for down in range(2):
        target = into[:, :, down::2]
        target.copy_(rows[:, :, down, : target.shape[2], : target.shape[3]])
