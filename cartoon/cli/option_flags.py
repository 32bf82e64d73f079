"""The options as a command's flags: what typer reads off a signature, made from the table."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Final

import typer

from cartoon.cli.output import exit_codes
from cartoon.options import FIELDS, Field, Options

MORE_OF_STYLE: Final = " An id that `styles` lists, or a style file."
"""Commands alone take a file: other doors have strangers before them."""


def takes_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command whose parameter `options` is an Options one with a flag for each option, or for those named.

    What a flag is given wrongly is a sentence and the exit code 2, before the command begins.
    """
    rows = [row for row in FIELDS if not names or row.name in names]

    def flagged(command: Callable[..., None]) -> Callable[..., None]:
        told = inspect.signature(command)
        parameters: list[inspect.Parameter] = []
        for one in told.parameters.values():
            parameters += [_flag(row) for row in rows] if one.name == "options" else [one]

        @wraps(command)
        def called(**values: Any) -> None:
            with exit_codes():
                options = Options.asked({row.name: values.pop(row.name) for row in rows})
            command(**values, options=options)

        called.__signature__ = told.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return flagged


def _flag(row: Field) -> inspect.Parameter:
    kind = str if row.kind == "size" else type(row.default)
    default = str(row.default) if row.kind == "size" else row.default
    metavar = "|".join(map(str, row.values)) if row.kind == "choice" else None
    more = MORE_OF_STYLE if row.kind == "style" else ""
    option = typer.Option(row.flag, help=row.help + more, metavar=metavar)
    return inspect.Parameter(
        row.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Annotated[kind, option]
    )
