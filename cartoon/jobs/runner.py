"""Draw many photos: one Attempt per item, in order, with as many under way as the artist takes and the next decoded."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from cartoon.errors import CartoonError, ResourceError
from cartoon.image import MAX_PIXELS, Cartoon, OutputFormat, Photo, encode, read, write_atomically
from cartoon.jobs.inputs import output_paths
from cartoon.jobs.job import Attempt, Item
from cartoon.settings import Options

log = logging.getLogger(__name__)

LOOK_AHEAD: Final = 2
"""Photos decoded ahead of those being drawn: enough to hide decoding, few enough for memory (300 MB each at most)."""


class Artist(Protocol):
    """What the runner needs of a Cartoonizer."""

    @property
    def at_once(self) -> int:
        """How many photos it works on at the same time."""
        ...

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """Draw one photo, before those of batches if it is urgent; raises CartoonError."""
        ...


def run(
    items: Sequence[Item],
    options: Options,
    out: Path,
    artist: Artist,
    *,
    overwrite: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Attempt]:
    """Yield what became of each item, in order; one photo's failure is its Attempt's `.error` and the rest goes on.

    Each result is written atomically, so a file under `out` is always whole. An existing result is skipped unless
    `overwrite`. Once `cancelled()` is true no further item is started; the generator ends with those under way.
    Raises OptionsError, before anything is drawn, when a result would replace an input.
    """
    waiting = deque(zip(items, output_paths(items, options, out), strict=True))
    ahead: deque[_Task] = deque()
    drawing: deque[Future[Attempt]] = deque()
    decoders = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
    artists = ThreadPoolExecutor(max_workers=artist.at_once, thread_name_prefix="draw")
    try:
        while waiting or ahead or drawing:
            if not cancelled():
                while waiting and len(ahead) <= LOOK_AHEAD:
                    item, output = waiting.popleft()
                    settled = _settle(item, output, overwrite)
                    ahead.append(_Task(item, output, settled or decoders.submit(_decode, item, max_pixels)))
                while ahead and len(drawing) < artist.at_once:
                    drawing.append(artists.submit(_finish, ahead.popleft(), options, artist))
            elif not drawing:
                return
            yield drawing.popleft().result()
    finally:
        # After Ctrl-C or an abandoned generator what is under way ends; a decode only reads, a result is written whole.
        decoders.shutdown(wait=True, cancel_futures=True)
        artists.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, eq=False)
class _Decoded:
    photo: Photo | None
    error: CartoonError | None
    seconds: float


@dataclass(frozen=True, eq=False)
class _Task:
    item: Item
    output: Path
    state: "Attempt | Future[_Decoded]"


def _settle(item: Item, output: Path, overwrite: bool) -> Attempt | None:
    """The Attempt of an item that needs no drawing."""
    if item.refused:
        return Attempt(item, error=item.refused)
    if output.is_file() and not overwrite:
        return Attempt(item, output=output, skipped=True)
    return None


def _decode(item: Item, max_pixels: int) -> _Decoded:
    start = time.perf_counter()
    try:
        return _Decoded(read(item.source, item.name, max_pixels), None, time.perf_counter() - start)
    except Exception as problem:  # noqa: BLE001 - one photo never ends the batch; _explain logs what is unexpected
        return _Decoded(None, _explain(item, problem), time.perf_counter() - start)


def _finish(task: _Task, options: Options, artist: Artist) -> Attempt:
    if isinstance(task.state, Attempt):
        return task.state
    decoded = task.state.result()
    start = time.perf_counter()

    def seconds() -> float:
        return decoded.seconds + time.perf_counter() - start

    if decoded.photo is None:
        return Attempt(task.item, error=decoded.error, seconds=decoded.seconds)
    try:
        cartoon = artist.draw(decoded.photo, options, urgent=False)
        written = cast(OutputFormat, task.output.suffix.removeprefix("."))  # output_paths has chosen it
        data = encode(cartoon.pixels, cartoon.alpha, written, options.quality)
        task.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(task.output, data)
    except Exception as problem:  # noqa: BLE001 - as above
        return Attempt(task.item, error=_explain(task.item, problem), seconds=seconds())
    notes = (*decoded.photo.notes, *cartoon.notes)
    return Attempt(task.item, task.output, seconds=seconds(), faces=len(cartoon.faces), notes=notes)


def _explain(item: Item, problem: Exception) -> CartoonError:
    if isinstance(problem, CartoonError):
        return problem
    if isinstance(problem, MemoryError):
        return ResourceError(f"{item.name}: memory ran out; run it again with a smaller size or fewer programs open.")
    if isinstance(problem, OSError):
        # Without the path: behind a web door it would show how the server's disk is laid out.
        return ResourceError(f"{item.name}: {problem.strerror or 'the disk failed'}; fix it and run it again.")
    log.error("unexpected error", exc_info=problem)  # no names in logs
    kind = type(problem).__name__
    return CartoonError(f"{item.name}: unexpected {kind} ({problem}): a bug; please report it with the log.")
