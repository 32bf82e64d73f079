"""A style of a user's own: how it is drawn with, the pairs it is learned from, and its training."""

import logging
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cartoon.errors import InputError
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from cartoon.images.types import Face, Pixels
from cartoon.models.runtime import StyleNet
from cartoon.models.style_file import read_metadata
from cartoon.models.weights import sha256_of
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.pipeline.networks import MOST_OWN, Residents
from cartoon.styles.card import PAINTED, StyleCard
from cartoon.styles.catalogue import Register, card_of
from tests import ROOT
from tests.drawing.test_compose import noise, template
from tests.small_style import write_style, write_weights
from training import distil
from training.own_style import recoloured
from training.pairs import Pair, PairCrops, find_pairs, load_pairs, read_pair

EXAMPLES = ROOT / "assets" / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of styles."""
    (tmp_path / "styles").mkdir()
    return tmp_path / "styles"


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
    return Cartoonizer([net], Register(folder, (shipped,)), NoFaces(), half)


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


def test_a_photo_is_looked_at_once_and_one_without_a_face_is_learned_from_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    portrait = resize(read(EXAMPLES / "021902.jpg").pixels, (300, 240))
    for name, photo in (("ada", portrait), ("hills", noise(200, 240)), ("c", portrait[:, ::-1]), ("d", portrait[2:])):
        save(tmp_path / f"{name}.photo.png", photo)
        save(tmp_path / f"{name}.drawing.png", negative(photo))
    files, cache = find_pairs(tmp_path, "wool"), tmp_path / "seen"
    with caplog.at_level(logging.INFO, logger="training"):
        pairs = {pair.name: pair for pair in load_pairs(files, cache)}
    assert [len(pairs[name].faces) for name in ("ada", "hills", "c", "d")] == [1, 0, 1, 1]
    assert "hills.photo.png: no face found" in caplog.text
    assert pairs["ada"].person[150, 120] > 200
    assert not pairs["hills"].guide()[3:].any()
    times = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(times) == 4
    again = load_pairs(files, cache)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == times
    assert np.array_equal(again[0].faces, pairs["ada"].faces)


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
