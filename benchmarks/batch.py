"""A job over so many photos of a folder, for benchmarks: no two are the same file, and all of it is removed again."""

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cartoon.jobs.model import Item, Order
from cartoon.jobs.store.folder import begin
from cartoon.jobs.store.home import new_id
from cartoon.jobs.store.open_job import OpenJob
from cartoon.options import Options


@contextmanager
def job_over(photos: Sequence[Path], count: int, options: Options) -> Iterator[OpenJob]:
    """Begin the job; photos are taken again and again until there are enough, each time as another file."""
    with tempfile.TemporaryDirectory(prefix="cartoon-bench-") as place:
        given, out = Path(place, "in"), Path(place, "out")
        given.mkdir()
        out.mkdir()
        items = []
        for number, photo in enumerate(itertools.islice(itertools.cycle(photos), count)):
            copy = given / f"{number:05d}{photo.suffix}"
            copy.write_bytes(photo.read_bytes() + number.to_bytes(4, "big"))  # behind the end marker, where none reads
            items.append(Item(copy, PurePosixPath(copy.name)))
        order = Order(new_id(), (), out, options, "", "", time.time(), gate="off")
        job = begin(Path(place, "job"), order, items)
        try:
            yield job
        finally:
            job.close()
