"""What a person does on the page, for the browser tests and for taking pictures of it.

`python -m tests.browser.steps URL PHOTO OUT.png` draws one photo and saves a picture of the page.
"""

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Final
from urllib.parse import parse_qs, urljoin, urlsplit

from playwright.sync_api import Browser, Download, Locator, Page, expect, sync_playwright

CHROMIUM_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Without these Chromium itself calls its maker.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = 300_000
"""A bound, not a measurement: a busy machine may take minutes to draw a dozen pictures."""
DESKTOP: Final = (1280, 900)
PHONE: Final = (390, 844)


@contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(FLAGS), timeout=PATIENCE_MS)
        yield running
        running.close()


def enter(page: Page, url: str, tab: str = "One photo") -> None:
    """Opens the app's page and waits until it can be used; tab: the one that the address opens."""
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.goto(url)
    page.get_by_role("button", name="Cartoonize" if tab == "One photo" else "Start").wait_for()


def upload_one(page: Page, photo: Path) -> None:
    """Puts a photo into the first tab."""
    page.locator("#toon-photo input[type=file]").set_input_files(photo)
    page.get_by_role("button", name="Remove Image").wait_for()


def choose_example(page: Page) -> None:
    """Clicks the first example below the first tab."""
    page.locator(".gallery-item").first.click()
    page.get_by_role("button", name="Remove Image").wait_for()


def move_strength(page: Page, steps: int) -> Locator:
    """Moves the first tab's strength slider by so many steps of 0.05 to the right; returns its number field."""
    slider = page.get_by_role("slider", name="Strength").first
    slider.focus()
    for _ in range(steps):
        slider.press("ArrowRight")
    return page.get_by_role("spinbutton", name="Strength").first


def draw_one(page: Page, name: str) -> Locator:
    """Presses the button and waits until the result can be downloaded under `name`; returns the download button."""
    page.get_by_role("button", name="Cartoonize").click()
    download = page.locator("#toon-download", has_text=name)
    expect(download).to_be_enabled()
    return download


def upload_many(page: Page, photos: Sequence[Path]) -> None:
    """Opens the second tab and adds the photos."""
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#toon-photos input[type=file]").set_input_files(list(photos))
    expect(page.locator("#toon-photos")).to_contain_text(photos[-1].stem[:8])


def start_batch(page: Page) -> None:
    """Presses Start."""
    page.get_by_role("button", name="Start").click()


def finish_batch(page: Page) -> str:
    """Waits for the end of a job and returns its last sentence."""
    line = page.locator("#toon-run .toon-progress")
    expect(line).to_contain_text(re.compile("Done:|Cancelled:"))
    await_rest(page)
    return line.inner_text().strip()


def await_drawn(page: Page, least: int) -> int:
    """Waits until the zip would hold so many pictures; returns how many it would."""
    link = zip_link(page)
    page.wait_for_function(
        "least => parseInt((document.querySelector('#toon-zip a')?.innerText ?? '').match(/\\d+/)?.[0] ?? 0) >= least",
        arg=least,
    )
    return int(re.findall(r"\d+", link.inner_text())[0])


def await_rest(page: Page) -> None:
    """Waits until what the open job had begun has ended."""
    page.wait_for_url(re.compile(r"[?&]job="))
    deadline = time.monotonic() + PATIENCE_MS / 1000
    job = parse_qs(urlsplit(page.url).query)["job"][0]
    # Asked from here: a promise is true to wait_for_function, whatever comes of it.
    while page.request.get(urljoin(page.url, f"api/v1/jobs/{job}")).json()["busy"]:
        assert time.monotonic() < deadline, "the job does not come to rest"
        page.wait_for_timeout(200)


def zip_link(page: Page) -> Locator:
    """What downloads the open job's zip."""
    return page.locator("#toon-zip a.toon-button")


def save(page: Page, button: Locator) -> Download:
    """Clicks a download button and returns the finished download."""
    with page.expect_download() as download:
        button.click()
    return download.value


def shoot(page: Page, out: Path) -> None:
    """Saves a picture of the whole page once all its pictures are there."""
    page.mouse.move(0, 0)
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    page.screenshot(path=out, full_page=True, animations="disabled")


def executable() -> str | None:
    """The installed Chromium, if there is one."""
    return next(filter(None, map(which, CHROMIUM_NAMES)), None)


def main(url: str, photo: Path, out: Path) -> None:
    """Draws one photo on a running app and saves a picture of the page."""
    found = executable()
    if found is None:
        raise SystemExit(f"error: no browser: install one of {', '.join(CHROMIUM_NAMES)}.")
    with browser(found) as running:
        page = running.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
        enter(page, url)
        upload_one(page, photo)
        draw_one(page, f"{photo.stem}-")
        shoot(page, out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
