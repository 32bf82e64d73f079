"""What the page's buttons and its two public endpoints do: every action takes and returns values."""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr

from cartoon.batch import Progress, Run, draw_many, item_of
from cartoon.errors import CartoonError, InputError
from cartoon.image import encode, write_atomically
from cartoon.jobs.job import Item
from cartoon.request import PREVIEW_QUALITY, Drawing, Studio, before_picture, clean_name, draw, options_from
from cartoon.settings import Settings
from cartoon.wording import describe, failure_table, progress_bar, sentence

PAGE_FIELDS: Final = ("style", "strength", "exaggeration", "size", "background", "colour", "format", "quality")
"""The fields of both tabs, in the order in which actions get their values."""
PLAIN_COLOUR: Final = "colour"
"""The page's fourth background; the colour itself is a field of its own."""
ZIP_LABEL: Final = "Download all (zip)"

Upload = dict[str, Any]
"""A file as Gradio hands it over unprocessed: `path` (checked to lie in its cache) and `orig_name`."""


@dataclass(frozen=True, eq=False)
class Actions:
    """The actions over one artist; `results` is the folder, inside Gradio's cache, where runs keep their files."""

    artist: Studio
    settings: Settings
    results: Path

    def draw_one(self, photo: Upload | None, *fields: Any) -> tuple[Any, ...]:
        """One photo -> before/after, download button, status line."""
        with sentences():
            drawing = self._draw(photo, _asked(fields))
        folder = Run.begin(self.results).folder
        saved = _save(folder, drawing.name, drawing.data)
        before = _save(folder, "before.jpg", before_picture(drawing))
        after = saved if drawing.cartoon.alpha is None else _save(folder, "after.jpg", _on_white(drawing))
        download = gr.DownloadButton(value=str(saved), label=f"Download {drawing.name}", interactive=True)
        return (str(before), str(after)), download, describe(drawing)

    def draw_batch(self, run: Run, photos: list[Upload] | None, *fields: Any) -> Iterator[tuple[Any, ...]]:
        """Many photos -> after every file: progress, gallery, failures; at the end the zip."""
        with sentences():
            for progress in self._draw_many(run, photos, _asked(fields)):
                yield _shown(progress)

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
        return str(_save(Run.begin(self.results).folder, drawing.name, drawing.data)), describe(drawing)

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
        """Many photos -> after every file: the zip (at the end), the pictures, and a report with the failures."""
        asked = {"style": style, "strength": strength, "exaggeration": exaggeration, "size": size}
        asked |= {"background": background, "format": format, "quality": quality}
        with sentences():
            for progress in self._draw_many(Run.begin(self.results), files, asked):
                yield _reported(progress)

    def begin(self, previous: Run | None) -> tuple[Any, ...]:
        """A fresh run and the page made ready for it: start off, cancel on, the last run's results gone."""
        forget(previous)
        waiting = progress_bar("Waiting for a free place …", 0.0)
        start, stop = gr.Button(interactive=False), gr.Button(interactive=True)
        return Run.begin(self.results), start, stop, waiting, [], "", gr.DownloadButton(ZIP_LABEL, interactive=False)

    def _draw(self, upload: Upload | None, asked: dict[str, Any]) -> Drawing:
        options = options_from(asked, self.artist.styles)
        path, name = _file(upload)
        return draw(self.artist, path.read_bytes(), name, options, self.settings.max_pixels)

    def _draw_many(self, run: Run, uploads: list[Upload] | None, asked: dict[str, Any]) -> Iterator[Progress]:
        options = options_from(asked, self.artist.styles)
        items = _items(uploads)
        try:
            yield from draw_many(self.artist, items, options, run, self.settings.max_pixels)
        finally:
            run.stop.set()  # also when the page went away and Gradio drops this generator


def finish() -> tuple[Any, Any]:
    """Start on again, cancel off: after every run, however it ended."""
    return gr.Button(interactive=True), gr.Button("Cancel", interactive=False)


def cancel(run: Run | None) -> Any:
    """Asks the run to stop after the photo it is at."""
    if run is not None:
        run.stop.set()
    return gr.Button("Cancelling …", interactive=False)


def forget(run: Run | None) -> None:
    """Stops a run and removes its files; None is fine. Gradio calls it when a page has been closed for a while."""
    if run is not None:
        run.discard()


@contextmanager
def sentences() -> Iterator[None]:
    """Turns our errors into Gradio's, which show the sentence alone and log nothing."""
    try:
        yield
    except CartoonError as error:
        # Gradio renders the message as HTML, and a file's name is a stranger's text.
        message = html.escape(str(error), quote=False)
        raise gr.Error(message, title="Not drawn", print_exception=False) from error


def _asked(fields: tuple[Any, ...]) -> dict[str, Any]:
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


def _items(uploads: list[Upload] | None) -> list[Item]:
    if not uploads:
        raise InputError("There are no photos yet: add some files first.")
    return [item_of(*_file(upload)) for upload in uploads]


def _save(folder: Path, name: str, data: bytes) -> Path:
    write_atomically(folder / name, data)
    return folder / name


def _on_white(drawing: Drawing) -> bytes:
    # The slider lays one picture over the other: the photo would shine through a transparent drawing.
    return encode(drawing.cartoon.pixels, drawing.cartoon.alpha, "jpg", PREVIEW_QUALITY)


def _shown(progress: Progress) -> tuple[Any, ...]:
    gallery = [(str(picture.preview), picture.name) for picture in progress.pictures]
    download = gr.DownloadButton(ZIP_LABEL, interactive=False)
    if progress.archive is not None:
        label = f"Download {len(gallery)} pictures (zip)"
        download = gr.DownloadButton(value=str(progress.archive), label=label, interactive=True)
    bar = progress_bar(sentence(progress), progress.done / max(progress.total, 1))
    return bar, gallery, failure_table(progress.failures), download


def _reported(progress: Progress) -> tuple[str | None, list[tuple[str, str]], dict[str, Any]]:
    pictures = [(str(picture.path), picture.name) for picture in progress.pictures]
    failed = [{"name": f.name, "error": f.code, "message": f.message} for f in progress.failures]
    report = {"stage": progress.stage, "drawn": [picture.name for picture in progress.pictures], "failed": failed}
    return (str(progress.archive) if progress.archive else None), pictures, report
