"""How many cores this process may keep busy: as many as it was told, else what the system leaves it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
CGROUPS_OF_PROCESS: Final = Path("/proc/self/cgroup")

_told: int | None = None


def keep_to(cores: int) -> None:
    """Tell this process to keep to so many cores, whatever the machine has; before it loads anything."""
    global _told
    _told = max(1, cores)


def usable_cores() -> int:
    """Cores that this process may keep busy, at least one.

    Without being told: those of its CPU affinity (taskset, cpusets), within the time that its control groups grant
    (docker --cpus, systemd's CPUQuota).
    """
    if _told is not None:
        return _told
    # A quota of 1.5 cores is one: of two threads, one would time and again be held up and the other wait for it.
    return max(1, min([_by_affinity(), *(int(quota) for quota in quotas())]))


def quotas(cgroup: Path = CGROUP, of_process: Path = CGROUPS_OF_PROCESS) -> Iterator[float]:
    """How many cores' time each control group around this process grants, of those that limit it.

    https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/scheduler/sched-bwc.html
    """
    try:
        lines = of_process.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # not Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        base = cgroup if number == "0" else cgroup / "cpu"
        # In a container the path may be the host's, and what is mounted its end: then only the base is there.
        for folder in _upwards(base, path):
            granted, period = _pair(folder) if number == "0" else _old_pair(folder)
            if granted > 0 and period > 0:
                yield granted / period


def _by_affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        return os.cpu_count() or 1


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """The folder of a control group and all around it, up to the base."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:length])


def _pair(folder: Path) -> tuple[int, int]:
    """Time granted in a period, both in microseconds; 0 for what is not limited."""
    granted, _, period = _text(folder / "cpu.max").partition(" ")
    return _number(granted), _number(period)


def _old_pair(folder: Path) -> tuple[int, int]:
    """As `_pair`, for control groups of the first kind."""
    return _number(_text(folder / "cpu.cfs_quota_us")), _number(_text(folder / "cpu.cfs_period_us"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _number(text: str) -> int:
    """Of a limit; 0 for "max", "-1" and what is not there."""
    return int(text) if text.isdecimal() else 0
