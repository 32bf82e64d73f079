"""The register of styles: cards as data, found by name, without loading a network."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from cartoon.errors import StyleError

ASSETS: Final = Path(__file__).resolve().parents[2] / "assets"
_CARDS: Final = ASSETS / "styles.json"


@dataclass(frozen=True)
class StyleCard:
    """What is known of a style before its network is loaded.

    file: in the assets folder, several styles may share one. size_multiple: the network's input sides are padded to a
    multiple of this. exaggeration: how strongly the style warps a face at exaggeration 1, 1.0 being eyes 22 % larger.
    painter: which painter of cartoon.portrait.paint and which finish make a drawing of the layers.
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

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return ASSETS / self.file


@lru_cache(maxsize=1)
def available() -> tuple[StyleCard, ...]:
    """All styles that can be asked for by name, in the order they are shown in.

    Raises StyleError when the register is missing or damaged.
    """
    try:
        rows = json.loads(_CARDS.read_text(encoding="utf-8"))
        return tuple(StyleCard(**row) for row in rows)
    except (OSError, ValueError, TypeError) as error:
        raise StyleError(f"{_CARDS.name} cannot be read ({error}): restore the assets folder.") from error


def find(style: str) -> StyleCard:
    """The card of a style by name; raises StyleError that lists the known names."""
    for card in available():
        if card.id == style:
            return card
    known = ", ".join(card.id for card in available())
    raise StyleError(f"style {style!r} is not known: use one of {known}.")
