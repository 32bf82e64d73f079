"""A job draws every photo it can, says what became of the others, and goes on where it stopped."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import (
    BusyError,
    CartoonError,
    OptionsError,
    ResourceError,
    StorageError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.types import Cartoon, Photo
from cartoon.jobs import model as policy
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.model import Attempt, Gate, Order, Result, Task
from cartoon.jobs.photo import Stylizer, draw_file
from cartoon.jobs.runner import run
from cartoon.jobs.store.folder import open_order, resume
from cartoon.jobs.store.home import new_id
from cartoon.options import Care, Options
from cartoon.quality.gate import FaceFinder, Verdict
from cartoon.quality.norms import Flaw
from tests.fakes import FakeStylizer, TroubledStylizer, spec_of

SMALL = Options(size=64)


class OneAtATime:
    """An executor that takes five photos, draws the first and does not begin the others."""

    slots = 5

    def __init__(self) -> None:
        self.given: list[Future[Result]] = []

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        future: Future[Result] = Future()
        if not self.given:
            future.set_running_or_notify_cancel()
            future.set_result(draw_file(task, FakeStylizer(), None))
        self.given.append(future)
        return future

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with c/1.png .. c/4.png, gray pictures of 40, 80, 120, 160, 40 x 30 px."""
    folder = tmp_path / "photos"
    (folder / "c").mkdir(parents=True)
    for number in range(1, 5):
        pixels = np.full((30, 40, 3), 40 * number, np.uint8)
        (folder / "c" / f"{number}.png").write_bytes(encode(pixels, None, "png"))
    return folder


@pytest.fixture
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACK_OFF", (0.01, 0.02))


def order(given: Path, out: Path, options: Options = SMALL, *, overwrite: bool = False, model: str = "m") -> Order:
    return Order(new_id(), (str(given),), out, options, model, "0", time.time(), overwrite=overwrite)


def attempts_of(
    given: Path,
    out: Path,
    stylizer: Stylizer,
    options: Options = SMALL,
    *,
    overwrite: bool = False,
    max_pixels: int = 10**8,
) -> list[Attempt]:
    """The job of a folder, opened or gone on with, run to its end."""
    job = open_order(order(given, out, options, overwrite=overwrite))
    executor = ThreadExecutor(spec_of(stylizer))
    try:
        return [*job.again(), *run(job, executor, max_pixels=max_pixels)]
    finally:
        executor.close()
        job.close()


def outcome(attempts: list[Attempt]) -> list[str]:
    return [a.error.code if a.error else "skipped" if a.skipped else "done" for a in attempts]


def pictures(out: Path) -> list[str]:
    found = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in found if path.parts[0] != ".cartoon")


def test_every_photo_is_drawn_in_order_under_its_own_name(photos: Path, tmp_path: Path) -> None:
    stylizer = FakeStylizer()
    attempts = attempts_of(photos, tmp_path / "out", stylizer, Options(size=64, strength=1))
    assert sorted(stylizer.seen) == ["c/1.png", "c/2.png", "c/3.png", "c/4.png"]
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
    attempts = attempts_of(photos, tmp_path / "out", FakeStylizer(), SMALL)
    assert outcome(attempts) == ["done", UnreadableError.code, UnsupportedError.code, "done"]
    assert "c/2.png" in str(attempts[1].error)
    assert pictures(tmp_path / "out") == ["c/1.png", "c/4.png"]


