"""The command `serve`: the page and REST, as app.py of a checkout starts them."""

from typing import Annotated

import typer

from cartoon.cli.output import exit_codes
from cartoon.cli.settings import settings_from
from cartoon.errors import CartoonError, OptionsError


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="7860")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.", show_default="auto")] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that it is reached by, beside localhost and addresses; repeatable."),
    ] = None,
    password: Annotated[str | None, typer.Option(help="Ask for it on the page; rather CARTOON_PASSWORD.")] = None,
) -> None:
    """Serve the page and REST on one port."""
    with exit_codes():
        settings = settings_from(
            host=host,
            port=port,
            device=device,
            precision=precision,
            allowed_hosts=allowed_host or None,
            password=password,
        )
        from cartoon.web.serve import serve as serve_forever

        try:
            serve_forever(settings)
        except CartoonError as refused:  # an address in use, a data folder that another server has: as app.py
            raise OptionsError(str(refused)) from refused
