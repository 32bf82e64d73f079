"""The REST door of jobs: send photos, leave, come back for the zip."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any, Final, ParamSpec, TypeVar, get_args
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from cartoon.errors import MissingError, OptionsError
from cartoon.jobs import report
from cartoon.jobs.model import Gate
from cartoon.jobs.service.status import JobStatus
from cartoon.web import thumbnails
from cartoon.web.access.visitors import check_owner, visitor_of
from cartoon.web.backend import Backend
from cartoon.web.lifecycle import Readiness
from cartoon.web.messages import at_rest, without_paths, zip_name
from cartoon.web.multipart import ANY_FILES, receive
from cartoon.web.rest.form import form_of
from cartoon.web.rest.zip_stream import MEDIA_TYPE, packed

ROOT: Final = "/api/v1/jobs"
EVENT_SECONDS: Final = 0.25
"""Between two events of a stream, at least."""
LISTEN_SECONDS: Final = 1.0
"""How long a thread waits for one change: the shorter, the more clients share the threads that wait."""
ALIVE_SECONDS: Final = 15.0
"""After so much silence a comment says that the stream is alive."""
ITEMS: Final = 100
MOST_ITEMS: Final = 1000
LISTENERS: Final = 32
LOOKERS: Final = 8
"""Threads for what asks the service: others than those that draw, so that a look never waits for a drawing."""
TAKERS: Final = 4
"""Threads in which jobs are begun: with more of them the event loop would wait for Python's lock, and all with it."""
THUMBS_AT_ONCE: Final = 2
NOT_KEPT: Final = {"Cache-Control": "no-store"}
ASKED_AGAIN: Final = {"Cache-Control": "private, no-cache"}
KEPT: Final = {"Cache-Control": "private, max-age=604800, immutable"}
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def install(app: FastAPI, backend: Backend, readiness: Readiness) -> None:
    """Adds the routes to `app`; must come before a catch-all under /api, whose owner turns errors into JSON."""
    does = _Routes(backend, readiness)
    router = APIRouter()
    look, read, say = ["GET"], ["GET", "HEAD"], ["POST"]
    gate = {"enum": list(get_args(Gate)), "default": "flag"}
    form = form_of(ANY_FILES.file_fields[-1], many=True, gate=gate, title={"type": "string"})
    router.add_api_route(ROOT, does.create, methods=say, status_code=201, openapi_extra=form)
    router.add_api_route(ROOT, does.mine, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}", does.show, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}", does.remove, methods=["DELETE"], status_code=204)
    router.add_api_route(f"{ROOT}/{{id}}/events", does.events, methods=look)
    router.add_api_route(f"{ROOT}/{{id}}/items", does.items, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}/pictures/{{number}}", does.picture, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}/thumbs/{{number}}", does.thumb, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}/zip", does.zip, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}/report.csv", does.report_csv, methods=read)
    router.add_api_route(f"{ROOT}/{{id}}/report.json", does.report_json, methods=read)
    service = backend.service
    for name, act in (
        ("pause", service.pause),
        ("resume", service.resume),
        ("cancel", service.cancel),
        ("retry", service.retry),
    ):
        router.add_api_route(f"{ROOT}/{{id}}/{name}", does.told(act), methods=say, name=name)
    app.include_router(router)


