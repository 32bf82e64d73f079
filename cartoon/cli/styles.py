"""The commands about styles: `styles` lists them, `styles add` brings one of DCT-Net's own."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cartoon.cli.output import downloading, exit_codes, printable
from cartoon.cli.settings import settings_from

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def styles(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")] = False,
) -> None:
    """List the styles: id, title, licence, origin; the shipped ones, then your own. `styles add` fetches others.

    Your own are the style files in CARTOON_STYLES_DIR: styles/ in a checkout, and where Cartoon was installed as a
    package ~/.local/share/cartoon/styles (in XDG_DATA_HOME, if that is set).
    """
    if context.invoked_subcommand:
        return
    with exit_codes():
        from cartoon.styles.catalogue import Register

        cards = Register(settings_from().styles_dir).cards()
        rows = [(card.id, card.title, card.licence, card.origin) for card in cards]
    names = ("id", "title", "licence", "origin")
    if as_json:
        for row in rows:
            print(json.dumps(dict(zip(names, row, strict=True))))
        return
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="dctnet-anime, -3d, -handdrawn, -sketch, ...")],
    source: Annotated[Path | None, typer.Option("--from", metavar="DIR", help="Take the files from DIR.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Add one of DCT-Net's own styles: show its licence, then fetch its files, or take them from a folder.

    An interrupted download goes on where it stopped. The files' sha256 are recorded, and checked from then on.
    They come into CARTOON_STYLES_DIR, see `styles --help`.

    Exits with 0 when the style is there, 1 when something could not be fetched or written, 2 for wrong usage or wrong
    files, 130 when interrupted.
    """
    with exit_codes():
        from cartoon.styles import official

        row = official.find(name)
        print(printable(row.notice).replace("\\n", "\n"))
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            typer.confirm("Fetch it?" if source is None else "Take it?", abort=True)
        with downloading() as watch:
            folder = official.add(row, settings_from().styles_dir, source, watch)
        print(printable(f"{row.id} is in {folder}: --style {row.id}"))
