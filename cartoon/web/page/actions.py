"""What the page's buttons and its two public endpoints do: every action takes and returns values."""

import html
import logging
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr

from cartoon.errors import CartoonError, InputError, TooLargeError
from cartoon.files import write_atomically
from cartoon.images.encode import encode
from cartoon.jobs.inputs.zips import write_zip
from cartoon.jobs.model import Attempt, Entry
from cartoon.jobs.service.jobs import Desk, Glance
from cartoon.pipeline.one_file import Drawing
from cartoon.telemetry import metrics
from cartoon.web.access.visitors import Visitor, visitor_of
from cartoon.web.answers import INTERNAL
from cartoon.web.intake import Reception, link_or_copy
from cartoon.web.messages import at_rest, describe, without_paths
from cartoon.web.photo import PREVIEW_QUALITY, before_picture, clean_name, draw, options_from
from cartoon.web.uploads import VisitorFiles, opened

PAGE_FIELDS: Final = ("style", "strength", "exaggeration", "size", "background", "colour", "format", "quality")
"""The fields of both tabs, in the order in which actions get their values."""
PLAIN_COLOUR: Final = "colour"
"""The page's fourth background; the colour itself is a field of its own."""
TOLD_SECONDS: Final = 1.0
"""How often the endpoint of batches looks whether anything has changed."""
_RGB: Final = re.compile(
    r"rgba?\(\s*(\d{1,3}(?:\.\d+)?)\s*,\s*(\d{1,3}(?:\.\d+)?)\s*,\s*(\d{1,3}(?:\.\d+)?)\s*(?:,.*)?\)"
)
STAGES: Final = {"waiting": "preparing", "running": "drawing", "finished": "done"}

Upload = dict[str, Any]
"""A file as Gradio hands it over unprocessed: `path` and `orig_name`, a client's word both."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Actions:
    """The actions behind one reception; files: what visitors have sent, and where their results lie to be fetched."""

    reception: Reception
    files: VisitorFiles

    def draw_one(self, request: gr.Request, photo: Upload | None, *fields: Any) -> tuple[Any, ...]:
        """One photo -> before/after, download button, status line."""
        visitor = visitor_of(request)
        with sentences():
            drawing = self._draw(visitor, photo, asked_for(fields))
            return self._compared(drawing, self.files.folder(visitor))

    def _compared(self, drawing: Drawing, folder: Path) -> tuple[Any, ...]:
        saved = _save(folder, drawing.name, drawing.data)
        before = _save(folder, "before.jpg", before_picture(drawing))
        after = saved if drawing.cartoon.alpha is None else _save(folder, "after.jpg", _on_white(drawing))
        download = gr.DownloadButton(value=str(saved), label=f"Download {drawing.name}", interactive=True)
        return (str(before), str(after)), download, describe(drawing)

    # The parameters of the next two are the public names of Gradio's API, so they are spelled out.

    def cartoonize(
        self,
        request: gr.Request,
        image: Upload | None,
        style: str,
        strength: float,
        exaggeration: float,
        size: str,
        background: str,
        format: str,
        quality: int,
    ) -> tuple[str, str]:
        """One photo -> the drawn file and a line that says what was done."""
        asked = {"style": style, "strength": strength, "exaggeration": exaggeration, "size": size}
        asked |= {"background": background, "format": format, "quality": quality}
        visitor = visitor_of(request)
        with sentences():
            drawing = self._draw(visitor, image, asked)
            return str(_save(self.files.folder(visitor), drawing.name, drawing.data)), describe(drawing)

    def cartoonize_batch(
        self,
        request: gr.Request,
        files: list[Upload] | None,
        style: str,
        strength: float,
        exaggeration: float,
        size: str,
        background: str,
        format: str,
        quality: int,
    ) -> Iterator[tuple[str | None, list[tuple[str, str]], dict[str, Any]]]:
        """Many photos -> at every change a report; at the end the zip, the pictures and a report with the failures.

        It is a job as any other: whoever is cut off finds it under the report's `job` over REST.
        """
        asked = {"style": style, "strength": strength, "exaggeration": exaggeration, "size": size}
        asked |= {"background": background, "format": format, "quality": quality}
        visitor = visitor_of(request)
        with sentences():
            id = taken_in(self.reception, self.files, files, asked, visitor)
            with closing(self._followed(id)) as glances:
                for glance in glances:
                    yield None, [], _report(glance, [])
            yield _delivered(self.reception.desk, id, self.files.folder(visitor))

    def _draw(self, visitor: Visitor, upload: Upload | None, asked: dict[str, Any]) -> Drawing:
        options = options_from(asked, self.reception.artist.styles)
        path, name = sent_file(self.files, visitor, upload)
        settings = self.reception.settings
        with opened(path) as file:
            data = file.read(settings.max_upload_mb * 2**20 + 1)
        if len(data) > settings.max_upload_mb * 2**20:
            raise TooLargeError(
                f"{name} is larger than {settings.max_upload_mb} MB (CARTOON_MAX_UPLOAD_MB): send a smaller one."
            )
        return draw(self.reception.artist, data, name, options, settings.max_pixels)

    def _followed(self, id: str) -> Generator[Glance, None, None]:
        """Where a job stands at every change until it is at rest; a caller who goes away cancels it."""
        desk = self.reception.desk
        glance = desk.glance(id)
        try:
            while not at_rest(glance):
                yield glance
                glance = desk.wait(id, glance.turn, TOLD_SECONDS)
                desk.check()
        except GeneratorExit:
            if not desk.closing:  # then the page went away because the server does: the job goes on later
                desk.cancel(id)
            raise


def taken_in(
    reception: Reception, files: VisitorFiles, uploads: list[Upload] | None, asked: dict[str, Any], visitor: Visitor
) -> str:
    """A job of files that the visitor has sent, which stay where they are as well; its id."""
    if not isinstance(uploads or [], list):
        raise InputError("The photos are not a list of files: upload them first.")
    with reception.intake(visitor) as intake:
        for upload in uploads or []:
            intake.link(*sent_file(files, visitor, upload))
        return reception.admit(intake, asked, visitor)


@contextmanager
def sentences(title: str = "Not drawn") -> Iterator[None]:
    """Turns errors into Gradio's, which show a sentence alone and log nothing; what nobody foresaw is logged here."""
    try:
        yield
    except CartoonError as error:
        # Gradio renders the message as HTML, and a file's name is a stranger's text.
        message = html.escape(without_paths(str(error)), quote=False)
        raise gr.Error(message, title=title, print_exception=False) from error
    except gr.Error:
        raise
    except Exception as fault:
        log.exception("an action of the page failed", extra={"event": "action_failed", "code": metrics.INTERNAL})
        raise gr.Error(INTERNAL, title=title, print_exception=False) from fault


