"""The files that visitors of the page send and get: on disk under names of ours, and only for whoever they belong to.

`<page>/visitors/<visitor's tag>/<32 random hex digits>/...`: whose a file is stands in its path, so that it needs no
list, survives a restart, and no other path is ever opened, however a client spells it.
"""

import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from cartoon.errors import ForbiddenError, MissingError
from cartoon.images.formats import SUFFIXES
from cartoon.web.access.visitors import Visitor
from cartoon.web.data_dir import VISITORS, private_folder

LONGEST_PATH: Final = 4096
SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp"})
"""What a browser may show; the rest it saves, as a stranger's HTML or SVG would run as this server's."""
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_KEPT_SUFFIXES: Final = SUFFIXES | {".zip"}


class VisitorFiles:
    """The page's folder, which holds visitors' files and what the page brings itself, such as its examples."""

    def __init__(self, page: Path) -> None:
        self._page, self._visitors = page, page / VISITORS
        self._shared: frozenset[str] = frozenset()

    def share_what_is_there(self) -> None:
        """What lies in the page's folder now and is no visitor's is for everybody; told when the page is built."""
        files = (path for path in self._page.rglob("*") if not path.is_relative_to(self._visitors))
        self._shared = frozenset(str(path) for path in files if path.is_file() and not path.is_symlink())

    def folder(self, visitor: Visitor) -> Path:
        """A fresh folder of a visitor's, whose name nobody can guess; raises StorageError."""
        return private_folder(self._visitors / visitor.tag)

    def all_of(self, visitor: Visitor) -> Path:
        """Where everything of a visitor's lies."""
        return self._visitors / visitor.tag

    def find(self, visitor: Visitor, told: object) -> Path:
        """The file that a client names, when it is the visitor's own or for everybody.

        Raises ForbiddenError for any other path, MissingError where a file of theirs is gone.
        """
        if not isinstance(told, str) or len(told) > LONGEST_PATH:
            raise _not_theirs()
        if told in self._shared:
            return Path(told)
        own = f"{self.all_of(visitor)}{os.sep}"
        folder, *names = told.removeprefix(own).split(os.sep)
        if not told.startswith(own) or not _HEX.fullmatch(folder) or not names or "\0" in told:
            raise _not_theirs()
        if any(name in ("", ".", "..") for name in names):
            raise _not_theirs()
        path = Path(told)
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise _not_theirs()
        except OSError as problem:
            raise _gone() from problem
        return path


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file that `find` has found, for reading: never through a link, never waiting for a pipe.

    Raises MissingError where it is gone meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as problem:
        raise _gone() from problem
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_theirs()
        yield file


def stored_name(number: int, sent_name: str) -> str:
    """What the n-th file of an upload is called on disk: its kind, for the browser, and nothing of its name."""
    suffix = Path(sent_name).suffix.lower()
    return f"{number}{suffix if suffix in _KEPT_SUFFIXES else ''}"


def media_type(path: Path) -> tuple[str, bool]:
    """How a file is served: its media type, and whether the browser may show it in place of saving it."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    return (kind, True) if kind in SHOWN else ("application/octet-stream", False)


def _not_theirs() -> ForbiddenError:
    return ForbiddenError("This file is not one that you have sent: upload the photo itself.")


def _gone() -> MissingError:
    return MissingError("This photo is not on the server any more: upload it again.")
