"""What the user named, files, folders and zips, becomes Items; and every Item gets a place for its result."""

import logging
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cartoon.errors import InputError, OptionsError, ResourceError, UnreadableError
from cartoon.images import kinds
from cartoon.images.formats import SUFFIXES, OutputFormat
from cartoon.jobs.inputs import remote
from cartoon.jobs.inputs.names import fitting, with_ending
from cartoon.jobs.inputs.zips import kind_of, unpack
from cartoon.jobs.model import Item
from cartoon.options import Format, Options

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The items in order, and how many further files in folders and zips were ignored as not pictures by name."""

    items: tuple[Item, ...]
    ignored: int = 0


def collect(inputs: Sequence[Path], unpack_to: Path | None = None) -> list[Item]:
    """The Items of files, folders and zips; `find` says more."""
    return list(find(inputs, unpack_to).items)


def find(inputs: Sequence[Path], unpack_to: Path | None = None, out: Path | None = None) -> Found:
    """Turn files, folders and zips into Items, in the order given, folders and zips sorted; each file once.

    A named file is taken whatever its suffix. A folder is walked: hidden files, other suffixes and `out`, where
    results go, are left out. Zips are unpacked under `unpack_to`, an existing folder that the caller removes.
    What cannot be opened (an unreadable folder, a bad zip) becomes a refused Item.
    Raises InputError when an input does not exist or there is no picture at all, OptionsError when `out` is one
    of the input folders, ResourceError when the disk is full.
    """
    items: list[Item] = []
    ignored = 0
    for given in inputs:
        if remote.is_url(given):
            found = _under_url(given, out)
        elif os.path.isdir(given):  # unlike Path.is_dir, answers False where looking is not permitted
            found = _walk(given, out)
        elif not os.path.exists(given):
            raise InputError(f"{given}: no such file or folder; check the path.")
        elif given.suffix.lower() == ".zip":
            found = _unzip(given, unpack_to)
        else:
            found = Found((Item(given, PurePosixPath(given.name)),))
        if not found.items:
            log.warning("%s: no pictures in it (%d other files ignored).", remote.shown(given), found.ignored)
        items.extend(found.items)
        ignored += found.ignored
    if not items:
        where = ", ".join(remote.shown(given) for given in inputs[:3]) + (", ..." if len(inputs) > 3 else "")
        raise InputError(
            f"{where}: no pictures found ({ignored} other files ignored); "
            f"files ending in {', '.join(sorted(SUFFIXES))} are picked up."
        )
    return Found(tuple(_each_once(items)), ignored)


def output_format(item: Item, asked: Format) -> OutputFormat:
    """The format an item is written in: the one asked for, or for "keep" its own, told by its first bytes."""
    if asked != "keep":
        return asked
    try:
        if remote.is_url(item.source):
            kind = kinds.kind_of(remote.load(item.source, kinds.HEAD_BYTES), item.name)
        else:
            with item.source.open("rb") as stream:
                kind = kinds.kind_of(stream.read(kinds.HEAD_BYTES), item.name)
    except (OSError, InputError, ResourceError):
        return "png"  # the item will fail when it is read, with a sentence that says why
    return "jpg" if kind == "JPEG" else "webp" if kind == "WEBP" else "png"


def output_paths(items: Sequence[Item], options: Options, out: Path, given: Sequence[PurePosixPath] = ()) -> list[Path]:
    """Where each item's result goes: its relative path and stem under `out`, the suffix of the format.

    Names that would meet (a.jpg and a.png, also in another case or Unicode form) are told apart: a.png, a-2.png; so are
    they from those given before. A name that a file system does not take is made one that it does.
    Raises OptionsError when a result would replace one of the inputs.
    """
    wanted = [with_ending(fitting(item.relative), f".{output_format(item, options.format)}") for item in items]
    taken = {_folded(parent) for path in (*wanted, *given) for parent in path.parents} | set(map(_folded, given))
    plain: list[PurePosixPath | None] = []
    for path in wanted:  # plain names first, so that a-2.jpg keeps a-2.png whatever else there is
        free = _folded(path) not in taken
        taken.add(_folded(path))
        plain.append(path if free else None)
    final = [name or _numbered(path, taken) for name, path in zip(plain, wanted, strict=True)]
    for path in final:
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"Item.relative leads outside the output folder: {path}")
    outputs = [out / path for path in final]
    _keep_inputs(items, outputs)
    return outputs


def _walk(root: Path, out: Path | None) -> Found:
    leave_out = os.path.realpath(out) if out else None
    if os.path.realpath(root) == leave_out:
        raise OptionsError(f"{root} is both input and output: give another folder to -o, so that no photo is replaced.")
    items: list[Item] = []
    ignored = 0

    def refuse(problem: OSError) -> None:
        folder = Path(problem.filename)
        error = UnreadableError(f"{folder} cannot be listed ({problem.strerror}): check its permissions.")
        items.append(Item(folder, PurePosixPath(folder.name or "folder"), refused=error))

    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders[:] = sorted(_entered(Path(folder), subfolders, leave_out))
        for name in sorted(files):
            source = Path(folder, name)
            relative = PurePosixPath(source.relative_to(root).as_posix())
            kind = kind_of(relative)
            if kind == "picture" and not _is_special(source):
                items.append(Item(source, relative))
            elif kind != "hidden":
                ignored += 1
    return Found(tuple(items), ignored)


def _entered(folder: Path, names: list[str], leave_out: str | None) -> Iterator[str]:
    for name in names:
        if kind_of(PurePosixPath(name)) == "hidden" or os.path.realpath(folder / name) == leave_out:
            continue
        if (folder / name).is_symlink():
            log.warning("%s is a link to a folder and is not followed; name it as an input to draw it.", folder / name)
            continue
        yield name


def _under_url(root: Path, out: Path | None) -> Found:
    if root == out:
        raise OptionsError(f"{remote.shown(root)} is both input and output: give another folder to -o.")
    inner = out if out and out.is_relative_to(root) else None
    places = [place for place in remote.listed(root) if inner is None or not (root / place).is_relative_to(inner)]
    if places == [PurePosixPath()]:
        return Found((Item(root, PurePosixPath(root.name)),))
    kinds = [kind_of(place) for place in places]
    items = [Item(root / place, place) for place, kind in zip(places, kinds, strict=True) if kind == "picture"]
    return Found(tuple(items), kinds.count("other"))


def _unzip(path: Path, unpack_to: Path | None) -> Found:
    if unpack_to is None:
        raise InputError(f"{path.name} is a zip, which is not taken here: unpack it and give its pictures.")
    unpacked = unpack(path, unpack_to / f"zip-{len(list(unpack_to.iterdir()))}")
    return Found(unpacked.items, unpacked.ignored)


def _is_special(path: Path) -> bool:
    # Opening a pipe called x.jpg would wait for ever. A dangling link is kept: reading it gives a clear error.
    return path.exists() and not path.is_file()


def _each_once(items: list[Item]) -> Iterator[Item]:
    seen: set[str] = set()
    for item in items:
        place = os.path.join(os.path.realpath(item.source.parent), item.source.name)
        if place not in seen:
            seen.add(place)
            yield item


def _folded(path: PurePosixPath) -> str:
    # macOS and Windows keep a.png and A.png, and both Unicode forms of one name, in the same file.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def _numbered(path: PurePosixPath, taken: set[str]) -> PurePosixPath:
    number = 2
    while _folded(candidate := with_ending(path, f"-{number}{path.suffix}")) in taken:
        number += 1
    taken.add(_folded(candidate))
    return candidate


def _keep_inputs(items: Sequence[Item], outputs: Sequence[Path]) -> None:
    inputs = {identity for item in items for identity in (_identity(item.source), _identity(item.source, link=True))}
    sources = {item.source for item in items}
    for item, output in zip(items, outputs, strict=True):
        identity = _identity(output, link=True)
        if (identity and identity in inputs) or output in sources:
            raise OptionsError(
                f"{item.name} would be drawn over {output}, which is one of the inputs: give another folder to -o."
            )


def _identity(path: Path, link: bool = False) -> tuple[int, int] | None:
    try:
        found = path.lstat() if link else path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
