"""Connections of a real server with few descriptors: idle ones make room, slow ones end, what was half-sent is gone."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from cartoon.images.encode import encode
from cartoon.web.access.connections import HEAD_SECONDS, QUIET_SECONDS, SPARE_DESCRIPTORS
from tests.serving import Served, nobody, running
from tests.waiting import wait_for

PICTURE = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")
CONNECTIONS = 40
"""Connections that fit."""
DESCRIPTORS = SPARE_DESCRIPTORS + 2 * CONNECTIONS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("home"), DESCRIPTORS) as server:
        yield server
    assert server.log.read_text() == ""


@pytest.fixture
def plain(served: Served) -> Iterator[httpx.Client]:
    """Comes with a connection of its own each time."""
    with nobody(served.url, headers={"connection": "close"}) as sending:
        yield sending


def connect(served: Served, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=60))


def left_behind(served: Served) -> list[Path]:
    places = (served.home / "incoming", served.home / "page" / "visitors")
    return [path for place in places for path in place.rglob("*") if path.is_file()]


def test_more_idle_connections_than_descriptors_do_not_stop_the_answers(served: Served, plain: httpx.Client) -> None:
    with ExitStack() as stack:
        silent = [connect(served, stack) for _ in range(3 * DESCRIPTORS)]
        for connection in silent[::3]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(5):
            assert plain.get("healthz", timeout=60).status_code == 200
        answer = httpx.post(
            f"{served.url}api/v1/cartoonize", files={"image": ("a.png", PICTURE)}, data={"size": "64"}, timeout=60
        )
        assert answer.status_code == 200


def test_when_all_are_at_work_the_next_is_told_to_come_back(served: Served, plain: httpx.Client) -> None:
    page = plain.get("config", timeout=60)
    cookie = page.headers["set-cookie"].partition(";")[0]
    ask = f"GET /gradio_api/heartbeat/x HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
    with ExitStack() as stack:
        streams = [connect(served, stack) for _ in range(CONNECTIONS * 5 // 6)]  # one address's share
        for stream in streams:
            stream.sendall(ask)
            assert b"200" in stream.recv(64)
        late = connect(served, stack)
        late.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n")
        late.sendall(bytes(2_000_000))
        told = late.recv(4096)
        assert told.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in told
        body = json.loads(told.partition(b"\r\n\r\n")[2])
        assert "CARTOON_MAX_CONNECTIONS" in body["message"]
        assert plain.get("healthz", timeout=60).json() == {"status": "ok"}
    wait_for(lambda: plain.get("config", timeout=60).status_code == 200)


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n'
    for address, field in (
        ("gradio_api/upload", b"files"),
        ("api/v1/cartoonize", b"image"),
        ("api/v1/jobs", b"images"),
    ):
        for _ in range(3):
            with ExitStack() as stack:
                broken = connect(served, stack)
                broken.sendall(
                    f"POST /{address} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
                    "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
                )
                broken.sendall(head % field + bytes(200_000))
                wait_for(lambda: bool(left_behind(served)))
            wait_for(lambda: not left_behind(served))


@pytest.mark.slow
def test_who_says_nothing_or_too_little_is_not_waited_for(served: Served) -> None:
    with ExitStack() as stack:
        silent, half, pausing = (connect(served, stack) for _ in range(3))
        half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        pausing.sendall(
            b"POST /api/v1/cartoonize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        for connection in (silent, half):
            connection.settimeout(HEAD_SECONDS + 60)
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        pausing.settimeout(QUIET_SECONDS + 60)
        told = b""
        while b"too_slow" not in told:  # head and body may come apart
            more = pausing.recv(4096)
            assert more, told
            told += more
        assert told.startswith(b"HTTP/1.1 408")
    assert left_behind(served) == []
