"""Where the server keeps things: a folder that outlasts the process, or a temporary one where none can be written."""

import logging
import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEPT_SECONDS: Final = 6 * 3600.0
"""Uploads that became no job, and single results, go after this; so does what a killed process has left of them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Home:
    """The server's folder. lasts: it is there after a restart. page: this process's own part, for the page's files."""

    folder: Path
    lasts: bool
    page: Path

    @property
    def jobs(self) -> Path:
        """Where jobs live."""
        return self.folder / "jobs"

    @property
    def incoming(self) -> Path:
        """Where uploads wait until they are a job."""
        return self.folder / "incoming"

    def sweep(self) -> None:
        """Remove what has been left behind."""
        os.utime(self.page)  # other processes see that it is in use
        for place in (self.page.parent, self.incoming):
            sweep(place)

    def close(self) -> None:
        """Remove what only this process could use."""
        shutil.rmtree(self.page if self.lasts else self.folder, ignore_errors=True)


def open_home(asked: Path | None) -> Home:
    """The folder asked for, made if need be; a private temporary one where there is none that can be written."""
    try:
        if asked is not None:
            asked.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Home(asked.resolve(), True, _fresh(asked.resolve() / "page"))
    except OSError as problem:
        log.warning(
            "the data folder cannot be written (%s): jobs will not survive a restart; set CARTOON_DATA_DIR",
            problem.strerror,
            extra={"event": "not_durable"},
        )
    else:
        log.warning("there is no data folder: jobs will not survive a restart; set CARTOON_DATA_DIR")
    folder = Path(tempfile.mkdtemp(prefix="cartoon-")).resolve()
    return Home(folder, False, _fresh(folder / "page"))


def private_folder(root: Path) -> Path:
    """A fresh folder under `root` whose name nobody can guess; old ones are removed."""
    folder = _fresh(root)
    sweep(root)
    return folder


def sweep(root: Path) -> None:
    """Remove the folders in `root` that nothing was put into for KEPT_SECONDS."""
    limit = time.time() - KEPT_SECONDS
    for old in root.iterdir() if root.is_dir() else ():
        try:
            if old.stat().st_mtime < limit:
                shutil.rmtree(old, ignore_errors=True)
        except FileNotFoundError:  # another process swept it
            continue


def _fresh(root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / secrets.token_hex(16)
    folder.mkdir(mode=0o700)
    return folder
