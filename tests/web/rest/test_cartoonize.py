"""REST: pictures with their headers, one sentence per error, and bounds on what a stranger can take."""

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from cartoon.errors import ResourceError
from cartoon.images.encode import encode
from cartoon.jobs.service.jobs import JobService
from cartoon.settings import Settings
from cartoon.web.backend import Backend, model_of
from cartoon.web.lifecycle import Readiness
from cartoon.web.rest import cartoonize
from tests.fakes import CARDS, FakeStylizer, TroubledStylizer, spec_of
from tests.small_style import write_style
from tests.waiting import PATIENCE

URL = "/api/v1/cartoonize"
PICTURE = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")
HUGE = b"IHDR" + struct.pack(">II", 60_000, 60_000) + PICTURE[24:29]
BOMB = PICTURE[:12] + HUGE + struct.pack(">I", zlib.crc32(HUGE)) + PICTURE[33:]
"""A small PNG whose header promises 60,000 x 60,000 px."""
SETTINGS = Settings(max_upload_mb=1, max_queue=1)


Maker = Callable[..., FastAPI]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Maker]:
    """Makes an app of REST alone; its service is closed afterwards."""
    services: list[JobService] = []

    def made(stylizer: FakeStylizer, readiness: Readiness | None = None) -> FastAPI:
        app, service = (
            FastAPI(),
            JobService(tmp_path / f"jobs{len(services)}", spec_of(stylizer), model_of(stylizer), 10**6),
        )
        services.append(service)
        cartoonize.install(app, Backend(service, stylizer, SETTINGS, tmp_path / "incoming"), readiness or Readiness())
        return app

    yield made
    for service in services:
        service.close()
    assert not list((tmp_path / "incoming").glob("*"))  # no upload is left behind


@pytest.fixture
def stylizer() -> FakeStylizer:
    return FakeStylizer()


@pytest.fixture
def client(make_app: Maker, stylizer: FakeStylizer) -> Iterator[TestClient]:
    with TestClient(make_app(stylizer)) as client:
        yield client


def post(client: TestClient, data: bytes = PICTURE, name: str = "anna.png", **fields: str) -> Any:
    return post_form(client, fields, data, name)


def post_form(client: TestClient, fields: dict[str, str], data: bytes = PICTURE, name: str = "anna.png") -> Any:
    return client.post(URL, files={"image": (name, data)}, data={"size": "64", **fields})


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def test_a_photo_comes_back_drawn_with_its_facts_in_the_headers(client: TestClient) -> None:
    answer = post(client, size="80", style="comic")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert size_of(answer.content) == (80, 60)
    assert answer.headers["x-faces"] == "0"
    assert answer.headers["x-effective-size"] == "40"
    assert answer.headers["content-disposition"].startswith('inline; filename="anna-comic.png"')
    steps = [part.split(";dur=") for part in answer.headers["server-timing"].split(", ")]
    assert [step for step, _ in steps] == ["decode", "detect", "draw", "encode"]
    assert all(float(duration) >= 0 for _, duration in steps)


@pytest.mark.parametrize(("format", "kind"), [("png", "png"), ("jpg", "jpeg"), ("webp", "webp"), ("keep", "png")])
def test_the_type_follows_the_format(client: TestClient, format: str, kind: str) -> None:
    answer = post(client, format=format, quality="80")
    assert answer.headers["content-type"] == f"image/{kind}"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == kind.upper()


def test_original_size_keeps_the_photos_own(client: TestClient) -> None:
    assert size_of(post(client, size="original").content) == (40, 30)


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"strength": "1.5"}, "bad_options", "strength"),
        ({"strength": "much"}, "bad_options", "strength"),
        ({"size": "12"}, "bad_options", "size"),
        ({"exaggeration": "-1"}, "bad_options", "exaggeration"),
        ({"background": "red"}, "bad_options", "background"),
        ({"format": "bmp"}, "bad_options", "format"),
        ({"quality": "0"}, "bad_options", "quality"),
        ({"size": "4096", "upscale": "4", "format": "webp"}, "bad_options", "webp cannot hold"),
        ({"style": ""}, "bad_options", "style"),
        ({"style": "oil"}, "bad_style", "anime"),
        ({"style": "/etc/passwd"}, "bad_style", "passwd"),
        ({"colour": "red"}, "bad_options", "colour"),
    ],
)
def test_a_bad_option_is_refused_by_name(
    client: TestClient, stylizer: FakeStylizer, fields: dict[str, str], code: str, named: str
) -> None:
    answer = post_form(client, fields)
    assert answer.status_code == 400
    assert answer.json()["error"] == code
    assert named in answer.json()["message"]
    assert stylizer.seen == []


