"""What an evaluation leaves behind: tables of figures, and contact sheets to look at."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from cartoon.faces.guide import OVAL, Points
from cartoon.files import write_atomically
from cartoon.images.encode import encode
from cartoon.images.types import Pixels
from training.metrics import Pair

Row = Mapping[str, float | str]
"""Column -> figure, count (int) or name."""

TILE: Final = 300
"""Side of a tile, px."""
GAP: Final = 6
CAPTION: Final = 26
PAPER: Final = 255


@dataclass(frozen=True)
class Table:
    """One section's figures. rows: what is shown. each: what is behind them, photo by photo. totals: single figures."""

    title: str
    note: str
    rows: Sequence[Row]
    each: Sequence[Row] = ()
    totals: Mapping[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The table with its title, note and totals."""
        lines = [f"## {self.title}", "", self.note, ""]
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        if columns:
            lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
            lines += [f"| {' | '.join(shown(row.get(column, '')) for column in columns)} |" for row in self.rows]
        lines += [""] + [f"- {name}: {shown(value)}" for name, value in self.totals.items()]
        return "\n".join(lines).rstrip() + "\n"


def summary(each: Sequence[Row], by: str) -> list[Row]:
    """One row for each value of the column `by`, in order of appearance: how many photos, and the means.

    Columns of names are left out, figures that are nan too; a column of nothing else stays nan.
    """
    groups: dict[float | str, list[Row]] = {}
    for row in each:
        groups.setdefault(row[by], []).append(row)
    return [{by: value, "photos": len(rows)} | _means(rows, by) for value, rows in groups.items()]


def shown(value: float | str) -> str:
    """A figure with three digits or more, a count as it is; an en dash for what could not be measured."""
    if isinstance(value, str | int):
        return str(value)
    if math.isnan(value):
        return "–"
    return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1}f}"


def write_report(out: Path, facts: Mapping[str, str], tables: Mapping[str, Table]) -> None:
    """Write report.md, the tables, and report.json, every figure; each file whole or not at all."""
    head = ["# Evaluation", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    text = "\n".join([*head, *(table.markdown() for table in tables.values())])
    sections = {
        name: {
            "title": table.title,
            "note": table.note,
            "rows": [_plain(row) for row in table.rows],
            "totals": _plain(table.totals),
            "each": [_plain(row) for row in table.each],
        }
        for name, table in tables.items()
    }
    figures = json.dumps({**facts, "sections": sections}, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / "report.md", text.encode())
    write_atomically(out / "report.json", (figures + "\n").encode())


def face_tile(picture: Pixels, landmarks: Points, side: int = TILE) -> Pixels:
    """The side x side px around a face, unscaled; beyond the picture's border its last pixels go on."""
    x0, y0 = (int(v) for v in np.rint(landmarks[OVAL].mean(0) - side / 2))
    height, width = picture.shape[:2]
    rows, columns = np.clip(np.arange(y0, y0 + side), 0, height - 1), np.clip(np.arange(x0, x0 + side), 0, width - 1)
    return picture[rows][:, columns]


def sheet(rows: Sequence[Sequence[Pixels]], captions: Sequence[str], across: int = 1) -> Pixels:
    """Rows of tiles of one size under their captions, laid out in `across` blocks side by side."""
    deep = -(-len(rows) // across)
    blocks = [_block(rows[start : start + deep], captions, deep) for start in range(0, len(rows), deep)]
    return np.hstack(blocks)


def pair_sheet(pairs: Sequence[Pair], across: int = 4) -> Pixels:
    """Photo, teacher and network side by side, a row a person, the faces unscaled."""
    rows = [[face_tile(picture, p.landmarks) for picture in (p.photo, p.teacher, p.ours)] for p in pairs]
    return sheet(rows, ("photo", "teacher", "network"), min(across, len(rows)))


def write_sheet(path: Path, picture: Pixels) -> None:
    """Write a contact sheet, PNG."""
    write_atomically(path, encode(picture, None, "png"))


def _block(rows: Sequence[Sequence[Pixels]], captions: Sequence[str], deep: int) -> Pixels:
    """One block, as deep as the deepest."""
    height, width = rows[0][0].shape[:2]
    block = np.full((CAPTION + deep * (height + GAP), len(captions) * (width + GAP) + 2 * GAP, 3), PAPER, np.uint8)
    for column, caption in enumerate(captions):
        at = (column * (width + GAP) + GAP, CAPTION - 8)
        cv2.putText(block, caption, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    for line, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            y, x = CAPTION + line * (height + GAP), column * (width + GAP) + GAP
            block[y : y + height, x : x + width] = tile
    return block


def _means(rows: Sequence[Row], by: str) -> dict[str, float]:
    means = {}
    for column, first in rows[0].items():
        if column == by or isinstance(first, str):
            continue
        values = np.array([row[column] for row in rows], np.float64)
        known = values[~np.isnan(values)]
        means[column] = float(known.mean()) if len(known) else float("nan")
    return means


def _plain(row: Row) -> dict[str, float | str | None]:
    """For JSON, which knows no nan."""
    return {k: v if isinstance(v, str | int) else None if math.isnan(v) else round(v, 5) for k, v in row.items()}
