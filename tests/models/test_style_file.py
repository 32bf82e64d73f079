"""A style file of a user's own: the card it carries, and the folder in which it is on offer."""

import json
import logging
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartoon.errors import StyleError
from cartoon.models.runtime import StyleNet
from cartoon.models.style_file import LARGEST_FILE, SHIPPED_CONFIG, config_of
from cartoon.models.weights import sha256_of
from cartoon.styles.card import PAINTED, StyleCard
from cartoon.styles.catalogue import Register, card_of
from tests.fakes import CARDS
from tests.small_style import write_style, write_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of styles."""
    (tmp_path / "styles").mkdir()
    return tmp_path / "styles"


# Its card.


def test_a_card_is_read_from_the_file_alone(tmp_path: Path) -> None:
    path = write_style(tmp_path / "blue-ink_2.safetensors", title="Blue ink", exaggeration=0.5)
    assert card_of(path) == StyleCard(
        id="blue-ink_2",
        title="Blue ink",
        file=str(path),
        sha256=sha256_of(path),
        licence="your own",
        origin="trained on 4 pairs of your own",
        size_multiple=16,
        exaggeration=0.5,
        painter=PAINTED,
    )
    assert card_of(path).path == path


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"name": "Wool"}, "name"),
        ({"name": "wool!"}, "name"),
        ({"name": "../wool"}, "name"),
        ({"name": "-wool"}, "name"),
        ({"name": "w" * 41}, "name"),
        ({"id": 7}, "name"),
        ({"title": ""}, "title"),
        ({"title": "two\nlines"}, "title"),
        ({"title": "t" * 201}, "title"),
        ({"title": ["Wool"]}, "title"),
        ({"origin": "\u202eright to left"}, "origin"),
        ({"licence": None}, "licence"),
        ({"painter": "anime"}, "painter"),
        ({"painter": {}}, "painter"),
        ({"exaggeration": 9}, "exaggeration"),
        ({"exaggeration": float("nan")}, "exaggeration"),
        ({"exaggeration": "1"}, "exaggeration"),
        ({"surprise": 1}, "card"),
    ],
)
def test_a_card_out_of_bounds_is_refused_and_names_the_file(tmp_path: Path, changed: dict[str, Any], word: str) -> None:
    path = write_style(tmp_path / "odd.safetensors", **changed)
    with pytest.raises(StyleError, match=rf"^odd\.safetensors .*{word}"):
        card_of(path)


def raw(head: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head + data


HEADS = {
    "empty": b"",
    "short": b"\x01\x02",
    "text": b"this is a text and no style at all",
    "zeros": bytes(64),
    "length beyond the file": raw(b"{}", length=1 << 40),
    "length of all ones": raw(b"{}", length=(1 << 64) - 1),
    "head too long": raw(b" " * ((1 << 20) + 1)),
    "no json": raw(b"{]"),
    "a list": raw(b"[1, 2]"),
    "a number": raw(b"12345678"),
    "not utf-8": raw(b'{"\xff\xfe\xfd": 1}'),
    "deep": raw(b"[" * 100_000),
    "deep objects": raw(b'{"a":' * 50_000),
    "metadata a list": raw(b'{"__metadata__": []}'),
    "metadata of numbers": raw(b'{"__metadata__": {"card": 1}}'),
    "a tensor without a place": raw(b'{"a": {}}'),
    "a tensor that is a number": raw(b'{"a": 1}'),
    "a place that is a word": raw(b'{"a": {"data_offsets": [0, "far"]}}'),
    "a place at infinity": raw(b'{"a": {"data_offsets": [0, Infinity]}}'),
    "a place of many digits": raw(b'{"a": {"data_offsets": [0, ' + b"9" * 5000 + b"]}}"),
    "a place beyond the file": raw(b'{"a": {"data_offsets": [0, 1000]}}', bytes(8)),
    "more than it says": raw(b'{"a": {"data_offsets": [0, 4]}}', bytes(8)),
    "nothing in it": raw(b"{}"),
    "no card": raw(b'{"__metadata__": {"config": "{}"}}'),
    "card no json": raw(b'{"__metadata__": {"config": "{}", "card": "{"}}'),
    "card a list": raw(b'{"__metadata__": {"config": "{}", "card": "[]"}}'),
    "card deep": raw(b'{"__metadata__": {"config": "{}", "card": "' + b"[" * 100_000 + b'"}}'),
    "card empty": raw(b'{"__metadata__": {"config": "{}", "card": "{}"}}'),
    "pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "zip": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS.keys())
def test_a_file_that_is_no_style_is_refused_and_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(data)
    with pytest.raises(StyleError, match=r"^odd\.safetensors .*: "):
        card_of(path)


@pytest.mark.parametrize(
    "config",
    [
        {"widths": [10**9] * 4},
        {"depths": [10**9] * 4},
        {"widths": [8, 8, 8, 8]},
        {"widths": [8, 8, 32]},
        {"widths": [0, 8, 8, 32]},
        {"widths": [8.0, 8, 8, 32]},
        {"widths": "8888"},
        {"pooled": 10**9},
        {"pooled": True},
        {"guide_channels": 15},
        {"surprise": 1},
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_any_memory_is_taken(config: dict[str, Any]) -> None:
    with pytest.raises(StyleError, match=r"^odd\.safetensors "):
        config_of({"config": json.dumps(config)}, "odd.safetensors")
    assert config_of({"config": "{}"}, "odd.safetensors") == SHIPPED_CONFIG


def test_what_is_no_file_is_refused_and_a_giant_is_not_read(tmp_path: Path) -> None:
    giant = tmp_path / "giant.safetensors"
    with giant.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    for path, words in (
        (tmp_path / "gone.safetensors", "is missing"),
        (tmp_path, "is missing"),
        (tmp_path / "a\0b.safetensors", "is missing"),
        (tmp_path / ("x" * 5000), "is missing"),
        (giant, "more than any style"),
    ):
        with pytest.raises(StyleError, match=words):
            card_of(path)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_style(tmp_path_factory.mktemp("honest") / "wool.safetensors").read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_to_the_head_gives_a_card_or_a_style_error(
    honest: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    end = 8 + int.from_bytes(honest[:8], "little")
    changed = bytearray(honest)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, end - 1))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path = tmp_path / "odd.safetensors"
    path.write_bytes(changed)
    refused = None
    try:
        card = card_of(path)
        assert card.painter == PAINTED
        StyleNet(path, card.sha256, "cpu", "fp32")  # what the head says may still not fit the tensors
    except StyleError as error:
        refused = str(error)
    assert refused is None or "odd.safetensors" in refused


# The folder.


def test_the_folder_is_read_again_when_it_changes(folder: Path) -> None:
    register = Register(folder, CARDS)
    assert register.cards() == CARDS
    write_style(folder / "wool.safetensors")
    write_style(folder / "felt.safetensors")
    assert [card.id for card in register.cards()[len(CARDS) :]] == ["felt", "wool"]
    before = register.find("wool").sha256
    write_style(folder / "wool.safetensors", seed=1)
    assert register.find("wool").sha256 != before
    (folder / "felt.safetensors").unlink()
    assert [card.id for card in register.cards()[len(CARDS) :]] == ["wool"]
    (folder / "wool.safetensors").unlink()
    folder.rmdir()
    assert register.cards() == CARDS


def test_what_cannot_be_used_is_left_out_and_logged_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_style(folder / "wool.safetensors")
    write_style(folder / "zz.safetensors", "wool")
    write_style(folder / "mine.safetensors", "anime")
    (folder / "broken.safetensors").write_bytes(b"oops")
    write_weights(folder / "shipped.safetensors")
    (folder / "folder.safetensors").mkdir()
    (folder / "link.safetensors").symlink_to("nowhere")
    (folder / ".hidden.safetensors").write_bytes(b"oops")
    (folder / "notes.txt").write_text("not a style")
    register = Register(folder, CARDS)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [card.id for card in register.cards()] == [*(card.id for card in CARDS), "wool"]
    for words in ("broken.safetensors", "folder.safetensors", "shipped.safetensors holds no style of your own"):
        assert caplog.text.count(words) == 1
    assert caplog.text.count("mine.safetensors is called 'anime' as a shipped style is") == 1
    assert caplog.text.count("zz.safetensors is called 'wool' as wool.safetensors is") == 1
    assert len(caplog.records) == 5


def test_a_style_is_found_by_name_and_by_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_style(folder / "wool.safetensors")
    register = Register(None, CARDS)
    monkeypatch.chdir(folder)
    for asked in (str(path), "wool.safetensors", "../styles/wool.safetensors"):
        assert register.find(asked) == card_of(path)
    with pytest.raises(StyleError, match=r"'wool'.*anime"):
        register.find("wool")
    with pytest.raises(StyleError, match="called 'comic' as a shipped style is"):
        register.find(str(write_style(folder / "clash.safetensors", "comic")))
