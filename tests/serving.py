"""A server with a FakeStylizer in a process of its own, see tests.fake_server; and clients that ask it."""

import multiprocessing
import os
import resource
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

import httpx

from tests import ROOT

SECONDS: Final = 60.0
_forking: Final = multiprocessing.get_context("forkserver")
# Gradio, torch and the rest are imported once, in the process that each server is then a copy of.
_forking.set_forkserver_preload(["tests.fake_server", "cartoon.web.page.mount", "cartoon.styles.official"])


@dataclass(frozen=True, eq=False)
class Served:
    """A server that runs: its address with a slash at the end, where it keeps files, what it logs, its process."""

    url: str
    home: Path
    log: Path
    process: ForkServerProcess

    @property
    def port(self) -> int:
        """Of this machine."""
        return int(self.url.rstrip("/").rpartition(":")[2])


@contextmanager
def running(home: Path, descriptors: int | None = None, **variables: str) -> Iterator[Served]:
    """Serves over `home` until the end, and asks it to stop then; it has to end well, however it was ended.

    descriptors: how many the process may have open.
    """
    log, environment = home / "log.txt", {**os.environ, **variables}
    ours, theirs = _forking.Pipe()
    process = _forking.Process(target=_serve, args=(home, log, environment, descriptors, theirs))
    process.start()
    try:
        assert ours.poll(SECONDS), log.read_text()
        yield Served(f"http://127.0.0.1:{ours.recv()}/", home, log, process)
    finally:
        if process.exitcode is None:
            process.terminate()
            process.join(SECONDS)
            assert process.exitcode == 0, (process.exitcode, log.read_text())


def origin(served: Served) -> dict[str, str]:
    """The header by which a browser says that a page of the server's own has sent something."""
    return {"origin": served.url.rstrip("/")}


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and what it said on standard error."""

    code: int | None
    told: str


def ended(folder: Path, *arguments: str, **variables: str) -> Ended:
    """`python app.py ARGUMENTS`, which has to end by itself; folder: for a file of what it says."""
    log, environment = folder / "told.txt", {**os.environ, **variables}
    process = _forking.Process(target=_main, args=(arguments, log, environment))
    process.start()
    process.join(SECONDS)
    process.kill()
    return Ended(process.exitcode, log.read_text())


def _main(arguments: tuple[str, ...], log: Path, environment: dict[str, str]) -> None:
    _become(log, environment)
    sys.argv = ["app.py", *arguments]
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")


def _become(log: Path, environment: dict[str, str]) -> None:
    """What a process is given by whoever starts it."""
    with log.open("a") as errors:
        os.dup2(errors.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)


def _serve(home: Path, log: Path, environment: dict[str, str], descriptors: int | None, port: Connection) -> None:
    _become(log, environment)
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    from tests.fake_server import main

    main(home, told=port.send)


def client(url: str = "", **options: Any) -> httpx.Client:
    """A client that is soon made, as it has no part in TLS."""
    return httpx.Client(base_url=url, timeout=SECONDS, verify=False, **options)


def nobody(url: str = "", **options: Any) -> httpx.Client:
    """A client that keeps no cookies: nobody, whatever it asks."""
    return client(url, cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])), **options)
