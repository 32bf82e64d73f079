"""A style of a user's own: its card, the folder it lies in, how it is drawn with, and how it is trained."""

import json
import logging
import struct
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cartoon.errors import InputError, StyleError
from cartoon.image import Face, Pixels, encode
from cartoon.portrait.pipeline import Cartoonizer
from cartoon.styles.header import LARGEST_FILE, SHIPPED_CONFIG, config_of, read_metadata
from cartoon.styles.network import StyleNet
from cartoon.styles.registry import PAINTED, Register, StyleCard, card_of
from cartoon.styles.resident import MOST_OWN, Residents
from cartoon.styles.weights import sha256_of
from tests.fakes import CARDS
from tests.small_style import write_style, write_weights
from tests.test_portrait import noise, template
from training import distil
from training.own_style import recoloured
from training.pairs import Pair, PairCrops, find_pairs, read_pair


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


# Drawing.


class NoFaces:
    """A detector that finds nobody."""

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        return ()


def half(pixels: Pixels, faces: Any) -> NDArray[np.float32]:
    """A person mask: the left half."""
    mask = np.zeros(pixels.shape[:2], np.float32)
    mask[:, : pixels.shape[1] // 2] = 1
    return mask


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> StyleCard:
    path = write_weights(tmp_path_factory.mktemp("shipped") / "shipped.safetensors")
    return StyleCard("anime", "Anime", str(path), sha256_of(path), "Apache-2.0", "made up", 16, 0.0, PAINTED)


@pytest.fixture
def toon(shipped: StyleCard, folder: Path) -> Cartoonizer:
    net = StyleNet(shipped.path, shipped.sha256, "cpu", "fp32")
    return Cartoonizer(net, Register(folder, (shipped,)), NoFaces(), half)


def test_a_style_is_drawn_with_by_name_and_by_path_without_a_restart(toon: Cartoonizer, folder: Path) -> None:
    photo = noise(80, 96)
    ours = toon(photo, size="original", strength=1.0).pixels
    assert [card.id for card in toon.styles] == ["anime"]
    path = write_style(folder / "wool.safetensors", seed=1)
    assert [card.id for card in toon.styles] == ["anime", "wool"]
    by_name = toon(photo, style="wool", size="original", strength=1.0)
    by_path = toon(photo, style=str(path), size="original", strength=1.0)
    assert by_name.style == by_path.style == "wool"
    assert np.array_equal(by_name.pixels, by_path.pixels)
    assert not np.array_equal(by_name.pixels, ours)
    write_style(path, seed=2)
    assert not np.array_equal(toon(photo, style="wool", size="original", strength=1.0).pixels, by_name.pixels)
    steps = [toon(photo, style="wool", size="original", strength=s).pixels.astype(int) for s in (0.1, 0.4, 0.7, 1.0)]
    distances = [float(np.abs(step - photo).mean()) for step in steps]
    assert distances == sorted(distances)
    assert distances[0] < 0.25 * distances[-1]
    cut = toon(photo, style="wool", size=64, background="transparent")
    assert cut.alpha is not None


def test_few_networks_stay_in_memory_and_the_shipped_one_always(shipped: StyleCard, tmp_path: Path) -> None:
    net = StyleNet(shipped.path, shipped.sha256, "cpu", "fp32")
    nets = Residents(net, shipped)
    cards = [card_of(write_style(tmp_path / f"s{i}.safetensors", seed=i)) for i in range(MOST_OWN + 1)]
    first = nets.of(cards[0])
    assert first.device == net.device
    assert first.precision == net.precision
    for card in cards[1:MOST_OWN]:
        nets.of(card)
    assert nets.of(cards[0]) is first  # now the one used last
    second = nets.of(cards[1])
    nets.of(cards[0])
    nets.of(cards[-1])  # the third leaves
    assert nets.of(cards[0]) is first
    assert nets.of(cards[1]) is second
    assert nets.of(shipped) is net


def test_threads_with_different_styles_get_what_they_asked_for(toon: Cartoonizer, folder: Path) -> None:
    names = [f"s{i}" for i in range(MOST_OWN + 2)]
    for seed, name in enumerate(names):
        write_style(folder / f"{name}.safetensors", seed=seed + 1)
    photo = noise(64, 64)
    alone = {name: toon(photo, style=name, size="original").pixels for name in names}
    wrong: list[str] = []

    def draw(start: int) -> None:
        for turn in range(6):
            name = names[(start + turn) % len(names)]
            if not np.array_equal(toon(photo, style=name, size="original").pixels, alone[name]):
                wrong.append(name)

    threads = [threading.Thread(target=draw, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Pairs.


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode(pixels, None, "png"))


def negative(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return 255 - photo


@pytest.mark.parametrize("layout", ["side by side", "drawing", "two folders"])
def test_pairs_are_found_by_their_names(tmp_path: Path, layout: str) -> None:
    for name in ("d", "b", "a.x", "c"):
        photo, drawing = {
            "side by side": (f"{name}.photo.png", f"{name}.wool.png"),
            "drawing": (f"{name}.photo.png", f"{name}.drawing.PNG"),
            "two folders": (f"photos/{name}.png", f"drawings/{name}.webp"),
        }[layout]
        save(tmp_path / photo, noise(150, 200))
        save(tmp_path / drawing, noise(150, 200))
    (tmp_path / "notes.txt").write_text("x")
    assert [pair.name for pair in find_pairs(tmp_path, "wool")] == ["a.x", "b", "c", "d"]


def test_a_pair_that_is_not_whole_is_named(tmp_path: Path) -> None:
    picture = noise(150, 200)
    with pytest.raises(InputError, match="is no folder"):
        find_pairs(tmp_path / "gone", "wool")
    for name in "abc":
        save(tmp_path / f"{name}.photo.png", picture)
        save(tmp_path / f"{name}.wool.png", picture)
    with pytest.raises(InputError, match="holds 3 pairs and at least 4"):
        find_pairs(tmp_path, "wool")
    save(tmp_path / "d.photo.png", picture)
    with pytest.raises(InputError, match=r"d\.photo\.png has no drawing: add d\.wool\.png or d\.drawing\.png"):
        find_pairs(tmp_path, "wool")
    save(tmp_path / "d.drawing.png", picture)
    assert len(find_pairs(tmp_path, "wool")) == 4
    save(tmp_path / "e.wool.png", picture)
    with pytest.raises(InputError, match=r"e\.wool\.png has no photo"):
        find_pairs(tmp_path, "wool")
    (tmp_path / "e.wool.png").unlink()
    save(tmp_path / "d.photo.jpg", picture)
    with pytest.raises(InputError, match=r"d\.photo\.jpg and d\.photo\.png have the same name"):
        find_pairs(tmp_path, "wool")


def test_a_drawing_takes_its_photos_size_and_a_misfit_is_named(tmp_path: Path) -> None:
    for name in "abcd":
        save(tmp_path / "photos" / f"{name}.png", noise(1536, 1300))
        save(tmp_path / "drawings" / f"{name}.png", noise(769, 650))
    first = find_pairs(tmp_path, "wool")[0]
    photo, drawing = read_pair(first)
    assert photo.shape == drawing.shape == (1024, 867, 3)
    save(tmp_path / "drawings" / "a.png", noise(769, 769))
    with pytest.raises(InputError, match=r"a\.png has 769 x 769 px and its photo 1300 x 1536: crop"):
        read_pair(first)
    save(tmp_path / "photos" / "a.png", noise(100, 100))
    with pytest.raises(InputError, match=r"a\.png has only 100 x 100 px"):
        read_pair(first)
    first.drawing.write_text("no picture")
    with pytest.raises(InputError, match=r"drawings/a\.png is not a picture"):
        read_pair(first)


def test_crops_turn_photo_drawing_mask_and_guide_alike() -> None:
    photo, face = noise(300, 260), template((130, 140), 110)
    person = np.asarray(cv2.circle(np.zeros((300, 260), np.uint8), (130, 140), 60, (255,), -1), np.uint8)
    pair = Pair("a", photo, negative(photo), person, face[None])
    small = Pair("b", noise(130, 140), negative(noise(130, 140)), np.zeros((130, 140), np.uint8), face[:0][None][:0])
    batches = PairCrops([pair, small], np.random.default_rng(1), side=192).batches(24)
    batch, again = next(batches), next(PairCrops([pair, small], np.random.default_rng(1), side=192).batches(24))
    assert batch.photo.shape == (24, 3, 192, 192)
    assert batch.target.shape == (24, 4, 192, 192)
    for crop, target, guide in zip(batch.photo, batch.target, batch.guide, strict=True):
        assert (crop + target[:3] - 1).abs().mean().item() < 0.03  # still the negative, but for noise and JPEG
        assert (guide[0] - target[3]).abs().max().item() <= 1 / 255
    assert np.array_equal(batch.photo.numpy(), again.photo.numpy())
    assert not np.array_equal(batch.photo.numpy(), next(batches).photo.numpy())


# Training.


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder, four pairs, and what was seen in their photos, so that no detector is needed."""
    work = tmp_path / "work"
    (work / "seen").mkdir(parents=True)
    for seed, name in enumerate("abcd"):
        photo = noise(280, 260, seed)
        save(tmp_path / "pairs" / f"{name}.photo.png", photo)
        save(tmp_path / "pairs" / f"{name}.wool.png", negative(photo))
        faces = template((130, 140), 110)[None][: seed % 2]
        known = work / "seen" / f"{sha256_of(tmp_path / 'pairs' / f'{name}.photo.png')}.npz"
        np.savez(known, person=np.full((280, 260), 255, np.uint8), faces=faces)
    return work


def train(tmp_path: Path, *more: object, name: str = "wool") -> None:
    start = tmp_path / "start.safetensors"
    start = start if start.exists() else write_weights(start)
    flags = f"--pairs {tmp_path / 'pairs'} --style-name {name} --out {tmp_path / 'styles' / 'wool.safetensors'}"
    flags += f" --work {tmp_path / 'work'} --start {start} --batch 2 --device cpu"
    distil.main([*flags.split(), *map(str, more)])


def test_a_few_steps_on_four_pairs_give_a_style_that_draws(
    work: Path, tmp_path: Path, toon: Cartoonizer, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "--time-limit", 0.05, "--title", "Wool & felt", "--holdout", 1)
    printed = capsys.readouterr().out
    assert "| 1 | " in printed
    assert "its best affine recolouring dB" in printed
    assert "wool.safetensors is ready" in printed
    (card,) = toon.styles[1:]
    assert (card.id, card.title, card.origin) == ("wool", "Wool & felt", "trained on 3 pairs of your own")
    assert (card.licence, card.painter, card.exaggeration) == ("your own", PAINTED, 0.0)
    assert toon(noise(100, 90), style="wool", size=64).style == "wool"
    steps = int(read_metadata(card.path)["steps"])
    assert steps > 0
    train(tmp_path, "--time-limit", 0.1, "--holdout", 1)  # goes on, does not begin anew
    assert int(read_metadata(card.path)["steps"]) > steps


def test_a_training_is_not_gone_on_with_on_other_pairs(work: Path, tmp_path: Path) -> None:
    train(tmp_path, "--time-limit", 0.001)
    save(tmp_path / "pairs" / "a.wool.png", noise(280, 260, 9))
    with pytest.raises(SystemExit, match="holds a training on other pairs"):
        train(tmp_path, "--time-limit", 0.001)


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("Wool!", [], "lowercase letters"),
        ("../wool", [], "lowercase letters"),
        ("anime", [], "the name of a shipped style"),
        ("wool", ["--title", "two\nlines"], "title"),
        ("wool", ["--holdout", 4], "--holdout 4 leaves nothing"),
        ("wool", ["--out", "wool.bin"], "does not end in .safetensors"),
        ("wool", ["--start", "gone.safetensors"], "gone.safetensors is missing"),
        ("wool", ["--pairs", "gone"], "gone is no folder"),
    ],
)
def test_a_wrong_order_is_one_sentence_before_anything_is_written(
    work: Path, tmp_path: Path, name: str, more: list[object], words: str
) -> None:
    with pytest.raises(SystemExit, match=words):
        train(tmp_path, *more, name=name)
    assert not (tmp_path / "styles").exists()
    assert [path.name for path in work.iterdir()] == ["seen"]


def test_the_best_recolouring_of_a_negative_is_the_negative() -> None:
    photo = noise(40, 50)
    assert np.abs(recoloured(photo, negative(photo)).astype(int) - negative(photo)).max() <= 1
