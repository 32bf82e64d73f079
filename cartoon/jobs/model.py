"""The values a job is made of: what was asked (Order), each input (Item, Entry), what became of it (Attempt); pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from cartoon.errors import (
    CartoonError,
    OutputError,
    QuarantineError,
    ResourceError,
    StorageError,
    WorkerLostError,
)
from cartoon.options import FIELDS, Options

Outcome = Literal["done", "failed", "skipped", "quarantined"]
Gate = Literal["flag", "refuse", "off"]
"""A drawing that fails the quality gate with every fallback is delivered and flagged, or fails; "off": no gate."""
State = Literal["waiting", "running", "paused", "cancelled", "finished", "damaged"]
"""damaged: its files are not what was written; what is drawn can be fetched, nothing more is drawn."""

MOST_TRIES: Final = 3
"""Of a photo whose failure may pass."""
BACK_OFF: Final = (1.0, 5.0)
"""Seconds before the second and the third try."""
How = Literal["company", "alone", "apart"]
"""How a photo is drawn: beside others, with nothing else of its job under way, or in a process of its own."""
SUSPICIOUS: Final = 2
"""Deaths over a photo that was drawn alone before it is suspected. Twice may be chance: somebody kills the program."""
LAST_TRY_AFTER: Final = (10.0, 60.0, 300.0)
"""Seconds that the program has run before a suspect's last try in a process of its own, by how many of those were cut
short because the whole program died. So a program that is killed soon after each start never meets a last try; and one
that dies over every one of them, with all of its processes, ends with the photo left out."""


@dataclass(frozen=True)
class Item:
    """One input: where it lies and the relative path, suffix included, that its result keeps.

    refused: why it cannot even be opened (a damaged zip, a member with an unsafe path); such an item is never
    read and becomes a failed Attempt, so that a batch reports it in its place.
    """

    source: Path
    relative: PurePosixPath
    refused: CartoonError | None = None

    @property
    def name(self) -> str:
        """The name a person knows the file by."""
        return str(self.relative)


@dataclass(frozen=True)
class Entry:
    """An Item as the manifest holds it.

    number: its place in the job, from 0. output: under the job's output folder. sha256, size (bytes), changed (mtime,
    ns): of the input when it was scanned; None and 0 where it could not be read. taken: another job's or a person's
    file lay at `output` when the job began, so the item is skipped.
    """

    number: int
    item: Item
    output: PurePosixPath
    sha256: str | None = None
    size: int = 0
    changed: int = 0
    taken: bool = False

    @property
    def twin(self) -> tuple[str, str] | None:
        """Equal for entries that have the same picture as their result."""
        return None if self.sha256 is None else (self.sha256, self.output.suffix)


@dataclass(frozen=True)
class Order:
    """What was asked, once and for all.

    inputs: as given, absolute. out: the output folder, absolute. model: sha256 of the style's weights. made: seconds
    since 1970. owner: whose it is, where a door has several users. priority: its share of the machine beside others.
    """

    id: str
    inputs: tuple[str, ...]
    out: Path
    options: Options
    model: str
    version: str
    made: float
    gate: Gate = "flag"
    overwrite: bool = False
    owner: str = ""
    priority: int = 1
    title: str = ""


@dataclass(frozen=True)
class Task:
    """One photo to draw, in any process.

    number: of the item. source: its file. name: for sentences. root, output: the folder of all results, which must
    exist, and the result's place in it. mark: begins the names of temporary files.
    """

    number: int
    source: str
    name: str
    root: str
    output: str
    options: Options
    gate: Gate
    max_pixels: int
    mark: str = ""


@dataclass(frozen=True)
class Result:
    """What a worker says of a Task: an error, or what lies in the output file now."""

    error: CartoonError | None = None
    sha256: str = ""
    size: int = 0
    seconds: float = 0.0
    faces: int = 0
    score: float | None = None
    flaws: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """What the job records of one item: `output` when there is a picture, `error` when it failed, never both.

    The second of three forms that a finished photo has: a worker's Result before it, a row of the report after it; a
    line of the journal is an Attempt in JSON. sha256, size: of the output. seconds: spent on this photo: opening,
    drawing, writing; waiting for its turn is not counted. tries: how many it took. score, flaws: what the quality gate
    said (codes). notes: the photo's and the drawing's own ("No face found: ..."). again: it was there already when the
    job was resumed.
    """

    entry: Entry
    outcome: Outcome = "done"
    output: Path | None = None
    error: CartoonError | None = None
    sha256: str = ""
    size: int = 0
    seconds: float = 0.0
    faces: int = 0
    tries: int = 1
    score: float | None = None
    flaws: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    again: bool = False

    @classmethod
    def of(cls, entry: Entry, result: Result, output: Path, tries: int) -> "Attempt":
        """What a worker's last word on an item makes; output: where its picture lies, if there is one."""
        if result.error:
            outcome: Outcome = "quarantined" if isinstance(result.error, QuarantineError) else "failed"
            return cls(entry, outcome, error=result.error, seconds=result.seconds, tries=tries)
        return cls(
            entry,
            "done",
            output,
            sha256=result.sha256,
            size=result.size,
            seconds=result.seconds,
            faces=result.faces,
            tries=tries,
            score=result.score,
            flaws=result.flaws,
            notes=result.notes,
        )

    @property
    def item(self) -> Item:
        """The input it is of."""
        return self.entry.item

    @property
    def skipped(self) -> bool:
        """Nothing was drawn now, and nothing went wrong."""
        return self.again or self.outcome == "skipped"


