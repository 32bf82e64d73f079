"""Everything on one port: the REST door and the page mounted on one application, and the process that serves it."""

import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon import api
from cartoon.errors import OptionsError
from cartoon.request import Studio
from cartoon.settings import Settings

GRACE_SECONDS: Final = 5
"""How long requests under way may take to end after SIGTERM."""
HEADERS: Final = (
    # The browser itself then refuses to talk to any other host, whatever a page library may try.
    (
        b"content-security-policy",
        b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
LAST_PORT: Final = 65535
_FETCHING: Final = ("/file=http:", "/file=https:", "/proxy=")
_log = logging.getLogger(__name__)


def create_app(artist: Studio, settings: Settings) -> FastAPI:
    """REST under /api/v1 and /healthz, the page and its own endpoints at `/`; usable by any ASGI server.

    Uploads and results live under `settings.data_dir`, or in a private temporary folder that goes when the app stops.
    """
    home = settings.data_dir or Path(tempfile.mkdtemp(prefix="cartoon-"))
    cache = (home / "page").resolve()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written, not read: Gradio takes these two from the environment only, and reads them while its page is built.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    from cartoon import ui  # here, so that Gradio is imported after the lines above

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if settings.data_dir is None:
            shutil.rmtree(home, ignore_errors=True)

    # The interactive documentation pages would load their script from another host.
    app = FastAPI(title="Cartoon", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(_StayHome)
    api.install(app, artist, settings)
    app.state.end_streams = ui.mount(app, artist, settings, cache)
    return app


def serve(settings: Settings) -> None:
    """Loads the Cartoonizer once and serves until SIGTERM or Ctrl-C.

    Raises OptionsError when the address cannot be listened on, before anything heavy is loaded.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt), _listen(settings.host, settings.port) as listener:
        from cartoon.portrait.pipeline import Cartoonizer

        artist = Cartoonizer.load(settings.device, settings.precision, settings.styles_dir)
        # No access log: the page's addresses hold the names of people's files.
        app = create_app(artist, settings)
        config = uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, log_level="warning")
        _log.info("open http://%s:%d", settings.host, listener.getsockname()[1])
        try:
            Server(config, app.state.end_streams).run(sockets=[listener])
        finally:
            artist.close()


class Server(uvicorn.Server):
    """A server that, told to stop, first ends the event stream of every open page; else they would hold it."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams, then waits for what is under way."""
        self._end_streams()
        await super().shutdown(sockets)


class _StayHome:
    """Adds HEADERS to every answer and refuses the addresses through which Gradio would fetch from another host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        if scope["type"] == "http" and any(part in scope["path"] for part in _FETCHING):
            await send_with_headers({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"This server fetches nothing from other hosts."})
        else:
            await self._app(scope, receive, send_with_headers)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; nobody can connect before the server listens on it."""
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
