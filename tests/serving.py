"""A server with a FakeArtist in a process of its own, see tests.fake_server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT


@dataclass(frozen=True, eq=False)
class Served:
    """A server that runs: its address with a slash at the end, where it keeps files, what it logs, its process."""

    url: str
    home: Path
    log: Path
    process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        """Of this machine."""
        return int(self.url.rstrip("/").rpartition(":")[2])


@contextmanager
def running(home: Path, *before: str, **variables: str) -> Iterator[Served]:
    """Serves over `home` until the end, then asks it to stop; before: words before the command, such as `prlimit`."""
    command = [*before, sys.executable, "-m", "tests.fake_server", str(home)]
    log, environment = home / "log.txt", {**os.environ, **variables}
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        port = process.stdout.readline()
        assert port, log.read_text()
        try:
            yield Served(f"http://127.0.0.1:{int(port)}/", home, log, process)
        finally:
            process.terminate()
