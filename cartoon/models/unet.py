"""The network as it is trained: photo + guide map -> the eleven planes of cartoon/models/layers.py.

A UNet (Ronneberger et al. 2015) on a pixel-unshuffled photo, with attention gates on its skips (Oktay et al. 2018) and
one self-attention at 1/16 whose keys and values are pooled (linear cost in pixels). Separate heads draw foreground,
background, and masks with contours. Normalisation is per pixel, never over the picture, so nothing but that
attention looks beyond its receptive field. The colours are what it changes of the photo: to flatten is to take texture
away, and a colour that training never showed comes out as it went in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cartoon.models.layers import PLANES
from cartoon.models.style_file import HEAD_WIDTH, MULTIPLE, SHIPPED_CONFIG, NetConfig

COLOUR_GAIN = 0.1
"""Of the colour heads: an optimiser's steps at the common rate would otherwise be a noise of 5/255 in the picture."""
PART = 16384
"""Pixels that a normalisation takes at a time on a CPU, what its steps return then stays in its caches."""
_MASKS = len(PLANES) - 6


class CartoonNet(nn.Module):
    """Takes a batch of photos apart.

    forward(photo, guide): photo (B, 3, H, W) sRGB 0..1; guide (B, G, H, W) 0..1. H and W are multiples of 16.
    Returns colours (B, 6, H, W), nominally 0..1 but not clamped, and the logits of the masks and contours (B, 5, H, W),
    both float32; `stack` joins them.
    """

    def __init__(self, config: NetConfig = SHIPPED_CONFIG) -> None:
        super().__init__()
        self.config = config
        w = config.widths
        self.stem = nn.Conv2d(4 * (3 + config.guide_channels), w[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(w))
        self.encode = nn.ModuleList(_stage(x, n) for x, n in zip(w, config.depths, strict=True))
        self.attend = PooledAttention(w[-1], config.pooled)
        self.middle = _stage(w[-1], 1)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(w))
        self.gate = nn.ModuleList(AttentionGate(a) for a in w[:-1])
        self.fuse = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in w[:-1])
        self.decode = nn.ModuleList(_stage(x, n) for x, n in zip(w[:-1], config.depths[:-1], strict=True))
        # Without the photo under the colours the features would have to carry it, and were not taught to.
        self.look = None if config.keeps_photo else _look(w[0])
        self.last = PixelNorm(w[0])
        self.head_foreground = nn.Conv2d(w[0], 4 * 3, 3, padding=1)
        self.head_background = nn.Conv2d(w[0], 4 * 3, 3, padding=1)
        self.head_masks = nn.Conv2d(w[0], 4 * _MASKS, 3, padding=1)
        for head in (self.head_foreground, self.head_background):  # it starts with the photo unchanged, or with grey
            with torch.no_grad():
                head.weight.mul_(0.0 if config.keeps_photo else 0.3)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(self, photo: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([photo, guide], 1) - 0.5
        x = self._to_heads(*self._coarse(x, None, None), x[:, :3])
        with torch.autocast(x.device.type, enabled=False):
            planes = F.pixel_shuffle(F.conv2d(x.float(), *self._heads(torch.float32), padding=1), 2)
        colours, logits = planes[:, :6], planes[:, 6:]
        if not self.config.keeps_photo:
            return colours + 0.5, logits
        return COLOUR_GAIN * colours + torch.cat([photo, photo], 1), logits

    def _coarse(
        self, x: Tensor, sizes: Sequence[tuple[int, int]] | None, seen: "KeysValues | None"
    ) -> tuple[Tensor, Tensor]:
        """All but the last step up, for photo and guide as -0.5..0.5: (B, w1, H/4, W/4), and its skip."""
        x, skips = self.encoded(x)
        if seen is None:
            seen = self.attend.keys_values(x, sizes and [(-(-h // MULTIPLE), -(-w // MULTIPLE)) for h, w in sizes])
        x = self.middle(self.attend(x, seen))  # (B, w3, H/16, W/16)
        for level in reversed(range(1, len(self.decode))):
            x = self.decode[level](self._merged(level, x, skips.pop()))
        return x, skips.pop()

    def _to_heads(self, coarse: Tensor, skip: Tensor, photo: Tensor) -> Tensor:
        """The last step up: what the heads get, (B, w0, H/2, W/2). photo: -0.5..0.5."""
        x = self._merged(0, coarse, skip)
        if self.look is not None:
            x = x + self.look(F.pixel_unshuffle(photo, 2))
        features: Tensor = self.last(self.decode[0](x))
        return features

    def _merged(self, level: int, coarse: Tensor, skip: Tensor) -> Tensor:
        """One step up: the coarse features and what the gate lets through of the skip, fused."""
        coarse, fuse = self.up[level](coarse), cast(nn.Conv2d, self.fuse[level])
        # `fuse` of both at once, but what it does to the coarse ones is done before they are enlarged.
        of_coarse, of_skip = fuse.weight.chunk(2, 1)
        gated = F.conv2d(self.gate[level](skip, coarse), of_skip)
        return gated + _doubled(F.conv2d(coarse, of_coarse, fuse.bias))

    def _heads(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weight and bias of all heads as one convolution."""
        heads = (self.head_foreground, self.head_background, self.head_masks)
        weight, bias = (torch.cat([getattr(head, name) for head in heads]).to(dtype) for name in ("weight", "bias"))
        return weight, bias

    def encoded(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the attention gets, (B, w3, H/16, W/16), and the skips of the levels above it."""
        x = self._finest(x)
        skips: list[Tensor] = [x]
        for down, stage in zip(self.down, self.encode[1:], strict=True):
            x = stage(down(x))
            skips.append(x)  # (B, w[level], H/2^(level+1), ...)
        return skips.pop(), skips

    def _finest(self, x: Tensor) -> Tensor:
        """Stem and first stage: (B, 3 + G, H, W) -> (B, w0, H/2, W/2)."""
        # The stem sees 2 x 2 pixels as channels; as one strided convolution that takes no copy.
        weight = self.stem.weight
        width, channels, side, _ = weight.shape
        weight = weight.view(width, channels // 4, 2, 2, side, side).permute(0, 1, 4, 2, 5, 3)
        weight = weight.reshape(width, channels // 4, 2 * side, 2 * side)
        finest: Tensor = self.encode[0](F.conv2d(x, weight, self.stem.bias, stride=2, padding=2))
        return finest


def stack(colours: Tensor, logits: Tensor) -> Tensor:
    """What `CartoonNet` returns as one stack (B, 11, H, W), 0..1 in the order of PLANES."""
    return torch.cat([colours.clamp(0, 1), torch.sigmoid(logits)], 1)


class AttentionGate(nn.Module):
    """Lets the coarse signal choose what of a skip passes (attention U-Net, Oktay et al. 2018, additive gate)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.from_skip = nn.Conv2d(width, inner, 1)
        self.from_coarse = nn.Conv2d(width, inner, 1)
        self.weigh = nn.Conv2d(inner, width, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """skip: (B, W, 2h, 2w), coarse: (B, W, h, w) -> the gated skip."""
        gate = torch.sigmoid(self.weigh(F.relu(self.from_skip(skip) + _doubled(self.from_coarse(coarse)))))
        gated: Tensor = skip * gate
        return gated


@dataclass(frozen=True, eq=False)
class KeysValues:
    """What attention looks at: keys, values (B, heads, cells, C/heads); there (B, 1, 1, cells), None where all is."""

    keys: Tensor
    values: Tensor
    there: Tensor | None


class PooledAttention(nn.Module):
    """Self-attention whose keys and values are averaged to at most pooled x pooled cells over the whole picture."""

    def __init__(self, width: int, pooled: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.heads, self.pooled = width // head_width, pooled
        self.query = nn.Conv2d(width, width, 1)
        self.key_value = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, seen: "KeysValues | None" = None) -> Tensor:
        """x: (B, C, h, w) -> x plus what attention found in `seen`, or in x itself; same shape."""
        b, c, h, w = x.shape
        seen = seen or self.keys_values(x)
        q = self._split(self.query(x).flatten(2))  # (B, heads, h*w, C/heads)
        if torch.is_grad_enabled():
            # torch's fused kernel returned NaN gradients on a CPU (2.15.0) once attention had grown sharp.
            weight = torch.softmax((q @ seen.keys.transpose(2, 3)).float() / q.shape[-1] ** 0.5, -1)
            found = weight.to(seen.values.dtype) @ seen.values  # (B, heads, h*w, C/heads)
        else:
            found = F.scaled_dot_product_attention(q, seen.keys, seen.values, attn_mask=seen.there)
        attended: Tensor = x + self.out(found.transpose(2, 3).reshape(b, c, h, w))
        return attended

    def keys_values(self, x: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> "KeysValues":
        """Keys and values of pictures (B, C, h, w), each of which ends at its (height, width) in `sizes`."""
        cells, there = self._cells(x, sizes)
        key, value = self.key_value(cells).flatten(2).chunk(2, 1)  # (B, C, cells)
        return KeysValues(self._split(key), self._split(value), there)

    def _split(self, x: Tensor) -> Tensor:
        """(B, C, n) -> (B, heads, n, C/heads)."""
        return x.reshape(len(x), self.heads, x.shape[1] // self.heads, -1).transpose(2, 3)

    def _cells(self, x: Tensor, sizes: Sequence[tuple[int, int]] | None) -> tuple[Tensor, Tensor | None]:
        """What is looked at, (B, C, rows, columns), and a mask (B, 1, 1, cells) of what is there; None: all is."""
        if sizes is None:
            return F.adaptive_avg_pool2d(x, (min(x.shape[2], self.pooled), min(x.shape[3], self.pooled))), None
        pooled = [
            F.adaptive_avg_pool2d(one[..., :h, :w], (min(h, self.pooled), min(w, self.pooled)))
            for one, (h, w) in zip((x[i : i + 1] for i in range(len(x))), sizes, strict=True)
        ]
        if len({one.shape for one in pooled}) == 1:
            return torch.cat(pooled), None
        flat = [one.flatten(2) for one in pooled]
        most = max(one.shape[2] for one in flat)
        cells = torch.cat([F.pad(one, (0, most - one.shape[2])) for one in flat])
        there = (
            torch.arange(most, device=x.device) < torch.tensor([one.shape[2] for one in flat], device=x.device)[:, None]
        )
        return cells[:, :, None], there[:, None, None]


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel alone: steadies training, sees nothing but that pixel.

    Without it the residual branches blew up early and the network learned to switch them off.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> same shape; free of copies in channels_last."""
        pixels = x.permute(0, 2, 3, 1)
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            return self._in_parts(pixels.flatten(0, 2)).view(pixels.shape).permute(0, 3, 1, 2)
        normed: Tensor = self.norm(pixels)
        return normed.permute(0, 3, 1, 2)

    def _in_parts(self, pixels: Tensor) -> Tensor:
        """As norm(pixels), (N, C), in float32 and in parts that stay in a CPU's caches.

        torch's kernel for bfloat16 takes three times as long as the one for float32.
        """
        norm, result = self.norm, torch.empty_like(pixels)
        weight, bias = norm.weight.float(), norm.bias.float()
        for part, target in zip(torch.split(pixels, PART), torch.split(result, PART), strict=True):
            target.copy_(F.layer_norm(part.float(), norm.normalized_shape, weight, bias, norm.eps))
        return result


class _Block(nn.Module):
    """Residual block; the second convolution starts at zero so that depth is free at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.second(F.silu(self.first(self.norm(x))))
        return result


def _stage(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(depth)))


def _look(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(12, 2 * width, 3, padding=1), nn.SiLU(), nn.Conv2d(2 * width, width, 3, padding=1))


def _doubled(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w), each pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
