"""The command `jobs`: what was begun, and how far it is."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cartoon.cli.output import exit_codes, printable
from cartoon.cli.settings import settings_from


def jobs(
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="Only those of this output folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")] = False,
) -> None:
    """List the jobs: those begun here with `run` and `watch`, and the server's."""
    with exit_codes():
        from cartoon.jobs.store import index

        for seen in index.found_jobs(settings_from().data_dir, out):
            made = datetime.fromtimestamp(seen.order.made).strftime("%Y-%m-%d %H:%M")
            told = {"id": seen.order.id, "state": seen.state, "total": seen.counts.total, "done": seen.counts.done}
            told |= {"failed": seen.counts.failed + seen.counts.quarantined, "style": seen.order.options.style}
            told |= {"made": made, "out": str(seen.order.out), "job": str(seen.folder)}
            if as_json:
                print(json.dumps(told))
            else:
                count = f"{told['done']}/{told['total']}"
                print(printable(f"{made}  {seen.state:9}  {count:>13}  {told['style']:10}  {told['out']}"))
