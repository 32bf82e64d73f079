"""Many photos from a web door: prepared, drawn and packed into one zip, with the progress told as it happens."""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from cartoon.errors import CartoonError, ResourceError
from cartoon.image import encode, read, write_atomically
from cartoon.jobs.archive import write_zip
from cartoon.jobs.draw import Artist
from cartoon.jobs.job import Attempt, Item
from cartoon.jobs.runner import run
from cartoon.portrait.scale import reduced
from cartoon.settings import Options

PREVIEW_SIDE: Final = 768
"""Long side, px, of the gallery's pictures; the zip holds the full ones."""
PREVIEW_QUALITY: Final = 90
KEPT_SECONDS: Final = 6 * 3600.0
"""Results older than this are removed when the next run starts."""

Stage = Literal["preparing", "drawing", "done", "cancelled"]


@dataclass(frozen=True)
class Failure:
    """One photo that could not be drawn: its name, the stable code and the sentence that says why."""

    name: str
    code: str
    message: str


@dataclass(frozen=True)
class Picture:
    """One photo that was drawn: its name, the full result and a small copy to show."""

    name: str
    path: Path
    preview: Path


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    stage: "preparing" checks that each file is a picture, "drawing" draws the good ones, then "done" or "cancelled".
    done, total: files of this stage. seconds_left: an estimate, once one photo was drawn. archive: the zip, at the end.
    """

    stage: Stage
    done: int
    total: int
    seconds_left: float | None = None
    pictures: tuple[Picture, ...] = ()
    failures: tuple[Failure, ...] = ()
    archive: Path | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """One person's run: a folder whose name nobody can guess, and the switch that stops it."""

    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def begin(cls, root: Path) -> "Run":
        """A fresh run under `root`; what older runs left there beyond KEPT_SECONDS is removed."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        limit = time.time() - KEPT_SECONDS
        for old in root.iterdir():
            if old.stat().st_mtime < limit:
                shutil.rmtree(old, ignore_errors=True)
        folder = root / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return cls(folder)

    def discard(self) -> None:
        """Stops the run and removes its files."""
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)


def draw_many(
    artist: Artist, items: Sequence[Item], options: Options, this: Run, max_pixels: int
) -> Iterator[Progress]:
    """Progress after every file; a bad file is a Failure and the rest goes on; after a cancel what was done is packed.

    Stops after the current photo once `this.stop` is set, and when the consumer closes the generator.
    """
    now = Progress("preparing", 0, len(items))
    good: list[Item] = []
    for item in items:
        yield now
        if this.stop.is_set():
            break
        failure = _flaw(item, max_pixels)
        if failure is None:
            good.append(item)
        failures = now.failures if failure is None else (*now.failures, failure)
        now = replace(now, done=now.done + 1, failures=failures)
    yield now
    now = replace(now, stage="drawing", done=0, total=len(good))
    started = time.perf_counter()
    attempts = run(good, options, this.folder / "pictures", artist, cancelled=this.stop.is_set, max_pixels=max_pixels)
    yield now
    for attempt in attempts:
        os.utime(this.folder)  # a run that still draws is not an old one
        now = _after(now, attempt, this.folder / "previews", time.perf_counter() - started)
        yield now
    archive = this.folder / "cartoons.zip" if now.pictures else None
    if archive is not None:
        out = this.folder / "pictures"
        write_zip(archive, [(picture.path, picture.path.relative_to(out).as_posix()) for picture in now.pictures])
    yield replace(now, stage="cancelled" if this.stop.is_set() else "done", seconds_left=None, archive=archive)


def item_of(path: Path, name: str) -> Item:
    """An uploaded file under the (clean) name its sender gave it."""
    return Item(path, PurePosixPath(name))


def _flaw(item: Item, max_pixels: int) -> Failure | None:
    # The whole file is decoded, not its header alone: a truncated photo is found before the first one is drawn.
    try:
        read(item.source, item.name, max_pixels)
    except CartoonError as error:
        return Failure(item.name, error.code, str(error))
    return None


def _after(now: Progress, attempt: Attempt, previews: Path, elapsed: float) -> Progress:
    done = now.done + 1
    now = replace(now, done=done, seconds_left=elapsed / done * (now.total - done))
    if attempt.error is not None:
        failure = Failure(attempt.item.name, attempt.error.code, str(attempt.error))
        return replace(now, failures=(*now.failures, failure))
    assert attempt.output is not None
    try:
        preview = _preview(attempt.output, previews)
    except ResourceError:  # the disk is full: the picture itself is there to show
        preview = attempt.output
    picture = Picture(attempt.item.name, attempt.output, preview)
    return replace(now, pictures=(*now.pictures, picture))


def _preview(picture: Path, previews: Path) -> Path:
    photo = read(picture)
    alpha = None if photo.alpha is None else reduced(photo.alpha, PREVIEW_SIDE)
    previews.mkdir(exist_ok=True)
    format: Literal["jpg", "webp"] = "jpg" if alpha is None else "webp"
    path = previews / f"{picture.name}.{format}"
    write_atomically(path, encode(reduced(photo.pixels, PREVIEW_SIDE), alpha, format, PREVIEW_QUALITY))
    return path
