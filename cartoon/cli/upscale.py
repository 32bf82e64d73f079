"""What the command line's `upscale` does: the same durable job as `run`, with a stylizer that only enlarges."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cartoon.cli.run import Request, finish
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.jobs.executors.base import Load
from cartoon.jobs.photo import Stylizer
from cartoon.models.devices import pick_device, use_cores
from cartoon.models.weights import sha256_of
from cartoon.options import Care, Options
from cartoon.pipeline import one_file
from cartoon.pipeline.one_file import Drawing
from cartoon.pipeline.upscaler import Upscaler, weights_of
from cartoon.quality.gate import Judge
from cartoon.settings import Settings


@dataclass(frozen=True, eq=False)
class Enlarger:
    """A stylizer for jobs that hands every photo back larger."""

    upscaler: Upscaler
    at_once: int = 1

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """The photo enlarged; its transparency too."""
        began = time.perf_counter()
        large = self.upscaler.upscale(photo.pixels, photo.alpha)
        side = max(photo.pixels.shape[:2])
        seconds = {"upscale": time.perf_counter() - began}
        note = f"Enlarged {self.upscaler.scale} times by {self.upscaler.name}."
        return Cartoon(large.pixels, "", (), side, seconds, large.alpha, (note,))

    def draw_file(
        self, source: Callable[[], Photo], options: Options, *, urgent: bool = True, judge: Judge | None = None
    ) -> Drawing:
        """A file enlarged; there is no gate for what is not drawn."""
        return one_file.draw_file(self, source, options, urgent=urgent)

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        """The same."""
        return self.draw(photo, options)

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """Nobody is looked for."""
        return ()


def enlarge(request: Request, options: Options, settings: Settings, load: Load | None) -> int:
    """Run the job to its end; the exit code. Raises OptionsError for a scale other than 2 or 4, StyleError."""
    weights = weights_of(options.upscale, settings.styles_dir)
    model = sha256_of(weights) if weights else "small"
    return finish(request, options, settings, load, f"upscale:{model}", partial(load_enlarger, options.upscale))


def load_enlarger(scale: int, settings: Settings) -> Stylizer:
    """The best network there is for a scale."""
    use_cores(pick_device(settings.device))
    return Enlarger(Upscaler.best(scale, settings.styles_dir, settings.device, settings.precision))
