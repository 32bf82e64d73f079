"""What one request asks for: ONE table of the options, which every door reads, and Options, checked by it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cartoon.errors import OptionsError

Format = Literal["png", "jpg", "webp", "keep"]
Size = int | Literal["original"]
Value = str | int | float
Kind = Literal["style", "real", "whole", "choice", "size", "colour"]
LONGEST_SIDES: Final = {"png": 1 << 20, "jpg": 65_500, "webp": 16_383}
"""px that a side of a file may have: OpenCV's limit for PNG, libjpeg's and libwebp's own."""
_HEX_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Choice:
    """A value by name, and what a person reads for it."""

    value: Value
    title: str


@dataclass(frozen=True)
class Field:
    """One option, told once: all that a door needs to offer it, to explain it and to check it.

    kind: "style" (a style's name), "real" and "whole" (numbers from low to high), "choice" (one of the choices), "size"
    (as "whole", or one of the choices), "colour" (one of the choices, or #RRGGBB).
    default: also what a manifest says that is older than the option: a new one's changes nothing.
    help: a sentence for people. title: a label. step: of a slider. offered: some numbers of a range, in `unit`.
    affects_picture: whether another value makes another file; formats: those in which it does.
    """

    name: str
    kind: Kind
    default: Value
    title: str
    help: str
    low: float = 0
    high: float = 0
    step: float = 1
    unit: str = ""
    choices: tuple[Choice, ...] = ()
    offered: tuple[int, ...] = ()
    affects_picture: bool = True
    formats: tuple[str, ...] = ("png", "jpg", "webp", "keep")

    @property
    def flag(self) -> str:
        """As a command's flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def values(self) -> tuple[Value, ...]:
        """The choices' values."""
        return tuple(choice.value for choice in self.choices)

    def checked(self, value: object) -> Value:
        """The value in its own type; raises OptionsError with a sentence that names option, range and value."""
        return _CHECKS[self.kind](self, value)

    def tells(self, one: "Options", other: "Options") -> bool:
        """Whether two requests get different pictures by this option."""
        differ = getattr(one, self.name) != getattr(other, self.name)
        return differ and self.affects_picture and not {one.format, other.format}.isdisjoint(self.formats)


FIELDS: Final = (
    Field(
        "style",
        "style",
        "anime",
        "Style",
        "What the drawing looks like.",
    ),
    Field(
        "strength",
        "real",
        0.7,
        "Strength",
        "0.1 (almost the photo) to 1.0 (all drawing).",
        low=0.1,
        high=1.0,
        step=0.05,
    ),
    Field(
        "size",
        "size",
        1024,
        "Size (long side)",
        "Long side in px, 64 to 4096, or original.",
        low=64,
        high=4096,
        unit="px",
        choices=(Choice("original", "Original"),),
        offered=(512, 768, 1024, 1536, 2048, 4096),
    ),
    Field(
        "exaggeration",
        "real",
        0.5,
        "Exaggeration",
        "0 (true proportions) to 1 (bigger eyes, slimmer jaw).",
        low=0.0,
        high=1.0,
        step=0.05,
    ),
    Field(
        "background",
        "colour",
        "drawn",
        "Background",
        "What is behind the person: drawn, photo, transparent or a colour like #3366CC.",
        choices=(Choice("drawn", "Drawn"), Choice("photo", "Photo"), Choice("transparent", "Transparent")),
    ),
    Field(
        "format",
        "choice",
        "png",
        "Format",
        "png, jpg, webp, or keep for each photo's own.",
        choices=(Choice("png", "PNG"), Choice("jpg", "JPEG"), Choice("webp", "WebP"), Choice("keep", "As the photo")),
    ),
    Field(
        "quality",
        "whole",
        95,
        "Quality (JPEG and WebP)",
        "1 to 100, for jpg and webp.",
        low=1,
        high=100,
        formats=("jpg", "webp", "keep"),
    ),
    Field(
        "upscale",
        "choice",
        1,
        "Enlarge",
        "2 or 4 enlarge the drawing, by Swin2SR where it was added; 1 leaves it.",
        choices=(Choice(1, "1x"), Choice(2, "2x"), Choice(4, "4x")),
    ),
)
"""The options, in the order of Options. A new one is a row here and a line there; no door needs a word more."""
_DEFAULTS: Final[dict[str, Any]] = {row.name: row.default for row in FIELDS}


