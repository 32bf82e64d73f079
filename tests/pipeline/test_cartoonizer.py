"""The resident pipeline with the shipped weights and real detectors, on the example portraits."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from cartoon.drawing.compose import CHEEKS
from cartoon.errors import CartoonError, OptionsError, ResourceError, StyleError, UnreadableError
from cartoon.images.decode import read
from cartoon.images.resize import resize, result_shape
from cartoon.images.types import Photo, Pixels
from cartoon.options import Options, Size
from cartoon.pipeline.cartoonizer import Cartoonizer
from tests import ROOT

EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
TOLERANCE = {"fp32": 2, "bf16": 4, "fp16": 4}
"""Of 255; CONTRACT.md's promise for any batch, bucket, tile or order."""


@pytest.fixture(scope="module")
def toon() -> Cartoonizer:
    """The real thing, loaded once."""
    return Cartoonizer.load(device="cpu")


@pytest.fixture(scope="module")
def portraits() -> list[Pixels]:
    """The examples, 300 px high: enough to draw, quick to draw."""
    return [resize(read(path).pixels, (300, 240)) for path in EXAMPLES]


@pytest.mark.parametrize(("size", "shape"), [(96, (96, 77)), (321, (321, 257)), ("original", (300, 240))])
def test_the_result_has_the_asked_size(
    toon: Cartoonizer, portraits: list[Pixels], size: Size, shape: tuple[int, int]
) -> None:
    cartoon = toon(portraits[0], size=size)
    assert cartoon.pixels.shape == (*shape, 3)
    assert cartoon.pixels.dtype == np.uint8
    assert cartoon.effective_size == min(300, max(shape))
    assert ("enlarged" in " ".join(cartoon.notes)) == (max(shape) > 300)
    assert list(cartoon.seconds)[:2] == ["detect", "matte"]


@pytest.mark.parametrize("style", ["anime", "comic"])
def test_it_finds_the_face_and_draws_more_than_a_filter_would(
    toon: Cartoonizer, portraits: list[Pixels], style: str
) -> None:
    for photo in portraits[:4]:
        cartoon = toon(photo, style=style, strength=1.0, size="original", exaggeration=0)
        assert len(cartoon.faces) == 1
        drawn = cartoon.pixels.reshape(-1, 3).astype(np.float64)
        for sigma in (0, 1, 2, 4, 8):
            blurred = cv2.GaussianBlur(photo, (0, 0), sigma) if sigma else photo
            basis = np.c_[blurred.reshape(-1, 3).astype(np.float64), np.ones(len(drawn))]
            fit, *_ = np.linalg.lstsq(basis, drawn, rcond=None)
            residual = np.sqrt(((basis @ fit - drawn) ** 2).mean())
            assert residual > 6, f"looks like the photo blurred at sigma {sigma}"