@pytest.mark.parametrize(
    "request_parts",
    [
        {"data": {"style": "anime"}},
        {"json": {"image": "x"}},
        {"files": {"style": ("a.png", PICTURE)}},
        {"files": {"image": ("", b"")}},
        {"files": [("image", ("a.png", PICTURE)), ("image", ("b.png", PICTURE))]},
        {"files": {"image": ("a.png", PICTURE)}, "data": {"size": ["64", "128"]}},
        {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=y"}},
        {"content": b"", "headers": {"content-type": "multipart/form-data"}},
    ],
    ids=["no-image", "json", "wrong-field", "no-file-chosen", "two-images", "two-sizes", "broken-form", "no-boundary"],
)
def test_anything_but_one_picture_in_a_form_is_refused(client: TestClient, request_parts: dict[str, Any]) -> None:
    answer = client.post(URL, **request_parts)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_options")
    assert answer.json()["message"].endswith(".")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"this is a text", 415, "unsupported"),
        (b"%PDF-1.7 and so on", 415, "unsupported"),
        (b"", 422, "unreadable"),
        (PICTURE[: len(PICTURE) // 2], 422, "unreadable"),
        (BOMB, 413, "too_large"),
    ],
    ids=["text", "pdf", "empty", "truncated", "bomb"],
)
def test_a_bad_file_gets_its_status_and_a_sentence_naming_it(
    client: TestClient, data: bytes, status: int, code: str
) -> None:
    answer = post(client, data, "C:\\photos\\holi\u202eday.jpg")
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert "holiday.jpg" in answer.json()["message"]
    assert "photos" not in answer.json()["message"]


def test_a_too_large_upload_is_refused_by_its_declared_length(client: TestClient, stylizer: FakeStylizer) -> None:
    answer = post(client, bytes(3 * 2**20))
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert "1 MB" in answer.json()["message"]
    assert stylizer.seen == []


