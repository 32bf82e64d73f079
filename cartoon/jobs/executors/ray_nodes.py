"""The way to a Ray cluster: joined or started, and which places for stylizers its nodes have."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from cartoon import __version__
from cartoon.assets import CHECKOUT
from cartoon.errors import OptionsError, ResourceError

AUTO: Final = "auto"
"""The address of a cluster on this machine, started where there is none."""
STORE_BYTES: Final = 100 << 20
"""Of Ray's object store: only tasks and results pass through it, pictures go from the files to the stylizers."""
REACH_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Placement:
    """A place for a stylizer: the node's id, which of its places, whether it has a GPU, and its share of the cores."""

    node: str
    index: int
    gpu: bool
    cores: int


@dataclass(eq=False)
class Connection:
    """Ray, connected. ours: connected by this, so that closing disconnects."""

    ray: Any
    ours: bool

    def close(self) -> None:
        """Leave the cluster, and end it where it was started."""
        if self.ours:
            with _sigterm_kept():
                self.ray.shutdown()


def connected(address: str) -> Connection:
    """Join the cluster at "host:port" or "ray://host:port"; "auto" joins this machine's own or starts one.

    Raises OptionsError when Ray is not installed or no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # written, not read: Ray reports home unless this is set at import
    if address == AUTO:
        # Ray runs what anybody sends it. So set, one that is started here listens to this machine alone, as on macOS.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        with _sigterm_kept():
            import ray
    except ImportError as problem:
        what = "-r requirements-cluster.txt" if CHECKOUT else "'cartoon[cluster]'"
        raise OptionsError(f"--cluster needs Ray: pip install {what}") from problem
    if ray.is_initialized():
        return Connection(ray, ours=False)
    _check_reachable(address)
    logging.getLogger("ray").setLevel(logging.ERROR)  # what matters of its chatter is said here in a line
    # It would still print that workers died, to stdout, where JSON lines go; there is no public switch (2.60.0).
    setattr(ray._private.worker, "_worker_logs_enabled", False)  # noqa: B010 - mypy knows no such name
    how: dict[str, Any] = {
        "log_to_driver": False,  # workers' lines would stand between ours on stdout
        "configure_logging": False,
        "runtime_env": runtime_env(CHECKOUT),
    }
    try:
        with _sigterm_kept():
            try:
                ray.init(address=address, **how)
            except ConnectionError:
                if address != AUTO:
                    raise
                # Its dashboard needs more than plain Ray; `pip install "ray[default]"` brings that.
                how |= {"include_dashboard": find_spec("aiohttp_cors") is not None, "object_store_memory": STORE_BYTES}
                ray.init(address="local", **how)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as problem:
        first = str(problem).strip().partition("\n")[0]
        raise OptionsError(
            f"--cluster {address}: no Ray cluster can be joined there ({first}); where it wants a token, set "
            "RAY_AUTH_MODE=token (docs/cluster.md)."
        ) from problem
    return Connection(ray, ours=True)


def runtime_env(checkout: Path | None) -> dict[str, Any]:
    """What Ray does on every node before an actor starts: nothing where the package is installed, here and there.

    checkout: where this is run from instead. It is looked for at the same path there, after what the node's own
    PYTHONPATH names and before what is installed.
    """
    return {"env_vars": {"PYTHONPATH": f"${{PYTHONPATH}}:{checkout}"}} if checkout else {}


def not_opened(problem: BaseException | None) -> ResourceError:
    """What an actor died of before its stylizer was there."""
    if "No module named 'cartoon'" in str(problem):  # in the traceback that Ray quotes
        return ResourceError(f"A node has no Cartoon: install version {__version__} of the package there.")
    return ResourceError("A worker ended while it loaded the model: is there enough free memory?")


def placements(nodes: Sequence[dict[str, Any]], device: str, cores: int) -> list[Placement]:
    """The places that living nodes have, in a stable order: one a GPU, or one for every `cores` cores.

    device: "cpu" and "cuda" say which; else GPUs, where any node has one. A node with fewer cores than that has one
    place, a node that was told to have none (a head that only directs) has none.
    """
    gpus = device != "cpu" and (device.startswith("cuda") or any(_has(node, "GPU") for node in nodes))
    found: list[Placement] = []
    for node in sorted(nodes, key=lambda node: str(node["NodeID"])):
        here = _has(node, "CPU")
        if gpus:
            count = _has(node, "GPU")
            share = here // count if count else 0
        else:
            count, share = max(here // cores, min(here, 1)), min(here, cores)
        found.extend(Placement(node["NodeID"], index, gpus, share) for index in range(count))
    return found


def _check_reachable(address: str) -> None:
    """Ray itself would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == AUTO:
        return
    if not (host and port.isdecimal()):
        raise OptionsError(f"--cluster {address}: give auto, host:port (often 6379) or ray://host:port (often 10001).")
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as problem:
        raise OptionsError(f"--cluster {address}: no Ray cluster answers there; check `ray status`.") from problem


def _has(node: dict[str, Any], resource: str) -> int:
    return int(node["Resources"].get(resource, 0))


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray makes SIGTERM end the process at once; ours counts as Ctrl-C, which records what is under way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
