"""Small real stand-ins at the seams: an artist that draws at once, and one that misbehaves on demand."""

from collections.abc import Callable

import numpy as np

from cartoon.errors import ResourceError
from cartoon.image import Cartoon, Photo, Pixels
from cartoon.settings import Options, Size
from cartoon.styles.registry import StyleCard, available


class FakeArtist:
    """Draws by inverting the colours of the photo at the asked size (nearest pixel); needs no weights.

    seen: the names of the photos drawn, in order. faces are never found, and a note says so.
    """

    device = "cpu"
    precision = "fp32"
    model = "fake"

    def __init__(self) -> None:
        self.seen: list[str] = []

    @property
    def styles(self) -> tuple[StyleCard, ...]:
        """The project's own cards, so that the doors offer what they would with the real one."""
        return available()

    def draw(self, photo: Photo, options: Options) -> Cartoon:
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


class TroubledArtist(FakeArtist):
    """A FakeArtist that first calls `trouble(name)`, which may raise, for every photo."""

    def __init__(self, trouble: Callable[[str], None]) -> None:
        super().__init__()
        self._trouble = trouble

    def draw(self, photo: Photo, options: Options) -> Cartoon:
        """As FakeArtist, unless trouble comes first."""
        self._trouble(photo.name)
        return super().draw(photo, options)


def load_fake(device: str, precision: str) -> FakeArtist:
    """Stands in for Cartoonizer.load; knows only the devices cpu and auto."""
    if device not in {"auto", "cpu"}:
        raise ResourceError(f"device {device} is not there: use auto or cpu.")
    return FakeArtist()


def nearest(pixels: Pixels, size: Size) -> Pixels:
    """uint8 (H, W, ...) brought to max(h, w) == size by picking the nearest pixel."""
    height, width = pixels.shape[:2]
    scale = 1.0 if size == "original" else size / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    rows = np.minimum((np.arange(h) + 0.5) * height // h, height - 1).astype(int)
    columns = np.minimum((np.arange(w) + 0.5) * width // w, width - 1).astype(int)
    return pixels[rows][:, columns]
