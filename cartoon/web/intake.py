"""What strangers send for a job: onto disk under our names, within limits, and then to the service."""

import os
import shutil
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, get_args

from cartoon.errors import InputError, OptionsError, StorageError, StyleError, TooLargeError
from cartoon.jobs.model import Gate
from cartoon.jobs.service.creation import JobRequest, Sent
from cartoon.jobs.service.jobs import JobService
from cartoon.settings import Settings
from cartoon.web.access.limits import Limits
from cartoon.web.access.visitors import Visitor
from cartoon.web.data_dir import disk_told, private_folder
from cartoon.web.photo import Studio, clean_name, options_from

MOST_FILES: Final = 20_000
"""In one upload; zips hold more."""
ROOM_FACTOR: Final = 3
"""Free bytes on the disk for every byte sent: a zip beside its photos, and the drawings."""
TITLE_LETTERS: Final = 120
ZIP: Final = ".zip"


class Intake:
    """A folder that takes files one after the other; refuses what is too large or does not fit on the disk.

    sent: what lies there, for the service. room: raises when so many bytes are more than the visitor may have here.
    came: hears how many bytes of which file have come. Every method raises TooLargeError, LimitError or StorageError.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        room: Callable[[int], None] = lambda size: None,
        came: Callable[[str, int], None] = lambda name, size: None,
    ) -> None:
        self.sent: list[Sent] = []
        self.folder, self._settings, self._room, self._came = folder, settings, room, came
        self._file: BinaryIO | None = None
        self._name, self._size, self._total = "", 0, 0

    def expect(self, size: int) -> None:
        """So many bytes are about to come, or have."""
        most = self._settings.max_job_mb
        if size > most * 2**20:
            raise TooLargeError(
                f"The photos are larger than {most} MB in all (CARTOON_MAX_JOB_MB): send them as several jobs."
            )
        self._room(size)
        with disk_told():
            free = shutil.disk_usage(self.folder).free
        if free < ROOM_FACTOR * size:
            raise StorageError(
                "There is no room for these photos on the server's disk: try again later, or send fewer."
            )

    def begin(self, raw_name: str | None) -> None:
        """A file of this name comes next."""
        self._next(raw_name)
        with disk_told():
            self._file = (self.folder / str(len(self.sent))).open("xb")

    def write(self, data: bytes) -> None:
        """More of the file."""
        assert self._file is not None
        self._count(len(data))
        with disk_told():
            self._file.write(data)
        self._came(self._name, len(data))

    def end(self) -> None:
        """The file is whole; one without a name and a byte is what a form's empty field sends, and no file."""
        assert self._file is not None
        with disk_told():
            self._file.close()
        self._file = None
        if self._size or self._name:
            self.sent.append(Sent(self.folder / str(len(self.sent)), clean_name(self._name)))
        else:
            (self.folder / str(len(self.sent))).unlink()

    @property
    def size(self) -> int:
        """Bytes that have come so far."""
        return self._total

    def link(self, path: Path, raw_name: str | None) -> None:
        """Take a file that lies on this machine already; it stays there, too."""
        self._next(raw_name)
        self._count(path.stat().st_size)
        place = self.folder / str(len(self.sent))
        link_or_copy(path, place)
        self.sent.append(Sent(place, clean_name(raw_name)))

    def finish(self) -> None:
        """Everything has come."""
        self.expect(self._total)

    def close(self) -> None:
        """Remove what nobody has taken over."""
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Intake":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _next(self, raw_name: str | None) -> None:
        if len(self.sent) >= MOST_FILES:
            raise TooLargeError(f"These are more than {MOST_FILES} files: send them as a zip, or as several jobs.")
        self._name, self._size = raw_name or "", 0

    def _count(self, size: int) -> None:
        self._size, self._total = self._size + size, self._total + size
        zipped = self._name.lower().endswith(ZIP)
        most = self._settings.max_job_mb if zipped else self._settings.max_upload_mb
        if self._size > most * 2**20:
            setting = "CARTOON_MAX_JOB_MB" if zipped else "CARTOON_MAX_UPLOAD_MB"
            raise TooLargeError(
                f"{clean_name(self._name)} is larger than {most} MB ({setting}): leave it out or make it smaller."
            )
        if self._total > self._settings.max_job_mb * 2**20:
            self.expect(self._total)


@dataclass(frozen=True, eq=False)
class Reception:
    """Where every web door brings its jobs; `folder` is where uploads wait, on the service's own disk."""

    service: JobService
    artist: Studio
    settings: Settings
    folder: Path
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", Limits(self.settings, self.service))

    def intake(
        self,
        visitor: Visitor,
        folder: Path | None = None,
        came: Callable[[str, int], None] = lambda name, size: None,
    ) -> Intake:
        """A fresh intake, to be closed when its job has begun. folder: an empty one, in place of one that waits."""
        if folder is None:
            folder = private_folder(self.folder)
        return Intake(folder, self.settings, lambda size: self.limits.check_room(visitor, size), came)

    def admit(self, intake: Intake, asked: Mapping[str, Any], visitor: Visitor) -> str:
        """Begin the job and return its id; asked: the options' fields, `gate` and `title`.

        Raises OptionsError, StyleError, InputError when there is no photo, LimitError, StorageError.
        """
        fields = dict(asked)
        gate: Gate = fields.pop("gate", None) or "flag"
        title = clean_title(fields.pop("title", None) or "")
        if gate not in get_args(Gate):
            raise OptionsError(f"gate {clean_title(str(gate))!r} is not known: use {', '.join(get_args(Gate))}.")
        options = options_from(fields, self.artist.styles)
        if not intake.sent:
            raise InputError("There are no photos yet: add some files, or a zip of them.")
        intake.finish()
        self.limits.check_jobs(visitor)
        with disk_told():
            ask = JobRequest(options, visitor.owner, gate, title=title or intake.sent[0].name)
            id = self.service.create(intake.sent, ask)
        self.limits.stored(visitor, self.service.status(id).order.out.parent, intake.size, id)
        return id


def model_of(artist: Studio) -> Callable[[str], str]:
    """What the service asks: the sha256 of a style's weights; raises StyleError where it is not on offer."""

    def asked(style: str) -> str:
        for card in artist.styles:
            if card.id == style:
                return card.sha256
        raise StyleError(f"style {clean_title(style)!r} is not known here.")

    return asked


def clean_title(raw: str) -> str:
    """A stranger's text made safe to show in a line: no control or invisible characters, not too long."""
    shown = "".join(
        " " if c.isspace() else c for c in raw if c.isspace() or not unicodedata.category(c).startswith("C")
    )
    return " ".join(shown.split())[:TITLE_LETTERS]


def link_or_copy(source: Path, place: Path) -> None:
    """The same file under a second name; a copy where the disks differ or know no links. Raises StorageError."""
    with disk_told():
        try:
            os.link(source, place)
        except OSError:
            shutil.copyfile(source, place)
