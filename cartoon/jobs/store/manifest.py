"""What a job was asked, on disk: `manifest.json` says it once, `items.jsonl` lists its inputs, one to a line."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_args

from cartoon.errors import CartoonError, restored
from cartoon.files import write_atomically
from cartoon.jobs.model import Entry, Gate, Item, Order
from cartoon.jobs.store.checksums import (
    SpoiltError,
    document,
    lines_of,
    opened_plainly,
    read_document,
    real,
    sealed,
    text,
    texts,
    truth,
    whole,
)
from cartoon.options import Options

MANIFEST: Final = "manifest.json"
COPY: Final = "manifest.copy.json"
"""The same again: where the manifest is damaged it says whose job it was."""
ITEMS: Final = "items.jsonl"
BEFORE_1970: Final = -(1 << 63)
"""The earliest time a file may have, ns."""
YEAR_3000: Final = 32_503_680_000
"""Seconds since 1970; a calendar does not reach much further."""
LOST_LINES: Final = 1000
"""A number may be so much larger than there are lines; one that is larger still is none of ours."""
_ORDER_KEYS: Final = frozenset(Order.__dataclass_fields__)
_ITEM_KEYS: Final = frozenset("item path source output sha256 bytes changed taken refused".split())


@dataclass(frozen=True, eq=False)
class Listed:
    """The items of a job, by their numbers. wrong: sentences about what of the file is not what was written."""

    entries: dict[int, Entry] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The order of a job. items: how many it began with at least; 0 where that was not written down."""

    order: Order
    items: int


def write(folder: Path, order: Order, entries: Iterable[Entry]) -> None:
    """Put the files into an existing folder; the manifest last, so that where it is, the job is whole.

    Raises StorageError when the disk is full.
    """
    lines = [sealed(_told(entry), folder.name) for entry in entries]
    write_atomically(folder / ITEMS, b"".join(lines))
    told = document({**asdict(order), "out": str(order.out), "items": len(lines)}, folder.name)
    for name in (COPY, MANIFEST):
        write_atomically(folder / name, told)


def append(folder: Path, entries: Iterable[Entry]) -> None:
    """Add items: what has appeared among the inputs since, or has changed there. Lasts once this returns."""
    with os.fdopen(opened_plainly(folder / ITEMS, os.O_RDWR), "r+b") as file:
        file.truncate(_whole(file.read()))  # a line that a crash cut off
        file.seek(0, os.SEEK_END)
        file.write(b"".join(sealed(_told(entry), folder.name) for entry in entries))
        file.flush()
        os.fsync(file.fileno())


def read_order(folder: Path, name: str = MANIFEST) -> Asked:
    """The order of a job's folder, from its manifest or the copy; raises SpoiltError where it does not say one."""
    told = read_document(folder / name, _ORDER_KEYS)
    try:
        items = whole(told, "items", 0)
        told.pop("items", None)
        made, gate = real(told, "made"), text(told, "gate", "flag")
        if gate not in get_args(Gate) or not told.keys() <= _ORDER_KEYS or not 0 <= made < YEAR_3000:
            raise ValueError
        order = Order(
            text(told, "id"),
            texts(told, "inputs"),
            Path(_plain(text(told, "out"))),
            Options(**told["options"]),
            text(told, "model"),
            text(told, "version"),
            made,
            gate,  # type: ignore[arg-type]  # one of its choices, as was just seen
            truth(told, "overwrite"),
            text(told, "owner", ""),
            whole(told, "priority", 1, least=1),
            text(told, "title", ""),
        )
    except (ValueError, TypeError, KeyError, CartoonError) as problem:
        raise SpoiltError("says nothing that this version can read") from problem
    return Asked(order, items)


def read_entries(folder: Path, least: int = 0) -> Listed:
    """The items of a job's folder, as far as they can be told; of two lines for one number the later counts.

    least: how many there have to be.
    """
    found: dict[int, Entry] = {}
    wrong: list[str] = []
    last = 0
    try:
        for line in lines_of(folder / ITEMS, _ITEM_KEYS):
            last = line.number
            entry = _entry(line.told)
            before = found.get(entry.number, entry) if entry else None
            if entry is None or before is None or not _same_photo(entry, before):
                wrong.append(f"line {line.number} of {ITEMS} is not what was written")
            else:
                found[entry.number] = entry
    except SpoiltError as spoilt:
        wrong.append(f"{ITEMS} {spoilt}")
    bound = max(last, least) + LOST_LINES
    found = {number: entry for number, entry in found.items() if number < bound}
    missing = max(least, 1 + max(found, default=-1)) - len(found)
    if missing and not wrong:
        wrong.append(f"{ITEMS} lacks {missing} of its lines")
    return Listed(found, tuple(wrong))


def _entry(told: dict[str, Any] | None) -> Entry | None:
    """The entry that a line tells; None where it tells none."""
    if told is None:
        return None
    try:
        refused = texts(told, "refused")
        item = Item(
            Path(_plain(text(told, "source"))),
            PurePosixPath(_plain(text(told, "path"))),
            restored(*refused) if refused else None,
        )
        output = PurePosixPath(_plain(text(told, "output")))
        if output.is_absolute() or ".." in output.parts or not output.name:
            return None
        sha256 = None if told["sha256"] is None else text(told, "sha256")
        number, size, changed = whole(told, "item"), whole(told, "bytes"), whole(told, "changed", least=BEFORE_1970)
        return Entry(number, item, output, sha256, size, changed, truth(told, "taken"))
    except (ValueError, TypeError, KeyError):
        return None


def _same_photo(one: Entry, other: Entry) -> bool:
    """Whether two lines for one number tell of the same file, seen at two times."""
    return (one.item.relative, one.item.source, one.output) == (other.item.relative, other.item.source, other.output)


def _told(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {
        "item": entry.number,
        "path": str(entry.item.relative),
        "source": str(entry.item.source),
        "output": str(entry.output),
        "sha256": entry.sha256,
        "bytes": entry.size,
        "changed": entry.changed,
    }
    if entry.taken:
        told["taken"] = True
    if entry.item.refused:
        told["refused"] = (entry.item.refused.code, str(entry.item.refused))
    return told


def _plain(path: str) -> str:
    if "\0" in path:
        raise ValueError("path")
    return path


def _whole(data: bytes) -> int:
    return data.rfind(b"\n") + 1
