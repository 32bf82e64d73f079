"""What a job will take, told by headers alone before anything runs: time, memory, disk, and what is bound to fail."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from cartoon.errors import CartoonError, InputError, OptionsError, StorageError
from cartoon.images.decode import size_of
from cartoon.images.fit import check_fit
from cartoon.images.formats import OutputFormat
from cartoon.images.resize import result_shape
from cartoon.jobs.inputs.hashing import Watcher, silent
from cartoon.jobs.model import Entry
from cartoon.models.cores import usable_cores
from cartoon.options import Options
from cartoon.styles.card import PNG_BYTES_PER_PIXEL
from cartoon.styles.catalogue import shipped

BYTES_PER_PIXEL: Final = {"jpg": 0.35, "webp": 0.2}
"""Of results at 1024 px and quality 95, measured over the example portraits; a PNG's stand in the style's card."""
SECONDS_A_PHOTO: Final = 0.04
SECONDS_A_MEGAPIXEL: Final = 0.17
"""On 2 cores, several photos under way (`benchmarks.throughput`: 7.4 photos of 0.55 megapixels a second)."""
CORES: Final = 2
MEMORY_BYTES: Final = 800 << 20
"""Of a process that holds the model."""
MEMORY_PER_PIXEL: Final = 125
MEMORY_MOST: Final = 1536 << 20
"""What photos under way may take together, as the pipeline admits them; one that is larger goes alone."""


@dataclass(frozen=True)
class Failing:
    """A photo that will fail: its name, the stable code and the sentence."""

    name: str
    code: str
    message: str


@dataclass(frozen=True)
class Forecast:
    """What is to come. seconds, disk, memory (bytes): estimates. free: bytes on the output's disk."""

    photos: int
    megapixels: float
    seconds: float
    disk: int
    memory: int
    free: int
    failing: tuple[Failing, ...] = ()

    def sentence(self) -> str:
        """The same for a person."""
        told = f"{self.photos} to draw, about {duration(self.seconds)}, {_bytes(self.disk)} of results"
        told += f" ({_bytes(self.free)} free), {_bytes(self.memory)} of memory"
        return told + (f"; {len(self.failing)} will fail" if self.failing else "")


def survey(entries: Sequence[Entry], options: Options, out: Path, max_pixels: int, watch: Watcher = silent) -> Forecast:
    """Look at the headers of what is to be drawn. Copies of one photo count once in time, each on disk."""
    due = [entry for entry in entries if not entry.taken]
    sizes: dict[int, tuple[int, int]] = {}
    failing: list[Failing] = []

    def look(entry: Entry) -> tuple[int, int] | CartoonError:
        if entry.item.refused:
            return entry.item.refused
        try:
            width, height = size_of(entry.item.source, entry.item.name, max_pixels)
            format = cast(OutputFormat, entry.output.suffix.removeprefix("."))
            check_fit(entry.item.name, (height, width), format, options)
            return width, height
        except (InputError, OptionsError) as error:
            return error

    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="look") as pool:
        for number, (entry, seen) in enumerate(zip(due, pool.map(look, due), strict=True), 1):
            watch("looking", number, len(due))
            if isinstance(seen, CartoonError):
                failing.append(Failing(entry.item.name, seen.code, str(seen)))
            else:
                sizes[entry.number] = _drawn(seen, options)
    drawn = {entry.twin or entry.number: sizes[entry.number] for entry in due if entry.number in sizes}
    pixels = sum(width * height for width, height in drawn.values())
    formats = {entry.number: entry.output.suffix.removeprefix(".") for entry in due}
    on_disk = sum(w * h * _bytes_a_pixel(options.style, formats[number]) for number, (w, h) in sizes.items())
    largest = max((width * height for width, height in drawn.values()), default=0)
    seconds = (SECONDS_A_PHOTO * len(drawn) + SECONDS_A_MEGAPIXEL * pixels / 1e6) * CORES / usable_cores()
    memory = MEMORY_BYTES + max(min(pixels * MEMORY_PER_PIXEL, MEMORY_MOST), largest * MEMORY_PER_PIXEL)
    return Forecast(len(sizes), pixels / 1e6, seconds, int(on_disk), memory, free_on(out), tuple(failing))


def check_disk(forecast: Forecast, out: Path, twice: bool = False) -> None:
    """Raises StorageError where the disk cannot hold the results (twice: and a zip of them)."""
    need = forecast.disk * (2 if twice else 1)
    if need > forecast.free:
        raise StorageError(
            f"{out} has {_bytes(forecast.free)} free and the results need about {_bytes(need)}: free some space, or "
            "give another -o, a smaller --size or --format jpg (--anyway starts all the same)."
        )


def free_on(place: Path) -> int:
    """Bytes free on the disk of a folder, or of the nearest one above it that exists."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _drawn(size: tuple[int, int], options: Options) -> tuple[int, int]:
    height, width = result_shape(size[::-1], options.size)
    return width * options.upscale, height * options.upscale


def _bytes_a_pixel(style: str, format: str) -> float:
    card = shipped(style)
    return BYTES_PER_PIXEL.get(format) or (card.png_bytes_per_pixel if card else PNG_BYTES_PER_PIXEL)


def duration(seconds: float) -> str:
    """In seconds, minutes or hours."""
    whole = max(1, round(seconds))
    if whole < 90:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 90 * 60 else f"{whole / 3600:.1f} h"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit != "GB" else f"{number:.1f} GB"
        number /= 1000
    return f"{number:.1f} TB"
