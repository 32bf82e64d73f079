"""The upscaler of our own: a small network that was taught on this project's drawings and is shipped.

An efficient sub-pixel network (Shi et al. 2016, https://arxiv.org/abs/1609.05158) that adds to a cubic enlargement what
the filter loses at lines. Figures: `python -m benchmarks.upscale`.
"""

import json
from pathlib import Path
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from cartoon.assets import ASSETS
from cartoon.errors import StyleError
from cartoon.models.style_file import read_metadata
from cartoon.models.tiling import Network
from cartoon.models.weights import sha256_of

WEIGHTS: Final = ASSETS / "crisp-v1.safetensors"
SHA256: Final = "28db516a9d5fc974f61b559b39a44cdecda31eb5431b8af7dee24948495e014d"
WINDOW: Final = 8
HALO: Final = 16
"""Px that a tile sees beyond its own: more than the 12 that have a say in a pixel, so that tiles are exact."""
BYTES_PER_PIXEL: Final = {"fp32": 2400, "bf16": 2400, "fp16": 2400}
"""What a pass takes at its peak for each pixel given, enlarging 4 times."""
WIDTH: Final = 32
DEPTH: Final = 4
"""Convolutions between the first and the last."""


class Crisp(nn.Module):
    """float (B, 3, h, w), 0..1 -> (B, 3, scale * h, scale * w); 4 is 2 twice. A pixel sees 12 px around it."""

    def __init__(self, scale: int = 2, width: int = WIDTH, depth: int = DEPTH) -> None:
        super().__init__()
        self.steps = scale // 2
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.last = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge; not clamped."""
        for _ in range(self.steps):
            x = self._doubled(x.clamp(0, 1))
        return x

    def _doubled(self, x: Tensor) -> Tensor:
        lines = functional.leaky_relu(self.first(x), 0.1)  # (B, width, h, w)
        for layer in self.middle:
            lines = functional.leaky_relu(layer(lines), 0.1)
        smooth = functional.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        return smooth + functional.pixel_shuffle(self.last(lines), 2)  # (B, 3, 2h, 2w)


def load_crisp(scale: int, path: Path = WEIGHTS, sha256: str | None = SHA256) -> Network:
    """The shipped network. Raises StyleError, naming the file, when it is missing, damaged or altered."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    metadata = read_metadata(path)
    if sha256 is not None and sha256_of(path) != sha256:
        raise StyleError(
            f"{path.name} is not the file that was shipped (its sha256 differs): restore the assets folder."
        )
    try:
        sides = json.loads(metadata["config"])
        net = Crisp(scale, int(sides["width"]), int(sides["depth"]))
        net.load_state_dict({name: part.float() for name, part in load_file(path).items()})
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise StyleError(f"{path.name} does not fit this version: restore the assets folder.") from error
    module = net.eval().requires_grad_(False)
    return Network(module, "the small network", scale, WINDOW, HALO, BYTES_PER_PIXEL)
