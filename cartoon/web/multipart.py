"""A multipart form of any size, streamed: its files are staged on disk as they come, nothing of them in memory."""

from collections.abc import Sequence
from typing import Final

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from cartoon.errors import CartoonError, OptionsError
from cartoon.web.photo import clean_name
from cartoon.web.staging import MOST_FILES, StagedUpload

FILE_FIELDS: Final = ("image", "images", "files")
"""What a form's files may be called, unless a door says otherwise."""
FIELD_BYTES: Final = 4096
HEADER_BYTES: Final = 16_384
"""Of one header of a part, which may hold a long name."""
MOST_FIELDS: Final = 40
DISCARDED_BYTES: Final = 64 * 2**20
"""So much more of a refused upload is read and thrown away before the answer: a client that only reads once it has sent
everything then sees the sentence, where a closed connection would tell it nothing."""


async def receive(
    request: Request, staged: StagedUpload, file_fields: Sequence[str] = FILE_FIELDS, most_files: int = MOST_FILES
) -> dict[str, str]:
    """The form's fields; its files are staged then.

    Raises OptionsError for anything but a form whose files come in `file_fields`, and what StagedUpload raises.
    """
    form = _Form(request.headers.get("content-type", ""), staged, file_fields, most_files)
    refusal = await anyio.to_thread.run_sync(_refusal, request, staged)
    discarded = 0
    async for chunk in request.stream():
        if refusal is None:
            try:
                await anyio.to_thread.run_sync(form.feed, chunk)
            except CartoonError as error:
                refusal = error
        else:
            discarded += len(chunk)
            if discarded > DISCARDED_BYTES:
                break
    if refusal is not None:
        raise refusal
    return form.finished()


def _refusal(request: Request, staged: StagedUpload) -> CartoonError | None:
    """What the announced length alone says."""
    length = request.headers.get("content-length", "")
    try:
        staged.expect(int(length) if length.isdigit() else 0)
    except CartoonError as error:
        return error
    return None


class _Form:
    """A parser's callbacks, in the order of a form: a part's headers, then its data, then the next part."""

    def __init__(self, content_type: str, staged: StagedUpload, file_fields: Sequence[str], most_files: int) -> None:
        kind, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise OptionsError(
                f"The request is not a form: send multipart/form-data with the pictures in {file_fields[-1]}."
            )
        self._staged, self._file_fields, self._most_files = staged, file_fields, most_files
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
            )
        except FormParserError as error:
            raise _damaged() from error

    def feed(self, chunk: bytes) -> None:
        """More of the request's body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _damaged() from error

    def finished(self) -> dict[str, str]:
        """The fields, when the form is whole."""
        if not self._ended:
            raise _damaged()
        return self._fields

    def _on_part_begin(self) -> None:
        self._header, self._value, self._disposition, self._data = b"", b"", b"", b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_headers()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._header) + len(self._value) > HEADER_BYTES:
            raise _damaged()

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, told = parse_options_header(self._disposition)
        field = told.get(b"name", b"").decode("utf-8", "replace")
        self._field = None
        if b"filename" in told:
            if field not in self._file_fields:
                raise OptionsError(
                    f"The file field {clean_name(field)!r} is not known: send pictures in {self._file_fields[-1]}."
                )
            if len(self._staged.sent) >= self._most_files:
                raise OptionsError(f"The field {clean_name(field)!r} came more than once: send each field once.")
            self._staged.begin(told[b"filename"].decode("utf-8", "replace"))
            return
        if field in self._file_fields:
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
