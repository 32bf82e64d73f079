"""Apps of REST over one folder, with a stylizer that draws at once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cartoon.jobs.service.jobs import JobService
from cartoon.settings import Settings
from cartoon.web.access.visitors import Owners
from cartoon.web.backend import Backend, model_of
from cartoon.web.lifecycle import Readiness
from cartoon.web.rest import cartoonize, jobs
from tests.fakes import FakeStylizer, spec_of
from tests.web.rest.asking import Served


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Makes an app over one and the same folder; what it was made of is closed afterwards."""
    made: list[Served] = []

    def served(stylizer: FakeStylizer | None = None, **changed: Any) -> Served:
        stylizer = stylizer or FakeStylizer()
        settings = Settings(data_dir=tmp_path, **{"max_upload_mb": 1, "max_job_mb": 2, **changed})
        service, readiness, app = (
            JobService(tmp_path / "jobs", spec_of(stylizer), model_of(stylizer), 10**6),
            Readiness(),
            FastAPI(),
        )
        backend = Backend(service, stylizer, settings, tmp_path / "incoming")
        jobs.install(app, backend, readiness)
        cartoonize.install(app, backend, readiness)
        app.add_middleware(Owners)
        made.append(Served(tmp_path, stylizer, service, readiness, app))
        return made[-1]

    yield served
    for one in made:
        one.service.close()


@pytest.fixture
def client(serve: Callable[..., Served]) -> Iterator[TestClient]:
    with TestClient(serve().app) as client:
        yield client
