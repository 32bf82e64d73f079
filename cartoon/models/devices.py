"""Where networks compute and in which number format, and how many threads of torch work there."""

from typing import Final, Literal

import torch

from cartoon.errors import OptionsError
from cartoon.models.cores import usable_cores

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: Final[dict[Precision, torch.dtype]] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def pick_device(asked: str) -> torch.device:
    """ "auto" -> the first CUDA device, else the CPU; a named device that is not there raises OptionsError."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise OptionsError(f"device {asked!r} is not known: use auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise OptionsError(f"device {asked!r} is not supported: use auto, cpu, cuda or cuda:N.")
    present = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= present:
        raise OptionsError(f"device {asked!r} is not there, {present} CUDA devices are: use cpu or auto.")
    return device


def devices(asked: str) -> list[str]:
    """The devices that a name stands for: "cuda" and "auto" are every GPU there is, and "auto" the CPU without one."""
    device = pick_device(asked)
    if device.type == "cuda" and asked in ("auto", "cuda"):
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(device)]


def pick_precision(device: torch.device, asked: str) -> Precision:
    """The fastest number format the device computes in hardware, unless one was asked for.

    Whether it computes right in it, `cartoon.models.self_check` finds out.
    """
    if asked in DTYPES:
        return asked
    if asked != "auto":
        raise OptionsError(f"precision {asked!r} is not known: use auto, fp32, bf16 or fp16.")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if cpu_has_bf16() else "fp32"


def use_cores(device: torch.device) -> None:
    """Let torch work with the cores that this process may keep busy. Called once, by whoever loads what draws.

    The only place that sets torch's threads: no network does, else one that is loaded later would take back cores that
    the process was told to leave to others.
    """
    # On a CPU all of them: torch's default leaves hyper-threads out, and here they help. Beside a GPU one: as many
    # photos as there are cores are prepared and finished at a time, and teams of threads for each would collide.
    torch.set_num_threads(usable_cores() if device.type == "cpu" else 1)


def cpu_has_bf16() -> bool:
    """Whether the processor has instructions for bfloat16 that torch's convolutions are allowed to use.

    AVX2, and AVX-512 without bf16, only imitate it, several times slower than float32.
    """
    # Private in torch, public nowhere: without the answer float32 is the safe choice. The second knows of a limit such
    # as ONEDNN_MAX_CPU_ISA=AVX2, the first does not.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    try:
        return bool(native) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False
