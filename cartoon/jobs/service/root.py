"""The folder that a server's jobs lie in: held by one server, read at its start, cleared of what is removed."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from cartoon.errors import StorageError
from cartoon.jobs.store import salvage
from cartoon.jobs.store.journal import JOURNAL
from cartoon.jobs.store.lock import FolderLock

ID: Final = re.compile(r"[0-9a-f]{32}")
GONE: Final = ".gone-"
"""Begins the name of a job's folder while it is being removed: half removed, it is no job any more."""


def held(root: Path) -> FolderLock:
    """The folder, made where it is missing, held; raises BusyError while another server has it, StorageError."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        refusal = f"Another server has its jobs in {root.parent}: stop it, or set CARTOON_DATA_DIR to another folder."
        return FolderLock(root, refusal)
    except OSError as problem:
        raise unusable(root, problem) from problem


def unusable(root: Path, problem: OSError) -> StorageError:
    """What the disk says of it, as an error of ours."""
    return StorageError(
        f"{root} cannot be used ({problem.strerror}): make it writable, or set CARTOON_DATA_DIR to another folder."
    )


def job_folders(root: Path) -> list[Path]:
    """Where jobs lie; what a process left that was killed before its job had begun is put aside for the sweep."""
    found = []
    for folder in sorted(root.iterdir()):
        if not ID.fullmatch(folder.name):
            continue
        if salvage.is_leftover(folder):
            with suppress(OSError):
                folder.rename(root / f"{GONE}{folder.name}")
        else:
            found.append(folder)
    return found


def changed_at(folder: Path, otherwise: float) -> float:
    """When something of a job was written last, seconds since 1970; otherwise: where nobody may look."""
    for path in (folder / JOURNAL, folder):
        with suppress(OSError):
            return path.lstat().st_mtime
    return otherwise


def remove_all(gone: Path) -> None:
    """Remove a folder as far as that can be done; raises StorageError where something stays."""
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        with suppress(OSError):
            gone.unlink()
    if os.path.lexists(gone):
        raise StorageError("Not all files of this job could be removed: the server tries again within the hour.")
