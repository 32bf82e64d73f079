"""DCT-Net's own styles in the pipeline, with the fixtures' graphs: every face, the right size, all doors' options."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import StyleError
from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.images.types import Photo, Pixels
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import Register
from cartoon.styles.official import HEAD, PINS, WHOLE, add, find
from tests import ROOT

EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
STYLE = "dctnet-anime"


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of styles to which one was added from files at hand, which lack the mask."""
    styles = tmp_path_factory.mktemp("styles")
    add(find(STYLE), styles, shared / "fixtures" / "dctnet")
    return styles


@pytest.fixture(scope="module")
def toon(folder: Path) -> Iterator[Cartoonizer]:
    toon = Cartoonizer.load("cpu", "fp32", folder)
    yield toon
    toon.close()


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return read(EXAMPLES[0]).pixels


def test_an_added_style_is_on_offer_behind_the_shipped_ones(folder: Path) -> None:
    card = Register(folder).cards()[-1]
    assert card.id == STYLE
    assert card.head is not None
    assert (card.path.name, card.head.path.name, card.mask) == (WHOLE, HEAD, "")
    assert Register(folder).find(STYLE) == card


@pytest.mark.parametrize(("shape", "size"), [((200, 160), 256), ((160, 200), 300), ((90, 400), "original")])
def test_a_picture_without_a_face_keeps_its_size(toon: Cartoonizer, shape: tuple[int, int], size: int | str) -> None:
    noise = np.random.default_rng(2).integers(90, 160, (*shape, 3)).astype(np.uint8)
    cartoon = toon.draw(Photo(noise), Options(STYLE, size=size))  # type: ignore[arg-type]
    assert cartoon.faces == ()
    assert max(cartoon.pixels.shape) == (max(shape) if size == "original" else size)


def test_every_face_gets_a_head_of_its_own(toon: Cartoonizer) -> None:
    faces = [resize(read(path).pixels, (320, 260)) for path in EXAMPLES[:3]]
    group = np.hstack(faces)
    plain, bare = (toon.draw(Photo(group), Options(STYLE, 1.0, size="original")) for _ in range(2))
    assert len(plain.faces) == 3
    assert (plain.pixels == bare.pixels).all()  # nothing is left over from one photo to the next
    card = next(card for card in toon.styles if card.id == STYLE)
    canvases = toon.canvases(Photo(group), Options(STYLE, 1.0, size="original"))
    assert card.head is not None
    assert len(canvases) == 1  # the heads are drawn by a network of their own
    from cartoon.memory import Ticket

    (whole,) = toon.batcher.draw(card, canvases, Ticket())
    drawn = plain.pixels.astype(np.float32) / 255
    apart = np.abs(drawn - whole.stack[:3].transpose(1, 2, 0)).mean(2)
    for face in plain.faces:
        x, y = face.landmarks.mean(0).astype(int)
        assert apart[y - 20 : y + 20, x - 20 : x + 20].mean() > 0.02  # the head's network drew there
    assert apart[:8, :8].mean() < 0.01


def test_strength_goes_from_the_photo_to_the_drawing(toon: Cartoonizer, portrait: Pixels) -> None:
    photo = Photo(resize(portrait, (320, 264)))
    pictures = [toon.draw(photo, Options(STYLE, strength, size="original")).pixels for strength in (0.1, 0.5, 1.0)]
    away = [np.abs(pixels.astype(np.int16) - photo.pixels).mean() for pixels in pictures]
    assert away[0] < 6 < away[1] < away[2]


def test_other_backgrounds_leave_the_person(toon: Cartoonizer, portrait: Pixels) -> None:
    photo = Photo(resize(portrait, (320, 264)))
    blue = toon.draw(photo, Options(STYLE, size="original", background="#0000FF")).pixels
    assert (blue[4, 4] == (0, 0, 255)).all()
    clear = toon.draw(photo, Options(STYLE, size="original", background="transparent"))
    assert clear.alpha is not None
    assert clear.alpha[4, 4] < 10
    assert clear.alpha[200, 130] > 245


def test_a_file_that_was_altered_is_refused(folder: Path, toon: Cartoonizer, portrait: Pixels, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "styles"
    shutil.copytree(folder, other)
    graph = other / STYLE / HEAD
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    altered = Cartoonizer.load("cpu", "fp32", other)
    try:
        with pytest.raises(StyleError, match=r"cartoon_h\.pb of dctnet-anime is not the file"):
            altered.draw(Photo(portrait), Options(STYLE, size=128))
        (other / STYLE / PINS).unlink()
        with pytest.raises(StyleError, match="is not known"):
            altered.draw(Photo(portrait), Options(STYLE, size=128))
    finally:
        altered.close()