def test_a_bad_zip_among_the_inputs_is_reported_in_its_place(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_bytes(b"no zip")
    both = Order(new_id(), (str(photos), str(tmp_path / "p.zip")), tmp_path / "out", SMALL, "m", "0", 0.0)
    with closing(open_order(both)) as job, closing(ThreadExecutor(spec_of(FakeStylizer()))) as executor:
        attempts = list(run(job, executor))
    assert outcome(attempts) == ["done"] * 4 + [UnreadableError.code]


def test_too_many_pixels_are_refused(photos: Path, tmp_path: Path) -> None:
    attempts = list(attempts_of(photos, tmp_path / "out", FakeStylizer(), SMALL, max_pixels=1000))
    assert outcome(attempts) == [TooLargeError.code] * 4


def test_an_existing_result_is_skipped_without_being_touched_or_read(photos: Path, tmp_path: Path) -> None:
    there = tmp_path / "out" / "c" / "2.png"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    stylizer = FakeStylizer()
    attempts = attempts_of(photos, tmp_path / "out", stylizer, SMALL)
    assert outcome(attempts) == ["done", "skipped", "done", "done"]
    assert attempts[1].output == there
    assert there.read_bytes() == b"mine"
    assert "c/2.png" not in stylizer.seen


def test_a_result_too_large_for_its_format_fails_before_it_is_drawn(photos: Path, tmp_path: Path) -> None:
    (photos / "c" / "2.png").write_bytes(encode(np.zeros((64, 4096, 3), np.uint8), None, "png"))
    stylizer = FakeStylizer()
    attempts = attempts_of(photos, tmp_path / "out", stylizer, Options(size="original", upscale=4, format="webp"))
    assert outcome(attempts) == ["done", "bad_options", "done", "done"]
    assert "2.png: format webp cannot hold 16384 x 256 px" in str(attempts[1].error)
    assert sorted(stylizer.seen) == ["c/1.png", "c/3.png", "c/4.png"]


def test_overwrite_draws_it_again(photos: Path, tmp_path: Path) -> None:
    first = attempts_of(photos, tmp_path / "out", FakeStylizer(), SMALL)
    again = attempts_of(photos, tmp_path / "out", FakeStylizer(), SMALL, overwrite=True)
    assert outcome(first) == outcome(again) == ["done"] * 4


def test_keep_writes_the_inputs_own_format(tmp_path: Path) -> None:
    pixels = np.full((30, 40, 3), 99, np.uint8)
    (tmp_path / "a.png").write_bytes(encode(pixels, None, "webp"))  # the bytes decide, not the suffix
    attempts = attempts_of(tmp_path, tmp_path / "out", FakeStylizer(), Options(size=64, format="keep"))
    assert attempts[0].output == tmp_path / "out" / "a.webp"
    assert read(tmp_path / "out" / "a.webp").format == "webp"


def test_transparency_survives_where_the_format_has_it(tmp_path: Path) -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:32] = 255
    (tmp_path / "a.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), alpha, "png"))
    attempts_of(tmp_path, tmp_path / "png", FakeStylizer(), SMALL)
    attempts_of(tmp_path, tmp_path / "jpg", FakeStylizer(), Options(size=64, format="jpg"))
    kept = read(tmp_path / "png" / "a.png").alpha
    assert kept is not None
    assert (kept == alpha).all()
    laid = read(tmp_path / "jpg" / "a.jpg")
    assert laid.alpha is None
    assert laid.pixels[63, 63].min() > 250


@pytest.mark.usefixtures("no_back_off")
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

    attempts = attempts_of(photos, tmp_path / "out", TroubledStylizer(second_fails), SMALL)
    attempts.sort(key=lambda attempt: attempt.item.name)  # what is tried again comes later
    assert [a.error is None for a in attempts] == [True, False, True, True]
    assert type(attempts[1].error) is kind
    with pytest.raises(kind, match=words):
        raise attempts[1].error or AssertionError
    # What nobody expected leaves a traceback in the log, what is explained does not.
    assert ("Traceback" in caplog.text) == isinstance(trouble, ZeroDivisionError)


def test_a_result_that_cannot_be_written_fails_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "c" / "2.png").mkdir(parents=True)  # a folder where the picture should go
    attempts = attempts_of(photos, out, FakeStylizer(), SMALL)
    assert outcome(attempts) == ["done", "skipped", "done", "done"]  # a folder of that name was there: not ours


def test_drawing_over_an_input_is_refused_and_nothing_is_left_behind(photos: Path) -> None:
    before = sorted(photos.rglob("*"))
    with pytest.raises(OptionsError, match="both input and output"):
        open_order(order(photos, photos))
    with pytest.raises(OptionsError, match="one of the inputs"):
        open_order(order(photos / "c" / "1.png", photos / "c"))
    assert sorted(photos.rglob("*")) == before


