"""One photo from a web door: its name cleaned, its options checked, what came of it logged."""

import logging
import time
import unicodedata
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from cartoon.errors import CartoonError, OptionsError, StyleError
from cartoon.images.decode import decode
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from cartoon.images.types import Photo
from cartoon.jobs.photo import Stylizer
from cartoon.options import FIELDS, Options
from cartoon.pipeline.one_file import Drawing
from cartoon.quality.gate import Judge
from cartoon.styles.catalogue import StyleCard

NAME_BYTES: Final = 180
"""UTF-8 bytes kept of a client's file name: leaves room for a style and a suffix in the 255 that file systems take."""
PREVIEW_QUALITY: Final = 92
OPTION_NAMES: Final = tuple(row.name for row in FIELDS)

log = logging.getLogger(__name__)


class WebStylizer(Stylizer, Protocol):
    """What the web doors need of a Cartoonizer: it draws, and says in which styles, and on what."""

    def draw_file(
        self, source: Callable[[], Photo], options: Options, *, urgent: bool = True, judge: Judge | None = None
    ) -> Drawing: ...
    @property
    def styles(self) -> tuple[StyleCard, ...]: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...


def clean_name(raw: str | None) -> str:
    """A client's file name made safe to show and to store: no folders, no invisible characters, not too long.

    "photo" stands in for a name of which nothing is left. The suffix survives the cut.
    """
    base = (raw or "").replace("\\", "/").rsplit("/", 1)[-1]
    # Unicode category C holds control, format (such as right-to-left override), surrogate and unassigned characters.
    shown = "".join(c for c in base if not unicodedata.category(c).startswith("C")).strip()
    if not shown.strip(". "):
        return "photo"
    stem, dot, suffix = shown.rpartition(".")
    if not stem or len(suffix) > 10:
        stem, dot, suffix = shown, "", ""
    left = NAME_BYTES - len((dot + suffix).encode())
    return stem.encode()[:left].decode(errors="ignore").rstrip() + dot + suffix


def options_from(asked: Mapping[str, Any], styles: tuple[StyleCard, ...]) -> Options:
    """Options from a form's fields; an absent or None field takes its default.

    Raises OptionsError for an unknown field or a value out of range, StyleError for a style that is not on offer here
    (so a web door never opens a style file by path).
    """
    unknown = [name for name in asked if name not in OPTION_NAMES]
    if unknown:
        raise OptionsError(f"option {clean_name(unknown[0])!r} is not known: use {', '.join(OPTION_NAMES)}.")
    options = Options.asked(asked)
    if options.style not in {card.id for card in styles}:
        names = ", ".join(card.id for card in styles)
        raise StyleError(f"style {clean_name(options.style)!r} is not known here: use one of {names}.")
    return options


def draw(stylizer: WebStylizer, data: bytes, name: str, options: Options, max_pixels: int) -> Drawing:
    """The picture file in `data`, drawn and encoded as the options ask; raises the InputError or ResourceError met."""
    started = time.perf_counter()
    try:
        drawing = stylizer.draw_file(partial(decode, data, name, max_pixels), options)
    except CartoonError as error:
        log.info("photo not drawn: %s", error.code, extra={"event": "photo_failed", "code": error.code})
        raise
    seconds = time.perf_counter() - started
    told = {"event": "photo_done", "style": options.style, "seconds": round(seconds, 3)}
    log.info("photo drawn as %s in %.2f s", options.style, seconds, extra=told)
    return drawing


def before_picture(drawing: Drawing) -> bytes:
    """The photo as a JPEG of exactly the drawing's size, so that the two can be laid over each other."""
    height, width = drawing.cartoon.pixels.shape[:2]
    photo = drawing.photo
    alpha = None if photo.alpha is None else resize(photo.alpha, (height, width))
    return encode(resize(photo.pixels, (height, width)), alpha, "jpg", PREVIEW_QUALITY)
