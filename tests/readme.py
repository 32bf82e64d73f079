"""The README's commands, and a reader to run them: a folder with stand-ins for what a reader has, and a server."""

import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import httpx

from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from tests import ROOT
from tests.waiting import PATIENCE, wait_for

EXAMPLES: Final = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
PORTRAITS: Final = ("ada.jpg", "family/ben.jpg")
"""What stands for a reader's folder of portraits, which has a folder in it, and for what is in the zip."""
WIDTH, HEIGHT = 160, 200
"""Of each stand-in, px: small, for they are drawn dozens of times."""
PAIRS: Final = 4
"""The fewest that a style of one's own is learned from."""
PLACE: Final = "http://127.0.0.1:7860"
"""Where the README has its server."""
OFFLINE: Final = """import socket


def nowhere(*place, **more):
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


socket.getaddrinfo = nowhere
"""
"""A sitecustomize.py: no name leads anywhere, whatever network the tests have."""

_TEXT: Final = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_TYPED: Final = re.compile(r"(?:[A-Z_]+=\S* )?(?:make|python3?|pip|uv|docker|curl|apt-get|git|\S*/python) \S")
"""How what is typed into a shell begins, where it stands between words."""


def commands() -> list[str]:
    """What the README has people type, in its order and without the comments: whole lines, and those within lines."""
    lines = "".join(code for language, code in _BLOCK.findall(_TEXT) if language in {"sh", "bash", "shell", ""})
    whole = [line.partition(" #")[0].strip() for line in lines.replace("\\\n", " ").splitlines()]
    within = [code for code in _INLINE.findall(_BLOCK.sub("", _TEXT)) if _TYPED.match(code)]
    return list(dict.fromkeys(line for line in (*whole, *within) if line and not line.startswith("#")))


def programs() -> list[str]:
    """The README's blocks of Python."""
    return [code for language, code in _BLOCK.findall(_TEXT) if language == "python"]


def languages() -> set[str]:
    """What the README's blocks are written in."""
    return {language for language, _ in _BLOCK.findall(_TEXT)}


@dataclass
class Reader:
    """Somebody with the README, the checkout's code, and a folder where they type what it says."""

    folder: Path
    typed: dict[str, "subprocess.CompletedProcess[str]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Puts the stand-ins there."""
        pictures = [resize(read(path).pixels, (HEIGHT, WIDTH)) for path in EXAMPLES[:PAIRS]]
        names = [f"portraits/{name}" for name in PORTRAITS]
        for name, pixels in zip((*names, "me.jpg", "inbox/guest.jpg"), pictures, strict=True):
            self.write(name, encode(pixels, None, "jpg", 92))
        for number, pixels in enumerate(pictures):
            self.write(f"my-pairs/{number}.photo.jpg", encode(pixels, None, "jpg", 92))
            self.write(f"my-pairs/{number}.drawing.png", encode(255 - pixels, None, "png", 92))
        with zipfile.ZipFile(self.folder / "party.zip", "w") as party:
            for name in PORTRAITS:
                party.write(self.folder / "portraits" / name, name)
        self.write("offline/sitecustomize.py", OFFLINE.encode())
        self.write(".venv/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'.encode())
        (self.folder / ".venv/bin/python").chmod(0o755)

    def write(self, name: str, data: bytes) -> None:
        """A file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    @cached_property
    def environment(self) -> dict[str, str]:
        """A newcomer's, with the checkout's code in place of an installation of it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CARTOON_")}
        told = {"HOME": self.folder, "CARTOON_DATA_DIR": self.folder / "data", "PYTHONPATH": ROOT}
        told |= {"CARTOON_STYLES_DIR": self.folder / "styles"}  # else the checkout's own
        path = f"{self.folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        return kept | {name: str(value) for name, value in told.items()} | {"PATH": path}

    @property
    def without_network(self) -> dict[str, str]:
        """The same, unplugged."""
        return self.environment | {"PYTHONPATH": f"{self.folder / 'offline'}{os.pathsep}{ROOT}"}

    def types(
        self, command: str, *more: str, environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command by the shell, as it stands, with `more` behind it; each is typed once."""
        if command not in self.typed:
            self.typed[command] = subprocess.run(
                ["sh", "-c", " ".join((command, *more))],
                cwd=self.folder,
                env=environment or self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
        return self.typed[command]

    @contextmanager
    def starts(self, command: str, *more: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that runs until it is stopped; whatever happens, it has ended afterwards."""
        process = subprocess.Popen(
            ["sh", "-c", " ".join(("exec", "env", *(f"{k}={v}" for k, v in variables.items()), command, *more))],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_until_ready(address: str, process: "subprocess.Popen[str]") -> None:
    """Returns once the server at the address can draw; fails if it has ended."""

    def ready() -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            return httpx.get(f"{address}/readyz", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    wait_for(ready)


def pictures_of(path: Path) -> list[str]:
    """The names in a zip, sorted; fails for a file that is none."""
    with closing(zipfile.ZipFile(path)) as opened:
        return sorted(opened.namelist())


def has(program: str) -> bool:
    """Whether the machine has it."""
    return shutil.which(program) is not None
