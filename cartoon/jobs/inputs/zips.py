"""Zip files in and out: a zip of photos unpacked safely, results packed into one zip."""

import lzma
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from cartoon.errors import CartoonError, OptionsError, StorageError, TooLargeError, UnreadableError, UnsupportedError
from cartoon.files import FULL
from cartoon.images.formats import SUFFIXES
from cartoon.jobs.inputs.names import fitting
from cartoon.jobs.model import Item

MAX_MEMBERS: Final = 100_000
MAX_MEMBER_BYTES: Final = 1 << 30
MAX_RATIO: Final = 100
"""Unpacked over packed size. Photos pack about 1:1, flat screenshots 1:50; a bomb reaches deflate's 1:1032."""
RATIO_SLACK_BYTES: Final = 64 << 20
"""A zip that unpacks to less than this is harmless whatever its ratio."""

_CHUNK_BYTES: Final = 1 << 20
_ENCRYPTED: Final = 0x1  # bit 0 of a member's flags (APPNOTE.TXT 4.4.4)
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
"""What zipfile raises over damaged bytes (ValueError: names that are not valid UTF-8)."""


@dataclass(frozen=True)
class Unpacked:
    """What a zip held: items in the order of their names, and how many members were not pictures by name."""

    items: tuple[Item, ...]
    ignored: int = 0


def kind_of(relative: PurePosixPath) -> Literal["picture", "hidden", "other"]:
    """Whether a file found in a folder or a zip is drawn, by its path alone; hidden is `.x` and macOS's extras."""
    if any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in relative.parts):
        return "hidden"
    return "picture" if relative.suffix.lower() in SUFFIXES else "other"


def unpack(path: Path, into: Path, name: str | None = None) -> Unpacked:
    """Unpack the pictures of a zip into `into`, which it makes; what cannot be used becomes a refused Item.

    name: what its owner calls it, where that is not its file's name. Members are stored under numbers, never under
    their own names, so a hostile name leads nowhere; the name lives on in Item.relative, cut to what file systems take.
    Raises StorageError when the disk is full, OSError when `into` cannot be written.
    """
    name = name or path.name
    try:
        stream = path.open("rb")
    except OSError as problem:
        error = UnreadableError(f"{name}: {problem.strerror}; check the file and its permissions.")
        return _refuse(path, name, error)
    with stream:
        try:
            bundle = zipfile.ZipFile(stream)
        except (*_DAMAGE, OSError):  # OSError: offsets that point outside the file
            error = UnreadableError(f"{name} is not a whole zip file: copy or download it again.")
            return _refuse(path, name, error)
        except NotImplementedError:
            refused = UnsupportedError(f"{name} is a kind of zip that is not read: unpack it first.")
            return _refuse(path, name, refused)
        with bundle:
            files = sorted((m for m in bundle.infolist() if not m.is_dir()), key=lambda member: member.filename)
            kinds = [kind_of(_relative(member)) for member in files]
            pictures = [member for member, kind in zip(files, kinds, strict=True) if kind == "picture"]
            refusal = _too_large(path, name, pictures)
            if refusal:
                return _refuse(path, name, refusal)
            into.mkdir()
            items = tuple(_unpack_one(bundle, m, name, into / f"{i:06d}") for i, m in enumerate(pictures))
            return Unpacked(items, ignored=kinds.count("other"))


