"""A stranger at the doors: what a client, a website or a made-up path must never get. A real server, real requests."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from cartoon.images.encode import encode
from tests.serving import Served, origin

SECRET = b"the secret of this machine"
PICTURE = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")


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
