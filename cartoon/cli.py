"""The command line: `run` draws files, folders and zips; `styles` lists the styles; `serve` starts the web app."""

# Nothing heavy is imported up here, so that --help answers at once; tests/test_architecture.py holds this.
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cartoon import __version__
from cartoon.console import DONE, FAILED, Summary, event_of, exit_codes, reporter
from cartoon.errors import CartoonError, OptionsError

if TYPE_CHECKING:
    from cartoon.jobs.inputs import Found
    from cartoon.jobs.job import Item
    from cartoon.jobs.runner import Artist
    from cartoon.settings import Format, Options, Settings, Size

app = typer.Typer(
    help="Turn portraits into cartoons.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")]


@dataclass(frozen=True)
class Order:
    """Where a run reads and writes, and how it reports."""

    inputs: tuple[Path, ...]
    out: Path
    zip: Path | None
    overwrite: bool
    as_json: bool


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


# The defaults below repeat those of Options, which is too slow to import for --help; tests/test_cli.py compares them.
@app.command()
def run(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Pictures, folders of pictures, or zips.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for the results.")],
    style: Annotated[str, typer.Option(help="A style's id, as `styles` lists them, or a style file.")] = "anime",
    strength: Annotated[float, typer.Option(help="0.1 (almost the photo) to 1.0 (all drawing).")] = 0.7,
    size: Annotated[str, typer.Option(help="Long side in px, 64 to 4096, or original.")] = "1024",
    exaggeration: Annotated[float, typer.Option(help="0 (true proportions) to 1 (bigger eyes, slimmer jaw).")] = 0.5,
    background: Annotated[str, typer.Option(help="drawn, photo, transparent or a colour like #3366CC.")] = "drawn",
    format: Annotated[str, typer.Option(help="png, jpg, webp, or keep for each photo's own.")] = "png",
    quality: Annotated[int, typer.Option(help="1 to 100, for jpg and webp.")] = 95,
    zip: Annotated[Path | None, typer.Option("--zip", metavar="FILE", help="Also pack the results into FILE.")] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Draw again what is already in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw every photo of INPUT... into OUT, under its own name and in the same folders.

    Results that are already there are skipped, so the same command again goes on where it stopped.
    Exits with 0 when all is done, 1 when some photo failed (the rest is done), 2 for wrong usage, 130 when interrupted.
    """
    load: Callable[[Settings], Artist] = context.obj or _load_cartoonizer
    order = Order(tuple(inputs), out, zip, overwrite, as_json)
    with exit_codes():
        from cartoon.settings import Options

        options = Options(
            style=style,
            strength=strength,
            size=cast("Size", size),
            exaggeration=exaggeration,
            background=background,
            format=cast("Format", format),
            quality=quality,
        )
        code = _run(order, options, _settings(device=device), load)
    raise typer.Exit(code)


@app.command()
def styles(as_json: AsJson = False) -> None:
    """List the styles: id, title, licence, origin; the shipped ones, then your own."""
    with exit_codes():
        from cartoon.styles.registry import Register

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


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="7860")] = None,
    device: Device = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.", show_default="auto")] = None,
) -> None:
    """Serve the page and REST on one port, like `python app.py`."""
    with exit_codes():
        settings = _settings(host=host, port=port, device=device, precision=precision)
        from cartoon.server import serve as serve_forever

        serve_forever(settings)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="latency, throughput, memory, peers, ...")] = "",
) -> None:
    """Run one of the checkout's benchmarks: `bench latency --sizes 512`, `bench NAME --help`."""
    import runpy
    import sys

    root = Path(__file__).resolve().parents[1]
    files = sorted((root / "benchmarks").glob("*.py"))
    known = [path.stem for path in files if f"python -m benchmarks.{path.stem}" in path.read_text(encoding="utf-8")]
    with exit_codes():
        if name not in known:
            raise OptionsError(f"benchmark {name!r} is not known: use one of {', '.join(known)}.")
    sys.path.insert(0, str(root))
    sys.argv[1:] = context.args
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


def _run(order: Order, options: "Options", settings: "Settings", load: "Callable[[Settings], Artist]") -> int:
    from cartoon.jobs.archive import check_target
    from cartoon.jobs.inputs import find, output_paths
    from cartoon.styles.registry import Register

    Register(settings.styles_dir).find(options.style)
    with ExitStack() as stack:
        stack.enter_context(_folder(order.out))
        unpacked: Path | None = None
        if any(given.suffix.lower() == ".zip" for given in order.inputs):
            # Beside the results, which is where there is room; hidden, and gone when the run ends.
            unpacked = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".unpacked-", dir=order.out)))
        found = find(order.inputs, unpacked, order.out)
        outputs = output_paths(found.items, options, order.out)
        if order.zip:
            names = {output.relative_to(order.out).as_posix() for output in outputs}
            check_target(order.zip, names, (*order.inputs, *(item.source for item in found.items)), order.overwrite)
        artist = load(settings)
        return _draw(order, options, found, unpacked, artist, settings.max_pixels)


