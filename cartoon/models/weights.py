"""A path and a sha256 -> verified weights, or a StyleError that says what to do."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cartoon.errors import StyleError
from cartoon.models.style_file import NetConfig, config_of, read_metadata

if TYPE_CHECKING:  # late: a card needs sha256_of, and the list of styles no torch
    from torch import Tensor

LARGEST_FILE: Final = 256 << 20
"""Bytes of a file of weights that others made, at most; DCT-Net's graphs have 6 million, Swin2SR's some 60."""


_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Weights:
    """What a style file holds: the tensors, the shape of the network and the styles they are good for."""

    state: "dict[str, Tensor]"
    config: NetConfig
    styles: tuple[str, ...]


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 (FIPS 180-4) of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def load_weights(path: Path, sha256: str | None) -> Weights:
    """Read a safetensors style file; with `sha256` given, refuse one that differs.

    Raises StyleError when the file is missing, altered or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    metadata = read_metadata(path)
    if sha256 is not None and sha256_of(path) != sha256:
        raise StyleError(f"{path.name} is not the file that its card describes (its sha256 differs): fetch it again.")
    config = config_of(metadata, path.name)
    try:
        styles = tuple(map(str, json.loads(metadata["styles"])))
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise StyleError(f"{path.name} is not a readable safetensors file ({error}): fetch it again.") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise StyleError(f"{path.name} does not say which styles it holds: fetch it again.") from error
    return Weights(state, config, styles)
