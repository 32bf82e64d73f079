"""What the web doors answer when they refuse: JSON {"error", "message"}, one status for each kind of error."""

from typing import Final, Literal

from starlette.responses import JSONResponse, PlainTextResponse, Response

from cartoon.errors import (
    CartoonError,
    ForbiddenError,
    InputError,
    LimitError,
    MissingError,
    OptionsError,
    ResourceError,
    StyleError,
    TooLargeError,
    UnsupportedError,
)
from cartoon.web.messages import without_paths

Spelling = Literal["rest", "gradio", "text"]
"""How a refusal is written: as REST promises it, in both fields that Gradio's clients show, or the sentence alone."""


class QueueFullError(ResourceError):
    """More requests wait already than the settings allow."""

    code = "queue_full"


STATUS_CODES: Final[tuple[tuple[type[CartoonError], int], ...]] = (
    (TooLargeError, 413),
    (UnsupportedError, 415),
    (InputError, 422),
    (OptionsError, 400),
    (StyleError, 400),
    (MissingError, 404),
    (ForbiddenError, 403),
    (LimitError, 429),
    (QueueFullError, 429),
    (ResourceError, 503),
)
RETRIED: Final = frozenset({429, 503})
"""Statuses that say when to come back."""
RETRY_SECONDS: Final = 2
INTERNAL: Final = "Something went wrong on our side: try again, and tell the operator if it happens twice."
"""The server logs the traceback; a stranger gets no detail of our fault."""


def refused(
    status: int, code: str, message: str, retry_seconds: int | None = None, spelling: Spelling = "rest"
) -> Response:
    """An answer that says no; retry_seconds: when to come back."""
    headers = {} if retry_seconds is None else {"Retry-After": str(retry_seconds)}
    if spelling == "text":
        return PlainTextResponse(message, status_code=status, headers=headers)
    told = {"error": code, "message": message}
    if spelling == "gradio":
        told = {"error": message, "detail": message, "code": code}
    return JSONResponse(told, status_code=status, headers=headers)


def refusal_of(error: CartoonError, spelling: Spelling = "rest") -> Response:
    """The answer for one of our errors."""
    status = status_of(error)
    retry_seconds = RETRY_SECONDS if status in RETRIED else None
    return refused(status, error.code, without_paths(str(error)), retry_seconds, spelling)


def status_of(error: CartoonError) -> int:
    """The HTTP status that tells what kind of error it is."""
    return next((status for kind, status in STATUS_CODES if isinstance(error, kind)), 500)