def write_zip(path: Path, files: Iterable[tuple[Path, str]], mark: str = "") -> None:
    """Pack files (where each lies, its name inside) into one zip, stored, ZIP64 where needed; atomically.

    mark: begins the temporary file's name.

    The parent folder must exist. Raises StorageError when the disk is full, OSError when a file cannot be read.
    """
    temporary = path.parent / f".{mark}{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as stream:
            # Pictures are packed already: storing them is as small and many times faster.
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True, strict_timestamps=False) as bundle:
                for source, name in files:
                    bundle.write(source, _encodable(name))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as problem:
        raise _disk_full(path.name, problem) or problem from problem
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: Path, names: Collection[str], inputs: Iterable[Path], overwrite: bool) -> None:
    """Refuse to write a zip over something else than an earlier result of the same run, or ever over an input.

    names: what the new zip may hold; a zip at `path` with no other names is an earlier result.
    Raises OptionsError that says what is in the way.
    """
    if path.is_dir():
        raise OptionsError(f"{path} is a folder: name a file for --zip.")
    if not path.exists():
        return
    if any(given.exists() and given.samefile(path) for given in inputs):
        raise OptionsError(f"{path} is one of the inputs: name another file for --zip.")
    held = _names_in(path)
    if not overwrite and (held is None or not held <= set(map(_encodable, names))):
        raise OptionsError(f"{path} is already there and holds something else: give --overwrite or another --zip.")


def _unpack_one(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, zip_name: str, target: Path) -> Item:
    relative = _relative(member)
    name = f"{relative} in {zip_name}"
    if relative.is_absolute() or ".." in relative.parts or _DRIVE.match(relative.parts[0]):
        error: CartoonError = UnsupportedError(f"{name} has a path that leads outside the zip: pack it again.")
        return Item(target, PurePosixPath(relative.name), refused=error)
    if member.flag_bits & _ENCRYPTED:
        return Item(target, relative, refused=UnsupportedError(f"{name} needs a password: pack it without one."))
    try:
        _copy(bundle, member, target)
    except (*_DAMAGE, OSError) as problem:
        full = _disk_full(zip_name, problem)
        if full:
            raise full from problem
        return Item(target, relative, refused=UnreadableError(f"{name} is damaged: pack it again."))
    except NotImplementedError:
        error = UnsupportedError(f"{name} is packed in a way that is not read: unpack the zip and give the folder.")
        return Item(target, relative, refused=error)
    return Item(target, relative)


def _copy(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    # zipfile yields no more bytes than the member's header declares, and `_too_large` has added those up.
    with bundle.open(member) as packed, target.open("wb") as plain:
        while chunk := packed.read(_CHUNK_BYTES):
            plain.write(chunk)


def _too_large(path: Path, name: str, pictures: list[zipfile.ZipInfo]) -> TooLargeError | None:
    if len(pictures) > MAX_MEMBERS:
        return TooLargeError(f"{name} holds {len(pictures)} pictures: split it into zips of {MAX_MEMBERS} at most.")
    largest = max(pictures, key=lambda member: member.file_size, default=None)
    if largest and largest.file_size > MAX_MEMBER_BYTES:
        return TooLargeError(f"{name}: {_relative(largest)} is larger than 1 GiB unpacked: leave it out.")
    total = sum(member.file_size for member in pictures)
    if total > RATIO_SLACK_BYTES + MAX_RATIO * path.stat().st_size:
        return TooLargeError(
            f"{name} would unpack to {total >> 20} MiB, over {MAX_RATIO} times its size, which no zip of photos "
            "does: unpack it yourself and give the folder."
        )
    return None


def _names_in(path: Path) -> frozenset[str] | None:
    try:
        with zipfile.ZipFile(path) as bundle:
            return frozenset(bundle.namelist())
    except (*_DAMAGE, OSError, NotImplementedError):
        return None


def _relative(member: zipfile.ZipInfo) -> PurePosixPath:
    # Some Windows tools write backslashes although the format says slashes.
    return fitting(PurePosixPath(member.filename.replace("\\", "/")))


def _refuse(path: Path, name: str, error: CartoonError) -> Unpacked:
    return Unpacked((Item(path, PurePosixPath(name), refused=error),))


def _encodable(name: str) -> str:
    # A file name that is not valid UTF-8 reaches Python with lone surrogates, which a zip cannot hold.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _disk_full(name: str, problem: BaseException) -> StorageError | None:
    if isinstance(problem, OSError) and problem.errno in FULL:
        return StorageError(f"{name}: the disk is full; free some space and run it again.")
    return None
