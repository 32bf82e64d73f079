"""The real app in a process of its own, a real Chromium, and a witness of every request the page makes."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image, ImageOps

from tests import ROOT
from tests.waiting import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

START_SECONDS = 300
LOCAL_SCHEMES = {"data", "blob", "about"}
PORTRAITS = 12
CROWD = 60


def unavailable(reason: str) -> None:
    """Skips; fails where continuous integration has promised a browser."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


# For one module, not the session: Playwright keeps an event loop running, in which other tests could not run theirs.
@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    try:
        from tests.browser import steps
    except ImportError:
        unavailable("playwright is not installed: pip install -r requirements-dev.txt")
    executable = steps.executable()
    if executable is None:
        unavailable(f"no browser here: install one of {', '.join(steps.CHROMIUM_NAMES)}")
    assert executable is not None
    with steps.browser(executable) as running:
        yield running


@dataclass(frozen=True, eq=False)
class App:
    """A running app: its address, its process, and the file it logs to."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def running_app(folder: Path, port: int = 0) -> Iterator[App]:
    """`python app.py` with the shipped weights, data and log in `folder`; killed at the end if it still runs."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    log = folder / "log.txt"
    command = [sys.executable, "app.py", "--port", str(port)]
    environment = {**os.environ, "CARTOON_DATA_DIR": str(folder / "data")}
    with (
        log.open("a") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        app = App(f"http://127.0.0.1:{port}/", process, log)
        try:
            try:
                wait_for(lambda: _answers(app.url) or process.poll() is not None, START_SECONDS)
                assert process.poll() is None
            except AssertionError:
                pytest.fail(f"the app did not start:\n{log.read_text()}")
            yield app
        finally:
            process.kill()


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One app for all tests; SIGTERM must end it cleanly."""
    with running_app(tmp_path_factory.mktemp("app")) as app:
        yield app.url
        app.process.terminate()
        assert app.process.wait(60) == 0, app.log.read_text()


@pytest.fixture
def open_page(chromium: "Browser", app_url: str) -> Iterator[Callable[..., "Page"]]:
    """Opens the app's page; afterwards no request has left this machine and no script has failed."""
    from tests.browser import steps

    pages: list[Page] = []
    asked: list[str] = []
    troubles: list[str] = []

    def opened(size: tuple[int, int] = steps.DESKTOP, url: str = app_url, tab: str = "One photo") -> "Page":
        page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
        pages.append(page)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda channel: asked.append(channel.url))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
        steps.enter(page, url, tab)
        return page

    yield opened
    for page in pages:
        page.close()
    assert asked, "the witness saw no request at all"
    assert [url for url in asked if not _is_local(url)] == []
    assert troubles == []


@pytest.fixture(scope="session")
def portraits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve portraits under names as people give them: the shipped examples, then shared ones or mirrored copies."""
    folder = tmp_path_factory.mktemp("portraits")
    sources = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
    try:
        shared = request.getfixturevalue("shared")
    except pytest.skip.Exception:
        more = sources
    else:
        more = sorted((shared / "data" / "portraits" / "large").glob("*.jpg"))[::7]
    made = []
    for number in range(PORTRAITS):
        path = folder / f"Zoë ({number + 1}) at home.jpg"
        if number < len(sources):
            path.write_bytes(sources[number].read_bytes())
        else:
            with Image.open(more[number - len(sources)]) as picture:
                ImageOps.mirror(picture.convert("RGB")).save(path, quality=92)
        made.append(path)
    return made


@pytest.fixture(scope="session")
def crowd(portraits: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sixty small photos, each another: parts of the portraits."""
    folder = tmp_path_factory.mktemp("crowd")
    made = []
    for number in range(CROWD):
        path = folder / f"Äffchen {number + 1:02}.jpg"
        with Image.open(portraits[number % PORTRAITS]) as picture:
            width, height = picture.size
            cut = 1 + number // PORTRAITS * 0.02 * min(width, height)
            part = picture.convert("RGB").crop((round(cut), round(cut), width, height))
            part.thumbnail((512, 512))
            part.save(path, quality=90)
        made.append(path)
    return made


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in LOCAL_SCHEMES or parts.hostname in {"127.0.0.1", "localhost"}
