"""Continuous integration, tried on a checkout that is not one: what it is given, what it may not pass over."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests import ROOT

NEEDY: Final = "def test_needy(shared):\n    assert (shared / 'data').is_dir()\n"
"""A test that needs the shared data."""
PROGRAMS: Final = {
    "dpkg": "exit 0",  # all is installed
    # The app runs until it is stopped; whatever comes after that tells what it was given.
    "make": 'if [ "$1" = run ]; then exec sleep 60; fi\necho "make $*: CI=$CI CARTOON_SHARED=$CARTOON_SHARED"',
    "curl": 'for last; do :; done\ncase $last in *.png) printf "\\211PNG\\r\\n\\032\\n" > "$last";; esac',
}
"""Shell scripts in place of what `.ci/run` calls."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what is tested here of a checkout, which knows of no shared data."""
    folder = tmp_path / "checkout"
    for name in (".ci/run", "packages.txt", "tests/conftest.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests" / "test_needy.py").write_text(NEEDY)
    return folder


def environment(shared: Path | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"CARTOON_SHARED", "CI"}}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # quicker
    return kept | ({"CARTOON_SHARED": str(shared)} if shared else {})


def run_tests(checkout: Path, shared: Path | None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "tests"]
    return subprocess.run(
        command, cwd=checkout, env=environment(shared), capture_output=True, text=True, check=False, timeout=60
    )


def test_whoever_has_no_shared_data_is_told_what_was_skipped(checkout: Path) -> None:
    done = run_tests(checkout, None)
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert f"no shared data at {checkout.parent / 'shared'}: set CARTOON_SHARED" in done.stdout


def test_shared_data_beside_the_checkout_is_found(checkout: Path) -> None:
    (checkout.parent / "shared" / "data").mkdir(parents=True)
    assert "1 passed" in run_tests(checkout, None).stdout


def test_shared_data_that_was_promised_and_is_not_there_fails_the_run(checkout: Path) -> None:
    (checkout.parent / "shared" / "data").mkdir(parents=True)  # not where it was said to be
    done = run_tests(checkout, checkout.parent / "nowhere")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"CARTOON_SHARED={checkout.parent / 'nowhere'} leads to no shared data" in done.stderr


def ci(checkout: Path, shared: Path | None) -> str:
    """What `.ci/run` has printed, which has to go well."""
    programs = checkout.parent / "programs"
    programs.mkdir()
    for name, script in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "python $*"\n')
    python.chmod(0o755)
    path = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(checkout / ".ci" / "run")],
        env=environment(shared) | path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("beside", [True, False])
def test_ci_promises_the_shared_data_that_is_beside_the_checkout(checkout: Path, beside: bool) -> None:
    folder = checkout.parent / "shared"
    if beside:
        (folder / "data").mkdir(parents=True)
    assert f"CI=true CARTOON_SHARED={folder if beside else ''}\n" in ci(checkout, None)


def test_ci_keeps_to_what_it_was_told(checkout: Path) -> None:
    (checkout.parent / "shared" / "data").mkdir(parents=True)
    other = checkout.parent / "other"
    assert f"CI=true CARTOON_SHARED={other}\n" in ci(checkout, other)


def test_ci_measures_the_fast_tests_and_tells_what_they_reach(checkout: Path) -> None:
    """With a floor, under which `coverage report` fails, and as the last thing that is printed."""
    *_, made, reported = ci(checkout, None).splitlines()
    assert made.startswith("make demo check test MEASURE=-m coverage run: ")
    assert reported == "python -m coverage report"
    planned = subprocess.run(
        ["make", "--dry-run", "check", "test", "MEASURE=-m coverage run"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (measured,) = (line for line in planned.splitlines() if "coverage" in line)
    assert measured == '.venv/bin/python -m coverage run -m pytest -m "not slow and not gpu and not browser"'
    (floor,) = re.findall(r"^fail_under = (\d+)$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert int(floor) >= 75
