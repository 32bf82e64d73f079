"""One photo from a picture file to a drawing's: decode, draw, judge and draw once more where need be, encode.

The same for REST, the page and jobs, which differ in where a file comes from and where the drawing goes. No torch here.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from cartoon.errors import CartoonError
from cartoon.images.encode import encode
from cartoon.images.fit import check_fit
from cartoon.images.formats import MEDIA_TYPES, OutputFormat, resolve_format
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.options import Care, Options
from cartoon.quality.gate import Judge, Verdict
from cartoon.telemetry import metrics


class Stylizer(Protocol):
    """What drawing needs of a Cartoonizer."""

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """Draw one photo, before those of batches if it is urgent; raises CartoonError."""
        ...

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        """Draw one photo once more, with more care."""
        ...

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """Every face in uint8 (H, W, 3) sRGB."""
        ...


@dataclass(frozen=True, eq=False)
class Drawing:
    """One photo drawn and encoded.

    data: the file's bytes. seconds: per step, wall clock, from decoding to encoding, in the steps' order. verdict: the
    judge's, None where nobody judged.
    """

    data: bytes
    format: OutputFormat
    photo: Photo
    cartoon: Cartoon
    seconds: dict[str, float]
    verdict: Verdict | None = None

    @property
    def name(self) -> str:
        """`<stem>-<style>.<suffix>`: what a person finds in the downloads folder."""
        return result_name(self.photo.name, self.cartoon.style, self.format)

    @property
    def media_type(self) -> str:
        """The MIME type of `data`."""
        return MEDIA_TYPES[self.format]


def draw_file(
    stylizer: Stylizer,
    source: Callable[[], Photo],
    options: Options,
    *,
    urgent: bool = True,
    judge: Judge | None = None,
) -> Drawing:
    """The photo that `source` gives, drawn and encoded as the options ask.

    judge: what does not pass is drawn once more, each time further from the usual way; the best is kept, and its flaws
    are counted. Raises what `source` raises, OptionsError for a result that its format cannot hold, and CartoonError of
    the drawing.
    """
    started = time.perf_counter()
    try:
        photo = source()
        format = resolve_format(options.format, photo)
        check_fit(photo.name, photo.pixels.shape, format, options)
    except CartoonError as error:  # it never reaches the stylizer, who counts the others
        metrics.photo_failed(options.style, error.code)
        raise
    decoded = time.perf_counter()
    cartoon, verdict = stylizer.draw(photo, options, urgent=urgent), None
    if judge is not None:
        cartoon, verdict = _judged(stylizer, photo, cartoon, options, judge)
    drawn = time.perf_counter()
    data = encode(cartoon.pixels, cartoon.alpha, format, options.quality)
    encoded = time.perf_counter()
    seconds = {"decode": decoded - started, **cartoon.seconds, "encode": encoded - drawn}
    metrics.step_done("decode", seconds["decode"])
    metrics.step_done("encode", seconds["encode"])
    return Drawing(data, format, photo, cartoon, seconds, verdict)


def result_name(photo_name: str, style: str, format: str) -> str:
    """`<stem>-<style>.<suffix>`; a name without a suffix is a stem."""
    stem, _, suffix = photo_name.rpartition(".")
    return f"{stem or suffix}-{style}.{format}"


def _judged(
    stylizer: Stylizer, photo: Photo, first: Cartoon, options: Options, judge: Judge
) -> tuple[Cartoon, Verdict]:
    """A drawing that passes the judge, or the best there was after every fallback, with what is wrong with it."""
    best, verdict = first, judge(photo, first, options, stylizer)
    for care, changed in _fallbacks(options):
        if verdict.ok:
            return best, verdict
        other = stylizer.redraw(photo, changed, care)
        opinion = judge(photo, other, changed, stylizer)
        if opinion.ok or opinion.score > verdict.score:
            best, verdict = other, opinion
    for flaw in () if verdict.ok else verdict.flaws:
        metrics.quality_flagged(flaw.code)
    return best, verdict


def _fallbacks(options: Options) -> Iterator[tuple[Care, Options]]:
    """Ways to draw a photo once more, each further from the usual one."""
    yield Care(), options
    yield Care(tiles=True), options
    yield Care(tiles=True, crops=False), options
    if options.exaggeration:
        yield Care(tiles=True, crops=False), replace(options, exaggeration=0.0)
