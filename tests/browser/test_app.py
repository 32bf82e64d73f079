"""A person's way through the real app, in a real browser."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import running_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

REPORTS = {"report.csv", "report.json"}


def test_one_photo(open_page: Callable[..., "Page"], portraits: list[Path], tmp_path: Path) -> None:
    from tests.browser import steps

    page = open_page()
    steps.upload_one(page, portraits[0])
    assert steps.move_strength(page, 4).input_value() == "0.9"
    button = steps.draw_one(page, f"{portraits[0].stem}-anime.png")

    pictures = page.locator("#toon-result img")
    sizes = pictures.evaluate_all("images => images.map(image => [image.naturalWidth, image.naturalHeight])")
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]
    assert max(sizes[0]) == 1024
    status = page.locator("#toon-status").inner_text()
    for told in ("1 face found", "→", "1024 px", " s ("):
        assert told in status

    download = steps.save(page, button)
    assert download.suggested_filename == f"{portraits[0].stem}-anime.png"
    download.save_as(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn, Image.open(portraits[0]) as photo:
        assert list(drawn.size) == sizes[0]
        before = photo.convert("RGB").resize(drawn.size)
        difference = np.asarray(drawn.convert("RGB"), np.int16) - np.asarray(before, np.int16)
    assert np.abs(difference).mean() > 5  # it is a drawing, not the photo


def test_many_photos(open_page: Callable[..., "Page"], portraits: list[Path], tmp_path: Path) -> None:
    from tests.browser import steps

    text = tmp_path / "notes.jpg"
    text.write_text("this is a text, not a picture")
    page = open_page()
    steps.upload_many(page, [*portraits[:5], text, *portraits[5:]])
    steps.start_batch(page)
    assert steps.finish_batch(page) == "Done: 12 drawn, 1 could not be"
    assert page.locator("#toon-gallery figure img").count() == 12
    page.locator("#toon-gallery figure").first.wait_for()
    failed = page.locator("#toon-failed tbody tr")
    assert failed.count() == 1
    assert "notes.jpg is not a picture" in failed.inner_text()

    download = steps.save(page, steps.zip_link(page))
    assert download.suggested_filename == f"{portraits[0].stem}-anime.zip"
    download.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == sorted([*(f"{photo.stem}.png" for photo in portraits), *REPORTS])
        with packed.open(f"{portraits[0].stem}.png") as file, Image.open(file) as drawn:
            assert max(drawn.size) == 1024


def test_cancel_keeps_what_was_drawn(open_page: Callable[..., "Page"], crowd: list[Path], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    from tests.browser import steps

    page = open_page()
    steps.upload_many(page, crowd)
    steps.start_batch(page)
    page.locator("#toon-gallery figure").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert steps.finish_batch(page).startswith("Cancelled")
    steps.await_rest(page)
    download = steps.save(page, steps.zip_link(page))
    download.save_as(tmp_path / "some.zip")
    with zipfile.ZipFile(tmp_path / "some.zip") as packed:
        drawn = set(packed.namelist()) - REPORTS
    assert 0 < len(drawn) < len(crowd)
    expect(page.locator("#toon-gallery figure img")).to_have_count(len(drawn))
    assert page.get_by_role("button", name="Start").is_enabled()


def test_a_job_outlives_its_page_and_a_killed_server(
    open_page: Callable[..., "Page"], crowd: list[Path], tmp_path: Path
) -> None:
    from tests.browser import steps

    with running_app(tmp_path) as app:
        page = open_page(url=app.url)
        steps.upload_many(page, crowd)
        steps.start_batch(page)
        drawn = steps.await_drawn(page, len(crowd) // 3)
        assert drawn < len(crowd)
        address = page.url
        assert "?job=" in address
        page.close()
        app.process.kill()
    with running_app(tmp_path, urlsplit(address).port or 0) as app:
        page = open_page(url=address, tab="Many photos")  # of another browser: it has no cookie of the first
        assert steps.await_drawn(page, drawn) >= drawn
        assert steps.finish_batch(page) == f"Done: {len(crowd)} drawn"
        download = steps.save(page, steps.zip_link(page))
        download.save_as(tmp_path / "all.zip")
        app.process.terminate()
        assert app.process.wait(60) == 0
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.testzip() is None
        assert set(packed.namelist()) - REPORTS == {f"{photo.stem}.png" for photo in crowd}


def test_a_page_that_is_open_goes_on_after_a_restart(
    chromium: "Browser", portraits: list[Path], tmp_path: Path
) -> None:
    from tests.browser import steps

    photo = tmp_path / "holiday-of-ann.jpg"
    photo.write_bytes(portraits[0].read_bytes())
    with running_app(tmp_path) as app:
        page = chromium.new_page()
        steps.enter(page, app.url)
        # To its very end: a page that loses its server in the middle of a call loads itself anew, without the photo.
        with page.expect_event("requestfinished", lambda request: "upload_progress" in request.url):
            steps.upload_one(page, photo)
        app.process.kill()
    with running_app(tmp_path, urlsplit(app.url).port or 0) as app:
        steps.draw_one(page, "holiday-of-ann-anime.png")
        for file in (tmp_path / "data" / "page" / "visitors").rglob("*"):
            if file.is_file():
                file.unlink()  # as after some hours
        page.get_by_role("button", name="Cartoonize").click()
        page.get_by_text("This photo is not on the server any more: upload it again.").wait_for()
        page.close()
        app.process.terminate()
        assert app.process.wait(60) == 0
    told = app.log.read_text()
    assert "holiday-of-ann" not in told
    assert "Traceback" not in told


def test_your_jobs_are_listed_and_their_options_used_again(
    open_page: Callable[..., "Page"], portraits: list[Path]
) -> None:
    from playwright.sync_api import expect

    from tests.browser import steps

    page = open_page()
    steps.upload_many(page, portraits[:1])
    panel = page.get_by_role("tabpanel").filter(has=page.locator("#toon-photos"))
    panel.get_by_role("radio", name="Sketch").check()
    steps.start_batch(page)
    steps.finish_batch(page)
    page.goto(page.url.partition("?")[0])
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#toon-jobs a", has_text="open").click()
    page.locator("#toon-gallery figure").wait_for()
    assert not panel.get_by_role("radio", name="Sketch").is_checked()
    page.get_by_role("button", name="Use these options again").click()
    expect(panel.get_by_role("radio", name="Sketch")).to_be_checked()


def test_an_unknown_job_is_said_to_be_gone(open_page: Callable[..., "Page"], app_url: str) -> None:
    page = open_page(url=f"{app_url}?job={'0' * 32}", tab="Many photos")
    page.get_by_text("This job is not here any more").wait_for()


def test_mistakes_are_answered_with_a_sentence(open_page: Callable[..., "Page"], tmp_path: Path) -> None:
    from tests.browser import steps

    page = open_page()
    page.get_by_role("button", name="Cartoonize").click()
    page.get_by_text("There is no photo yet: upload, paste or take one first.").wait_for()
    text = tmp_path / "no <b>picture<b>.jpg"
    text.write_text("this is a text, not a picture")
    steps.upload_one(page, text)
    page.get_by_role("button", name="Cartoonize").click()
    page.get_by_text("no <b>picture<b>.jpg is not a picture").wait_for()


def test_an_example_is_one_click_away(open_page: Callable[..., "Page"]) -> None:
    from tests.browser import steps

    page = open_page()
    steps.choose_example(page)
    steps.draw_one(page, "-anime.png")


@pytest.mark.parametrize("tab", ["One photo", "Many photos"])
def test_a_phone_shows_it_without_scrolling_sideways(open_page: Callable[..., "Page"], tab: str) -> None:
    from tests.browser import steps

    page = open_page(steps.PHONE)
    page.get_by_role("tab", name=tab).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= steps.PHONE[0]
