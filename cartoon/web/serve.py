"""Everything on one port: the REST door and the page mounted on one application, and the process that serves it."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from cartoon.errors import CartoonError, OptionsError
from cartoon.images.decode import decoding
from cartoon.jobs.executors.local import Spare, Worker
from cartoon.jobs.photo import Judge
from cartoon.jobs.service.jobs import Desk
from cartoon.pipeline import load_cartoonizer
from cartoon.settings import Settings
from cartoon.telemetry import logs, metrics
from cartoon.web.access.connections import ACCEPTED_AT_ONCE, BACKLOG, Doorkeeper, Patience
from cartoon.web.access.hosts import is_loopback
from cartoon.web.access.login import Login
from cartoon.web.access.perimeter import Perimeter
from cartoon.web.access.visitors import Owners
from cartoon.web.data_dir import Home, open_home
from cartoon.web.intake import Reception, model_of
from cartoon.web.photo import Studio
from cartoon.web.readiness import Readiness
from cartoon.web.rest import cartoonize, jobs
from cartoon.web.uploads import VisitorFiles

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
CLOSE_SECONDS: Final = 1.0
"""How long jobs may take to end what is under way once all requests have ended; what is cut off is drawn again."""
SWEEP_SECONDS: Final = 3600
SWITCH_SECONDS: Final = 0.001
"""How long a thread may keep Python's lock from the others: by default 5 ms, of which the event loop would lose one for
every thread that draws or takes in photos, each time it wakes."""
DAY_SECONDS: Final = 86_400
RETRY_SECONDS: Final = 5
"""Until the first picture is tried again, when memory was too short for it."""
LAST_PORT: Final = 65535
_log = logging.getLogger(__name__)


def create_app(
    artist: Studio,
    settings: Settings,
    warm: Callable[[], None] | None = None,
    judge: Judge | None = None,
    spare: Spare | None = None,
) -> FastAPI:
    """REST under /api/v1, /healthz, /readyz and /metrics, the page and its own endpoints at `/`, for any ASGI server.

    warm: draws the artist's first picture, in a thread once the app starts; the app says that it is ready when that is
    done, or from the start without it. `app.state.readiness` tells everybody and is told to drain.
    judge: the quality gate of jobs. They live under `settings.data_dir`, and go on with the next app made over it.
    spare: for the last tries of photos that this process may have died over; without it they are made here.
    """
    home = open_home(settings.data_dir)
    # Written, not read: Gradio takes these two from the environment only, and reads them while its page is built.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(home.page)
    from cartoon.web.page import page  # here, so that Gradio is imported after the lines above

    decoding.allow(settings.max_pixels_under_way)
    desk = Desk(home.jobs, artist, model_of(artist), settings.max_pixels, judge, spare)
    metrics.watch_jobs(desk.states)
    reception, files = Reception(desk, artist, settings, home.incoming), VisitorFiles(home.page)

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
    jobs.install(app, reception, readiness)
    cartoonize.install(app, reception, readiness)
    app.state.end_streams = page.mount(app, reception, files)
    app.state.settings = settings
    # Each is outside of the one before.
    app.add_middleware(Owners, embedded=bool(settings.frame_ancestors))
    app.add_middleware(Login, settings=settings, secret=home.secret())
    app.add_middleware(Patience)
    app.add_middleware(Perimeter, settings=settings)
    return app


def serve(settings: Settings) -> None:
    """Loads the Cartoonizer once and serves until SIGTERM or Ctrl-C.

    Raises OptionsError when the address cannot be listened on, before anything heavy is loaded; BusyError when another
    server has the data folder.
    """
    logs.set_up(settings.log)
    sys.setswitchinterval(SWITCH_SECONDS)
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt), _listen(settings.host, settings.port) as listener:
        from cartoon.quality.gate import judge

        artist = load_cartoonizer(settings)
        spare = Spare(partial(Worker, load_cartoonizer, settings, judge))
        try:
            app = create_app(artist, settings, artist.warm, judge, spare)
            port = listener.getsockname()[1]
            _log.info("open http://%s:%d", settings.host, port, extra={"event": "serving"})
            exposed = exposure(settings, port)
            if exposed:
                _log.warning("%s", exposed, extra={"event": "exposed"})
            Server(app).run(sockets=[listener])
        finally:
            artist.close()


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

    While it drains it listens as long as work is under way, SETTLE_SECONDS at most, so that whoever asks /readyz hears
    why to go elsewhere; when idle it does not wait. Then the port closes, the event streams of open pages are ended
    (else they would hold it), and what is still under way has GRACE_SECONDS.
    """

    def __init__(self, app: FastAPI) -> None:
        # No access log: the page's addresses hold the names of people's files. No log_config: what uvicorn says looks
        # like the rest.
        settings: Settings = app.state.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=Doorkeeper.fitting(settings.max_connections).protocol(),
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
        self._told_at: float | None = None
        self._busy_at = float("-inf")
        self._insisted = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; the system's queue is longer than what asyncio takes from it at once."""
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
        _log.info("stopping", extra={"event": "stopping"})
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
