"""Trained weights -> the safetensors file that is shipped: float16, with its config and styles in the metadata."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from cartoon.models.style_file import NetConfig


def export(
    state: Mapping[str, torch.Tensor], config: NetConfig, styles: Sequence[str], out: Path, facts: Mapping[str, str]
) -> None:
    """Write `out` atomically. styles: ids the file is good for; facts: more metadata, an own style's `card` too."""
    half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in state.items()}
    metadata = {"config": json.dumps(asdict(config)), "styles": json.dumps(list(styles)), **facts}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    save_file(half, partial, metadata)
    os.replace(partial, out)
