"""Many who ask at once, and one who asks while a batch runs: `python -m benchmarks.crowd PORTRAITS [--users 10]`.

In one process, JPEG bytes to PNG bytes. Users: all at once against the same photos one after another. Batch: a photo
asked for at odd moments while the runner draws a folder, against the same on an idle machine. Interleaved; Markdown.
"""

import argparse
import itertools
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmarks.batch import job_over
from benchmarks.machine import machine
from cartoon.images.decode import MAX_PIXELS
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.runner import run
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.settings import Settings
from cartoon.web.photo import draw


def main() -> None:
    """Burn in, then both experiments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--queued", type=int, default=200)
    parser.add_argument("--asked", type=int, default=8, help="photos asked for while the batch runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    paths = sorted(a.portraits.glob("*.jpg"))
    if not paths:
        raise SystemExit(f"{a.portraits} holds no .jpg files: give a folder of portraits.")
    toon = Cartoonizer.load(a.device)
    options = Options(size=a.size)
    photos = [path.read_bytes() for path in itertools.islice(itertools.cycle(paths), a.users)]
    one(toon, photos[0], options)
    print(f"{machine(toon)}; size {a.size}\n")
    rows = [at_once(toon, photos, options) for _ in range(a.rounds)]
    row, worst = (statistics.median(column) for column in zip(*((r, w) for r, w, _ in rows), strict=True))
    late = max(overtaken for _, _, overtaken in rows)
    print(f"| {a.users} in a row, s | the worst of {a.users} at once, s | ratio | places anyone was overtaken by |")
    print(f"|---|---|---|---|\n| {row:.2f} | {worst:.2f} | {worst / row:.2f} | {late} |\n")
    idle = statistics.median(one(toon, photo, options) for photo in photos[: a.asked])
    waits = beside_batch(toon, paths, photos[: a.asked], options, a.queued)
    print(f"| idle, s | beside a batch of {a.queued}: median, s | worst, s | worst by idle |\n|---|---|---|---|")
    print(f"| {idle:.2f} | {statistics.median(waits):.2f} | {max(waits):.2f} | {max(waits) / idle:.2f} |")


def one(toon: Cartoonizer, data: bytes, options: Options) -> float:
    """Seconds for one photo."""
    began = time.perf_counter()
    draw(toon, data, "photo.jpg", options, MAX_PIXELS)
    return time.perf_counter() - began


def at_once(toon: Cartoonizer, photos: list[bytes], options: Options) -> tuple[float, float, int]:
    """Seconds for all in a row; of the slowest when all ask at once; by how many places somebody was overtaken."""
    began = time.perf_counter()
    for photo in photos:
        one(toon, photo, options)
    in_a_row = time.perf_counter() - began
    ended: list[int] = []
    began = time.perf_counter()

    def ask(number: int) -> None:
        one(toon, photos[number], options)
        ended.append(number)

    with ThreadPoolExecutor(len(photos)) as pool:
        asked = []
        for number in range(len(photos)):
            asked.append(pool.submit(ask, number))
            time.sleep(0.005)  # so that there is an order of arrival
        for future in asked:
            future.result()
    worst = time.perf_counter() - began
    return in_a_row, worst, max(ended.index(number) - number for number in ended)


def beside_batch(
    toon: Cartoonizer, paths: list[Path], photos: list[bytes], options: Options, queued: int
) -> list[float]:
    """Seconds for each photo asked for while the runner draws others."""
    over, waits = threading.Event(), []
    with (
        job_over(paths, queued, options) as job,
        closing(ThreadExecutor(WorkerSpec(lambda _: toon, Settings()))) as executor,
    ):
        batch = threading.Thread(target=lambda: list(run(job, executor, over.is_set)))
        batch.start()
        try:
            for number, photo in enumerate(photos):
                time.sleep(0.7 + 0.13 * number)  # at different moments of what the batch is at
                waits.append(one(toon, photo, options))
        finally:
            over.set()
            batch.join()
    return waits


if __name__ == "__main__":
    main()
