"""What the tab "Many photos" does: every action looks at the service, or tells it something, and returns what to show.

The page keeps nothing but the id of the job it shows: another page, or one after a restart, shows the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from cartoon.errors import MissingError
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.service.status import JobStatus
from cartoon.web.access.visitors import check_owner, visitor_of
from cartoon.web.backend import Backend
from cartoon.web.messages import at_rest, machine_line, sentence
from cartoon.web.page import job_view
from cartoon.web.page.actions import Upload, sentences, taken_in
from cartoon.web.page.option_fields import asked_for, values_of
from cartoon.web.visitor_files import VisitorFiles

VIEW: Final = (
    "job",
    "seen",
    "timer",
    "progress",
    "controls",
    "pause",
    "cancel",
    "retry",
    "download",
    "failures",
    "gallery",
    "history",
    "machine",
)
"""What an action returns, in this order: one value for each part of the view."""
TICK_SECONDS: Final = 1.0
INVITATION: Final = "Add photos or a zip and press Start. You can close the page meanwhile: the work goes on."
GONE: Final = "This job is not here any more, or the address is not whole. Finished jobs are kept for some days."

Shown = list[Any]
"""One update for each of VIEW."""


@dataclass(frozen=True, eq=False)
class JobActions:
    """The actions over one job service."""

    backend: Backend
    files: VisitorFiles

    def start(self, request: gr.Request, photos: list[Upload] | None, *fields: Any) -> Shown:
        """Photos and options -> a job, shown."""
        with sentences("Not started"):
            id = taken_in(self.backend, self.files, photos, asked_for(fields), visitor_of(request))
            return self._shown(id, request)

    def arrive(self, request: gr.Request) -> list[Any]:
        """The page as its address asks: its tab, and the job of `?job=` if there is one."""
        id = str(request.query_params.get("job", ""))
        return [gr.Tabs(selected="many") if id else gr.skip(), *self._shown(id, request)]

    def tick(self, request: gr.Request, id: str, seen: str) -> Shown:
        """The view, where something has changed since."""
        try:
            status = self._service.status(id)
        except MissingError:
            return self._shown(id, request)
        return [gr.skip()] * len(VIEW) if _mark(status) == seen else self._shown(id, request)

    def toggle(self, request: gr.Request, id: str) -> Shown:
        """Pauses the job, or resumes it."""
        return self._said(self._toggle, id, request)

    def cancel(self, request: gr.Request, id: str) -> Shown:
        """Ends the job; what is done stays."""
        return self._said(self._service.cancel, id, request)

    def retry(self, request: gr.Request, id: str) -> Shown:
        """Tries what failed again."""
        return self._said(self._service.retry, id, request)

    def options_of(self, id: str) -> list[Any]:
        """The form's fields as the job has them, in the order of PAGE_FIELDS."""
        with sentences("Not found"):
            return values_of(self._service.status(id).order.options, self.backend.stylizer.styles)

    @property
    def _service(self) -> JobService:
        return self.backend.service

    def _toggle(self, id: str) -> None:
        halted = self._service.status(id).state in ("paused", "cancelled")
        (self._service.resume if halted else self._service.pause)(id)

    def _said(self, say: Callable[[str], None], id: str, request: gr.Request) -> Shown:
        with sentences("Not done"):
            check_owner(self._service, id, visitor_of(request).owner)
            say(id)
        return self._shown(id, request)

    def _shown(self, id: str, request: gr.Request) -> Shown:
        parts: dict[str, Any] = {"job": id, "seen": "", "timer": gr.Timer(active=False), "machine": self._machine()}
        parts |= {"controls": gr.Row(visible=False), "progress": job_view.progress_bar(INVITATION, 0.0)}
        try:
            parts |= self._job(id, visitor_of(request).owner) if id else {}
        except MissingError:
            parts |= {"progress": job_view.progress_bar(GONE, 0.0)}
        parts["history"] = job_view.history(self._service.jobs(visitor_of(request).owner), id)
        return [parts.get(name, "" if name in ("download", "failures", "gallery") else gr.skip()) for name in VIEW]

    def _job(self, id: str, owner: str) -> dict[str, Any]:
        status, latest = self._service.status(id), self._service.latest(id, job_view.PICTURES)
        counts, halted = status.counts, status.state in ("paused", "cancelled")
        goes_on = counts.remaining > 0 and status.state != "damaged"
        failed = counts.failed + counts.quarantined > 0 and status.state != "damaged"
        return {
            "seen": _mark(status),
            "timer": gr.Timer(active=not at_rest(status)),
            "progress": job_view.progress_bar(sentence(status), counts.settled / max(1, counts.total)),
            "controls": gr.Row(visible=bool(owner) and status.order.owner == owner),
            "pause": gr.Button("Resume" if halted else "Pause", interactive=goes_on),
            "cancel": gr.Button(interactive=goes_on and status.state != "cancelled"),
            "retry": gr.Button(interactive=failed),
            "download": job_view.zip_link(status),
            "failures": job_view.failure_table(id, self._service.failures(id)),
            "gallery": job_view.gallery(id, latest, counts.done + counts.skipped),
        }

    def _machine(self) -> str:
        stylizer, running = self.backend.stylizer, self._service.states().get("running", 0)
        line = machine_line(stylizer.device, stylizer.precision, running, self._service.photos_left())
        return f'<p class="toon-quiet">{line}</p>'


def _mark(status: JobStatus) -> str:
    """Differs when there is something else to show."""
    return f"{status.id} {status.turn} {status.state} {status.busy} {status.counts.settled}"
