"""The locks hold what requirements*.txt ask for, with hashes, for every Python that is supported; CI runs each."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import ROOT

APP, DEV = "requirements.lock", "requirements-dev.lock"
PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS: Final = ({"sys_platform": "linux", "platform_machine": "x86_64"}, {"sys_platform": "darwin"})
ENVIRONMENTS: Final = [
    {"python_version": python, "python_full_version": f"{python}.1", "platform_machine": "arm64", **platform}
    for python in PYTHONS
    for platform in PLATFORMS
]


@dataclass(frozen=True)
class Pin:
    """One package in a lock."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def asked_for(name: str) -> set[Requirement]:
    """The lines of a requirements file, and of those that it includes."""
    found = set()
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= asked_for(line[3:])
        elif line and not line.startswith("#"):
            found.add(Requirement(line))
    return found


def pins(name: str) -> list[Pin]:
    """What a lock holds; every line of it is understood, so nothing hides in one."""
    text = (ROOT / name).read_text(encoding="utf-8")
    joined = re.sub(r" \\\n +", " ", text)
    found = []
    for line in joined.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            found.append(Pin(Requirement(requirement), tuple(hashes)))
    return found


def locked(name: str, environment: dict[str, str]) -> dict[str, Version]:
    """Package -> version on one machine; each is there once, and pinned."""
    found: dict[str, Version] = {}
    for pin in pins(name):
        if applies(pin.requirement, environment):
            (only,) = pin.requirement.specifier
            assert only.operator == "==", pin
            assert pin.name not in found, f"{name} has {pin.name} twice for {environment}"
            found[pin.name] = Version(only.version)
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: f"{e['python_version']}-{e['sys_platform']}")
@pytest.mark.parametrize(("lock", "source"), [(APP, "requirements.txt"), (DEV, "requirements-dev.txt")])
def test_a_lock_holds_what_is_asked_for(lock: str, source: str, environment: dict[str, str]) -> None:
    held = locked(lock, environment)
    for requirement in asked_for(source):
        if applies(requirement, environment):
            version = held.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not in {lock}: run `make lock`"
            assert version in requirement.specifier, f"{lock} has {version} for {requirement}: run `make lock`"


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: f"{e['python_version']}-{e['sys_platform']}")
def test_the_app_is_tested_with_what_it_is_installed_with(environment: dict[str, str]) -> None:
    assert locked(APP, environment).items() <= locked(DEV, environment).items()


@pytest.mark.parametrize("lock", [APP, DEV])
def test_every_file_is_known_by_its_hash_and_no_registry_is_named(lock: str) -> None:
    assert len(pins(lock)) > 100
    for pin in pins(lock):
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), pin.name
        assert pin.requirement.url is None, pin.name
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8")


def test_every_package_has_one_version_for_each_python() -> None:
    """And a Python without one is a Python on which the app cannot be installed."""
    for python in PYTHONS:
        environment = {"python_version": python, "python_full_version": f"{python}.1", **PLATFORMS[0]}
        asked = [r for r in asked_for("requirements-dev.txt") if applies(r, environment)]
        names = [canonicalize_name(r.name) for r in asked]
        everywhere = {canonicalize_name(r.name) for r in asked_for("requirements-dev.txt")}
        assert len(names) == len(set(names)), python
        assert set(names) == everywhere, python
        assert all(len(r.specifier) == 1 and str(r.specifier).startswith("==") for r in asked)


def test_ci_runs_every_python_that_make_takes() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = flow["jobs"].values()
    assert tuple(job["strategy"]["matrix"]["python"]) == PYTHONS
    (ran,) = (step for step in job["steps"] if "run" in step)
    assert ran["run"] == "bash .ci/run"
    assert ran["env"]["PYTHON"] == "python${{ matrix.python }}"
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "(3, 10) <= sys.version_info[:2] <= (3, 14)" in make
    (candidates,) = re.findall(r"^CANDIDATES := \$\(or \$\(PYTHON\),python3 (.*)\)$", make, re.MULTILINE)
    assert candidates.split() == [f"python{python}" for python in reversed(PYTHONS)]


def test_make_says_which_pythons_it_takes(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = [
        "make",
        "--no-print-directory",
        f"VENV={tmp_path / 'venv'}",
        f"PYTHON={old}",
        f"{tmp_path / 'venv'}/bin/pip",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: no Python from 3.10 to 3.14 with venv among: " in done.stderr
    assert "make PYTHON=" in done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_locks_are_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files", APP, DEV], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a checkout")
    assert tracked.stdout.split() == [DEV, APP]
