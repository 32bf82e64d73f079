"""How fast a folder is drawn: `python -m benchmarks.throughput PORTRAITS [--count 200] [--formats jpg,png]`.

JPEG files to files, through the batch runner: decode, faces, network, painting, encode, write. Prints a Markdown table
beside what the network alone would allow, which is timed before and after on the same photos.
"""

import argparse
import os
import statistics
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.batch import job_over
from benchmarks.machine import machine
from cartoon.images.decode import read
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.model import Gate
from cartoon.jobs.runner import run
from cartoon.memory import Ticket
from cartoon.options import Format, Options, Size
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.quality.gate import judge
from cartoon.settings import Settings

SAMPLE: Final = 12
"""Photos whose network time alone is measured."""
SETTLED: Final = 50
"""From this photo on memory should no longer grow."""
SUFFIXES: Final = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Measured:
    """One folder drawn: pictures/s, busy share of all cores 0..1, peak RSS in MB until and after photo SETTLED."""

    rate: float
    busy: float
    early_mb: float
    late_mb: float
    failed: int


def main() -> None:
    """Burn in, time the network, draw the folder, time the network again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--count", type=int, default=200, help="photos; a smaller folder is drawn more than once")
    parser.add_argument("--size", default="original", help="long side, px, or original")
    parser.add_argument("--style", default=Options().style)
    parser.add_argument("--formats", default="jpg,png")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--gate", action="store_true", help="judge every drawing, as a job does")
    a = parser.parse_args()
    photos = sorted(path for path in a.portraits.iterdir() if path.suffix.lower() in SUFFIXES)
    if not photos:
        raise SystemExit(f"{a.portraits} holds no JPEG files: give a folder of portraits.")
    size: Size = "original" if a.size == "original" else int(a.size)
    options = Options(a.style, size=size, format="jpg")
    toon = Cartoonizer.load(a.device)
    gate: Gate = "flag" if a.gate else "off"
    draw(toon, photos, 4, options, gate)
    before = network_seconds(toon, photos, options)
    rows = []
    for name in a.formats.split(","):
        written: Format = name
        tally = toon.batcher.tally
        measured = draw(toon, photos, a.count, replace(options, format=written), gate)
        now = toon.batcher.tally
        per_pass = (now.canvases - tally.canvases) / max(1, now.passes - tally.passes)
        rows.append((name, measured, per_pass))
    alone = statistics.mean([before, network_seconds(toon, photos, options)])
    print(f"{machine(toon)}; {a.count} photos, {a.style}, size {a.size}\n")
    print("| to | pictures/s | of the network's own rate | a pass | padding | busy | peak MB, first 50 | after |")
    print("|---|---|---|---|---|---|---|---|")
    for name, m, per_pass in rows:
        print(
            f"| {name} | {m.rate:.2f} | {m.rate * alone:.0%} | {per_pass:.1f} | {toon.batcher.tally.waste:.1%} "
            f"| {m.busy:.0%} | {m.early_mb:.0f} | {m.late_mb:.0f} |"
        )
    print(f"\nThe network alone: {1000 * alone:.0f} ms a photo, {1 / alone:.2f} a second.")
    failed = sum(m.failed for _, m, _ in rows)
    if failed:
        print(f"{failed} photos failed.")


def draw(toon: Cartoonizer, photos: list[Path], count: int, options: Options, gate: Gate) -> Measured:
    """Run a job over so many photos."""
    peaks = [0.0, 0.0]
    failed = done = 0
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            late = done >= min(SETTLED, count // 2)
            peaks[late] = max(peaks[late], resident_mb())

    watcher = threading.Thread(target=watch)
    with job_over(photos, count, options) as job:
        job.order = replace(job.order, gate=gate)
        executor = ThreadExecutor(WorkerSpec(lambda _: toon, Settings(), judge))
        watcher.start()
        began, cpu = time.perf_counter(), time.process_time()
        try:
            for attempt in run(job, executor):
                done += 1
                failed += attempt.error is not None
        finally:
            seconds, used = time.perf_counter() - began, time.process_time() - cpu
            over.set()
            watcher.join()
            executor.close()
    return Measured(count / seconds, used / seconds / (os.cpu_count() or 1), peaks[0], peaks[1], failed)


def network_seconds(toon: Cartoonizer, photos: list[Path], options: Options) -> float:
    """Mean seconds that the network takes for a photo, face crops included, with nothing else going on."""
    card = next(card for card in toon.styles if card.id == options.style)
    taken = []
    for path in photos[:SAMPLE]:
        canvases = toon.canvases(read(path), options)
        for turn in range(3):
            began = time.perf_counter()
            toon.batcher.draw(card, canvases, Ticket())
            if turn:
                taken.append(time.perf_counter() - began)
    return statistics.mean(taken)


def resident_mb() -> float:
    """The process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
