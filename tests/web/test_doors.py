"""A stranger at the doors: what a client, a website or a made-up path must never get. A real server, real requests."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from cartoon.images.encode import encode
from cartoon.web.access.login import TRIES
from tests.serving import Served, client, nobody, running

SECRET = b"the secret of this machine"
PICTURE = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")
WAIT = 60


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server
    told = server.log.read_text()
    assert "Traceback" not in told  # what clients do wrong is a line at most
    lines = ("a call of the page failed: ", "Invalid HTTP request received.")
    assert all(line.startswith(lines) for line in told.splitlines()), told
    assert "secret" not in told


@pytest.fixture(scope="module")
def visitor(served: Served) -> Iterator[httpx.Client]:
    """Ann, with her cookie."""
    with client(served.url) as sending:
        sending.get("/")
        yield sending


@pytest.fixture(scope="module")
def stranger(served: Served) -> Iterator[httpx.Client]:
    """Bob, with his."""
    with client(served.url) as sending:
        sending.get("/")
        yield sending


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    """Whoever has no cookie and keeps none."""
    with nobody() as sending:
        yield sending


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in a Space, that is allowed two more names and asks for keys over REST; the page itself is open."""
    names = {"CARTOON_ALLOWED_HOSTS": "cartoon.example, shop.example:8443", "CARTOON_API_KEYS": "key-one,key-two"}
    space = {"SPACE_ID": "ann/cartoon", "SPACE_HOST": "ann-cartoon.hf.space"}
    with running(tmp_path_factory.mktemp("elsewhere"), None, **names, **space) as server:
        yield server


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory, served: Served, visitor: httpx.Client) -> list[str]:
    """Paths that no door may read, and none may hang on."""
    folder = tmp_path_factory.mktemp("secret")
    picture, fifo, link = folder / "secret.png", folder / "fifo", folder / "link.png"
    picture.write_bytes(PICTURE + SECRET)
    os.mkfifo(fifo)
    link.symlink_to(picture)
    sent = visitor.post("/gradio_api/upload", files={"files": ("anna.png", PICTURE + SECRET)}).json()[0]
    outside = [
        "/etc/passwd",
        "/etc/hostname",
        "/proc/self/environ",
        "/dev/zero",
        "/dev/stdin",
        str(Path.cwd() / "app.py"),
    ]
    inside = [
        served.home / "secret",
        served.home / "page",
        served.home / "jobs",
        Path(sent).parent,
        Path(sent).parents[1],
    ]
    tricks = [f"{sent}/../{Path(sent).name}", f"//{sent}", f"file://{picture}", "", ".", "~", "x" * 10_000, "a\0b"]
    return [*outside, *map(str, (picture, fifo, link, *inside)), *tricks, sent]


def as_file(path: str) -> dict[str, Any]:
    return {"path": path, "url": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}, "is_stream": True}


def origin(served: Served) -> dict[str, str]:
    return {"origin": served.url.rstrip("/")}


def told_nothing(answer: httpx.Response) -> bool:
    """Refused in words, without a byte of the file and without a path of this machine that the client did not name."""
    return 400 <= answer.status_code < 500 and SECRET not in answer.content and b"root:" not in answer.content


def test_no_call_of_the_config_reads_a_path_that_its_caller_did_not_upload(
    served: Served, stranger: httpx.Client, secrets: list[str]
) -> None:
    """Every function in /config, by every way to call one, as the page itself would."""
    functions = stranger.get("/config").json()["dependencies"]
    assert len(functions) > 5
    spelled: list[Any] = [*map(as_file, secrets), *({name: secrets[0]} for name in ("path", "url")), secrets[0]]
    for file in spelled:
        for function in functions:
            takes = max(1, len(function["inputs"]))
            data: list[Any] = [[file] if function["api_name"] == "cartoonize_batch" else file] * takes
            call = {"data": data, "fn_index": function["id"], "session_hash": "x"}
            answer = stranger.post("/gradio_api/run/predict", json=call, headers=origin(served))
            assert told_nothing(answer) or (isinstance(file, str) and answer.status_code == 200), (file, answer.text)
            assert SECRET not in answer.content


@pytest.mark.parametrize(
    "way", ["call/cartoonize", "call/v2/cartoonize", "api/cartoonize", "run/cartoonize", "queue/join"]
)
def test_the_public_calls_draw_only_what_was_uploaded(stranger: httpx.Client, secrets: list[str], way: str) -> None:
    for path in secrets:
        body = {"image": as_file(path)} if "v2" in way else {"data": [as_file(path), *["x"] * 7], "session_hash": "s"}
        answer = stranger.post(f"/gradio_api/{way}", json={**body, "fn_index": None} if way == "queue/join" else body)
        assert told_nothing(answer), (path, answer.text)


