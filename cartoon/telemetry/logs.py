"""How log lines look: text for people, or one JSON object a line for machines."""

import json
import logging
import re
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final, Literal

TEXT: Final = "%(levelname)s %(name)s: %(message)s"
ABOUT_CLIENTS: Final = ("uvicorn", "asyncio", "h11")
"""Beginnings of the names of loggers that a client can make speak."""
MINUTE: Final = 60.0
KINDS: Final = 1000
_NAMES: Final = re.compile(r"""'[^']*'|"[^"]*"|\S*[/\\]\S*|\S+\.\w{2,5}\b""")
FIELDS: Final = ("event", "job", "item", "style", "seconds", "code")
"""What a call may pass as `extra` and a JSON line then shows. Never the name of a file, nor anything of its content."""


class TextLines(logging.Formatter):
    """A line for people, and tracebacks without what an error says of files."""

    def formatException(self, ei: Any) -> str:
        """The traceback, see `traceback_of`."""
        return traceback_of(ei[1])


class JsonLines(TextLines):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, what was given of FIELDS, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, ASCII."""
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage().strip(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(kind: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Sends the process's log to standard error in this form, Python's warnings too when it is JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else TextLines(TEXT))
    handler.addFilter(Seldom())
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(kind == "json")
    hush()


class Seldom(logging.Filter):
    """Of what servers say about clients, the same words only so often: a flood of requests is not a flood of lines.

    most: times in a minute, for each logger and wording.
    """

    def __init__(self, most: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._clock = most, clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; the last one says that more are left out."""
        if not record.name.startswith(ABOUT_CLIENTS):
            return True
        key, now = (record.name, str(record.msg)[:100]), self._clock()
        since, times = self._said.get(key, (now, 0))
        if now - since > MINUTE:
            since, times = now, 0
        if len(self._said) > KINDS:
            self._said.clear()
        self._said[key] = since, times + 1
        if times + 1 == self._most:
            record.msg = f"{record.msg} (left out from now on, for a minute)"
        return times < self._most


def traceback_of(error: BaseException | None) -> str:
    """An error's traceback; what it says is kept but for quoted words and paths, which may be somebody's file."""
    if error is None:
        return ""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    earlier = f"{traceback_of(before)}\n\nwhich led to\n\n" if before else ""
    said = (error.strerror or "") if isinstance(error, OSError) else _NAMES.sub("...", str(error))
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{earlier}Traceback (most recent call last):\n{frames}{type(error).__name__}: {said}"


def hush() -> None:
    """Pillow remarks on damaged files, which we tell in a sentence of our own."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
