"""Who a visitor is, without a name: 128 random bits in a cookie, by which they find their own jobs again.

A program shows the same bits in the header X-Cartoon-Owner; one with an API key is its key's owner. Whoever shows
nothing is known by address alone, for as long as a request takes.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon.errors import ForbiddenError
from cartoon.jobs.service.jobs import JobService

COOKIE: Final = "cartoon_owner"
HEADER: Final = "x-cartoon-owner"
YEAR_SECONDS: Final = 365 * 24 * 3600
GIVEN_AT: Final = (("GET", "/"), ("GET", "/config"), ("POST", "/api/v1/jobs"))
"""The page, gradio_client's first request, and the first job of a program that keeps cookies."""
_ID: Final = re.compile(r"[0-9a-f]{32}")


class Address(Protocol):
    """Where a request comes from."""

    @property
    def host(self) -> str: ...


class Asking(Protocol):
    """What is read of a request, Starlette's or Gradio's."""

    @property
    def cookies(self) -> Mapping[str, str]: ...
    @property
    def client(self) -> Address | None: ...


@dataclass(frozen=True)
class Visitor:
    """Who asks. owner: their id, "" for nobody. address: where they ask from."""

    owner: str
    address: str

    @property
    def tag(self) -> str:
        """Names the visitor's folder of uploads; tells nothing about the owner's id, which is a secret."""
        told = self.owner or f"address {self.address}"
        return hashlib.sha256(f"cartoon files of {told}".encode()).hexdigest()[:32]


def owner_of(cookies: Mapping[str, str]) -> str:
    """The visitor's id; "" for nobody."""
    told = cookies.get(COOKIE, "")
    return told if _ID.fullmatch(told) else ""


def visitor_of(request: Asking) -> Visitor:
    """Who sends a request."""
    return Visitor(owner_of(request.cookies), request.client.host if request.client else "")


def check_owner(service: JobService, id: str, owner: str) -> None:
    """Raise ForbiddenError unless the job is the owner's, MissingError where there is none.

    A link to a job shows it and gives its pictures to whoever has it; to steer or delete it takes the owner.
    """
    theirs = service.status(id).order.owner
    if not theirs or not secrets.compare_digest(theirs, owner):
        raise ForbiddenError(
            "Only who started this job may change it: use the browser it was started in, or send its owner token in the"
            " header X-Cartoon-Owner."
        )


def owner_of_key(key: str) -> str:
    """The id of whoever has an API key."""
    return hashlib.sha256(f"cartoon owner by key {key}".encode()).hexdigest()[:32]


class Owners:
    """Gives a cookie to visitors who have none; the request that gets it counts as theirs already.

    Inside of it everybody is told by the cookie: an API key (`key_owner` in the scope's state, put there by whoever
    checked it) or the header comes before a cookie, and is put in its place. embedded: the page lives in another
    site's frame, where browsers keep only cookies that are made for it.
    """

    def __init__(self, app: ASGIApp, embedded: bool = False) -> None:
        self._app, self._embedded = app, embedded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shown = scope.get("state", {}).get("key_owner") or Headers(scope=scope).get(HEADER, "")
        if _ID.fullmatch(shown):
            await self._app(_with_cookie(scope, shown), receive, send)
            return
        if (scope["method"], scope["path"]) not in GIVEN_AT or _known(scope):
            await self._app(scope, receive, send)
            return
        id = secrets.token_hex(16)
        cookie = f"{COOKIE}={id}; HttpOnly; Max-Age={YEAR_SECONDS}; Path=/; {self._kept(scope)}"

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie.encode())]}
            await send(message)

        await self._app(_with_cookie(scope, id), receive, send_with_cookie)

    def _kept(self, scope: Scope) -> str:
        if self._embedded:
            return "SameSite=None; Secure; Partitioned"
        return "SameSite=Lax; Secure" if scope.get("scheme") == "https" else "SameSite=Lax"


def _with_cookie(scope: Scope, id: str) -> Scope:
    # In one header, which every version of Starlette reads, and last, where it counts before a worthless one.
    others = [header for header in scope["headers"] if header[0] != b"cookie"]
    cookies = "; ".join([*_sent(scope), f"{COOKIE}={id}"])
    return {**scope, "headers": [*others, (b"cookie", cookies.encode("latin-1"))]}


def _known(scope: Scope) -> bool:
    return bool(owner_of(cookie_parser("; ".join(_sent(scope)))))


def _sent(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
