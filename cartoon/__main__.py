"""`python -m cartoon`: the command line."""

from cartoon.cli import app

app(prog_name="python -m cartoon")
