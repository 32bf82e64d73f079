"""What of Gradio's own HTTP answers, and with which arguments.

Gradio's server has some sixty addresses: it fetches URLs, serves what lies in its folders, edits its own source, and
takes any dictionary with a `path` for a file. Here a list says what the page and gradio_client need; the rest is not
there. Of a call, the function must be known and offered, and every file in its arguments one that the caller has sent.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon.errors import CartoonError, ForbiddenError, MissingError, OptionsError, TooLargeError
from cartoon.web.access.limits import Limits
from cartoon.web.access.visitors import Visitor, visitor_of
from cartoon.web.answers import RETRY_SECONDS, refusal_of
from cartoon.web.visitor_files import VisitorFiles

API: Final = "/gradio_api/"
READ: Final = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info/?|openapi\.json|app_id/?|startup-events|theme\.css|queue/(data|status)|heartbeat/[^/]+"
    r"|call/(v2/)?\w+/\w+|upload_progress|file=.*)"
)
"""GET and HEAD. The last two are not Gradio's here, see cartoon.web.page.file_routes."""
SENT: Final = re.compile(r"/gradio_api/(run|api|call|call/v2)/(?P<name>\w+)/?|/gradio_api/queue/join")
"""POST: calls of functions."""
LISTENS: Final = re.compile(r"/gradio_api/(queue/data|call/(v2/)?\w+/(?P<event>\w+))")
"""GET: waits for what calls come to."""
SAID: Final = re.compile(r"/gradio_api/(cancel|reset/?|upload)")
OURS: Final = ("/api/", "/healthz", "/readyz", "/metrics", "/openapi.json")
"""Doors that are not Gradio's."""
BODY_BYTES: Final = 8 * 2**20
"""Of a call: twenty thousand files are named in so much."""
SMALL_BODY_BYTES: Final = 64 * 1024
LARGE_AT_ONCE: Final = 4
DEPTH: Final = 20
"""Levels of lists and objects in an argument."""
_FILE_FIELDS: Final = ("path", "url")
_SESSION: Final = re.compile(r"[\w-]{1,64}")


@dataclass(frozen=True)
class Offer:
    """A function of the page. index: Gradio's number of it. inputs: how many arguments it takes in full, and without
    those that callers leave out. public: for callers from outside; the rest only for the page itself. counted: against
    the requests that a visitor has in a minute. later: so many of the last came later than callers may know of."""

    index: int
    inputs: tuple[int, int]
    public: bool
    counted: bool
    later: int = 0

    def filled(self, data: object) -> list[Any]:
        """The arguments of a call, None for those that it does not know of; raises OptionsError."""
        missing = self.inputs[-1] - len(data) if isinstance(data, list) else 0
        if not isinstance(data, list) or (len(data) not in self.inputs and not 0 < missing <= self.later):
            raise OptionsError(f"This call takes a list `data` of {self.inputs[-1]} values: see /gradio_api/info.")
        return data if len(data) in self.inputs else [*data, *[None] * missing]


