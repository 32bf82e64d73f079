"""The REST door: one photo in, one picture out, and what styles there are."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cartoon import health, metrics
from cartoon.errors import (
    CartoonError,
    InputError,
    MissingError,
    OptionsError,
    ResourceError,
    StyleError,
    TooLargeError,
    UnsupportedError,
)
from cartoon.readiness import Readiness
from cartoon.request import Drawing, Studio, clean_name, draw, options_from
from cartoon.settings import Options, Settings
from cartoon.wording import without_paths

MORE_AT_ONCE: Final = 1
"""Requests beyond those that are drawn at the same time: one decodes or encodes meanwhile."""
ENVELOPE_BYTES: Final = 64 * 1024
"""What a multipart form may hold beside the picture."""
DRAIN_FACTOR: Final = 4
"""A too large upload is read on and thrown away up to this many times the limit before the answer: a client that only
reads once it has sent everything then sees the sentence, where a closed connection would tell it nothing."""
STATUS_CODES: Final[tuple[tuple[type[CartoonError], int], ...]] = (
    (TooLargeError, 413),
    (UnsupportedError, 415),
    (InputError, 422),
    (OptionsError, 400),
    (StyleError, 400),
    (MissingError, 404),
    (ResourceError, 503),
)
_NOT_TOKEN: Final = re.compile(r"[^A-Za-z0-9_-]+")


class QueueFullError(ResourceError):
    """More requests wait already than the settings allow."""

    code = "queue_full"


@dataclass(frozen=True, eq=False)
class Upload:
    """The form of one request: the picture's bytes, its clean name, and the other fields as sent."""

    data: bytes
    name: str
    fields: dict[str, Any]


class Queue:
    """Lets `at_once` requests draw and `waiting` more wait, in order of arrival; turns further ones away at once."""

    def __init__(self, at_once: int, waiting: int, readiness: Readiness) -> None:
        self._readiness = readiness
        self._places = at_once + waiting
        self._taken = 0
        self._pipeline = anyio.CapacityLimiter(at_once)

    async def draw(self, request: Request, artist: Studio, upload: Upload, max_pixels: int) -> Drawing | None:
        """The drawing, made in a worker thread; None when the client left while it waited. Raises QueueFullError."""
        options = options_from(upload.fields, artist.styles)
        if self._taken >= self._places:
            metrics.photo_failed(options.style, QueueFullError.code)
            raise QueueFullError(
                f"{upload.name} has to wait: too many requests are in the queue, try again in seconds."
            )
        self._taken += 1
        try:
            async with self._pipeline:
                if await request.is_disconnected():
                    return None
                return await anyio.to_thread.run_sync(self._draw, artist, upload, options, max_pixels)
        finally:
            self._taken -= 1

    def _draw(self, artist: Studio, upload: Upload, options: Options, max_pixels: int) -> Drawing:
        with self._readiness.work():  # the thread's own: it goes on when the request is cancelled
            return draw(artist, upload.data, upload.name, options, max_pixels)


def install(app: FastAPI, artist: Studio, settings: Settings, readiness: Readiness | None = None) -> None:
    """Adds the REST routes and their JSON errors to `app`; must come before a mount at "/" that would shadow them.

    readiness: told to others by /readyz; without one the app is always ready.
    """
    readiness = readiness or Readiness()
    health.install(app, readiness)
    queue = Queue(artist.at_once + MORE_AT_ONCE, settings.max_queue, readiness)
    router = APIRouter()

    @router.post("/api/v1/cartoonize")
    async def cartoonize(request: Request) -> Response:
        """Multipart `image` and options -> the picture; errors are JSON {"error", "message"}."""
        try:
            upload = await receive(request, settings.max_upload_mb)
        except ClientDisconnect:
            return Response(status_code=400)
        drawing = await queue.draw(request, artist, upload, settings.max_pixels)
        return Response(status_code=400) if drawing is None else picture_response(drawing)

    @router.get("/api/v1/styles")
    async def styles() -> list[dict[str, str]]:
        """The cards of the styles on offer."""
        shown = ("id", "title", "licence", "origin", "sha256")
        return [{name: str(getattr(card, name)) for name in shown} for card in artist.styles]

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def nothing_here(rest: str) -> Response:
        # Without this the UI's page, mounted at "/", would answer a mistyped address with 200 and HTML.
        message = (
            "There is nothing at this address: use POST /api/v1/cartoonize, GET /api/v1/styles or POST /api/v1/jobs."
        )
        return JSONResponse({"error": "not_found", "message": message}, status_code=404)

    app.include_router(router)
    app.add_exception_handler(CartoonError, _refuse)
    app.add_exception_handler(Exception, _fail)


async def receive(request: Request, max_upload_mb: int) -> Upload:
    """The request's form, never holding more than the limit in memory or on disk.

    Raises TooLargeError over `max_upload_mb` (also from Content-Length alone), OptionsError for anything but one
    multipart form with one file field `image`.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise OptionsError("The request is not a form: send multipart/form-data with the picture in the field image.")
    limit = max_upload_mb * 2**20
    parser = MultiPartParser(request.headers, _bounded(request, limit), max_files=1, max_fields=20)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise OptionsError(
            f"The form cannot be read ({error.message.rstrip('.')}): send one picture in image."
        ) from error
    try:
        return await _unpack(form, limit, max_upload_mb)
    finally:
        await form.close()


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


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    length = request.headers.get("content-length", "")
    declared = int(length) if length.isdigit() else 0
    most = limit + ENVELOPE_BYTES
    received = 0
    if declared <= DRAIN_FACTOR * most:
        async for chunk in request.stream():
            received += len(chunk)
            if received > DRAIN_FACTOR * most:
                break
            if max(declared, received) <= most:
                yield chunk
    if max(declared, received) > most:
        raise TooLargeError(f"The upload is larger than {limit // 2**20} MB: send a smaller picture.")


async def _unpack(form: FormData, limit: int, max_upload_mb: int) -> Upload:
    repeated = [name for name in form if len(form.getlist(name)) > 1]
    if repeated:
        raise OptionsError(f"The field {clean_name(repeated[0])!r} came more than once: send each field once.")
    image = form.get("image")
    if not isinstance(image, UploadFile) or not (image.filename or image.size):
        raise OptionsError("The picture is missing: send it as a file in the multipart field image.")
    name = clean_name(image.filename)
    if (image.size or 0) > limit:
        raise TooLargeError(f"{name} is larger than {max_upload_mb} MB: send a smaller picture.")
    fields = {key: value for key, value in form.items() if key != "image"}
    return Upload(await image.read(), name, fields)


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, CartoonError)
    status = next((status for kind, status in STATUS_CODES if isinstance(error, kind)), 500)
    status = 429 if isinstance(error, QueueFullError) else status
    headers = {"Retry-After": "2"} if status in (429, 503) else None
    told = {"error": error.code, "message": without_paths(str(error))}
    return JSONResponse(told, status_code=status, headers=headers)


def _fail(request: Request, error: Exception) -> Response:
    # The server logs the traceback; a stranger gets no detail of our fault.
    message = "Something went wrong on our side: try again, and tell the operator if it happens twice."
    return JSONResponse({"error": "internal", "message": message}, status_code=500)
