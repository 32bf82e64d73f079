"""Every command of the README is run, and its Python executed: a command that no case here knows fails."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from cartoon.images.decode import read
from tests import ROOT
from tests.readme import (
    EXAMPLES,
    HEIGHT,
    PLACE,
    PORTRAITS,
    WIDTH,
    Reader,
    commands,
    free_port,
    has,
    languages,
    pictures_of,
    programs,
    wait_until_ready,
)
from tests.waiting import PATIENCE, wait_for

Case = Callable[[str, Reader, pytest.FixtureRequest], None]
CASES: Final[list[tuple[re.Pattern[str], Case]]] = []
QUICK: Final = re.compile(r"make |apt-get |pip |docker ")
"""Commands whose cases take no second; the others are marked slow."""
CARTOON: Final = r"\.venv/bin/python -m cartoon "
ENOUGH: Final = ("--time-limit 0.02", "--batch 1")
"""A minute's fiftieth of training: a style comes out of it, though not one to look at."""


def case(pattern: str) -> Callable[[Case], Case]:
    """The decorated function is how commands that match the whole pattern are run and looked at."""

    def add(function: Case) -> Case:
        CASES.append((re.compile(pattern), function))
        return function

    return add


def cases_of(command: str) -> list[Case]:
    return [function for pattern, function in CASES if pattern.fullmatch(command)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """One for all commands: they have to go together in one folder."""
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def server(reader: Reader) -> Iterator[str]:
    """The address of the app that `make run` starts."""
    port = free_port()
    with reader.starts(f"python {ROOT / 'app.py'} --port {port}") as process:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        assert process.wait(PATIENCE) == 0


def succeeded(done: "subprocess.CompletedProcess[str]") -> str:
    """What a command that went well has printed."""
    assert done.returncode == 0, f"{done.args}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def flag(command: str, name: str, default: str = "") -> str:
    """What a command gives a flag."""
    words = shlex.split(command)
    return words[words.index(name) + 1] if name in words else default


@case(r"make .+")
def is_planned(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """Not run: `make test` runs this test, and all of them install first. `.ci/run` runs them."""
    done = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    planned = succeeded(done)
    assert ".venv/bin/python" in planned
    for word in shlex.split(flag(command.replace("=", " "), "PHOTOS")):
        assert word in planned


@case(CARTOON + r"run (?!.*--dry-run)\S+ -o \S+.*")
def draws(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """Every photo becomes a picture of the size and format, under its name, in a tree as it was."""
    if style := flag(command, "--style"):
        a_style_that_is_there(style, reader, request)
    succeeded(reader.types(command))
    out, size = reader.folder / flag(command, "-o"), int(flag(command, "--size", "1024"))
    names = [str(Path(name).with_suffix(f".{flag(command, '--format', 'png')}")) for name in PORTRAITS]
    for name in names:
        assert max(read(out / name).pixels.shape) == size, name
    if packed := flag(command, "--zip"):
        assert set(names) <= set(pictures_of(reader.folder / packed))


def a_style_that_is_there(name: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """One that the README has trained by then is trained; others are shipped."""
    for training in (other for other in commands() if flag(other, "--style-name") == name):
        learns(training, reader, request)


@case(CARTOON + r"run \S+ -o \S+ .*--dry-run")
def tells(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """How long, how much disk; and draws nothing."""
    out = reader.folder / flag(command, "-o")
    before = sorted(out.rglob("*"))
    assert re.match(rf"{len(PORTRAITS)} to draw, about .+ s, .+ MB of results", succeeded(reader.types(command)))
    assert sorted(out.rglob("*")) == before


@case(CARTOON + r"watch \S+ \S+")
def watches(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """What lies there is drawn, then what appears; interrupted, it ends well."""
    given, out = (reader.folder / word for word in shlex.split(command)[-2:])
    with reader.starts(command) as process:
        wait_for(lambda: (out / "guest.png").is_file() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        reader.write(f"{given.name}/late.jpg", (given / "guest.jpg").read_bytes())
        wait_for(lambda: (out / "late.png").is_file())
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert told.splitlines()[-1].startswith("2 drawn in ")


@case(CARTOON + r"styles")
def lists(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """The shipped styles by name."""
    assert {"anime", "comic", "watercolor", "sketch"} <= {
        line.split()[0] for line in succeeded(reader.types(command)).splitlines()
    }


@case(CARTOON + r"styles add \S+")
def asks_for_a_network(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """The licence, and without a network a sentence that says what to do, and the exit code that --help tells."""
    done = reader.types(command, environment=reader.without_network)
    assert "licence " in done.stdout
    assert re.fullmatch(r"error: \S+ was not fetched, .*: connect, or .*--from DIR\.\n", done.stderr)
    helped = succeeded(reader.types(f"{command.rpartition(' ')[0]} --help"))
    assert "1 when something could not be fetched or written" in " ".join(helped.split())
    assert done.returncode == 1


@case(CARTOON + r"styles add \S+ --from DIR")
def takes_from_a_folder(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """From then on the style is on offer."""
    folder = request.getfixturevalue("shared") / "fixtures" / "dctnet"
    told = succeeded(reader.types(command.replace("--from DIR", f"--from {shlex.quote(str(folder))}")))
    name = shlex.split(command)[-3]
    assert told.splitlines()[-1].endswith(f"--style {name}")
    assert f"\n{name} " in succeeded(reader.types(".venv/bin/python -m cartoon styles "))


@case(r"\.venv/bin/python -m training\.distil --pairs \S+ --style-name \S+")
def learns(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """A style file that is on offer; that it is a good one is tested elsewhere (benchmarks.own_style)."""
    name = flag(command, "--style-name")
    assert succeeded(reader.types(command, *ENOUGH)).splitlines()[-1].endswith(f"draw with --style {name}")
    assert (reader.folder / "styles" / f"{name}.safetensors").is_file()


@case(rf"curl .*{PLACE}/api/v1/cartoonize -o \S+")
def draws_over_rest(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """A picture comes back."""
    succeeded(asked(command, reader, request.getfixturevalue("server")))
    assert max(read(reader.folder / flag(command, "-o")).pixels.shape) == 1024


@case(rf"curl .*{PLACE}/api/v1/jobs")
def makes_a_job(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """And is told its id and its owner, as the README's comment says."""
    answer = json.loads(succeeded(asked(command, reader, request.getfixturevalue("server"))))
    assert {"id", "owner"} <= set(answer)


@case(rf"curl {PLACE}/api/v1/jobs/ID/zip -o \S+")
def fetches_the_zip(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """All pictures of the job that the README made before, once it is done."""
    address = request.getfixturevalue("server")
    (made,) = (other for other in commands() if other.endswith(f"{PLACE}/api/v1/jobs"))
    id = json.loads(succeeded(asked(made, reader, address)))["id"]
    wait_for(lambda: bool(httpx.get(f"{address}/api/v1/jobs/{id}", trust_env=False).json()["state"] == "finished"))
    succeeded(asked(command.replace("ID", id), reader, address))
    names = pictures_of(reader.folder / flag(command, "-o"))
    assert {str(Path(name).with_suffix(".png")) for name in PORTRAITS} <= set(names)


def asked(command: str, reader: Reader, address: str) -> "subprocess.CompletedProcess[str]":
    """A curl command of a server at another address."""
    if not has("curl"):
        reason = "curl is not installed: apt-get install curl"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return reader.types(command.replace(PLACE, address), "--fail", "--silent", "--show-error", "--noproxy '*'")


@case(r"CARTOON_PASSWORD=\S+ python app\.py .+")
def serves_others(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """The page asks for the password. Jobs lie elsewhere than the other server's, which may run still."""
    port, told = free_port(), {"CARTOON_DATA_DIR": "others"}
    with reader.starts(command.replace("app.py", str(ROOT / "app.py")), f"--port {port}", **told) as process:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        browser = {"accept": "text/html"}
        page = httpx.get(f"http://127.0.0.1:{port}/", headers=browser, trust_env=False, follow_redirects=True)
        assert 'type="password"' in page.text
        process.terminate()
        assert process.wait(PATIENCE) == 0


@case(r"python -m benchmarks\.demo .+")
def prints_the_sheet(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """One portrait in every style, beside the photo, where it was told to put it."""
    succeeded(reader.types(command, "--photos 1"))
    height, width = read(reader.folder / flag(command, "--out")).pixels.shape[:2]
    assert width > 4 * height


@case(r"apt-get install \$\(cat packages\.txt\)|pip install \.|docker build -f Dockerfile\.cuda -t cartoon \.")
def is_tried_elsewhere(command: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """By `.ci/run`, by tests/test_package.py, and the image by hand (docs/operations.md): the files are there."""
    for word in ("packages.txt", "Dockerfile.cuda", "pyproject.toml"):
        assert (ROOT / word).is_file()


@pytest.mark.parametrize(
    "command", [pytest.param(line, id=line, marks=[] if QUICK.match(line) else pytest.mark.slow) for line in commands()]
)
def test_a_command_of_the_readme_does_what_it_says(
    command: str, reader: Reader, request: pytest.FixtureRequest
) -> None:
    known = cases_of(command)
    assert len(known) == 1, f"{len(known)} cases of tests/test_readme.py know how to run: {command}"
    known[0](command, reader, request)


def test_every_command_has_a_case() -> None:
    """Among the fast tests, so that a new command is not found out by the slow ones alone."""
    assert [line for line in commands() if len(cases_of(line)) != 1] == []
    assert cases_of("rm -rf out/") == cases_of(".venv/bin/python -m cartoon undo out/") == []


def test_every_block_is_one_that_is_run() -> None:
    """Shell or Python, and no case is left over from a command that the README has no more."""
    assert languages() <= {"sh", "python"}
    assert len(commands()) > 15
    unused = [pattern.pattern for pattern, _ in CASES if not any(map(pattern.fullmatch, commands()))]
    assert unused == []


@pytest.mark.slow
@pytest.mark.parametrize("program", programs())
def test_a_program_of_the_readme_runs(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `rgb` as its comment describes it."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"rgb": read(EXAMPLES[0]).pixels[:HEIGHT, :WIDTH].copy()}
    try:
        exec(compile(program, "README.md", "exec"), names)
        assert max(names["cartoon"].pixels.shape) == 1024
    finally:
        if "toon" in names:
            names["toon"].close()