def asked_for(fields: tuple[Any, ...]) -> dict[str, Any]:
    """The page's fields as options; raises OptionsError for a colour that is none."""
    asked = dict(zip(PAGE_FIELDS, fields, strict=True))
    colour = asked.pop("colour")
    if asked["background"] == PLAIN_COLOUR:
        asked["background"] = _hex(str(colour))
    return asked


def _hex(colour: str) -> str:
    # The picker's sliders yield rgba(12.3, 45, 6, 1).
    parts = _RGB.fullmatch(colour)
    if parts is None:
        return colour
    return "#" + "".join(f"{min(255, round(float(part))):02x}" for part in parts.groups())


def sent_file(files: VisitorFiles, visitor: Visitor, upload: Upload | None) -> tuple[Path, str]:
    """Where a file that the visitor has sent lies, and its clean name; raises InputError where there is none."""
    if not isinstance(upload, dict) or not upload.get("path"):
        raise InputError("There is no photo yet: upload, paste or take one first.")
    path = files.find(visitor, upload["path"])
    name = upload.get("orig_name")
    return path, clean_name(name if isinstance(name, str) and name else path.name)


def _save(folder: Path, name: str, data: bytes) -> Path:
    write_atomically(folder / name, data)
    return folder / name


def _on_white(drawing: Drawing) -> bytes:
    # The slider lays one picture over the other: the photo would shine through a transparent drawing.
    return encode(drawing.cartoon.pixels, drawing.cartoon.alpha, "jpg", PREVIEW_QUALITY)


def _delivered(desk: Desk, id: str, folder: Path) -> tuple[str | None, list[tuple[str, str]], dict[str, Any]]:
    """A job's results in a folder that Gradio may serve."""
    outcomes = desk.settled(id)
    pictures: list[tuple[str, str]] = []
    for entry, attempt in outcomes:
        if attempt.output is not None:
            place = folder / "pictures" / entry.output
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(attempt.output, place)
            pictures.append((str(place), entry.item.name))
    archive = folder / "cartoons.zip" if pictures else None
    if archive is not None:
        root = folder / "pictures"
        write_zip(archive, [(Path(path), Path(path).relative_to(root).as_posix()) for path, _ in pictures])
    return (str(archive) if archive else None), pictures, _report(desk.glance(id), outcomes)


def _report(glance: Glance, outcomes: Sequence[tuple[Entry, Attempt]]) -> dict[str, Any]:
    failed = [(entry.item.name, attempt.error) for entry, attempt in outcomes if attempt.error]
    return {
        "job": glance.id,
        "stage": STAGES.get(glance.state, glance.state),
        "done": glance.counts.settled,
        "total": glance.counts.total,
        "drawn": [entry.item.name for entry, attempt in outcomes if attempt.output],
        "failed": [{"name": name, "error": e.code, "message": without_paths(str(e))} for name, e in failed],
    }