class _Routes:
    def __init__(self, backend: Backend, readiness: Readiness) -> None:
        self._backend, self._service, self._readiness = backend, backend.service, readiness
        self._looking = anyio.CapacityLimiter(LOOKERS)
        self._taking = anyio.CapacityLimiter(TAKERS)
        self._listening = anyio.CapacityLimiter(LISTENERS)
        self._shrinking = anyio.CapacityLimiter(THUMBS_AT_ONCE)

    async def create(self, request: Request) -> Response:
        """Multipart pictures or zips in `images` and options -> {"id", "url", "owner"}.

        owner: for the header X-Cartoon-Owner of whoever is to pause, cancel or delete the job, and keeps no cookies.
        """
        visitor = visitor_of(request)
        self._backend.limits.ask(visitor)
        staged = self._backend.stage(visitor)

        def submit(fields: dict[str, str]) -> str:
            id = self._backend.submit(staged, fields, visitor)
            staged.close()
            return id

        try:
            id = await receive(request, staged, submit, threads=self._taking)
        except ClientDisconnect:
            return Response(status_code=400)
        url = _root(request, id)
        told = {"id": id, "url": url, "owner": visitor.owner}
        return JSONResponse(told, status_code=201, headers={"Location": url, **NOT_KEPT})

    async def mine(self, request: Request) -> Response:
        """The jobs of whoever asks, the latest first."""
        statuses = await self._ask(self._service.jobs, visitor_of(request).owner)
        return JSONResponse({"jobs": [as_told(one, request) for one in statuses]}, headers=NOT_KEPT)

    async def show(self, request: Request, id: str) -> Response:
        """Where a job stands."""
        return JSONResponse(as_told(await self._ask(self._service.status, id), request), headers=NOT_KEPT)

    def told(self, act: Callable[[str], None]) -> Callable[..., Any]:
        """A route that says something to a job and answers with where it stands then."""

        async def route(request: Request, id: str) -> Response:
            await self._ask(check_owner, self._service, id, visitor_of(request).owner)
            await self._ask(act, id)
            return await self.show(request, id)

        return route

    async def remove(self, request: Request, id: str) -> Response:
        """Stops a job and removes all of it."""
        await self._ask(check_owner, self._service, id, visitor_of(request).owner)
        await self._ask(self._service.remove, id)
        return Response(status_code=204)

    async def events(self, request: Request, id: str) -> Response:
        """Server-sent: where the job stands, at every change, until it is at rest."""
        await self._ask(self._service.status, id)  # a wrong id is a 404, not a stream
        headers = {**NOT_KEPT, "X-Accel-Buffering": "no"}
        return StreamingResponse(self._changes(id, request), media_type="text/event-stream", headers=headers)

    async def _changes(self, id: str, request: Request) -> AsyncIterator[str]:
        turn, told_at = -1, time.monotonic()
        while not self._readiness.draining:
            try:
                status = await anyio.to_thread.run_sync(
                    self._service.wait, id, turn, LISTEN_SECONDS, limiter=self._listening
                )
            except MissingError:  # removed meanwhile
                return
            if status.turn != turn:
                turn, told_at = status.turn, time.monotonic()
                yield f"data: {json.dumps(as_told(status, request))}\n\n"
                if at_rest(status):
                    return
                await anyio.sleep(EVENT_SECONDS)
            elif time.monotonic() - told_at > ALIVE_SECONDS:
                told_at = time.monotonic()
                yield ": nothing new\n\n"

    async def items(self, request: Request, id: str) -> Response:
        """Rows of the report, `limit` of them from `offset` on."""
        offset, limit = _whole(request, "offset", 0), _whole(request, "limit", ITEMS)
        if not 1 <= limit <= MOST_ITEMS:
            raise OptionsError(f"limit must be from 1 to {MOST_ITEMS}; got {limit}.")
        total = (await self._ask(self._service.status, id)).counts.total
        rows = await self._ask(self._service.rows, id, offset, limit)
        part = [{"number": n, **asdict(row)} for n, row in enumerate(_clean(rows), offset)]
        return JSONResponse({"total": total, "offset": offset, "items": part}, headers=NOT_KEPT)

    async def picture(self, request: Request, id: str, number: str) -> Response:
        """The drawing of an item."""
        path = await self._ask(thumbnails.picture, self._service, id, _number(number))
        return FileResponse(path, filename=path.name, content_disposition_type="inline", headers=_kept(request))

    async def thumb(self, request: Request, id: str, number: str) -> Response:
        """A small copy of it."""
        path = await anyio.to_thread.run_sync(
            thumbnails.thumb, self._service, id, _number(number), limiter=self._shrinking
        )
        return FileResponse(path, headers=_kept(request))

    async def zip(self, request: Request, id: str) -> Response:
        """What is done so far, and the report."""
        status = await self._ask(self._service.status, id)
        pack = await self._ask(packed, self._service, id)
        headers = {**NOT_KEPT, "Content-Length": str(pack.size), **attached(zip_name(status))}
        if request.method == "HEAD":
            return Response(headers=headers, media_type=MEDIA_TYPE)
        return StreamingResponse(pack.chunks(), headers=headers, media_type=MEDIA_TYPE)

    async def report_csv(self, id: str) -> Response:
        """The report for spreadsheets."""
        data = report.as_csv(_clean(await self._ask(self._service.rows, id)))
        return Response(data, media_type="text/csv", headers={**NOT_KEPT, **attached("report.csv")})

    async def report_json(self, id: str) -> Response:
        """The report for programs."""
        data = report.as_json(_clean(await self._ask(self._service.rows, id)))
        return Response(data, media_type="application/json", headers={**NOT_KEPT, **attached("report.json")})

    async def _ask(self, call: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
        assert not named
        return await anyio.to_thread.run_sync(call, *given, limiter=self._looking)


def as_told(status: JobStatus, request: Request) -> dict[str, Any]:
    """A job as JSON."""
    order, counts = status.order, status.counts
    address = _root(request, status.id)
    links = {"self": address, "page": f"{request.scope.get('root_path', '')}/?job={status.id}"}
    links |= {name: f"{address}/{name}" for name in ("events", "items", "zip", "report.csv", "report.json")}
    return {
        "id": status.id,
        "title": order.title,
        "state": status.state,
        "busy": status.busy,
        "reason": without_paths(status.reason),
        "counts": {**asdict(counts), "remaining": counts.remaining},
        "rate": None if status.rate is None else round(status.rate, 3),
        "seconds_left": None if status.seconds_left is None else round(status.seconds_left, 1),
        "options": asdict(order.options),
        "gate": order.gate,
        "made": datetime.fromtimestamp(order.made, timezone.utc).isoformat(timespec="seconds"),
        "links": links,
    }


def attached(name: str) -> dict[str, str]:
    """The header that has a browser save the answer under a name, which may be a stranger's text."""
    plain = re.sub(r'[^ !#-\[\]-~]|["\\%]', "_", name)
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}


def _clean(rows: list[report.Row]) -> list[report.Row]:
    return [replace(row, message=without_paths(row.message) if row.message else None) for row in rows]


def _root(request: Request, id: str) -> str:
    return f"{request.scope.get('root_path', '')}{ROOT}/{id}"


def _kept(request: Request) -> dict[str, str]:
    """An address with a version (`?v=`) never shows another picture; without one, a retry may draw it anew."""
    return KEPT if "v" in request.query_params else ASKED_AGAIN


def _number(told: str) -> int:
    if not _NUMBER.fullmatch(told):
        raise MissingError("There is no such photo: photos are numbered from 0, see the job's items.")
    return int(told)


def _whole(request: Request, name: str, default: int) -> int:
    told = request.query_params.get(name, str(default))
    if not _NUMBER.fullmatch(told):
        raise OptionsError(f"{name} must be a whole number, 0 or more.")
    return int(told)
