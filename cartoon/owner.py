"""Who a visitor is, without a name: 128 random bits in a cookie, by which they find their own jobs again."""

import re
import secrets
from collections.abc import Mapping
from typing import Final

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "cartoon_owner"
YEAR_SECONDS: Final = 365 * 24 * 3600
GIVEN_AT: Final = (("GET", "/"), ("POST", "/api/v1/jobs"))
"""The page, and the first job of a program that keeps cookies."""
_ID: Final = re.compile(r"[0-9a-f]{32}")


def owner_of(cookies: Mapping[str, str]) -> str:
    """The visitor's id; "" for nobody."""
    told = cookies.get(COOKIE, "")
    return told if _ID.fullmatch(told) else ""


class Owners:
    """Gives a cookie to visitors who have none; the request that gets it counts as theirs already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) not in GIVEN_AT or _known(scope):
            await self._app(scope, receive, send)
            return
        id = secrets.token_hex(16)
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={id}; HttpOnly; Max-Age={YEAR_SECONDS}; Path=/; SameSite=Lax{secure}"

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie.encode())]}
            await send(message)

        # In one header, which every version of Starlette reads, and last, where it counts before a worthless one.
        others = [header for header in scope["headers"] if header[0] != b"cookie"]
        cookies = "; ".join([*_sent(scope), f"{COOKIE}={id}"])
        headers = [*others, (b"cookie", cookies.encode("latin-1"))]
        await self._app({**scope, "headers": headers}, receive, send_with_cookie)


def _known(scope: Scope) -> bool:
    return bool(owner_of(cookie_parser("; ".join(_sent(scope)))))


def _sent(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
