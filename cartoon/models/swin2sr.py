"""A file of weights -> a Swin2SR network, through spandrel, or a StyleError that says what to do.

Swin2SR (Conde et al. 2022, https://arxiv.org/abs/2209.11345) attends within windows that shift by half a window from
block to block: tiles start at multiples of a window, so that each has the windows that the whole picture has.

Files are those that Swin2SR's authors publish (https://github.com/mv-lab/swin2sr/releases), or the same tensors as
safetensors. Nothing but tensors is unpickled, and nothing is built before the shapes are within bounds.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from cartoon.errors import StyleError
from cartoon.models.tiling import Network
from cartoon.models.weights import LARGEST_FILE

HALO: Final = 32
"""Px that a tile sees beyond its own. Information travels half a window a block: 4 x 36 and some convolutions, 155 px,
are the reach of the published networks; from HALO px on, next to none of it is left (benchmarks.upscale tells)."""
BYTES_PER_PIXEL: Final = {"fp32": 21_000, "bf16": 14_500, "fp16": 14_500}
"""What a pass takes at its peak for each pixel of its tiles, measured on a CPU with 128 px; most of it is attention."""
ON_CPU: Final = "fp32"
"""There bf16 saves a third of the time only, and its rounding, carried through attention, lets tiles be seen in noise:
3 levels of 255 instead of 1."""
_FIRST: Final = "layers.0.residual_group.blocks.0"
_UPSAMPLERS: Final = ("pixelshuffle", "pixelshuffledirect", "nearest+conv")
"""Of the classical, the lightweight and the real-world networks; the others repair pictures, or need more inputs."""
_WIDEST, _DEEPEST, _WINDOW, _MASKS = 512, 16, 16 * 16, 1024
"""Channels, layers or blocks, pixels of a window, windows of a mask; the published ones have 180, 6, 64 and 64."""
_DAMAGED: Final = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    ImportError,
    pickle.UnpicklingError,
)
"""Whatever torch, safetensors and spandrel stumble over in files that are not what they say."""


def load_network(path: Path) -> Network:
    """Read a file of weights. Raises StyleError, naming the file, when it is missing, damaged or of another network."""
    try:
        from spandrel.architectures.Swin2SR import Swin2SRArch
    except ImportError as error:
        raise StyleError("Enlarging needs the package spandrel: run `pip install -r requirements.txt`.") from error
    state, library = _state(path), Swin2SRArch()
    network: Any = None
    try:
        if library.detect(state) and _within_bounds(state):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.meshgrid asks for an argument
                network = library.load(state).model
    except _DAMAGED as error:
        raise _refused(path) from error
    if network is None or network.upsampler not in _UPSAMPLERS or network.ape:
        raise _refused(path)
    module = network.eval().requires_grad_(False)
    return Network(module, "Swin2SR", int(network.upscale), int(network.window_size), HALO, BYTES_PER_PIXEL, ON_CPU)


def _state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, from under the names that training scripts put them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = path.name
    found: object
    try:
        if not path.is_file():
            raise StyleError(f"{name} is missing from {path.parent}: check the path.")
        if path.stat().st_size > LARGEST_FILE:
            raise StyleError(f"{name} has more than {LARGEST_FILE >> 20} MB: use weights of Swin2SR.")
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a pickle of another kind is refused, or it is read
                found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, *_DAMAGED) as error:
        raise StyleError(f"{name} cannot be read as weights: get the file again.") from error
    for wrapper in ("params", "params_ema"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(isinstance(part, torch.Tensor) for part in found.values()):
        raise _refused(path)
    return {str(key): value for key, value in found.items()}


def _within_bounds(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether the network that these tensors are of has a sensible size: a small file may ask for any."""

    def rows(key: str) -> int:
        return state[key].shape[0] if key in state else 0

    width, given = state["conv_first.weight"].shape[:2]
    deepest = max(int(part[:9]) for key in state for part in key.split(".") if part.isdecimal())
    return (
        width <= _WIDEST
        and given == 3
        and state["patch_embed.proj.weight"].shape[2] == 1
        and deepest < _DEEPEST
        and rows(f"{_FIRST}.mlp.fc1.bias") <= 8 * width
        and rows(f"{_FIRST}.attn.relative_position_index") <= _WINDOW
        and rows(f"{_FIRST[:-1]}1.attn_mask") <= _MASKS
    )


def _refused(path: Path) -> StyleError:
    return StyleError(
        f"{path.name} holds no Swin2SR network that enlarges, as its authors publish it: use such a file."
    )
