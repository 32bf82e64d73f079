"""The page's uploads and downloads in place of Gradio's: the same addresses, with limits and owners."""

import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from cartoon.errors import CartoonError, OptionsError
from cartoon.web.access.visitors import Visitor, visitor_of
from cartoon.web.answers import refusal_of
from cartoon.web.backend import Backend
from cartoon.web.multipart import FormRules, receive
from cartoon.web.staging import StagedUpload
from cartoon.web.visitor_files import VisitorFiles, media_type, stored_name

API: Final = "/gradio_api"
FILES: Final = FormRules(("files",))
WATCHED: Final = 256
"""Uploads whose progress is kept at a time; the oldest go."""
WATCH_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 3.0
"""How long a page that asks for the progress may be ahead of its upload."""
SILENCE_SECONDS: Final = 15.0
KEPT: Final = {"Cache-Control": "private, max-age=3600"}


@dataclass(eq=False)
class _Upload:
    """How far an upload is: bytes of each file that nobody has heard of yet."""

    fresh: dict[str, int] = field(default_factory=dict)
    done: bool = False

    def came(self, name: str, size: int) -> None:
        self.fresh[name] = self.fresh.get(name, 0) + size

    def told(self) -> list[dict[str, object]]:
        fresh, self.fresh = self.fresh, {}
        return [{"msg": "update", "orig_name": name, "chunk_size": size} for name, size in fresh.items()]


def install(app: FastAPI, backend: Backend, files: VisitorFiles) -> None:
    """Adds the routes to `app`; must come before Gradio's mount at "/", which has the same ones."""
    does = _Routes(backend, files)
    router = APIRouter(include_in_schema=False)
    router.add_api_route(f"{API}/upload", does.upload, methods=["POST"])
    router.add_api_route(f"{API}/upload_progress", does.progress, methods=["GET"])
    router.add_api_route(f"{API}/file={{path:path}}", does.file, methods=["GET", "HEAD"])
    app.include_router(router)


class _Routes:
    def __init__(self, backend: Backend, files: VisitorFiles) -> None:
        self._backend, self._files = backend, files
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()

    async def upload(self, request: Request) -> Response:
        """Multipart `files` -> a list of the paths by which the page names them from then on."""
        visitor = visitor_of(request)
        upload = self._watched(request.query_params.get("upload_id", ""))
        try:
            self._backend.limits.ask(visitor)
            staged = self._backend.stage(visitor, self._files.all_of(visitor), upload.came)
            paths = await receive(request, staged, lambda _: self._keep(staged, visitor), FILES)
        except ClientDisconnect:
            return Response(status_code=400)
        except CartoonError as error:
            return refusal_of(error, "text")  # the page shows it as it is
        finally:
            upload.done = True
        return JSONResponse(paths)

    def _keep(self, staged: StagedUpload, visitor: Visitor) -> list[str]:
        """The files under their names on disk, and on the visitor's account."""
        staged.finish()
        if not staged.sent:
            raise OptionsError("There is no file in what was sent: choose a photo, or a zip of them.")
        paths = [sent.path.rename(sent.path.with_name(stored_name(n, sent.name))) for n, sent in enumerate(staged.sent)]
        self._backend.limits.stored(visitor, staged.folder, staged.size)
        return [str(path) for path in paths]

    async def progress(self, request: Request) -> Response:
        """Server-sent: how many bytes of which file have come, until all have."""
        id, until = request.query_params.get("upload_id", ""), time.monotonic() + PATIENCE_SECONDS
        while id not in self._uploads and time.monotonic() < until:
            await anyio.sleep(WATCH_SECONDS)
        upload = self._uploads.get(id)
        if upload is None:
            return PlainTextResponse("There is no such upload.", status_code=404)
        return StreamingResponse(self._told(id, upload), media_type="text/event-stream")

    async def _told(self, id: str, upload: _Upload) -> AsyncIterator[str]:
        silent = 0.0
        while self._uploads.get(id) is upload:
            done = upload.done  # before the rest is told
            for row in upload.told():
                silent = 0.0
                yield f"data: {json.dumps(row)}\n\n"
            if done:
                self._uploads.pop(id, None)
                yield 'data: {"msg": "done"}\n\n'
                return
            if silent > SILENCE_SECONDS:
                silent = 0.0
                yield 'data: {"msg": "heartbeat"}\n\n'
            silent += WATCH_SECONDS
            await anyio.sleep(WATCH_SECONDS)

    async def file(self, request: Request, path: str) -> Response:
        """A file of the visitor's, or one that the page itself brings."""
        found = await anyio.to_thread.run_sync(self._files.find, visitor_of(request), path)
        return self._served(found)

    def _served(self, path: Path) -> Response:
        kind, shown = media_type(path)
        how = "inline" if shown else "attachment"
        return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type=how, headers=KEPT)

    def _watched(self, id: str) -> _Upload:
        upload = _Upload()
        if 0 < len(id) <= 64:
            self._uploads[id] = upload
            while len(self._uploads) > WATCHED:
                self._uploads.popitem(last=False)
        return upload
