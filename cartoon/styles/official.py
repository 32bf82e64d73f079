"""Models of others, DCT-Net's own styles and Swin2SR: which there are, and how their files come here, verified.

The rows stand in assets/official.json. No digest is known to this project for files it may not ship, so the first ones
that come are trusted: their sha256 is written to `pins.json` beside them, and whatever is loaded or fetched under that
name later must match. A digest in a row is held to from the first.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, Literal
from zipfile import is_zipfile

from filelock import FileLock, Timeout

from cartoon.assets import ASSETS
from cartoon.errors import BusyError, InputError, OutputError, StorageError, StyleError
from cartoon.files import FULL, sync_folder, write_atomically
from cartoon.images.decode import read
from cartoon.models.dctnet.graphdef import Damaged, read_nodes
from cartoon.models.weights import LARGEST_FILE, sha256_of
from cartoon.styles.card import PAINTED, StyleCard
from cartoon.styles.download import Network, fetch

log = logging.getLogger(__name__)

PINS: Final = "pins.json"
WHOLE: Final = "cartoon_bg.pb"
HEAD: Final = "cartoon_h.pb"
MASK: Final = "alpha.jpg"
_ROWS: Final = ASSETS / "official.json"
_ALPHA_PIXELS: Final = 4096 * 4096
"""Pixels of an alpha picture at most; the official ones have 288 x 288."""

Watch = Callable[[str, int, int | None], None]
"""Told a file's name, its bytes that are here, and those that there will be, None where nobody said."""


@dataclass(frozen=True)
class OfficialFile:
    """One file of a style. sha256: None where it is trusted on first use."""

    name: str
    url: str
    sha256: str | None


@dataclass(frozen=True)
class OfficialStyle:
    """One row: a style, or an upscaler, that others trained. origin: its model card. model: its name there."""

    id: str
    title: str
    model: str
    licence: str
    origin: str
    files: tuple[OfficialFile, ...]

    @property
    def notice(self) -> str:
        """What a person is told before anything is fetched; several lines."""
        hosts = sorted({file.url.split("/")[2] for file in self.files})
        names = ", ".join(file.name for file in self.files)
        return (
            f"{self.id}: {self.title}\n  model    {self.model}\n  licence  {self.licence}\n"
            f"  card     {self.origin}\n  files    {names}, from {', '.join(hosts)}"
        )


def unwatched(name: str, done: int, total: int | None) -> None:
    """A Watch that nobody looks at."""


