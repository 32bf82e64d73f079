"""A server on this machine that does everything a server should not."""

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.waiting import PATIENCE

BODY = bytes(range(1, 256)) * 1000  # 255 kB, no page's beginning
DIGEST = hashlib.sha256(BODY).hexdigest()
OTHER = BODY[::-1]

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request of the bad server; answered by what the test has put in the queue, the last of it for ever."""

    protocol_version = "HTTP/1.1"
    server: "BadServer"

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has heard enough
            answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class BadServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [whole()]
        self.seen: list[dict[str, str]] = []
        self.over = threading.Event()
        self.outwaited = 0
        """Stalls that a client waited for to the end."""

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A broken handshake is what some tests are for."""


def whole(body: bytes = BODY, etag: str = '"one"', length: int | None = None, ranges: bool = True) -> Answer:
    """All that is asked for; length: what it says instead of the truth."""

    def answer(to: Handler) -> None:
        start = 0
        asked = to.headers.get("Range")
        if ranges and asked and to.headers.get("If-Range") in (None, etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return to.head(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            to.head(206, ETag=etag, Content_Length=len(body) - start, Content_Range=span)
        else:
            to.head(200, ETag=etag, Content_Length=len(body) if length is None else length)
        to.wfile.write(body[start:])
        return None

    return answer


def cut(at: int, body: bytes = BODY, etag: str = '"one"', **headers: object) -> Answer:
    """A connection that breaks after so many bytes."""

    def answer(to: Handler) -> None:
        to.head(200, **({"ETag": etag} if etag else {}), Content_Length=len(body), **headers)
        to.wfile.write(body[:at])

    return answer


def says(status: int, text: bytes = b"", **headers: object) -> Answer:
    def answer(to: Handler) -> None:
        to.head(status, Content_Length=len(text), **headers)
        to.wfile.write(text)

    return answer


def stalls(server: BadServer, at: int = 1000) -> Answer:
    """Nothing more after so many bytes, until nobody has any patience left."""

    def answer(to: Handler) -> None:
        to.head(200, ETag='"one"', Content_Length=len(BODY))
        to.wfile.write(BODY[:at])
        server.outwaited += not server.over.wait(PATIENCE)

    return answer


def drips(every: float) -> Answer:
    """A byte at a time."""

    def answer(to: Handler) -> None:
        to.head(200, Content_Length=len(BODY))
        for byte in BODY:
            to.wfile.write(bytes([byte]))
            time.sleep(every)  # a slow line

    return answer


def endless(to: Handler) -> None:
    """Bytes without end, in chunks without a length."""
    to.head(200, Transfer_Encoding="chunked")
    for _ in range(100_000):
        to.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


@dataclass
class Pauses:
    """Waits that take no time."""

    asked: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
