"""Everything on one port: the REST door and the page mounted on one application, and the process that serves it."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon import api, jobs_api, logs, metrics
from cartoon.errors import CartoonError, OptionsError
from cartoon.home import Home, open_home
from cartoon.intake import Reception, model_of
from cartoon.jobs.desk import Desk
from cartoon.jobs.draw import Judge
from cartoon.owner import Owners
from cartoon.readiness import Readiness
from cartoon.request import Studio
from cartoon.settings import Settings

SETTLE_SECONDS: Final = 4
"""How long after SIGTERM the port still answers, and refuses new work, while there is work under way."""
QUIET_SECONDS: Final = 0.5
"""How long nothing has to be under way for the port to close before that: what was drawn is on its way to a page."""
GRACE_SECONDS: Final = 5
"""How long requests under way may take to end after that; with the settling it stays within the ten seconds after which
Docker kills."""
INSIST_SECONDS: Final = 0.5
"""A second signal before that is the same wish: who signals a process group reaches the app through `make`, too."""
CLOSE_SECONDS: Final = 1.0
"""How long jobs may take to end what is under way once all requests have ended; what is cut off is drawn again."""
SWEEP_SECONDS: Final = 3600
DAY_SECONDS: Final = 86_400
RETRY_SECONDS: Final = 5
"""Until the first picture is tried again, when memory was too short for it."""
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


def create_app(
    artist: Studio, settings: Settings, warm: Callable[[], None] | None = None, judge: Judge | None = None
) -> FastAPI:
    """REST under /api/v1, /healthz, /readyz and /metrics, the page and its own endpoints at `/`, for any ASGI server.

    warm: draws the artist's first picture, in a thread once the app starts; the app says that it is ready when that is
    done, or from the start without it. `app.state.readiness` tells everybody and is told to drain.
    judge: the quality gate of jobs. They live under `settings.data_dir`, and go on with the next app made over it.
    """
    home = open_home(settings.data_dir)
    # Written, not read: Gradio takes these two from the environment only, and reads them while its page is built.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(home.page)
    from cartoon import ui  # here, so that Gradio is imported after the lines above

    desk = Desk(home.jobs, artist, model_of(artist), settings.max_pixels, judge)
    metrics.watch_jobs(desk.states)
    reception = Reception(desk, artist, settings, home.incoming)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if warm is not None:
            threading.Thread(target=_warm_up, args=(warm, readiness), name="warm", daemon=True).start()
        threading.Thread(target=_keep_clean, args=(desk, home, settings, readiness), name="clean", daemon=True).start()
        closing = threading.Thread(target=_close_desk, args=(desk, readiness), name="close", daemon=True)
        closing.start()
        yield
        readiness.drain()  # under a server that has not said so
        closing.join(CLOSE_SECONDS)
        home.close()

    # The interactive documentation pages would load their script from another host.
    app = FastAPI(title="Cartoon", docs_url=None, redoc_url=None, lifespan=lifespan)
    readiness = app.state.readiness = Readiness(warm=warm is None)
    jobs_api.install(app, reception, readiness)
    api.install(app, artist, settings, readiness)
    app.add_middleware(Owners)
    app.add_middleware(_StayHome)  # after the others, so outside of them: it has to see every answer
    app.state.end_streams = ui.mount(app, reception, home.page)
    return app


def serve(settings: Settings) -> None:
    """Loads the Cartoonizer once and serves until SIGTERM or Ctrl-C.

    Raises OptionsError when the address cannot be listened on, before anything heavy is loaded; BusyError when another
    server has the data folder.
    """
    logs.set_up(settings.log)
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt), _listen(settings.host, settings.port) as listener:
        from cartoon.jobs.quality import judge
        from cartoon.portrait.pipeline import Cartoonizer

        artist = Cartoonizer.load(settings.device, settings.precision, settings.styles_dir)
        try:
            app = create_app(artist, settings, artist.warm, judge)
            _log.info("open http://%s:%d", settings.host, listener.getsockname()[1], extra={"event": "serving"})
            Server(app).run(sockets=[listener])
        finally:
            artist.close()


class Server(uvicorn.Server):
    """Serves what create_app made; told to stop, it drains first, and told twice, it stops at once.

    While it drains it listens as long as work is under way, SETTLE_SECONDS at most, so that whoever asks /readyz hears
    why to go elsewhere; when idle it does not wait. Then the port closes, the event streams of open pages are ended
    (else they would hold it), and what is still under way has GRACE_SECONDS.
    """

    def __init__(self, app: FastAPI) -> None:
        # No access log: the page's addresses hold the names of people's files. No log_config: what uvicorn says looks
        # like the rest.
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                log_level="warning",
                log_config=None,
            )
        )
        self._end_streams: Callable[[], None] = app.state.end_streams
        self._readiness: Readiness = app.state.readiness
        self._told_at: float | None = None
        self._busy_at = float("-inf")
        self._insisted = 0

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
        _log.info("stopping", extra={"event": "stopping"})
        self._end_streams()
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()  # which uvicorn then leaves out: it takes people's photos away
        if self.force_exit or self._busy():
            # A thread that draws cannot be stopped, and both asyncio and Python would wait for it.
            _log.warning("stopped with work under way", extra={"event": "cut_off"})
            logging.shutdown()
            os._exit(128 + self._insisted if self.force_exit else 0)

    def _busy(self) -> bool:
        return self._readiness.busy or metrics.photos_under_way() > 0

    def _settled(self, told_at: float) -> bool:
        now = time.monotonic()
        if self._busy():
            self._busy_at = now
        return now - told_at >= SETTLE_SECONDS or now - self._busy_at >= QUIET_SECONDS


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


def _warm_up(warm: Callable[[], None], readiness: Readiness) -> None:
    """Draws the first picture, again and again until there is the memory for it."""
    while not readiness.draining:
        try:
            warm()
        except CancelledError:  # the artist was closed meanwhile
            return
        except CartoonError as error:
            _log.warning("not ready: %s", error, extra={"event": "not_ready", "code": error.code})
        except Exception:  # noqa: BLE001 - a lost device, say: without a word the process would never be ready
            told = {"event": "not_ready", "code": metrics.INTERNAL}
            _log.exception("not ready: the first picture failed", extra=told)
        else:
            readiness.warmed()
            _log.info("ready", extra={"event": "ready"})
            return
        readiness.wait_for_drain(RETRY_SECONDS)


def _close_desk(desk: Desk, readiness: Readiness) -> None:
    """Once the process drains: jobs end what is under way, and are gone on with by the next process."""
    readiness.wait_for_drain()
    with readiness.work():
        desk.close()


def _keep_clean(desk: Desk, home: Home, settings: Settings, readiness: Readiness) -> None:
    """Now and every hour: old jobs go, and what interrupted uploads have left."""
    while not readiness.draining:
        try:
            desk.sweep(settings.keep_days * DAY_SECONDS)
            home.sweep()
        except (CartoonError, OSError) as problem:  # one job that cannot be read must not end it
            _log.warning("not everything old was removed: %s", type(problem).__name__, extra={"event": "not_swept"})
        readiness.wait_for_drain(SWEEP_SECONDS)


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