def test_no_address_serves_a_file_of_the_machine_or_of_another_visitor(
    served: Served, stranger: httpx.Client, secrets: list[str]
) -> None:
    for path in secrets:
        for way in ("file=", "file/", "proxy=", "stream/", "custom_component/x/y/z/"):
            answer = stranger.get(f"/gradio_api/{way}{quote(path)}")
            assert told_nothing(answer), (way, path, answer.text)
    for address in (
        "monitoring",
        "gradio_api/runs",
        "gradio_api/vibe-code",
        "gradio_api/dev/reload",
        "gradio_api/token",
    ):
        assert stranger.get(f"/{address}").status_code == 404
    for address in (
        "component_server",
        "process_recording",
        "vibe-edit",
        "stream/x",
        "deep_link",
        "run-history/connect",
    ):
        assert stranger.post(f"/gradio_api/{address}", json={}).status_code == 404


def test_an_upload_is_its_senders_alone(
    served: Served, visitor: httpx.Client, stranger: httpx.Client, plain: httpx.Client
) -> None:
    sent = visitor.post("/gradio_api/upload", files={"files": ("anna.png", PICTURE)}).json()[0]
    assert "anna" not in sent
    assert visitor.get(f"/gradio_api/file={sent}").content == PICTURE
    assert told_nothing(stranger.get(f"/gradio_api/file={sent}"))
    assert told_nothing(plain.get(f"{served.url}gradio_api/file={sent}"))
    call = {"data": [as_file(sent), "anime", 0.7, 0.5, "64", "drawn", "png", 95]}
    assert told_nothing(stranger.post("/gradio_api/call/cartoonize", json=call))
    event = visitor.post("/gradio_api/call/cartoonize", json=call).json()["event_id"]
    assert "a-anime.png" in visitor.get(f"/gradio_api/call/cartoonize/{event}").text


def test_what_is_no_picture_is_never_shown_as_a_page(visitor: httpx.Client) -> None:
    for name in ("a.html", "a.svg", "a.js", "a.png.html"):
        sent = visitor.post("/gradio_api/upload", files={"files": (name, b"<script>alert(1)</script>")}).json()[0]
        answer = visitor.get(f"/gradio_api/file={sent}")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")


def test_a_visitor_hears_only_of_their_own_calls(served: Served, visitor: httpx.Client, stranger: httpx.Client) -> None:
    sent = visitor.post("/gradio_api/upload", files={"files": ("anna.png", PICTURE)}).json()[0]
    functions = visitor.get("/config").json()["dependencies"]
    (index,) = [function["id"] for function in functions if function["api_name"] == "cartoonize"]
    call = {
        "data": [as_file(sent), "anime", 0.7, 0.5, "64", "drawn", "png", 95],
        "fn_index": index,
        "session_hash": "same",
    }
    assert visitor.post("/gradio_api/queue/join", json=call).status_code == 200
    assert "a-anime.png" not in stranger.get("/gradio_api/queue/data", params={"session_hash": "same"}).text
    assert "a-anime.png" in visitor.get("/gradio_api/queue/data", params={"session_hash": "same"}).text


def test_only_the_two_endpoints_answer_from_outside(served: Served, stranger: httpx.Client) -> None:
    for function in stranger.get("/config").json()["dependencies"]:
        call = {"data": [None] * len(function["inputs"]), "fn_index": function["id"], "session_hash": "x"}
        outside = stranger.post("/gradio_api/queue/join", json=call)
        public = function["api_name"] in ("cartoonize", "cartoonize_batch")
        assert outside.status_code in ((200,) if public else (403, 404)), (function["api_name"], outside.text)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 100_000, b'{"data": 1}', b'{"data": []}', b'{"data": [1], "fn_index": 10000}'],
    ids=["empty", "list", "cut", "deep", "number", "none", "unknown"],
)
def test_a_wrong_call_is_refused_in_words(served: Served, stranger: httpx.Client, body: bytes) -> None:
    for way in ("run/predict", "queue/join", "call/cartoonize", "cancel"):
        answer = stranger.post(f"/gradio_api/{way}", content=body, headers=origin(served))
        assert 400 <= answer.status_code < 500, answer.text
        assert json.loads(answer.text)["error"].endswith((".", "}"))


