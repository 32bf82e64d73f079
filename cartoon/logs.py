"""How log lines look: text for people, or one JSON object a line for machines."""

import json
import logging
import warnings
from datetime import datetime, timezone
from typing import Final, Literal

TEXT: Final = "%(levelname)s %(name)s: %(message)s"
FIELDS: Final = ("event", "job", "item", "style", "seconds", "code")
"""What a call may pass as `extra` and a JSON line then shows. Never the name of a file, nor anything of its content."""


class JsonLines(logging.Formatter):
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
    handler.setFormatter(JsonLines() if kind == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(kind == "json")
    hush()


def hush() -> None:
    """Pillow remarks on damaged files, which we tell in a sentence of our own."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
