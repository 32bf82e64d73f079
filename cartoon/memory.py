"""What memory is free, and giving it back."""

import ctypes
import sys
from pathlib import Path
from typing import Final

M_ARENA_MAX: Final = -8
"""From glibc's malloc.h."""
CGROUP: Final = Path("/sys/fs/cgroup")
MEMINFO: Final = Path("/proc/meminfo")


def give_back() -> None:
    """Hand freed memory to the system: after a large picture glibc would keep hundreds of megabytes of it."""
    _glibc("malloc_trim", 0)


def one_heap() -> None:
    """Let threads that are started from now on share a heap: else each keeps what it freed for itself."""
    _glibc("mallopt", M_ARENA_MAX, 1)


def _glibc(name: str, *numbers: int) -> None:
    """Call a function of the GNU C library; where there is another library, nothing is done."""
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)
        if function is not None:
            function(*numbers)


def free_memory() -> int:
    """Bytes that this process may still take: what the system has available, and what its control group leaves."""
    available = _field(MEMINFO, "MemAvailable:") * 1024
    most, now = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    if most is None or now is None:
        return available
    return min(available, max(0, most - now + _field(CGROUP / "memory.stat", "inactive_file")))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control groups here, or "max"
        return None


def _field(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
