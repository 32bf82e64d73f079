"""How good the drawings of unseen people are: `python -m training.evaluate PHOTOS... [--weights FILE] [--out DIR]`.

Seven sections of figures, a function each. Writes report.md, report.json and contact sheets; prints the first section's
table. --plan takes only the people that training held out. --prepared takes the teacher's layers from what
training.prepare wrote: faster, but warped as they were for training instead of as each style warps.
"""

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from cartoon.errors import CartoonError
from cartoon.models.devices import pick_device, use_cores
from cartoon.models.runtime import StyleNet
from cartoon.models.weights import sha256_of
from cartoon.styles.card import StyleCard
from training.prepare import photos_of
from training.release import cards_of, taught
from training.report import Table, write_report
from training.sections import SECTIONS
from training.studio import Studio, Subject

log = logging.getLogger("training.evaluate")
Value = TypeVar("Value")


def cards_for(weights: Path | None) -> dict[str, StyleCard]:
    """The shipped styles of the first file, or those that a release of `weights` would have."""
    if weights is not None and not weights.is_file():
        raise ValueError(f"{weights} is missing: name a file that training.distil wrote.")
    if weights is None:
        return {card.id: card for card in taught()}
    return {card.id: card for card in cards_of(str(weights.resolve()), sha256_of(weights))}


def chosen(a: argparse.Namespace) -> list[Path]:
    """The photos to look at: of those named the held-out, prepared, asked-for ones."""
    wanted = [set(json.loads(a.plan.read_text(encoding="utf-8"))["held_out"])] if a.plan else []
    wanted += [set(a.only.split(","))] if a.only else []
    wanted += [{path.stem for path in a.prepared.glob("*.npz")}] if a.prepared else []
    return [path for path in photos_of(a.photos) if all(path.stem in names for names in wanted)]


def evaluate(a: argparse.Namespace) -> dict[str, Table]:
    """Measure what is asked for and write the report: section -> table.

    Raises ValueError where a section or style is not known, or nothing is left to measure.
    """
    sections, cards = _among(a.sections, SECTIONS), _among(a.styles, cards_for(a.weights))
    a.out.mkdir(parents=True, exist_ok=True)
    first = next(iter(cards.values()))
    use_cores(pick_device(a.device))
    net = StyleNet(first.path, first.sha256, a.device, a.precision)
    studio = Studio(net, list(cards.values()), a.prepared, a.out)
    subjects: list[Subject] = []
    for path in chosen(a):
        if len(subjects) != a.limit and (subject := studio.look(path)) is not None:
            subjects.append(subject)
    if not subjects:
        raise ValueError("no photo with a face is left: check the paths, --plan and --only.")
    tables: dict[str, Table] = {}
    facts = {"weights": f"{first.path.name}, sha256 {first.sha256}", "photos": str(len(subjects)),
             "teacher": f"as prepared in {a.prepared}" if a.prepared else "asked for each style's warp",
             "device": str(net.device), "precision": net.precision}  # fmt: skip
    for name, section in sections.items():
        log.info("%s, %d photos", name, len(subjects))
        tables[name] = section(studio, subjects)
        write_report(a.out, facts, tables)  # each time, so that a stop loses no more than a section
    return tables


def main() -> None:
    """Parse, evaluate, print the first table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or files")
    parser.add_argument("--weights", type=Path, help="a file that training.distil wrote; else the shipped one")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"))
    parser.add_argument("--prepared", type=Path, help="folder that training.prepare wrote")
    parser.add_argument("--plan", type=Path, help="plan.json of a run: only the people it held out")
    parser.add_argument("--limit", type=int, help="at most so many photos")
    parser.add_argument("--only", help="photos by name, without suffix, parted by commas")
    parser.add_argument("--styles", help="parted by commas; all if left out")
    parser.add_argument("--sections", help=f"of {', '.join(SECTIONS)}; all if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        tables = evaluate(a)
    except (CartoonError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(next(iter(tables.values())).markdown())
    print(a.out / "report.md")


def _among(asked: str | None, known: Mapping[str, Value]) -> dict[str, Value]:
    """What was asked for by names parted by commas, all without; ValueError for a name that is not known."""
    names = asked.split(",") if asked else list(known)
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(strange)} not known: use {', '.join(known)}.")
    return {name: known[name] for name in names}


if __name__ == "__main__":
    main()
