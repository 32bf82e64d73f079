"""The values a job is made of: what to draw (Item) and what became of it (Attempt)."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cartoon.errors import CartoonError


@dataclass(frozen=True)
class Item:
    """One input: where it lies and the relative path, suffix included, that its result keeps."""

    source: Path
    relative: PurePosixPath

    @property
    def name(self) -> str:
        """The name a person knows the file by."""
        return str(self.relative)


@dataclass(frozen=True)
class Attempt:
    """What became of one item: `output` when it was drawn, `error` when it failed, never both.

    seconds: wall-clock from opening the file to its result lying in place. skipped: the output was already there.
    """

    item: Item
    output: Path | None = None
    error: CartoonError | None = None
    seconds: float = 0.0
    faces: int = 0
    skipped: bool = False
