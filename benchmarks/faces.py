"""How many faces are found in group pictures, by size, and how many where there is none.

    python -m benchmarks.faces FOLDER... [--portraits FOLDER]

A FOLDER holds pictures and groups.json: {picture: [[x0, y0, x1, y1], ...]}, the true boxes of its faces in px; pictures
with none count false alarms. Prints Markdown: found and total by face width, false faces, seconds per picture
(by the clock, and of processor time over all threads: the one to compare on a busy machine), machine.
--portraits adds seconds for single portraits, each enlarged to a long side of 1024 px and to 12 megapixels.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import processor
from cartoon.faces.candidates import Array, iou
from cartoon.faces.detector import MediaPipeDetector
from cartoon.images.types import Pixels

FOUND_IOU: Final = 0.4
"""A true face is found when a returned box overlaps it at least this much; each returned box counts once."""
Counts = NDArray[np.int_]
WIDTHS: Final = (0, 40, 56, 80, 120, 10_000)
"""Edges of the table's columns, face width in px."""


@dataclass
class Tally:
    """What was counted over one folder; the arrays have one entry per column of widths."""

    found: Counts = field(default_factory=lambda: np.zeros(len(WIDTHS) - 1, np.int_))
    total: Counts = field(default_factory=lambda: np.zeros(len(WIDTHS) - 1, np.int_))
    false_in_groups: int = 0
    false_in_empties: int = 0
    empties: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


def read(path: Path) -> Pixels:
    """uint8 (H, W, 3) sRGB of a plain JPEG or PNG; OSError if it is none."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise OSError(f"{path} is not a picture that OpenCV reads.")
    return np.ascontiguousarray(picture[..., ::-1])


def match(boxes: Sequence[Array], found: Sequence[Array]) -> list[int]:
    """For each true box the index of the found one that it is matched with, best overlaps first, or -1."""
    pairs = sorted(((iou(b, f), i, j) for i, b in enumerate(boxes) for j, f in enumerate(found)), reverse=True)
    matched = [-1] * len(boxes)
    for overlap, i, j in pairs:
        if overlap >= FOUND_IOU and matched[i] < 0 and j not in matched:
            matched[i] = j
    return matched


def measure(detector: MediaPipeDetector, folder: Path) -> Tally:
    """Search every picture that the folder's groups.json names."""
    tally = Tally()
    truth: dict[str, list[list[float]]] = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
    for name, rows in sorted(truth.items()):
        picture = read(folder / name)
        started, cpu_started = time.perf_counter(), time.process_time()
        faces = detector.detect(picture)
        tally.seconds.append(time.perf_counter() - started)
        tally.cpu_seconds.append(time.process_time() - cpu_started)
        boxes = [np.array(row, np.float32) for row in rows]
        matched = match(boxes, [face.box for face in faces])
        for box, j in zip(boxes, matched, strict=True):
            column = int(np.digitize(box[2] - box[0], WIDTHS)) - 1
            tally.total[column] += 1
            tally.found[column] += j >= 0
        false = len(faces) - sum(j >= 0 for j in matched)
        if boxes:
            tally.false_in_groups += false
        else:
            tally.false_in_empties += false
            tally.empties += 1
    return tally


def portrait_seconds(detector: MediaPipeDetector, folder: Path, count: int = 12) -> dict[str, float]:
    """Median seconds of processor time, all threads together, for single portraits at two sizes."""
    medians = {}
    for name, long_side in (("portrait, 1024 px", 1024), ("portrait, 12 megapixels", 4000)):
        seconds = []
        for path in sorted(folder.glob("*.jpg"))[:count]:
            picture = read(path)
            scale = long_side / max(picture.shape)
            large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
            started = time.process_time()
            detector.detect(large)
            seconds.append(time.process_time() - started)
        medians[name] = statistics.median(seconds)
    return medians


def machine() -> str:
    """The processor, its cores, and the versions that the figures depend on."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{processor()}, {os.cpu_count()} cores{load}; mediapipe {version('mediapipe')}, OpenCV {cv2.__version__}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--portraits", type=Path)
    asked = parser.parse_args()
    detector = MediaPipeDetector()  # burns in: every graph has run once when it returns
    print(f"{machine()}\n")
    if asked.folders:
        columns = [f"{low}-{high - 1} px" for low, high in itertools.pairwise(WIDTHS[:-1])]
        heads = ["pictures", *columns, f"{WIDTHS[-2]} px and more", "all", "false in groups", "false in empties"]
        print("| " + " | ".join([*heads, "median s", "median CPU s"]) + " |")
        print("|" + "---|" * (len(heads) + 2))
    for folder in asked.folders:
        t = measure(detector, folder)
        cells = [f"{found}/{total}" for found, total in zip(t.found, t.total, strict=True)]
        share = f"{t.found.sum()}/{t.total.sum()} = {100 * t.found.sum() / max(1, t.total.sum()):.1f} %"
        false = [str(t.false_in_groups), f"{t.false_in_empties} in {t.empties}"]
        times = [f"{statistics.median(t.seconds):.2f}", f"{statistics.median(t.cpu_seconds):.2f}"]
        print("| " + " | ".join([folder.name, *cells, share, *false, *times]) + " |", flush=True)
    if asked.portraits:
        for name, seconds in portrait_seconds(detector, asked.portraits).items():
            print(f"\n{name}: {seconds * 1000:.0f} ms of one core")
    detector.close()


if __name__ == "__main__":
    main()
