"""The REST door: one photo in, one picture out, and what styles there are."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from cartoon.errors import CartoonError, OptionsError
from cartoon.options import Options
from cartoon.pipeline.one_file import Drawing
from cartoon.telemetry import metrics
from cartoon.web.access.visitors import visitor_of
from cartoon.web.answers import INTERNAL, QueueFullError, refusal_of, refused
from cartoon.web.backend import Backend
from cartoon.web.lifecycle import Readiness
from cartoon.web.multipart import FormRules, receive
from cartoon.web.photo import WebStylizer, draw, options_from
from cartoon.web.rest import health
from cartoon.web.rest.form import form_of

MORE_AT_ONCE: Final = 1
"""Requests beyond those that are drawn at the same time: one decodes or encodes meanwhile."""
ONE_IMAGE: Final = FormRules(("image",), most_files=1)
_NOT_TOKEN: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, eq=False)
class Upload:
    """The form of one request: where the picture lies on disk until its turn, its clean name, the other fields."""

    path: Path
    name: str
    fields: dict[str, str]


class Queue:
    """Lets `at_once` requests draw and `waiting` more wait, in order of arrival; turns further ones away at once."""

    def __init__(self, at_once: int, waiting: int, readiness: Readiness) -> None:
        self._readiness = readiness
        self._waiting, self._places = waiting, at_once + waiting
        self._taken = 0
        self._pipeline = anyio.CapacityLimiter(at_once)

    async def draw(self, request: Request, stylizer: WebStylizer, upload: Upload, max_pixels: int) -> Drawing | None:
        """The drawing, made in a worker thread; None when the client left while it waited. Raises QueueFullError."""
        options = options_from(upload.fields, stylizer.styles)
        if self._taken >= self._places:
            metrics.photo_failed(options.style, QueueFullError.code)
            raise QueueFullError(
                f"{upload.name} has to wait: {self._waiting} requests are in the queue already (CARTOON_MAX_QUEUE), try"
                " again in seconds."
            )
        self._taken += 1
        try:
            async with self._pipeline:
                if await request.is_disconnected():
                    return None
                return await anyio.to_thread.run_sync(self._draw, stylizer, upload, options, max_pixels)
        finally:
            self._taken -= 1

    def _draw(self, stylizer: WebStylizer, upload: Upload, options: Options, max_pixels: int) -> Drawing:
        with self._readiness.work():  # the thread's own: it goes on when the request is cancelled
            return draw(stylizer, upload.path.read_bytes(), upload.name, options, max_pixels)


def install(app: FastAPI, backend: Backend, readiness: Readiness) -> None:
    """Adds the REST routes and their JSON errors to `app`; must come before a mount at "/" that would shadow them.

    readiness: told to others by /readyz.
    """
    stylizer, settings = backend.stylizer, backend.settings
    health.install(app, readiness)
    queue = Queue(stylizer.at_once + MORE_AT_ONCE, settings.max_queue, readiness)
    router = APIRouter()

    @router.post("/api/v1/cartoonize", openapi_extra=form_of(ONE_IMAGE.file_fields[0]))
    async def cartoonize(request: Request) -> Response:
        """Multipart `image` and options -> the picture; errors are JSON {"error", "message"}."""
        visitor = visitor_of(request)
        backend.limits.ask(visitor)
        staged = backend.stage(visitor)

        def uploaded(fields: dict[str, str]) -> Upload:
            if not staged.sent:
                raise OptionsError("The picture is missing: send it as a file in the multipart field image.")
            return Upload(staged.sent[0].path, staged.sent[0].name, fields)

        try:
            upload = await receive(request, staged, uploaded, ONE_IMAGE)
            drawing = await queue.draw(request, stylizer, upload, settings.max_pixels)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            staged.close()  # one file, and not in a thread: a process that stops does not wait for another step
        return Response(status_code=400) if drawing is None else picture_response(drawing)

    @router.get("/api/v1/styles")
    async def styles() -> list[dict[str, str]]:
        """The cards of the styles on offer."""
        shown = ("id", "title", "licence", "origin", "sha256")
        return [{name: str(getattr(card, name)) for name in shown} for card in stylizer.styles]

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def nothing_here(rest: str) -> Response:
        # Without this the UI's page, mounted at "/", would answer a mistyped address with 200 and HTML.
        message = (
            "There is nothing at this address: use POST /api/v1/cartoonize, GET /api/v1/styles or POST /api/v1/jobs."
        )
        return refused(404, "not_found", message)

    app.include_router(router)
    app.add_exception_handler(CartoonError, _refuse)
    app.add_exception_handler(Exception, _fail)


def picture_response(drawing: Drawing) -> Response:
    """The picture with its type, name, faces, true resolution and seconds per step in the headers."""
    timing = ", ".join(f"{_NOT_TOKEN.sub('-', step)};dur={1000 * s:.1f}" for step, s in drawing.seconds.items())
    plain = drawing.name.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "_").replace("?", "_")
    headers = {
        "Server-Timing": timing,
        "X-Faces": str(len(drawing.cartoon.faces)),
        "X-Effective-Size": str(drawing.cartoon.effective_size),
        "Content-Disposition": f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(drawing.name, safe='')}",
    }
    return Response(drawing.data, media_type=drawing.media_type, headers=headers)


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, CartoonError)
    return refusal_of(error)


def _fail(request: Request, error: Exception) -> Response:
    return refused(500, metrics.INTERNAL, INTERNAL)
