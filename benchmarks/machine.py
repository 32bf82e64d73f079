"""What figures were taken on."""

import platform
from pathlib import Path

import torch

from cartoon.pipeline.cartoonizer import Cartoonizer


def processor() -> str:
    """The processor's name as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def machine(toon: Cartoonizer) -> str:
    """What the figures were taken on."""
    name = torch.cuda.get_device_name() if toon.device.startswith("cuda") else processor()
    return f"{name}, {torch.get_num_threads()} threads, {toon.device} {toon.precision}, torch {torch.__version__}"
