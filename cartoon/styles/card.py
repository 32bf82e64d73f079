"""The record of a style: all that is known of it before its network is loaded, and that any other module asks of it.

The shipped ones are rows of assets/styles.json. What a style is painted with stands here by name; the painters and the
textures of those names are registered in cartoon.drawing.painters and cartoon.drawing.textures.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cartoon.assets import ASSETS
from cartoon.errors import StyleError

PAINTED: Final = "painted"
"""The painter of layers that are a drawing already: that of every style of a user's own."""
PLAIN: Final = ""
"""The texture of a style that has none."""
PNG_BYTES_PER_PIXEL: Final = 1.7
"""Of a style that nobody measured: the most that a shipped one takes."""
LICENCE: Final = "your own"
OWN_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
ID_RULE: Final = "lowercase letters, digits, - and _, at most 40, a letter or digit first"
MOST_EXAGGERATED: Final = 2.0
_LONGEST_TEXT: Final = 200


@dataclass(frozen=True)
class Limit:
    """The most that a measure of the quality gate may come to, in a picture with a person and in one without."""

    measure: str
    portrait: float
    other: float


@dataclass(frozen=True)
class GateLimits:
    """What good drawings in a style showed, which the quality gate holds others to.

    limits: from 1,600 good drawings of 85 people and of scenes without any: the largest value seen times 1.35, but at
    most the third largest times 1.7; times 1.3 where nobody is shown, times 1.4 for grain and noise. fades: its drawn
    background runs out into paper, so the person alone says whether a drawing is right. tint: opponent colour, 0..255,
    of what a style draws with that gives the photo's colours up; None for a style that keeps them.
    """

    limits: tuple[Limit, ...]
    fades: bool = False
    tint: tuple[float, float] | None = None

    def limit(self, measure: str, portrait: bool) -> float | None:
        """The limit of a measure; None where none was found."""
        for limit in self.limits:
            if limit.measure == measure:
                return limit.portrait if portrait else limit.other
        return None


@dataclass(frozen=True)
class StyleCard:
    """One style.

    file: in the assets folder, several styles may share one; of a user's own style the whole path. size_multiple: the
    network's input sides are padded to a multiple of this. exaggeration: how strongly the style warps a face at
    exaggeration 1, 1.0 being eyes 22 % larger. painter: what makes a drawing of the layers. texture: what is laid over
    it last, PLAIN for nothing. png_bytes_per_pixel: what a result costs on a disk, measured at 1024 px over the example
    portraits. gate: None for a style that the quality gate was not measured on. sample: a picture of it in the assets
    folder, "" for none. head, mask: of DCT-Net's own styles, the network for faces and the picture that blends them.
    """

    id: str
    title: str
    file: str
    sha256: str
    licence: str
    origin: str
    size_multiple: int
    exaggeration: float
    painter: str
    texture: str = PLAIN
    png_bytes_per_pixel: float = PNG_BYTES_PER_PIXEL
    sample: str = ""
    gate: GateLimits | None = None
    head: "StyleCard | None" = None
    mask: str = ""

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return ASSETS / self.file


@dataclass(frozen=True)
class OwnCard:
    """What a style file says of itself, as JSON under `card` in its metadata."""

    id: str
    title: str
    origin: str
    licence: str = LICENCE
    painter: str = PAINTED
    exaggeration: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not OWN_ID.fullmatch(self.id):
            raise StyleError(f"the style's name {self.id!r:.60} cannot be used: take {ID_RULE}.")
        for field in ("title", "origin", "licence"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_TEXT or not text.isprintable():
                raise StyleError(f"the style's {field} must be one line of at most {_LONGEST_TEXT} characters.")
        if self.painter != PAINTED:
            raise StyleError(f"the style's painter {self.painter!r:.60} is not known here: it must be {PAINTED}.")
        number = self.exaggeration
        if not isinstance(number, int | float) or not math.isfinite(number) or not 0 <= number <= MOST_EXAGGERATED:
            raise StyleError(f"the style's exaggeration must be between 0 and {MOST_EXAGGERATED:g}.")


def card_of_row(row: Mapping[str, Any]) -> StyleCard:
    """The card in a row of assets/styles.json; raises TypeError, KeyError or ValueError for a row that is none."""
    fields = dict(row)
    gate = fields.pop("gate", None)
    return StyleCard(**fields, gate=None if gate is None else _gate_of(gate))


def _gate_of(row: Mapping[str, Any]) -> GateLimits:
    limits = tuple(Limit(measure, *map(float, pair)) for measure, pair in row["limits"].items())
    tint = row.get("tint")
    if tint is None:
        return GateLimits(limits, bool(row.get("fades")))
    first, second = map(float, tint)
    return GateLimits(limits, bool(row.get("fades")), (first, second))
