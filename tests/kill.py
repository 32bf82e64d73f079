"""Kills a real run with SIGKILL at random moments, resumes it by the same command, and checks that nothing is lost.

`python -m tests.kill --photos 300 --kills 60` is the long version; tests/test_kill.py runs a short one.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from cartoon.image import encode, read
from cartoon.jobs.crew import LOOK_AHEAD
from cartoon.portrait.pipeline import CPU_AT_ONCE
from cartoon.portrait.scale import resize

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0
IN_FLIGHT = CPU_AT_ONCE + LOOK_AHEAD


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
        place.write_bytes(encode(resize(moved, size), None, "jpg", 92))


def lines(out: Path) -> list[dict[str, Any]]:
    """The whole lines of the job's journal."""
    found = list(out.glob(".cartoon/*/journal.jsonl"))
    if not found:
        return []
    return [json.loads(line) for line in found[0].read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def kill_and_resume(work: Path, photos: int, kills: int, seed: int = 1) -> dict[str, int]:
    """Run, kill, resume, check; counts of what was seen. Raises AssertionError where something was lost."""
    given, out, packed = work / "photos", work / "out", work / "all.zip"
    make_photos(given, photos)
    command = [sys.executable, "-m", "cartoon", "run", str(given), "-o", str(out), "--size", "original"]
    command += ["--zip", str(packed), "--json"]
    chance, killed, redrawn = random.Random(seed), 0, 0
    while killed < kills:
        before = len(lines(out))
        if before >= photos:
            break
        most = min(9, max(1, 2 * (photos - before) // (kills - killed) - 1))  # so that photos are left for all kills
        limit = before + chance.randint(1, most)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while len(lines(out)) < limit and process.poll() is None:
            assert time.monotonic() < deadline, "the run made no progress"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    marks = sum(path.read_bytes().count(b"\n") for path in out.glob(".cartoon/*/started.jsonl"))
    assert marks - len(lines(out)) <= IN_FLIGHT * killed, "more than what was in flight was lost"
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    journal = lines(out)
    attempts = Counter(line["item"] for line in journal if line["event"] == "attempt")
    assert len(attempts) == photos
    redrawn = sum(number - 1 for number in attempts.values())
    assert not redrawn, "a photo with a journal line was drawn again"
    pictures = sorted(path for path in out.rglob("*.png") if ".cartoon" not in path.parts)
    assert len(pictures) == photos
    for path in pictures:
        read(path)  # whole
    wanted = {path.relative_to(given).with_suffix(".png").as_posix() for path in given.rglob("*.jpg")}
    assert {path.relative_to(out).as_posix() for path in pictures} == wanted
    assert not [*out.rglob("*.part"), *work.glob(".*.part")], "temporary files were left"
    with zipfile.ZipFile(packed) as bundle:
        assert bundle.testzip() is None
        assert set(bundle.namelist()) == wanted | {"report.csv", "report.json"}
    assert not [line for line in journal if line.get("outcome") != "done" and line["event"] == "attempt"]
    return {"photos": photos, "kills": killed, "lines": len(journal), "drawn_again": redrawn}


def main() -> None:
    """The long version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with TemporaryDirectory() as work:
        print(json.dumps(kill_and_resume(Path(work), args.photos, args.kills, args.seed)))


if __name__ == "__main__":
    main()
