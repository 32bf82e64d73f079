"""A run from a web door says what it does, keeps what it did when stopped, and leaves nothing behind for long."""

import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cartoon.batch import KEPT_SECONDS, Progress, Run, draw_many, item_of
from cartoon.image import encode, read
from cartoon.jobs.job import Item
from cartoon.settings import Options
from cartoon.wording import failure_table, progress_bar, sentence
from tests.fakes import FakeArtist, TroubledArtist

SMALL = Options(size=64)
PIXELS = 100_000


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Four pictures, two of one name, and a text between them."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    made = []
    for number, name in enumerate(["a.png", "b.jpg", "notes.jpg", "b.jpg", "c.webp"]):
        path = folder / str(number)
        data = encode(np.full((30, 40, 3), 40 * number, np.uint8), None, "png")
        path.write_bytes(b"a text" if name == "notes.jpg" else data)
        made.append(item_of(path, name))
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.begin(tmp_path / "results")


def test_a_run_is_told_step_by_step_and_packed_under_own_names(items: list[Item], run: Run) -> None:
    told = list(draw_many(FakeArtist(), items, SMALL, run, PIXELS))
    sentences = [sentence(progress) for progress in told]
    assert sentences[0] == "Preparing 1/5"
    assert sentences[4] == "Preparing 5/5"
    assert sentences[6] == "Drawing 1/4"
    assert sentences[7].startswith("Drawing 2/4, about ")
    assert sentences[-2:] == ["Packing the zip", "Done: 4 drawn, 1 could not be"]
    last = told[-1]
    assert [picture.name for picture in last.pictures] == ["a.png", "b.jpg", "b.jpg", "c.webp"]
    assert [(failure.name, failure.code) for failure in last.failures] == [("notes.jpg", "unsupported")]
    assert last.archive is not None
    with zipfile.ZipFile(last.archive) as packed:
        assert sorted(packed.namelist()) == ["a.png", "b-2.png", "b.png", "c.png"]
        assert packed.testzip() is None
    assert {read(picture.preview).pixels.shape for picture in last.pictures} == {(48, 64, 3)}


def test_a_fault_while_drawing_is_listed_and_the_rest_goes_on(items: list[Item], run: Run) -> None:
    def fault(name: str) -> None:
        if name == "a.png":
            raise MemoryError

    last = list(draw_many(TroubledArtist(fault), items, SMALL, run, PIXELS))[-1]
    assert [failure.code for failure in last.failures] == ["unsupported", "no_resources"]
    assert len(last.pictures) == 3


def test_after_a_cancel_what_was_done_is_packed(items: list[Item], run: Run) -> None:
    artist = TroubledArtist(lambda name: run.stop.set())
    last = list(draw_many(artist, items, SMALL, run, PIXELS))[-1]
    assert artist.seen == ["a.png"]
    assert (last.stage, len(last.pictures)) == ("cancelled", 1)
    assert sentence(last) == "Cancelled: 1 drawn, 1 could not be"
    assert last.archive is not None
    with zipfile.ZipFile(last.archive) as packed:
        assert packed.namelist() == ["a.png"]


def test_a_cancel_while_preparing_draws_nothing(items: list[Item], run: Run) -> None:
    artist = FakeArtist()
    progress = draw_many(artist, items, SMALL, run, PIXELS)
    next(progress)
    run.stop.set()
    last = list(progress)[-1]
    assert (last.stage, last.pictures, last.archive, artist.seen) == ("cancelled", (), None, [])


def test_every_run_has_a_private_folder_and_old_ones_go(tmp_path: Path) -> None:
    old, young = Run.begin(tmp_path), Run.begin(tmp_path)
    assert old.folder != young.folder
    assert len(old.folder.name) == 32
    assert old.folder.stat().st_mode & 0o077 == 0
    past = time.time() - KEPT_SECONDS - 60
    os.utime(old.folder, (past, past))
    Run.begin(tmp_path)
    assert not old.folder.exists()
    assert young.folder.exists()
    young.discard()
    assert young.stop.is_set()
    assert not young.folder.exists()


def test_a_strangers_name_is_never_markup(items: list[Item], run: Run) -> None:
    items[2] = item_of(items[2].source, "<img src=x onerror=alert(1)>.jpg")
    last = list(draw_many(FakeArtist(), items, SMALL, run, PIXELS))[-1]
    assert "<img" not in failure_table(last.failures)
    assert "&lt;img" in failure_table(last.failures)
    assert "<b>" not in progress_bar("<b>", 0.5)


def test_long_waits_are_told_in_minutes() -> None:
    assert sentence(Progress("drawing", 4, 12, seconds_left=14.2)) == "Drawing 5/12, about 14 s left"
    assert sentence(Progress("drawing", 4, 12, seconds_left=0.01)) == "Drawing 5/12, about 1 s left"
    assert sentence(Progress("drawing", 4, 1200, seconds_left=600.0)) == "Drawing 5/1200, about 10 min left"