def test_an_upload_without_a_length_is_cut_off_while_it_streams(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        while sent < 100:
            sent += 1
            yield bytes(2**20)

    answer = client.post(URL, content=endless(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_a_file_just_over_the_limit_is_named(client: TestClient) -> None:
    answer = post(client, bytes(2**20 + 1), "wide.png")
    assert answer.status_code == 413
    assert "wide.png" in answer.json()["message"]


def test_a_shortage_can_be_tried_again(make_app: Maker) -> None:
    def shortage(name: str) -> None:
        raise ResourceError(f"{name} did not fit into memory: try a smaller size.")

    with TestClient(make_app(TroubledStylizer(shortage))) as client:
        answer = post(client)
    assert (answer.status_code, answer.json()["error"]) == (503, "no_resources")
    assert int(answer.headers["retry-after"]) > 0


def test_our_own_fault_tells_a_stranger_no_detail(make_app: Maker) -> None:
    def fault(name: str) -> None:
        raise RuntimeError(f"secret detail about {name}")

    with TestClient(make_app(TroubledStylizer(fault)), raise_server_exceptions=False) as client:
        answer = post(client)
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert "secret" not in answer.text


def test_a_full_queue_turns_requests_away_while_the_rest_is_drawn(make_app: Maker) -> None:
    gate = threading.Event()
    stylizer = TroubledStylizer(lambda name: None if gate.wait(PATIENCE) else pytest.fail("the gate stayed shut"))
    statuses: list[int] = []
    # So many are inside the pipeline, max_queue wait: two more have to be turned away.
    asked = stylizer.at_once + cartoonize.MORE_AT_ONCE + SETTINGS.max_queue + 2

    async def ask(client: httpx.AsyncClient) -> None:
        answer = await client.post(URL, files={"image": ("a.png", PICTURE)}, data={"size": "64"})
        statuses.append(answer.status_code)
        if len(statuses) == 2:
            gate.set()

    async def ask_all() -> None:
        transport = httpx.ASGITransport(make_app(stylizer))
        client = httpx.AsyncClient(transport=transport, base_url="http://test")
        async with client, anyio.create_task_group() as group:
            for _ in range(asked):
                group.start_soon(ask, client)

    anyio.run(ask_all)
    assert statuses == [429, 429] + [200] * (asked - 2)
    assert len(stylizer.seen) == asked - 2


def test_the_styles_are_listed_with_where_they_come_from(client: TestClient) -> None:
    cards = client.get("/api/v1/styles").json()
    assert [card["id"] for card in cards] == [card.id for card in CARDS]
    assert all(set(card) == {"id", "title", "licence", "origin", "sha256"} for card in cards)


def test_a_style_of_a_users_own_is_on_offer_as_soon_as_its_file_is_there_and_never_by_its_path(
    make_app: Maker, tmp_path: Path
) -> None:
    stylizer = FakeStylizer(tmp_path)
    with TestClient(make_app(stylizer)) as client:
        assert post(client, style="wool").status_code == 400
        path = write_style(tmp_path / "wool.safetensors")
        assert client.get("/api/v1/styles").json()[-1]["id"] == "wool"
        assert post(client, style="wool").status_code == 200
        stylizer.seen.clear()
        for asked in (str(path), path.as_uri(), "wool.safetensors", f"../{tmp_path.name}/wool.safetensors"):
            answer = post(client, style=asked)
            assert (answer.status_code, answer.json()["error"]) == (400, "bad_style")
        assert stylizer.seen == []
        path.unlink()
        assert post(client, style="wool").status_code == 400


def test_health_and_wrong_addresses_answer_in_json(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.head("/healthz").status_code == 200
    for answer in (client.get("/api/v1/nothing"), client.get(URL), client.post("/api/v2/cartoonize")):
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_ready_once_warm_and_no_longer_while_draining(make_app: Maker, stylizer: FakeStylizer) -> None:
    readiness = Readiness(warm=False)
    with TestClient(make_app(stylizer, readiness)) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]) == (503, "starting")
        assert post(client).status_code == 200  # who asks all the same is served
        readiness.warmed()
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.head("/readyz").status_code == 200
        readiness.drain()
        for answer in (client.get("/readyz"), post(client), client.post("/api/v1/jobs/x/resume")):
            assert (answer.status_code, answer.json()["error"]) == (503, "draining")
            assert int(answer.headers["retry-after"]) > 0
        assert client.head("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/v1/styles").status_code == 200  # only new work is refused
    assert len(stylizer.seen) == 1


def test_a_request_counts_as_work_until_it_is_answered(make_app: Maker) -> None:
    readiness = Readiness()
    busy: list[bool] = []
    with TestClient(make_app(TroubledStylizer(lambda name: busy.append(readiness.busy)), readiness)) as client:
        post(client)
        client.get("/api/v1/styles")
    assert busy == [True]
    assert not readiness.busy


def test_metrics_are_prometheus_text_and_name_nobody(client: TestClient) -> None:
    post(client, name="private-name.png")
    post(client, b"this is a text", "private-name.png")
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"cartoon_photos", "cartoon_step_seconds", "cartoon_photos_under_way"} <= families
    assert 'cartoon_photos_total{outcome="unsupported",style="anime"}' in answer.text
    assert "private-name" not in answer.text
    assert client.head("/metrics").headers["content-type"] == answer.headers["content-type"]
    newer = client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert newer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert newer.text.endswith("# EOF\n")


def test_no_file_name_reaches_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="cartoon"):
        post(client, name="private-name.png")
        post(client, b"this is a text", "private-name.png")
    assert "private-name" not in caplog.text
    told = [(said["event"], said.get("style"), said.get("code")) for said in map(vars, caplog.records)]
    assert told == [("photo_done", "anime", None), ("photo_failed", None, "unsupported")]


def test_a_name_outside_ascii_survives_in_the_header(client: TestClient) -> None:
    header = post(client, name="Zoë Z.png").headers["content-disposition"]
    assert "filename*=UTF-8''Zo%C3%AB%20Z-anime.png" in header
    assert header.isascii()
