"""What the page's buttons and its two public endpoints do: every action takes and returns values."""

import html
import logging
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
from cartoon.jobs.model import Attempt
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.service.status import JobStatus
from cartoon.pipeline.one_file import Drawing
from cartoon.telemetry import metrics
from cartoon.web.access.visitors import Visitor, visitor_of
from cartoon.web.answers import INTERNAL
from cartoon.web.backend import Backend
from cartoon.web.messages import at_rest, describe, without_paths
from cartoon.web.page.option_calls import named, takes_options
from cartoon.web.page.option_fields import asked_for
from cartoon.web.photo import PREVIEW_QUALITY, before_picture, clean_name, draw, options_from
from cartoon.web.staging import link_or_copy
from cartoon.web.visitor_files import VisitorFiles, opened

TOLD_SECONDS: Final = 1.0
"""How often the endpoint of batches looks whether anything has changed."""
STAGES: Final = {"waiting": "preparing", "running": "drawing", "finished": "done"}

Upload = dict[str, Any]
"""A file as Gradio hands it over unprocessed: `path` and `orig_name`, a client's word both."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Actions:
    """The actions behind one backend; files: what visitors have sent, and where their results lie to be fetched."""

    backend: Backend
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

    @takes_options
    def cartoonize(self, request: gr.Request, image: Upload | None, *options: Any) -> tuple[str, str]:
        """One photo -> the drawn file and a line that says what was done."""
        visitor = visitor_of(request)
        with sentences():
            drawing = self._draw(visitor, image, named(options))
            return str(_save(self.files.folder(visitor), drawing.name, drawing.data)), describe(drawing)

    @takes_options
    def cartoonize_batch(
        self, request: gr.Request, files: list[Upload] | None, *options: Any
    ) -> Iterator[tuple[str | None, list[tuple[str, str]], dict[str, Any]]]:
        """Many photos -> at every change a report; at the end the zip, the pictures and a report with the failures.

        It is a job as any other: whoever is cut off finds it under the report's `job` over REST.
        """
        visitor = visitor_of(request)
        with sentences():
            id = taken_in(self.backend, self.files, files, named(options), visitor)
            with closing(self._followed(id)) as statuses:
                for status in statuses:
                    yield None, [], _report(status, [])
            yield _delivered(self.backend.service, id, self.files.folder(visitor))

    def _draw(self, visitor: Visitor, upload: Upload | None, asked: dict[str, Any]) -> Drawing:
        options = options_from(asked, self.backend.stylizer.styles)
        path, name = sent_file(self.files, visitor, upload)
        settings = self.backend.settings
        with opened(path) as file:
            data = file.read(settings.max_upload_mb * 2**20 + 1)
        if len(data) > settings.max_upload_mb * 2**20:
            raise TooLargeError(
                f"{name} is larger than {settings.max_upload_mb} MB (CARTOON_MAX_UPLOAD_MB): send a smaller one."
            )
        return draw(self.backend.stylizer, data, name, options, settings.max_pixels)

    def _followed(self, id: str) -> Generator[JobStatus, None, None]:
        """Where a job stands at every change until it is at rest; a caller who goes away cancels it."""
        service = self.backend.service
        status = service.status(id)
        try:
            while not at_rest(status):
                yield status
                status = service.wait(id, status.turn, TOLD_SECONDS)
                service.check()
        except GeneratorExit:
            if not service.closing:  # then the page went away because the server does: the job goes on later
                service.cancel(id)
            raise


def taken_in(
    backend: Backend, files: VisitorFiles, uploads: list[Upload] | None, asked: dict[str, Any], visitor: Visitor
) -> str:
    """A job of files that the visitor has sent, which stay where they are as well; its id."""
    if not isinstance(uploads or [], list):
        raise InputError("The photos are not a list of files: upload them first.")
    with backend.stage(visitor) as staged:
        for upload in uploads or []:
            staged.link(*sent_file(files, visitor, upload))
        return backend.submit(staged, asked, visitor)


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


def _delivered(service: JobService, id: str, folder: Path) -> tuple[str | None, list[tuple[str, str]], dict[str, Any]]:
    """A job's results in a folder that Gradio may serve."""
    outcomes = service.settled(id)
    pictures: list[tuple[str, str]] = []
    for attempt in outcomes:
        if attempt.output is not None:
            place = folder / "pictures" / attempt.entry.output
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(attempt.output, place)
            pictures.append((str(place), attempt.item.name))
    archive = folder / "cartoons.zip" if pictures else None
    if archive is not None:
        root = folder / "pictures"
        write_zip(archive, [(Path(path), Path(path).relative_to(root).as_posix()) for path, _ in pictures])
    return (str(archive) if archive else None), pictures, _report(service.status(id), outcomes)


def _report(status: JobStatus, outcomes: Sequence[Attempt]) -> dict[str, Any]:
    failed = [(attempt.item.name, attempt.error) for attempt in outcomes if attempt.error]
    return {
        "job": status.id,
        "stage": STAGES.get(status.state, status.state),
        "done": status.counts.settled,
        "total": status.counts.total,
        "drawn": [attempt.item.name for attempt in outcomes if attempt.output],
        "failed": [{"name": name, "error": e.code, "message": without_paths(str(e))} for name, e in failed],
    }
