"""Who is on which photo, so that nobody is both learned from and tested on."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def people_of(table: Path | None) -> dict[str, str]:
    """Photo's stem -> person, from a CSV with the columns file and person; empty without a table."""
    if table is None:
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).stem: row["person"] for row in csv.DictReader(file)}


def split(names: Sequence[str], people: dict[str, str], holdout: int, seed: int) -> tuple[list[str], list[str]]:
    """Shuffle people by seed and keep `holdout` of them apart: (names to learn from, names held out).

    A name that the table does not know is a person of its own.
    """
    who = sorted({people.get(name, name) for name in names})
    order = np.random.default_rng(seed).permutation(who)
    held = set(order[:holdout].tolist())
    return (
        sorted(name for name in names if people.get(name, name) not in held),
        sorted(name for name in names if people.get(name, name) in held),
    )
