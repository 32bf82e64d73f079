"""What the quality gate catches, and what it flags wrongly: `python -m benchmarks.quality PORTRAITS [--good 200]`.

Draws good pictures of every style from a folder of portraits, some at other strengths, sizes and on other backgrounds,
one in seven of a piece of background without a face; then spoils drawings of portraits as tests/spoiling.py does.
Prints Markdown: caught by kind, false alarms by style, milliseconds for one verdict. Faces are looked for again.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.machine import machine
from cartoon.faces.detector import MediaPipeDetector
from cartoon.images.decode import read
from cartoon.images.resize import resize
from cartoon.images.types import Cartoon, Photo
from cartoon.options import Options
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.quality.gate import Verdict, judge
from cartoon.styles.catalogue import available
from tests.spoiling import CALIBRATION, HELD_OUT, Source, Spoiler

STYLES: Final = tuple(card.id for card in available())
FACELESS: Final = 7
"""One in so many good pictures shows nobody."""
VARIED: Final = 3
"""One in so many is not drawn with the default options."""
BACKGROUNDS: Final = ("drawn", "photo", "transparent", "#3366CC", "#FFFFFF")
SIZES: Final = (256, 384, 512, 1024)


@dataclass(frozen=True, eq=False)
class Drawing:
    """A photo, how it was to be drawn, and what came of it."""

    photo: Photo
    options: Options
    cartoon: Cartoon


def main() -> None:
    """Draw, spoil, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--each", type=int, default=5, help="drawings spoiled in each way")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    paths = sorted(a.portraits.glob("*.jpg"))
    if len(paths) < 2:
        raise SystemExit(f"{a.portraits} holds no two .jpg files: give a folder of portraits.")
    toon, detector = Cartoonizer.load(a.device), MediaPipeDetector()
    drawings = list(itertools.islice(good(toon, paths, a.size), a.good))
    print(f"{machine(toon)}; {a.good} good drawings, {a.each} spoiled in each way\n")
    began, verdicts = time.perf_counter(), []
    for d in drawings:
        verdicts.append(judge(d.photo, d.cartoon, d.options, detector))
    taken = (time.perf_counter() - began) / len(drawings)
    alarms(drawings, verdicts)
    # Spoiled are drawings as people ask for them: whole, and at a strength at which there is something to spoil.
    usual = [d for d in drawings if d.cartoon.faces and d.options.background == "drawn" and d.options.strength >= 0.5]
    for title, kinds in (("calibration", CALIBRATION), ("held out", HELD_OUT)):
        caught(title, kinds, usual, a.each, detector)
    alone = statistics.median(seconds(d) for d in usual)
    print(f"\n{1000 * alone:.1f} ms without looking for faces at {a.size} px, {1000 * taken:.1f} with, on average.")
    detector.close()
    toon.close()


def good(toon: Cartoonizer, paths: Sequence[Path], size: int) -> Iterator[Drawing]:
    """Drawings without end; the same ones for the same folder."""
    for number in itertools.count():
        rng = np.random.default_rng(number)
        photo = read(paths[number % len(paths)])
        if number % FACELESS == FACELESS - 1:
            height, width = photo.pixels.shape[:2]
            photo = Photo(np.ascontiguousarray(photo.pixels[: height // 3, : width // 3]))
        options = Options(STYLES[number // 2 % len(STYLES)], size=size)
        if number % VARIED == VARIED - 1:
            options = replace(
                options,
                strength=float(rng.uniform(0.1, 1)),
                size=int(rng.choice(SIZES)),
                exaggeration=float(rng.uniform(0, 1)),
                background=str(rng.choice(BACKGROUNDS)),
            )
        yield Drawing(photo, options, toon.draw(photo, options))


def spoiled(drawing: Drawing, other: Drawing, spoil: Spoiler, seed: int) -> Cartoon:
    """The drawing, spoiled; other: of another photo in the same style."""
    pixels = drawing.cartoon.pixels
    shape = (pixels.shape[0], pixels.shape[1])
    source = Source(resize(drawing.photo.pixels, shape), resize(other.cartoon.pixels, shape))
    return replace(drawing.cartoon, pixels=spoil(pixels, np.random.default_rng(seed), source))


def caught(
    title: str, kinds: Sequence[Spoiler], drawings: Sequence[Drawing], each: int, found: MediaPipeDetector
) -> None:
    """Print how many of each kind get no clean verdict."""
    print(f"\n| {title} | caught | of |\n|---|---|---|")
    total = 0
    for place, spoil in enumerate(kinds):
        count = 0
        for turn in range(each):
            drawing = drawings[(place * each + turn) * 7 % len(drawings)]
            others = [d for d in drawings if d.options.style == drawing.options.style and d.photo is not drawing.photo]
            other = next(d for d in others[turn:] + others if d.photo.name != drawing.photo.name)
            cartoon = spoiled(drawing, other, spoil, 100 * place + turn)
            count += not judge(drawing.photo, cartoon, drawing.options, found).ok
        total += count
        print(f"| {spoil.__name__.replace('_', ' ')} | {count} | {each} |")
    print(f"| all | {total} = {100 * total / (each * len(kinds)):.1f} % | {each * len(kinds)} |")


def alarms(drawings: Sequence[Drawing], verdicts: Sequence[Verdict]) -> None:
    """Print how many good drawings are flagged, by style."""
    print("| good drawings | flagged | of | without a face | as |\n|---|---|---|---|---|")
    for style in (*STYLES, "all"):
        some = [(d, v) for d, v in zip(drawings, verdicts, strict=True) if style in (d.options.style, "all")]
        flagged = [v for _, v in some if not v.ok]
        faceless = sum(not d.cartoon.faces for d, _ in some)
        codes = ", ".join(sorted({flaw.code for v in flagged for flaw in v.flaws}))
        print(f"| {style} | {len(flagged)} | {len(some)} | {faceless} | {codes} |")


def seconds(drawing: Drawing) -> float:
    """For a verdict without a detector, the second time."""
    cv2.setNumThreads(1)
    judge(drawing.photo, drawing.cartoon, drawing.options)
    began = time.perf_counter()
    judge(drawing.photo, drawing.cartoon, drawing.options)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
