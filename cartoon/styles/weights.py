"""A path and a sha256 -> verified weights, or a StyleError that says what to do."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cartoon.errors import StyleError
from cartoon.styles.unet import NetConfig

_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Weights:
    """What a style file holds: the tensors, the shape of the network and the styles they are good for."""

    state: dict[str, Tensor]
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

    if not path.is_file():
        raise StyleError(f"{path.name} is missing from {path.parent}: restore it from the repository's assets folder.")
    if sha256 is not None and sha256_of(path) != sha256:
        raise StyleError(f"{path.name} is not the file that was shipped (its sha256 differs): fetch it again.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise StyleError(f"{path.name} is not a readable safetensors file ({error}): fetch it again.") from error
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata["config"]).items()
        }
        config, styles = NetConfig(**fields), tuple(map(str, json.loads(metadata["styles"])))
    except (KeyError, TypeError, ValueError) as error:
        raise StyleError(
            f"{path.name} does not describe a Cartoon network: use a file that training.distil wrote."
        ) from error
    return Weights(state, config, styles)
