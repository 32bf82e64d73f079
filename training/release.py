"""Make trained weights the shipped ones: `python -m training.release --weights FILE --name cartoon-v2`.

Copies the file into assets/ and writes assets/styles.json with its sha256, so the two never disagree.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cartoon.assets import ASSETS
from cartoon.models.style_file import MULTIPLE
from cartoon.models.weights import load_weights, sha256_of
from cartoon.styles.catalogue import StyleCard

TITLES = {"anime": "Anime", "comic": "Comic", "watercolor": "Watercolor", "sketch": "Sketch"}
EXAGGERATION = {"anime": 1.35, "comic": 0.8, "watercolor": 0.8, "sketch": 0.7}
"""Warp of each style at exaggeration 1, as the teacher has it."""
LICENCE = "Apache-2.0"
ORIGIN = "trained by this project on public-domain portraits (assets/MODEL_CARD.md)"
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
    weights = load_weights(a.weights, None)
    target = ASSETS / f"{a.name}.safetensors"
    partial = target.with_suffix(".partial")
    shutil.copyfile(a.weights, partial)
    os.replace(partial, target)
    digest = sha256_of(target)
    cards = cards_of(weights.styles, target.name, digest)
    (ASSETS / "styles.json").write_text(json.dumps([asdict(c) for c in cards], indent=1) + "\n", encoding="utf-8")
    print(f"{target.name}: {size / 1e6:.1f} MB, sha256 {digest}, styles {', '.join(weights.styles)}")


def cards_of(styles: Sequence[str], file: str, digest: str) -> list[StyleCard]:
    """The cards of the styles in one file; each has a painter of its own name."""
    return [
        StyleCard(style, TITLES[style], file, digest, LICENCE, ORIGIN, MULTIPLE, EXAGGERATION[style], style)
        for style in styles
    ]


if __name__ == "__main__":
    main()
