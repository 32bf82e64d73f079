"""The network: photo + guide map -> foreground, background, alpha and line layers.

A UNet (Ronneberger et al. 2015) on a pixel-unshuffled photo, with attention gates on its skips (Oktay et al. 2018),
one self-attention at 1/16 whose keys and values are pooled (linear cost in pixels), and FiLM (Perez et al. 2018) from
style and strength. Normalisation is per pixel, never over the picture, so nothing but that attention looks beyond its
receptive field, and no skip of the photo to the output: with one, a small network stays a smoothed photo.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MULTIPLE = 16
"""Height and width of the input must be multiples of this."""


@dataclass(frozen=True)
class NetConfig:
    """The shape of a CartoonNet; stored in the weights' metadata."""

    guide_channels: int = 15
    widths: tuple[int, ...] = (32, 64, 112, 192)
    depths: tuple[int, ...] = (1, 1, 2, 2)
    style_slots: int = 8
    condition_width: int = 64
    pooled: int = 16
    """Keys and values of the attention are pooled to at most this many cells a side."""


@dataclass(frozen=True, eq=False)
class Layers:
    """What the network draws; float32 tensors, nominally 0..1 (colours may overshoot, `flatten` clamps).

    foreground, background: (B, 3, H, W) sRGB. alpha: (B, 1, H, W), 1 is person. line: (B, 1, H, W), 1 is full ink.
    """

    foreground: Tensor
    background: Tensor
    alpha: Tensor
    line: Tensor

    def composite(self) -> Tensor:
        """One opaque picture (B, 3, H, W): background, then the person, then the lines multiplied over both.

        Not clamped, as training must see an overshoot to correct it.
        """
        tones = self.background + self.alpha * (self.foreground - self.background)
        return tones * (1 - self.line)

    def flatten(self) -> Tensor:
        """The composite clamped to 0..1."""
        return self.composite().clamp(0, 1)


class CartoonNet(nn.Module):
    """Draws a batch in the style and strength asked for each sample.

    forward(photo, guide, style, strength): photo (B, 3, H, W) sRGB 0..1; guide (B, G, H, W) 0..1; style (B,) int64;
    strength (B,) 0.1..1. H and W are multiples of 16. Returns Layers in float32.
    """

    def __init__(self, config: NetConfig = NetConfig()) -> None:
        super().__init__()
        self.config = config
        w, c = config.widths, config.condition_width
        self.embed_style = nn.Embedding(config.style_slots, c)
        self.embed_strength = nn.Sequential(nn.Linear(3, c), nn.SiLU(), nn.Linear(c, c))
        self.stem = nn.Conv2d(4 * (3 + config.guide_channels), w[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(w))
        self.encode = nn.ModuleList(_Stage(x, n, c) for x, n in zip(w, config.depths, strict=True))
        self.attend = PooledAttention(w[-1], config.pooled)
        self.middle = _Stage(w[-1], 1, c)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(w))
        self.gate = nn.ModuleList(AttentionGate(a) for a in w[:-1])
        self.fuse = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in w[:-1])
        self.decode = nn.ModuleList(_Stage(x, n, c) for x, n in zip(w[:-1], config.depths[:-1], strict=True))
        self.head_colour = nn.Conv2d(w[0], 4 * 6, 3, padding=1)
        self.head_alpha = nn.Conv2d(w[0], 4, 3, padding=1)
        self.head_line = nn.Conv2d(w[0], 4, 3, padding=1)
        self.last = PixelNorm(w[0])

    def forward(self, photo: Tensor, guide: Tensor, style: Tensor, strength: Tensor) -> Layers:
        condition = self._condition(style, strength)  # (B, C)
        x = torch.cat([photo, guide], 1) - 0.5
        x = self.stem(F.pixel_unshuffle(x, 2))  # (B, w0, H/2, W/2)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encode):
            x = stage(x, condition)  # (B, w[level], H/2^(level+1), ...)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        x = self.middle(self.attend(x), condition)  # (B, w3, H/16, W/16)
        for level in reversed(range(len(self.decode))):
            x = F.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            skip = self.gate[level](skips[level], x)
            x = self.decode[level](self.fuse[level](torch.cat([x, skip], 1)), condition)
        # The last convolutions run in float32: in bfloat16 their rounding alone would be 1/255.
        x = self.last(x).float()
        with torch.autocast(x.device.type, enabled=False):
            colour = F.pixel_shuffle(_in_float(self.head_colour, x), 2) + 0.5  # (B, 6, H, W)
            alpha = torch.sigmoid(F.pixel_shuffle(_in_float(self.head_alpha, x), 2))
            line = torch.sigmoid(F.pixel_shuffle(_in_float(self.head_line, x), 2) - 2)  # lines are rare
        return Layers(colour[:, :3], colour[:, 3:], alpha, line)

    def _condition(self, style: Tensor, strength: Tensor) -> Tensor:
        s = strength.to(self.embed_style.weight.dtype)
        features = torch.stack([s, s * s, torch.sqrt(s)], 1)
        condition: Tensor = self.embed_style(style) + self.embed_strength(features)
        return F.silu(condition)


class AttentionGate(nn.Module):
    """Lets the coarse signal choose what of a skip passes (attention U-Net, Oktay et al. 2018, additive gate)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.from_skip = nn.Conv2d(width, inner, 1)
        self.from_coarse = nn.Conv2d(width, inner, 1)
        self.weigh = nn.Conv2d(inner, width, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """skip, coarse: (B, W, H, W) -> the gated skip, same shape."""
        gate = torch.sigmoid(self.weigh(F.relu(self.from_skip(skip) + self.from_coarse(coarse))))
        gated: Tensor = skip * gate
        return gated


class PooledAttention(nn.Module):
    """Self-attention whose keys and values are averaged to at most pooled x pooled cells over the whole picture."""

    def __init__(self, width: int, pooled: int, head_width: int = 32) -> None:
        super().__init__()
        self.heads, self.pooled = width // head_width, pooled
        self.query = nn.Conv2d(width, width, 1)
        self.key_value = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, h, w) -> x plus what attention found, same shape."""
        b, c, h, w = x.shape
        cells = F.adaptive_avg_pool2d(x, (min(h, self.pooled), min(w, self.pooled)))
        key, value = self.key_value(cells).flatten(2).chunk(2, 1)  # (B, C, cells)
        query = self.query(x).flatten(2)  # (B, C, h*w)
        split = (b, self.heads, c // self.heads, -1)
        q, k, v = (t.reshape(split).transpose(2, 3) for t in (query, key, value))
        found = F.scaled_dot_product_attention(q, k, v)  # (B, heads, h*w, C/heads)
        attended: Tensor = x + self.out(found.transpose(2, 3).reshape(b, c, h, w))
        return attended


class _Stage(nn.Module):
    def __init__(self, width: int, blocks: int, condition: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width, condition) for _ in range(blocks))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel alone: steadies training, sees nothing but that pixel.

    Without it the residual branches blew up early and the network learned to switch them off.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> same shape; free of copies in channels_last."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class _Block(nn.Module):
    """Residual block, FiLM between its two convolutions; the second starts at zero so that depth is free at first."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        hidden = self.first(self.norm(x)) * (1 + scale) + shift
        result: Tensor = x + self.second(F.silu(hidden))
        return result


def _in_float(layer: nn.Conv2d, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.float()
    return F.conv2d(x, layer.weight.float(), bias, padding=layer.padding)
