"""The page behind a real server, called as gradio_client and plain HTTP call it."""

import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from cartoon.images.encode import encode
from cartoon.jobs.service.jobs import JobService
from cartoon.settings import Settings
from cartoon.web.access.visitors import COOKIE, visitor_of
from cartoon.web.backend import Backend, model_of
from cartoon.web.page.actions import Actions
from cartoon.web.page.job_actions import GONE, VIEW, JobActions
from cartoon.web.page.option_fields import PAGE_FIELDS, PLAIN_COLOUR
from cartoon.web.visitor_files import VisitorFiles, stored_name
from tests.fakes import FakeStylizer, TroubledStylizer, spec_of
from tests.serving import Served, running
from tests.serving import client as client_of
from tests.small_style import write_style
from tests.waiting import PATIENCE

Sender = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server
    # The client's event stream is still open here: it must not hold the server, and no name may be in the log.
    assert server.log.read_text() == ""


@pytest.fixture(scope="module")
def client(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(served.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "Zoë (1).png"
    path.write_bytes(encode(np.full((30, 40, 3), 90, np.uint8), None, "png"))
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jpg"
    path.write_text("this is a text")
    return path


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_one_photo_comes_back_as_a_file_and_a_line(client: Client, photo: Path) -> None:
    drawn, status = client.predict(
        handle_file(photo), "comic", 0.9, 0.0, "80", "drawn", "webp", 80, api_name="/cartoonize"
    )
    assert Path(drawn).name == "Zoë (1)-comic.webp"
    assert size_of(drawn) == (80, 60)
    for told in ("40 × 30 px → 80 × 60 px", "no faces found", "drawn at 40 px and enlarged", " s ("):
        assert told in status


def test_options_may_be_left_out_and_sizes_may_be_numbers(client: Client, photo: Path) -> None:
    drawn, _ = client.predict(image=handle_file(photo), size=64, api_name="/cartoonize")
    assert Path(drawn).name == "Zoë (1)-anime.png"
    assert size_of(drawn) == (64, 48)


def test_what_a_photo_is_kept_in_and_enlarged_by_is_asked_last(client: Client, photo: Path) -> None:
    drawn, _ = client.predict(
        handle_file(photo), "comic", 0.9, 0.0, "80", "drawn", "keep", 80, 1, api_name="/cartoonize"
    )
    assert Path(drawn).name == "Zoë (1)-comic.png"
    with pytest.raises(AppError, match="upscale must be 1, 2 or 4; got 3"):
        client.predict(image=handle_file(photo), upscale=3, api_name="/cartoonize")


def test_the_raw_file_is_decoded_so_that_orientation_counts(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    drawn, _ = client.predict(image=handle_file(path), size=80, api_name="/cartoonize")
    assert size_of(drawn) == (40, 80)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"strength": 1.5}, "strength must be between 0.1 and 1"),
        ({"style": "oil"}, "style 'oil' is not known here"),
        ({"style": "/etc/passwd"}, "is not known here"),
        ({"size": "12"}, "size must be a whole number"),
        ({"background": "red"}, "background 'red'"),
        ({"image": None}, "There is no photo yet"),
    ],
)
def test_a_bad_option_is_one_sentence(client: Client, photo: Path, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AppError, match=sentence):
        client.predict(**{"image": handle_file(photo), **asked}, api_name="/cartoonize")


def test_a_style_added_while_the_server_runs_is_offered_and_drawn_by_name_and_never_by_path(
    client: Client, served: Served, photo: Path, plain: httpx.Client
) -> None:
    folder = served.home / "styles"
    folder.mkdir()
    path = write_style(folder / "wool.safetensors", title="Wool & felt")
    (visit,) = [
        event["id"]
        for event in plain.get(f"{served.url}config").json()["dependencies"]
        if ("load" in {trigger for _, trigger in event["targets"]}) and len(event["outputs"]) == 2
    ]
    call = {"fn_index": visit, "data": []}
    page = {"origin": served.url.rstrip("/")}
    shown = plain.post(f"{served.url}gradio_api/run/predict", json=call, headers=page).json()["data"]
    assert [radio["choices"][-1] for radio in shown] == [["Wool & felt", "wool"]] * 2  # both tabs'
    drawn, _ = client.predict(image=handle_file(photo), style="wool", size=64, api_name="/cartoonize")
    assert Path(drawn).name == "Zoë (1)-wool.png"
    for asked in (str(path), "wool.safetensors"):
        with pytest.raises(AppError, match="is not known here"):
            client.predict(image=handle_file(photo), style=asked, api_name="/cartoonize")
    path.unlink()


def test_a_file_that_is_no_picture_is_named(client: Client, text: Path) -> None:
    with pytest.raises(AppError, match=r"^notes\.jpg is not a picture"):
        client.predict(image=handle_file(text), api_name="/cartoonize")


