"""Picture files in: every colour mode and orientation."""

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cartoon.images.decode import decode
from tests.conftest import Painter
from tests.images.pictures import Array, apart, channel_swapped_profile, grey_inks_profile, png, saved

# Pillow warns about odd metadata of files that it then reads well.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


# Orientation

# EXIF orientation -> how an upright picture has to be stored to need it (CIPA DC-008, 4.6.4, tag 0x0112)
STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_ends_upright(format: str, orientation: int, paint: Painter) -> None:
    stored = np.ascontiguousarray(STORED[orientation](paint()))
    exif = Image.Exif()
    exif[0x0112] = orientation
    how: dict[str, Any] = {"exif": exif, "quality": 95}
    photo = decode(saved(stored, format, **(how if format != "TIFF" else {"exif": exif})), "a")
    assert photo.pixels.shape == paint().shape
    assert np.abs(photo.pixels.astype(int) - paint()).mean() < 3
    assert ("it was turned upright" in photo.notes) == (orientation != 1 and format != "TIFF")


def test_alpha_is_turned_with_its_picture(paint: Painter) -> None:
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = STORED[6](np.dstack((paint(), alpha)))
    photo = decode(saved(np.ascontiguousarray(stored), "PNG", exif=exif), "a")
    assert photo.alpha is not None
    assert (photo.alpha == alpha).all()


def test_damaged_exif_does_not_cost_the_photo(paint: Painter) -> None:
    for tags in (b"", b"junk", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff\x01"):
        assert decode(saved(paint(), "JPEG", exif=b"Exif\0\0" + tags), "a").notes == ()


# Modes


def test_cmyk_without_a_profile() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 200, 100, 30))
    for data in (saved(ink, "TIFF"), saved(ink, "JPEG", quality=100)):  # JPEG: inverted, as Adobe does
        assert apart(decode(data, "a").pixels, np.full((16, 16, 3), (225, 49, 137), np.uint8)) <= 2


def test_lab_and_ycbcr(paint: Painter) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    turned = ImageCms.applyTransform(Image.fromarray(paint()), ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    assert turned is not None
    # Eight-bit a and b cost up to 2 of 255 in saturated colours; outside sRGB's middle a little more.
    assert np.abs(decode(saved(turned, "TIFF"), "a").pixels.astype(int) - paint()).mean() < 2
    chroma = Image.fromarray(paint()).convert("YCbCr")
    assert np.abs(decode(saved(chroma, "TIFF", compression="tiff_lzw"), "a").pixels.astype(int) - paint()).mean() < 3


RAMP = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bit_gray_is_divided_by_257(format: str) -> None:
    photo = decode(saved(RAMP, format), "a")
    assert (photo.pixels == np.rint(RAMP / 257)[..., None]).all()


def test_16_bit_gray_counting_down_from_white() -> None:
    plain = saved(RAMP, "TIFF")
    photometric = struct.pack("<HHII", 262, 3, 1, 1)  # BlackIsZero
    assert plain.count(photometric) == 1
    photo = decode(plain.replace(photometric, struct.pack("<HHII", 262, 3, 1, 0)), "a")
    assert (photo.pixels == 255 - np.rint(RAMP / 257)[..., None]).all()


def test_16_bit_colour_png_keeps_its_high_bytes(paint: Painter) -> None:
    deep = paint().astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    assert (decode(png(64, 48, 16, 2, rows), "a").pixels == paint()).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 100, 255], np.int32), [0, 100, 255]),
        (np.array([0, 25700, 65535], np.int32), [0, 100, 255]),
        (np.array([-500, 500, 1500], np.int32), [0, 128, 255]),
        (np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
        (np.array([0, 100, 255], np.float32), [0, 100, 255]),
        (np.array([0, np.nan, 1], np.float32), [0, 0, 255]),
        (np.array([np.nan, np.nan, np.nan], np.float32), [0, 0, 0]),
        (np.array([7, 7, 7], np.int32), [7, 7, 7]),
    ],
)
def test_32_bit_gray_is_scaled_to_the_nearest_usual_range(values: Array, expected: list[int]) -> None:
    photo = decode(saved(np.repeat(np.repeat(values[None], 9, 0), 4, 1), "TIFF"), "a")
    assert photo.pixels[0, ::4].tolist() == [[v] * 3 for v in expected]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_alpha_of_every_mode(mode: str, paint: Painter) -> None:
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, :20] = 0
    alpha[:, 20:30] = 100
    pixels = paint() // 64 * 64
    im = Image.fromarray(np.dstack((pixels, alpha)))
    if mode == "LA":
        im = im.convert("LA")
    if mode == "P":
        im = im.quantize(256, method=Image.Quantize.FASTOCTREE)
    if mode == "PA":
        im = im.convert("RGB").quantize(256).convert("PA")
        im.putalpha(Image.fromarray(alpha))
    photo = decode(saved(im, "TIFF" if mode == "PA" else "PNG"), "a")
    assert photo.alpha is not None
    assert apart(photo.alpha, alpha) <= 8  # the palette's rounding
    assert (photo.pixels[photo.alpha == 0] == 255).all()


