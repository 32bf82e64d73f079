"""Small real stand-ins at the seams: a stylizer that draws at once, and one that misbehaves on demand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from cartoon.errors import ResourceError
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.jobs.executors.base import Load, WorkerSpec
from cartoon.jobs.photo import Stylizer
from cartoon.options import Care, Options, Size
from cartoon.pipeline import one_file
from cartoon.pipeline.one_file import Drawing
from cartoon.quality.gate import Judge
from cartoon.settings import Settings
from cartoon.styles.catalogue import Register, StyleCard, available

CARDS: Final = tuple(
    replace(card, file="fake.safetensors", sha256="0" * 64, origin="made up for tests", exaggeration=1.0)
    for card in available()
)
"""Stand-ins for the shipped cards."""


class FakeStylizer:
    """Draws by inverting the colours of the photo at the asked size (nearest pixel); needs no weights.

    styles_dir: where a user's own styles are looked for. seen: the names of the photos drawn, in order. Faces are never
    found, and a note says so.
    """

    device = "cpu"
    precision = "fp32"
    model = "fake"
    at_once = 1

    def __init__(self, styles_dir: Path | None = None) -> None:
        self.seen: list[str] = []
        self._register = Register(styles_dir, CARDS)

    @property
    def styles(self) -> tuple[StyleCard, ...]:
        """Cards like the shipped ones and those in `styles_dir`, as with the real one."""
        return self._register.cards()

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """The inverted photo, a share of `strength` of the way; alpha is carried along."""
        self.seen.append(photo.name)
        pixels = nearest(photo.pixels, options.size)
        drawn = np.rint(pixels + options.strength * (255.0 - 2.0 * pixels)).astype(np.uint8)
        alpha = None if photo.alpha is None else nearest(photo.alpha, options.size)
        return Cartoon(
            pixels=drawn,
            style=options.style,
            faces=(),
            effective_size=min(max(photo.pixels.shape[:2]), max(drawn.shape[:2])),
            seconds={"detect": 0.0, "draw": 0.0},
            alpha=alpha,
            notes=("no face found: the whole picture was drawn as background.",),
        )

    def draw_file(
        self, source: Callable[[], Photo], options: Options, *, urgent: bool = True, judge: Judge | None = None
    ) -> Drawing:
        """As with the real one."""
        return one_file.draw_file(self, source, options, urgent=urgent, judge=judge)

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        """As drawn, but without a word of it in `seen`."""
        cartoon = self.draw(photo, options)
        self.seen.pop()
        return cartoon

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """Nobody."""
        return ()


class TroubledStylizer(FakeStylizer):
    """A FakeStylizer that first calls `trouble(name)`, which may raise, for every photo."""

    def __init__(self, trouble: Callable[[str], None]) -> None:
        super().__init__()
        self._trouble = trouble

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """As FakeStylizer, unless trouble comes first."""
        self._trouble(photo.name)
        return super().draw(photo, options, urgent=urgent)


def load_fake(settings: Settings) -> FakeStylizer:
    """Stands in for Cartoonizer.load; knows only the devices cpu and auto."""
    if settings.device not in {"auto", "cpu"}:
        raise ResourceError(f"device {settings.device} is not there: use auto or cpu.")
    return FakeStylizer(settings.styles_dir)


def nearest(pixels: Pixels, size: Size) -> Pixels:
    """uint8 (H, W, ...) brought to max(h, w) == size by picking the nearest pixel."""
    height, width = pixels.shape[:2]
    scale = 1.0 if size == "original" else size / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    rows = np.minimum((np.arange(h) + 0.5) * height // h, height - 1).astype(int)
    columns = np.minimum((np.arange(w) + 0.5) * width // w, width - 1).astype(int)
    picked: Pixels = pixels[rows][:, columns]
    return picked


def spec_of(stylizer: Stylizer, judge: Judge | None = None, isolated: Load | None = None) -> WorkerSpec:
    """What an executor is made from where the stylizer is there already."""
    return WorkerSpec(lambda settings: stylizer, Settings(), judge, isolated)
