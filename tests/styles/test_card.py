"""The record of a style: what it names is there, and no other module tells styles apart by their names."""

import ast
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from cartoon.assets import ASSETS
from cartoon.drawing.painters import PAINTERS
from cartoon.drawing.textures import TEXTURES
from cartoon.errors import StyleError
from cartoon.images.decode import read
from cartoon.images.types import Cartoon, Photo
from cartoon.options import Options
from cartoon.quality.gate import judge
from cartoon.quality.norms import NORMS
from cartoon.styles.card import PAINTED, PLAIN, StyleCard, card_of_row
from cartoon.styles.catalogue import Register, available, shipped
from tests import ROOT
from training.release import row_of_card, text_of

CARDS = available()


@pytest.mark.parametrize("card", CARDS, ids=[card.id for card in CARDS])
def test_what_a_record_names_is_there(card: StyleCard) -> None:
    assert PAINTERS[card.painter].flattened
    assert card.texture == PLAIN or card.texture in TEXTURES
    assert card.path.is_file()
    assert card.exaggeration > 0
    assert 0 < card.png_bytes_per_pixel < 4
    if card.gate:
        assert {limit.measure for limit in card.gate.limits} == set(NORMS)
        for limit in card.gate.limits:
            assert min(limit.portrait, limit.other) > NORMS[limit.measure].base


def test_a_style_of_a_users_own_is_painted_as_it_is() -> None:
    assert not PAINTERS[PAINTED].flattened


def test_records_are_found_by_name_and_cannot_be_changed() -> None:
    assert [shipped(card.id) for card in CARDS] == list(CARDS)
    assert shipped("oils") is None
    with pytest.raises(FrozenInstanceError):
        CARDS[0].title = "Other"  # type: ignore[misc]
    assert len(set(CARDS)) == len(CARDS)


def test_a_release_writes_the_records_as_they_are() -> None:
    text = (ASSETS / "styles.json").read_text(encoding="utf-8")
    assert text_of([row_of_card(card) for card in CARDS]) + "\n" == text
    assert tuple(card_of_row(row) for row in json.loads(text)) == CARDS


@pytest.mark.parametrize(
    "row", [{}, {"id": "x"}, {**row_of_card(CARDS[0]), "gate": {}}, {**row_of_card(CARDS[0]), "a": 1}]
)
def test_a_damaged_record_is_no_card(row: dict[str, object]) -> None:
    with pytest.raises((TypeError, KeyError)):
        card_of_row(row)


def test_one_record_more_is_a_style_more() -> None:
    film = replace(CARDS[0], id="film", title="Animated film", gate=None)
    register = Register(None, (film, *CARDS))
    assert [card.id for card in register.cards()] == ["film", *(card.id for card in CARDS)]
    assert register.find("film").painter == CARDS[0].painter
    with pytest.raises(StyleError, match="film, anime"):
        register.find("oils")


def test_a_style_that_was_not_measured_is_judged_all_the_same() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (96, 96, 3), np.uint8)
    verdict = judge(Photo(pixels), Cartoon(np.zeros_like(pixels), "film", (), 96, {}), Options("film", size=96))
    assert not verdict.ok


def test_a_record_needs_no_torch() -> None:
    code = (
        "import sys, cartoon.styles.catalogue as c; c.available(); print('torch' in sys.modules, 'cv2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_no_room_but_the_painters_knows_styles_by_name() -> None:
    names = {card.id for card in CARDS} - {Options().style}  # the default stands where options do
    for path in (ROOT / "cartoon").rglob("*.py"):
        if path != ROOT / "cartoon" / "drawing" / "painters.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            said = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            assert said.isdisjoint(names), path


@pytest.mark.parametrize("card", CARDS, ids=[card.id for card in CARDS])
def test_the_sample_of_a_record_is_small_and_square(card: StyleCard) -> None:
    path = ASSETS / card.sample
    assert path.stat().st_size < 30_000
    assert read(path).pixels.shape == (256, 256, 3)