@lru_cache(maxsize=2)
def official(kind: Literal["styles", "upscalers"] = "styles") -> tuple[OfficialStyle, ...]:
    """All rows of a kind, in the order they are shown in. Raises StyleError when the list is missing or damaged."""
    try:
        rows = json.loads(_ROWS.read_text(encoding="utf-8"))[kind]
        return tuple(
            OfficialStyle(**{**row, "files": tuple(OfficialFile(**file) for file in row["files"])}) for row in rows
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StyleError(f"{_ROWS.name} cannot be read ({error}): restore the assets folder.") from error


def find(style: str) -> OfficialStyle:
    """The row of that id; raises StyleError that lists them."""
    rows = (*official(), *official("upscalers"))
    for row in rows:
        if row.id == style:
            return row
    known = ", ".join(row.id for row in rows)
    raise StyleError(f"style {style!r} cannot be added by name: use one of {known}.")


def added(styles_dir: Path) -> tuple[OfficialStyle, ...]:
    """The styles whose files lie in the folder of styles; whether they are the right ones `verified` tells."""
    return tuple(row for row in official() if (styles_dir / row.id / PINS).is_file())


def verified(row: OfficialStyle, styles_dir: Path) -> Path:
    """The folder of an added style, every file in it being the one that was pinned.

    Raises StyleError, which names the file and what to do, otherwise.
    """
    folder = styles_dir / row.id
    again = f"run `python -m cartoon styles add {row.id}` again"
    if not folder.is_dir():
        raise StyleError(f"style {row.id} is not here yet: run `python -m cartoon styles add {row.id}`.")
    pins = _pins(folder)
    for file in row.files:
        pin = file.sha256 or pins.get(file.name)
        if pin is None and file.name == MASK:
            continue
        if pin is None:
            raise StyleError(f"{file.name} of {row.id} has no sha256 in {PINS} to be checked against: {again}.")
        if not _matches(folder / file.name, pin):
            raise StyleError(
                f"{file.name} of {row.id} is missing or not the file that was added (its sha256 differs): {again}."
            )
    return folder


def add(
    row: OfficialStyle,
    styles_dir: Path,
    source: Path | None = None,
    watch: Watch = unwatched,
    network: Network | None = None,
) -> Path:
    """Put a style's files into `styles_dir/<id>` and return that folder; all of them at once, or nothing.

    source: a folder that holds them already (the mask may be missing there); None: they are fetched, and an
    interrupted call is gone on with. Nothing is done where they are in place and match their pins; what does not match
    is replaced by what does.
    Raises StyleError, ResourceError and its kinds, as `fetch`.
    """
    folder, aside = styles_dir / row.id, styles_dir / f".{row.id}.part"
    with _writing(row.id), _alone(styles_dir, row.id):
        pins = _pins(folder) | {file.name: file.sha256 for file in row.files if file.sha256}
        wanted = [f for f in row.files if source is None or f.name in pins or _given(f, source)]
        if all(_matches(folder / file.name, pins.get(file.name, "")) for file in wanted):
            return folder
        if source is not None:
            shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(exist_ok=True)
        here = _pins(aside)
        for file in wanted:
            pin = pins.get(file.name)
            came = here.get(file.name, "")
            if pin in (None, came) and _matches(aside / file.name, came):
                continue  # in an interrupted call
            if source is not None:
                _copy(source / file.name, aside / file.name, pin)
            else:
                _fetch(file, aside / file.name, pin, watch, network or Network())
            here[file.name] = sha256_of(aside / file.name)
            write_atomically(aside / PINS, json.dumps(here, indent=1).encode())
        _swap(aside, folder)
    log.info("style %s added", row.id)
    return folder


def _given(file: OfficialFile, source: Path) -> bool:
    """Whether a file is taken from a folder: a style draws without its mask, heads are then blended in softly."""
    return file.name != MASK or (source / MASK).exists()


def _fetch(file: OfficialFile, into: Path, pin: str | None, watch: Watch, network: Network) -> None:
    if pin is not None and file.sha256 is None:
        network = replace(
            network, otherwise=f"{network.otherwise}, or remove {PINS} from the style's folder to trust what is new"
        )
    fetch(file.url, into, sha256=pin, limit=LARGEST_FILE, watch=partial(watch, file.name), network=network)
    try:
        _check(into)
    except StyleError:
        into.unlink()
        raise


def _copy(given: Path, into: Path, pin: str | None) -> None:
    """Take a file that a user has. Raises StyleError where it is missing or not what it should be."""
    name, folder = given.name, given.parent
    try:
        if not given.is_file():  # nor a pipe, which would be waited on for ever
            raise StyleError(f"{name} is missing from {folder}: name the folder that holds it.")
        with given.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise StyleError(f"{name} in {folder} cannot be read ({reason}): check its permissions.") from problem
    if len(data) > LARGEST_FILE:
        raise StyleError(f"{name} in {folder} has more than {LARGEST_FILE >> 20} MB, which no such file has: check it.")
    write_atomically(into, data)
    if pin is not None and not _matches(into, pin):
        raise StyleError(
            f"{name} in {folder} is not the file that was added before (its sha256 differs): give that one, or remove "
            f"{PINS} from the style's folder to trust what is new."
        )
    _check(into)


def _check(path: Path) -> None:
    """Raise StyleError for what is no whole graph or picture: a first file has no sha256 that could tell."""
    try:
        if path.suffix == ".pb":
            read_nodes(path.read_bytes())
        elif path.suffix == ".pth":  # torch.save's kind of zip, whose end holds its contents; nothing is unpickled here
            if not is_zipfile(path):
                raise StyleError(f"{path.name} is no whole file of PyTorch's: get the file again.")
        else:
            read(path, max_pixels=_ALPHA_PIXELS)
    except Damaged as problem:
        raise StyleError(f"{path.name} is no whole TensorFlow graph, it {problem}: get the file again.") from problem
    except InputError as problem:
        raise StyleError(f"{path.name} is no whole picture: get the file again.") from problem


def _swap(aside: Path, folder: Path) -> None:
    """Put a finished folder in place of whatever is there."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(aside)
    if folder.exists():
        os.replace(folder, old)
    os.replace(aside, folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _pins(folder: Path) -> dict[str, str]:
    """What was written down when the files came; nothing where that cannot be read."""
    try:
        pins = json.loads((folder / PINS).read_text(encoding="utf-8"))
        return {str(name): str(pin) for name, pin in pins.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _matches(path: Path, pin: str) -> bool:
    try:
        return path.is_file() and sha256_of(path) == pin
    except OSError:
        return False


@contextmanager
def _alone(styles_dir: Path, style: str) -> Iterator[None]:
    """Keep other processes from adding the same style meanwhile."""
    styles_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(styles_dir / f".{style}.lock", timeout=0, thread_local=False)
    try:
        with lock:
            yield
    except Timeout as busy:
        raise BusyError(f"{style} is being added by another process: wait until it has ended.") from busy


@contextmanager
def _writing(style: str) -> Iterator[None]:
    """Turn what the system says into an error that names the style."""
    try:
        yield
    except OSError as problem:
        if problem.errno in FULL:
            raise StorageError(f"{style} does not fit on the disk: free some space and run again.") from problem
        reason = problem.strerror or str(problem)
        raise OutputError(f"{style} cannot be put into the styles folder ({reason}): check the folder.") from problem


def cards_in(styles_dir: Path) -> tuple[StyleCard, ...]:
    """The added styles as cards among the others; their files are checked when they are loaded."""
    cards = []
    for row in added(styles_dir):
        folder, pins = styles_dir / row.id, _pins(styles_dir / row.id)
        if WHOLE in pins and HEAD in pins:
            parts = [
                StyleCard(row.id, row.title, str(folder / name), pins[name], row.licence, row.origin, 16, 0.0, PAINTED)
                for name in (WHOLE, HEAD)
            ]
            cards.append(replace(parts[0], head=parts[1], mask=str(folder / MASK) if MASK in pins else ""))
    return tuple(cards)
