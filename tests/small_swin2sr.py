"""Swin2SR networks with random weights, in the files that the real ones come in."""

import warnings
from pathlib import Path

import torch


def state_of(
    scale: int = 2, *, width: int = 60, depths: int = 4, blocks: int = 6, upsampler: str = "pixelshuffledirect"
) -> dict[str, torch.Tensor]:
    """The tensors of a network of so many layers with so many blocks; by default as large as the lightweight one.

    Its weights are three times as large as at the start of a training: information then travels no less far.
    """
    from spandrel.architectures.Swin2SR import Swin2SR

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        network = Swin2SR(
            img_size=64,
            embed_dim=width,
            depths=[blocks] * depths,
            num_heads=[6] * depths,
            window_size=8,
            mlp_ratio=2,
            upscale=scale,
            upsampler=upsampler,
            resi_connection="1conv",
        )
    state = network.state_dict()
    return {key: value * 3 if key.endswith(("fc1.weight", "qkv.weight")) else value for key, value in state.items()}


def write_pth(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """As Swin2SR's authors publish them."""
    torch.save({"params": state}, path)
    return path
