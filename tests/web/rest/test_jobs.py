"""Jobs over REST: sent once, found again by whoever has the id, listed for their sender alone, fetched as a zip."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoon.errors import StorageError
from cartoon.web import multipart
from cartoon.web.access.visitors import COOKIE
from cartoon.web.lifecycle import Readiness
from cartoon.web.messages import without_paths
from tests.fakes import TroubledStylizer
from tests.waiting import PATIENCE, wait_for
from tests.web.rest.asking import JOBS, UNKNOWN, Served, at_rest, photos, picture, send, unzipped


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


@pytest.mark.parametrize("field", multipart.ANY_FILES.file_fields)
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


class Draining:
    """Has the server drain as soon as it has told the first event."""

    def __init__(self, app: ASGIApp, readiness: Readiness) -> None:
        self._app, self._readiness = app, readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_drain(message: Message) -> None:
            await send(message)
            if scope["path"].endswith("/events") and message.get("body"):
                self._readiness.drain()

        await self._app(scope, receive, send_and_drain if scope["type"] == "http" else send)


def test_events_end_when_the_server_drains(serve: Callable[..., Served]) -> None:
    gate = threading.Event()
    served = serve(TroubledStylizer(lambda name: None if gate.wait(PATIENCE) else pytest.fail("the gate stayed shut")))
    served.app.add_middleware(Draining, readiness=served.readiness)
    with TestClient(served.app) as client:
        id = send(client, "a.png")
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

    with TestClient(serve(TroubledStylizer(hold)).app) as client:
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

    with TestClient(serve(TroubledStylizer(trouble)).app) as client:
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

    first = serve(TroubledStylizer(hold))
    with TestClient(first.app) as client:
        id = send(client, *(f"{n}.png" for n in range(12)))
        owner = client.cookies[COOKIE]
        reached.acquire()
        closing = threading.Thread(target=first.service.close)
        closing.start()
        wait_for(lambda: first.service.closing)
        gate.set()
        closing.join(PATIENCE)
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


def test_a_sentence_never_says_where_the_server_keeps_things(serve: Callable[..., Served]) -> None:
    def trouble(name: str) -> None:
        raise StorageError(f"The disk of /srv/data/jobs/{UNKNOWN}/results is full: free some space.")

    assert without_paths(f"C:\\x\\{UNKNOWN} is full") == "the job's folder is full"
    with TestClient(serve(TroubledStylizer(trouble)).app) as client:
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
