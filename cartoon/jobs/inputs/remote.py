"""Pictures and results under URLs (s3://, gs://, memory://, ...): listed, read and written through fsspec.

A URL travels as a Path, which keeps one slash of the two: Path("s3://bucket/a.jpg") is "s3:/bucket/a.jpg". Files of
this machine never come here: a file:// URL becomes the ordinary path it stands for, at the door.
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.request import url2pathname

from cartoon.errors import CartoonError, InputError, OptionsError, ResourceError, StorageError, TooLargeError
from cartoon.images.decode import decode
from cartoon.images.types import Photo

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])")
_ATOMIC: Final = frozenset("s3 s3a gs gcs abfs abfss az adl oci oss tos r2 memory".split())
"""Stores that show an object whole or not at all; on others a file is written under another name, then moved."""


@dataclass(frozen=True)
class StoredFile:
    """An object as its store tells of it without being read: bytes, and what changes when its content does."""

    size: int
    version: str

    @property
    def changed(self) -> int:
        """The version as a number of 63 bits."""
        return int.from_bytes(hashlib.sha256(self.version.encode()).digest()[:8], "big") >> 1


def is_url(path: Path | str) -> bool:
    """Whether a path that went through `located` is a URL's."""
    return _URL.match(str(path)) is not None


def located(given: Path) -> Path:
    """What a person named, absolute: a URL as such a Path, a file:// URL or a path as an ordinary one."""
    text = str(given)
    if not is_url(text) or os.path.lexists(text):  # a folder called "s3:" is unlikely, but a folder
        return Path(os.path.abspath(text))
    if text.startswith("file:"):
        return Path(os.path.abspath(url2pathname(text.removeprefix("file:"))))
    return given


def shown(path: Path) -> str:
    """The path or URL as a person would type it."""
    text = str(path)
    found = _URL.match(text)
    return f"{found[1]}://{text[found.end() :]}" if found else text


def check(path: Path) -> None:
    """Raise OptionsError, which names what to install, where a URL's kind of store cannot be reached from here."""
    _store(path)


def listed(root: Path) -> list[PurePosixPath]:
    """The paths, under a URL, of all objects there, in order; one "." where the URL is an object itself.

    Raises InputError when there is nothing.
    """
    store, place = _store(root)
    try:
        store.invalidate_cache()
        if store.isfile(place):
            return [PurePosixPath()]
        found = store.find(place)
    except Exception as problem:
        raise _explained(root, problem) from problem
    if not found:
        raise InputError(f"{shown(root)}: nothing lies there; check the address.")
    start = len(place.rstrip("/")) + 1
    return sorted(PurePosixPath(path[start:]) for path in found)


def stored(path: Path) -> StoredFile | None:
    """What is at a URL; None where nothing is, or it cannot be asked."""
    try:
        store, place = _store(path)
        info = store.info(place)
    except Exception:  # noqa: BLE001 - each kind of store has errors of its own; reading it will say which
        return None
    if info.get("type") == "directory":
        return None
    version = next((info[key] for key in _VERSIONS if info.get(key)), "")
    return StoredFile(int(info.get("size") or 0), f"{version}/{info.get('size')}")


def photo(path: Path, name: str, max_pixels: int) -> Photo:
    """Decode a picture from its URL; errors as of `images.files.read`, ResourceError where trying again may help."""
    most = 16 * max_pixels + (64 << 20)  # as for files on disk
    told = stored(path)
    if told and told.size > most:
        raise TooLargeError(f"{name} has {told.size >> 20} MB, more than is safe to decode: shrink it.")
    return decode(load(path), name, max_pixels)


def names(root: Path) -> frozenset[PurePosixPath]:
    """The paths of all objects under a URL; none where nothing is."""
    try:
        return frozenset(listed(root))
    except InputError:
        return frozenset()


def load(path: Path, most: int | None = None) -> bytes:
    """The bytes at a URL, or the first `most`; raises InputError where it has none, ResourceError when it fails."""
    store, place = _store(path)
    try:
        data: bytes = store.cat_file(place, end=most)
    except Exception as problem:
        raise _explained(path, problem) from problem
    return data


def save(path: Path, data: bytes, mark: str = "") -> None:
    """Put bytes at a URL, as far as its store can so that a reader finds the old ones or the new, never a part.

    Raises StorageError when the place is gone or may not be written, ResourceError when the store fails.
    """
    store, place = _store(path)
    folder, _, name = place.rpartition("/")
    part = f"{folder}/.{mark}{secrets.token_hex(8)}.part"
    try:
        if str(path).partition(":")[0] in _ATOMIC:
            store.pipe_file(place, data)
        else:
            store.makedirs(folder, exist_ok=True)
            store.pipe_file(part, data)
            store.mv(part, place)
    except (FileNotFoundError, PermissionError) as problem:
        raise StorageError(f"{shown(path.parent)} is gone or cannot be written: mend it and run again.") from problem
    except Exception as problem:
        raise ResourceError(f"{name} could not be stored ({type(problem).__name__}); run it again.") from problem


_VERSIONS: Final = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "updated", "created")
"""Where stores say what changes with the content, the best first."""


def _store(path: Path) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the place inside."""
    import fsspec

    scheme = str(path).partition(":")[0]
    try:
        store, place = fsspec.core.url_to_fs(shown(path))
    except ImportError as problem:  # fsspec's own sentence: "Install s3fs to access S3"
        raise OptionsError(f"{scheme}:// addresses need a library: {problem} (with pip, on every node).") from problem
    except ValueError as problem:
        raise OptionsError(f"{shown(path)}: addresses like {scheme}:// are not known; check the address.") from problem
    return store, str(place)


def _explained(path: Path, problem: Exception) -> CartoonError:
    if isinstance(problem, CartoonError):
        return problem
    if isinstance(problem, FileNotFoundError):
        return InputError(f"{shown(path)}: nothing lies there; check the address.")
    if isinstance(problem, PermissionError):
        return InputError(f"{shown(path)} may not be read: check the credentials.")
    return ResourceError(f"{shown(path)} could not be read ({type(problem).__name__}); run it again.")
