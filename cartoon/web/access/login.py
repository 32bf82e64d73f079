"""The locks of the doors: a password for the page, API keys for REST. Without either, everybody may come in.

A password opens both, since the page shows what REST serves; a key opens REST and Gradio's endpoints. Without keys the
password is what REST asks for; with keys alone the page stays open, and of REST what a job's address shows.
"""

import hashlib
import hmac
import html
import secrets
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cartoon.settings import Settings
from cartoon.web.access.visitors import owner_of_key
from cartoon.web.answers import refused

COOKIE: Final = "cartoon_session"
SESSION_SECONDS: Final = 30 * 24 * 3600
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
FORM_BYTES: Final = 4096
TRIES: Final = 10
TRIES_SECONDS: Final = 60.0
"""So many wrong passwords an address may send in so much time."""
ADDRESSES: Final = 10_000
"""Remembered at most."""
OPEN: Final = frozenset({"/healthz", "/readyz", LOGIN, LOGOUT, "/favicon.ico", "/robots.txt"})
"""What a load balancer asks, and the way in."""
REST: Final = "/api/"
JOB_VIEWS: Final = "/api/v1/jobs/"
PAGE: Final = Path(__file__).parent / "login.html"


class Login:
    """Lets in whoever has shown the password or a key; must stand outside of what it guards.

    secret: of this server, to sign sessions with; they outlast a restart with the same secret and password.
    """

    def __init__(self, app: ASGIApp, settings: Settings, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._app, self._clock = app, clock
        self._password, self._keys = settings.password, settings.api_keys
        told = self._password.get_secret_value() if self._password else ""
        self._sessions = Sessions(hashlib.sha256(secret + told.encode()).digest(), clock)
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (self._password or self._keys):
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        if path in (LOGIN, LOGOUT):
            answer = await self._at_the_door(Request(scope, receive), path)
            await answer(scope, receive, send)
            return
        key = self._key(headers)
        if key:
            scope.setdefault("state", {})["key_owner"] = owner_of_key(key)
        if path in OPEN or key or self._may(scope, headers):
            await self._app(scope, receive, send)
            return
        answer = self._turned_away(scope, headers)
        await answer(scope, receive, send)

    def _may(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        if self._password:
            return self._has_session(headers) or self._has_password(headers, _address(scope))
        # Keys alone: the page is open, and shows jobs' pictures that REST serves to whoever has a job's address.
        path: str = scope["path"]
        return not path.startswith(REST) or (path.startswith(JOB_VIEWS) and scope["method"] in ("GET", "HEAD"))

    def _key(self, headers: Mapping[str, str]) -> str:
        scheme, _, told = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return ""
        return next((told for key in self._keys if _same(told, key)), "")

    def _has_session(self, headers: Mapping[str, str]) -> bool:
        sent = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
        return any(name == COOKIE and self._sessions.valid(told) for name, _, told in sent)

    def _has_password(self, headers: Mapping[str, str], address: str) -> bool:
        """HTTP Basic, for curl: any user name."""
        scheme, _, told = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or self._tried_too_often(address):
            return False
        try:
            _, _, password = b64decode(told, validate=True).decode().partition(":")
        except (Base64Error, UnicodeDecodeError, ValueError):
            return False
        return self._right(password, address)

    def _right(self, password: str, address: str) -> bool:
        assert self._password is not None
        if _same(password, self._password):
            return True
        tries = self._wrong.setdefault(address, deque(maxlen=TRIES))
        tries.append(self._clock())
        self._wrong.move_to_end(address)
        while len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)
        return False

    def _tried_too_often(self, address: str) -> bool:
        tries = self._wrong.get(address)
        return tries is not None and len(tries) == TRIES and self._clock() - tries[0] < TRIES_SECONDS

    async def _at_the_door(self, request: Request, path: str) -> Response:
        address = _address(request.scope)
        browser = "text/html" in request.headers.get("accept", "")
        if path == LOGOUT:
            if request.method != "POST":
                return refused(405, "bad_options", "To log out, send a POST to /logout.")
            answer = _in(request) if browser else refused(200, "", "Logged out.")
            answer.delete_cookie(COOKIE, path="/")
            return answer
        if not self._password:
            return refused(404, "not_found", "This server has no password: REST takes an API key.")
        if request.method in ("GET", "HEAD"):
            return login_page("", 200)
        if request.method != "POST":
            return refused(405, "bad_options", "To log in, send a POST with the field password to /login.")
        if self._tried_too_often(address):
            told = f"Too many wrong passwords: {TRIES} a minute are taken from one address. Wait a minute."
            return login_page(told, 429) if browser else refused(429, "limit", told, int(TRIES_SECONDS))
        try:
            password = await _sent_password(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if not self._right(password, address):
            told = "This is not the password: try again, or ask whoever runs this server."
            return login_page(told, 401) if browser else refused(401, "unauthorized", told)
        answer = _in(request) if browser else refused(200, "", "Logged in.")
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE,
            self._sessions.new(),
            max_age=SESSION_SECONDS,
            path="/",
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return answer

    def _turned_away(self, scope: Scope, headers: Mapping[str, str]) -> Response:
        if self._password and scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", ""):
            return login_page("", 401)
        ways = []
        if self._password:
            ways.append("log in at /login, or send the password as HTTP Basic")
        if self._keys:
            ways.append("send an API key as `Authorization: Bearer KEY`")
        answer = refused(401, "unauthorized", f"This server is locked: {', or '.join(ways)}.")
        # Not Basic, which is taken all the same: a browser would ask with a window of its own.
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


class Sessions:
    """Signed proofs of a login, `<expiry>.<random>.<signature>`: nothing is kept of them here."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key, self._clock = key, clock

    def new(self) -> str:
        """A session that is valid for SESSION_SECONDS."""
        told = f"{int(self._clock()) + SESSION_SECONDS}.{secrets.token_hex(16)}"
        return f"{told}.{self._signature(told)}"

    def valid(self, session: str) -> bool:
        """Whether it was signed here and has not expired."""
        told, _, signature = session.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(told).encode()):
            return False
        return int(told.partition(".")[0]) > self._clock()

    def _signature(self, told: str) -> str:
        return hmac.new(self._key, told.encode(), hashlib.sha256).hexdigest()


def login_page(message: str, status: int) -> Response:
    """The form, with a sentence above it."""
    page = PAGE.read_text(encoding="utf-8").replace("{message}", html.escape(message))
    return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store"})


def _in(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/", status_code=303)


async def _sent_password(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            return ""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        return ""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return ""
    return fields.get("password", [""])[0]


def _same(told: str, secret: SecretStr) -> bool:
    return hmac.compare_digest(told.encode(), secret.get_secret_value().encode())


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""