def test_same_call_same_bytes(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    first = toon(portraits[1], style="comic", strength=0.8, size=256)
    toon(portraits[2], style="anime", size=200)
    again = toon(portraits[1], style="comic", strength=0.8, size=256)
    assert np.array_equal(first.pixels, again.pixels)


def test_a_batch_of_mixed_sizes_draws_what_singles_draw(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    shapes = [(300, 240), (200, 160), (300, 240), (150, 240), (333, 111), (64, 64), (240, 300), (97, 131)]
    mixed = [resize(photo, shape) for photo, shape in zip(portraits, shapes, strict=True)]
    together = toon.batch(mixed, style="anime", size="original")
    for photo, batched in zip(mixed, together, strict=True):
        alone = toon(photo, style="anime", size="original")
        difference = np.abs(alone.pixels.astype(int) - batched.pixels.astype(int))
        assert difference.max() <= TOLERANCE[toon.precision]


def test_photos_of_many_threads_styles_and_strengths_come_out_as_alone(
    toon: Cartoonizer, portraits: list[Pixels]
) -> None:
    asked = [
        (portraits[i % 4], Options(style, strength, size, background=background))
        for i, (style, strength, size, background) in enumerate(
            [
                ("anime", 1.0, 200, "drawn"),
                ("comic", 0.4, 200, "drawn"),
                ("sketch", 0.7, 160, "drawn"),
                ("watercolor", 0.7, 200, "photo"),
                ("anime", 0.2, 130, "drawn"),
                ("comic", 1.0, 200, "#204060"),
            ]
        )
    ]
    alone = [toon.draw(Photo(photo), options).pixels for photo, options in asked]
    futures = [toon.submit(Photo(photo), options, urgent=bool(n % 2)) for n, (photo, options) in enumerate(asked)]
    for one, future in zip(alone, futures, strict=True):
        assert np.array_equal(one, future.result(60).pixels)


def test_one_photo_that_fails_in_a_batch_is_named_and_the_stylizer_goes_on(
    toon: Cartoonizer, portraits: list[Pixels]
) -> None:
    with pytest.raises(StyleError, match="oils"):
        toon.batch(portraits[:3], style="oils")
    assert len(toon.batch(portraits[:2], size=96)) == 2


def test_a_closed_stylizer_answers_everyone_and_takes_nobody(portraits: list[Pixels]) -> None:
    stylizer = Cartoonizer.load(device="cpu")
    futures = [stylizer.submit(Photo(photo), Options(size=64)) for photo in portraits]
    stylizer.close()
    for future in futures:
        assert future.done()
        if not future.cancelled():
            problem = future.exception()
            assert problem is None or isinstance(problem, ResourceError)
    with pytest.raises(ResourceError, match="shutting down"):
        stylizer(portraits[0], size=64)


def test_who_waits_in_front_of_a_page_goes_before_a_batch(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    ended: list[str] = []

    def note(name: str) -> Callable[[object], None]:
        return lambda _: ended.append(name)

    batch = [toon.submit(Photo(portraits[n % 4]), Options(size=200), urgent=False) for n in range(30)]
    for future in batch:
        future.add_done_callback(note("batch"))
    batch[2].result(60)
    before = len(ended)
    urgent = toon.submit(Photo(portraits[5]), Options(size=200))
    urgent.add_done_callback(note("urgent"))
    urgent.result(60)
    overtaking = ended.index("urgent") - before
    for future in batch:
        future.result(60)
    # Those whose painting had begun may end first, and one that came in between; not the 27 that were waiting.
    assert overtaking <= toon.at_once + 2


def test_users_are_served_in_the_order_they_came(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    ended: list[int] = []
    futures = []

    def note(number: int) -> Callable[[object], None]:
        return lambda _: ended.append(number)

    for number in range(10):
        futures.append(toon.submit(Photo(portraits[number % 4]), Options(size=160)))
        futures[-1].add_done_callback(note(number))
    for future in futures:
        future.result(60)
    assert max(abs(place - number) for place, number in enumerate(ended)) <= toon.at_once


def test_with_little_memory_a_photo_is_painted_smaller_and_says_so(
    toon: Cartoonizer, portraits: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toon.scheduler, "most_pixels", 300 * 240)
    large = resize(portraits[0], (1000, 800))
    drawn = toon(large, size="original")
    assert drawn.pixels.shape == (1000, 800, 3)
    assert drawn.effective_size <= 300
    assert drawn.notes == (f"Drawn from {drawn.effective_size} px and enlarged to 1000 px.",)


@pytest.mark.slow
def test_a_hundred_photos_of_all_sizes_stay_within_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mixed_sizes"], cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["drawn"] == 100
    assert told["peak_mb"] - told["idle_mb"] <= 1536


def test_strength_moves_away_from_the_photo_step_by_step(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    photo = portraits[3]
    steps = [toon(photo, strength=s, size="original").pixels for s in (0.1, 0.3, 0.5, 0.7, 1.0)]
    distances = [float(np.abs(s.astype(float) - photo).mean()) for s in steps]
    assert distances == sorted(distances)
    assert distances[0] <= 4  # at 0.1 almost the photo


def test_the_skin_keeps_its_hue(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    for photo in portraits:
        cartoon = toon(photo, style="anime", strength=1.0, size="original", exaggeration=0)
        face = cartoon.faces[0]
        radius = max(2, int(0.04 * (face.box[2] - face.box[0])))
        for index in CHEEKS:
            x, y = (int(v) for v in face.landmarks[index])
            part = np.s_[y - radius : y + radius, x - radius : x + radius]
            was, now = (
                cv2.cvtColor(p[part].astype(np.float32) / 255, cv2.COLOR_RGB2Lab).mean((0, 1))
                for p in (photo, cartoon.pixels)
            )
            assert np.linalg.norm((now - was)[1:]) <= 10


def test_a_picture_without_a_face_is_drawn_and_says_so(toon: Cartoonizer) -> None:
    rng = np.random.default_rng(4)
    hills = resize(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8), (200, 300))
    cartoon = toon(hills, size="original")
    assert cartoon.faces == ()
    assert "No face found" in " ".join(cartoon.notes)
    assert not np.array_equal(cartoon.pixels, hills)


def test_many_faces_are_all_drawn(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    group = np.vstack([np.hstack(portraits[:4]), np.hstack(portraits[4:8])])
    cartoon = toon(group, size=900, strength=1.0)
    assert len(cartoon.faces) == 8
    for face in cartoon.faces:
        x0, y0, x1, y1 = (int(v) for v in face.box * 900 / 960)
        small = resize(group, cartoon.pixels.shape[:2])
        assert np.abs(cartoon.pixels[y0:y1, x0:x1].astype(float) - small[y0:y1, x0:x1]).mean() > 5


def test_backgrounds(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    photo = portraits[4]
    green = toon(photo, background="#00C040", size="original")
    assert np.abs(green.pixels[5, 5].astype(int) - [0, 192, 64]).max() < 40
    cut = toon(photo, background="transparent", size="original")
    assert cut.alpha is not None
    assert cut.alpha[5, 5] < 40
    assert cut.alpha[150, 120] > 240
    assert toon(photo, size="original").alpha is None


def test_the_photos_own_alpha_is_kept(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    alpha = np.full((300, 240), 255, np.uint8)
    alpha[:100] = 0
    cartoon = toon(Photo(portraits[0], alpha), size=150)
    assert cartoon.alpha is not None
    assert cartoon.alpha[10].max() == 0
    assert cartoon.alpha[100].min() == 255


def test_notes_on_the_photo_are_not_told_again_with_the_drawing(toon: Cartoonizer, portraits: list[Pixels]) -> None:
    # The doors show both lists; a note in both was told twice.
    cartoon = toon(Photo(portraits[0], notes=("it was turned upright",)), size=100)
    assert "it was turned upright" not in cartoon.notes


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 64), (200, 3)])
def test_tiny_and_narrow_pictures_come_out(toon: Cartoonizer, shape: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), 90, np.uint8)
    assert max(toon(photo, size=64).pixels.shape[:2]) == 64


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_photo_is_refused(toon: Cartoonizer, wrong: Any) -> None:
    with pytest.raises(UnreadableError, match="uint8"):
        toon(wrong)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"style": "oils"}, StyleError),
        ({"strength": 0.05}, OptionsError),
        ({"strength": float("nan")}, OptionsError),
        ({"size": 63}, OptionsError),
        ({"size": 4097}, OptionsError),
        ({"exaggeration": 1.5}, OptionsError),
        ({"background": "beach"}, OptionsError),
    ],
)
def test_wrong_options_are_refused_by_name(
    toon: Cartoonizer, portraits: list[Pixels], options: dict[str, Any], error: type[CartoonError]
) -> None:
    (name,) = options
    with pytest.raises(error, match=name):
        toon(portraits[0], **options)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((600, 480), 1024, (1024, 819)),
        ((480, 600), 64, (51, 64)),
        ((5000, 10), 64, (64, 1)),
        ((7, 9), "original", (7, 9)),
    ],
)
def test_result_shape_keeps_proportions(shape: tuple[int, int], size: Size, expected: tuple[int, int]) -> None:
    assert result_shape(shape, size) == expected
