"""Picture files out, and in again: every kind, alpha, and what a format cannot hold."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cartoon.errors import (
    OptionsError,
)
from cartoon.images import formats
from cartoon.images.decode import decode
from cartoon.images.encode import encode
from cartoon.images.formats import resolve_format
from cartoon.images.types import Photo
from tests import ROOT
from tests.conftest import Painter
from tests.images.pictures import saved

# Pillow warns about odd metadata of files that it then reads well.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "PPM", "JPEG2000"])
def test_lossless_kinds_come_in_exactly(format: str, paint: Painter) -> None:
    pixels = paint() & 0xC0 if format == "GIF" else paint()  # few enough colours for GIF's palette
    photo = decode(saved(pixels, format), "a")
    assert (photo.pixels == pixels).all()
    assert photo.alpha is None
    assert photo.format == "png"
    assert photo.pixels.flags.c_contiguous
    assert photo.pixels.flags.writeable


@pytest.mark.parametrize(("format", "keep"), [("JPEG", "jpg"), ("WEBP", "webp"), ("AVIF", "png")])
def test_lossy_kinds_come_in_closely(format: str, keep: str, paint: Painter) -> None:
    photo = decode(saved(paint(), format, quality=95), "a")
    # Measured: means of 0.6 to 1.6.
    assert np.abs(photo.pixels.astype(int) - paint()).mean() < 3
    assert photo.format == keep


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_what_is_encoded_is_decoded_again(format: str, paint: Painter) -> None:
    data = encode(paint(), None, format, 95)  # type: ignore[arg-type]
    photo = decode(data, "a")
    assert photo.format == format
    assert np.abs(photo.pixels.astype(int) - paint()).mean() < (0.001 if format == "png" else 3)
    assert data == encode(paint(), None, format, 95)  # type: ignore[arg-type]


def test_alpha_survives_png_and_webp_and_lies_on_white_in_jpeg(paint: Painter) -> None:
    pixels = paint()
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    for format in ("png", "webp"):
        photo = decode(encode(pixels, alpha, format), "a")
        assert photo.alpha is not None
        assert (photo.alpha == alpha).all()
    laid = decode(encode(pixels, alpha, "jpg", 100), "a").pixels
    expected = pixels * (alpha[..., None] / 255) + 255 - alpha[..., None].astype(float)
    assert np.abs(laid - expected).mean() < 2
    assert (laid[:, 0] > 250).all()


def test_jpeg_keeps_full_colour_resolution_from_quality_90_on(paint: Painter) -> None:
    for quality, sampling in ((95, 1), (90, 1), (80, 2)):
        with Image.open(io.BytesIO(encode(paint(), None, "jpg", quality))) as im:
            assert im.layer[0][1] == sampling  # type: ignore[attr-defined]


def test_noise_at_full_quality_encodes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for format in ("jpg", "webp", "png"):
        assert decode(encode(noise, None, format, 100), "a").pixels.shape == noise.shape


def test_png_says_that_it_is_srgb_and_carries_nothing_else(paint: Painter) -> None:
    data = encode(paint(), None, "png")
    with Image.open(io.BytesIO(data)) as im:
        assert im.info == {"srgb": 0}


def test_encode_refuses_what_a_format_cannot_hold() -> None:
    long = np.zeros((8, 16384, 3), np.uint8)
    with pytest.raises(OptionsError, match="webp cannot hold 16384 x 8"):
        encode(long, None, "webp")
    with pytest.raises(OptionsError, match="gif"):
        encode(long, None, "gif")  # type: ignore[arg-type]


def test_keep_means_the_photos_own_format(paint: Painter) -> None:
    photo = Photo(paint(), format="webp")
    assert resolve_format("keep", photo) == "webp"
    assert resolve_format("jpg", photo) == "jpg"
    assert resolve_format("keep", Photo(paint(), format="tiff")) == "png"


def test_the_published_names_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".heic"} <= formats.SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in formats.SUFFIXES)
    assert formats.MEDIA_TYPES == {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


def test_importing_stays_light() -> None:
    heavy = "{'cv2', 'torch', 'mediapipe', 'pydantic', 'gradio', 'PIL.EpsImagePlugin'}"
    code = (
        f"import sys, cartoon.images.decode; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
