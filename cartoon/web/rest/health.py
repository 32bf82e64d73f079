"""What a machine asks of the server: is it alive, is it ready, what did it measure; and the door that closes first."""

import asyncio
from typing import Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon.errors import DrainingError
from cartoon.telemetry import metrics
from cartoon.web.answers import refused
from cartoon.web.lifecycle import Readiness

RETRY_SECONDS: Final = 5
"""When to come back to a process that drains or starts: by then another one has most likely taken over."""
CUT_OFF: Final = "Cartoon had to stop before this was done: send it again in a few seconds."
REST: Final = "/api/v1/"


def install(app: FastAPI, readiness: Readiness) -> None:
    """Adds /healthz, /readyz and /metrics, and turns new REST work away while the process drains."""
    # A place of its own: among the threads that draw, a reading would wait exactly when it matters.
    reading = anyio.CapacityLimiter(1)
    router = APIRouter()

    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> dict[str, str]:
        """Says that the process answers."""
        return {"status": "ok"}

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> Response:
        """Says whether to send requests here: 200 once the model is warm, 503 before that and while draining."""
        if readiness.state == "starting":
            return _not_now("starting", "Cartoon is drawing its first picture: ask again in a few seconds.")
        try:
            readiness.check()
        except DrainingError as error:
            return _not_now(error.code, str(error))
        return JSONResponse({"status": "ready"})

    @router.api_route("/metrics", methods=["GET", "HEAD"])
    async def read_metrics(request: Request) -> Response:
        """Prometheus' text format."""
        accept = request.headers.get("accept", "")
        text, kind = await anyio.to_thread.run_sync(metrics.exposition, accept, limiter=reading)
        return Response(text, headers={"Content-Type": kind})

    app.include_router(router)
    app.add_middleware(_DrainGate, readiness=readiness)


class _DrainGate:
    """Counts REST requests that ask for work as under way, and lets no new ones in while the process drains."""

    def __init__(self, app: ASGIApp, readiness: Readiness) -> None:
        self._app, self._readiness = app, readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(REST):
            await self._app(scope, receive, send)
            return
        answered = False

        async def send_noticing(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            self._readiness.check()
            with self._readiness.work():
                await self._app(scope, receive, send_noticing)
        except DrainingError as error:
            await _not_now(error.code, str(error))(scope, receive, send)
        except asyncio.CancelledError:  # the grace is over: the server cuts off what is left
            if answered or not self._readiness.draining:
                raise
            await _not_now(DrainingError.code, CUT_OFF)(scope, receive, send)


def _not_now(code: str, message: str) -> Response:
    return refused(503, code, message, RETRY_SECONDS)
