"""Kills real runs with SIGKILL, goes on by the same command, and checks that nothing is lost, blamed or drawn twice.

`python -m tests.kill --photos 300 --kills 60` kills the command line between two lines of its journal.
`python -m tests.kill --early DOOR` kills 0.2 to 4 s after each start, or `--since drawing`: after it began to draw.
DOOR: run, serve, or service: a server's service without its doors, which starts at once and draws slowly.
tests/jobs/test_soak.py runs short ones.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import cv2
import httpx
import numpy as np

from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from cartoon.jobs.executors.base import LOOK_AHEAD
from cartoon.jobs.model import next_try
from cartoon.jobs.store import salvage
from cartoon.pipeline.scheduler import CPU_AT_ONCE
from tests import ROOT
from tests.waiting import wait_for

PATIENCE: Final = 600.0
IN_FLIGHT: Final = CPU_AT_ONCE + LOOK_AHEAD
EARLY_SECONDS: Final = (0.2, 4.0)
Door = Literal["run", "serve", "service"]
Since = Literal["start", "drawing"]
QUIET: Final[dict[str, Any]] = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def make_photos(folder: Path, count: int, side: int = 256) -> None:
    """So many photos, no two alike, made from the example portraits, in two folders."""
    examples = [read(path).pixels for path in sorted((ROOT / "assets" / "examples").glob("*.jpg"))]
    chance = random.Random(5)
    for number in range(count):
        pixels = examples[number % len(examples)]
        height, width = pixels.shape[:2]
        zoom, turn = chance.uniform(1.0, 1.3), chance.uniform(-8, 8)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
        moved = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        size = (side, max(1, round(side * width / height)))
        place = folder / f"part{number % 2}" / f"photo{number:05d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode(resize(np.asarray(moved, np.uint8), size), None, "jpg", 92))


def lines(out: Path) -> list[dict[str, Any]]:
    """The whole lines of the job's journal."""
    found = list(out.glob(".cartoon/*/journal.jsonl"))
    if not found:
        return []
    return [json.loads(line) for line in found[0].read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def told(out: Path) -> list[dict[str, Any]]:
    """The outcomes in the job's journal."""
    return [line for line in lines(out) if line["event"] == "attempt"]


def _far_enough(process: "subprocess.Popen[bytes]", out: Path, limit: int) -> bool:
    return len(told(out)) >= limit or process.poll() is not None


def kill_and_resume(work: Path, photos: int, kills: int, seed: int = 1) -> dict[str, int]:
    """Run, kill, resume, check; counts of what was seen. Raises AssertionError where something was lost."""
    given, out, packed = work / "photos", work / "out", work / "all.zip"
    make_photos(given, photos)
    command = [sys.executable, "-m", "cartoon", "run", str(given), "-o", str(out), "--size", "original"]
    command += ["--zip", str(packed), "--json"]
    chance, killed = random.Random(seed), 0
    while killed < kills:
        before = len(told(out))
        if before >= photos:
            break
        most = min(9, max(1, 2 * (photos - before) // (kills - killed) - 1))  # so that photos are left for all kills
        limit = before + chance.randint(1, most)
        process = subprocess.Popen(command, **QUIET)
        wait_for(partial(_far_enough, process, out, limit), PATIENCE, "the run made no progress")
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    wanted = {path.relative_to(given).with_suffix(".png").as_posix() for path in given.rglob("*.jpg")}
    seen = check(lines(out), out, wanted)
    assert seen["interrupted"] <= IN_FLIGHT * killed, "more than what was in flight was lost"
    assert not [*work.glob(".*.part")], "a temporary file was left"
    with zipfile.ZipFile(packed) as bundle:
        assert bundle.testzip() is None
        assert set(bundle.namelist()) == wanted | {"report.csv", "report.json"}
    return {"photos": photos, "kills": killed, **seen}


def check(journal: list[dict[str, Any]], out: Path, wanted: set[str]) -> dict[str, int]:
    """Every picture that was wanted is there, whole and told once; how many drawings were cut short and tried last."""
    attempts = [line for line in journal if line["event"] == "attempt"]
    twice = len(attempts) - len({line["item"] for line in attempts})
    outcomes = Counter(line["outcome"] for line in attempts)
    assert outcomes == {"done": len(wanted)}, f"{dict(outcomes)}, {twice} told twice"
    assert not twice, "a photo with a journal line was drawn again"
    pictures = {path.relative_to(out).as_posix(): path for path in out.rglob("*.png") if ".cartoon" not in path.parts}
    assert set(pictures) == wanted
    for path in pictures.values():
        read(path)  # whole
    assert not [*out.rglob("*.part")], "temporary files were left"
    crashed = [line for line in journal if line["event"] == "crashed"]
    alone = Counter(line["item"] for line in crashed if line["alone"])
    return {
        "drawn_again": twice,
        "interrupted": len(crashed),
        "alone": alone.total(),
        "suspects": sum(times > 1 for times in alone.values()),
    }


@dataclass(frozen=True)
class Run:
    """The command line over a folder."""

    work: Path

    @property
    def out(self) -> Path:
        """Where the results go."""
        return self.work / "out"

    @property
    def home(self) -> Path:
        """The job's folder, once there is one."""
        return next(self.out.glob(".cartoon/*/manifest.json"), self.out / "none" / "none").parent

    @property
    def wanted(self) -> set[str]:
        """The results' names."""
        given = self.work / "photos"
        return {path.relative_to(given).with_suffix(".png").as_posix() for path in given.rglob("*.jpg")}

    def start(self) -> "subprocess.Popen[bytes]":
        """Begin, or go on."""
        command = [sys.executable, "-m", "cartoon", "run", str(self.work / "photos"), "-o", str(self.out)]
        return subprocess.Popen([*command, "--json"], start_new_session=True, **QUIET)

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """Let it come to its end."""
        assert process.wait(1800) == 0


@dataclass(frozen=True)
class Serve:
    """The real server; its job is posted by the first start."""

    work: Path

    @property
    def home(self) -> Path:
        """The job's folder, once there is one."""
        return next(self.work.glob("data/jobs/*/manifest.json"), self.work / "none" / "none").parent

    @property
    def out(self) -> Path:
        """Where the results go."""
        return self.home / "results"

    @property
    def wanted(self) -> set[str]:
        """The results' names."""
        return {path.with_suffix(".png").name for path in (self.work / "photos").rglob("*.jpg")}

    def start(self) -> "subprocess.Popen[bytes]":
        """Serve, and post the job where there is none yet."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {**os.environ, "CARTOON_DATA_DIR": str(self.work / "data")}
        command = [sys.executable, "app.py", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, start_new_session=True, **QUIET)
        if not self.home.exists():
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_for(lambda: _answers(client), PATIENCE, "the server did not come up")
                photos = sorted((self.work / "photos").rglob("*.jpg"))
                files = [("files", (path.name, path.read_bytes())) for path in photos]
                assert client.post("/api/v1/jobs", files=files).status_code == 201
        return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until every photo has an outcome, then stop the server."""
        count = len(self.wanted)
        wait_for(lambda: len(journal_of(self.home)) >= count, 1800, "the job did not come to its end")
        process.terminate()
        process.wait(60)


@dataclass(frozen=True)
class FakeService(Serve):
    """A server's service that starts within a second and draws slowly: most kills come while it draws."""

    @property
    def home(self) -> Path:
        """The job's folder, once there is one."""
        return next(self.work.glob("jobs/*/manifest.json"), self.work / "none" / "none").parent

    def start(self) -> "subprocess.Popen[bytes]":
        """Go on with the job, or begin it."""
        command = [sys.executable, "-m", "tests.fake_service", str(self.work), str(self.work / "photos")]
        return subprocess.Popen(command, start_new_session=True, **QUIET)

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """Let it come to its end."""
        assert process.wait(1800) == 0


WAYS: Final[dict[Door, type[Run] | type[Serve]]] = {"run": Run, "serve": Serve, "service": FakeService}


def early_kills(
    work: Path, photos: int, kills: int, door: Door, since: Since = "start", seed: int = 1
) -> dict[str, int]:
    """Kill the whole group of a run or a server soon after every start, then let it end, and check.

    It stops killing when nothing but last tries is left: those are begun only after a while.
    Raises AssertionError where a photo was lost, quarantined, or told twice.
    """
    make_photos(work / "photos", photos)
    way = WAYS[door](work)
    chance, killed = random.Random(seed), 0
    while killed < kills and len(journal_of(way.home)) + suspects(way.home) < photos:
        before = _sizes(way.home)
        process = way.start()
        try:
            if since == "drawing":
                wait_for(_changed(way, before), PATIENCE, "nothing was begun")
            time.sleep(chance.uniform(*EARLY_SECONDS))  # killed at any moment
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        killed += 1
    drawn = len(journal_of(way.home))
    way.end(way.start())
    journal = [json.loads(line) for line in (way.home / "journal.jsonl").read_bytes().splitlines()]
    return {"photos": photos, "kills": killed, "drawn_by_then": drawn, **check(journal, way.out, way.wanted)}


def journal_of(home: Path) -> list[dict[str, Any]]:
    """The outcomes in the journal of a job's folder, as far as they are whole."""
    journal = home / "journal.jsonl"
    if not journal.exists():
        return []
    whole = [line for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [one for one in map(json.loads, whole) if one["event"] == "attempt"]


def suspects(home: Path) -> int:
    """How many photos wait for their last try."""
    if not (home / "manifest.json").exists():
        return 0
    return sum(next_try(seen) == "apart" for seen in salvage.read(home).state.losses.values())


def _changed(way: Run | Serve, before: list[int]) -> Callable[[], bool]:
    return lambda: _sizes(way.home) != before


def _sizes(home: Path) -> list[int]:
    files = [home / name for name in ("journal.jsonl", "started.jsonl")]
    return [file.stat().st_size if file.exists() else 0 for file in files]


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def main() -> None:
    """The long version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--early", choices=tuple(WAYS), help="kill soon after every start of this door")
    parser.add_argument("--since", choices=("start", "drawing"), default="start", help="what --early counts from")
    args = parser.parse_args()
    with TemporaryDirectory() as work:
        if args.early:
            seen = early_kills(Path(work), args.photos, args.kills, args.early, args.since, args.seed)
        else:
            seen = kill_and_resume(Path(work), args.photos, args.kills, args.seed)
        print(json.dumps(seen))


if __name__ == "__main__":
    main()
