"""The outermost part of the server: who is turned away before anything else looks at a request, and what every answer
says to browsers."""

from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon.settings import Settings
from cartoon.web.access.hosts import SAFE, Hosts
from cartoon.web.answers import refused

CSP: Final = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'"
)
"""The browser itself then refuses to talk to any other host, whatever a page library may try."""
PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Answered under any name: an orchestrator asks by a service's name. They say "ok" or "ready" and nothing of anybody,
so a name that was pointed at this machine learns no more than that something answers."""
NOBODY: Final = "'none'"
_CORS: Final = b"access-control-"


class Perimeter:
    """Refuses strangers' hosts and pages, and adds the headers that keep browsers strict; must be the outermost.

    What is inside may answer with CORS headers as it likes: they are taken off, as no other site is let in.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts((*settings.allowed_hosts, settings.space_host), framed=bool(settings.frame_ancestors))
        self._headers = security_headers(settings.frame_ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks over a web socket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [header for header in message.get("headers", ()) if not header[0].lower().startswith(_CORS)]
                message = {**message, "headers": [*given, *self._headers]}
            await send(message)

        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        probe = scope["path"] in PROBES and scope["method"] in SAFE
        refusal = (
            "This request names several hosts: send one Host header."
            if len(hosts) > 1
            else self._hosts.refusal(scope["method"], scope["scheme"], headers, any_name=probe)
        )
        if refusal:
            await refused(403, "forbidden", refusal)(scope, receive, send_with_headers)
            return
        scope.setdefault("state", {})["own_page"] = self._hosts.own_page(scope["scheme"], headers)
        await self._app(scope, receive, send_with_headers)


def security_headers(ancestors: Iterable[str]) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer carries; ancestors: the origins that may frame the page."""
    framed = " ".join(ancestors)
    headers = {
        "content-security-policy": f"{CSP}; frame-ancestors {framed or NOBODY}",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    if not framed:
        headers["x-frame-options"] = "DENY"
    return tuple((name.encode(), value.encode()) for name, value in headers.items())
