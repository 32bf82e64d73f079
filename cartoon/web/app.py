"""The application put together: the REST door and the page, mounted on one port behind the same guards."""

import os
from collections.abc import Callable
from typing import Final

from fastapi import FastAPI

from cartoon.images.decode import decoding
from cartoon.jobs.executors.base import Load, WorkerSpec
from cartoon.jobs.service.jobs import JobService
from cartoon.quality.gate import Judge
from cartoon.settings import Settings
from cartoon.telemetry import metrics
from cartoon.web.access.connections import BodyTimeout
from cartoon.web.access.login import Login
from cartoon.web.access.perimeter import Perimeter
from cartoon.web.access.visitors import Owners
from cartoon.web.backend import Backend, model_of
from cartoon.web.data_dir import open_data_dir
from cartoon.web.lifecycle import Readiness, lifespan
from cartoon.web.photo import WebStylizer
from cartoon.web.rest import cartoonize, jobs
from cartoon.web.visitor_files import VisitorFiles

DAY_SECONDS: Final = 86_400


def create_app(
    stylizer: WebStylizer,
    settings: Settings,
    warm: Callable[[], None] | None = None,
    judge: Judge | None = None,
    isolated: Load | None = None,
) -> FastAPI:
    """REST under /api/v1, /healthz, /readyz and /metrics, the page and its own endpoints at `/`, for any ASGI server.

    warm: draws the stylizer's first picture, in a thread once the app starts; the app says that it is ready when that
    is done, or from the start without it. `app.state.readiness` tells everybody and is told to drain.
    judge: the quality gate of jobs. They live under `settings.data_dir`, and go on with the next app made over it.
    isolated: what a process of its own loads for the last try of a photo that this one may have died over; without it
    such tries are made here.
    """
    data = open_data_dir(settings.data_dir)
    # Written, not read: Gradio takes these two from the environment only, and reads them while its page is built.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(data.page)
    from cartoon.web.page import mount  # here, so that Gradio is imported after the lines above

    decoding.allow(settings.max_pixels_under_way)
    spec = WorkerSpec(lambda _: stylizer, settings, judge, isolated)
    service = JobService(data.jobs, spec, model_of(stylizer), settings.max_pixels)
    metrics.watch_jobs(service.states)
    backend, files = Backend(service, stylizer, settings, data.incoming), VisitorFiles(data.page)
    readiness = Readiness(warm=warm is None)
    living = lifespan(readiness, service, data, settings.keep_days * DAY_SECONDS, warm)
    # The interactive documentation pages would load their script from another host.
    app = FastAPI(title="Cartoon", docs_url=None, redoc_url=None, lifespan=living)
    app.state.settings, app.state.readiness = settings, readiness
    jobs.install(app, backend, readiness)
    cartoonize.install(app, backend, readiness)
    app.state.end_streams = mount.mount(app, backend, files)
    # Each is outside of the one before.
    app.add_middleware(Owners, embedded=bool(settings.frame_ancestors))
    app.add_middleware(Login, settings=settings, secret=data.secret())
    app.add_middleware(BodyTimeout)
    app.add_middleware(Perimeter, settings=settings)
    return app
