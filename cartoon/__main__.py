"""`python -m cartoon`: the command line."""

from cartoon.cli.commands import app

app(prog_name="python -m cartoon")
