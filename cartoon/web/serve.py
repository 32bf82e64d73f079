"""The process that serves: a port, the model behind it, and how it drains and stops."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from cartoon.errors import OptionsError
from cartoon.pipeline import load_cartoonizer
from cartoon.settings import Settings
from cartoon.telemetry import logs, metrics
from cartoon.web.access.connections import ACCEPTED_AT_ONCE, BACKLOG, ConnectionLimiter
from cartoon.web.access.hosts import is_loopback
from cartoon.web.app import create_app
from cartoon.web.data_dir import check_unused
from cartoon.web.lifecycle import Readiness

SETTLE_SECONDS: Final = 4
"""How long after SIGTERM the port still answers, and refuses new work, while there is work under way."""
QUIET_SECONDS: Final = 0.5
"""How long nothing has to be under way for the port to close before that: what was drawn is on its way to a page."""
GRACE_SECONDS: Final = 5
"""How long requests under way may take to end after that; with the settling it stays within the ten seconds after which
Docker kills."""
INSIST_SECONDS: Final = 0.5
"""A second signal before that is the same wish: who signals a process group reaches the app through `make`, too."""
TICK_SECONDS: Final = 0.1
"""How often a second signal is looked for while everything ends."""
SWITCH_SECONDS: Final = 0.001
"""How long a thread may keep Python's lock from the others: by default 5 ms, of which the event loop would lose one for
every thread that draws or takes in photos, each time it wakes."""
LAST_PORT: Final = 65535
log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Loads the Cartoonizer once and serves until SIGTERM or Ctrl-C.

    Raises OptionsError when the address cannot be listened on, BusyError when another server has the data folder, both
    before anything heavy is loaded.
    """
    logs.set_up(settings.log)
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt), listen(settings.host, settings.port) as listener:
        check_unused(settings.data_dir)
        from cartoon.quality.gate import judge

        stylizer = load_cartoonizer(settings)
        try:
            app = create_app(stylizer, settings, stylizer.warm, judge, load_cartoonizer)
            port = listener.getsockname()[1]
            log.info("open http://%s:%d", settings.host, port, extra={"event": "serving"})
            exposed = exposure(settings, port)
            if exposed:
                log.warning("%s", exposed, extra={"event": "exposed"})
            Server(app).run(sockets=[listener])
        finally:
            stylizer.close()


def exposure(settings: Settings, port: int) -> str:
    """One line that says who can use what without a password or key; "" when nobody else can."""
    if is_loopback(settings.host) or (settings.password and settings.api_keys):
        return ""
    reached = f"Whoever can reach {settings.host} port {port} can use"
    if settings.password:
        return ""  # which REST asks for as well
    if settings.api_keys:
        return f"{reached} the page without a password: set CARTOON_PASSWORD. REST asks for an API key."
    return f"{reached} the page and REST: set CARTOON_PASSWORD, and CARTOON_API_KEYS for REST, or listen on 127.0.0.1."


class Server(uvicorn.Server):
    """Serves what create_app made; told to stop, it drains first, and told twice, it stops at once.

    While it drains it listens as long as work is under way, settle_seconds at most, so that whoever asks /readyz hears
    why to go elsewhere; when idle it does not wait. Then the port closes, the event streams of open pages are ended
    (else they would hold it), and what is still under way has GRACE_SECONDS.
    """

    def __init__(self, app: FastAPI, settle_seconds: float = SETTLE_SECONDS) -> None:
        # No access log: the page's addresses hold the names of people's files. No log_config: what uvicorn says looks
        # like the rest.
        settings: Settings = app.state.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=ConnectionLimiter.fitting(settings.max_connections).protocol(),
                ws="none",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                forwarded_allow_ips=settings.trusted_proxies,
                backlog=ACCEPTED_AT_ONCE,
                log_level="warning",
                log_config=None,
            )
        )
        self._end_streams: Callable[[], None] = app.state.end_streams
        self._readiness: Readiness = app.state.readiness
        self._settle_seconds = settle_seconds
        self._told_at: float | None = None
        self._busy_at = float("-inf")
        self._insisted = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; threads let the event loop in sooner, and the system's queue of connections is longer than what
        asyncio takes from it at once."""
        sys.setswitchinterval(SWITCH_SECONDS)
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drains; the second time, ends. The signal is not raised again afterwards, as uvicorn would: to stop is 0."""
        now = time.monotonic()
        if self._told_at is None:  # not asked of the readiness: a signal may come while the first one tells it
            self._told_at = now
            self._readiness.drain()
        elif now - self._told_at >= INSIST_SECONDS:
            self._insisted = sig
            self.force_exit = self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop listening."""
        return await super().on_tick(counter) or (self._told_at is not None and self._settled(self._told_at))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the port, ends the streams, waits for what is under way; ends the process when that takes too long."""
        log.info("stopping", extra={"event": "stopping"})
        self._end_streams()
        # Watched, not just awaited: from Python 3.12 on it waits for open connections, whatever is insisted on.
        closing = asyncio.ensure_future(super().shutdown(sockets))
        while not closing.done() and not self.force_exit:
            await asyncio.wait((closing,), timeout=TICK_SECONDS)
        if not self.force_exit:
            await closing  # it is done: raises what it has raised
        else:
            await self.lifespan.shutdown()  # which uvicorn then leaves out: it takes people's photos away
        if self.force_exit or self._busy():
            # A thread that draws cannot be stopped, and both asyncio and Python would wait for it.
            log.warning("stopped with work under way", extra={"event": "cut_off"})
            logging.shutdown()
            os._exit(128 + self._insisted if self.force_exit else 0)

    def _busy(self) -> bool:
        return self._readiness.busy or metrics.photos_under_way() > 0

    def _settled(self, told_at: float) -> bool:
        now = time.monotonic()
        if self._busy():
            self._busy_at = now
        return now - told_at >= self._settle_seconds or now - self._busy_at >= QUIET_SECONDS


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; nobody can connect before the server listens on it. Raises OptionsError.

    The protocol is named to it, as asyncio needs that to send what is small at once: without, every answer on a
    connection that is kept waits 40 ms for the client's acknowledgement.
    """
    if not 0 <= port <= LAST_PORT:  # the resolver would wrap it round
        raise OptionsError(f"Cannot serve on port {port}: give a --port from 0 (any free one) to {LAST_PORT}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OptionsError(f"Cannot serve on host {host!r} ({error.strerror}): give another --host.") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise OptionsError(
            f"Cannot serve on {host} port {port} ({error.strerror}): stop what uses it or give another --port."
        ) from error
    return listener


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
