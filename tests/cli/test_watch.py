"""A watched folder: what appears is drawn once it is whole; jobs are found again by `jobs`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cartoon.cli import commands
from cartoon.cli.watch import Quiet
from cartoon.images.decode import read
from tests import ROOT
from tests.fakes import load_fake
from tests.waiting import PATIENCE, wait_for

EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.jpg"))


@contextmanager
def watching(given: Path, out: Path) -> Iterator["subprocess.Popen[str]"]:
    """The real command, ended by SIGTERM."""
    command = [sys.executable, "-m", "cartoon", "watch", str(given), str(out), "--size", "128", "--json"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def appears(path: Path) -> None:
    wait_for(path.exists, otherwise=f"{path.name} did not appear")


def events(process: "subprocess.Popen[str]") -> list[dict[str, object]]:
    assert process.stdout is not None
    with process.stdout as stream:
        return [json.loads(line) for line in stream.read().splitlines()]


@pytest.mark.slow
def test_what_appears_is_drawn_once_it_is_whole_and_the_watch_goes_on_after_a_stop(tmp_path: Path) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    data = EXAMPLES[0].read_bytes()
    with watching(given, out) as process:
        (given / "first.jpg").write_bytes(EXAMPLES[1].read_bytes())
        with (given / "slow.jpg").open("wb") as file:
            for start in range(0, len(data), -(-len(data) // 8)):
                file.write(data[start : start + -(-len(data) // 8)])
                file.flush()
                time.sleep(1.0)  # longer than it takes to look, shorter than it must be quiet
        appears(out / "slow.png")
    told = events(process)
    assert process.returncode == 0
    assert [(Path(str(e["input"])).name, e["status"]) for e in told[:-1]] == [
        ("first.jpg", "done"),
        ("slow.jpg", "done"),
    ]
    (given / "later").mkdir()
    (given / "later" / "third.jpg").write_bytes(EXAMPLES[2].read_bytes())
    with watching(given, out) as process:
        appears(out / "later" / "third.png")
    assert [Path(str(e["input"])).name for e in events(process)[:-1]] == ["third.jpg"]
    assert max(read(out / "later" / "third.png").pixels.shape) == 128


def test_a_file_is_quiet_once_it_has_stayed_the_same(tmp_path: Path) -> None:
    now = 0.0
    quiet, path = Quiet(2.0, lambda: now), tmp_path / "a"
    assert not quiet(path)  # not there
    path.write_bytes(b"")
    assert not quiet(path)
    now = 2.1
    assert not quiet(path)  # empty: its writer has only begun
    path.write_bytes(b"1")
    assert not quiet(path)
    now = 4.0
    assert not quiet(path)
    now = 4.2
    assert quiet(path)
    os.utime(path, (5, 5))
    assert not quiet(path)


def test_jobs_are_listed_where_they_were_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTOON_DATA_DIR", str(tmp_path / "data"))
    runner = CliRunner()
    assert runner.invoke(commands.app, ["jobs"]).stdout == ""
    out = tmp_path / "out"
    for _ in range(2):
        args = ["run", str(EXAMPLES[0]), "-o", str(out), "--size", "64"]
        assert runner.invoke(commands.app, args, obj=load_fake).exit_code == 0
    (told,) = [json.loads(line) for line in runner.invoke(commands.app, ["jobs", "--json"]).stdout.splitlines()]
    assert (told["state"], told["done"], told["total"], told["out"]) == ("finished", 1, 1, str(out))
    assert str(out) in runner.invoke(commands.app, ["jobs", str(out)]).stdout
    assert runner.invoke(commands.app, ["jobs", str(tmp_path)]).stdout == ""