@pytest.mark.parametrize("junk", [None, "x", 7, [1], {"a": 1}, [["x"]], True, 1e308, ""], ids=repr)
def test_any_argument_of_any_call_gets_an_answer_in_words(served: Served, stranger: httpx.Client, junk: Any) -> None:
    for function in stranger.get("/config").json()["dependencies"]:
        call = {"data": [junk] * len(function["inputs"]), "fn_index": function["id"], "session_hash": "x"}
        answer = stranger.post("/gradio_api/run/predict", json=call, headers=origin(served))
        assert answer.status_code in (200, 400, 403, 404, 422), answer.text
        assert answer.status_code == 200 or answer.json().get("error") or answer.json()["detail"]


def hostile(served: Served) -> list[dict[str, str]]:
    own = served.url.removeprefix("http://").rstrip("/")
    return [
        {"host": "evil.example"},
        {"host": f"evil.example:{served.port}"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example"},
        {"host": ""},
        {"host": "a b"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://localhost:{served.port + 1}"},
        {"origin": f"https://{own}.evil.example"},
        {"host": f"localhost:{served.port}", "origin": f"http://127.0.0.1:{served.port}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ]


def test_websites_and_rebound_names_can_neither_read_nor_start_anything(served: Served, plain: httpx.Client) -> None:
    for headers in hostile(served):
        for method, address in (
            ("GET", ""),
            ("GET", "config"),
            ("GET", "api/v1/styles"),
            ("POST", "api/v1/cartoonize"),
            ("POST", "api/v1/jobs"),
            ("POST", "gradio_api/upload"),
            ("POST", "gradio_api/queue/join"),
            ("DELETE", f"api/v1/jobs/{'0' * 32}"),
            ("OPTIONS", "api/v1/jobs"),
        ):
            answer = plain.request(method, served.url + address, headers=headers)
            assert answer.status_code in (400, 403), (headers, method, address, answer.status_code)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert "set-cookie" not in answer.headers


def test_a_post_that_navigates_from_another_site_is_refused(served: Served, plain: httpx.Client) -> None:
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert plain.get(served.url, headers=visit).status_code == 200  # a link was followed
    assert plain.post(f"{served.url}api/v1/jobs", headers=visit).status_code == 403


def test_probes_are_answered_under_the_name_of_a_service_and_nothing_else_is(
    served: Served, plain: httpx.Client
) -> None:
    service = {"host": f"cartoon.default.svc.cluster.local:{served.port}"}
    for probe, told in (("healthz", "ok"), ("readyz", "ready")):
        assert plain.get(served.url + probe, headers=service).json() == {"status": told}
        for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert plain.get(served.url + probe, headers={**service, **foreign}).status_code == 403
        assert plain.post(served.url + probe, headers=service).status_code == 403
    for address in ("", "config", "metrics", "openapi.json", "api/v1/styles", "healthz/", "healthz/../config"):
        assert plain.get(served.url + address, headers=service).status_code == 403


def test_two_hosts_in_one_request_are_one_too_many(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT) as plain:
        plain.sendall(b"GET /config HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert plain.recv(100).split()[1] in (b"400", b"403")


def test_the_page_cannot_be_framed_and_names_no_origin(served: Served, plain: httpx.Client) -> None:
    answer = plain.get(served.url, headers=origin(served))
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_names_are_welcome(served: Served, plain: httpx.Client) -> None:
    for host in (
        f"localhost:{served.port}",
        f"127.0.0.1:{served.port}",
        f"[::1]:{served.port}",
        "192.168.1.5",
        "0.0.0.0",
    ):
        headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        assert plain.get(served.url, headers=headers).status_code == 200
        assert plain.post(f"{served.url}api/v1/cartoonize", headers=headers).status_code == 400  # heard, without a form


def test_a_name_that_was_allowed_is_answered_and_may_send(elsewhere: Served, plain: httpx.Client) -> None:
    for host, from_, status in (
        ("cartoon.example", "https://cartoon.example", 200),
        ("CARTOON.example.", "https://cartoon.example", 200),
        ("127.0.0.1:7860", "https://cartoon.example", 200),  # a proxy that names what it forwards to
        ("shop.example:8443", "https://shop.example:8443", 200),
        ("shop.example:8444", "https://shop.example:8444", 403),
        ("cartoon.example", "https://cartoon.example:9000", 403),
        ("evil.example", "https://cartoon.example", 403),
    ):
        answer = plain.get(f"{elsewhere.url}config", headers={"host": host, "origin": from_})
        assert answer.status_code == status, (host, from_)


def test_in_a_space_its_own_host_and_frame_are_allowed(elsewhere: Served, plain: httpx.Client) -> None:
    proxied = {"host": "ann-cartoon.hf.space", "x-forwarded-proto": "https"}
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    answer = plain.get(elsewhere.url, headers={**proxied, **framed})
    assert answer.status_code == 200
    assert "frame-ancestors https://huggingface.co" in answer.headers["content-security-policy"]
    assert "x-frame-options" not in answer.headers
    assert "SameSite=None; Secure; Partitioned" in answer.headers["set-cookie"]
    assert plain.get(elsewhere.url, headers={"host": "evil.hf.space"}).status_code == 403


# Locks.


def test_a_password_locks_every_door(tmp_path: Path) -> None:
    with (
        running(tmp_path, CARTOON_PASSWORD="pass word", CARTOON_API_KEYS="key-one,key-two") as served,
        client(served.url) as sending,
    ):
        for address in (
            "",
            "config",
            "api/v1/styles",
            "metrics",
            "gradio_api/info",
            "api/v1/jobs",
            "static/x",
            "openapi.json",
        ):
            assert sending.get(f"/{address}").status_code == 401, address
        assert sending.post("/api/v1/cartoonize").status_code == 401
        assert sending.post("/gradio_api/upload").status_code == 401
        for address in ("healthz", "readyz"):
            assert sending.get(f"/{address}").status_code == 200
        assert "Password" in sending.get("/", headers={"accept": "text/html"}).text
        assert sending.post("/login", data={"password": "wrong"}).status_code == 401
        assert sending.get("/config").status_code == 401
        assert sending.post("/login", data={"password": "pass word"}).status_code == 200
        assert sending.get("/config").status_code == 200
        assert sending.get("/api/v1/styles").status_code == 200
        sending.post("/logout")
        assert sending.get("/config").status_code == 401
        for header in ("Bearer key-one", "bearer key-two"):
            assert sending.get("/api/v1/styles", headers={"authorization": header}).status_code == 200
        for header in ("Bearer key", "Bearer", "Bearer key-one,key-two", "Basic key-one", "Basic !", "key-one"):
            assert sending.get("/api/v1/styles", headers={"authorization": header}).status_code == 401
        assert sending.get("/api/v1/styles", auth=("anybody", "pass word")).status_code == 200
        sending.cookies.set("cartoon_session", "9999999999.0.0")
        assert sending.get("/config").status_code == 401
        for _ in range(TRIES):
            sending.post("/login", data={"password": "wrong"})
        assert sending.post("/login", data={"password": "pass word"}).status_code == 429


def test_keys_alone_lock_rest_and_who_has_one_owns_the_jobs_begun_with_it(elsewhere: Served) -> None:
    with client(elsewhere.url) as sending:
        assert sending.get("/").status_code == 200
        sending.cookies.clear()
        assert sending.post("/api/v1/jobs", files={"images": ("a.png", PICTURE)}).status_code == 401
        one, two = ({"authorization": f"Bearer key-{n}"} for n in ("one", "two"))
        id = sending.post("/api/v1/jobs", files={"images": ("a.png", PICTURE)}, headers=one).json()["id"]
        sending.cookies.clear()
        assert [job["id"] for job in sending.get("/api/v1/jobs", headers=one).json()["jobs"]] == [id]
        assert sending.get("/api/v1/jobs", headers=two).json()["jobs"] == []
        assert sending.delete(f"/api/v1/jobs/{id}", headers=two).status_code == 403
        assert sending.delete(f"/api/v1/jobs/{id}", headers=one).status_code == 204


def test_a_link_sees_and_downloads_and_its_owner_alone_steers(visitor: httpx.Client, stranger: httpx.Client) -> None:
    answer = visitor.post("/api/v1/jobs", files={"images": ("a.png", PICTURE)}, data={"size": "64"})
    id, owner = answer.json()["id"], answer.json()["owner"]
    for address in ("", "/items", "/zip", "/report.csv"):
        assert stranger.get(f"/api/v1/jobs/{id}{address}").status_code == 200
    for word in ("pause", "resume", "cancel", "retry"):
        refused = stranger.post(f"/api/v1/jobs/{id}/{word}")
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert stranger.delete(f"/api/v1/jobs/{id}").status_code == 403
    assert owner not in stranger.get(f"/api/v1/jobs/{id}").text
    with client(str(visitor.base_url)) as program:  # without a cookie
        assert program.post(f"/api/v1/jobs/{id}/pause", headers={"x-cartoon-owner": owner}).status_code == 200
        assert program.delete(f"/api/v1/jobs/{id}", headers={"x-cartoon-owner": "0" * 32}).status_code == 403
    assert visitor.delete(f"/api/v1/jobs/{id}").status_code == 204
