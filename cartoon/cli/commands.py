"""The command line: `run` draws files, folders and zips; `styles` lists the styles; `serve` starts the web app."""

# Nothing heavy is imported up here, so that --help answers at once; tests/test_architecture.py holds this.
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cartoon import __version__
from cartoon.cli.output import DONE, downloading, exit_codes, printable
from cartoon.errors import CartoonError, OptionsError

if TYPE_CHECKING:
    from cartoon.jobs.model import Gate
    from cartoon.options import Format as FormatOption
    from cartoon.options import Options
    from cartoon.options import Size as SizeOption
    from cartoon.settings import Settings

app = typer.Typer(
    help="Turn portraits into cartoons.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

styles_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(styles_app, name="styles")

Style = Annotated[str, typer.Option(help="A style's id, as `styles` lists them, or a style file.")]
Strength = Annotated[float, typer.Option(help="0.1 (almost the photo) to 1.0 (all drawing).")]
Size = Annotated[str, typer.Option(help="Long side in px, 64 to 4096, or original.")]
Exaggeration = Annotated[float, typer.Option(help="0 (true proportions) to 1 (bigger eyes, slimmer jaw).")]
Background = Annotated[str, typer.Option(help="drawn, photo, transparent or a colour like #3366CC.")]
Format = Annotated[str, typer.Option(help="png, jpg, webp, or keep for each photo's own.")]
Quality = Annotated[int, typer.Option(help="1 to 100, for jpg and webp.")]
Upscale = Annotated[int, typer.Option(metavar="2|4", help="Enlarge the drawings, by Swin2SR where it was added.")]
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


# The defaults below repeat those of Options, which is too slow to import for --help; a test compares them.
@app.command()
def run(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Pictures, folders, zips, or URLs (s3://...).")],
    out: Out,
    style: Style = "anime",
    strength: Strength = 0.7,
    size: Size = "1024",
    exaggeration: Exaggeration = 0.5,
    background: Background = "drawn",
    format: Format = "png",
    quality: Quality = 95,
    upscale: Upscale = 1,
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

        options = _options(style, strength, size, exaggeration, background, format, quality, upscale)
        request = Request(
            tuple(inputs), out, zip, overwrite, as_json, _gate(gate), dry_run, anyway, retry_failed, cluster
        )
        code = draw(request, options, _settings(device=device), context.obj)
    raise typer.Exit(code)


@app.command()
def watch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="IN", help="The folder to watch, with all in it.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results.")],
    style: Style = "anime",
    strength: Strength = 0.7,
    size: Size = "1024",
    exaggeration: Exaggeration = 0.5,
    background: Background = "drawn",
    format: Format = "png",
    quality: Quality = 95,
    gate: GateName = "flag",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw what is in IN and what appears there, once it has stopped growing, until interrupted."""
    with exit_codes():
        from cartoon.cli.run import Request
        from cartoon.cli.watch import watch as keep_drawing

        options = _options(style, strength, size, exaggeration, background, format, quality)
        request = Request((folder,), out, None, False, as_json, _gate(gate))
        code = keep_drawing(request, options, _settings(device=device), context.obj)
    raise typer.Exit(code)


@app.command("upscale")
def enlarge(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Pictures, folders, or zips.")],
    out: Out,
    scale: Annotated[int, typer.Option(metavar="2|4", help="How many times larger.")] = 2,
    format: Format = "png",
    quality: Quality = 95,
    zip: Annotated[Path | None, typer.Option("--zip", metavar="FILE", help="Also pack the results into FILE.")] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what is already in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Enlarge pictures without drawing them: the same durable job as `run`."""
    with exit_codes():
        from cartoon.cli.run import Request
        from cartoon.cli.upscale import enlarge as enlarge_all

        options = _options("anime", 1.0, "original", 0.0, "drawn", format, quality, scale)
        request = Request(tuple(inputs), out, zip, overwrite, as_json, "off", anyway=True)
        code = enlarge_all(request, options, _settings(device=device), context.obj)
    raise typer.Exit(code)


@app.command()
def jobs(
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="Only those of this output folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the jobs: those begun here with `run` and `watch`, and the server's."""
    from datetime import datetime

    with exit_codes():
        from cartoon.jobs.store import index

        for seen in index.found_jobs(_settings().data_dir, out):
            made = datetime.fromtimestamp(seen.order.made).strftime("%Y-%m-%d %H:%M")
            told = {"id": seen.order.id, "state": seen.state, "total": seen.counts.total, "done": seen.counts.done}
            told |= {"failed": seen.counts.failed + seen.counts.quarantined, "style": seen.order.options.style}
            told |= {"made": made, "out": str(seen.order.out), "job": str(seen.folder)}
            if as_json:
                print(json.dumps(told))
            else:
                count = f"{told['done']}/{told['total']}"
                print(printable(f"{made}  {seen.state:9}  {count:>13}  {told['style']:10}  {told['out']}"))


@styles_app.callback()
def styles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the styles: id, title, licence, origin; the shipped ones, then your own. `styles add` fetches others."""
    if context.invoked_subcommand:
        return
    with exit_codes():
        from cartoon.styles.catalogue import Register

        cards = Register(_settings().styles_dir).cards()
        rows = [(card.id, card.title, card.licence, card.origin) for card in cards]
    names = ("id", "title", "licence", "origin")
    if as_json:
        for row in rows:
            print(json.dumps(dict(zip(names, row, strict=True))))
        return
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@styles_app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="dctnet-anime, -3d, -handdrawn, -sketch, ...")],
    source: Annotated[Path | None, typer.Option("--from", metavar="DIR", help="Take the files from DIR.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Add one of DCT-Net's own styles: show its licence, then fetch its files, or take them from a folder.

    An interrupted download goes on where it stopped. The files' sha256 are recorded, and checked from then on.
    """
    with exit_codes():
        from cartoon.styles import official

        row = official.find(name)
        print(printable(row.notice).replace("\\n", "\n"))
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            typer.confirm("Fetch it?" if source is None else "Take it?", abort=True)
        with downloading() as watch:
            folder = official.add(row, _settings().styles_dir, source, watch)
        print(printable(f"{row.id} is in {folder}: --style {row.id}"))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="7860")] = None,
    device: Device = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.", show_default="auto")] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that it is reached by, beside localhost and addresses; repeatable."),
    ] = None,
    password: Annotated[str | None, typer.Option(help="Ask for it on the page; rather CARTOON_PASSWORD.")] = None,
) -> None:
    """Serve the page and REST on one port, like `python app.py`."""
    with exit_codes():
        settings = _settings(
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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="latency, throughput, memory, peers, ...")] = "",
) -> None:
    """Run one of the checkout's benchmarks: `bench latency --sizes 512`, `bench NAME --help`."""
    import runpy

    root = Path(__file__).resolve().parents[2]
    files = sorted((root / "benchmarks").glob("*.py"))
    known = [path.stem for path in files if f"python -m benchmarks.{path.stem}" in path.read_text(encoding="utf-8")]
    with exit_codes():
        if name not in known:
            raise OptionsError(f"benchmark {name!r} is not known: use one of {', '.join(known)}.")
    sys.path.insert(0, str(root))
    sys.argv[1:] = context.args
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


def _options(
    style: str,
    strength: float,
    size: str,
    exaggeration: float,
    background: str,
    format: str,
    quality: int,
    upscale: int = 1,
) -> "Options":
    from cartoon.options import Options

    return Options(
        style,
        strength,
        cast("SizeOption", size),
        exaggeration,
        background,
        cast("FormatOption", format),
        quality,
        upscale,
    )


def _gate(name: str) -> "Gate":
    if name not in ("flag", "refuse", "off"):
        raise OptionsError(f"gate {name!r} is not known: use flag, refuse or off.")
    return cast("Gate", name)


def _settings(**flags: Any) -> "Settings":
    """Settings from the environment, overridden by the flags that were given; raises OptionsError."""
    from pydantic import ValidationError

    from cartoon.settings import Settings

    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise OptionsError(f"setting {first['loc'][0]}: {first['msg']}; got {first['input']!r}.") from error