def _draw(
    order: Order, options: "Options", found: "Found", unpacked: Path | None, artist: "Artist", max_pixels: int
) -> int:
    from cartoon.jobs.runner import run as run_items

    started, counts, interrupted = time.perf_counter(), Counter[str](), False
    results: list[Path] = []
    packed: Path | None = None
    with reporter(len(found.items), order.as_json) as report:
        try:
            attempts = run_items(
                found.items, options, order.out, artist, overwrite=order.overwrite, max_pixels=max_pixels
            )
            for attempt in attempts:
                event = event_of(attempt, _shown(attempt.item, unpacked))
                counts[event.status] += 1
                report.photo(event)
                if attempt.output:
                    results.append(attempt.output)
            packed = _pack(order, results)
        except KeyboardInterrupt:
            interrupted = True
        report.summary(
            Summary(
                done=counts["done"],
                failed=counts["failed"],
                skipped=counts["skipped"],
                remaining=len(found.items) - counts.total(),
                ignored=found.ignored,
                seconds=round(time.perf_counter() - started, 3),
                out=str(order.out),
                zip=str(packed) if packed else None,
                interrupted=interrupted,
            )
        )
    if interrupted:
        raise KeyboardInterrupt
    return FAILED if counts["failed"] else DONE


def _pack(order: Order, results: list[Path]) -> Path | None:
    from cartoon.jobs.archive import write_zip

    if order.zip is None or not results:
        return None
    try:
        order.zip.parent.mkdir(parents=True, exist_ok=True)
        write_zip(order.zip, [(path, path.relative_to(order.out).as_posix()) for path in results])
    except OSError as problem:
        raise CartoonError(f"{order.zip} cannot be written ({problem.strerror}): give another --zip.") from problem
    return order.zip


def _shown(item: "Item", unpacked: Path | None) -> str:
    """The input as the user knows it: its path, or for a zip's member its path inside."""
    return item.name if unpacked and item.source.is_relative_to(unpacked) else str(item.source)


def _load_cartoonizer(settings: "Settings") -> "Artist":
    from cartoon.portrait.pipeline import Cartoonizer

    return Cartoonizer.load(settings.device, settings.precision, settings.styles_dir)


def _settings(**flags: Any) -> "Settings":
    """Settings from the environment, overridden by the flags that were given; raises OptionsError."""
    from pydantic import ValidationError

    from cartoon.settings import Settings

    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise OptionsError(f"setting {first['loc'][0]}: {first['msg']}; got {first['input']!r}.") from error


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """Makes the folder; takes it away again when an error leaves it empty."""
    fresh = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OptionsError(f"{out} cannot be the output folder ({problem.strerror}): give another -o.") from problem
    try:
        yield
    except CartoonError:
        if fresh:
            with suppress(OSError):  # not empty: then it stays
                out.rmdir()
        raise
