"""Connections: how many there may be, how long one may take to ask, to send and to read; over uvicorn's protocol.

Without this a thousand idle connections use up the process's descriptors, and nobody is answered any more; uvicorn
itself waits for the first byte of a connection for ever (encode/uvicorn#1908).
"""

import asyncio
import json
import logging
from collections import Counter
from functools import partial
from typing import Any, Final

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from cartoon.web.answers import refused

log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 15.0
"""How long a request's head may take, from the connection or from its first byte on."""
QUIET_SECONDS: Final = 20.0
"""How long a body may pause."""
SLOW_SECONDS: Final = 30.0
SLOW_RATE: Final = 8 * 1024
"""After so many seconds, a body must have come at so many bytes a second."""
READ_SECONDS: Final = 60.0
"""How long a client may leave an answer unread."""
LINGER_SECONDS: Final = 5.0
"""How long a connection that is turned away stays, so that its client, which may still be sending, reads why."""
LINGERING: Final = 64
"""Of these at a time; more are closed at once."""
SPARE_DESCRIPTORS: Final = 256
"""Of the process: libraries, journals, pictures being read and written."""
DESCRIPTORS_EACH: Final = 2
"""A connection's own, and the file that its upload goes into."""
BACKLOG: Final = 2048
ACCEPTED_AT_ONCE: Final = 64
"""asyncio takes so many connections before anything is done about them, also before old ones are closed."""
RETRY_SECONDS: Final = 5


class ConnectionLimiter:
    """Counts the connections of a server; at its limit the one that has been idle longest makes room.

    most: open at a time; five sixths of them from one address, so that one cannot shut out the others.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[GuardedConnection, str] = {}
        self._turned_away: set[GuardedConnection] = set()
        self._from: Counter[str] = Counter()

    @classmethod
    def fitting(cls, asked: int) -> "ConnectionLimiter":
        """For as many as asked, or as the process's descriptors allow; its soft limit is raised first."""
        return cls(max(8, min(asked, (_descriptors() - SPARE_DESCRIPTORS) // DESCRIPTORS_EACH)))

    def protocol(self) -> Any:
        """For uvicorn's `http`: connections that this limiter counts."""
        return partial(GuardedConnection, limiter=self)

    def admit(self, connection: "GuardedConnection", address: str) -> bool:
        """A new connection is there; False when it has to go, as all the others are at work."""
        crowded = self._from[address] >= max(1, self.most * 5 // 6) and not self._close_idlest(address)
        if crowded or (len(self._open) >= self.most and not self._close_idlest(None)):
            self._turned_away.add(connection)
            if len(self._turned_away) > LINGERING:
                connection.drop()
            return False
        self._open[connection] = address
        self._from[address] += 1
        return True

    def left(self, connection: "GuardedConnection") -> None:
        """A connection is closed."""
        self._turned_away.discard(connection)
        address = self._open.pop(connection, None)
        if address is not None:
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]

    def _close_idlest(self, address: str | None) -> bool:
        for connection, place in self._open.items():  # the oldest first
            if connection.idle and address in (None, place):
                self.left(connection)
                connection.drop()
                return True
        return False


class GuardedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with limits on time, known to a ConnectionLimiter."""

    def __init__(self, *args: Any, limiter: ConnectionLimiter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._doorkeeper = limiter
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._turned_away = self._told = False

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def drop(self) -> None:
        """Close it at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._turned_away = not self._doorkeeper.admit(self, address)
        if self._turned_away:
            self.loop.call_later(LINGER_SECONDS, transport.close)
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._doorkeeper.left(self)
        for timer in (self._head_timer, self._read_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            self._answer_at_the_door(data)
            return
        super().data_received(data)
        if not self.idle:
            self._stop_waiting()
        elif self._head_timer is None:
            self._wait_for_head()

    def _answer_at_the_door(self, data: bytes) -> None:
        """To come back later; but whoever asks whether the process lives hears that it does."""
        if not self._told and not self.transport.is_closing():
            self._told = True
            self.transport.write(_ALIVE if data.startswith((b"GET /healthz ", b"HEAD /healthz ")) else _FULL)
            self.transport.write_eof()

    def on_response_complete(self) -> None:
        self._stop_waiting()
        super().on_response_complete()  # which closes it when nothing follows for some seconds

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_SECONDS, self.drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_timer:
            self._read_timer.cancel()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self.idle:
            self.drop()


class BodyTimeout:
    """Ends requests whose bodies come too slowly: 408, and whatever was half-received is taken away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        began, received, whole, answered = loop.time(), 0, False, False

        async def received_in_time() -> Message:
            nonlocal received, whole
            if whole:  # what follows says only that the client has gone
                return await receive()
            try:
                with anyio.fail_after(QUIET_SECONDS):  # which, unlike asyncio's wait_for, needs no task of its own
                    message = await receive()
            except TimeoutError:
                raise _TooSlow from None
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            took = loop.time() - began
            if not whole and took > SLOW_SECONDS and received < took * SLOW_RATE:
                raise _TooSlow
            return message

        async def send_noticing(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, received_in_time, send_noticing)
        except _TooSlow:
            if not answered:
                told = (
                    f"The request came too slowly: no pause over {QUIET_SECONDS:.0f} s, {SLOW_RATE >> 10} kB a second."
                )
                await refused(408, "too_slow", told)(scope, receive, send)


class _TooSlow(Exception):
    """Raised where a body is read, and told by BodyTimeout."""


def _answer(status: str, told: dict[str, str], *headers: str) -> bytes:
    body = json.dumps(told).encode()
    fixed = ("content-type: application/json", f"content-length: {len(body)}", "connection: close")
    return "\r\n".join((f"HTTP/1.1 {status}", *fixed, *headers, "", "")).encode() + body


_ALIVE: Final = _answer("200 OK", {"status": "ok"})
_FULL: Final = _answer(
    "503 Service Unavailable",
    {"error": "busy", "message": "Too many connections are open (CARTOON_MAX_CONNECTIONS): try again in seconds."},
    f"retry-after: {RETRY_SECONDS}",
)


def _descriptors() -> int:
    """How many files and connections the process may have open, after asking for all that it may ask for."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return 1 << 16
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return wanted if soft == resource.RLIM_INFINITY else soft
