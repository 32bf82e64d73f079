"""A multipart form of any size, streamed: its files are staged on disk as they come, a little of them in memory.

python-multipart's parser is driven here one level below its FormParser, which tells of a file once it is whole: a file
that is too large, a field that nobody knows and a full disk are refused here while they come.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from cartoon.errors import CartoonError, OptionsError
from cartoon.web.photo import clean_name
from cartoon.web.staging import MOST_FILES, StagedUpload

FIELD_BYTES: Final = 4096
HEADER_BYTES: Final = 16_384
"""Of one header of a part, which may hold a long name."""
BATCH_BYTES: Final = 128 * 1024
"""So much of a form is gathered in memory before a thread takes it in; most that come are smaller."""
MOST_FIELDS: Final = 40
DISCARDED_BYTES: Final = 64 * 2**20
"""So much more of a refused upload is read and thrown away before the answer: a client that only reads once it has sent
everything then sees the sentence, where a closed connection would tell it nothing."""

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class FormRules:
    """What a door's form may hold. file_fields: what its files are called, the last one as refusals name it."""

    file_fields: Sequence[str] = ("image", "images", "files")
    most_files: int = MOST_FILES


ANY_FILES: Final = FormRules()


async def receive(
    request: Request,
    staged: StagedUpload,
    take: Callable[[dict[str, str]], Taken],
    rules: FormRules = ANY_FILES,
    threads: anyio.CapacityLimiter | None = None,
) -> Taken:
    """What `take` makes of the form's fields once all has come; the form's files are staged by then.

    The last bytes are written, and `take` is called, in one thread of `threads`: a small form costs the event loop one
    visit to another thread. Raises OptionsError for anything but a form as `rules` have it, what StagedUpload raises,
    and what `take` raises; whatever is raised, `staged` is closed.
    """
    form = _Form(request.headers, staged, rules)
    waiting: list[bytes] = []
    refusal: CartoonError | None = None
    size = discarded = 0
    try:
        async for chunk in request.stream():
            if refusal is not None:
                discarded += len(chunk)
                if discarded > DISCARDED_BYTES:
                    break
                continue
            waiting.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                try:
                    await anyio.to_thread.run_sync(form.feed, waiting)
                except CartoonError as error:
                    refusal = error
                waiting, size = [], 0
        if refusal is not None:
            raise refusal
        return await anyio.to_thread.run_sync(form.finish, waiting, take, limiter=threads)
    except asyncio.CancelledError:
        staged.close()  # here and now: nobody waits for another thread any more
        raise
    except Exception:
        if not staged.closed:
            await anyio.to_thread.run_sync(staged.close)
        raise


class _Form:
    """A parser's callbacks, in the order of a form: a part's headers, then its data, then the next part."""

    def __init__(self, headers: Mapping[str, str], staged: StagedUpload, rules: FormRules) -> None:
        kind, parameters = parse_options_header(headers.get("content-type", ""))
        boundary = parameters.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise OptionsError(
                f"The request is not a form: send multipart/form-data with the pictures in {rules.file_fields[-1]}."
            )
        length = headers.get("content-length", "")
        self._announced: int | None = int(length) if length.isdigit() else 0
        self._staged, self._rules = staged, rules
        self._fields: dict[str, str] = {}
        self._header, self._value, self._disposition = b"", b"", b""
        self._field: str | None = None
        self._data = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
                max_header_size=HEADER_BYTES,
            )
        except FormParserError as error:
            raise _damaged() from error

    def feed(self, chunks: Sequence[bytes]) -> None:
        """More of the request's body."""
        with self._working():
            self._write(chunks)

    def finish(self, chunks: Sequence[bytes], take: Callable[[dict[str, str]], Taken]) -> Taken:
        """The last of it; what `take` makes of the fields, as the form is whole."""
        with self._working():
            self._write(chunks)
            if not self._ended:
                raise _damaged()
            return take(self._fields)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """A thread works on what is staged; after an error nobody will."""
        with self._staged.in_use():
            try:
                yield
            except BaseException:
                self._staged.close()
                raise

    def _write(self, chunks: Sequence[bytes]) -> None:
        if self._announced is not None:  # what the announced length alone says
            self._staged.expect(self._announced)
            self._announced = None
        try:
            for chunk in chunks:
                self._parser.write(chunk)
        except FormParserError as error:
            raise _damaged() from error

    def _on_part_begin(self) -> None:
        self._header, self._value, self._disposition, self._data = b"", b"", b"", b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, told = parse_options_header(self._disposition)
        field = told.get(b"name", b"").decode("utf-8", "replace")
        self._field = None
        if b"filename" in told:
            if field not in self._rules.file_fields:
                known = self._rules.file_fields[-1]
                raise OptionsError(f"The file field {clean_name(field)!r} is not known: send pictures in {known}.")
            if len(self._staged.sent) >= self._rules.most_files:
                raise OptionsError(f"The field {clean_name(field)!r} came more than once: send each field once.")
            self._staged.begin(told[b"filename"].decode("utf-8", "replace"))
            return
        if field in self._rules.file_fields:
            raise OptionsError(f"The field {field} holds no file: send pictures, or a zip of them.")
        if field in self._fields:
            raise OptionsError(f"The field {clean_name(field)!r} came more than once: send each option once.")
        if len(self._fields) >= MOST_FIELDS:
            raise OptionsError("The form has too many fields: send the pictures and the options alone.")
        self._field = field

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._staged.write(data[start:end])
            return
        self._data += data[start:end]
        if len(self._data) > FIELD_BYTES:
            raise OptionsError(f"The field {clean_name(self._field)!r} is too long: send files with their names.")

    def _on_part_end(self) -> None:
        if self._field is None:
            self._staged.end()
        else:
            self._fields[self._field] = self._data.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self._ended = True


def _damaged() -> OptionsError:
    return OptionsError("The form cannot be read: send the pictures as multipart/form-data.")
