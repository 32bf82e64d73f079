"""What a measure may come to: the faults that the gate knows, and how far beyond its limit a value lies.

The limits themselves are a style's own and stand in its card (cartoon.styles.card.GateLimits).
"""

from dataclasses import dataclass
from typing import Final

from cartoon.options import Options
from cartoon.styles.catalogue import available, shipped

USUAL: Final = 0.75
"""Share of its limit up to which a measure counts nothing."""
WORST: Final = 10.0
OWN_STYLE: Final = 2.0
"""A style that is not shipped, which nothing was measured on, may do what any of the shipped ones does, times this."""
CUT_OUT: Final = 1.8
"""Limits are this much wider where the person was cut out: fewer pixels, and a rim that the photo has not."""


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong. code: stable and machine-readable; sentence: for a person."""

    code: str
    sentence: str


@dataclass(frozen=True)
class Norm:
    """What a measure says. flaw: what it means beyond its limit. base: where its scale begins."""

    flaw: Flaw
    base: float


UNLIKE: Final = Flaw("likeness", "The drawing does not show what the photo shows.")
MISSING: Final = Flaw("missing", "Parts of the photo are missing from the drawing.")
TURNED: Final = Flaw("turned", "The drawing is mirrored or turned.")
DISPLACED: Final = Flaw("displaced", "The drawing is displaced against the photo.")
DOUBLED: Final = Flaw("doubled", "The drawing shows things twice.")
CONTRAST: Final = Flaw("contrast", "The drawing has hardly any contrast, or far too much.")
EXPOSURE: Final = Flaw("exposure", "The drawing is far too dark or too bright.")
COLOURS: Final = Flaw("colours", "The drawing's colours are not the photo's.")
GREY: Final = Flaw("grey", "The drawing has lost its colours.")
SEAMS: Final = Flaw("seams", "Straight seams run through the drawing.")
STRIPES: Final = Flaw("stripes", "Stripes or tiles run through the drawing.")
NOISE: Final = Flaw("noise", "The drawing is full of noise.")
CHEQUERS: Final = Flaw("chequers", "A chequered pattern lies over the drawing.")
BLUR: Final = Flaw("blur", "The drawing is blurred.")
FLAT: Final = Flaw("flat", "Areas of the drawing are blank.")
LEVELS: Final = Flaw("levels", "The drawing has too few shades.")
UNDRAWN: Final = Flaw("undrawn", "The photo came back as it was, hardly drawn.")

NORMS: Final[dict[str, Norm]] = {
    "unlike": Norm(UNLIKE, 0),
    "torn": Norm(UNLIKE, 0),
    "tones": Norm(UNLIKE, 0),
    "patches": Norm(UNLIKE, 0),
    "blue": Norm(UNLIKE, 0),
    "turned": Norm(TURNED, 0),
    "displaced": Norm(DISPLACED, 0),
    "doubled": Norm(DOUBLED, 0),
    "lost": Norm(MISSING, 0),
    "pale": Norm(CONTRAST, 0.5),
    "harsh": Norm(CONTRAST, 0.3),
    "dark": Norm(EXPOSURE, 0.5),
    "light": Norm(EXPOSURE, 0.5),
    "cast": Norm(COLOURS, 0),
    "hues": Norm(COLOURS, 0),
    "tinted": Norm(COLOURS, 0),
    "grey": Norm(GREY, 0.5),
    "seams": Norm(SEAMS, 0),
    "grain": Norm(NOISE, 0),
    "noise": Norm(NOISE, 0),
    "specks": Norm(NOISE, 0),
    "blur": Norm(BLUR, 2),
    "blurred": Norm(BLUR, 0.6),
    "chequers": Norm(CHEQUERS, 0.1),
    "rows": Norm(STRIPES, 0),
    "spikes": Norm(SEAMS, 0),
    "beat": Norm(STRIPES, 0),
    "soft": Norm(BLUR, 0),
    "softer": Norm(BLUR, 0.3),
    "flat": Norm(FLAT, 0),
    "levels": Norm(LEVELS, 0),
    "undrawn": Norm(UNDRAWN, 0),
}


def excess(measure: str, value: float, options: Options, portrait: bool) -> float:
    """How far the value of a measure in NORMS lies past what is usual: 0 up to USUAL of the limit, 1 at the limit."""
    base = NORMS[measure].base
    span = (_limit(measure, options.style, portrait) - base) * (
        CUT_OUT if options.background not in ("drawn", "photo") else 1.0
    )
    part = (value - base) / span
    return min(WORST, max(0.0, (part - USUAL) / (1 - USUAL)))


def _limit(measure: str, style: str, portrait: bool) -> float:
    card = shipped(style)
    own = card.gate.limit(measure, portrait) if card and card.gate else None
    if own is not None:
        return own
    known = (card.gate.limit(measure, portrait) for card in available() if card.gate)
    base = NORMS[measure].base
    return OWN_STYLE * (max(limit for limit in known if limit is not None) - base) + base
