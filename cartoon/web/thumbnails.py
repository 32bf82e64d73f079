"""Small copies of a job's pictures, made when somebody looks and kept in the job's folder."""

import os
from pathlib import Path
from typing import Final, Literal

from cartoon.errors import CartoonError, MissingError
from cartoon.files import write_atomically
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.resize import reduced
from cartoon.jobs.model import Attempt
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.store.checksums import SpoiltError, opened_plainly

SIDE: Final = 256
"""Long side, px."""
QUALITY: Final = 82
FOLDER: Final = "thumbs"


def picture(service: JobService, id: str, number: int) -> Path:
    """Where the drawing of an item lies; raises MissingError when there is none."""
    return _drawn(service.outcome(id, number))


def thumb(service: JobService, id: str, number: int) -> Path:
    """A small copy of the drawing of an item; raises MissingError when there is none."""
    attempt = service.outcome(id, number)
    source = _drawn(attempt)
    folder = service.status(id).order.out.parent / FOLDER
    mark = version(attempt)
    for made in (folder / f"{number}-{mark}.jpg", folder / f"{number}-{mark}.webp"):
        if lies_there(made):
            return made
    try:
        photo = read(source)
        alpha = None if photo.alpha is None else reduced(photo.alpha, SIDE)
        format: Literal["jpg", "webp"] = "jpg" if alpha is None else "webp"
        folder.mkdir(exist_ok=True)
        place = folder / f"{number}-{mark}.{format}"
        write_atomically(place, encode(reduced(photo.pixels, SIDE), alpha, format, QUALITY))
    except (CartoonError, OSError):  # the disk is full, or the picture was altered: it is there to show all the same
        return source
    return place


def version(attempt: Attempt) -> str:
    """Changes when the picture of an item does."""
    return attempt.sha256[:12]


def lies_there(picture: Path | None) -> bool:
    """Whether a picture is an ordinary file that may be read; a link might lead out of the job."""
    try:
        if picture is not None:
            os.close(opened_plainly(picture))
    except (OSError, SpoiltError):
        return False
    return picture is not None


def _drawn(attempt: Attempt) -> Path:
    if attempt.output is None or not lies_there(attempt.output):
        raise MissingError("There is no picture of this photo: the job's report says why.")
    return attempt.output
