"""How the tests of jobs over REST ask: photos sent, jobs waited for, zips opened."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cartoon.images.encode import encode
from cartoon.jobs.service.jobs import JobService
from cartoon.web.lifecycle import Readiness
from tests.fakes import FakeStylizer
from tests.waiting import wait_for

JOBS = "/api/v1/jobs"
UNKNOWN = "0" * 32


@dataclass(frozen=True, eq=False)
class Served:
    """An app over a folder, and what it is made of."""

    home: Path
    stylizer: FakeStylizer
    service: JobService
    readiness: Readiness
    app: FastAPI


def picture(shade: int, side: int = 40) -> bytes:
    return encode(np.full((side * 3 // 4, side, 3), shade, np.uint8), None, "png")


def photos(*names: str, field: str = "images") -> list[tuple[str, tuple[str, bytes]]]:
    """Form fields, each picture another; a name that begins with "bad" is a text."""
    return [
        (field, (name, b"a text" if name.startswith("bad") else picture(20 + number)))
        for number, name in enumerate(names)
    ]


def send(client: TestClient, *names: str, **fields: str) -> str:
    answer = client.post(JOBS, files=photos(*names), data={"size": "64", **fields})
    assert answer.status_code == 201, answer.text
    id = answer.json()["id"]
    assert answer.json()["url"] == answer.headers["location"] == f"{JOBS}/{id}"
    assert len(id) == 32
    return str(id)


def at_rest(client: TestClient, id: str) -> dict[str, Any]:
    told: dict[str, Any] = {}

    def rests() -> bool:
        told.update(client.get(f"{JOBS}/{id}").json())
        return told["state"] not in ("waiting", "running")

    wait_for(rests)
    return told


def zipped(*members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        for number, name in enumerate(members):
            bundle.writestr(name, picture(100 + number))
    return data.getvalue()


class Answer(Protocol):
    """Of the test client or of httpx, whose own classes differ."""

    @property
    def content(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def unzipped(answer: Answer) -> zipfile.ZipFile:
    bundle = zipfile.ZipFile(io.BytesIO(answer.content))
    assert bundle.testzip() is None
    assert int(answer.headers["content-length"]) == len(answer.content)
    return bundle
