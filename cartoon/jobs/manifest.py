"""What a job was asked, on disk: `manifest.json` says it once, `items.jsonl` lists its inputs, one to a line."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, Final

from cartoon.errors import UnreadableError, restored
from cartoon.image import write_atomically
from cartoon.jobs.job import Entry, Item, Order
from cartoon.settings import Options

MANIFEST: Final = "manifest.json"
ITEMS: Final = "items.jsonl"


def write(folder: Path, order: Order, entries: Iterable[Entry]) -> None:
    """Put both files into an existing folder; the manifest last, so that where it is, the job is whole.

    Raises StorageError when the disk is full.
    """
    write_atomically(folder / ITEMS, "".join(_line(entry) for entry in entries).encode())
    told = {**asdict(order), "out": str(order.out)}
    write_atomically(folder / MANIFEST, json.dumps(told, indent=1).encode())


def append(folder: Path, entries: Iterable[Entry]) -> None:
    """Add items: what has appeared among the inputs since, or has changed there. Lasts once this returns."""
    lines = "".join(_line(entry) for entry in entries)
    with (folder / ITEMS).open("r+b") as file:
        file.truncate(_whole(file.read()))  # a line that a crash cut off
        file.seek(0, os.SEEK_END)
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


def read_order(folder: Path) -> Order:
    """The order of a job's folder; raises UnreadableError where that is none, or not one of this version."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        options = Options(**told.pop("options"))
        return Order(**{**told, "inputs": tuple(told["inputs"]), "out": Path(told["out"]), "options": options})
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise UnreadableError(f"{folder} holds no job that this version can read; give another folder.") from problem


def read_entries(folder: Path) -> list[Entry]:
    """The items of a job's folder, in order; of two lines for one number the later counts."""
    found: dict[int, Entry] = {}
    for told in lines_of(folder / ITEMS):
        refused = restored(*told["refused"]) if told.get("refused") else None
        item = Item(Path(told["source"]), PurePosixPath(told["path"]), refused)
        found[told["item"]] = Entry(
            told["item"],
            item,
            PurePosixPath(told["output"]),
            told["sha256"],
            told["bytes"],
            told["changed"],
            told.get("taken", False),
        )
    return [found[number] for number in sorted(found)]


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines, as far as they are whole: a crash may have cut the last one off."""
    with path.open("rb") as file:
        for line in file:
            try:
                told = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                continue
            if isinstance(told, dict):
                yield told


def _line(entry: Entry) -> str:
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
    return json.dumps(told) + "\n"


def _whole(data: bytes) -> int:
    return data.rfind(b"\n") + 1
