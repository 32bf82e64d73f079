"""Passwords and keys, and what a link to a job opens. Real servers, real requests."""

from pathlib import Path

import httpx
import numpy as np

from cartoon.images.encode import encode
from cartoon.web.access.login import TRIES
from tests.serving import Served, client, running

PICTURE = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")


def test_a_password_locks_every_door(tmp_path: Path) -> None:
    with (
        running(tmp_path, CARTOON_PASSWORD="pass word", CARTOON_API_KEYS="key-one,key-two") as served,
        client(served.url) as sending,
    ):
        for address in (
            "",
            "config",
            "api/v1/styles",
            "metrics",
            "gradio_api/info",
            "api/v1/jobs",
            "static/x",
            "openapi.json",
        ):
            assert sending.get(f"/{address}").status_code == 401, address
        assert sending.post("/api/v1/cartoonize").status_code == 401
        assert sending.post("/gradio_api/upload").status_code == 401
        for address in ("healthz", "readyz"):
            assert sending.get(f"/{address}").status_code == 200
        assert "Password" in sending.get("/", headers={"accept": "text/html"}).text
        assert sending.post("/login", data={"password": "wrong"}).status_code == 401
        assert sending.get("/config").status_code == 401
        assert sending.post("/login", data={"password": "pass word"}).status_code == 200
        assert sending.get("/config").status_code == 200
        assert sending.get("/api/v1/styles").status_code == 200
        sending.post("/logout")
        assert sending.get("/config").status_code == 401
        for header in ("Bearer key-one", "bearer key-two"):
            assert sending.get("/api/v1/styles", headers={"authorization": header}).status_code == 200
        for header in ("Bearer key", "Bearer", "Bearer key-one,key-two", "Basic key-one", "Basic !", "key-one"):
            assert sending.get("/api/v1/styles", headers={"authorization": header}).status_code == 401
        assert sending.get("/api/v1/styles", auth=("anybody", "pass word")).status_code == 200
        sending.cookies.set("cartoon_session", "9999999999.0.0")
        assert sending.get("/config").status_code == 401
        for _ in range(TRIES):
            sending.post("/login", data={"password": "wrong"})
        assert sending.post("/login", data={"password": "pass word"}).status_code == 429


def test_keys_alone_lock_rest_and_who_has_one_owns_the_jobs_begun_with_it(elsewhere: Served) -> None:
    with client(elsewhere.url) as sending:
        assert sending.get("/").status_code == 200
        sending.cookies.clear()
        assert sending.post("/api/v1/jobs", files={"images": ("a.png", PICTURE)}).status_code == 401
        one, two = ({"authorization": f"Bearer key-{n}"} for n in ("one", "two"))
        id = sending.post("/api/v1/jobs", files={"images": ("a.png", PICTURE)}, headers=one).json()["id"]
        sending.cookies.clear()
        assert [job["id"] for job in sending.get("/api/v1/jobs", headers=one).json()["jobs"]] == [id]
        assert sending.get("/api/v1/jobs", headers=two).json()["jobs"] == []
        assert sending.delete(f"/api/v1/jobs/{id}", headers=two).status_code == 403
        assert sending.delete(f"/api/v1/jobs/{id}", headers=one).status_code == 204


def test_a_link_sees_and_downloads_and_its_owner_alone_steers(visitor: httpx.Client, stranger: httpx.Client) -> None:
    answer = visitor.post("/api/v1/jobs", files={"images": ("a.png", PICTURE)}, data={"size": "64"})
    id, owner = answer.json()["id"], answer.json()["owner"]
    for address in ("", "/items", "/zip", "/report.csv"):
        assert stranger.get(f"/api/v1/jobs/{id}{address}").status_code == 200
    for word in ("pause", "resume", "cancel", "retry"):
        refused = stranger.post(f"/api/v1/jobs/{id}/{word}")
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert stranger.delete(f"/api/v1/jobs/{id}").status_code == 403
    assert owner not in stranger.get(f"/api/v1/jobs/{id}").text
    with client(str(visitor.base_url)) as program:  # without a cookie
        assert program.post(f"/api/v1/jobs/{id}/pause", headers={"x-cartoon-owner": owner}).status_code == 200
        assert program.delete(f"/api/v1/jobs/{id}", headers={"x-cartoon-owner": "0" * 32}).status_code == 403
    assert visitor.delete(f"/api/v1/jobs/{id}").status_code == 204
