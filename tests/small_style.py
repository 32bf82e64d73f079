"""Style files with a small network of random weights: quick to write, quick to draw with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from cartoon.models.style_file import NetConfig
from cartoon.models.unet import CartoonNet
from training.export import export

SMALL: Final = NetConfig(widths=(8, 8, 8, 32), depths=(1, 1, 1, 1))


def write_weights(path: Path, styles: Sequence[str] = ("anime", "comic"), seed: int = 0, **facts: str) -> Path:
    """A file like the shipped one, which holds several styles and no card."""
    torch.manual_seed(seed)
    net = CartoonNet(SMALL)
    for parameter in net.parameters():  # the residual branches start at zero: wake them
        torch.nn.init.normal_(parameter, std=0.05)
    export(net.state_dict(), SMALL, styles, path, facts)
    return path


def write_style(path: Path, name: str | None = None, seed: int = 0, **changed: Any) -> Path:
    """A style of a user's own, named like its file unless told otherwise; `changed`: fields of its card."""
    card = {"id": name or path.stem, "title": "My style", "origin": "trained on 4 pairs of your own"} | changed
    return write_weights(path, [card["id"]], seed, card=json.dumps(card))
