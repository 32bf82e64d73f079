"""A person's way through the real app, in a real browser."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


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
        difference = np.subtract(drawn.convert("RGB"), photo.convert("RGB").resize(drawn.size), dtype=np.int16)
    assert np.abs(difference).mean() > 5  # it is a drawing, not the photo


def test_many_photos(open_page: Callable[..., "Page"], portraits: list[Path], tmp_path: Path) -> None:
    from tests.browser import steps

    text = tmp_path / "notes.jpg"
    text.write_text("this is a text, not a picture")
    page = open_page()
    steps.upload_many(page, [*portraits[:5], text, *portraits[5:]])
    steps.start_batch(page)
    assert steps.finish_batch(page) == "Done: 12 drawn, 1 could not be"
    assert page.locator("#toon-gallery .thumbnail-item img").count() == 12
    failed = page.locator("#toon-failed tbody tr")
    assert failed.count() == 1
    assert "notes.jpg is not a picture" in failed.inner_text()

    download = steps.save(page, page.locator("#toon-zip"))
    download.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == sorted(f"{photo.stem}.png" for photo in portraits)
        with packed.open(f"{portraits[0].stem}.png") as file, Image.open(file) as drawn:
            assert max(drawn.size) == 1024


def test_cancel_keeps_what_was_drawn(open_page: Callable[..., "Page"], portraits: list[Path], tmp_path: Path) -> None:
    from tests.browser import steps

    page = open_page()
    steps.upload_many(page, portraits)
    steps.start_batch(page)
    page.locator("#toon-gallery .thumbnail-item").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert steps.finish_batch(page).startswith("Cancelled")
    download = steps.save(page, page.locator("#toon-zip"))
    download.save_as(tmp_path / "some.zip")
    with zipfile.ZipFile(tmp_path / "some.zip") as packed:
        drawn = packed.namelist()
    assert 0 < len(drawn) < len(portraits)
    assert page.locator("#toon-gallery .thumbnail-item img").count() == len(drawn)
    assert page.get_by_role("button", name="Start").is_enabled()


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
