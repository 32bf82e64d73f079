"""A whole run of the command line and a served drawing, watched call by call: nothing leaves the machine.

What is looked for are the connections and lookups of the libraries, with their switches as they are by default:
Gradio's analytics, MediaPipe's metrics, a hub that is asked for models.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests import ROOT
from tests.waiting import wait_for

EXAMPLE: Final = ROOT / "assets" / "examples" / "021902.jpg"
STRACE: Final = ("strace", "-f", "--seccomp-bpf", "-qq", "-s", "200", "-e", "trace=%network", "-e", "signal=none", "-o")
SENT: Final = re.compile(r"\b(?:connect|sendto|sendmsg|sendmmsg)\(")
ADDRESS: Final = re.compile(
    r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)'
    r'|sin6_port=htons\((\d+)\),[^{}]*inet_pton\(AF_INET6, "([^"]+)"'
)
RESOLVER: Final = "io.systemd.Resolve"
DNS: Final = 53
SWITCHES: Final = re.compile(r"GRADIO_|HF_|HUGGINGFACE|RAY_|DO_NOT_TRACK|.*TELEMETRY|.*_PROXY", re.IGNORECASE)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _strace() -> None:
    if shutil.which(STRACE[0]) is None:
        reason = "strace is not installed: apt-get install strace"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def went_out(trace: Path) -> list[str]:
    """The traced calls that reach for another machine, or ask for the address of one."""
    return [line for line in trace.read_text(errors="replace").splitlines() if SENT.search(line) and _leaves(line)]


def _leaves(call: str) -> bool:
    for found in ADDRESS.finditer(call):
        port, address = int(found[1] or found[3]), ip_address(found[2] or found[4])
        mapped = getattr(address, "ipv4_mapped", None)
        if port == DNS or not (mapped or address).is_loopback:
            return True
    return RESOLVER in call


def environment(home: Path) -> dict[str, str]:
    """A newcomer's: an empty home, no switch of a library set."""
    kept = {name: value for name, value in os.environ.items() if not SWITCHES.match(name)}
    return {**kept, "HOME": str(home), "CARTOON_DATA_DIR": str(home / "data"), "XDG_CACHE_HOME": str(home / "cache")}


def test_the_watch_sees_what_goes_out(tmp_path: Path) -> None:
    """To connect over UDP sends nothing; the address belongs to nobody (RFC 5737)."""
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.1', 9))\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 53))\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))\n"
    )
    trace = tmp_path / "trace"
    subprocess.run([*STRACE, str(trace), sys.executable, "-c", code], check=True)
    assert [ADDRESS.search(line)[2] for line in went_out(trace)] == ["192.0.2.1", "127.0.0.1"]  # type: ignore[index]
    sixth = "connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "
    assert _leaves(f'{sixth}"2001:db8::1", &sin6_addr)')
    assert _leaves(f'{sixth}"::ffff:192.0.2.1", &sin6_addr)')
    assert not _leaves(f'{sixth}"::1", &sin6_addr)')
    assert not _leaves('connect(3, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110)')


def test_a_run_of_the_command_line_stays_on_this_machine(tmp_path: Path) -> None:
    trace, out = tmp_path / "trace", tmp_path / "out"
    command = [sys.executable, "-m", "cartoon", "run", str(EXAMPLE), "-o", str(out), "--size", "256", "--upscale", "2"]
    subprocess.run([*STRACE, str(trace), *command], cwd=ROOT, env=environment(tmp_path), check=True)
    assert (out / "021902.png").is_file()
    assert went_out(trace) == []


def test_a_served_drawing_stays_on_this_machine(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with served(trace, tmp_path) as client:
        page = client.get("/")
        assert page.status_code == 200
        for path in dict.fromkeys(re.findall(r'(?:src|href)="(\.?/[^"]+)"', page.text)):
            client.get(path)
        assert client.get("/config").status_code == 200
        files = {"image": (EXAMPLE.name, EXAMPLE.read_bytes())}
        drawn = client.post("/api/v1/cartoonize", files=files, data={"style": "comic", "size": "256"})
        assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/png")
    assert "listen(" in trace.read_text(errors="replace")
    assert went_out(trace) == []


@contextmanager
def served(trace: Path, home: Path) -> Iterator[httpx.Client]:
    """The app, watched, until it has ended as it should."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*STRACE, str(trace), sys.executable, "app.py", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(home), stderr=subprocess.DEVNULL) as watcher:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False) as client:
                wait_for(lambda: watcher.poll() is not None or _ready(client), 300)
                yield client
            os.kill(_child(watcher.pid), signal.SIGTERM)  # strace itself would let go of it instead
            assert watcher.wait(60) == 0
        finally:
            if watcher.poll() is None:
                os.kill(_child(watcher.pid), signal.SIGKILL)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _child(parent: int) -> int:
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