@pytest.mark.parametrize(
    ("bits", "colour", "rows", "key"),
    [
        (1, 0, b"\0\x0f" * 8, struct.pack(">H", 1)),
        (2, 0, b"\0\x00\xaa" * 8, struct.pack(">H", 2)),
        (4, 0, b"\0\x00\x00\x77\x77" * 8, struct.pack(">H", 7)),
        (8, 0, (b"\0" + b"\x05" * 4 + b"\x09" * 4) * 8, struct.pack(">H", 9)),
        (16, 0, (b"\0" + b"\x05\x01" * 4 + b"\x05\x02" * 4) * 8, struct.pack(">H", 0x0502)),
        (8, 2, (b"\0" + b"abc" * 4 + b"abd" * 4) * 8, struct.pack(">3H", *b"abd")),
        (16, 2, (b"\0" + b"aAbBcC" * 4 + b"aAbBdD" * 4) * 8, b"aAbBdD"),
    ],
)
def test_one_transparent_colour_at_every_depth(bits: int, colour: int, rows: bytes, key: bytes) -> None:
    photo = decode(png(8, 8, bits, colour, rows, b"tRNS" + key), "a")
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[255] * 4 + [0] * 4] * 8
    assert (photo.pixels[:, 4:] == 255).all()
    assert (photo.pixels[:, :4] < 255).all()


def test_one_bit_and_transparent_gif(paint: Painter) -> None:
    mask = paint()[..., 0] > 128
    assert (decode(saved(Image.fromarray(mask), "PNG"), "a").pixels[..., 0] == mask * 255).all()
    flat = Image.new("P", (16, 16), 1)
    flat.putpalette([0, 0, 0, 200, 100, 50])
    flat.paste(0, (0, 0, 4, 16))
    photo = decode(saved(flat, "GIF", transparency=0), "a")
    assert photo.alpha is not None
    assert photo.alpha[0].tolist() == [0] * 4 + [255] * 12


def test_a_picture_that_is_transparent_everywhere_is_kept_so() -> None:
    photo = decode(saved(Image.new("RGBA", (16, 16), (9, 8, 7, 0)), "PNG"), "a")
    assert photo.alpha is not None
    assert not photo.alpha.any()
    assert (photo.pixels == 255).all()
    assert photo.notes == ("it is transparent everywhere",)


def test_an_unset_fourth_byte_of_a_bmp_is_no_alpha() -> None:
    data = bytearray(saved(Image.new("RGBA", (16, 16), (9, 8, 7, 0)), "BMP"))
    photo = decode(bytes(data), "a")
    assert photo.alpha is None
    assert (photo.pixels == (9, 8, 7)).all()


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_used(format: str, paint: Painter) -> None:
    first = Image.fromarray(paint() // 64 * 64)
    second = Image.fromarray(paint(seed=1) // 64 * 64)
    how: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    photo = decode(saved(first, format, save_all=True, append_images=[second], **how), "a")
    assert (photo.pixels == np.asarray(first)).all()
    assert photo.notes == ("only its first frame was used",)


def test_same_bytes_same_photo_also_from_many_threads(paint: Painter) -> None:
    files = [
        saved(paint(), "JPEG", icc_profile=channel_swapped_profile()),
        saved(paint(), "AVIF"),
        saved(Image.fromarray(paint()).convert("CMYK"), "TIFF", icc_profile=grey_inks_profile()),
    ]
    alone = [decode(data, "a").pixels for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: decode(files[number % 3], "a").pixels, range(60)))
    assert all((pixels == alone[number % 3]).all() for number, pixels in enumerate(together))
