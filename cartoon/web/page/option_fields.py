"""The options' fields on the page, which both tabs have: one for each row of the table, and a colour of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from cartoon.options import FIELDS, Field, Options
from cartoon.styles.catalogue import StyleCard

FIRST: Final = ("style", "strength", "exaggeration", "size", "background", "format", "quality")
"""The options that there were when callers learned their order by heart; what is new comes after them."""
ROWS: Final = tuple(sorted(FIELDS, key=lambda row: FIRST.index(row.name) if row.name in FIRST else len(FIRST)))
COLOUR: Final = "colour"
"""The page's field beside a row of kind "colour", for one that has no name."""
PAGE_FIELDS: Final = tuple(name for row in ROWS for name in (row.name, *((COLOUR,) if row.kind == "colour" else ())))
"""The fields of both tabs, in the order in which actions get their values."""
PLAIN_COLOUR: Final = "colour"
"""The page's fourth background; the colour itself is a field of its own."""
OPEN: Final = ("style", "strength", "exaggeration", "background")
"""Shown at once, in this order; the rest is behind a press."""
_RGB: Final = re.compile(
    r"rgba?\(\s*(\d{1,3}(?:\.\d+)?)\s*,\s*(\d{1,3}(?:\.\d+)?)\s*,\s*(\d{1,3}(?:\.\d+)?)\s*(?:,.*)?\)"
)


@dataclass(frozen=True, eq=False)
class OptionFields:
    """The fields of a tab, by the names of PAGE_FIELDS."""

    parts: dict[str, Any]

    @property
    def all(self) -> list[Any]:
        """The fields as a list of inputs, in the actions' order."""
        return [self.parts[name] for name in PAGE_FIELDS]


def option_fields(styles: tuple[StyleCard, ...]) -> OptionFields:
    """The fields, laid out where this is called."""
    rows = {row.name: row for row in ROWS}
    parts: dict[str, Any] = {}
    for name in OPEN:
        parts |= _laid_out(rows.pop(name), styles)
    with gr.Accordion("Size and file", open=False):
        for row in rows.values():
            parts |= _laid_out(row, styles)
    return OptionFields(parts)


def asked_for(values: Sequence[Any]) -> dict[str, Any]:
    """The page's values as options, by name."""
    asked = dict(zip(PAGE_FIELDS, values, strict=True))
    colour = _hex(str(asked.pop(COLOUR)))
    plain = [row.name for row in ROWS if row.kind == "colour" and asked[row.name] == PLAIN_COLOUR]
    return {**asked, **dict.fromkeys(plain, colour)}


def values_of(options: Options, styles: tuple[StyleCard, ...]) -> list[Any]:
    """What the page's fields are to show of options, in the order of PAGE_FIELDS: asked_for tells the same again.

    A style that is not on offer any more leaves the page's as it is, and a background by name its colour.
    """
    values: dict[str, Any] = {COLOUR: gr.skip()}
    for row in ROWS:
        value = getattr(options, row.name)
        if row.kind == "style" and value not in {card.id for card in styles}:
            value = gr.skip()
        elif row.kind == "colour" and value not in row.values:
            values[COLOUR], value = value, PLAIN_COLOUR
        values[row.name] = value
    return [values[name] for name in PAGE_FIELDS]


def _laid_out(row: Field, styles: tuple[StyleCard, ...]) -> dict[str, Any]:
    """The field of a row, by its name; of a colour two."""
    told: dict[str, Any] = {"value": row.default, "label": row.title, "info": row.help}
    choices = [(choice.title, choice.value) for choice in row.choices]
    if row.kind in ("real", "whole"):
        return {row.name: gr.Slider(row.low, row.high, step=row.step, **told)}
    if row.kind == "size":  # any number may be typed, and one that a job of another door has is shown as it is
        sizes = [*((f"{side} {row.unit}", side) for side in row.offered), *choices]
        return {row.name: gr.Dropdown(sizes, allow_custom_value=True, **told)}
    if row.kind == "style":
        if row.default not in {card.id for card in styles}:
            told["value"] = styles[0].id
        return {row.name: gr.Radio([(card.title, card.id) for card in styles], **told)}
    if row.kind == "choice":
        return {row.name: gr.Radio(choices, **told)}
    chosen = gr.Radio([*choices, ("Plain colour", PLAIN_COLOUR)], **told)
    colour = gr.ColorPicker("#7cc6fe", label=f"{row.title} colour", visible=False)
    chosen.change(
        lambda choice: gr.ColorPicker(visible=choice == PLAIN_COLOUR),
        chosen,
        colour,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return {row.name: chosen, COLOUR: colour}


def _hex(colour: str) -> str:
    # The picker's sliders yield rgba(12.3, 45, 6, 1).
    parts = _RGB.fullmatch(colour)
    if parts is None:
        return colour
    return "#" + "".join(f"{min(255, round(float(part))):02x}" for part in parts.groups())
