"""The page mounted on the application: Gradio's server behind a guard, with uploads and downloads of our own."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App as GradioApp
from starlette.routing import Mount

from cartoon.web.backend import Backend
from cartoon.web.page import file_routes
from cartoon.web.page.gradio_guard import GradioGuard, Offer
from cartoon.web.page.layout import build
from cartoon.web.page.option_calls import LATER
from cartoon.web.visitor_files import VisitorFiles

CSS_FILE: Final = Path(__file__).parent / "page.css"
FONTS: Final = ("Inter", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "DejaVu Sans", "sans-serif")
"""Fonts that machines have: a web font would be fetched from another host."""
MONO_FONTS: Final = ("Cascadia Mono", "Consolas", "Menlo", "DejaVu Sans Mono", "monospace")


def mount(app: FastAPI, backend: Backend, files: VisitorFiles) -> Callable[[], None]:
    """Mounts the page at `/` of `app`, with our own uploads and downloads, and a guard before all of it.

    Returns what ends the pages' open event streams, to be called in the event loop when the server stops.
    """
    settings = backend.settings
    file_routes.install(app, backend, files)
    page = build(backend, files)
    # Gradio looks where a file lies only in a page that was launched, which a mounted one never is.
    page.has_launched = True
    page.queue(max_size=settings.max_queue, api_open=False)
    files.share_what_is_there()
    theme = gr.themes.Soft(primary_hue="violet", secondary_hue="violet", font=FONTS, font_mono=MONO_FONTS)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        max_file_size=f"{max(settings.max_upload_mb, settings.max_job_mb)}mb",  # told to the page; uploads are weighed
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
    waited_for = page._queue.pending_messages_per_session
    app.add_middleware(GradioGuard, offers=_offers(page), waited_for=waited_for, files=files, limits=backend.limits)
    mounts = [route.app for route in app.routes if isinstance(route, Mount)]
    return next(mounted for mounted in mounts if isinstance(mounted, GradioApp)).stop_event.set


def _offers(page: gr.Blocks) -> dict[str | int, Offer]:
    """Every function of the page, as the guard knows it."""
    offers: dict[str | int, Offer] = {}
    for index, function in page.fns.items():
        if function.fn is None:  # what the browser does by itself
            continue
        public = function.api_visibility == "public"
        given = [part for part in function.inputs if not part.skip_api]
        # What queues draws or takes photos in; the rest looks, or says something short.
        offer = Offer(
            index,
            (len(function.inputs), len(given)),
            public,
            counted=bool(function.queue),
            later=LATER if public else 0,
        )
        offers[index] = offer
        if public and isinstance(function.api_name, str):
            offers[function.api_name] = offer
    return offers
