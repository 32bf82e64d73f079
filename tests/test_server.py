"""The process that serves: wrong addresses and settings end it at once, with one sentence and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def start(*flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py", *flags]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_port_in_use_is_named_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = start("--port", port)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: Cannot serve on 127.0.0.1 port {port} (Address already in use): "
        "stop what uses it or give another --port.\n"
    )


@pytest.mark.parametrize(
    ("flags", "variables", "told"),
    [
        (["--host", "no.such.host.invalid"], {}, "no.such.host.invalid"),
        (["--port", "99999"], {}, "99999"),
        (["--port", "many"], {}, "--port"),
        (["--precision", "int3"], {}, "fp16"),
        ([], {"CARTOON_PRECISION": "int3"}, "precision"),
    ],
)
def test_a_wrong_flag_or_setting_is_named(flags: list[str], variables: dict[str, str], told: str) -> None:
    ended = start(*flags, **variables)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
