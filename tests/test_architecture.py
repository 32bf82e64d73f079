"""The house rules that a machine can check: who may import whom, and what --help must not load."""

import ast
import subprocess
import sys

import pytest

from tests import ROOT

# Not pydantic: typer itself loads it once a command has parameters (0.1 s).
HEAVY = (
    "torch",
    "mediapipe",
    "cv2",
    "gradio",
    "fastapi",
    "pydantic_settings",
    "numpy",
    "PIL",
    "rich",
    "prometheus_client",
    "ray",
    "fsspec",
)


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_import_rule_holds() -> None:
    # In a process of its own: grimp builds the graph from the files, and its cache is not wanted in the project.
    done = python("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = python("-X", "importtime", "-m", "cartoon", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_only_settings_reads_the_environment() -> None:
    readers = set()
    for path in (ROOT / "cartoon").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
                readers.add(path.relative_to(ROOT).as_posix())
    # The others only write: server.py what Gradio reads, nodes.py what Ray reads.
    assert readers <= {"cartoon/web/app.py", "cartoon/settings.py", "cartoon/jobs/executors/ray_nodes.py"}


def test_nothing_in_the_app_reaches_beside_the_project() -> None:
    for path in (ROOT / "cartoon").rglob("*.py"):
        assert "CARTOON_SHARED" not in path.read_text(encoding="utf-8"), path
