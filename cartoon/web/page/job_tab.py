"""The tab of many photos: the form that starts a job, and the panel that shows one. Layout, then wiring."""

from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from cartoon.styles.catalogue import StyleCard
from cartoon.web.page.job_actions import TICK_SECONDS, VIEW, JobActions
from cartoon.web.page.option_fields import OptionFields, option_fields

STARTS_AT_ONCE: Final = 4
"""Uploads that become jobs at the same time; what they draw is the service's matter."""
REMEMBER: Final = """(job) => {
    const here = new URL(window.location);
    here.searchParams.set("job", job);
    if (job) window.history.replaceState(null, "", here);
}"""
"""The browser's address names the job from then on: a refresh, or a friend, opens it again."""


@dataclass(frozen=True, eq=False)
class JobFields:
    """The parts of the tab of many photos, VIEW's under their names there."""

    photos: gr.File
    options: OptionFields
    start: gr.Button
    again: gr.Button
    job: gr.Textbox
    seen: gr.State
    timer: gr.Timer
    progress: gr.HTML
    controls: gr.Row
    pause: gr.Button
    cancel: gr.Button
    retry: gr.Button
    download: gr.HTML
    failures: gr.HTML
    gallery: gr.HTML
    history: gr.HTML


def job_tab(styles: tuple[StyleCard, ...]) -> JobFields:
    """The tab, laid out where this is called."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            photos = gr.File(file_count="multiple", label="Photos, or a zip of them", height=220, elem_id="toon-photos")
            options = option_fields(styles)
            start = gr.Button("Start", variant="primary", size="lg")
        with gr.Column(scale=3, min_width=320):
            job = gr.Textbox(visible=False)  # not a State: the browser still has it when the server was restarted
            progress = gr.HTML(elem_id="toon-run")
            download = gr.HTML(elem_id="toon-zip")
            with gr.Row(visible=False, elem_id="toon-controls") as controls:
                pause = gr.Button("Pause", size="sm", min_width=90)
                cancel = gr.Button("Cancel", size="sm", min_width=90)
                retry = gr.Button("Retry failed", size="sm", min_width=90)
                again = gr.Button("Use these options again", size="sm", min_width=160)
            failures, gallery = gr.HTML(elem_id="toon-failed"), gr.HTML(elem_id="toon-gallery")
            with gr.Accordion("Your jobs", open=True):
                history = gr.HTML(elem_id="toon-jobs")
    seen, timer = gr.State(""), gr.Timer(TICK_SECONDS, active=False)
    parts = (job, seen, timer, progress, controls, pause, cancel, retry, download, failures, gallery, history)
    return JobFields(photos, options, start, again, *parts)


def wire_jobs(page: gr.Blocks, does: JobActions, tabs: gr.Tabs, many: JobFields, machine: gr.HTML) -> None:
    """Buttons, timer and address call their actions."""
    parts = {**vars(many), "machine": machine}
    view = [parts[name] for name in VIEW]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    started = many.start.click(
        does.start,
        [many.photos, *many.options.all],
        view,
        preprocess=False,
        concurrency_id="starting",
        concurrency_limit=STARTS_AT_ONCE,
        show_progress_on=many.progress,
        api_visibility="private",
    )
    started.success(None, many.job, None, js=REMEMBER, **quick)
    page.load(does.arrive, None, [tabs, *view], **quick)
    many.timer.tick(does.tick, [many.job, many.seen], view, **quick)
    for button, act in ((many.pause, does.toggle), (many.cancel, does.cancel), (many.retry, does.retry)):
        button.click(act, many.job, view, **quick)
    many.again.click(does.options_of, many.job, many.options.all, **quick)
