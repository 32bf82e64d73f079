"""The quality gate: good drawings pass, broken ones do not, and it says what is wrong."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cartoon.faces.detector import MediaPipeDetector
from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.quality.gate import THRESHOLD, Verdict, judge
from cartoon.styles.catalogue import available
from tests import ROOT
from tests.spoiling import CALIBRATION, HELD_OUT, Source, Spoiler, blank, mirrored, undrawn

STYLES = tuple(card.id for card in available())
SIZE = 384
EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.jpg"))[:2]


class Drawer:
    """Draws the examples, each asked for once."""

    def __init__(self) -> None:
        self.toon = Cartoonizer.load(device="cpu")
        self.photos = [read(path) for path in EXAMPLES]
        self._drawn: dict[tuple[int, Options], Cartoon] = {}

    def draw(self, number: int, options: Options) -> Cartoon:
        if (number, options) not in self._drawn:
            self._drawn[number, options] = self.toon.draw(self.photos[number], options)
        return self._drawn[number, options]


@pytest.fixture(scope="session")
def drawer() -> Iterator[Drawer]:
    """The real pipeline on example portraits."""
    drawer = Drawer()
    yield drawer
    drawer.toon.close()


@pytest.fixture(scope="session")
def detector() -> Iterator[MediaPipeDetector]:
    """The real one."""
    detector = MediaPipeDetector()
    yield detector
    detector.close()


class Nobody:
    """A detector that finds nothing, and remembers the largest side it was given."""

    largest = 0

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        self.largest = max(self.largest, *pixels.shape[:2])
        return ()


def spoiled(drawer: Drawer, spoil: Spoiler, options: Options, seed: int = 1) -> Verdict:
    photo, cartoon = drawer.photos[0], drawer.draw(0, options)
    shape = (cartoon.pixels.shape[0], cartoon.pixels.shape[1])
    source = Source(resize(photo.pixels, shape), resize(drawer.draw(1, options).pixels, shape))
    pixels = spoil(cartoon.pixels, np.random.default_rng(seed), source)
    return judge(photo, replace(cartoon, pixels=pixels), options)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_good_drawings_pass(drawer: Drawer, detector: MediaPipeDetector, style: str, number: int) -> None:
    options = Options(style, size=SIZE)
    verdict = judge(drawer.photos[number], drawer.draw(number, options), options, detector)
    assert verdict.ok, verdict
    assert verdict.score > 0.6


@pytest.mark.parametrize("strength", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("background", ["photo", "transparent", "#3366CC"])
def test_strengths_and_backgrounds_pass(drawer: Drawer, strength: float, background: str) -> None:
    for style in ("anime", "sketch"):
        options = Options(style, strength, SIZE, background=background)
        verdict = judge(drawer.photos[0], drawer.draw(0, options), options)
        assert verdict.ok, (style, verdict)


@pytest.mark.parametrize("spoil", [*CALIBRATION, *HELD_OUT])
def test_every_way_of_spoiling_is_caught(drawer: Drawer, spoil: Spoiler) -> None:
    options = Options("anime", size=SIZE)
    verdict = spoiled(drawer, spoil, options)
    assert not verdict.ok
    assert verdict.score <= THRESHOLD
    assert all(flaw.code and flaw.sentence.endswith(".") for flaw in verdict.flaws)


@pytest.mark.parametrize(("spoil", "code"), [(mirrored, "turned"), (undrawn, "undrawn"), (blank, "flat")])
def test_it_says_what_is_wrong(drawer: Drawer, spoil: Spoiler, code: str) -> None:
    assert code in [flaw.code for flaw in spoiled(drawer, spoil, Options("anime", size=SIZE)).flaws]


def test_worse_is_less(drawer: Drawer) -> None:
    options = Options("comic", size=SIZE)
    photo, cartoon = drawer.photos[0], drawer.draw(0, options)
    scores = []
    for sigma in (0, 8, 20, 60):
        noise = np.random.default_rng(1).normal(0, 1, cartoon.pixels.shape) * sigma
        pixels = np.clip(cartoon.pixels + noise, 0, 255).astype(np.uint8)
        scores.append(judge(photo, replace(cartoon, pixels=pixels), options).score)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.6
    assert scores[-1] < 0.05


def test_at_the_least_strength_the_photo_is_a_drawing(drawer: Drawer) -> None:
    options = Options("anime", 0.1, SIZE)
    assert spoiled(drawer, undrawn, options).ok


@pytest.mark.parametrize("style", STYLES)
def test_a_flat_wall_is_no_flaw(drawer: Drawer, style: str) -> None:
    photo = Photo(np.full((200, 300, 3), 128, np.uint8))
    options = Options(style, size=SIZE)
    assert judge(photo, drawer.toon.draw(photo, options), options).ok


def test_nothing_left_but_the_colour_behind(drawer: Drawer) -> None:
    options = Options("anime", size=SIZE, background="#3366CC")
    cartoon = drawer.draw(0, options)
    empty = replace(cartoon, pixels=np.full_like(cartoon.pixels, (0x33, 0x66, 0xCC)))
    assert [flaw.code for flaw in judge(drawer.photos[0], empty, options).flaws] == ["nobody"]
    assert judge(drawer.photos[0], replace(empty, faces=()), options).ok, "nobody was there to begin with"


def test_the_wrong_size_and_missing_alpha(drawer: Drawer) -> None:
    options = Options("anime", size=SIZE, background="transparent")
    photo, cartoon = drawer.photos[0], drawer.draw(0, options)
    for broken, code in (
        (replace(cartoon, pixels=cartoon.pixels[:-1]), "size"),
        (replace(cartoon, pixels=cartoon.pixels[..., 0]), "size"),
        (replace(cartoon, alpha=None), "alpha"),
        (replace(cartoon, alpha=cartoon.pixels[:9, :9, 0]), "alpha"),
    ):
        verdict = judge(photo, broken, options)
        assert (verdict.score, [flaw.code for flaw in verdict.flaws]) == (0.0, [code])


def test_a_lost_face_is_a_flaw_and_costs_small_crops(drawer: Drawer) -> None:
    options = Options("anime", size=1024)
    nobody = Nobody()
    verdict = judge(drawer.photos[0], drawer.draw(0, options), options, nobody)
    assert [flaw.code for flaw in verdict.flaws] == ["face"]
    assert 0 < nobody.largest < 300


def test_a_style_of_ones_own_has_wider_norms(drawer: Drawer) -> None:
    own = Options("mine", size=SIZE)
    cartoon = drawer.draw(0, Options("comic", size=SIZE))
    assert judge(drawer.photos[0], replace(cartoon, style="mine"), own).ok
    broken = replace(cartoon, style="mine", pixels=np.zeros_like(cartoon.pixels))
    assert not judge(drawer.photos[0], broken, own).ok


def test_equal_arguments_give_equal_verdicts_and_nothing_is_changed(drawer: Drawer) -> None:
    options = Options("watercolor", size=SIZE)
    photo, cartoon = drawer.photos[0], drawer.draw(0, options)
    before = photo.pixels.copy(), cartoon.pixels.copy()
    assert judge(photo, cartoon, options) == judge(photo, cartoon, options)
    assert np.array_equal(before[0], photo.pixels)
    assert np.array_equal(before[1], cartoon.pixels)


@pytest.mark.parametrize("shape", [(8, 300), (300, 8), (9, 9), (60, 64)])
def test_odd_shapes_are_judged(shape: tuple[int, int]) -> None:
    photo = Photo(np.random.default_rng(1).integers(0, 255, (*shape, 3), dtype=np.uint8))
    options = Options("anime", size=64)
    height, width = (max(1, round(n * 64 / max(shape))) for n in shape)
    verdict = judge(photo, Cartoon(np.zeros((height, width, 3), np.uint8), "anime", (), 64, {}), options)
    assert 0 <= verdict.score <= 1


def test_it_needs_no_model() -> None:
    code = "import sys, cartoon.quality.gate; print([m for m in ('torch', 'mediapipe', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
