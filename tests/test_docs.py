"""What the README and the other documents tell people to type exists."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from cartoon.cli import commands as cli
from tests import ROOT

DOCUMENTS = sorted(
    (*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")), *(ROOT / "docs").glob("*.md"))
)
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def commands(start: str) -> Iterator[tuple[str, list[str]]]:
    """(document, words) of every command in code that starts with `start`, continuation lines joined."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        code = "\n".join((*BLOCK.findall(text), *INLINE.findall(BLOCK.sub("", text))))
        for line in code.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if command.startswith(start):
                yield path.name, shlex.split(command[len(start) :].partition(" #")[0].split("|")[0].split("&&")[0])


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def flags_of(command: str, deep: bool = False) -> set[str]:
    """The flags of a command; deep: of its own commands too, as `styles add` is one."""
    group = typer.main.get_command(cli.app)
    found = group.commands[command] if command else group  # type: ignore[attr-defined]
    parts = [found, *(getattr(found, "commands", {}).values() if deep else ())]
    params = [parameter for part in parts for parameter in part.params]
    spelled = (flag for parameter in params for flag in (*parameter.opts, *parameter.secondary_opts))
    return {flag for flag in spelled if flag.startswith("-")} | {"--help"}


def test_the_readme_starts_with_the_two_commands() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:60])
    assert "make run" in first_screen
    assert "make test" in first_screen


def test_make_targets_named_in_documents_exist() -> None:
    for document, words in commands("make "):
        for word in words:
            if re.fullmatch(r"[a-z]+", word):
                assert word in make_targets(), f"{document}: make {word}"


def test_every_make_target_for_people_is_described_and_can_be_planned() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    described = set(re.findall(r"^make (\w+) ", done.stdout, re.MULTILINE))
    assert described == make_targets()
    for target in sorted(described):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


def test_commands_in_documents_use_flags_that_exist() -> None:
    known = {name: flags_of(name, deep=True) for name in ("run", "watch", "upscale", "jobs", "styles", "serve")}
    for document, words in commands("python -m cartoon"):
        named = next((word for word in words if not word.startswith("-")), "")
        assert named in {"", *known}, f"{document}: {' '.join(words)}"
        for word in words:
            if word.startswith("-"):
                flag = word.partition("=")[0]
                assert flag in (known[named] if named else flags_of("")), f"{document}: {flag}"


def test_app_flags_in_documents_exist() -> None:
    text = (ROOT / "app.py").read_text(encoding="utf-8")
    for document, words in commands("python app.py"):
        for word in words:
            if word.startswith("--"):
                assert f'"{word.partition("=")[0]}"' in text, f"{document}: {word}"


@pytest.mark.parametrize("command", ["run", "styles", "serve"])
def test_help_names_every_flag_and_says_something_about_it(command: str) -> None:
    shown = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for flag in flags_of(command):
        assert re.search(rf"{flag}\b.*  +\S", shown), flag


def test_links_in_documents_lead_to_files_that_exist() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_image_installs_what_the_project_requires() -> None:
    text = (ROOT / "Dockerfile.cuda").read_text(encoding="utf-8")
    for words in (
        "packages.txt",
        "--require-hashes -r requirements.lock",
        "USER cartoon",
        "HEALTHCHECK",
        "/healthz",
        "EXPOSE 7860",
    ):
        assert words in text
    packages = (ROOT / "packages.txt").read_text(encoding="utf-8").split()
    assert {"libgl1", "libegl1", "libgles2"} <= set(packages)
    carried = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)
    assert {f"!{name}" for line in copied for name in line.split()} <= set(carried)
    assert "opencv-contrib-python==" in (ROOT / "requirements.txt").read_text(encoding="utf-8")