@dataclass(frozen=True)
class Options:
    """What one request asks for; every field was checked against its row of FIELDS when the object was built.

    Raises OptionsError with a sentence that names the option, its range and the value given.
    """

    style: str = _DEFAULTS["style"]
    strength: float = _DEFAULTS["strength"]
    size: Size = _DEFAULTS["size"]
    exaggeration: float = _DEFAULTS["exaggeration"]
    background: str = _DEFAULTS["background"]
    format: Format = _DEFAULTS["format"]
    quality: int = _DEFAULTS["quality"]
    upscale: int = _DEFAULTS["upscale"]

    def __post_init__(self) -> None:
        for row in FIELDS:
            object.__setattr__(self, row.name, row.checked(getattr(self, row.name)))

    @classmethod
    def asked(cls, values: Mapping[str, Any]) -> "Options":
        """What a door is asked for now, by name; None means the default.

        Raises OptionsError also where no photo could be had as asked. (Not so when built: an earlier job may say it.)
        """
        given = cls(**{name: value for name, value in values.items() if value is not None})
        most = LONGEST_SIDES.get(given.format)
        if given.size != "original" and most and given.size * given.upscale > most:
            raise OptionsError(
                f"format {given.format} cannot hold size {given.size} enlarged {given.upscale} times, {most} px a side"
                " at most: choose png, a smaller size or a smaller upscale."
            )
        return given


@dataclass(frozen=True)
class Care:
    """How a photo is drawn once more when its drawing looked wrong.

    precise: in single precision. tiles: in small tiles, which meet other code and less memory. crops: a small or huge
    face gets a crop of its own.
    """

    precise: bool = True
    tiles: bool = False
    crops: bool = True


def _style(row: Field, value: object) -> Value:
    if not isinstance(value, str) or not value.strip():
        raise OptionsError("style is empty: name one of the styles that `python -m cartoon styles` lists.")
    return value


def _real(row: Field, value: object) -> Value:
    number = _number(value)
    if not row.low <= number <= row.high:  # also false for NaN
        raise OptionsError(f"{row.name} must be between {row.low:g} and {row.high:g}; got {value!r}.")
    return number


def _whole(row: Field, value: object) -> Value:
    return _from_to(row, value, row.low, row.high)


def _size(row: Field, value: object) -> Value:
    for known in row.values:
        if value == known:
            return known
    words = "".join(f' or "{known}"' for known in row.values)
    return _from_to(row, value, row.low, row.high, words)


def _choice(row: Field, value: object) -> Value:
    if isinstance(row.default, int):
        numbers = [int(known) for known in row.values]
        value = _from_to(row, value, min(numbers), max(numbers))
    for known in row.values:
        if value == known:
            return known
    if isinstance(row.default, int):
        *first, last = map(str, row.values)
        raise OptionsError(f"{row.name} must be {', '.join(first)} or {last}; got {value!r}.")
    raise OptionsError(f"{row.name} {value!r} is not known: use one of {', '.join(map(str, row.values))}.")


def _colour(row: Field, value: object) -> Value:
    if isinstance(value, str) and (value in row.values or _HEX_COLOUR.fullmatch(value)):
        return value
    names = ", ".join(map(str, row.values))
    raise OptionsError(f"{row.name} {value!r} is not known: use {names} or a colour like #3366CC.")


_CHECKS: Final[dict[Kind, Callable[[Field, object], Value]]] = {
    "style": _style,
    "real": _real,
    "whole": _whole,
    "choice": _choice,
    "size": _size,
    "colour": _colour,
}


def _from_to(row: Field, value: object, low: float, high: float, otherwise: str = "") -> int:
    number = _number(value)
    if not low <= number <= high or number != int(number):
        raise OptionsError(f"{row.name} must be a whole number from {low} to {high}{otherwise}; got {value!r}.")
    return int(number)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")
