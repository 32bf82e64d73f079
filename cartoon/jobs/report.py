"""What became of every photo, as rows for people (CSV) and programs (JSON)."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Final

from cartoon.jobs.model import Attempt, Entry

COLUMNS: Final = ("photo", "outcome", "picture", "code", "message", "faces", "score", "flaws", "tries", "seconds")
NAMES: Final = ("report.csv", "report.json")
"""Of the two files."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def rows(entries: Iterable[Entry], settled: dict[int, Attempt]) -> list[dict[str, Any]]:
    """One row per item, in order; items without an outcome are "waiting"."""
    return [_row(entry, settled.get(entry.number)) for entry in entries]


def as_json(told: list[dict[str, Any]]) -> bytes:
    """The rows as a JSON array."""
    return json.dumps(told, indent=1).encode()


def as_csv(told: list[dict[str, Any]]) -> bytes:
    """The rows as CSV with a header (RFC 4180), UTF-8 with a mark so that spreadsheets read it as such.

    A cell that a spreadsheet would take for a formula is quoted (OWASP, "CSV Injection"): a file's name is a
    stranger's text.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in told:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return stream.getvalue().encode("utf-8-sig", "replace")


def _row(entry: Entry, attempt: Attempt | None) -> dict[str, Any]:
    told: dict[str, Any] = {**dict.fromkeys(COLUMNS), "photo": entry.item.name, "outcome": "waiting"}
    if attempt is None:
        return told
    told |= {"outcome": attempt.outcome, "tries": attempt.tries, "seconds": round(attempt.seconds, 3)}
    if attempt.error:
        return told | {"code": attempt.error.code, "message": str(attempt.error)}
    message = " ".join(attempt.notes) or None
    if attempt.outcome == "skipped":
        message = "Another file was there already."
    score = None if attempt.score is None else round(attempt.score, 3)
    seen = {"faces": attempt.faces, "score": score, "flaws": list(attempt.flaws)}
    return told | {"picture": str(entry.output), "message": message} | seen


def _cell(value: Any) -> str:
    text = " ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
