"""The package: public names that cost nothing until used, and a wheel that needs no checkout."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Final

import httpx
import pytest
from packaging.requirements import Requirement

import cartoon
from cartoon.images.decode import decode, read
from cartoon.settings import styles_dir_of
from tests import ROOT
from tests.test_requirements import asked_for
from tests.waiting import PATIENCE, wait_for

BUILT_FROM: Final = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "requirements.txt", "requirements-*.txt")
EXAMPLE: Final = ROOT / "assets" / "examples" / "021902.jpg"
LEAKS: Final = re.compile(r"CARTOON_|PIP_|PYTHON|XDG_|HOME$")
"""Variables that would tell the installed program of this checkout or this user."""


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, the folder that its commands run in, and the home of who runs them."""

    wheel: Path
    bin: Path
    folder: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Without anything that leads to the checkout."""
        kept = {name: value for name, value in os.environ.items() if not LEAKS.match(name)}
        return kept | {"HOME": str(self.home), "CARTOON_DEVICE": "cpu"}

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """A command of the environment, with its output."""
        words, environment = [str(self.bin / command[0]), *command[1:]], self.environment | variables
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built from a copy of what it is built from, in an environment that sees this one's libraries."""
    place = tmp_path_factory.mktemp("package")
    source, wheels, folder, home = (place / name for name in ("source", "wheels", "empty", "home"))
    for made in (source, folder, home):
        made.mkdir()
    for pattern in BUILT_FROM:
        for path in ROOT.glob(pattern):
            copy(path, source)
    for name in ("assets", "cartoon"):
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    venv.create(place / "venv", symlinks=True, with_pip=True)
    interpreter = place / "venv" / "bin" / "python"
    (own,) = (place / "venv" / "lib").glob("*/site-packages")
    (own / "libraries.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "--no-cache-dir"]
    for command in (
        ["uninstall", "--yes", "setuptools"],  # older Pythons put one there that is too old to build this
        ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)],
        ["install", "--no-index", "--no-deps", "--ignore-installed", "--find-links", str(wheels), "cartoon"],
    ):
        done = subprocess.run([*pip, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob("*.whl")
    return Installed(wheel, interpreter.parent, folder, home)


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_public_names_are_imported_at_their_first_use() -> None:
    loaded = python("-X", "importtime", "-c", "import cartoon; print(cartoon.__version__)")
    names = {line.rpartition("|")[2].strip() for line in loaded.splitlines()}
    assert {name for name in names if name.startswith("cartoon")} == {"cartoon"}
    assert names.isdisjoint({"numpy", "torch", "pydantic"})
    used = python(
        "-c",
        "from cartoon import Options, __version__; import sys; print(Options().style, 'torch' in sys.modules)\n"
        "from cartoon import Cartoon, Cartoonizer, Photo; print(*(x.__name__ for x in (Cartoonizer, Cartoon, Photo)))",
    )
    assert used == "anime False\nCartoonizer Cartoon Photo\n"


def test_the_public_names_are_those_and_no_others() -> None:
    assert dir(cartoon) == ["Cartoon", "Cartoonizer", "Options", "Photo", "__version__"]
    assert sorted(cartoon.__all__) == dir(cartoon)
    assert all(getattr(cartoon, name) for name in dir(cartoon))
    with pytest.raises(AttributeError, match="module 'cartoon' has no attribute 'Cartooniser'"):
        cartoon.Cartooniser  # type: ignore[attr-defined]  # noqa: B018


def test_nothing_in_the_package_looks_for_the_checkout_around_it() -> None:
    for path in (ROOT / "cartoon").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"__file__.*\bparents\b|\bsys\.path\b", text), path


def test_a_users_own_styles_lie_in_the_checkout_or_in_the_users_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert styles_dir_of(ROOT) == ROOT / "styles"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert styles_dir_of(None) == tmp_path / "cartoon" / "styles"
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert styles_dir_of(None) == tmp_path / ".local" / "share" / "cartoon" / "styles"


@pytest.mark.slow
def test_the_wheel_holds_the_program_and_its_files_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = set(wheel.namelist())
    info = f"cartoon-{cartoon.__version__}.dist-info/"
    carried = {name for name in names if not name.startswith(info)}
    program = {path for path in (ROOT / "cartoon").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    files = {path.relative_to(ROOT / "assets") for path in (ROOT / "assets").rglob("*") if path.is_file()}
    assert carried == {path.relative_to(ROOT).as_posix() for path in program} | {
        f"cartoon/data/{path}" for path in files
    }
    assert {"cartoon/py.typed", "cartoon/web/page/page.css", "cartoon/data/cartoon-v2.safetensors"} <= carried
    assert f"{info}licenses/LICENSE" in names


@pytest.mark.slow
def test_the_wheel_requires_what_the_requirements_files_list(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        told = message_from_bytes(wheel.read(f"cartoon-{cartoon.__version__}.dist-info/METADATA"))
    wanted = {str(requirement) for requirement in asked_for("requirements.txt")}
    for extra in ("cluster", "train"):
        for requirement in asked_for(f"requirements-{extra}.txt"):
            assert requirement.marker is None
            wanted.add(f'{requirement}; extra == "{extra}"')
    assert {str(Requirement(line)) for line in told.get_all("Requires-Dist", [])} == wanted
    assert set(told.get_all("Provides-Extra", [])) == {"cluster", "train"}
    assert (told["Version"], told["License-Expression"]) == (cartoon.__version__, "Apache-2.0")
    assert told["Requires-Python"] == ">=3.10"


@pytest.mark.slow
def test_the_installed_command_draws_in_an_empty_folder(installed: Installed) -> None:
    copy(EXAMPLE, installed.folder / "photo.jpg")
    done = installed.run("cartoon", "run", "photo.jpg", "-o", "out", "--size", "256")
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(read(installed.folder / "out" / "photo.png").pixels.shape) == 256
    told = installed.run("python", "-c", "from cartoon.assets import ASSETS, CHECKOUT; print(ASSETS, CHECKOUT)")
    assert ROOT not in Path(told.stdout.split()[0]).parents
    assert told.stdout.split()[1] == "None"


@pytest.mark.slow
def test_the_installed_command_lists_styles_and_keeps_the_users_own(installed: Installed) -> None:
    assert installed.run("cartoon", "--version").stdout == f"cartoon {cartoon.__version__}\n"
    assert installed.run("python", "-m", "cartoon", "--version").stdout == f"cartoon {cartoon.__version__}\n"
    listed = installed.run("cartoon", "styles", "--json")
    assert {"anime", "comic"} <= {json.loads(line)["id"] for line in listed.stdout.splitlines()}
    own = installed.run("python", "-c", "from cartoon.settings import Settings; print(Settings().styles_dir)")
    assert Path(own.stdout.strip()) == installed.home / ".local" / "share" / "cartoon" / "styles"


@pytest.mark.slow
def test_the_installed_command_draws_on_a_cluster_that_has_no_checkout(installed: Installed) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: requirements-cluster.txt")
    command = ["cartoon", "run", str(EXAMPLE), "-o", "cluster", "--size", "128", "--cluster", "auto"]
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as short:  # Ray's sockets lie there
        done = replace(installed, home=Path(short)).run(*command, RAY_TMPDIR=short)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(read(installed.folder / "cluster" / f"{EXAMPLE.stem}.png").pixels.shape) == 128


@contextmanager
def serving(installed: Installed) -> Iterator[str]:
    """The address of `cartoon serve`, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(installed.bin / "cartoon"), "serve", "--port", str(port)]
    log = installed.home / "serve.log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=installed.folder, env=installed.environment, stdout=out, stderr=out) as process,
    ):

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
            except httpx.TransportError:
                return False

        try:
            wait_for(answers, otherwise="cartoon serve did not answer")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.mark.slow
def test_the_installed_server_answers_and_draws(installed: Installed) -> None:
    with serving(installed) as address:
        assert httpx.get(f"{address}/healthz").is_success
        page = httpx.get(f"{address}/")
        assert page.is_success
        assert EXAMPLE.name in page.text, "the page has no examples"
        drawn = httpx.post(
            f"{address}/api/v1/cartoonize",
            files={"image": EXAMPLE.read_bytes()},
            data={"style": "comic", "size": "256"},
            timeout=PATIENCE,
        )
        assert drawn.is_success, drawn.text
        assert max(decode(drawn.content, "drawn.png").pixels.shape) == 256
