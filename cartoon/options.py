"""What one request asks for: Options, checked when they are built."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from cartoon.errors import OptionsError

Format = Literal["png", "jpg", "webp", "keep"]
Size = int | Literal["original"]
STRENGTH_RANGE: Final = (0.1, 1.0)
SIZE_RANGE: Final = (64, 4096)
"""Long side of the drawn picture, px."""
EXAGGERATION_RANGE: Final = (0.0, 1.0)
QUALITY_RANGE: Final = (1, 100)
FORMATS: Final[tuple[Format, ...]] = ("png", "jpg", "webp", "keep")
UPSCALES: Final = (1, 2, 4)
NAMED_BACKGROUNDS: Final = ("drawn", "photo", "transparent")
_HEX_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Options:
    """What one request asks for; every field was validated when the object was built.

    strength: 0.1 (almost the photo) .. 1.0 (all drawing).
    size: long side of the result in px, 64..4096, or "original".
    exaggeration: 0 keeps true proportions, 1 is the largest warp (bigger eyes, slimmer jaw).
    background: "drawn", "photo", "transparent" or "#RRGGBB".
    format: "png", "jpg", "webp" or "keep" (the input's own, where that is one of the three).
    quality: 1..100, for jpg and webp.
    upscale: 2 or 4 enlarge the finished drawing by a network; 1 leaves it.

    Raises OptionsError with a sentence that names the option, its range and the value given.
    """

    style: str = "anime"
    strength: float = 0.7
    size: Size = 1024
    exaggeration: float = 0.5
    background: str = "drawn"
    format: Format = "png"
    quality: int = 95
    upscale: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.style, str) or not self.style.strip():
            raise OptionsError("style is empty: name one of the styles that `python -m cartoon styles` lists.")
        object.__setattr__(self, "strength", _real("strength", self.strength, STRENGTH_RANGE))
        object.__setattr__(self, "exaggeration", _real("exaggeration", self.exaggeration, EXAGGERATION_RANGE))
        object.__setattr__(self, "quality", _whole("quality", self.quality, QUALITY_RANGE))
        if self.size != "original":
            object.__setattr__(self, "size", _whole("size", self.size, SIZE_RANGE, ' or "original"'))
        if self.background not in NAMED_BACKGROUNDS and not _HEX_COLOUR.fullmatch(str(self.background)):
            raise OptionsError(
                f"background {self.background!r} is not known: use drawn, photo, transparent or a colour like #3366CC."
            )
        object.__setattr__(self, "upscale", _whole("upscale", self.upscale, (UPSCALES[0], UPSCALES[-1])))
        if self.upscale not in UPSCALES:
            raise OptionsError(f"upscale must be 1, 2 or 4; got {self.upscale!r}.")
        if self.format not in FORMATS:
            raise OptionsError(f"format {self.format!r} is not known: use one of {', '.join(FORMATS)}.")


@dataclass(frozen=True)
class Care:
    """How a photo is drawn once more when its drawing looked wrong.

    precise: in single precision. tiles: in small tiles, which meet other code and less memory. crops: a small or huge
    face gets a crop of its own.
    """

    precise: bool = True
    tiles: bool = False
    crops: bool = True


def _real(name: str, value: object, limits: tuple[float, float]) -> float:
    low, high = limits
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:  # also false for NaN
        raise OptionsError(f"{name} must be between {low:g} and {high:g}; got {value!r}.")
    return number


def _whole(name: str, value: object, limits: tuple[int, int], otherwise: str = "") -> int:
    low, high = limits
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high or number != int(number):
        raise OptionsError(f"{name} must be a whole number from {low} to {high}{otherwise}; got {value!r}.")
    return int(number)
