"""Jobs over REST: sent once, found again by whoever has the id, listed for their sender alone, fetched as a zip."""

import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from cartoon.errors import StorageError
from cartoon.images.encode import encode
from cartoon.jobs.service.jobs import JobService
from cartoon.settings import Settings
from cartoon.web import intake, multipart
from cartoon.web.access.visitors import COOKIE, Owners
from cartoon.web.intake import Reception, model_of
from cartoon.web.messages import without_paths
from cartoon.web.readiness import Readiness
from cartoon.web.rest import cartoonize, jobs
from tests.fakes import FakeArtist, TroubledArtist, spec_of
from tests.waiting import PATIENCE

JOBS = "/api/v1/jobs"
UNKNOWN = "0" * 32


@dataclass(frozen=True, eq=False)
class Served:
    """An app over a folder, and what it is made of."""

    home: Path
    artist: FakeArtist
    service: JobService
    readiness: Readiness
    app: FastAPI


def picture(shade: int, side: int = 40) -> bytes:
    return encode(np.full((side * 3 // 4, side, 3), shade, np.uint8), None, "png")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Makes an app over one and the same folder; what it was made of is closed afterwards."""
    made: list[Served] = []

    def served(artist: FakeArtist | None = None, **changed: Any) -> Served:
        artist = artist or FakeArtist()
        settings = Settings(data_dir=tmp_path, **{"max_upload_mb": 1, "max_job_mb": 2, **changed})
        service, readiness, app = (
            JobService(tmp_path / "jobs", spec_of(artist), model_of(artist), 10**6),
            Readiness(),
            FastAPI(),
        )
        reception = Reception(service, artist, settings, tmp_path / "incoming")
        jobs.install(app, reception, readiness)
        cartoonize.install(app, reception, readiness)
        app.add_middleware(Owners)
        made.append(Served(tmp_path, artist, service, readiness, app))
        return made[-1]

    yield served
    for one in made:
        one.service.close()


@pytest.fixture
def client(serve: Callable[..., Served]) -> Iterator[TestClient]:
    with TestClient(serve().app) as client:
        yield client


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
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        told: dict[str, Any] = client.get(f"{JOBS}/{id}").json()
        if told["state"] not in ("waiting", "running"):
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def zipped(*members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        for number, name in enumerate(members):
            bundle.writestr(name, picture(100 + number))
    return data.getvalue()


def unzipped(answer: httpx.Response) -> zipfile.ZipFile:
    bundle = zipfile.ZipFile(io.BytesIO(answer.content))
    assert bundle.testzip() is None
    assert int(answer.headers["content-length"]) == len(answer.content)
    return bundle


def test_photos_become_a_job_whose_zip_holds_every_drawing_and_the_report(client: TestClient) -> None:
    id = send(client, "Zoë (1).jpg", "same.png", "same.png", "bad.jpg", style="comic", title="A <b>party</b>")
    told = at_rest(client, id)
    assert told["state"] == "finished"
    assert told["title"] == "A <b>party</b>"
    assert told["options"]["style"] == "comic"
    assert (told["counts"]["total"], told["counts"]["done"], told["counts"]["failed"]) == (4, 3, 1)
    answer = client.get(told["links"]["zip"])
    assert "filename*=UTF-8''A%20_b_party__b_-comic.zip" in answer.headers["content-disposition"]
    with unzipped(answer) as bundle:
        names = ["Zoë (1).png", "same.png", "same-2.png", "report.csv", "report.json"]
        assert bundle.namelist() == names
        with Image.open(bundle.open("same-2.png")) as drawn:
            assert drawn.size == (64, 48)
        rows = json.loads(bundle.read("report.json"))
    assert [row["outcome"] for row in rows] == ["done", "done", "done", "failed"]
    head = client.head(told["links"]["zip"])
    assert (head.content, head.headers["content-length"]) == (b"", answer.headers["content-length"])


@pytest.mark.parametrize("field", multipart.FILE_FIELDS)
def test_pictures_come_in_any_of_the_file_fields(client: TestClient, field: str) -> None:
    answer = client.post(JOBS, files=photos("a.png", "b.png", field=field), data={"size": "64"})
    assert at_rest(client, answer.json()["id"])["counts"]["done"] == 2


def test_a_list_shows_what_the_asker_sent_and_an_id_opens_the_rest(serve: Callable[..., Served]) -> None:
    app = serve().app
    with TestClient(app) as ann, TestClient(app) as bob:
        assert ann.get(JOBS).json() == {"jobs": []}
        first, second = send(ann, "a.png"), send(ann, "b.png")
        theirs = send(bob, "c.png")
        assert [job["id"] for job in ann.get(JOBS).json()["jobs"]] == [second, first]
        assert [job["id"] for job in bob.get(JOBS).json()["jobs"]] == [theirs]
        assert at_rest(bob, first)["state"] == "finished"
        assert len({ann.cookies[COOKIE], bob.cookies[COOKIE]}) == 2
        forged = {"cookie": f"{COOKIE}=../ann"}
        ann.cookies.clear()
        assert ann.get(JOBS, headers=forged).json() == {"jobs": []}


def test_the_owner_is_a_cookie_that_scripts_and_other_sites_do_not_get(serve: Callable[..., Served]) -> None:
    app = serve().app
    for address, secure in (("http://test", False), ("https://test", True)):
        with TestClient(app, base_url=address) as client:
            answer = client.post(JOBS, files=photos("a.png"), data={"size": "64"})
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith(f"{COOKIE}=")
            for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=31536000"):
                assert part in cookie
            assert ("Secure" in cookie) == secure
            again = client.post(JOBS, files=photos("a.png"), data={"size": "64"})
            assert "set-cookie" not in again.headers
            assert len(client.get(JOBS).json()["jobs"]) == 2


def test_events_tell_every_change_and_end_with_the_job(client: TestClient) -> None:
    id = send(client, *(f"{n}.png" for n in range(5)))
    with client.stream("GET", f"{JOBS}/{id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert told[-1]["state"] == "finished"
    assert told[-1]["counts"]["done"] == 5
    done = [event["counts"]["done"] for event in told]
    assert done == sorted(done)


def test_events_end_when_the_server_drains(serve: Callable[..., Served]) -> None:
    gate = threading.Event()
    served = serve(TroubledArtist(lambda name: None if gate.wait(PATIENCE) else pytest.fail("the gate stayed shut")))
    with TestClient(served.app) as client:
        id = send(client, "a.png")
        threading.Timer(0.3, served.readiness.drain).start()
        with client.stream("GET", f"{JOBS}/{id}/events") as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert lines
        refused = client.post(JOBS, files=photos("b.png"))
        assert (refused.status_code, refused.json()["error"]) == (503, "draining")
        assert client.get(f"{JOBS}/{id}").json()["state"] == "running"
        gate.set()


def test_items_are_the_reports_rows_page_by_page(client: TestClient) -> None:
    id = send(client, *(f"{n}.png" for n in range(6)), "bad.jpg")
    at_rest(client, id)
    told = client.get(f"{JOBS}/{id}/items", params={"offset": 4, "limit": 2}).json()
    assert (told["total"], told["offset"]) == (7, 4)
    assert [(row["number"], row["photo"], row["outcome"]) for row in told["items"]] == [
        (4, "4.png", "done"),
        (5, "5.png", "done"),
    ]
    last = client.get(f"{JOBS}/{id}/items", params={"offset": 6}).json()["items"]
    assert [(row["code"], row["picture"]) for row in last] == [("unsupported", None)]
    assert client.get(f"{JOBS}/{id}/items", params={"offset": 99}).json()["items"] == []
    for wrong in ({"limit": 0}, {"limit": 5000}, {"offset": -1}, {"limit": "x"}):
        assert client.get(f"{JOBS}/{id}/items", params=wrong).status_code == 400
    assert client.get(f"{JOBS}/{id}/report.csv").content.decode("utf-8-sig").startswith("photo,outcome,")
    assert len(client.get(f"{JOBS}/{id}/report.json").json()) == 7


def test_pictures_and_their_small_copies_can_be_looked_at(client: TestClient, tmp_path: Path) -> None:
    answer = client.post(JOBS, files={"image": ("wide ü.png", picture(90, side=400))}, data={"size": "512"})
    id = answer.json()["id"]
    at_rest(client, id)
    full = client.get(f"{JOBS}/{id}/pictures/0")
    assert full.headers["content-type"] == "image/png"
    assert full.headers["content-disposition"] == "inline; filename*=utf-8''wide%20%C3%BC.png"
    assert Image.open(io.BytesIO(full.content)).size == (512, 384)
    for _ in range(2):
        small = client.get(f"{JOBS}/{id}/thumbs/0?v=1")
        assert small.headers["content-type"] == "image/jpeg"
        assert "immutable" in small.headers["cache-control"]
        assert Image.open(io.BytesIO(small.content)).size == (256, 192)
    assert len(list((tmp_path / "jobs" / id / "thumbs").iterdir())) == 1
    assert client.head(f"{JOBS}/{id}/thumbs/0").headers["content-length"] == str(len(small.content))


@pytest.mark.parametrize("number", ["1", "-1", "x", "0x0", "%2e%2e", "..%2fmanifest.json", "999999999999999", "٣"])
@pytest.mark.parametrize("kind", ["pictures", "thumbs"])
def test_no_number_leads_to_another_file(client: TestClient, kind: str, number: str) -> None:
    id = send(client, "a.png")
    at_rest(client, id)
    answer = client.get(f"{JOBS}/{id}/{kind}/{number}")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_pause_cancel_and_resume(serve: Callable[..., Served]) -> None:
    gate, reached = threading.Event(), threading.Semaphore(0)

    def hold(name: str) -> None:
        reached.release()
        assert gate.wait(PATIENCE)

    with TestClient(serve(TroubledArtist(hold)).app) as client:
        id = send(client, *(f"{n}.png" for n in range(12)))
        reached.acquire()
        assert client.post(f"{JOBS}/{id}/pause").json()["state"] == "paused"
        gate.set()
        assert at_rest(client, id)["counts"]["remaining"] > 0
        with unzipped(client.get(f"{JOBS}/{id}/zip")) as bundle:
            assert {"report.csv", "report.json"} <= set(bundle.namelist())
        assert client.post(f"{JOBS}/{id}/cancel").json()["state"] == "cancelled"
        client.post(f"{JOBS}/{id}/resume")
        assert at_rest(client, id)["counts"]["done"] == 12


def test_retry_draws_what_failed(serve: Callable[..., Served]) -> None:
    broken = {"1.png"}

    def trouble(name: str) -> None:
        if name in broken:
            raise ZeroDivisionError

    with TestClient(serve(TroubledArtist(trouble)).app) as client:
        id = send(client, "0.png", "1.png", "2.png")
        assert at_rest(client, id)["counts"]["failed"] == 1
        broken.clear()
        client.post(f"{JOBS}/{id}/retry")
        assert at_rest(client, id)["counts"]["done"] == 3


def test_a_job_outlives_its_server(serve: Callable[..., Served]) -> None:
    gate, reached = threading.Event(), threading.Semaphore(0)

    def hold(name: str) -> None:
        reached.release()
        assert gate.wait(PATIENCE)

    first = serve(TroubledArtist(hold))
    with TestClient(first.app) as client:
        id = send(client, *(f"{n}.png" for n in range(12)))
        owner = client.cookies[COOKIE]
        reached.acquire()
        threading.Timer(0.2, gate.set).start()
        first.service.close()
        assert client.get(f"{JOBS}/{id}").json()["counts"]["remaining"] > 0
    with TestClient(serve().app, cookies={COOKIE: owner}) as client:
        assert at_rest(client, id)["counts"]["done"] == 12
        assert [job["id"] for job in client.get(JOBS).json()["jobs"]] == [id]


def test_delete_leaves_nothing(client: TestClient, tmp_path: Path) -> None:
    id = send(client, "a.png")
    assert client.delete(f"{JOBS}/{id}").status_code == 204
    assert client.get(f"{JOBS}/{id}").status_code == 404
    assert list((tmp_path / "jobs").iterdir()) == list((tmp_path / "incoming").iterdir()) == []


def test_a_damaged_job_says_so_gives_what_it_has_and_can_be_deleted(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    first = serve()
    with TestClient(first.app) as client:
        id, healthy = send(client, "a.png", "b.png"), send(client, "c.png")
        at_rest(client, id)
        owner = client.cookies[COOKIE]
        first.service.close()
    journal = tmp_path / "jobs" / id / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[1].replace(b"done", b"dome"))
    with TestClient(serve().app, cookies={COOKIE: owner}) as client:
        told = client.get(f"{JOBS}/{id}").json()
        assert (told["state"], told["counts"]["done"]) == ("damaged", 1)
        assert "line 2 of journal.jsonl is not what was written" in told["reason"]
        assert {job["id"]: job["state"] for job in client.get(JOBS).json()["jobs"]}[id] == "damaged"
        assert at_rest(client, healthy)["state"] == "finished"
        with unzipped(client.get(f"{JOBS}/{id}/zip")) as bundle:
            assert bundle.namelist() == [json.loads(lines[0])["output"], "report.csv", "report.json"]
        with client.stream("GET", f"{JOBS}/{id}/events") as answer:
            assert len([line for line in answer.iter_lines() if line]) == 1
        for said in ("resume", "retry"):
            answer = client.post(f"{JOBS}/{id}/{said}")
            assert (answer.status_code, answer.json()["error"]) == (422, "damaged")
        assert client.delete(f"{JOBS}/{id}").status_code == 204
        assert client.get(f"{JOBS}/{id}").status_code == 404


@pytest.mark.parametrize("id", [UNKNOWN, "x", "..", "%2e%2e%2f", UNKNOWN.replace("0", "A")])
def test_an_unknown_id_is_not_found_wherever_it_is_asked_for(client: TestClient, id: str) -> None:
    parts = ("", "/events", "/items", "/zip", "/report.csv", "/report.json", "/pictures/0", "/thumbs/0")
    answers = [client.get(f"{JOBS}/{id}{part}") for part in parts if id not in ("..", "%2e%2e%2f") or part]
    answers += [client.post(f"{JOBS}/{id}/{said}") for said in ("pause", "resume", "cancel", "retry")]
    answers.append(client.delete(f"{JOBS}/{id}"))
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"strength": "2"}, "bad_options", "strength"),
        ({"style": "oil"}, "bad_style", "anime"),
        ({"style": "/etc/passwd"}, "bad_style", "not known here"),
        ({"gate": "open"}, "bad_options", "flag, refuse, off"),
        ({"colour": "red"}, "bad_options", "colour"),
        ({"title": "x" * 5000}, "bad_options", "title"),
        ({"size": ["64", "65"]}, "bad_options", "more than once"),
        ({"images": "a text"}, "bad_options", "no file"),
    ],
)
def test_a_bad_option_is_refused_by_name_and_nothing_stays(
    client: TestClient, tmp_path: Path, fields: dict[str, Any], code: str, named: str
) -> None:
    answer = client.post(JOBS, files=photos("a.png"), data=fields)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert named in answer.json()["message"]
    assert list((tmp_path / "jobs").iterdir()) == list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"data": {"style": "anime"}}, 400),
        ({"json": {"images": []}}, 400),
        ({"files": {"other": ("a.png", picture(1))}}, 400),
        ({"files": {"images": ("", b"")}}, 400),
        ({"content": b"--y\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400),
        ({"content": b"", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"files": {"files": ("none.zip", zipped("readme.txt"))}}, 422),
    ],
    ids=["urlencoded", "json", "wrong-field", "no-file", "broken", "empty", "no-boundary", "zip-without-pictures"],
)
def test_what_is_no_form_with_photos_is_refused(client: TestClient, parts: dict[str, Any], status: int) -> None:
    answer = client.post(JOBS, **parts)
    assert answer.status_code == status
    assert answer.json()["message"].endswith(".")


