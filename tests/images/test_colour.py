"""Colour profiles become sRGB."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cartoon.images.decode import decode
from tests.conftest import Painter
from tests.images.pictures import apart, channel_swapped_profile, grey_inks_profile, linear_gray_profile, saved

# Pillow warns about odd metadata of files that it then reads well.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_is_converted_to_srgb(format: str) -> None:
    red = np.full((16, 16, 3), (250, 20, 30), np.uint8)
    how: dict[str, Any] = {} if format == "TIFF" else {"quality": 100}
    photo = decode(saved(red, format, icc_profile=channel_swapped_profile(), **how), "a")
    assert apart(photo.pixels, np.full((16, 16, 3), (20, 250, 30), np.uint8)) <= 4
    assert photo.notes == ()


def test_an_srgb_profile_changes_nothing(paint: Painter) -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (decode(saved(paint(), "PNG", icc_profile=own), "a").pixels == paint()).all()
    gray = paint()[..., 0]
    assert (decode(saved(gray, "PNG", icc_profile=own), "a").pixels == gray[..., None]).all()


def test_a_gray_profile_is_applied_to_gray() -> None:
    photo = decode(saved(np.full((16, 16), 128, np.uint8), "PNG", icc_profile=linear_gray_profile()), "a")
    # Linear 128/255 is 0.502; sRGB's curve makes 0.736 of it: 188.
    assert apart(photo.pixels, np.full((16, 16, 3), 188, np.uint8)) <= 1


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_cmyk_profile_is_applied(format: str) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    how: dict[str, Any] = {"quality": 100} if format == "JPEG" else {}
    photo = decode(saved(cyan, format, icc_profile=grey_inks_profile(), **how), "a")
    # Lightness 192/255 = 75 % without colour is sRGB 185; without the profile it would be (0, 255, 255).
    assert apart(photo.pixels, np.full((16, 16, 3), 185, np.uint8)) <= 3


@pytest.mark.parametrize("broken", [b"junk", b"\0" * 200, linear_gray_profile(), grey_inks_profile()])
def test_a_profile_that_does_not_fit_is_ignored_with_a_note(broken: bytes, paint: Painter) -> None:
    photo = decode(saved(paint(), "PNG", icc_profile=broken), "a")
    assert (photo.pixels == paint()).all()
    assert photo.notes == ("its colour profile is broken and was ignored",)