def test_a_batch_comes_back_as_zip_pictures_and_report(
    client: Client, served: Served, photo: Path, text: Path, plain: httpx.Client
) -> None:
    archive, pictures, report = client.predict(
        files=[handle_file(photo), handle_file(text)], size=64, format="jpg", api_name="/cartoonize_batch"
    )
    assert report["drawn"] == [photo.name]
    assert [(row["name"], row["error"]) for row in report["failed"]] == [("notes.jpg", "unsupported")]
    assert (report["stage"], report["done"], report["total"]) == ("done", 2, 2)
    assert plain.get(f"{served.url}api/v1/jobs/{report['job']}").json()["counts"]["done"] == 1
    assert len(pictures) == 1
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["Zoë (1).jpg"]


def test_a_batch_tells_how_far_it_is(client: Client, tmp_path: Path) -> None:
    photos = [handle_file(tmp_path / f"slow-{n}.png") for n in range(8) if _paint(tmp_path / f"slow-{n}.png", n)]
    call = client.submit(files=photos, size=64, api_name="/cartoonize_batch")
    call.result()
    stages = [report["stage"] for _, _, report in call.outputs()]
    assert stages[-1] == "done"
    assert stages.count("drawing") > 1


def test_two_callers_results_lie_apart(client: Client, served: Served, photo: Path) -> None:
    before = set((served.home / "page").glob("visitors/*/*"))
    for _ in range(2):
        client.predict(image=handle_file(photo), size=64, api_name="/cartoonize")
    new = set((served.home / "page").glob("visitors/*/*")) - before
    assert len(new) == 4  # an upload and a result each
    assert all(len(folder.name) == 32 for folder in new)
    assert len({folder.parent for folder in new}) == 1