def test_a_form_without_photos_says_so(client: TestClient) -> None:
    answer = client.post(JOBS, files={"style": (None, "anime")})
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_input")
    assert "no photos yet" in answer.json()["message"]


def test_a_zip_is_unpacked_and_no_name_in_it_leads_outside(client: TestClient, tmp_path: Path) -> None:
    members = ("holiday/a.png", "../../evil.png", "/abs.png", "b.png")
    answer = client.post(JOBS, files={"files": ("../../up.zip", zipped(*members))}, data={"size": "64"})
    id = answer.json()["id"]
    counts = at_rest(client, id)["counts"]
    assert (counts["done"], counts["failed"]) == (2, 2)
    with unzipped(client.get(f"{JOBS}/{id}/zip")) as bundle:
        assert bundle.namelist() == ["b.png", "holiday/a.png", "report.csv", "report.json"]
    assert not list(tmp_path.parent.rglob("*evil*"))


def test_names_are_cleaned_and_never_become_paths(client: TestClient) -> None:
    id = send(client, "../../etc/a.png", "C:\\photos\\b\u202e.png", "\x00.png")
    at_rest(client, id)
    names = [row["photo"] for row in client.get(f"{JOBS}/{id}/report.json").json()]
    assert names[:2] == ["a.png", "b.png"]
    assert all("/" not in name and "\\" not in name for name in names)


