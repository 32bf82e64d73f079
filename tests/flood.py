"""Crowds and attackers against a real server: `python -m tests.flood` runs them all and prints what it saw.

Each wave is sent while somebody asks /healthz five times a second. Started with 1,024 descriptors, the server must
answer nothing worse than 503 with Retry-After, stay quick and small, log little, and be clear again after a minute.
--real: the app with its weights; otherwise one that draws at once.
"""

import argparse
import io
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from PIL import Image

from tests import ROOT
from tests.waiting import wait_for

DESCRIPTORS: Final = 1024
START_SECONDS: Final = 300
GENTLE_SECONDS: Final = 0.2
# verify=False: nothing here speaks TLS, and reading the certificates would cost the crowd 20 ms a request, on the
# processors that the server answers with.
TIMEOUT: Final = httpx.Timeout(600, connect=60)
BOUNDARY: Final = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
FORM: Final = {"content-type": "multipart/form-data; boundary=b"}


@dataclass(eq=False)
class Seen:
    """What a wave met: statuses (0 for a connection that was closed), and how long /healthz took meanwhile, s.

    loop_seconds: processor time of the server's event loop, which all requests share.
    """

    statuses: "Counter[int]" = field(default_factory=Counter)
    without_retry: int = 0
    health: list[float] = field(default_factory=list)
    health_failed: int = 0
    peak_mb: float = 0.0
    loop_seconds: float = 0.0

    def add(self, answer: httpx.Response | None) -> None:
        self.statuses[answer.status_code if answer is not None else 0] += 1
        if answer is not None and answer.status_code == 503 and "retry-after" not in answer.headers:
            self.without_retry += 1

    @property
    def p50(self) -> float:
        """Of /healthz, seconds."""
        return statistics.median(self.health) if self.health else 0.0

    @property
    def p95(self) -> float:
        """Of /healthz, seconds."""
        return statistics.quantiles(self.health, n=20)[-1] if len(self.health) > 1 else 0.0

    @property
    def loop_ms(self) -> float:
        """Of the event loop, for each request of the wave and of those who looked, ms."""
        return 1000 * self.loop_seconds / max(1, self.statuses.total() + len(self.health))

    @property
    def bad(self) -> int:
        """Answers that say that the server is at fault."""
        worse = sum(number for status, number in self.statuses.items() if status >= 500 and status != 503)
        return worse + self.without_retry


@dataclass(frozen=True, eq=False)
class Target:
    """A running server."""

    port: int
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def url(self) -> str:
        """With no slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def descriptors(self) -> int:
        """Open now."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def loop_seconds(self) -> float:
        """Processor time of the thread that the event loop runs in, the process's first."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def server(home: Path, real: bool, **variables: str) -> Iterator[Target]:
    """One with few descriptors over a folder; ended at the end."""
    log = home / "log.txt"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (
        [sys.executable, "app.py", "--port", str(port)]
        if real
        else [sys.executable, "-m", "tests.fake_server", str(home)]
    )
    limited = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *command]
    environment = {**os.environ, "CARTOON_DATA_DIR": str(home / "data"), **variables}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            limited, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        target = Target(port if real else int(process.stdout.readline()), process, log)
        wait_for(lambda: _ready(target), START_SECONDS)
        try:
            yield target
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def watched(target: Target) -> Iterator[Seen]:
    """Asks /healthz and looks at the memory until the wave is over; in a process that no wave slows down."""
    seen, spawn = Seen(), multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    looking = spawn.Process(target=_look, args=(target.url, target.process.pid, theirs))
    looking.start()
    ours.recv()
    before = target.loop_seconds()
    try:
        yield seen
    finally:
        seen.loop_seconds = target.loop_seconds() - before
        ours.send(None)
        seen.health, seen.health_failed, seen.peak_mb = ours.recv()
        looking.join()


def _ready(target: Target) -> bool:
    try:
        return httpx.get(f"{target.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _look(url: str, pid: int, pipe: Connection) -> None:
    took: list[float] = []
    failed, peak = 0, 0.0
    pipe.send(None)
    while not pipe.poll(GENTLE_SECONDS):
        began = time.monotonic()
        try:
            # A connection each time: that is what a load balancer does.
            ok = httpx.get(f"{url}/healthz", timeout=30, verify=False).status_code == 200
        except httpx.TransportError:
            ok = False
        took.append(time.monotonic() - began)
        failed, peak = failed + (not ok), max(peak, memory_mb(pid))
    pipe.send((took, failed, peak))


def memory_mb(pid: int) -> float:
    """Resident, MB."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", told)[1]) / 1024  # type: ignore[index]


def at_once(seen: Seen, times: int, send: Callable[[int], httpx.Response], threads: int) -> None:
    """Sends so many requests from so many threads."""

    def sent(number: int) -> httpx.Response | None:
        try:
            return send(number)
        except httpx.TransportError:
            return None

    with ThreadPoolExecutor(threads) as pool:
        for answer in pool.map(sent, range(times)):
            seen.add(answer)


