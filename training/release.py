"""Make trained weights the shipped ones: `python -m training.release --weights FILE --name cartoon-v2`.

Copies the file into assets/ and writes its name and sha256 into the records of assets/styles.json, so the two never
disagree. What else a record tells of its style stays.
"""

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cartoon.assets import ASSETS
from cartoon.files import write_atomically
from cartoon.models.weights import load_weights, sha256_of
from cartoon.styles.card import StyleCard
from cartoon.styles.catalogue import available

LARGEST_BYTES = 10_000_000


def main() -> None:
    """Check, copy, register."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--name", required=True)
    a = parser.parse_args()
    size = a.weights.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(f"{a.weights} has {size} bytes; a shipped file may have {LARGEST_BYTES}.")
    load_weights(a.weights, None)  # it is one of ours
    target = ASSETS / f"{a.name}.safetensors"
    partial = target.with_suffix(".partial")
    shutil.copyfile(a.weights, partial)
    os.replace(partial, target)
    digest = sha256_of(target)
    cards = cards_of(target.name, digest)
    released = {card.id: card for card in cards}
    write_records([released.get(card.id, card) for card in available()])
    print(f"{target.name}: {size / 1e6:.1f} MB, sha256 {digest}, styles {', '.join(card.id for card in cards)}")


def taught() -> tuple[StyleCard, ...]:
    """The shipped styles that are painted from the layers of the network that training teaches: the first one's."""
    shipped = available()
    return tuple(card for card in shipped if card.file == shipped[0].file)


def cards_of(file: str, digest: str) -> list[StyleCard]:
    """The cards of those styles, were they drawn with the weights in a file."""
    return [replace(card, file=file, sha256=digest) for card in taught()]


def write_records(cards: Sequence[StyleCard]) -> None:
    """Write assets/styles.json."""
    write_atomically(ASSETS / "styles.json", (text_of([row_of_card(card) for card in cards]) + "\n").encode())


def row_of_card(card: StyleCard) -> dict[str, Any]:
    """The row of assets/styles.json that a shipped style's card is read from."""
    row = {name: value for name, value in vars(card).items() if name not in ("gate", "head", "mask")}
    if card.gate is not None:
        limits = {limit.measure: [limit.portrait, limit.other] for limit in card.gate.limits}
        row["gate"] = {"fades": card.gate.fades, "tint": card.gate.tint, "limits": limits}
    return row


def text_of(value: Any, indent: str = "") -> str:
    """JSON in which each entry of an object stands on a line, and a row of numbers on one."""
    inner = indent + " "
    if isinstance(value, Mapping):
        entries = [f"{inner}{json.dumps(name)}: {text_of(entry, inner)}" for name, entry in value.items()]
        return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
    if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        return "[\n" + ",\n".join(inner + text_of(entry, inner) for entry in value) + f"\n{indent}]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
