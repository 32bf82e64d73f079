"""The options as parameters of the two calls for gradio_client: their names, defaults and order, from the table."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import gradio as gr

from cartoon.options import Field
from cartoon.web.page.option_fields import FIRST, ROWS

LATER: Final = len(ROWS) - len(FIRST)
"""So many of the last parameters are newer than callers may be, who leave them out."""

Call = TypeVar("Call", bound=Callable[..., Any])


def takes_options(call: Call) -> Call:
    """The call, whose `*options` have the options' names for whoever asks for its parameters, as Gradio does."""
    told = inspect.signature(call)
    kept = [one for one in told.parameters.values() if one.kind is not inspect.Parameter.VAR_POSITIONAL]
    named = [inspect.Parameter(row.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for row in ROWS]
    call.__signature__ = told.replace(parameters=[*kept, *named])  # type: ignore[attr-defined]
    return call


def option_inputs() -> list[Any]:
    """Their inputs, with the table's defaults, laid out where this is called."""
    return [_input(row) for row in ROWS]


def named(values: Sequence[Any]) -> dict[str, Any]:
    """What a call gave, by the options' names; None means the default."""
    return dict(zip((row.name for row in ROWS), values, strict=True))


def _input(row: Field) -> Any:
    label = f"{row.name}: {row.help}"
    if row.kind == "size" or isinstance(row.default, str):
        return gr.Textbox(str(row.default), label=label)
    return gr.Number(row.default, label=label)
