"""The page behind a real server, called as gradio_client and plain HTTP call it."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from cartoon.actions import PAGE_FIELDS, PLAIN_COLOUR, Actions, cancel, finish, forget
from cartoon.batch import Run
from cartoon.image import encode
from cartoon.settings import Settings
from tests.fakes import FakeArtist, TroubledArtist
from tests.small_style import write_style

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """A server that runs for this module: its address, and where it keeps files."""

    url: str
    home: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "tests.fake_server", str(home)]
    log = home / "log.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        port = process.stdout.readline()
        assert port, log.read_text()
        yield Served(f"http://127.0.0.1:{int(port)}/", home)
        process.terminate()
    # The client's event stream is still open here: it must not hold the server, and no name may be in the log.
    assert log.read_text() == ""


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
    client: Client, served: Served, photo: Path
) -> None:
    folder = served.home / "styles"
    folder.mkdir()
    path = write_style(folder / "wool.safetensors", title="Wool & felt")
    (visit,) = [
        event["id"]
        for event in httpx.get(f"{served.url}config").json()["dependencies"]
        if ("load" in {trigger for _, trigger in event["targets"]})
    ]
    shown = httpx.post(f"{served.url}gradio_api/run/predict", json={"fn_index": visit, "data": []}).json()["data"]
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


def test_a_batch_comes_back_as_zip_pictures_and_report(client: Client, photo: Path, text: Path) -> None:
    archive, pictures, report = client.predict(
        files=[handle_file(photo), handle_file(text)], size=64, format="jpg", api_name="/cartoonize_batch"
    )
    assert report["drawn"] == [photo.name]
    assert [(row["name"], row["error"]) for row in report["failed"]] == [("notes.jpg", "unsupported")]
    assert report["stage"] == "done"
    assert len(pictures) == 1
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["Zoë (1).jpg"]


def test_two_callers_results_lie_apart(client: Client, served: Served, photo: Path) -> None:
    results = served.home / "page" / "results"
    before = set(results.iterdir())
    for _ in range(2):
        client.predict(image=handle_file(photo), size=64, api_name="/cartoonize")
    new = set(results.iterdir()) - before
    assert len(new) == 2
    assert all(len(folder.name) == 32 for folder in new)


def test_nothing_is_fetched_from_an_address(client: Client, served: Served) -> None:
    remote = {"path": "http://192.0.2.1/photo.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError, match="fetches nothing"):
        client.predict(image=remote, api_name="/cartoonize")
    for address in ("gradio_api/file=http://192.0.2.1/x.png", "gradio_api/proxy=https://192.0.2.1/"):
        assert httpx.get(served.url + address).status_code == 403


def test_files_outside_the_cache_stay_private(client: Client, served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    assert httpx.get(f"{served.url}gradio_api/file={secret}").status_code == 403
    local = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError):
        client.predict(image=local, api_name="/cartoonize")


def test_a_too_large_upload_is_refused(served: Served) -> None:
    answer = httpx.post(f"{served.url}gradio_api/upload", files={"files": ("big.png", bytes(2**20 + 1))})
    assert answer.status_code == 413


def test_the_page_and_rest_share_a_port_and_name_no_other_host(served: Served) -> None:
    page = httpx.get(served.url)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for host in ("fonts.googleapis.com", "cdnjs", "huggingface.co/"):
        assert host not in page.text
    assert httpx.get(f"{served.url}healthz").json() == {"status": "ok"}
    assert httpx.get(f"{served.url}api/v1/styles").json()[0]["id"] == "anime"
    assert httpx.get(f"{served.url}api/v1/nothing").status_code == 404
    for page_of_another_host in ("docs", "redoc"):
        assert "swagger" not in httpx.get(served.url + page_of_another_host).text.lower()


def test_only_the_two_endpoints_are_public(client: Client) -> None:
    public = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(public) == {"/cartoonize", "/cartoonize_batch"}
    names = [parameter["parameter_name"] for parameter in public["/cartoonize"]["parameters"]]
    assert names == ["image", "style", "strength", "exaggeration", "size", "background", "format", "quality"]


# The buttons' actions, without a server.

FIELDS = {"style": "anime", "strength": 0.7, "exaggeration": 0.5, "size": 64, "background": "drawn"}
FIELDS |= {"colour": "#112233", "format": "png", "quality": 95}


@pytest.fixture
def actions(tmp_path: Path) -> Actions:
    return Actions(FakeArtist(), Settings(), tmp_path / "results")


def upload(path: Path) -> dict[str, Any]:
    return {"path": str(path), "orig_name": path.name}


def values(**changed: Any) -> list[Any]:
    return [{**FIELDS, **changed}[name] for name in PAGE_FIELDS]


def test_the_before_and_after_have_one_size(actions: Actions, photo: Path) -> None:
    (before, after), download, status = actions.draw_one(upload(photo), *values(size=80))
    assert size_of(before) == size_of(after) == (80, 60)
    assert Path(download.value["path"] if isinstance(download.value, dict) else download.value).name.endswith(".png")
    assert "40 × 30 px → 80 × 60 px" in status


@pytest.mark.parametrize("picked", ["#0c2d06", "rgba(12.2, 45, 6, 1)"])
def test_a_plain_colour_of_the_picker_becomes_a_background(tmp_path: Path, photo: Path, picked: str) -> None:
    asked: list[str] = []

    class Listening(FakeArtist):
        def draw(self, photo: Any, options: Any) -> Any:
            asked.append(options.background)
            return super().draw(photo, options)

    Actions(Listening(), Settings(), tmp_path / "results").draw_one(
        upload(photo), *values(background=PLAIN_COLOUR, colour=picked)
    )
    assert asked == ["#0c2d06"]


def test_cancel_stops_the_run_after_the_photo_it_is_at(tmp_path: Path, photo: Path) -> None:
    run = Run.begin(tmp_path / "results")
    artist = TroubledArtist(lambda name: cancel(run) and None)
    shown = list(Actions(artist, Settings(), tmp_path).draw_batch(run, [upload(photo)] * 3, *values()))
    progress, gallery, failures, download = shown[-1]
    assert "Cancelled: 1 drawn" in progress
    assert (len(gallery), failures) == (1, "")
    assert download.interactive
    start, stop = finish()
    assert start.interactive
    assert not stop.interactive


def test_a_page_that_goes_away_stops_its_run(actions: Actions, photo: Path) -> None:
    run, *_ = actions.begin(None)
    shown = actions.draw_batch(run, [upload(photo)] * 3, *values())
    next(shown)
    shown.close()
    assert run.stop.is_set()
    again, *_ = actions.begin(run)
    assert not run.folder.exists()
    forget(again)
    assert not again.folder.exists()


def test_a_run_without_photos_says_so(actions: Actions) -> None:
    run, *_ = actions.begin(None)
    with pytest.raises(gr.Error, match="There are no photos yet"):
        next(actions.draw_batch(run, None, *values()))
