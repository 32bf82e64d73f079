"""The page: one photo with a before/after; many photos as a job that outlives it. Layout, then wiring."""

import html
import logging
import traceback
from pathlib import Path
from typing import Any, Final

import gradio as gr

from cartoon.assets import EXAMPLES
from cartoon.styles.catalogue import PAINTED, StyleCard
from cartoon.telemetry import metrics
from cartoon.web.backend import Backend
from cartoon.web.page.actions import Actions
from cartoon.web.page.job_actions import JobActions
from cartoon.web.page.job_tab import job_tab, wire_jobs
from cartoon.web.page.option_calls import option_inputs
from cartoon.web.page.option_fields import OptionFields, option_fields
from cartoon.web.visitor_files import VisitorFiles

BATCHES_AT_ONCE: Final = 4
"""Callers of /cartoonize_batch whose jobs draw in turns; a caller holds a thread until its job is done."""
NOT_UNDERSTOOD: Final = "This was not understood: load the page again, and tell the operator if it happens twice."

log = logging.getLogger(__name__)


class PlainSpokenBlocks(gr.Blocks):
    """Blocks that say in a sentence what is wrong with a call, where Gradio would print a traceback with its values."""

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As Gradio's; raises gr.Error alone."""
        try:
            return await super().process_api(*args, **kwargs)
        except gr.Error as told:
            told.print_exception = False
            raise
        except Exception as fault:  # noqa: BLE001 - whatever a client may send
            where = traceback.extract_tb(fault.__traceback__)[-1]
            log.warning(
                "a call of the page failed: %s at %s:%d",
                type(fault).__name__,
                Path(where.filename).name,
                where.lineno or 0,
                extra={"event": "call_failed", "code": metrics.INTERNAL},
            )
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False) from None


def build(backend: Backend, files: VisitorFiles) -> gr.Blocks:
    """The whole page, wired; `files` must lie inside Gradio's cache."""
    does, stylizer = Actions(backend, files), backend.stylizer
    # Nothing of Gradio's own sweeping: it empties the folder at every start, also of photos that an open page names.
    page = PlainSpokenBlocks(title="Cartoon", analytics_enabled=False, delete_cache=None, fill_width=True)
    with page:
        # A user's own styles are a matter of this server, not of what Cartoon is: they stand among the choices alone.
        titles = [card.title.lower() for card in stylizer.styles if card.painter != PAINTED]
        looks = " or ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))
        tagline = f"Your portraits as {html.escape(looks)}. No photo is passed on to any other service."
        gr.HTML(f"<h1>Cartoon</h1><p>{tagline}</p>", elem_id="toon-head")
        with gr.Tabs() as tabs:
            with gr.Tab("One photo", id="one"):
                one = _one_photo(does)
            with gr.Tab("Many photos", id="many"):
                many = job_tab(stylizer.styles)
        machine = gr.HTML(elem_id="toon-machine")
        _endpoints(does)
        wire_jobs(page, JobActions(backend, files), tabs, many, machine)
        # A style file that was added while the server runs is on offer from the next visit on.
        page.load(
            lambda: _styles_now(stylizer.styles),
            None,
            [one.parts["style"], many.options.parts["style"]],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    return page


def _styles_now(styles: tuple[StyleCard, ...]) -> tuple[gr.Radio, gr.Radio]:
    """Both tabs' choices; what is chosen stays."""
    choices = [(card.title, card.id) for card in styles]
    return gr.Radio(choices=choices), gr.Radio(choices=choices)


def _one_photo(does: Actions) -> OptionFields:
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            photo = gr.Image(
                sources=["upload", "webcam", "clipboard"],
                type="filepath",
                image_mode=None,
                label="Photo",
                height=320,
                elem_id="toon-photo",
            )
            options = option_fields(does.backend.stylizer.styles)
            go = gr.Button("Cartoonize", variant="primary", size="lg")
        with gr.Column(scale=3, min_width=320):
            slider = gr.ImageSlider(
                label="Before and after",
                show_label=False,
                format="png",
                interactive=False,
                buttons=["fullscreen"],
                max_height=720,
                elem_id="toon-result",
            )
            status = gr.Markdown(elem_id="toon-status")
            download = gr.DownloadButton("Download", interactive=False, elem_id="toon-download")
    examples = sorted(EXAMPLES.glob("*.jpg"))
    if examples:
        gr.Examples([str(path) for path in examples], photo, label="Examples", api_visibility="private")
    go.click(
        does.draw_one,
        [photo, *options.all],
        [slider, download, status],
        preprocess=False,
        concurrency_id="drawing",
        concurrency_limit=does.backend.stylizer.at_once,
        api_visibility="private",
    )
    return options


def _endpoints(does: Actions) -> None:
    """The two calls for gradio_client, with plain parameters and defaults apart from the page's fields."""
    with gr.Column(visible=False):
        image = gr.Image(type="filepath", image_mode=None, label="image")
        files = gr.File(file_count="multiple", label="files")
        asked = option_inputs()
        drawn, status = gr.File(label="picture"), gr.Textbox(label="status")
        archive, pictures, report = gr.File(label="zip"), gr.Gallery(label="pictures"), gr.JSON(label="report")
        one, many = gr.Button(), gr.Button()
    one.click(
        does.cartoonize,
        [image, *asked],
        [drawn, status],
        preprocess=False,
        concurrency_id="drawing",
        concurrency_limit=does.backend.stylizer.at_once,
        api_name="cartoonize",
    )
    many.click(
        does.cartoonize_batch,
        [files, *asked],
        [archive, pictures, report],
        preprocess=False,
        concurrency_id="batch",
        concurrency_limit=BATCHES_AT_ONCE,
        api_name="cartoonize_batch",
    )
