"""One file from a model hub: fetched over https, resumed, verified, and only then put in place."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from ssl import SSLContext
from typing import Final

import httpx

from cartoon import __version__
from cartoon.errors import ResourceError, StyleError
from cartoon.styles.address import Checked, Resolve, Unreachable, resolve
from cartoon.styles.part import Part, Source, opened

Watch = Callable[[int, int | None], None]
"""Told the bytes that are here and the bytes that there will be, None where nobody said."""

LARGEST: Final = 1 << 30
"""Bytes; no model here has more than a tenth."""
RETRIES: Final = 3
LONGEST_WAIT_S: Final = 30.0
"""However long a server asks to be left alone."""
CONNECT_S: Final = 10.0
"""For each address of a host."""
MOST_REDIRECTS: Final = 5
SLOWEST: Final = 1024
"""Bytes a second; a server slower than this for `stall_s` is given up as one that is silent."""
_START: Final = 64
"""Bytes of a body that tell a web page from a model."""
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be another a moment later."""
_PAGES: Final = ("text/html", "application/xhtml", "application/json")
_PAGE_STARTS: Final = (b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")
_PAGE: Final = "was not fetched, {} sends a web page in its place"
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Network:
    """How the network is reached; tests put their own in place.

    local: "HOST:PORT", the one place that may be plain http on this machine. trust: certificates to believe, None for
    the usual. pause: waits so many seconds. stall_s: silence after which a connection is given up. otherwise: what a
    person without a network can do, as an ending for "connect, or ...".
    """

    resolve: Resolve = resolve
    local: str = ""
    trust: SSLContext | None = None
    pause: Callable[[float], None] = time.sleep
    stall_s: float = 30.0
    otherwise: str = "give the files with --from DIR"

    def refused(self, name: str, reason: str) -> StyleError:
        """The error for a file that is not taken; it ends in what a person can do."""
        return StyleError(f"{name} {reason}: {self.otherwise}.")


def unwatched(done: int, total: int | None) -> None:
    """A Watch that nobody looks at."""


def fetch(
    url: str,
    into: Path,
    *,
    sha256: str | None = None,
    limit: int = LARGEST,
    watch: Watch = unwatched,
    network: Network | None = None,
) -> Path:
    """Fetch a file of at most `limit` bytes to the path `into` and return it; one that is there is replaced.

    What an earlier call left unfinished is gone on with, unless the file has changed at its source. Nothing stands at
    `into` before all of it is here, has the sha256 where one is given, and is on the disk.

    Raises StyleError for an address that may not be reached or a file that is not the one described, ResourceError
    without a connection or when it broke RETRIES times in a row (then the next call goes on), and its kinds
    StorageError, OutputError and BusyError. No message shows what follows the path in an address.
    """
    network = network or Network()
    with opened(into) as part, _client(network) as client:
        if part.source is None or part.source.url != url or not (part.source.validator or sha256):
            part.restart(None)
        attempt = 0
        while True:
            resumed = part.size
            try:
                if not part.whole:
                    _receive(client, url, part, _Terms(sha256, limit, network), watch)
                if sha256 is None or part.sha256() == sha256:
                    part.finish()
                    return into
                part.restart(None)
                if not resumed:
                    reason = (
                        f"from {_host(url)} is not the file that is expected (its sha256 differs), and was thrown away"
                    )
                    raise network.refused(into.name, reason)
            except Broken as problem:
                wait = wait_before(attempt, problem)
                if wait is None:
                    raise _given_up(part, url, problem, network) from problem
                network.pause(wait)
            attempt += 1


class Broken(Exception):
    """A try that failed and may go better next time; asked: seconds that the server asks for."""

    def __init__(self, reason: str, asked: float = 0.0, offline: bool = False) -> None:
        super().__init__(reason)
        self.asked, self.offline = asked, offline


@dataclass(frozen=True)
class _Terms:
    """On which a body is taken."""

    sha256: str | None
    limit: int
    network: Network


def wait_before(attempt: int, problem: Broken) -> float | None:
    """Seconds before the next try after so many retries; None to stop. No network at the outset is not waited for."""
    if attempt >= RETRIES or (problem.offline and attempt == 0):
        return None
    return min(LONGEST_WAIT_S, max(problem.asked, float(2**attempt)))


def _receive(client: httpx.Client, url: str, part: Part, terms: _Terms, watch: Watch) -> None:
    """One try: ask for what is missing and add it. Raises Broken where another try may help."""
    headers = {}
    if part.size and part.source is not None:
        headers["Range"] = f"bytes={part.size}-"
        if part.source.validator:
            headers["If-Range"] = part.source.validator
    try:
        with closing(_follow(client, url, headers, part.into.name)) as response:
            _take(response, part, _begin(response, url, part, terms), terms, watch)
    except Unreachable as problem:
        raise Broken(f"there is no connection to {problem}", offline=True) from problem
    except httpx.TimeoutException as problem:
        raise Broken("the connection went silent") from problem
    except httpx.TransportError as problem:
        raise Broken("the connection broke") from problem
    except httpx.InvalidURL as problem:
        raise StyleError(f"{part.into.name} has an address that cannot be used ({problem}): check it.") from problem


def _follow(client: httpx.Client, url: str, headers: dict[str, str], name: str) -> httpx.Response:
    """The answer after redirects, its body not read; where each may lead is checked by the transport."""
    at = httpx.URL(url)
    for _ in range(MOST_REDIRECTS + 1):
        response = client.send(client.build_request("GET", at, headers=headers), stream=True)
        if not response.has_redirect_location:
            return response
        response.close()  # httpx, asked to follow, would first read the whole of it, however long
        at = at.join(response.headers["location"])
    raise StyleError(f"{name} was not found, {_host(url)} sends from one address to the next: check the address.")


def _begin(response: httpx.Response, url: str, part: Part, terms: _Terms) -> int | None:
    """Judge an answer by its head, and make the part ready for its body. Returns all bytes of the file, if known."""
    status, name, host, head = response.status_code, part.into.name, _host(url), response.headers
    if status in _PASSING:
        raise Broken(f"{host} answers with {status}", asked=_seconds(head.get("retry-after", "")))
    if status == 416:
        part.restart(None)
        raise Broken("what was here does not fit any more")
    if status not in (200, 206):
        raise terms.network.refused(name, f"cannot be had from {host} (it answers with {status})")
    if head.get("content-type", "").lower().startswith(_PAGES):
        raise terms.network.refused(name, _PAGE.format(host))
    if head.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise terms.network.refused(name, f"comes packed from {host}, which was not asked for")
    etag = head.get("etag", "")
    validator = etag if etag and not etag.startswith("W/") else head.get("last-modified", "")
    if status == 200:
        total = int(head["content-length"]) if head.get("content-length", "").isdecimal() else None
        if total is None and terms.sha256 is None and head.get("transfer-encoding", "").lower() != "chunked":
            raise terms.network.refused(name, f"was not fetched, {host} does not say how long it is")
        part.restart(Source(url, validator, total))
    else:
        span = _RANGE.fullmatch(head.get("content-range", ""))
        known = part.source
        total = int(span[3]) if span and span[3] != "*" else known.total if known else None
        same = known is not None and known.total in (None, total) and known.validator in ("", validator)
        if not part.size or span is None or int(span[1]) != part.size or not same:
            part.restart(None)
            raise Broken("the file changed at its source")
    if total is not None and total > terms.limit:
        raise _too_large(name, terms)
    return total


def _take(response: httpx.Response, part: Part, total: int | None, terms: _Terms, watch: Watch) -> None:
    """Add a body to the part, however long the server said that it is."""
    name, host = part.into.name, response.url.host
    since, received = time.monotonic(), 0
    start = b"" if part.size == 0 else None
    watch(part.size, total)
    for block in response.iter_raw():
        if start is not None and len(start) < _START:
            start += block[:_START]
            if start.lstrip().lower().startswith(_PAGE_STARTS):
                part.restart(None)
                raise terms.network.refused(name, _PAGE.format(host))
        if part.size + len(block) > terms.limit:
            part.restart(None)
            raise _too_large(name, terms)
        part.add(block)
        received += len(block)
        watch(part.size, total)
        now = time.monotonic()
        if now - since > terms.network.stall_s:
            if received < SLOWEST * (now - since):
                raise Broken("the connection is far too slow")
            since, received = now, 0
    if total is not None and part.size > total:
        part.restart(None)
        raise Broken("more came than was announced")
    if total is not None and part.size < total:
        raise Broken("only a part came")
    if not part.size:
        raise Broken("nothing came")


def _client(network: Network) -> httpx.Client:
    checked = Checked(network.resolve, network.local, network.trust)
    headers = {"User-Agent": f"cartoon/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(network.stall_s, connect=min(network.stall_s, CONNECT_S))
    return httpx.Client(transport=checked, timeout=timeout, headers=headers, trust_env=False)


def _given_up(part: Part, url: str, problem: Broken, network: Network) -> ResourceError:
    name, host = part.into.name, _host(url)
    if problem.offline and not part.size:
        return ResourceError(f"{name} was not fetched, {problem}: connect, or {network.otherwise}.")
    here = f" to go on from {part.size / 1e6:.1f} MB" if part.size else ""
    return ResourceError(
        f"{name} could not be fetched from {host} ({problem}): run the command again{here}, or {network.otherwise}."
    )


def _too_large(name: str, terms: _Terms) -> StyleError:
    return StyleError(
        f"{name} has more than the {terms.limit / 1e6:g} MB that it may have, and was not fetched: check the address."
    )


def _seconds(asked: str) -> float:
    """A Retry-After: seconds, or a date."""
    if asked.isdecimal():
        return float(min(int(asked[:9]), LONGEST_WAIT_S))
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _host(url: str) -> str:
    return httpx.URL(url).host
