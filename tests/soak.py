"""A job of ten thousand photos through the real server: memory, CPU seconds a photo, the page's answers, resuming.

`python -m tests.soak --count 10000 [FOLDER of portraits to make them from]`; prints JSON.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import httpx
import numpy as np

from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.images.resize import resize
from cartoon.jobs.store.folder import resume
from tests import ROOT
from tests.waiting import wait_for

SIDES = (256, 384)
TICKS = os.sysconf("SC_CLK_TCK")
EARLY = (500, 1500)
"""Photos whose CPU seconds are compared with those of the last thousand."""


def pack_photos(packed: Path, count: int, folder: Path) -> None:
    """So many photos, no two alike, made from those of a folder (turned, scaled, lit otherwise), into a zip."""
    sources = [read(path).pixels for path in sorted(folder.rglob("*.jpg"))[:200]]

    def photo(number: int) -> bytes:
        chance = random.Random(number)
        pixels = sources[number % len(sources)]
        height, width = pixels.shape[:2]
        side = chance.randint(*SIDES)
        small = resize(pixels, (side, max(8, round(side * width / height))))
        matrix = cv2.getRotationMatrix2D((small.shape[1] / 2, side / 2), chance.uniform(-8, 8), chance.uniform(1, 1.25))
        moved = cv2.warpAffine(small, matrix, small.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        lit = cv2.convertScaleAbs(moved, alpha=chance.uniform(0.85, 1.15), beta=chance.uniform(-10, 10))
        return encode(np.asarray(lit, np.uint8), None, "jpg", 90)

    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as bundle, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, 500):
            for number, data in enumerate(pool.map(photo, range(start, min(start + 500, count))), start):
                bundle.writestr(f"event {number // 1000}/photo{number:05d}.jpg", data)


class Server:
    """The real app in a process of its own."""

    def __init__(self, data: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "CARTOON_DATA_DIR": str(data)}
        command = [sys.executable, "app.py", "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)
        wait_for(self._ready, otherwise="the server did not come up")

    def _ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def memory_mb(self) -> float:
        """VmHWM: the most it ever had."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        """SIGTERM, then wait."""
        self.client.close()
        self.process.terminate()
        self.process.wait(60)


def watch_page(server: Server, id: str, over: threading.Event, seconds: list[float]) -> None:
    """Ask for the job as a browser does: the page, the job, its latest rows and thumbnails."""
    with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
        number = 0
        while not over.wait(2):
            for address in (f"/?job={id}", f"/api/v1/jobs/{id}", f"/api/v1/jobs/{id}/items?offset={number}&limit=60"):
                began = time.perf_counter()
                client.get(address).raise_for_status()
                seconds.append(time.perf_counter() - began)
            number += 60


def ten_thousand(work: Path, count: int, folder: Path) -> dict[str, Any]:
    """Run the job and measure."""
    packed = work / "photos.zip"
    pack_photos(packed, count, folder)
    server = Server(work / "data")
    marks: dict[int, tuple[float, float]] = {}
    wanted = sorted({min(n, count) for n in (*EARLY, max(1, count - 1000), count)})
    answers: list[float] = []
    over = threading.Event()
    try:
        with packed.open("rb") as file:
            options = {"size": "original", "format": "jpg"}
            began = time.perf_counter()
            posted = server.client.post("/api/v1/jobs", files={"files": ("photos.zip", file)}, data=options)
            assert posted.status_code == 201, posted.text
        id = posted.json()["id"]
        watcher = threading.Thread(target=watch_page, args=(server, id, over, answers), daemon=True)
        watcher.start()
        while True:
            status = server.client.get(f"/api/v1/jobs/{id}").json()
            settled = status["counts"]["total"] - status["counts"]["remaining"]
            for mark in wanted:
                if settled >= mark and mark not in marks:
                    marks[mark] = (server.cpu_seconds(), server.memory_mb())
            if status["state"] not in ("waiting", "running"):
                break
            time.sleep(0.2)  # between two looks, which cost the server little
        seconds = time.perf_counter() - began
        over.set()
        watcher.join()
        assert status["state"] == "finished", status
        assert status["counts"]["done"] == count, status
    finally:
        over.set()
        server.stop()
    began = time.perf_counter()
    job = resume(work / "data" / "jobs" / id)
    resumed = time.perf_counter() - began
    assert job.counts.done == count
    job.close()
    early = (marks[wanted[1]][0] - marks[wanted[0]][0]) / max(1, wanted[1] - wanted[0])
    late = (marks[wanted[-1]][0] - marks[wanted[-2]][0]) / max(1, wanted[-1] - wanted[-2])
    answers.sort()
    return {
        "photos": count,
        "seconds": round(seconds, 1),
        "photos_a_second": round(count / seconds, 2),
        "peak_mb_at": {mark: round(memory) for mark, (_, memory) in marks.items()},
        "cpu_seconds_a_photo": {f"{wanted[0]}-{wanted[1]}": round(early, 4), "last": round(late, 4)},
        "late_by_early": round(late / early, 3) if early else None,
        "page_p95_s": round(answers[int(0.95 * (len(answers) - 1))], 3),
        "page_worst_s": round(answers[-1], 3),
        "page_answers": len(answers),
        "resume_s": round(resumed, 2),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "assets" / "examples")
    parser.add_argument("--count", type=int, default=10_000)
    args = parser.parse_args()
    with TemporaryDirectory() as work:
        print(json.dumps(ten_thousand(Path(work), args.count, args.folder), indent=1))
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