def test_too_many_files_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert intake.MOST_FILES == 20_000
    monkeypatch.setattr(intake, "MOST_FILES", 3)
    assert client.post(JOBS, files=photos(*"abc"), data={"size": "64"}).status_code == 201
    answer = client.post(JOBS, files=photos(*"abcd"), data={"size": "64"})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_a_picture_or_a_job_that_is_too_large_is_refused(client: TestClient, tmp_path: Path) -> None:
    one = client.post(JOBS, files={"images": ("wide.png", bytes(2**20 + 1))})
    assert (one.status_code, "wide.png" in one.json()["message"]) == (413, True)
    declared = client.post(JOBS, files={"images": ("up.zip", bytes(2 * 2**20 + 1))})
    assert (declared.status_code, "2 MB in all" in declared.json()["message"]) == (413, True)

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.zip"\r\n\r\n'
        for _ in range(5):
            yield bytes(2**20)

    streamed = client.post(JOBS, content=endless(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert (streamed.status_code, streamed.json()["error"]) == (413, "too_large")
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_taken(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    answer = client.post(JOBS, files=photos("a.png", "b.png"))
    assert (answer.status_code, answer.json()["error"]) == (503, "storage")
    assert "no room" in answer.json()["message"]


def test_a_sentence_never_says_where_the_server_keeps_things(serve: Callable[..., Served]) -> None:
    def trouble(name: str) -> None:
        raise StorageError(f"The disk of /srv/data/jobs/{UNKNOWN}/results is full: free some space.")

    assert without_paths(f"C:\\x\\{UNKNOWN} is full") == "the job's folder is full"
    with TestClient(serve(TroubledArtist(trouble)).app) as client:
        id = send(client, "a.png")
        told = at_rest(client, id)
    assert told["state"] == "paused"
    assert told["reason"] == "The disk of the job's folder is full: free some space."


def test_a_picture_that_is_gone_is_left_out_of_the_zip(client: TestClient, tmp_path: Path) -> None:
    id = send(client, "a.png", "b.png")
    at_rest(client, id)
    (tmp_path / "jobs" / id / "results" / "a.png").unlink()
    with unzipped(client.get(f"{JOBS}/{id}/zip")) as bundle:
        assert bundle.namelist() == ["b.png", "report.csv", "report.json"]
    assert client.get(f"{JOBS}/{id}/pictures/0").status_code == 404
