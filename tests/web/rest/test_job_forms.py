"""What may be sent as a job, and what is refused in words before anything of it stays."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cartoon.web import staging
from tests.web.rest.asking import JOBS, at_rest, photos, picture, send, unzipped, zipped


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
    assert staging.MOST_FILES == 20_000
    monkeypatch.setattr(staging, "MOST_FILES", 3)
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
