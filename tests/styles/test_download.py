"""Downloads of model files, from a server on this machine that does everything a server should not."""

import hashlib
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest

from cartoon.errors import BusyError, OutputError, ResourceError, StorageError, StyleError
from cartoon.images.encode import encode
from cartoon.styles import part as parts
from cartoon.styles.address import is_public
from cartoon.styles.download import RETRIES, Broken, Network, fetch, wait_before
from cartoon.styles.official import PINS, OfficialFile, OfficialStyle, add, added, find, official, verified
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
            time.sleep(every)

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


@pytest.fixture
def server() -> Iterator[BadServer]:
    with BadServer() as bad:
        thread = threading.Thread(target=bad.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield bad
        bad.over.set()
        bad.shutdown()
        thread.join()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def network(server: BadServer, pauses: Pauses) -> Network:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual certificates take 0.1 s to read
    return Network(
        local=server.place, trust=nobody, pause=pauses, stall_s=1.0
    )  # not less: on a busy machine an answer takes a while


@pytest.fixture
def url(server: BadServer) -> str:
    return f"http://{server.place}/files/a.pb?key=secret"


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What goes well in the end.


def test_a_file_is_fetched_and_nothing_else_is_left(tmp_path: Path, url: str, network: Network) -> None:
    told: list[tuple[int, int | None]] = []
    into = tmp_path / "deep" / "a.pb"
    assert fetch(url, into, sha256=DIGEST, watch=lambda *now: told.append(now), network=network) == into
    assert into.read_bytes() == BODY
    assert left(into.parent) == {"a.pb"}
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_gone_on_with(
    tmp_path: Path, url: str, network: Network, server: BadServer, pauses: Pauses, digest: str | None, ranges: bool
) -> None:
    server.answers = [cut(100_000), whole(ranges=ranges)]
    fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY
    assert server.seen[1]["range"].startswith("bytes=")
    assert server.seen[1]["if-range"] == '"one"'
    assert pauses.asked == [1]


def test_a_later_run_goes_on(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [cut(100_000)]
    with pytest.raises(ResourceError, match=r"^a\.pb .*run the command again to go on from 0\.1 MB"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == {".a.pb.part", ".a.pb.part.json"}
    server.answers = [whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert server.seen[-1]["range"] == "bytes=100000-"
    assert (tmp_path / "a.pb").read_bytes() == BODY
    assert left(tmp_path) == {"a.pb"}


def test_what_is_not_sure_to_be_on_the_disk_is_fetched_again(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [cut(100_000)]
    with pytest.raises(ResourceError):
        fetch(url, tmp_path / "a.pb", network=network)
    with (tmp_path / ".a.pb.part").open("ab") as file:  # as a power cut leaves it: longer than was noted
        file.write(bytes(50_000))
    server.answers = [whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert server.seen[-1]["range"] == "bytes=100000-"
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"bytes": 7}', '{"bytes": "x", "url": 1}', '{"bytes": 1e9}'])
def test_a_part_without_a_good_note_is_not_trusted(
    tmp_path: Path, url: str, network: Network, server: BadServer, note: str
) -> None:
    (tmp_path / ".a.pb.part").write_bytes(OTHER[:5000])
    (tmp_path / ".a.pb.part.json").write_text(note)
    fetch(url, tmp_path / "a.pb", network=network)
    assert "range" not in server.seen[0]
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_the_part_of_another_address_is_not_used(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [cut(100_000, OTHER)]
    with pytest.raises(ResourceError):
        fetch(url + "2", tmp_path / "a.pb", network=network)
    server.answers = [whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert "range" not in server.seen[-1]
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_file_that_changes_between_tries_is_never_mixed(
    tmp_path: Path, url: str, network: Network, server: BadServer, digest: str | None
) -> None:
    server.answers = [cut(100_000, OTHER, '"old"'), whole(etag='"new"')]
    fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_server_that_goes_on_with_another_file_is_seen_through(
    tmp_path: Path, url: str, network: Network, server: BadServer, digest: str | None
) -> None:
    """It ignores If-Range, so that its answer alone looks like the rest of what was asked for."""

    def rest(to: Handler) -> None:
        at = int(to.headers["Range"].removeprefix("bytes=").rstrip("-"))
        span = f"bytes {at}-{len(BODY) - 1}/{len(BODY)}"
        to.head(206, ETag='"new"', Content_Length=len(BODY) - at, Content_Range=span)
        to.wfile.write(BODY[at:])

    server.answers = [cut(100_000, OTHER, '"old"'), rest, whole(etag='"new"')]
    fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_without_a_validator_only_a_known_file_is_gone_on_with(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    for digest, ranged in ((None, False), (DIGEST, True)):
        server.answers, server.seen = [cut(100_000, etag="")], []
        with pytest.raises(ResourceError):
            fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
        server.answers, server.seen = [whole()], []
        fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
        assert ("range" in server.seen[0]) == ranged
        assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_wrong_part_under_a_known_file_costs_one_more_try(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [cut(100_000, OTHER, etag=""), whole()]
    fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY
    assert len(server.seen) == 3


def test_a_range_that_does_not_fit_is_given_up(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [cut(100_000), says(416), whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_stall_is_given_up_and_gone_on_with(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [stalls(server), whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert not server.outwaited
    assert server.seen[1]["range"] == "bytes=1000-"
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_server_that_drips_is_given_up(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [drips(0.02), whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert len(server.seen) == 2  # the first would have taken an hour
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_troubles_are_waited_for(
    tmp_path: Path, url: str, network: Network, server: BadServer, pauses: Pauses, status: int
) -> None:
    server.answers = [says(status), says(status, Retry_After=7), whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert pauses.asked == [1, 7]
    server.answers = [says(status)]
    with pytest.raises(ResourceError, match=rf"^a\.pb could not .*{status}.*--from DIR\.$"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert len(server.seen) == 3 + 1 + RETRIES
    assert left(tmp_path) == {"a.pb"}


def test_waits_grow_and_end() -> None:
    assert [wait_before(attempt, Broken("x")) for attempt in range(5)] == [1, 2, 4, None, None]
    assert wait_before(0, Broken("x", asked=1e9)) == 30
    assert wait_before(0, Broken("x", offline=True)) is None
    assert wait_before(1, Broken("x", offline=True)) == 2


# What is refused.


def test_wrong_bytes_are_thrown_away(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    (tmp_path / "a.pb").write_bytes(b"the old one")
    server.answers = [whole(OTHER)]
    with pytest.raises(StyleError, match=r"^a\.pb from 127\.0\.0\.1 is not the file that is expected"):
        fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert len(server.seen) == 1
    assert left(tmp_path) == {"a.pb"}
    assert (tmp_path / "a.pb").read_bytes() == b"the old one"


def test_a_length_that_is_too_large_never_ends_in_a_file(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [whole(length=len(BODY) + 10)]
    with pytest.raises(ResourceError, match=r"^a\.pb could not be fetched"):
        fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert not (tmp_path / "a.pb").exists()


def test_a_length_that_is_too_small_is_caught_by_the_digest(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [whole(length=len(BODY) - 10)]
    with pytest.raises(StyleError, match="sha256 differs"):
        fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert left(tmp_path) == set()


def test_a_body_without_an_end_of_its_own_is_refused_while_the_file_is_unknown(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    def unmeasured(to: Handler) -> None:
        to.head(200)
        to.wfile.write(BODY)

    server.answers = [unmeasured]
    with pytest.raises(StyleError, match="does not say how long"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()
    assert fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network).read_bytes() == BODY


@pytest.mark.parametrize("answer", [endless, whole(b"x" * 300_000), whole(b"x" * 300_000, length=300_000_000)])
def test_more_than_the_limit_is_refused_while_it_comes(
    tmp_path: Path, url: str, network: Network, server: BadServer, answer: Answer
) -> None:
    server.answers = [answer]
    with pytest.raises(StyleError, match=r"^a\.pb has more than the 0\.2 MB"):
        fetch(url, tmp_path / "a.pb", limit=200_000, network=network)
    assert left(tmp_path) == set()
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(200, b"<!DOCTYPE html><p>log in", Content_Type="text/html; charset=utf-8"), "web page"),
        (says(200, b'{"Code": 10010205001}', Content_Type="application/json"), "web page"),
        (says(200, b"\n <HTML>log in", Content_Type="application/octet-stream"), "web page"),
        (says(200, b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n"), "web page"),
        (says(200, b"\x1f\x8b\x08 packed", Content_Encoding="gzip"), "comes packed"),
        (says(404, b"no"), "answers with 404"),
        (says(403), "answers with 403"),
        (says(204), "answers with 204"),
        (says(304), "answers with 304"),
        (says(300, Location="/other"), "answers with 300"),
        (says(301), "answers with 301"),
    ],
)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, url: str, network: Network, server: BadServer, answer: Answer, words: str
) -> None:
    server.answers = [answer]
    with pytest.raises(StyleError, match=rf"^a\.pb .*{words}.*--from DIR\.$"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()
    assert len(server.seen) == 1


def test_nothing_is_no_file(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [says(200)]
    with pytest.raises(ResourceError, match="nothing came"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()


def test_no_answer_that_is_not_http_gets_through(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    def other(to: Handler) -> None:
        to.wfile.write(b"SSH-2.0-OpenSSH_9\r\n")

    server.answers = [other]
    with pytest.raises(ResourceError, match="the connection broke"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()


# Where it may lead.


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "not https"),
        ("ftp://example.org/a", "not https"),
        ("http://127.0.0.1:1/a", "not https"),
        ("http://example.org/a", "not https"),
        ("//example.org/a", "not https"),
        ("https://127.0.0.1/a", "inside a network"),
        ("https://10.1.2.3/a", "inside a network"),
        ("https://[::1]/a", "inside a network"),
        ("https://[::ffff:192.168.0.1]/a", "inside a network"),
        ("https://0/a", "inside a network"),
        ("https://2130706433/a", "inside a network"),
        ("https://0x7f.1/a", "inside a network"),
        ("https://169.254.169.254/latest/meta-data", "inside a network"),
        ("https://intranet/a", "inside a network"),
    ],
)
def test_redirects_lead_nowhere_else(
    tmp_path: Path, url: str, network: Network, server: BadServer, location: str, words: str
) -> None:
    resolving = network.resolve
    network = replace(network, resolve=lambda host, port: ["10.0.0.8"] if host == "intranet" else resolving(host, port))
    server.answers = [says(302, Location=location)]
    with pytest.raises(StyleError, match=words) as refused:
        fetch(url, tmp_path / "a.pb", network=network)
    assert "secret" not in str(refused.value)
    assert left(tmp_path) == set()


def test_redirects_are_followed_and_end(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [says(302, Location="/b?c"), says(307, Location=f"http://{server.place}/d"), whole()]
    assert fetch(url, tmp_path / "a.pb", network=network).read_bytes() == BODY
    server.answers = [says(302, Location="/b")]
    with pytest.raises(StyleError, match="from one address to the next"):
        fetch(url, tmp_path / "a.pb", network=network)


def test_the_body_of_a_redirect_is_not_read(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    def away(to: Handler) -> None:
        to.head(302, Location="/b", Transfer_Encoding="chunked")
        server.outwaited += not server.over.wait(PATIENCE)  # and no end of it

    server.answers = [away, whole()]
    assert fetch(url, tmp_path / "a.pb", network=network).read_bytes() == BODY
    assert not server.outwaited


@pytest.mark.parametrize(
    "bad", ["http://example.org/a", "file:///etc/passwd", "ftp://example.org/a", "a.pb", "https:///a"]
)
def test_only_https_is_asked(tmp_path: Path, pauses: Pauses, bad: str) -> None:
    with pytest.raises(StyleError):
        fetch(bad, tmp_path / "a.pb", network=Network(pause=pauses))
    assert left(tmp_path) == set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("no address", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_one_bad_address_among_good_ones_is_enough(tmp_path: Path, pauses: Pauses) -> None:
    network = Network(resolve=lambda host, port: ["93.184.215.14", "10.0.0.1"], pause=pauses)
    with pytest.raises(StyleError, match=r"^hub\.test is not fetched from"):
        fetch("https://hub.test/a", tmp_path / "a.pb", network=network)


def test_a_name_is_resolved_once_a_connection_and_the_checked_address_is_the_one_connected_to(
    tmp_path: Path, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when asked first and loopback when asked again (DNS rebinding)."""
    asked: list[str] = []
    connected: list[tuple[str, str]] = []

    def turning(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14"] if len(asked) % 2 else ["127.0.0.1"]

    def connect(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        connected.append((request.url.host, request.headers["Host"]))
        assert request.extensions["sni_hostname"] == "hub.test"
        raise httpx.ReadError("broken")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", connect)
    with pytest.raises(StyleError, match="inside a network"):
        fetch("https://hub.test/a", tmp_path / "a.pb", network=Network(resolve=turning, pause=pauses))
    assert connected == [("93.184.215.14", "hub.test")]
    assert asked == ["hub.test", "hub.test"]


def test_without_a_network_the_way_out_is_named_at_once(tmp_path: Path, pauses: Pauses) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(
        ResourceError,
        match=r"^a\.pb was not fetched, there is no connection to hub\.test: connect, or give the files with --from",
    ):
        fetch("https://hub.test/a", tmp_path / "a.pb", network=Network(resolve=unknown, pause=pauses))
    assert pauses.asked == []
    assert left(tmp_path) == set()


def test_nobody_there_is_no_connection(tmp_path: Path, server: BadServer, pauses: Pauses) -> None:
    place = server.place
    server.server_close()
    with pytest.raises(ResourceError, match="there is no connection to 127"):
        fetch(f"http://{place}/a", tmp_path / "a.pb", network=Network(local=place, pause=pauses))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1's name hub.test, signed by itself, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "hub.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hub.test -addext subjectAltName=DNS:hub.test"
    subprocess.run([*command.split(), "-keyout", path, "-out", path], check=True, capture_output=True)
    return path


def test_https_proves_the_name_although_the_address_is_connected_to(
    tmp_path: Path, server: BadServer, pauses: Pauses, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    server.socket = serving.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setattr("cartoon.styles.address.is_public", lambda address: address == "127.0.0.1")
    trust = ssl.create_default_context(cafile=str(certificate))
    network = Network(resolve=lambda host, port: ["127.0.0.1"], pause=pauses, trust=trust, stall_s=5)
    at = f"https://hub.test:{server.server_port}/a"
    assert fetch(at, tmp_path / "a.pb", network=network).read_bytes() == BODY
    assert server.seen[0]["host"] == f"hub.test:{server.server_port}"
    for untrusted, name in ((network, "other.test"), (replace(network, trust=None), "hub.test")):
        with pytest.raises(StyleError, match=rf"^{name} does not prove that it is {name}"):
            fetch(at.replace("hub.test", name), tmp_path / "b.pb", network=untrusted)
    assert left(tmp_path) == {"a.pb"}


# The disk.


def test_a_stop_in_the_middle_keeps_what_came(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    def stop(done: int, total: int | None) -> None:
        if done > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "a.pb", watch=stop, network=network)
    assert not (tmp_path / "a.pb").exists()
    noted = json.loads((tmp_path / ".a.pb.part.json").read_text())["bytes"]
    assert 50_000 < noted <= len(BODY)
    assert (tmp_path / ".a.pb.part").read_bytes() == BODY[:noted]
    fetch(url, tmp_path / "a.pb", network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_two_at_once_are_kept_apart(tmp_path: Path, url: str, network: Network) -> None:
    def second(done: int, total: int | None) -> None:
        with pytest.raises(BusyError, match=r"^a\.pb is being fetched"):
            fetch(url, tmp_path / "a.pb", network=network)

    fetch(url, tmp_path / "a.pb", sha256=DIGEST, watch=second, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_said(
    tmp_path: Path, url: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^a\.pb cannot be written"):
        fetch(url, tmp_path / "file" / "a.pb", network=network)

    def full(self: parts.Part, block: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.Part, "add", full)
    with pytest.raises(StorageError, match=r"^a\.pb does not fit on the disk"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == {"file"}


# The official styles.

PICTURE = encode(np.full((16, 16, 3), 200, np.uint8), None, "jpg")
NODE = b"\x0a\x01x\x12\x05Const"  # a NodeDef: its name, its op
GRAPH = b"\x0a" + bytes([len(NODE)]) + NODE
CONTENT = {"cartoon_bg.pb": GRAPH, "cartoon_h.pb": GRAPH + b"\x22\x00", "alpha.jpg": PICTURE}


@pytest.fixture
def row(server: BadServer) -> OfficialStyle:
    files = tuple(OfficialFile(name, f"http://{server.place}/{name}", None) for name in CONTENT)
    return replace(official()[0], files=files)


@pytest.fixture
def hub(server: BadServer) -> dict[str, Answer]:
    """What the server has for each name; tests change it."""
    answers = {name: whole(content) for name, content in CONTENT.items()}
    server.answers = [lambda to: answers[to.path.removeprefix("/")](to)]
    return answers


def test_the_seven_rows_are_whole_and_nothing_is_said_that_is_not_known() -> None:
    rows = official()
    names = "anime 3d handdrawn sketch artstyle sd-design sd-illustration"
    assert [row.id for row in rows] == [f"dctnet-{name}" for name in names.split()]
    for row in rows:
        assert [file.name for file in row.files] == list(CONTENT)
        for file in row.files:
            assert file.url.startswith(f"https://modelscope.cn/api/v1/models/{row.model}/repo?Revision=")
            assert file.url.endswith(f"&FilePath={file.name}")
        for words in (row.id, row.model, "Apache-2.0", "weights: unknown", row.origin, "modelscope.cn"):
            assert words in row.notice
    with pytest.raises(StyleError, match=r"'dctnet'.*dctnet-anime, dctnet-3d"):
        find("dctnet")


def test_a_style_is_added_whole_pinned_and_not_fetched_twice(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network, server: BadServer
) -> None:
    told: list[str] = []
    assert added(tmp_path) == ()
    folder = add(row, tmp_path, watch=lambda name, done, total: told.append(name), network=network)
    assert folder == tmp_path / "dctnet-anime"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PINS} == CONTENT
    pins = json.loads((folder / PINS).read_text())
    assert pins == {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    assert set(told) == set(CONTENT)
    assert verified(row, tmp_path) == folder
    assert [style.id for style in added(tmp_path)] == ["dctnet-anime"]
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"} == {"dctnet-anime"}
    add(row, tmp_path, network=network)
    assert len(server.seen) == 3


def test_a_file_that_differs_later_is_refused_on_load_and_on_download(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network
) -> None:
    folder = add(row, tmp_path, network=network)
    (folder / "cartoon_h.pb").write_bytes(GRAPH)
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb of dctnet-anime is missing or not the file .*styles add"):
        verified(row, tmp_path)
    hub["cartoon_h.pb"] = whole(GRAPH, '"new"')
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb from 127\.0\.0\.1 is not .*remove pins\.json"):
        add(row, tmp_path, network=network)
    assert (folder / "alpha.jpg").exists()  # nothing was put in place
    hub["cartoon_h.pb"] = whole(CONTENT["cartoon_h.pb"])
    assert verified(row, add(row, tmp_path, network=network).parent) == folder
    (folder / PINS).unlink()
    with pytest.raises(StyleError, match=r"has no sha256 in pins\.json"):
        verified(row, tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(StyleError, match="dctnet-anime is not here yet"):
        verified(row, tmp_path)


def test_a_digest_in_the_row_is_held_to_from_the_first(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network
) -> None:
    row = replace(row, files=(replace(row.files[0], sha256=DIGEST), *row.files[1:]))
    with pytest.raises(StyleError, match="sha256 differs"):
        add(row, tmp_path, network=network)
    assert not (tmp_path / row.id).exists()


def test_an_interrupted_addition_is_gone_on_with(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network, server: BadServer
) -> None:
    hub["cartoon_h.pb"] = cut(5, CONTENT["cartoon_h.pb"])
    with pytest.raises(ResourceError, match=r"^cartoon_h\.pb could not be fetched"):
        add(row, tmp_path, network=network)
    assert not (tmp_path / row.id).exists()
    hub["cartoon_h.pb"] = whole(CONTENT["cartoon_h.pb"])
    server.seen = []
    verified(row, add(row, tmp_path, network=network).parent)
    assert [seen.get("range") for seen in server.seen] == ["bytes=5-", None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cartoon_bg.pb", GRAPH[:-2]),
        ("cartoon_bg.pb", b"no graph"),
        ("cartoon_bg.pb", PICTURE),
        ("alpha.jpg", PICTURE[:-100]),
        ("alpha.jpg", GRAPH),
    ],
)
def test_a_first_file_that_is_no_graph_or_picture_is_never_pinned(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network, name: str, content: bytes
) -> None:
    hub[name] = whole(content)
    with pytest.raises(StyleError, match=rf"^{name} is no whole "):
        add(row, tmp_path / "net", network=network)
    (tmp_path / "own").mkdir()
    for each, good in CONTENT.items():
        (tmp_path / "own" / each).write_bytes(content if each == name else good)
    with pytest.raises(StyleError, match=rf"^{name} is no whole "):
        add(row, tmp_path / "copied", tmp_path / "own", network=network)
    for folder in ("net", "copied"):
        assert not (tmp_path / folder / row.id).exists()
        pinned = tmp_path / folder / f".{row.id}.part" / PINS
        assert not pinned.exists() or name not in json.loads(pinned.read_text())


def test_files_that_a_user_has_are_taken_without_a_network(tmp_path: Path, row: OfficialStyle) -> None:
    own, styles = tmp_path / "own", tmp_path / "styles"
    own.mkdir()
    for name, content in CONTENT.items():
        (own / name).write_bytes(content)
    (own / "more.txt").write_text("not taken")
    folder = add(row, styles, own)
    assert {path.name for path in folder.iterdir()} == {*CONTENT, PINS}
    assert verified(row, styles) == folder
    shutil.rmtree(own)
    assert add(row, styles, own) == folder  # all of it is there
    (folder / "alpha.jpg").unlink()
    own.mkdir()
    (own / "cartoon_bg.pb").write_bytes(CONTENT["cartoon_h.pb"])
    with pytest.raises(StyleError, match=r"^cartoon_bg\.pb in .* is not the file that was added before"):
        add(row, styles, own)
    (own / "cartoon_bg.pb").write_bytes(GRAPH)
    (own / "cartoon_h.pb").mkdir()
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb is missing from .*own: name the folder"):
        add(row, styles, own)
    (own / "cartoon_h.pb").rmdir()
    (own / "cartoon_h.pb").write_bytes(b"")
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb"):
        add(row, styles, own)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, row: OfficialStyle) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^dctnet-anime cannot be put into the styles folder"):
        add(row, tmp_path / "file")


def test_two_additions_at_once_are_kept_apart(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network
) -> None:
    def second(name: str, done: int, total: int | None) -> None:
        with pytest.raises(BusyError, match=r"^dctnet-anime is being added"):
            add(row, tmp_path, network=network)

    assert verified(row, add(row, tmp_path, watch=second, network=network).parent)
