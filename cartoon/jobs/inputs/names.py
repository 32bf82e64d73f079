"""Names of files that people and zips come with, brought to what file systems take."""

import hashlib
import re
from pathlib import PurePosixPath
from typing import Final

PART_BYTES: Final = 255
"""Of one name in a path: NAME_MAX of the common file systems."""
PATH_BYTES: Final = 1024
"""Of a path below a folder; with the folder it has to stay below Linux's PATH_MAX, 4096."""
MARK_LETTERS: Final = 8
"""Of a hash, at the end of a name that was cut, so that two that begin alike stay two."""
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
"""Control characters, which no terminal, log or header bears, and halves of characters (not Python's own stand-ins)."""
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
"""What Windows takes for a device, whatever follows the dot (Microsoft, "Naming Files, Paths, and Namespaces")."""


def fitting(path: PurePosixPath) -> PurePosixPath:
    """The path with every name in it fit for a file system, unchanged where it is; too long a path loses folders."""
    if not path.parts:
        return path
    *folders, name = path.parts
    fit = PurePosixPath(*map(_folder, folders), _file(name))
    if _bytes(str(fit)) <= PATH_BYTES:
        return fit
    return PurePosixPath(_folder("_".join(folders).replace("/", "_")), fit.name)


def with_ending(path: PurePosixPath, ending: str) -> PurePosixPath:
    """The path with its suffix replaced by an ending; the stem is cut where the name would be too long."""
    stem, left = path.stem, PART_BYTES - _bytes(ending)
    while _bytes(stem) > left:
        stem = stem[:-1]
    return path.with_name(stem + ending)


def _folder(name: str) -> str:
    if name in ("/", ".."):
        return name
    clean = _clean(name)
    kept = clean.rstrip(". ")  # Windows drops them: two folders would become one
    return _cut(kept + "_" * (len(clean) - len(kept)), PART_BYTES)


def _file(name: str) -> str:
    clean = _clean(name)
    suffix = PurePosixPath(clean).suffix
    return _cut(clean.removesuffix(suffix), PART_BYTES - _bytes(suffix)) + suffix


def _clean(name: str) -> str:
    clean = _UNFIT.sub("_", name)
    return f"_{clean}" if _RESERVED.match(clean) else clean


def _cut(name: str, most: int) -> str:
    if _bytes(name) <= most:
        return name
    mark = f"-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:MARK_LETTERS]}"
    cut = name[:most]
    while cut and _bytes(cut) > most - len(mark):
        cut = cut[:-1]
    return cut + mark


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
