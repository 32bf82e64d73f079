"""Picture files on a disk: read with a reason where that fails, written whole or not at all."""

import io
import os
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cartoon.errors import (
    ResourceError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from cartoon.files import write_atomically
from cartoon.images.decode import Decoding, decode, read
from tests.conftest import Painter
from tests.images.pictures import saved

# Pillow warns about odd metadata of files that it then reads well.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_read_names_the_file_and_the_reason(tmp_path: Path, paint: Painter) -> None:
    path = tmp_path / "me.png"
    path.write_bytes(saved(paint(), "PNG"))
    assert read(path).name == "me.png"
    assert read(path, name="album/me.png").name == "album/me.png"
    with pytest.raises(UnreadableError, match=r"^gone\.png cannot be opened \(No such file"):
        read(tmp_path / "gone.png")
    with pytest.raises(UnsupportedError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UnreadableError, match="cannot be opened"):
        read(Path("nul\0.png"))
    with pytest.raises(TooLargeError, match=r"^me\.png has 64 x 48"):
        read(path, max_pixels=1000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_read_does_not_wait_on_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnsupportedError, match="not an ordinary file"):
        read(tmp_path / "pipe.png")


def test_read_turns_a_film_away_by_its_first_bytes(tmp_path: Path) -> None:
    film = tmp_path / "film.jpg"
    with film.open("wb") as file:
        file.write(b"\0\0\0\x18ftypisom" + b"\0" * 99)
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(UnsupportedError, match="video"):
        read(film)
    with film.open("r+b") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(TooLargeError, match="1048576 MB"):
        read(film)


def test_writing_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".png")  # as long as a name may be
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == [path.name]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_writing_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"^a\.png cannot be written \(No such file or directory\)"):
        write_atomically(tmp_path / "missing" / "a.png", b"x")


def test_writing_over_a_folder_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ResourceError, match=r"^a\.png cannot be written"):
        write_atomically(tmp_path / "a.png", b"x")
    assert os.listdir(tmp_path) == ["a.png"]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A disk that fails half-way: the kernel refuses to let a file of this process grow past `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomically(path, b"old")
    with files_no_larger_than(1 << 16), pytest.raises(ResourceError, match=r"^a\.png does not fit on the disk"):
        write_atomically(path, b"x" * (1 << 20))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("format", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("TIFF", "I;16"), ("JPEG", "RGB")]
)
def test_a_picture_of_many_pixels_is_read_smaller_and_looks_the_same(format: str, mode: str) -> None:
    width, height = 9000, 5001
    gradient = np.linspace(0, 255, width, dtype=np.uint8)
    colours = np.broadcast_to(np.stack([gradient, gradient[::-1], gradient // 2], -1), (height, width, 3)).copy()
    if mode == "RGBA":
        cover = np.full((height, width, 1), 255, np.uint8)
        cover[:100] = 0
        made = Image.fromarray(np.concatenate([colours, cover], -1))
    elif mode == "I;16":
        made = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    else:
        made = Image.fromarray(colours).convert(mode)
    out = io.BytesIO()
    made.save(out, format, **({"compress_level": 1} if format == "PNG" else {}))
    photo = decode(out.getvalue(), "wide.png")
    assert photo.pixels.shape[1] == width // 2
    assert abs(photo.pixels.shape[0] - height // 2) <= 1
    assert any("45 million pixels were read as 4500 x" in note for note in photo.notes)
    smaller = colours[200:400:2, ::2]
    if mode == "I;16":
        smaller = np.repeat(smaller[..., :1], 3, -1)
    seen = photo.pixels[100:200].astype(np.int16)
    assert np.abs(seen - smaller).mean() < (8 if mode == "P" else 1.5)
    if mode == "RGBA":
        assert photo.alpha is not None
        assert photo.alpha[:49].max() == 0
        assert photo.alpha[51:].min() == 255
    else:
        assert photo.alpha is None


def test_pictures_are_decoded_only_so_many_pixels_at_a_time() -> None:
    allowed = Decoding(100)
    under_way, most, lock = 0, 0, threading.Lock()

    def decoded(pixels: int) -> None:
        nonlocal under_way, most
        with allowed.turn(pixels):
            with lock:
                under_way += min(pixels, 100)
                most = max(most, under_way)
            time.sleep(0.002)  # decoding takes some time
            with lock:
                under_way -= min(pixels, 100)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(decoded, [10, 60, 500, 30, 100] * 10))
    assert 60 <= most <= 100
