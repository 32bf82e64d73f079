"""What stands behind every door of the web: the jobs, who draws, the limits; and the one way in which a job begins."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

from cartoon.errors import InputError, OptionsError, StyleError
from cartoon.jobs.model import Gate
from cartoon.jobs.service.creation import JobRequest
from cartoon.jobs.service.jobs import JobService
from cartoon.settings import Settings
from cartoon.web.access.limits import Limits
from cartoon.web.access.visitors import Visitor
from cartoon.web.data_dir import disk_told
from cartoon.web.photo import WebStylizer, options_from
from cartoon.web.staging import StagedUpload

TITLE_LETTERS: Final = 120


@dataclass(frozen=True, eq=False)
class Backend:
    """What every door of the web works with; `folder` is where uploads are staged, on the disk of the jobs."""

    service: JobService
    stylizer: WebStylizer
    settings: Settings
    folder: Path
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", Limits(self.settings, self.service))

    def stage(
        self,
        visitor: Visitor,
        root: Path | None = None,
        came: Callable[[str, int], None] = lambda name, size: None,
    ) -> StagedUpload:
        """A place for an upload, to be closed when it was taken over. root: where it lies, in place of the usual."""
        quota = partial(self.limits.check_quota, visitor)
        return StagedUpload(root or self.folder, self.settings, quota, came)

    def submit(self, staged: StagedUpload, asked: Mapping[str, Any], visitor: Visitor) -> str:
        """Begin the job and return its id; asked: the options' fields, `gate` and `title`.

        Raises OptionsError, StyleError, InputError when there is no photo, LimitError, StorageError.
        """
        fields = dict(asked)
        gate: Gate = fields.pop("gate", None) or "flag"
        title = clean_title(fields.pop("title", None) or "")
        if gate not in get_args(Gate):
            raise OptionsError(f"gate {clean_title(str(gate))!r} is not known: use {', '.join(get_args(Gate))}.")
        options = options_from(fields, self.stylizer.styles)
        if not staged.sent:
            raise InputError("There are no photos yet: add some files, or a zip of them.")
        staged.finish()
        self.limits.check_jobs(visitor)
        with disk_told():
            ask = JobRequest(options, visitor.owner, gate, title=title or staged.sent[0].name)
            id = self.service.create(staged.sent, ask)
        self.limits.stored(visitor, self.service.status(id).order.out.parent, staged.size, id)
        return id


def model_of(stylizer: WebStylizer) -> Callable[[str], str]:
    """What the service asks: the sha256 of a style's weights; raises StyleError where it is not on offer."""

    def asked(style: str) -> str:
        for card in stylizer.styles:
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