def test_nothing_is_fetched_from_an_address(client: Client, served: Served, plain: httpx.Client) -> None:
    remote = {"path": "http://192.0.2.1/photo.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        client.predict(image=remote, api_name="/cartoonize")
    answer = plain.post(f"{served.url}gradio_api/call/cartoonize", json={"data": [remote, *["x"] * 7]})
    assert "fetches nothing from addresses" in answer.json()["error"]
    for address in ("gradio_api/file=http://192.0.2.1/x.png", "gradio_api/proxy=https://192.0.2.1/"):
        assert plain.get(served.url + address).status_code in (403, 404)


def test_a_too_large_upload_is_refused(client: Client, served: Served, tmp_path: Path, plain: httpx.Client) -> None:
    for name, size, told in (("big.zip", 3, "larger than 3 MB"), ("big.png", 1, "big.png is larger than 1 MB")):
        answer = plain.post(f"{served.url}gradio_api/upload", files={"files": (name, bytes(size * 2**20 + 1))})
        assert answer.status_code == 413
        assert told in answer.text
    big = tmp_path / "big.png"
    big.write_bytes(bytes(2**20 + 1))
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        client.predict(image=handle_file(big), api_name="/cartoonize")
    assert not [path for path in (served.home / "page").rglob("*") if path.is_file() and path.stat().st_size > 2**20]


def test_the_page_and_rest_share_a_port_and_name_no_other_host(served: Served, plain: httpx.Client) -> None:
    page = plain.get(served.url)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for host in ("fonts.googleapis.com", "cdnjs", "huggingface.co/"):
        assert host not in page.text
    assert plain.get(f"{served.url}healthz").json() == {"status": "ok"}
    assert plain.get(f"{served.url}api/v1/styles").json()[0]["id"] == "anime"
    assert plain.get(f"{served.url}api/v1/nothing").status_code == 404
    for page_of_another_host in ("docs", "redoc"):
        assert "swagger" not in plain.get(served.url + page_of_another_host).text.lower()


def test_a_visitor_of_the_page_gets_a_cookie_once(served: Served) -> None:
    with client_of(served.url) as visitor:
        assert visitor.get("/").headers["set-cookie"].startswith(f"{COOKIE}=")
        assert "set-cookie" not in visitor.get("/").headers
        assert "set-cookie" not in visitor.get("/healthz").headers


def test_only_the_two_endpoints_are_public(client: Client) -> None:
    public = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(public) == {"/cartoonize", "/cartoonize_batch"}
    names = [parameter["parameter_name"] for parameter in public["/cartoonize"]["parameters"]]
    first = ["image", "style", "strength", "exaggeration", "size", "background", "format", "quality"]
    assert names == [*first, "upscale"]  # what is new comes last: callers name parameters by position, too


# The buttons' actions, without a server.

FIELDS = {"style": "anime", "strength": 0.7, "exaggeration": 0.5, "size": 64, "background": "drawn"}
FIELDS |= {"colour": "#112233", "format": "png", "quality": 95, "upscale": 1}


def asker(owner: str = "", job: str = "") -> gr.Request:
    """Who asks: with the cookie of an owner, for the address of a job."""
    return gr.Request(cookies={COOKIE: owner} if owner else {}, query_params={"job": job} if job else {}, client=None)


ANN_OWNS, BOB_OWNS = "a" * 32, "b" * 32
ANN, BOB = asker(ANN_OWNS), asker(BOB_OWNS)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    stylizer = FakeStylizer()
    service = JobService(tmp_path / "jobs", spec_of(stylizer), model_of(stylizer), 10**6)
    yield Backend(service, stylizer, Settings(max_upload_mb=1), tmp_path / "incoming")
    service.close()


@pytest.fixture
def files(tmp_path: Path) -> VisitorFiles:
    return VisitorFiles(tmp_path / "page")


@pytest.fixture
def actions(backend: Backend, files: VisitorFiles) -> Actions:
    return Actions(backend, files)


@pytest.fixture
def jobs(backend: Backend, files: VisitorFiles) -> JobActions:
    return JobActions(backend, files)


@pytest.fixture
def upload(files: VisitorFiles) -> Sender:
    """Puts a file where Ann's uploads lie, as Gradio names it."""

    def sent(path: Path, by: gr.Request = ANN) -> dict[str, Any]:
        place = files.folder(visitor_of(by)) / stored_name(0, path.name)
        place.write_bytes(path.read_bytes())
        return {"path": str(place), "orig_name": path.name}

    return sent


def part(shown: list[Any], name: str) -> Any:
    return shown[VIEW.index(name)]


def finished(jobs: JobActions, id: str) -> None:
    while (status := jobs.backend.service.wait(id, -1, 0.1)).busy or status.state != "finished":
        assert status.state in ("waiting", "running", "finished")


def _paint(path: Path, shade: int) -> Path:
    path.write_bytes(encode(np.full((30, 40, 3), 20 + shade, np.uint8), None, "png"))
    return path


def values(**changed: Any) -> list[Any]:
    return [{**FIELDS, **changed}[name] for name in PAGE_FIELDS]


def test_the_before_and_after_have_one_size(actions: Actions, photo: Path, upload: Sender) -> None:
    (before, after), download, status = actions.draw_one(ANN, upload(photo), *values(size=80))
    assert size_of(before) == size_of(after) == (80, 60)
    assert Path(download.value["path"] if isinstance(download.value, dict) else download.value).name.endswith(".png")
    assert "40 × 30 px → 80 × 60 px" in status


@pytest.mark.parametrize("picked", ["#0c2d06", "rgba(12.2, 45, 6, 1)"])
def test_a_plain_colour_of_the_picker_becomes_a_background(
    jobs: JobActions, photo: Path, picked: str, upload: Sender
) -> None:
    id = part(jobs.start(ANN, [upload(photo)], *values(background=PLAIN_COLOUR, colour=picked)), "job")
    assert jobs.backend.service.status(id).order.options.background == "#0c2d06"


def test_photos_of_the_page_become_a_job_and_stay_where_they_are(
    jobs: JobActions, photo: Path, text: Path, upload: Sender
) -> None:
    sent = upload(photo)
    shown = jobs.start(ANN, [sent, upload(text)], *values())
    id = part(shown, "job")
    assert id in part(shown, "history") or "open" in part(shown, "history")
    finished(jobs, id)
    shown = jobs.tick(ANN, id, "")  # anew: it may have been done before `start` showed it
    assert "Done: 1 drawn, 1 could not be" in part(shown, "progress")
    assert f"api/v1/jobs/{id}/thumbs/0?v=" in part(shown, "gallery")
    assert "notes.jpg is not a picture" in part(shown, "failures")
    assert "Download zip (1 picture)" in part(shown, "download")
    assert part(shown, "timer").active is False
    assert part(shown, "retry").interactive
    assert not part(shown, "pause").interactive
    assert Path(sent["path"]).stat().st_nlink == 2  # no second copy on the disk
    assert {type(one) for one in jobs.tick(ANN, id, part(shown, "seen"))} == {dict}  # nothing new: all is skipped


def test_the_address_of_a_job_shows_it_to_anybody_and_lists_it_for_its_owner(
    jobs: JobActions, photo: Path, upload: Sender
) -> None:
    id = part(jobs.start(ANN, [upload(photo)], *values()), "job")
    finished(jobs, id)
    tabs, *shown = jobs.arrive(asker(BOB_OWNS, id))
    assert tabs.selected == "many"
    assert "Done: 1 drawn" in part(shown, "progress")
    assert "Nothing yet" in part(shown, "history")
    _, *shown = jobs.arrive(ANN)
    assert f"?job={id}" in part(shown, "history")
    assert part(shown, "controls").visible is False


def test_an_unknown_job_says_so_kindly(jobs: JobActions) -> None:
    for id in ("0" * 32, "<script>", "../../etc"):
        _, *shown = jobs.arrive(asker(job=id))
        assert GONE in part(shown, "progress")
        assert part(shown, "timer").active is False
        with pytest.raises(gr.Error, match="no such job"):
            jobs.options_of(id)
        for say in (jobs.toggle, jobs.cancel, jobs.retry):
            with pytest.raises(gr.Error, match="no such job"):
                say(ANN, id)


def test_a_link_shows_a_job_and_only_its_owner_steers_it(jobs: JobActions, photo: Path, upload: Sender) -> None:
    id = part(jobs.start(ANN, [upload(photo)], *values()), "job")
    finished(jobs, id)
    for owner, steers in ((ANN_OWNS, True), (BOB_OWNS, False), ("", False)):
        _, *shown = jobs.arrive(asker(owner, id))
        assert "Done: 1 drawn" in part(shown, "progress")
        assert part(shown, "controls").visible is steers
        for say in () if steers else (jobs.toggle, jobs.cancel, jobs.retry):
            with pytest.raises(gr.Error, match="Only who started this job"):
                say(asker(owner), id)


def test_a_file_of_another_visitor_is_not_drawn(
    actions: Actions, jobs: JobActions, photo: Path, upload: Sender
) -> None:
    sent = upload(photo)
    others: list[Any] = [{"path": "/etc/hostname"}, {"path": 7}, {"path": sent["path"] + "/../0.png"}, "x"]
    for file in (sent, *others):  # as clients may send it
        with pytest.raises(gr.Error, match=r"not one that you have sent|no photo yet"):
            actions.draw_one(BOB, file, *values())
        with pytest.raises(gr.Error, match=r"not one that you have sent|no photo yet"):
            jobs.start(BOB, [file], *values())


def test_a_fault_of_ours_is_a_sentence_and_names_no_file(
    backend: Backend, files: VisitorFiles, photo: Path, upload: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(name: str) -> None:
        raise RuntimeError(f"'{name}' is to blame, see /home/ann/{name}")

    broken = Actions(Backend(backend.service, TroubledStylizer(fault), backend.settings, backend.folder), files)
    with pytest.raises(gr.Error, match="Something went wrong on our side"):
        broken.draw_one(ANN, upload(photo), *values())
    assert "an action of the page failed" in caplog.text


def test_pause_resume_cancel_and_retry(tmp_path: Path, files: VisitorFiles, upload: Sender) -> None:
    gate, reached, broken = threading.Event(), threading.Semaphore(0), {"3.png"}

    def trouble(name: str) -> None:
        reached.release()
        assert gate.wait(PATIENCE)
        if name in broken:
            raise ZeroDivisionError

    stylizer = TroubledStylizer(trouble)
    service = JobService(tmp_path / "jobs", spec_of(stylizer), model_of(stylizer), 10**6)
    jobs = JobActions(Backend(service, stylizer, Settings(), tmp_path / "incoming"), files)
    photos = [upload(_paint(tmp_path / f"{n}.png", n)) for n in range(8)]
    id = part(jobs.start(ANN, photos, *values()), "job")
    reached.acquire()
    shown = jobs.toggle(ANN, id)
    assert "Paused at 0/8" in part(shown, "progress")
    assert part(shown, "pause").value == "Resume"
    assert part(shown, "timer").active  # what was begun still ends
    gate.set()
    assert "Cancelled" in part(jobs.cancel(ANN, id), "progress")
    assert part(jobs.toggle(ANN, id), "pause").value == "Pause"
    finished(jobs, id)
    assert "Done: 7 drawn, 1 could not be" in part(jobs.tick(ANN, id, ""), "progress")
    broken.clear()
    jobs.retry(ANN, id)
    finished(jobs, id)
    assert "Done: 8 drawn" in part(jobs.tick(ANN, id, ""), "progress")
    service.close()


@pytest.mark.parametrize("others", [{"format": "webp"}, {"format": "keep"}, {"size": 777}, {"upscale": 4}], ids=str)
def test_the_options_of_a_job_go_back_into_the_form(
    jobs: JobActions, photo: Path, upload: Sender, others: dict[str, Any]
) -> None:
    asked = values(style="sketch", strength=0.3, **{"size": "original", "background": PLAIN_COLOUR, **others})
    id = part(jobs.start(ANN, [upload(photo)], *asked), "job")
    assert dict(zip(PAGE_FIELDS, jobs.options_of(id), strict=True)) == dict(zip(PAGE_FIELDS, asked, strict=True))


def test_a_start_without_photos_says_so(jobs: JobActions) -> None:
    with pytest.raises(gr.Error, match="There are no photos yet"):
        jobs.start(ANN, None, *values())
    assert not list(jobs.backend.folder.glob("*"))
