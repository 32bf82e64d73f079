"""What the page's buttons and its two public endpoints do: every action takes and returns values."""

import html
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr

from cartoon.errors import CartoonError, InputError, TooLargeError
from cartoon.home import private_folder
from cartoon.image import encode, write_atomically
from cartoon.intake import Reception, link_or_copy
from cartoon.jobs.archive import write_zip
from cartoon.jobs.desk import Desk, Glance
from cartoon.jobs.job import Attempt, Entry
from cartoon.request import PREVIEW_QUALITY, Drawing, before_picture, clean_name, draw, options_from
from cartoon.wording import at_rest, describe, without_paths

PAGE_FIELDS: Final = ("style", "strength", "exaggeration", "size", "background", "colour", "format", "quality")
"""The fields of both tabs, in the order in which actions get their values."""
PLAIN_COLOUR: Final = "colour"
"""The page's fourth background; the colour itself is a field of its own."""
TOLD_SECONDS: Final = 1.0
"""How often the endpoint of batches looks whether anything has changed."""
STAGES: Final = {"waiting": "preparing", "running": "drawing", "finished": "done"}

Upload = dict[str, Any]
"""A file as Gradio hands it over unprocessed: `path` (checked to lie in its cache) and `orig_name`."""


@dataclass(frozen=True, eq=False)
class Actions:
    """The actions behind one reception; `results` is the folder, inside Gradio's cache, for files to be fetched."""

    reception: Reception
    results: Path

    def draw_one(self, photo: Upload | None, *fields: Any) -> tuple[Any, ...]:
        """One photo -> before/after, download button, status line."""
        with sentences():
            drawing = self._draw(photo, asked_for(fields))
        folder = private_folder(self.results)
        saved = _save(folder, drawing.name, drawing.data)
        before = _save(folder, "before.jpg", before_picture(drawing))
        after = saved if drawing.cartoon.alpha is None else _save(folder, "after.jpg", _on_white(drawing))
        download = gr.DownloadButton(value=str(saved), label=f"Download {drawing.name}", interactive=True)
        return (str(before), str(after)), download, describe(drawing)

    # The parameters of the next two are the public names of Gradio's API, so they are spelled out.

    def cartoonize(
        self,
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
        with sentences():
            drawing = self._draw(image, asked)
        return str(_save(private_folder(self.results), drawing.name, drawing.data)), describe(drawing)

    def cartoonize_batch(
        self,
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
        with sentences():
            id = taken_in(self.reception, files, asked, owner="")
            with closing(self._followed(id)) as glances:
                for glance in glances:
                    yield None, [], _report(glance, [])
            yield _delivered(self.reception.desk, id, private_folder(self.results))

    def _draw(self, upload: Upload | None, asked: dict[str, Any]) -> Drawing:
        options = options_from(asked, self.reception.artist.styles)
        path, name = _file(upload)
        if path.stat().st_size > self.reception.settings.max_upload_mb * 2**20:
            raise TooLargeError(
                f"{name} is larger than {self.reception.settings.max_upload_mb} MB: send a smaller one."
            )
        return draw(self.reception.artist, path.read_bytes(), name, options, self.reception.settings.max_pixels)

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


def taken_in(reception: Reception, uploads: list[Upload] | None, asked: dict[str, Any], owner: str) -> str:
    """A job of files that lie in Gradio's cache, where they stay as well; its id."""
    with reception.intake() as intake:
        for upload in uploads or []:
            intake.link(*_file(upload))
        return reception.admit(intake, asked, owner)


@contextmanager
def sentences(title: str = "Not drawn") -> Iterator[None]:
    """Turns our errors into Gradio's, which show the sentence alone and log nothing."""
    try:
        yield
    except CartoonError as error:
        # Gradio renders the message as HTML, and a file's name is a stranger's text.
        message = html.escape(without_paths(str(error)), quote=False)
        raise gr.Error(message, title=title, print_exception=False) from error


def asked_for(fields: tuple[Any, ...]) -> dict[str, Any]:
    """The page's fields as options."""
    asked = dict(zip(PAGE_FIELDS, fields, strict=True))
    colour = asked.pop("colour")
    if asked["background"] == PLAIN_COLOUR:
        asked["background"] = _hex(colour)
    return asked


def _hex(colour: str) -> str:
    if not colour.startswith("rgb"):
        return colour
    # The picker's sliders yield rgba(12.3, 45, 6, 1).
    parts = colour[colour.index("(") + 1 :].rstrip(")").split(",")[:3]
    return "#" + "".join(f"{min(255, max(0, round(float(part)))):02x}" for part in parts)


def _file(upload: Upload | None) -> tuple[Path, str]:
    if not upload or not upload.get("path"):
        raise InputError("There is no photo yet: upload, paste or take one first.")
    path = Path(upload["path"])
    return path, clean_name(upload.get("orig_name") or path.name)


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