def jobs(target: Target, seen: Seen, times: int = 420) -> None:
    """Many small jobs of one visitor and of many."""
    picture = png(40, 30)

    def send(number: int) -> httpx.Response:
        cookies = {"cartoon_owner": f"{number // 30:032x}"} if number % 2 else {}
        return httpx.post(
            f"{target.url}/api/v1/jobs",
            files={"images": (f"{number}.png", picture)},
            data={"size": "64"},
            cookies=cookies,
            timeout=TIMEOUT,
            verify=False,
        )

    at_once(seen, times, send, 64)


def idle(target: Target, seen: Seen, times: int = 1040) -> None:
    """Connections that say nothing, or half a head, for a while."""
    with ExitStack() as opened:
        for number in range(times):
            try:
                connection = opened.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=30))
                if number % 3 == 0:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            except OSError:
                seen.statuses[0] += 1
        time.sleep(10)  # they are open that long


def posts(target: Target, seen: Seen, times: int = 200) -> None:
    """Pictures of 12 MP, all at once."""
    picture = jpeg(4000, 3000)

    def send(number: int) -> httpx.Response:
        return httpx.post(
            f"{target.url}/api/v1/cartoonize",
            files={"image": ("a.jpg", picture)},
            data={"size": "256"},
            timeout=TIMEOUT,
            verify=False,
        )

    at_once(seen, times, send, times)


def slow(target: Target, seen: Seen, times: int = 24, megabytes: int = 60, seconds: float = 20.0) -> None:
    """Large posts that trickle in, and end as no picture."""

    def body() -> Iterator[bytes]:
        yield BOUNDARY
        for _ in range(megabytes):
            yield bytes(2**20)
            time.sleep(seconds / megabytes)  # a slow line
        yield b"\r\n--b--\r\n"

    def send(number: int) -> httpx.Response:
        return httpx.post(
            f"{target.url}/api/v1/cartoonize", content=body(), headers=FORM, timeout=TIMEOUT, verify=False
        )

    at_once(seen, times, send, times)


def trickle(target: Target, seen: Seen, times: int = 24) -> None:
    """Posts that send a byte a second: a minute of it."""

    def body() -> Iterator[bytes]:
        yield BOUNDARY
        for _ in range(70):
            yield b"x"
            time.sleep(1)  # a slower one

    def send(number: int) -> httpx.Response:
        return httpx.post(
            f"{target.url}/api/v1/cartoonize", content=body(), headers=FORM, timeout=TIMEOUT, verify=False
        )

    at_once(seen, times, send, times)


def large(target: Target, seen: Seen, times: int = 20) -> None:
    """PNGs of 100 MP that are 300 kB."""
    picture = png(10_000, 10_000)

    def send(number: int) -> httpx.Response:
        return httpx.post(
            f"{target.url}/api/v1/cartoonize",
            files={"image": ("a.png", picture)},
            data={"size": "256"},
            timeout=TIMEOUT,
            verify=False,
        )

    at_once(seen, times, send, times)


WAVES: Final[tuple[Callable[[Target, Seen], None], ...]] = (jobs, idle, posts, slow, trickle, large)


def png(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(data, "PNG", compress_level=6)
    return data.getvalue()


def jpeg(width: int, height: int) -> bytes:
    rows = np.linspace(0, 255, height, dtype=np.uint8)[:, None, None]
    data = io.BytesIO()
    Image.fromarray(np.broadcast_to(rows, (height, width, 3)).copy()).save(data, "JPEG", quality=90)
    return data.getvalue()


def main() -> int:
    """1 when something was worse than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="the app with its weights")
    parser.add_argument("--only", choices=[wave.__name__ for wave in WAVES], help="one wave")
    asked = parser.parse_args()
    failed = False
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder), asked.real, CARTOON_MAX_UPLOAD_MB="64", CARTOON_MAX_JOB_MB="4096") as target,
    ):
        calm, files = memory_mb(target.process.pid), target.descriptors()
        print(
            "| wave | answers | took, s | /healthz p50, s | p95, s | failed | loop, CPU ms a request"
            " | peak MB over idle | a minute later | descriptors | log, kB |"
        )
        print(f"|{'---|' * 11}")
        for wave in WAVES:
            if asked.only and wave.__name__ != asked.only:
                continue
            began = time.monotonic()
            with watched(target) as seen:
                wave(target, seen)
            took = time.monotonic() - began
            time.sleep(60)  # what is measured is what is left after a minute
            answers = ", ".join(f"{number} x {status or 'closed'}" for status, number in sorted(seen.statuses.items()))
            print(
                f"| {wave.__name__} | {answers} | {took:.1f} | {seen.p50:.2f} | {seen.p95:.2f} |"
                f" {seen.health_failed} | {seen.loop_ms:.1f} | {seen.peak_mb - calm:.0f} |"
                f" {memory_mb(target.process.pid) - calm:+.0f} | {target.descriptors() - files:+d} |"
                f" {target.log.stat().st_size / 1000:.1f} |",
                flush=True,
            )
            failed |= bool(seen.bad or seen.health_failed) or seen.p95 > 1 or seen.peak_mb - calm > 1536
        failed |= target.log.stat().st_size > 10**6
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
