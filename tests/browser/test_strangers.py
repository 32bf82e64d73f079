"""A website that means harm, in a real browser: of a server of this machine it can neither read nor start anything."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.browser import conftest
from tests.serving import Served, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "evil.example"
ATTACK = """async (server) => {
    const heard = {};
    const form = new FormData();
    form.append("images", new Blob(["x"], {type: "image/png"}), "a.png");
    const told = JSON.stringify({data: [], fn_index: 0, session_hash: "x"});
    const send = {method: "POST", body: form, mode: "no-cors"};
    const ways = {
        read: () => fetch(server + "config"),
        readWithCookies: () => fetch(server + "api/v1/jobs", {credentials: "include"}),
        job: () => fetch(server + "api/v1/jobs", {method: "POST", body: form}),
        quiet: () => fetch(server + "api/v1/jobs", {...send, credentials: "include"}),
        upload: () => fetch(server + "gradio_api/upload", send),
        call: () => fetch(server + "gradio_api/run/predict", {method: "POST", body: told, mode: "no-cors"}),
        remove: () => fetch(server + "api/v1/jobs/" + "0".repeat(32), {method: "DELETE"}),
    };
    for (const [name, way] of Object.entries(ways)) {
        try {
            const answer = await way();
            heard[name] = answer.type + " " + answer.status + " " + (await answer.text()).slice(0, 40);
        } catch (error) { heard[name] = "refused"; }
    }
    heard.image = await new Promise(done => {
        const image = new Image();
        image.onload = () => done("shown"); image.onerror = () => done("refused");
        image.src = server + "static/img/logo.svg";
    });
    heard.script = await new Promise(done => {
        const script = document.createElement("script");
        script.onload = () => done("run"); script.onerror = () => done("refused");
        script.src = server + "config"; document.head.append(script);
    });
    return heard;
}"""
NOTHING = {"refused", "opaque 0 "}
"""What a script of another origin hears of an answer that it may not read."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture
def website(tmp_path: Path) -> Iterator[str]:
    """A page on another port of this machine; its address by this machine's usual name."""
    (tmp_path / "index.html").write_text("<!doctype html><title>evil</title><body>hello</body>")
    handler: Any = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def rebinding() -> Iterator["Browser"]:
    """A browser to which every name is this machine: what a rebound name looks like to it."""
    try:
        from playwright.sync_api import sync_playwright

        from tests.browser import steps
    except ImportError:
        conftest.unavailable("playwright is not installed: pip install -r requirements-dev.txt")
    executable = steps.executable()
    if executable is None:
        conftest.unavailable("no browser here")
    flags = [*steps.FLAGS, f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    with sync_playwright() as playwright:
        running_browser = playwright.chromium.launch(executable_path=executable, args=flags, timeout=steps.PATIENCE_MS)
        yield running_browser
        running_browser.close()


def jobs_of(served: Served) -> list[Path]:
    return list((served.home / "jobs").iterdir())


def uploads_of(served: Served) -> list[Path]:
    return [path for path in (served.home / "page" / "visitors").rglob("*") if path.is_file()]


def attack(page: "Page", served: Served, server: str) -> None:
    before = (jobs_of(served), uploads_of(served))
    heard = page.evaluate(ATTACK, server)
    assert set(heard.values()) <= NOTHING, heard
    assert (jobs_of(served), uploads_of(served)) == before


@pytest.mark.browser
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", NAME])
def test_a_page_of_another_origin_hears_and_starts_nothing(
    rebinding: "Browser", served: Served, website: str, name: str
) -> None:
    context = rebinding.new_context()
    own = context.new_page()
    own.goto(f"http://localhost:{served.port}/")  # its visitor has the server's page open, and its cookie
    page = context.new_page()
    page.goto(website.replace("localhost", name))
    for host in ("localhost", "127.0.0.1", NAME):
        attack(page, served, f"http://{host}:{served.port}/")
    frame = "server => { const f = document.createElement('iframe'); f.src = server; document.body.append(f); }"
    page.evaluate(frame, f"http://localhost:{served.port}/")
    page.wait_for_timeout(2000)
    assert not [one for one in page.frames[1:] if one.url != "about:blank" and one.query_selector("gradio-app")]
    context.close()


@pytest.mark.browser
def test_a_name_that_was_pointed_at_this_machine_opens_nothing(rebinding: "Browser", served: Served) -> None:
    page = rebinding.new_page()
    answer = page.goto(f"http://{NAME}:{served.port}/")
    assert answer is not None
    assert answer.status == 403
    assert "--allowed-host" in page.content()
    heard = page.evaluate("() => fetch('config').then(answer => answer.status)")  # of its own origin, as it seems
    assert heard == 403
    page.close()


@pytest.mark.browser
def test_the_sign_in_page_lets_in_whoever_knows_the_password(rebinding: "Browser", tmp_path: Path) -> None:
    with running(tmp_path, CARTOON_PASSWORD="open sesame") as locked:
        page = rebinding.new_page()
        page.goto(locked.url)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("This is not the password").wait_for()
        page.get_by_label("Password").fill("open sesame")
        page.get_by_label("Password").press("Enter")
        page.get_by_role("button", name="Cartoonize").wait_for(timeout=60_000)
        assert httpx.get(f"{locked.url}config", timeout=60).status_code == 401
        page.close()
