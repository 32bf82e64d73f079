"""The register of styles: cards as data, found by name or by path, without loading a network.

The shipped ones stand in assets/styles.json; a style of a user's own is one file that carries its card with it, and is
on offer as soon as it lies in the folder of styles.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from cartoon.assets import ASSETS
from cartoon.errors import StyleError
from cartoon.models.style_file import MULTIPLE, config_of, read_metadata
from cartoon.models.weights import sha256_of
from cartoon.styles.card import PAINTED as PAINTED  # whoever asks for cards finds their type here too
from cartoon.styles.card import OwnCard, card_of_row
from cartoon.styles.card import StyleCard as StyleCard

log = logging.getLogger(__name__)

SUFFIX: Final = ".safetensors"
_CARDS: Final = ASSETS / "styles.json"


class Register:
    """The styles of one process: the shipped ones, then those in `folder`, which is looked at again at every call."""

    def __init__(self, folder: Path | None = None, shipped: tuple[StyleCard, ...] | None = None) -> None:
        self.folder = folder
        self.shipped = available() if shipped is None else shipped

    def cards(self) -> tuple[StyleCard, ...]:
        """All styles that can be asked for by name, in the order they are shown in.

        A file in the folder that is no style, or whose name is taken, is left out and logged once.
        """
        from cartoon.styles.official import cards_in  # here, as it needs this module

        official = cards_in(self.folder) if self.folder else ()
        taken = tuple(card.id for card in (*self.shipped, *official))
        return (*self.shipped, *_cards_in(_files_of(self.folder), taken), *official)

    def find(self, style: str) -> StyleCard:
        """The card of a style by name, or by the path of a style file; raises StyleError that lists the known names.

        Only for callers who may read this machine's files: the web doors take names alone.
        """
        cards = self.cards()
        for card in cards:
            if card.id == style:
                return card
        if style.endswith(SUFFIX) or "/" in style or os.sep in style:
            card = card_of(Path(style))
            _refuse_taken(card, tuple(shipped.id for shipped in self.shipped))
            return card
        known = ", ".join(card.id for card in cards)
        raise StyleError(f"style {style!r} is not known: use one of {known}, or the path of a {SUFFIX} style file.")


@lru_cache(maxsize=1)
def available() -> tuple[StyleCard, ...]:
    """The shipped styles, in the order they are shown in.

    Raises StyleError when the register is missing or damaged.
    """
    try:
        rows = json.loads(_CARDS.read_text(encoding="utf-8"))
        return tuple(card_of_row(row) for row in rows)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StyleError(f"{_CARDS.name} cannot be read ({error}): restore the assets folder.") from error


def shipped(style: str) -> StyleCard | None:
    """The card of a shipped style; None for any other: none of those may take a shipped one's name."""
    return next((card for card in available() if card.id == style), None)


def card_of(path: Path) -> StyleCard:
    """The card that a style file carries, with the file's sha256; of its content only the head is looked at.

    Raises StyleError, naming the file, when it is missing, damaged, or no style of a user's own.
    """
    try:
        return _card_at(_File.at(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StyleError(f"{path.name} is missing from {path.parent}: check the path.") from error


@dataclass(frozen=True)
class _File:
    """A file in one state: another size or time is another state."""

    path: str
    size: int
    changed_ns: int

    @classmethod
    def at(cls, path: Path) -> "_File":
        found = path.stat()
        return cls(os.path.abspath(path), found.st_size, found.st_mtime_ns)


def _files_of(folder: Path | None) -> tuple[_File, ...]:
    """The style files in a folder, by name; none where there is no folder."""
    files = []
    try:
        paths = sorted(folder.iterdir()) if folder else []
    except FileNotFoundError:
        return ()
    except OSError as error:
        log.warning("the styles folder cannot be listed (%s): check its permissions.", error.strerror)
        return ()
    for path in paths:
        if path.suffix == SUFFIX and not path.name.startswith("."):
            try:
                files.append(_File.at(path))
            except OSError:  # gone meanwhile, or a link to nothing
                continue
    return tuple(files)


@lru_cache(maxsize=8)
def _cards_in(files: tuple[_File, ...], shipped: tuple[str, ...]) -> tuple[StyleCard, ...]:
    """The cards of these files; kept, so that what is left out is logged once and nothing is read twice."""
    cards: dict[str, StyleCard] = {}
    for file in files:
        try:
            card = _card_at(file)
            _refuse_taken(card, shipped)
            if card.id in cards:
                other = Path(cards[card.id].file).name
                raise StyleError(f"{Path(file.path).name} is called {card.id!r} as {other} is: remove one of the two.")
        except StyleError as error:
            log.warning("left out of the styles: %s", error)
        else:
            cards[card.id] = card
    return tuple(cards.values())


@lru_cache(maxsize=256)
def _card_at(file: _File) -> StyleCard:
    path = Path(file.path)
    metadata = read_metadata(path)
    if "card" not in metadata:
        raise StyleError(
            f"{path.name} holds no style of your own: make one with python -m training.distil --pairs DIR."
        )
    config_of(metadata, path.name)
    own = _own_card(metadata, path.name)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise StyleError(f"{path.name} cannot be read ({error.strerror}): check its permissions.") from error
    return StyleCard(
        own.id, own.title, str(path), digest, own.licence, own.origin, MULTIPLE, float(own.exaggeration), own.painter
    )


def _own_card(metadata: Mapping[str, str], name: str) -> OwnCard:
    try:
        return OwnCard(**json.loads(metadata["card"]))
    except StyleError as error:
        raise StyleError(f"{name} cannot be used, {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise StyleError(
            f"{name} has a card that cannot be read: use a style file that training.distil wrote."
        ) from error


def _refuse_taken(card: StyleCard, shipped: tuple[str, ...]) -> None:
    if card.id in shipped:
        raise StyleError(
            f"{Path(card.file).name} is called {card.id!r} as a shipped style is: train it under another --style-name."
        )
