"""The head of a style file: its metadata, read and checked without its tensors and without torch.

A safetensors file starts with the length of its head (8 bytes, little-endian) and the head itself, JSON: the tensors'
types, shapes and places, and under `__metadata__` texts by name (https://github.com/huggingface/safetensors). Ours hold
`config` (NetConfig), `styles` (ids) and, in a style of a user's own, `card`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cartoon.errors import StyleError

MULTIPLE: Final = 16
"""Height and width of the network's input must be multiples of this."""
LARGEST_FILE: Final = 64 << 20
"""Bytes; the shipped file has 6 million, and nobody waits for more to be read."""
LARGEST_HEAD: Final = 1 << 20
"""Bytes; the shipped file's has 20 thousand."""
LEVELS: Final = 4
"""Resolutions of the network, from 1/2 down to 1/MULTIPLE."""
HEAD_WIDTH: Final = 32
"""The attention works in heads of so many channels."""
_LIMITS: Final = {"widths": (2, 1024), "depths": (1, 16), "pooled": (1, 64)}
_MADE_BY: Final = "use a style file that training.distil wrote"


@dataclass(frozen=True)
class NetConfig:
    """The shape of a CartoonNet; stored in the weights' metadata."""

    guide_channels: int = 6
    widths: tuple[int, ...] = (24, 48, 96, 192)
    depths: tuple[int, ...] = (1, 1, 2, 2)
    pooled: int = 16
    """Keys and values of the attention are pooled to at most this many cells a side."""
    keeps_photo: bool = True
    """The colour heads change the photo's colours; False: they draw them from nothing, as own styles want."""


SHIPPED_CONFIG: Final = NetConfig()
"""The shape of the shipped network."""


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, reading no more than its head.

    Raises StyleError when the file is missing, incomplete, far too large or not safetensors.
    """
    name = path.name
    try:
        if not path.is_file():  # nor a pipe, which would be waited on for ever
            raise StyleError(f"{name} is missing from {path.parent}: check the path, or fetch the file again.")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise StyleError(f"{name} has {size >> 20} MB, more than any style of ours: {_MADE_BY}.")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LARGEST_HEAD, size - 8):
                raise StyleError(f"{name} is not a whole safetensors file: copy it again, or {_MADE_BY}.")
            head = file.read(length)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise StyleError(f"{name} cannot be read ({reason}): check the path and its permissions.") from error
    try:
        entries: dict[str, Any] = json.loads(head)
        metadata = entries.pop("__metadata__", {})
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        if not all(isinstance(part, str) for pair in metadata.items() for part in pair):
            raise TypeError
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise StyleError(f"{name} is not a safetensors file: {_MADE_BY}.") from error
    if size != 8 + length + end:
        raise StyleError(f"{name} is incomplete or damaged: copy it again.")
    return dict(metadata)


def config_of(metadata: Mapping[str, str], name: str) -> NetConfig:
    """The shape of the network in a file called `name`; raises StyleError for one that cannot be built."""
    try:
        given = json.loads(metadata["config"]).items()
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given}
        config = NetConfig(**fields)
        for field, (low, high) in _LIMITS.items():
            numbers = getattr(config, field)
            numbers = numbers if isinstance(numbers, tuple) else (numbers,)
            if not all(type(number) is int and low <= number <= high for number in numbers):
                raise ValueError(field)
        if len(config.widths) != LEVELS or len(config.depths) != LEVELS or config.widths[-1] % HEAD_WIDTH:
            raise ValueError("widths")
        if type(config.keeps_photo) is not bool:
            raise ValueError("keeps_photo")
        if config.guide_channels != SHIPPED_CONFIG.guide_channels:
            raise ValueError("guide_channels")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StyleError(f"{name} does not describe a Cartoon network of this version: {_MADE_BY}.") from error
    return config
