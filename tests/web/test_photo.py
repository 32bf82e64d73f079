"""What a stranger sends is cleaned and checked before anything is drawn; what comes back fits the photo."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cartoon.errors import OptionsError, StyleError
from cartoon.images.encode import encode
from cartoon.options import Options
from cartoon.web.photo import NAME_BYTES, before_picture, clean_name, draw, options_from
from tests.fakes import CARDS, FakeStylizer


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("anna.jpg", "anna.jpg"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\anna\me.png", "me.png"),
        ("a\x00b\r\nc\u202e.jpg", "abc.jpg"),
        ("Zoë (1)  ü.jpg", "Zoë (1)  ü.jpg"),
        ("  spaced.jpg ", "spaced.jpg"),
        ("", "photo"),
        (None, "photo"),
        ("..", "photo"),
        ("folder/", "photo"),
        (".hidden", ".hidden"),
    ],
)
def test_names_lose_folders_and_invisible_characters_only(raw: str | None, clean: str) -> None:
    assert clean_name(raw) == clean


@pytest.mark.parametrize("letter", ["a", "é", "漢", "🙂"])
def test_a_long_name_is_cut_but_keeps_its_suffix(letter: str) -> None:
    name = clean_name(letter * 500 + ".jpeg")
    assert name.endswith(letter + ".jpeg")
    assert NAME_BYTES - 4 < len(name.encode()) <= NAME_BYTES


def test_absent_fields_take_their_defaults() -> None:
    assert options_from({"style": None, "size": "original"}, CARDS) == Options(size="original")


def test_unknown_fields_and_styles_name_what_there_is() -> None:
    with pytest.raises(OptionsError, match=r"'colour'.*strength"):
        options_from({"colour": "red"}, CARDS)
    with pytest.raises(StyleError, match=r"'passwd'.*anime"):
        options_from({"style": "/etc/passwd"}, CARDS)


@pytest.mark.parametrize("format", ["webp", "keep"])
def test_a_result_too_large_for_its_format_is_refused_before_it_is_drawn(format: Any) -> None:
    stylizer, strip = FakeStylizer(), encode(np.zeros((64, 4096, 3), np.uint8), None, "webp")
    options = Options(size="original", upscale=4, format=format)
    with pytest.raises(
        OptionsError, match=r"strip.webp: format webp cannot hold 16384 x 256 px: choose png or a smaller"
    ):
        draw(stylizer, strip, "strip.webp", options, 10**6)
    assert stylizer.seen == []
    assert draw(stylizer, strip, "strip.webp", replace(options, upscale=2), 10**6).format == "webp"
    assert stylizer.seen == ["strip.webp"]


def test_before_and_drawing_have_the_same_size_also_with_alpha() -> None:
    pixels, alpha = np.full((50, 31, 3), 7, np.uint8), np.zeros((50, 31), np.uint8)
    drawing = draw(FakeStylizer(), encode(pixels, alpha, "png"), "anna.png", Options(size=77), 10_000)
    with Image.open(io.BytesIO(before_picture(drawing))) as before, Image.open(io.BytesIO(drawing.data)) as after:
        assert before.size == after.size == (48, 77)
        assert after.mode == "RGBA"
        assert before.getpixel((5, 5)) == (255, 255, 255)  # a clear photo shows as the white that JPEG is laid on
    assert list(drawing.seconds) == ["decode", "detect", "draw", "encode"]
