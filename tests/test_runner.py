"""The runner draws every photo it can, in order, and says what became of the others."""

import contextlib
import threading
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pytest

from cartoon.errors import (
    CartoonError,
    OptionsError,
    ResourceError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from cartoon.image import encode, read
from cartoon.jobs import runner
from cartoon.jobs.inputs import collect
from cartoon.jobs.job import Attempt, Item
from cartoon.settings import Options
from tests.fakes import FakeArtist, TroubledArtist

SMALL = Options(size=64)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with c/1.png .. c/4.png, gray pictures of 40, 80, 120, 160, 40 x 30 px."""
    folder = tmp_path / "photos"
    (folder / "c").mkdir(parents=True)
    for number in range(1, 5):
        pixels = np.full((30, 40, 3), 40 * number, np.uint8)
        (folder / "c" / f"{number}.png").write_bytes(encode(pixels, None, "png"))
    return folder


def outcome(attempts: list[Attempt]) -> list[str]:
    return [a.error.code if a.error else "skipped" if a.skipped else "done" for a in attempts]


def test_every_photo_is_drawn_in_order_under_its_own_name(photos: Path, tmp_path: Path) -> None:
    artist = FakeArtist()
    attempts = list(runner.run(collect([photos]), Options(size=64, strength=1), tmp_path / "out", artist))
    assert artist.seen == ["c/1.png", "c/2.png", "c/3.png", "c/4.png"]
    assert [a.output for a in attempts] == [tmp_path / "out" / "c" / f"{n}.png" for n in range(1, 5)]
    for number, attempt in enumerate(attempts, 1):
        assert attempt.output is not None
        drawn = read(attempt.output).pixels
        assert drawn.shape == (48, 64, 3)
        assert (drawn == 255 - 40 * number).all()  # the fake inverts at strength 1
        assert attempt.notes == ("no face found: the whole picture was drawn as background.",)
        assert attempt.seconds > 0


def test_a_bad_photo_is_an_attempt_with_an_error_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    (photos / "c" / "2.png").write_bytes(b"")
    (photos / "c" / "3.png").write_bytes(b"no picture at all")
    attempts = list(runner.run(collect([photos]), SMALL, tmp_path / "out", FakeArtist()))
    assert outcome(attempts) == ["done", UnreadableError.code, UnsupportedError.code, "done"]
    assert "c/2.png" in str(attempts[1].error)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.*")) == ["1.png", "4.png"]


def test_a_refused_item_is_reported_in_its_place(photos: Path, tmp_path: Path) -> None:
    refused = Item(photos / "p.zip", PurePosixPath("p.zip"), refused=UnreadableError("p.zip is no zip."))
    items = [*collect([photos])[:1], refused, *collect([photos])[1:]]
    attempts = list(runner.run(items, SMALL, tmp_path / "out", FakeArtist()))
    assert outcome(attempts) == ["done", UnreadableError.code, "done", "done", "done"]


def test_too_many_pixels_are_refused(photos: Path, tmp_path: Path) -> None:
    attempts = list(runner.run(collect([photos]), SMALL, tmp_path / "out", FakeArtist(), max_pixels=1000))
    assert outcome(attempts) == [TooLargeError.code] * 4


def test_an_existing_result_is_skipped_without_being_touched_or_read(photos: Path, tmp_path: Path) -> None:
    there = tmp_path / "out" / "c" / "2.png"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    artist = FakeArtist()
    attempts = list(runner.run(collect([photos]), SMALL, tmp_path / "out", artist))
    assert outcome(attempts) == ["done", "skipped", "done", "done"]
    assert attempts[1].output == there
    assert there.read_bytes() == b"mine"
    assert "c/2.png" not in artist.seen


def test_overwrite_draws_it_again(photos: Path, tmp_path: Path) -> None:
    first = list(runner.run(collect([photos]), SMALL, tmp_path / "out", FakeArtist()))
    again = list(runner.run(collect([photos]), SMALL, tmp_path / "out", FakeArtist(), overwrite=True))
    assert outcome(first) == outcome(again) == ["done"] * 4


def test_keep_writes_the_inputs_own_format(tmp_path: Path) -> None:
    pixels = np.full((30, 40, 3), 99, np.uint8)
    (tmp_path / "a.png").write_bytes(encode(pixels, None, "webp"))  # the bytes decide, not the suffix
    attempts = list(runner.run(collect([tmp_path]), Options(size=64, format="keep"), tmp_path / "out", FakeArtist()))
    assert attempts[0].output == tmp_path / "out" / "a.webp"
    assert read(tmp_path / "out" / "a.webp").format == "webp"


def test_transparency_survives_where_the_format_has_it(tmp_path: Path) -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:32] = 255
    (tmp_path / "a.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), alpha, "png"))
    list(runner.run(collect([tmp_path]), SMALL, tmp_path / "png", FakeArtist()))
    list(runner.run(collect([tmp_path]), Options(size=64, format="jpg"), tmp_path / "jpg", FakeArtist()))
    kept = read(tmp_path / "png" / "a.png").alpha
    assert kept is not None
    assert (kept == alpha).all()
    laid = read(tmp_path / "jpg" / "a.jpg")
    assert laid.alpha is None
    assert laid.pixels[63, 63].min() > 250


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (ResourceError("2.png: the device is lost."), ResourceError, "device is lost"),
        (MemoryError(), ResourceError, "memory ran out"),
        (ZeroDivisionError("by zero"), CartoonError, r"unexpected ZeroDivisionError \(by zero\)"),
    ],
)
def test_whatever_one_photo_raises_ends_that_photo_only(
    photos: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception,
    kind: type[CartoonError],
    words: str,
) -> None:
    def second_fails(name: str) -> None:
        if name == "c/2.png":
            raise trouble

    attempts = list(runner.run(collect([photos]), SMALL, tmp_path / "out", TroubledArtist(second_fails)))
    assert [a.error is None for a in attempts] == [True, False, True, True]
    assert type(attempts[1].error) is kind
    with pytest.raises(kind, match=words):
        raise attempts[1].error or AssertionError
    # What nobody expected leaves a traceback in the log, what is explained does not.
    assert ("Traceback" in caplog.text) == isinstance(trouble, ZeroDivisionError)


def test_a_result_that_cannot_be_written_fails_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "c" / "2.png").mkdir(parents=True)  # a folder where the picture should go
    attempts = list(runner.run(collect([photos]), SMALL, out, FakeArtist()))
    assert outcome(attempts) == ["done", ResourceError.code, "done", "done"]


def test_drawing_over_an_input_is_refused_before_anything_is_drawn(photos: Path) -> None:
    artist = FakeArtist()
    with pytest.raises(OptionsError, match="one of the inputs"):
        next(runner.run(collect([photos]), SMALL, photos, artist))
    assert artist.seen == []


def test_after_cancelling_no_further_photo_is_started(photos: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    attempts = []
    for attempt in runner.run(collect([photos]), SMALL, tmp_path / "out", FakeArtist(), cancelled=stop.is_set):
        attempts.append(attempt)
        if len(attempts) == 2:
            stop.set()
    assert outcome(attempts) == ["done", "done"]


def test_an_interrupt_ends_the_run_with_whole_files_only_and_a_second_run_goes_on(photos: Path, tmp_path: Path) -> None:
    def third_is_interrupted(name: str) -> None:
        if name == "c/3.png":
            raise KeyboardInterrupt

    out = tmp_path / "out"
    attempts = []
    with contextlib.suppress(KeyboardInterrupt):
        for attempt in runner.run(collect([photos]), SMALL, out, TroubledArtist(third_is_interrupted)):
            attempts.append(attempt)
    assert outcome(attempts) == ["done", "done"]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == ["c/1.png", "c/2.png"]
    again = list(runner.run(collect([photos]), SMALL, out, FakeArtist()))
    assert outcome(again) == ["skipped", "skipped", "done", "done"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


class WatchedPath(type(Path())):  # type: ignore[misc]
    """A path that tells `opened` its name whenever it is opened."""

    opened: ClassVar[list[str]] = []
    third_opened: ClassVar[threading.Event] = threading.Event()

    def open(self, *args: object, **more: object) -> object:
        self.opened.append(self.name)
        if self.name == "3.png":
            self.third_opened.set()
        return super().open(*args, **more)


def test_two_photos_are_decoded_while_one_is_drawn_and_no_more(photos: Path, tmp_path: Path) -> None:
    items = [Item(WatchedPath(item.source), item.relative) for item in collect([photos])]

    def wait_for_the_third(name: str) -> None:
        if name == "c/1.png":
            assert WatchedPath.third_opened.wait(timeout=30), "the third photo was not decoded ahead"
            assert WatchedPath.opened == ["1.png", "2.png", "3.png"]

    attempts = list(runner.run(items, SMALL, tmp_path / "out", TroubledArtist(wait_for_the_third)))
    assert outcome(attempts) == ["done"] * 4
