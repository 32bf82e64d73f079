"""Files that say themselves whether they are what was written: JSON, each line or document with a checksum of its own.

A line is `{"item": 3, ..., "sum": "1c291ca3"}`: the CRC-32 (ISO 3309) of its folder's name, which is its job's, and of
the line as it would be without the sum; so a line of another job is none of this one's. What earlier versions wrote has
no sum; it is taken as it is, up to the first line that has one.
"""

import errno
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

MOST_LINE: Final = 4 << 20
"""Bytes; a longer line is none of ours."""
MOST_DOCUMENT: Final = 64 << 20
_MARK: Final = b', "sum": "'
_PLAIN: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_WHY: Final = {errno.ELOOP: "is a link", errno.EMLINK: "is a link", errno.ENOENT: "is missing"}


class SpoiltError(Exception):
    """A file is not what was written; the message says what is wrong, as the predicate of a sentence."""


@dataclass(frozen=True)
class Line:
    """One whole line. told: what it says, None when it is not what was written. sealed: its checksum was right."""

    number: int
    told: dict[str, Any] | None
    sealed: bool = False


def sealed(told: dict[str, Any], job: str) -> bytes:
    """The values as a line with its checksum. job: the name of its folder."""
    text = json.dumps(told).encode()
    return text[:-1] + _MARK + b'%08x"}\n' % _sum(text, job)


def opened_plainly(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """A descriptor of an ordinary file; raises SpoiltError for a link, a folder or a pipe, which would be waited on.

    Raises OSError for what else keeps it from being opened.
    """
    try:
        file = os.open(path, flags | _PLAIN, mode)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise SpoiltError(_WHY.get(problem.errno, "is no ordinary file")) from problem
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise SpoiltError("is no ordinary file")
    return file


def lines_of(path: Path, known: frozenset[str]) -> Iterator[Line]:
    """Every line that ends; one that a crash cut off, the last, is left out. known: the keys of lines without a sum.

    Raises SpoiltError where the file cannot be read at all.
    """
    demanded = False
    with _reading(path) as file:
        number = 0
        while line := file.readline(MOST_LINE):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) == MOST_LINE:
                    yield Line(number, None)
                return
            told = _read(line, known, path.parent.name)
            demanded = demanded or told.sealed
            yield Line(number, told.told if told.sealed == demanded else None, told.sealed)


def document(told: dict[str, Any], job: str) -> bytes:
    """The values as a file of its own, with its checksum, for people to read as well. job: the name of its folder."""
    return json.dumps({**told, "sum": _sum_of(told, job)}, indent=1).encode()


def read_document(path: Path, known: frozenset[str]) -> dict[str, Any]:
    """The values of such a file. known: the keys of one without a sum. Raises SpoiltError."""
    with _reading(path) as file:
        data = file.read(MOST_DOCUMENT)
    told = _object(data)
    if told is None:
        raise SpoiltError("is not what was written")
    asked = told.pop("sum", None)
    if (asked is None and not told.keys() <= known) or (asked is not None and asked != _sum_of(told, path.parent.name)):
        raise SpoiltError("is not what was written")
    return told


def text(told: dict[str, Any], name: str, default: str | None = None) -> str:
    """A string; raises ValueError for anything else."""
    value = told.get(name, default)
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def texts(told: dict[str, Any], name: str) -> tuple[str, ...]:
    """Strings, none where the key is missing; raises ValueError."""
    value = told.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(name)
    return tuple(value)


def whole(told: dict[str, Any], name: str, default: int | None = None, least: int = 0) -> int:
    """A whole number of at most 64 bits; raises ValueError."""
    value = told.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 64:
        raise ValueError(name)
    return value


def real(told: dict[str, Any], name: str) -> float:
    """A finite number; raises ValueError."""
    value = told.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(name)
    return float(value)


def truth(told: dict[str, Any], name: str) -> bool:
    """True or false, false where the key is missing; raises ValueError."""
    value = told.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(name)
    return value


def _reading(path: Path) -> BinaryIO:
    try:
        return os.fdopen(opened_plainly(path), "rb")
    except OSError as problem:
        why = _WHY.get(problem.errno or 0, f"cannot be read ({problem.strerror})")
        raise SpoiltError(why) from problem


def _read(line: bytes, known: frozenset[str], job: str) -> Line:
    body, mark, rest = line.rpartition(_MARK)
    told = _object(line)
    if told is None:
        return Line(0, None, sealed=bool(mark))
    if mark:
        told.pop("sum", None)
        whole_one = rest == b'%08x"}\n' % _sum(body + b"}", job)
        return Line(0, told if whole_one else None, sealed=True)
    return Line(0, told if told.keys() <= known else None)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(data.decode("ascii"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _sum_of(told: dict[str, Any], job: str) -> str:
    return f"{_sum(json.dumps(told, sort_keys=True).encode(), job):08x}"


def _sum(text: bytes, job: str) -> int:
    return zlib.crc32(text, zlib.crc32(job.encode("utf-8", "surrogateescape")))