@dataclass(frozen=True)
class Counts:
    """How many items of a job came to what; flagged ones are among those done."""

    total: int
    done: int = 0
    failed: int = 0
    skipped: int = 0
    quarantined: int = 0
    flagged: int = 0

    def changed(self, attempt: Attempt, by: int) -> "Counts":
        """With `by` more (or, negative, fewer) items that came to what this one did."""
        flagged = self.flagged + by * (attempt.outcome == "done" and bool(attempt.flaws))
        return replace(self, flagged=flagged, **{attempt.outcome: getattr(self, attempt.outcome) + by})

    @property
    def settled(self) -> int:
        """Items with an outcome."""
        return self.done + self.failed + self.skipped + self.quarantined

    @property
    def remaining(self) -> int:
        """Items without one."""
        return self.total - self.settled


@dataclass(frozen=True)
class Losses:
    """How often a process died while it drew a photo: beside others, alone, apart.

    proven: the last time it had a process of its own, and that one alone died.
    """

    company: int = 0
    alone: int = 0
    apart: int = 0
    proven: bool = False

    @property
    def all(self) -> int:
        """How often in all."""
        return self.company + self.alone + self.apart

    def after(self, how: How, whole: bool) -> "Losses":
        """With one more. whole: the program itself died, so it may not have been the photo's doing."""
        proven = self.proven or (how == "apart" and not whole)
        return replace(self, proven=proven, **{how: getattr(self, how) + 1})


def next_try(seen: Losses) -> How | None:
    """How a photo is drawn after these losses; None: not any more, it is to blame."""
    if seen.proven or seen.apart >= len(LAST_TRY_AFTER):
        return None
    if seen.alone >= SUSPICIOUS:
        return "apart"
    return "alone" if seen.all else "company"


def wait_before_retry(error: CartoonError, tries: int) -> float | None:
    """Seconds to wait before a further try after `tries` failed with this error; None to stop.

    Only what may pass is tried again: not a damaged photo, not a full disk (for that the whole job waits), and not a
    lost worker, whose photos are counted as Losses instead.
    """
    if not isinstance(error, ResourceError) or isinstance(error, (StorageError, OutputError, WorkerLostError)):
        return None
    return BACK_OFF[tries - 1] if tries < MOST_TRIES else None


def differences(one: Order, other: Order) -> list[str]:
    """In words, what two orders for the same inputs ask differently; what does not change a picture is left out."""
    told: list[str] = []
    if one.options.style != other.options.style:
        told.append(f"style {one.options.style}, now {other.options.style}")
    elif one.model != other.model:
        told.append(f"other weights of the style {one.options.style}")
    for row in FIELDS:
        if row.kind != "style" and row.tells(one.options, other.options):
            told.append(f"{row.name} {getattr(one.options, row.name)}, now {getattr(other.options, row.name)}")
    if one.gate != other.gate:
        told.append(f"quality gate {one.gate}, now {other.gate}")
    return told


def leaders(entries: Sequence[Entry]) -> dict[int, int]:
    """For each entry whose photo an earlier one has too, byte for byte: that earlier one's number."""
    first: dict[tuple[str, str], int] = {}
    following: dict[int, int] = {}
    for entry in entries:
        if entry.twin is None or entry.taken or entry.item.refused:
            continue
        leader = first.setdefault(entry.twin, entry.number)
        if leader != entry.number:
            following[entry.number] = leader
    return following