class GradioGuard:
    """Stands before Gradio. offers: by API name, those that have one, and by number. waited_for: the sessions and calls
    that Gradio has answers for."""

    def __init__(
        self,
        app: ASGIApp,
        offers: Mapping[str | int, Offer],
        waited_for: Container[str],
        files: VisitorFiles,
        limits: Limits,
    ) -> None:
        self._app, self._offers, self._waited_for = app, offers, waited_for
        self._files, self._limits = files, limits
        self._large = anyio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OURS):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        visitor = visitor_of(request)
        try:
            scope, receive = await self._checked(request, visitor)
        except ClientDisconnect:
            return
        except CartoonError as error:
            await refusal_of(error, "gradio")(scope, receive, send)
            return
        answer = _without_server_errors(send) if SENT.fullmatch(scope["path"]) else send
        await self._app(scope, receive, answer)

    async def _checked(self, request: Request, visitor: Visitor) -> tuple[Scope, Receive]:
        """The request as Gradio may see it; raises CartoonError."""
        scope, path = request.scope, request.scope["path"]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        query.pop("deep_link", None)  # which would open what somebody else has saved
        if "session_hash" in query:
            query["session_hash"] = _namespaced(visitor, query["session_hash"])
        changed = {**scope, "query_string": urlencode(query).encode()}
        if request.method in ("GET", "HEAD") and READ.fullmatch(path):
            start, beat, session = path.partition("/heartbeat/")
            if beat:
                changed["path"] = f"{start}{beat}{_namespaced(visitor, session)}"
                changed["raw_path"] = changed["path"].encode()
            listens = LISTENS.fullmatch(path)
            if listens and (listens["event"] or query.get("session_hash")) not in self._waited_for:
                raise MissingError("Nothing is known of this call any more: send it again.")
            return changed, request.receive
        if request.method == "POST" and path == f"{API}upload":
            return changed, request.receive
        call = SENT.fullmatch(path) if request.method == "POST" else None
        if call is None and not (request.method == "POST" and SAID.fullmatch(path)):
            raise MissingError("There is nothing at this address: open the page at / or use REST under /api/v1.")
        size = request.headers.get("content-length", "")
        # Large ones, with thousands of files, are in memory a few at a time.
        async with nullcontext() if size.isdigit() and int(size) <= SMALL_BODY_BYTES else self._large:
            body = await _json_of(request)
            # In a thread: many files are looked at on the disk.
            told = await anyio.to_thread.run_sync(self._body, body, path, call, request, visitor)
            data = json.dumps(told).encode()
        headers = [header for header in scope["headers"] if header[0] not in (b"content-length", b"transfer-encoding")]
        changed["headers"] = [*headers, (b"content-length", str(len(data)).encode())]
        return changed, _replay(data, request.receive)

    def _body(
        self, body: dict[str, Any], path: str, call: "re.Match[str] | None", request: Request, visitor: Visitor
    ) -> dict[str, Any]:
        if call is None:
            said = {name: value for name, value in body.items() if name in ("session_hash", "fn_index", "event_id")}
            if not isinstance(said.get("event_id"), str):
                raise OptionsError("event_id must name a call of yours: nothing was done.")
            return self._with_session({"session_hash": "none", "fn_index": 0, **said}, visitor)
        by_name = path.startswith(f"{API}call/v2/")
        offer = self._offer(call["name"], None if by_name else body.get("fn_index"))
        if not (offer.public or request.state.own_page):
            raise ForbiddenError("Only the page itself may call this: use /cartoonize or /cartoonize_batch.")
        if offer.counted:
            self._limits.ask(visitor)
        if by_name:
            return {name: self._argument(value, visitor) for name, value in body.items()}
        data = offer.filled(body.get("data"))
        kept: dict[str, Any] = {name: body[name] for name in ("session_hash", "trigger_id") if name in body}
        if not isinstance(kept.get("trigger_id"), int | None):
            raise OptionsError("trigger_id is not a number: leave it out.")
        arguments = [self._argument(value, visitor) for value in data]
        return self._with_session({**kept, "data": arguments, "fn_index": offer.index}, visitor)

    def _offer(self, name: str | None, index: object) -> Offer:
        key = index if isinstance(index, int) and not isinstance(index, bool) else name
        offer = self._offers.get(key) if key is not None else None
        if offer is None:
            raise MissingError("There is no such call: use /cartoonize or /cartoonize_batch.")
        return offer

    def _with_session(self, body: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        session = body.get("session_hash")
        return body if session is None else {**body, "session_hash": _namespaced(visitor, session)}

    def _argument(self, value: Any, visitor: Visitor, depth: int = 0) -> Any:
        """An argument with every file in it checked, and nothing of it left that Gradio could follow elsewhere."""
        if depth > DEPTH:
            raise OptionsError("An argument is nested too deeply: send plain values and files.")
        if isinstance(value, list):
            return [self._argument(part, visitor, depth + 1) for part in value]
        if not isinstance(value, dict):
            return value
        if not any(name in value for name in _FILE_FIELDS) and "meta" not in value:
            return {name: self._argument(part, visitor, depth + 1) for name, part in value.items()}
        told = value.get("path")
        if isinstance(told, str) and "://" in told:
            raise ForbiddenError("Upload the photo itself: this server fetches nothing from addresses.")
        clean: dict[str, Any] = {"path": str(self._files.find(visitor, told)), "meta": {"_type": "gradio.FileData"}}
        for name, kind in (("orig_name", str), ("mime_type", str), ("size", int)):
            if isinstance(value.get(name), kind):
                clean[name] = value[name]
        return clean


def _namespaced(visitor: Visitor, session: object) -> str:
    """A session's name that no other visitor can say: each hears only of their own calls."""
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise OptionsError("session_hash must be 1 to 64 letters, digits, - or _.")
    return hashlib.sha256(f"{visitor.tag} {session}".encode()).hexdigest()[:32]


async def _json_of(request: Request) -> dict[str, Any]:
    """The body of a call; raises OptionsError for anything but a JSON object."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise TooLargeError(f"The call is larger than {BODY_BYTES >> 20} MB: upload files, and name them in it.")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise OptionsError("The call is not JSON: send an object.") from problem
    if not isinstance(told, dict):
        raise OptionsError('The call is not a JSON object: send {"data": [...]}.')
    return told


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what the connection says."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _without_server_errors(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Gradio answers 500 where an action says no in a sentence, which is what 422 is for, and 503 without a time."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            message = {**message, "status": 422}
        if message["type"] == "http.response.start" and message["status"] == 503:
            headers = [*message.get("headers", ()), (b"retry-after", str(RETRY_SECONDS).encode())]
            message = {**message, "headers": headers}
        await send(message)

    return sent