def test_the_same_order_again_draws_only_what_is_missing_or_altered(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    attempts_of(photos, out, FakeStylizer())
    whole = {name: (out / name).read_bytes() for name in pictures(out)}
    (out / "c" / "1.png").unlink()
    (out / "c" / "3.png").write_bytes(whole["c/3.png"][:-7])
    stylizer = FakeStylizer()
    assert outcome(attempts_of(photos, out, stylizer)) == ["skipped", "skipped", "done", "done"]
    assert sorted(stylizer.seen) == ["c/1.png", "c/3.png"]
    assert {name: (out / name).read_bytes() for name in pictures(out)} == whole
    kept = list(out.glob(".cartoon/*/replaced/*"))  # what somebody made of it is not lost
    assert [path.read_bytes() for path in kept] == [whole["c/3.png"][:-7]]


def test_photos_that_appear_or_change_between_two_runs_are_drawn(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    attempts_of(photos, out, FakeStylizer())
    changed = np.full((30, 40, 3), 7, np.uint8)
    (photos / "c" / "2.png").write_bytes(encode(changed, None, "png"))
    (photos / "c" / "2.webp").write_bytes(encode(changed + 1, None, "webp"))
    os.utime(photos / "c" / "4.png", (1, 1))  # another time, the same photo
    stylizer = FakeStylizer()
    attempts_of(photos, out, stylizer, SMALL)
    assert sorted(stylizer.seen) == ["c/2.png", "c/2.webp"]
    assert pictures(out) == ["c/1.png", "c/2-2.png", "c/2.png", "c/3.png", "c/4.png"]
    idle = FakeStylizer()
    attempts_of(photos, out, idle)
    assert idle.seen == []


@pytest.mark.parametrize(
    ("options", "model", "words"),
    [
        (Options("comic", size=64), "m", "style anime, now comic"),
        (Options(size=65), "m", "size 64, now 65"),
        (Options(size=64, format="jpg"), "m", "format png, now jpg"),
        (SMALL, "other", "other weights"),
    ],
)
def test_other_options_or_weights_say_so_and_touch_nothing(
    photos: Path, tmp_path: Path, options: Options, model: str, words: str
) -> None:
    out = tmp_path / "out"
    attempts_of(photos, out, FakeStylizer())
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OptionsError, match=words):
        open_order(order(photos, out, options, model=model))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_two_jobs_in_one_folder_never_take_each_others_files(photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(photos, other)
    (other / "c" / "5.png").write_bytes(encode(np.full((30, 40, 3), 5, np.uint8), None, "png"))
    first = open_order(order(photos, out))  # begun, nothing is drawn yet
    first.close()
    assert outcome(attempts_of(other, out, FakeStylizer())) == ["skipped"] * 4 + ["done"]
    assert outcome(attempts_of(photos, out, FakeStylizer())) == ["done"] * 4


def test_two_processes_never_work_on_one_job(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoon.jobs.store.lock.LOCK_SECONDS", 0.1)
    with closing(open_order(order(photos, tmp_path / "out"))), pytest.raises(BusyError, match="Another process"):
        resume(next((tmp_path / "out" / ".cartoon").glob("*/manifest.json")).parent)


def test_photos_alike_are_drawn_once_and_each_gets_its_file(photos: Path, tmp_path: Path) -> None:
    for name in ("copy.png", "c/copy.jpg", "z.png"):
        shutil.copy(photos / "c" / "2.png", photos / name)
    stylizer, out = FakeStylizer(), tmp_path / "out"
    attempts = attempts_of(photos, out, stylizer)
    assert outcome(attempts) == ["done"] * 7
    assert len(stylizer.seen) == 4
    same = [(out / name).read_bytes() for name in ("c/2.png", "copy.png", "c/copy.png", "z.png")]
    assert len(set(same)) == 1
    assert [any("drawn once" in note for note in attempt.notes) for attempt in attempts].count(True) == 3


def test_a_name_of_255_bytes_and_one_in_two_unicode_forms_get_files_of_their_own(tmp_path: Path) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    long = "ü" * 125 + "x.png"  # 255 bytes; .webp is one more
    for number, name in enumerate((long, "\u00e9.png", "e\u0301.jpg", "E\u0301.png")):
        (given / name).write_bytes(encode(np.full((30, 40, 3), number, np.uint8), None, "png"))
    assert outcome(attempts_of(given, out, FakeStylizer(), Options(size=64, format="webp"))) == ["done"] * 4
    assert len({name.casefold() for name in pictures(out)}) == 4
    assert max(len(name.encode()) for name in pictures(out)) == 255


def test_after_cancelling_no_further_photo_is_started(photos: Path, tmp_path: Path) -> None:
    for number in range(20):
        (photos / f"{number}.png").write_bytes(encode(np.full((30, 40, 3), number, np.uint8), None, "png"))
    stop = threading.Event()
    with (
        closing(open_order(order(photos, tmp_path / "out"))) as job,
        closing(ThreadExecutor(spec_of(FakeStylizer()))) as executor,
    ):
        for number, _ in enumerate(run(job, executor, stop.is_set)):
            if number == 1:
                stop.set()
        assert 2 <= job.counts.done <= 8
        assert job.counts.done == len(pictures(tmp_path / "out"))


def test_a_stop_takes_back_what_the_executor_has_not_begun(photos: Path, tmp_path: Path) -> None:
    executor = OneAtATime()
    stop = threading.Event()
    with closing(open_order(order(photos, tmp_path / "out"))) as job:
        for _ in run(job, executor, stop.is_set):
            stop.set()
        assert len(executor.given) == 4
        assert [future.cancelled() for future in executor.given] == [False, True, True, True]
        assert job.counts.done == 1
        with closing(ThreadExecutor(spec_of(FakeStylizer()))) as rest:
            assert outcome(list(run(job, rest))) == ["done"] * 3


@pytest.mark.usefixtures("no_back_off")
def test_what_may_pass_is_tried_three_times_and_what_may_not_once(photos: Path, tmp_path: Path) -> None:
    tried: dict[str, int] = {}

    def trouble(name: str) -> None:
        tried[name] = tried.get(name, 0) + 1
        if name == "c/1.png" and tried[name] < 3:
            raise ResourceError("the device is busy.")
        if name == "c/2.png":
            raise ResourceError("the device is gone.")
        if name == "c/3.png":
            raise UnreadableError("damaged.")

    attempts = attempts_of(photos, tmp_path / "out", TroubledStylizer(trouble))
    assert {a.item.name: (a.outcome, a.tries) for a in attempts} == {
        "c/1.png": ("done", 3),
        "c/2.png": ("failed", 3),
        "c/3.png": ("failed", 1),
        "c/4.png": ("done", 1),
    }


def test_a_line_that_a_crash_cut_off_is_drawn_again_and_the_journal_goes_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    attempts_of(photos, out, FakeStylizer())
    journal = next(out.glob(".cartoon/*/journal.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-20])
    stylizer = FakeStylizer()
    assert outcome(attempts_of(photos, out, stylizer)).count("done") == 1
    assert len(stylizer.seen) == 1
    assert [json.loads(line)["event"] for line in journal.read_text().splitlines()] == ["attempt"] * 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB; making one takes root on Linux."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_job_with_whole_files_and_freed_it_goes_on(tmp_path: Path, small_disk: Path) -> None:
    given, out = tmp_path / "in", small_disk / "out"
    given.mkdir()
    chance = np.random.default_rng(3)
    for number in range(12):
        noise = chance.integers(0, 256, (300, 300, 3), np.uint8)
        (given / f"{number:02}.png").write_bytes(encode(noise, None, "png"))  # 270 kB each, and so are the results
    (small_disk / "ballast").write_bytes(bytes(900_000))
    original = Options(size="original")
    stylizer = FakeStylizer()
    with pytest.raises(StorageError, match=r"free some space"):
        attempts_of(given, out, stylizer, original)
    there = pictures(out)
    assert 0 < len(there) < 12
    assert not [name for name in there if name.endswith(".part")]
    for name in there:
        read(out / name)
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    attempts = attempts_of(given, out, FakeStylizer(), original)
    assert [a.outcome for a in attempts] == ["done"] * 12
    assert len(pictures(out)) == 12


def test_an_output_folder_that_vanishes_stops_the_job_and_is_not_made_anew(photos: Path, tmp_path: Path) -> None:
    out, away = tmp_path / "out", tmp_path / "unplugged"
    for number in range(20):
        (photos / f"{number:02}.png").write_bytes(encode(np.full((30, 40, 3), number, np.uint8), None, "png"))

    def unplug(name: str) -> None:
        if name == "05.png":
            out.rename(away)

    with pytest.raises(StorageError):
        attempts_of(photos, out, TroubledStylizer(unplug))
    assert not out.exists()
    away.rename(out)
    attempts = attempts_of(photos, out, FakeStylizer())
    assert [a.outcome for a in attempts] == ["done"] * 24
    assert len(pictures(out)) == 24


class Clumsy(FakeStylizer):
    """Draws black; with as much care as `needs` it draws as it should."""

    def __init__(self, needs: Care | None) -> None:
        super().__init__()
        self.needs = needs
        self.tried: list[Care] = []

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        cartoon = super().draw(photo, options, urgent=urgent)
        return replace(cartoon, pixels=np.zeros_like(cartoon.pixels))

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        self.tried.append(care)
        return super().draw(photo, options) if care == self.needs else self.draw(photo, options)


def not_black(photo: Photo, cartoon: Cartoon, options: Options, detector: FaceFinder | None) -> Verdict:
    if cartoon.pixels.any():
        return Verdict(1.0)
    return Verdict(0.1, (Flaw("black", "It is black."),))


@pytest.mark.parametrize(
    ("needs", "gate", "outcomes", "flaws", "tries"),
    [
        (Care(tiles=True), "flag", "done", (), 2),
        (None, "flag", "done", ("black",), 4),
        (None, "refuse", "poor_quality", (), 4),
        (None, "off", "done", (), 0),
    ],
)
def test_what_fails_the_gate_is_drawn_with_more_care_then_flagged_or_refused(
    photos: Path, tmp_path: Path, needs: Care | None, gate: Gate, outcomes: str, flaws: tuple[str, ...], tries: int
) -> None:
    stylizer, out = Clumsy(needs), tmp_path / "out"
    asked = replace(order(photos / "c" / "1.png", out), gate=gate)
    with closing(open_order(asked)) as job, closing(ThreadExecutor(spec_of(stylizer, not_black))) as executor:
        attempts = list(run(job, executor))
    assert outcome(attempts) == [outcomes]
    assert attempts[0].flaws == flaws
    assert len(stylizer.tried) == tries
    assert pictures(out) == ([] if attempts[0].error else ["1.png"])
    if tries == 2:
        assert read(out / "1.png").pixels.any()
    if flaws:
        assert job.counts.flagged == 1
        assert "It is black." in attempts[0].notes
