"""The values a job is made of: what to draw (Item) and what became of it (Attempt)."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cartoon.errors import CartoonError


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
class Attempt:
    """What became of one item: `output` when it was drawn, `error` when it failed, never both.

    seconds: spent on this photo: opening, drawing, writing; waiting for its turn is not counted.
    skipped: the output was already there. notes: the photo's and the drawing's own ("no face found: ...").
    """

    item: Item
    output: Path | None = None
    error: CartoonError | None = None
    seconds: float = 0.0
    faces: int = 0
    skipped: bool = False
    notes: tuple[str, ...] = ()
