"""The page: one photo with a before/after; many photos as a job that outlives it. Layout, then wiring."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App as GradioApp
from starlette.routing import Mount

from cartoon.actions import Actions
from cartoon.intake import Reception
from cartoon.job_actions import JobActions
from cartoon.job_tab import job_tab, wire_jobs
from cartoon.option_fields import OptionFields, option_fields
from cartoon.settings import Options
from cartoon.styles.registry import PAINTED, StyleCard

BATCHES_AT_ONCE: Final = 4
"""Callers of /cartoonize_batch whose jobs draw in turns; a caller holds a thread until its job is done."""
SWEEP_SECONDS: Final = (3600, 6 * 3600)
"""How often uploads are swept, and how old they may get."""
EXAMPLES: Final = Path(__file__).parent.parent / "assets" / "examples"
CSS_FILE: Final = Path(__file__).parent / "ui.css"
FONTS: Final = ("Inter", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "DejaVu Sans", "sans-serif")
"""Fonts that machines have: a web font would be fetched from another host."""
MONO_FONTS: Final = ("Cascadia Mono", "Consolas", "Menlo", "DejaVu Sans Mono", "monospace")


class LocalBlocks(gr.Blocks):
    """Blocks that never fetch a file from an address a caller sends."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> Any:
        """Refuses inputs that name a URL in place of an uploaded file; the rest is Gradio's own."""
        if _names_url(inputs):
            sentence = "Upload the photo itself: this server fetches nothing from addresses."
            raise gr.Error(sentence, title="Not drawn", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def build(reception: Reception, results: Path) -> gr.Blocks:
    """The whole page, wired; files of results lie under `results`, which must be inside Gradio's cache."""
    does, artist = Actions(reception, results), reception.artist
    page = LocalBlocks(title="Cartoon", analytics_enabled=False, delete_cache=SWEEP_SECONDS, fill_width=True)
    with page:
        # A user's own styles are a matter of this server, not of what Cartoon is: they stand among the choices alone.
        titles = [card.title.lower() for card in artist.styles if card.painter != PAINTED]
        looks = " or ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))
        tagline = f"Your portraits as {html.escape(looks)}. No photo is passed on to any other service."
        gr.HTML(f"<h1>Cartoon</h1><p>{tagline}</p>", elem_id="toon-head")
        with gr.Tabs() as tabs:
            with gr.Tab("One photo", id="one"):
                one = _one_photo(does)
            with gr.Tab("Many photos", id="many"):
                many = job_tab(artist.styles)
        machine = gr.HTML(elem_id="toon-machine")
        _endpoints(does)
        wire_jobs(page, JobActions(reception), tabs, many, machine)
        # A style file that was added while the server runs is on offer from the next visit on.
        page.load(
            lambda: _styles_now(artist.styles),
            None,
            [one.style, many.options.style],
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
            options = option_fields(does.reception.artist.styles)
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
        concurrency_limit=does.reception.artist.at_once,
        api_visibility="private",
    )
    return options


def _endpoints(does: Actions) -> None:
    """The two calls for gradio_client, with plain parameters and defaults apart from the page's fields."""
    given = Options()
    with gr.Column(visible=False):
        image = gr.Image(type="filepath", image_mode=None, label="image")
        files = gr.File(file_count="multiple", label="files")
        asked = [
            gr.Textbox(given.style, label="style"),
            gr.Number(given.strength, label="strength"),
            gr.Number(given.exaggeration, label="exaggeration"),
            gr.Textbox(str(given.size), label='size: long side in px, or "original"'),
            gr.Textbox(given.background, label="background: drawn, photo, transparent or #RRGGBB"),
            gr.Textbox(given.format, label="format: png, jpg, webp or keep"),
            gr.Number(given.quality, label="quality"),
        ]
        drawn, status = gr.File(label="picture"), gr.Textbox(label="status")
        archive, pictures, report = gr.File(label="zip"), gr.Gallery(label="pictures"), gr.JSON(label="report")
        one, many = gr.Button(), gr.Button()
    one.click(
        does.cartoonize,
        [image, *asked],
        [drawn, status],
        preprocess=False,
        concurrency_id="drawing",
        concurrency_limit=does.reception.artist.at_once,
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


def mount(app: FastAPI, reception: Reception, cache: Path) -> Callable[[], None]:
    """Mounts the page at `/` of `app`; `cache` is the folder that Gradio was told to keep files in.

    Returns what ends the pages' open event streams, to be called in the event loop when the server stops.
    """
    settings = reception.settings
    page = build(reception, cache / "results")
    page.queue(max_size=settings.max_queue, api_open=False)
    theme = gr.themes.Soft(primary_hue="violet", secondary_hue="violet", font=FONTS, font_mono=MONO_FONTS)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        max_file_size=f"{max(settings.max_upload_mb, settings.max_job_mb)}mb",  # zips; pictures are weighed by actions
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        footer_links=["api"],
        theme=theme,
        css_paths=[CSS_FILE],
    )
    mounts = [route.app for route in app.routes if isinstance(route, Mount)]
    return next(mounted for mounted in mounts if isinstance(mounted, GradioApp)).stop_event.set


def _names_url(value: Any) -> bool:
    if isinstance(value, dict):
        path = value.get("path")
        return (isinstance(path, str) and "://" in path) or any(_names_url(part) for part in value.values())
    return isinstance(value, list) and any(_names_url(part) for part in value)
