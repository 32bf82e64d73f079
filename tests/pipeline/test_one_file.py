"""Decode, draw, encode: the same for whoever brings a file."""

import io
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cartoon.errors import UnreadableError
from cartoon.images.decode import decode, read
from cartoon.images.encode import encode
from cartoon.images.types import Cartoon, Photo
from cartoon.jobs.model import Task
from cartoon.jobs.photo import draw_file as draw_for_a_job
from cartoon.options import Care, Options
from cartoon.pipeline.one_file import draw_file, result_name
from cartoon.quality.gate import FaceFinder, Verdict
from cartoon.quality.norms import Flaw
from cartoon.telemetry import metrics
from cartoon.web.photo import draw as draw_for_the_web
from tests import ROOT
from tests.fakes import FakeStylizer

MOST = 10_000


@pytest.fixture
def picture() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (50, 31, 3), np.uint8)
    return encode(pixels, None, "webp", 80)


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "keep"])
def test_rest_and_a_job_write_the_same_bytes(picture: bytes, tmp_path: Path, format: str) -> None:
    options = Options("comic", size=77, format=format, quality=60)  # type: ignore[arg-type]
    drawing = draw_for_the_web(FakeStylizer(), picture, "anna.webp", options, MOST)
    assert drawing.name == f"anna-comic.{drawing.format}"
    assert drawing.media_type == {"jpg": "image/jpeg"}.get(drawing.format, f"image/{drawing.format}")
    (tmp_path / "anna.webp").write_bytes(picture)
    output = f"anna.{drawing.format}"
    task = Task(0, str(tmp_path / "anna.webp"), "anna.webp", str(tmp_path), f"out/{output}", options, "off", MOST)
    assert draw_for_a_job(task, FakeStylizer()).error is None
    assert (tmp_path / "out" / output).read_bytes() == drawing.data
    with Image.open(io.BytesIO(drawing.data)) as drawn:
        assert drawn.size == (48, 77)


def test_what_cannot_be_decoded_never_reaches_the_stylizer_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"?" * 99)
    stylizer = FakeStylizer()
    before = failed()
    with pytest.raises(UnreadableError, match=r"^a\.png"):
        draw_file(stylizer, partial(read, tmp_path / "a.png"), Options("sketch"))
    assert failed() == before + 1
    assert stylizer.seen == []


def failed() -> float:
    text = metrics.exposition()[0].decode()
    lines = [line for line in text.splitlines() if 'outcome="unreadable"' in line and 'style="sketch"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


class Careless(FakeStylizer):
    """Draws black; a redraw is as light as it was careful."""

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        cartoon = super().draw(photo, options, urgent=urgent)
        return replace(cartoon, pixels=np.zeros_like(cartoon.pixels))

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        cartoon = super().redraw(photo, options, care)
        light = 50 + 50 * care.tiles + 50 * (not care.crops)
        return replace(cartoon, pixels=np.full_like(cartoon.pixels, light))


@pytest.mark.parametrize(("enough", "light"), [(0, 0), (50, 50), (100, 100), (255, 150)])
def test_what_does_not_pass_is_drawn_again_until_it_does_and_the_best_is_kept(
    picture: bytes, enough: int, light: int
) -> None:
    def judge(photo: Photo, cartoon: Cartoon, options: Options, finder: FaceFinder | None) -> Verdict:
        level = int(cartoon.pixels.min())
        return Verdict(0.6) if level >= enough else Verdict(0.4 * level / 255, (Flaw("dark", "It is dark."),))

    drawing = draw_file(Careless(), partial(decode, picture, "a.webp"), Options(size=64), judge=judge)
    assert int(drawing.cartoon.pixels.min()) == light
    assert drawing.verdict is not None
    assert drawing.verdict.ok == (light >= enough)


def test_a_result_is_named_after_photo_and_style() -> None:
    assert result_name("anna.b.jpg", "comic", "webp") == "anna.b-comic.webp"
    assert result_name("photo", "comic", "png") == "photo-comic.png"


LIGHT = """
import pickle, sys
import cartoon.pipeline.one_file
from cartoon.pipeline import load_cartoonizer
assert pickle.loads(pickle.dumps(load_cartoonizer)) is load_cartoonizer
print("torch" in sys.modules)
"""


def test_a_door_can_send_the_loader_to_a_worker_without_loading_torch_itself() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
