"""Before anything runs: what a job will take, and what is bound to fail, from headers alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cartoon.cli import commands
from cartoon.errors import CartoonError, StorageError, TooLargeError, UnreadableError
from cartoon.images.decode import read, size_of
from cartoon.images.encode import encode
from cartoon.jobs import forecast
from cartoon.jobs.model import Order
from cartoon.jobs.store.folder import open_order
from cartoon.jobs.store.home import new_id
from cartoon.options import Options
from cartoon.styles.catalogue import available
from tests import ROOT
from tests.fakes import load_fake


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of 400 x 300, two of them the same file, one text, one cut off in its header."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, gray in (("a.png", 1), ("b.png", 1), ("c.jpg", 2)):
        picture = np.full((300, 400, 3), gray, np.uint8)
        (folder / name).write_bytes(encode(picture, None, "jpg" if name.endswith("jpg") else "png"))
    (folder / "text.jpg").write_text("I am text")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:20])
    return folder


def survey(photos: Path, out: Path, options: Options) -> forecast.Forecast:
    job = open_order(Order(new_id(), (str(photos),), out, options, "m", "0", 0.0))
    try:
        return forecast.survey(job.entries, options, out, 10**8)
    finally:
        job.close()


def test_a_forecast_counts_pixels_once_a_photo_and_bytes_once_a_file(photos: Path, tmp_path: Path) -> None:
    foreseen = survey(photos, tmp_path / "out", Options(size=800))
    assert foreseen.photos == 3
    assert foreseen.megapixels == pytest.approx(2 * 0.48)
    png = next(card.png_bytes_per_pixel for card in available() if card.id == "anime")
    assert foreseen.disk == pytest.approx(3 * 480_000 * png, rel=0.01)
    assert [(failing.name, failing.code) for failing in foreseen.failing] == [
        ("cut.png", "unreadable"),
        ("text.jpg", "unsupported"),
    ]
    assert "3 to draw" in foreseen.sentence()
    assert "2 will fail" in foreseen.sentence()
    original = survey(photos, tmp_path / "other", Options(size="original", format="jpg"))
    assert original.megapixels == pytest.approx(0.24)
    assert original.disk < foreseen.disk / 4


def test_a_result_too_large_for_its_format_is_foreseen(photos: Path, tmp_path: Path) -> None:
    (photos / "strip.png").write_bytes(encode(np.zeros((64, 4096, 3), np.uint8), None, "png"))
    (failing,) = (
        failing
        for failing in survey(photos, tmp_path / "out", Options(size="original", upscale=4, format="webp")).failing
        if failing.name == "strip.png"
    )
    assert (failing.code, "webp cannot hold 16384 x 256 px" in failing.message) == ("bad_options", True)


def test_a_disk_that_is_too_small_is_refused_with_what_to_do(photos: Path, tmp_path: Path) -> None:
    foreseen = survey(photos, tmp_path / "out", Options())
    forecast.check_disk(foreseen, tmp_path)
    small = forecast.Forecast(foreseen.photos, 1.0, 1.0, disk=1000, memory=1, free=1500)
    forecast.check_disk(small, tmp_path)
    with pytest.raises(StorageError, match=r"1 kB|2 kB.*--format jpg"):
        forecast.check_disk(small, tmp_path, twice=True)


def test_a_dry_run_draws_nothing_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    args = ["run", str(photos), "-o", str(tmp_path / "out"), "--dry-run"]

    def never(settings: object) -> None:
        raise AssertionError("the model was loaded")

    plain = CliRunner().invoke(commands.app, args, obj=never)
    assert plain.exit_code == 1  # some will fail
    assert "will fail: text.jpg is not a picture" in plain.stdout
    told = json.loads(CliRunner().invoke(commands.app, [*args, "--json"], obj=never).stdout)
    assert (told["event"], told["photos"], len(told["failing"])) == ("forecast", 3, 2)
    assert not (tmp_path / "out").exists()


def test_a_run_that_the_disk_cannot_hold_does_not_start(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "free_on", lambda place: 1000)
    args = ["run", str(photos / "a.png"), "-o", str(tmp_path / "out")]
    refused = CliRunner().invoke(commands.app, args, obj=load_fake)
    assert refused.exit_code == 1
    assert "free some space" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(commands.app, [*args, "--anyway"], obj=load_fake).exit_code == 0


def test_the_size_is_read_from_the_header(tmp_path: Path) -> None:
    for path in sorted((ROOT / "assets" / "examples").glob("*.jpg")):
        assert size_of(path, path.name) == read(path).pixels.shape[1::-1]
    path = tmp_path / "half.png"
    path.write_bytes(encode(np.zeros((90, 120, 3), np.uint8), None, "png")[:60])  # its header is whole
    assert size_of(path, "half.png") == (120, 90)
    with pytest.raises(TooLargeError, match=r"half\.png"):
        size_of(path, "half.png", max_pixels=1000)
    with pytest.raises(UnreadableError, match=r"gone\.png cannot be opened"):
        size_of(tmp_path / "gone.png", "gone.png")


def test_the_size_of_every_shared_bad_picture_is_told_or_refused(shared: Path) -> None:
    for path in sorted((shared / "data" / "bad-images").iterdir()):
        try:
            width, height = size_of(path, path.name)
        except CartoonError:
            continue
        assert width > 0 < height
