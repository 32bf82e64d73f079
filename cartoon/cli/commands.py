"""The command line: `run`, `watch` and `upscale` make pictures; the other commands have files of their own."""

# Nothing heavy is imported up here, so that --help answers at once; tests/test_architecture.py holds this.
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cartoon import __version__
from cartoon.cli import styles
from cartoon.cli.jobs import jobs
from cartoon.cli.option_flags import takes_options
from cartoon.cli.output import DONE, exit_codes
from cartoon.cli.serve import serve
from cartoon.cli.settings import settings_from
from cartoon.errors import OptionsError

if TYPE_CHECKING:
    from cartoon.jobs.model import Gate
    from cartoon.options import Options

app = typer.Typer(
    help="Turn portraits into cartoons.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

GateName = Annotated[
    str, typer.Option("--gate", help="A drawing that looks wrong: flag (deliver, say so), refuse or off.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder or URL for the results.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")]


def show_version(asked: bool) -> None:
    """Print the version and exit, when asked to."""
    if asked:
        print(f"cartoon {__version__}")
        raise typer.Exit(DONE)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn portraits into cartoons."""


@app.command()
@takes_options()
def run(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Pictures, folders, zips, or URLs (s3://...).")],
    out: Out,
    options: "Options",
    zip: Annotated[Path | None, typer.Option("--zip", metavar="FILE", help="Also pack the results into FILE.")] = None,
    gate: GateName = "flag",
    device: Device = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="auto|ADDRESS", help="Draw on a Ray cluster: host:6379, or auto for one here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it will take and what will fail.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Start even if the disk seems too small.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also try again what failed before.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Draw again what is already in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw every photo of INPUT... into OUT, under its own name and in the same folders.

    It is a durable job: killed at any moment, the same command again draws only what is missing.
    Exits with 0 when all is done, 1 when some photo failed (the rest is done), 2 for wrong usage, 130 when interrupted.
    """
    with exit_codes():
        from cartoon.cli.run import Request, draw

        request = Request(
            tuple(inputs), out, zip, overwrite, as_json, _gate(gate), dry_run, anyway, retry_failed, cluster
        )
        code = draw(request, options, settings_from(device=device), context.obj)
    raise typer.Exit(code)


@app.command()
@takes_options()
def watch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="IN", help="The folder to watch, with all in it.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results.")],
    options: "Options",
    gate: GateName = "flag",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw what is in IN and what appears there, once it has stopped growing, until interrupted."""
    with exit_codes():
        from cartoon.cli.run import Request
        from cartoon.cli.watch import watch as keep_drawing

        request = Request((folder,), out, None, False, as_json, _gate(gate))
        code = keep_drawing(request, options, settings_from(device=device), context.obj)
    raise typer.Exit(code)


@app.command("upscale")
@takes_options("format", "quality")
def enlarge(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Pictures, folders, or zips.")],
    out: Out,
    options: "Options",
    scale: Annotated[int, typer.Option(metavar="2|4", help="How many times larger.")] = 2,
    zip: Annotated[Path | None, typer.Option("--zip", metavar="FILE", help="Also pack the results into FILE.")] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what is already in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Enlarge pictures without drawing them: the same durable job as `run`."""
    with exit_codes():
        from cartoon.cli.run import Request
        from cartoon.cli.upscale import enlarge as enlarge_all

        options = replace(options, strength=1.0, size="original", exaggeration=0.0, upscale=scale)
        request = Request(tuple(inputs), out, zip, overwrite, as_json, "off", anyway=True)
        code = enlarge_all(request, options, settings_from(device=device), context.obj)
    raise typer.Exit(code)


app.command()(jobs)
app.command()(serve)
app.add_typer(styles.app, name="styles")


def _gate(name: str) -> "Gate":
    if name not in ("flag", "refuse", "off"):
        raise OptionsError(f"gate {name!r} is not known: use flag, refuse or off.")
    return cast("Gate", name)
