"""The options' fields on the page, which both tabs have."""

from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from cartoon.options import EXAGGERATION_RANGE, QUALITY_RANGE, STRENGTH_RANGE, Options
from cartoon.styles.catalogue import StyleCard
from cartoon.web.page.actions import PLAIN_COLOUR

SIZES: Final = (512, 768, 1024, 1536, 2048)
"""Long sides offered, px; the doors without a page take any from 64 to 4096."""
BACKGROUNDS: Final = (
    ("Drawn", "drawn"),
    ("Photo", "photo"),
    ("Transparent", "transparent"),
    ("Plain colour", PLAIN_COLOUR),
)


@dataclass(frozen=True, eq=False)
class OptionFields:
    """The fields that both tabs have, in the actions' order."""

    style: gr.Radio
    strength: gr.Slider
    exaggeration: gr.Slider
    size: gr.Dropdown
    background: gr.Radio
    colour: gr.ColorPicker
    format: gr.Radio
    quality: gr.Slider

    @property
    def all(self) -> list[Any]:
        """The fields as a list of inputs."""
        return list(vars(self).values())


def option_fields(styles: tuple[StyleCard, ...]) -> OptionFields:
    """The fields, laid out where this is called."""
    given = Options()
    chosen = given.style if given.style in {card.id for card in styles} else styles[0].id
    style = gr.Radio([(card.title, card.id) for card in styles], value=chosen, label="Style")
    strength = gr.Slider(*STRENGTH_RANGE, value=given.strength, step=0.05, label="Strength")
    exaggeration = gr.Slider(*EXAGGERATION_RANGE, value=given.exaggeration, step=0.05, label="Exaggeration")
    background = gr.Radio(list(BACKGROUNDS), value=given.background, label="Background")
    colour = gr.ColorPicker("#7cc6fe", label="Background colour", visible=False)
    with gr.Accordion("Size and file", open=False):
        sizes = [*((f"{side} px", side) for side in SIZES), ("Original", "original")]
        size = gr.Dropdown(sizes, value=given.size, label="Size (long side)")
        format = gr.Radio([("PNG", "png"), ("JPEG", "jpg"), ("WebP", "webp")], value=given.format, label="Format")
        quality = gr.Slider(*QUALITY_RANGE, value=given.quality, step=1, label="Quality (JPEG and WebP)")
    background.change(
        lambda choice: gr.ColorPicker(visible=choice == PLAIN_COLOUR),
        background,
        colour,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return OptionFields(style, strength, exaggeration, size, background, colour, format, quality)
