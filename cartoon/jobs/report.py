"""What became of every photo, as rows for people (CSV) and programs (JSON)."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal

from cartoon.jobs.model import Attempt, Entry, Outcome

NAMES: Final = ("report.csv", "report.json")
"""Of the two files."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """What doors tell of one item: the last of three forms, after a worker's Result and the job's Attempt.

    picture, faces, score, flaws: None where there is no picture; tries, seconds: None for what is waiting.
    """

    photo: str
    outcome: Outcome | Literal["waiting"] = "waiting"
    picture: str | None = None
    code: str | None = None
    message: str | None = None
    faces: int | None = None
    score: float | None = None
    flaws: tuple[str, ...] | None = None
    tries: int | None = None
    seconds: float | None = None


COLUMNS: Final = tuple(field.name for field in fields(Row))


def rows(entries: Iterable[Entry], settled: dict[int, Attempt]) -> list[Row]:
    """One row per item, in order; items without an outcome are "waiting"."""
    return [_row(entry, settled.get(entry.number)) for entry in entries]


def as_json(rows: Iterable[Row]) -> bytes:
    """The rows as a JSON array."""
    return json.dumps([asdict(row) for row in rows], indent=1).encode()


def as_csv(rows: Iterable[Row]) -> bytes:
    """The rows as CSV with a header (RFC 4180), UTF-8 with a mark so that spreadsheets read it as such.

    A cell that a spreadsheet would take for a formula is quoted (OWASP, "CSV Injection"): a file's name is a
    stranger's text.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in COLUMNS])
    return stream.getvalue().encode("utf-8-sig", "replace")


def _row(entry: Entry, attempt: Attempt | None) -> Row:
    if attempt is None:
        return Row(entry.item.name)
    row = Row(entry.item.name, attempt.outcome, tries=attempt.tries, seconds=round(attempt.seconds, 3))
    if attempt.error:
        return replace(row, code=attempt.error.code, message=str(attempt.error))
    message = " ".join(attempt.notes) or None
    if attempt.outcome == "skipped":
        message = "Another file was there already."
    score = None if attempt.score is None else round(attempt.score, 3)
    return replace(
        row, picture=str(entry.output), message=message, faces=attempt.faces, score=score, flaws=attempt.flaws
    )


def _cell(value: Any) -> str:
    text = " ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
