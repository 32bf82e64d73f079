"""Do two checkouts draw the same bytes? `python -m benchmarks.same_bytes OTHER_CHECKOUT [--sizes 512,2048]`.

Each draws the example portraits in a process of its own with its own code, from a file's bytes to a PNG's: in every
style, at every size, alone and in a batch; at the smallest size also what else there is to ask for. Prints a Markdown
table; the exit code is 1 where anything differs. OTHER_CHECKOUT may be one from before the packages moved.
"""

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1] if "__file__" in globals() else Path.cwd()
CHILD: Final = "--draw"
PLACES: Final = {
    "Cartoonizer": ("cartoon.pipeline.cartoonizer", "cartoon.portrait.pipeline"),
    "Options": ("cartoon.options", "cartoon.settings"),
    "decode": ("cartoon.images.decode", "cartoon.image"),
    "encode": ("cartoon.images.encode", "cartoon.image"),
}
"""Where a checkout has what is needed of it, the newest place first."""
ASKED: Final[tuple[dict[str, Any], ...]] = (
    {"strength": 0.3, "exaggeration": 1.0},
    {"background": "transparent"},
    {"background": "photo"},
    {"upscale": 2},
)
"""What else is asked for."""

Digests = dict[str, str]
"""What was asked -> sha256 of the file that came out."""


def main() -> None:
    """Draw in both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout of this project")
    parser.add_argument("--sizes", default="512,2048")
    parser.add_argument("--photos", type=int, default=2, help="how many of the examples")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--styles-dir", type=Path, help="a folder of added styles, to be drawn with as well")
    a = parser.parse_args()
    if not (a.other / "cartoon" / "__init__.py").is_file():
        raise SystemExit(f"{a.other} holds no checkout of this project: give its folder.")
    photos = sorted((ROOT / "assets" / "examples").glob("*.jpg"))[: a.photos]
    asked = [a.device, a.sizes, str(a.styles_dir.resolve()) if a.styles_dir else "", *map(str, photos)]
    ours, others = (drawn_by(checkout.resolve(), asked) for checkout in (ROOT, a.other))
    print("| style, size | drawn | the same bytes |\n|---|---|---|")
    groups: dict[str, list[str]] = {}
    for key in {**ours, **others}:
        groups.setdefault(key.partition("; ")[0], []).append(key)
    different = [key for key in {**ours, **others} if ours.get(key) != others.get(key)]
    for name, keys in groups.items():
        off = [key.partition("; ")[2] for key in keys if key in different]
        print(f"| {name} | {len(keys)} | {'no: ' + ', '.join(off) if off else 'yes'} |")
    print(f"\n{len(ours)} pictures, {len(different)} of them differ.")
    raise SystemExit(1 if different else 0)


def drawn_by(checkout: Path, asked: list[str]) -> Digests:
    """What a checkout draws, in a process that sees its code alone."""
    source = Path(__file__).read_text(encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-W", "ignore", "-c", source, CHILD, *asked]
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout} could not draw: see above.")
    digests: Digests = json.loads(done.stdout.splitlines()[-1])
    return digests


def draw(device: str, sizes: str, styles_dir: str, *photos: str) -> Iterator[tuple[str, str]]:
    """All that is compared, drawn by the code at hand: what was asked, and the sha256 of what came out."""
    kind, make, decode, encode = (found(name) for name in PLACES)
    toon = kind.load(device, styles_dir=Path(styles_dir) if styles_dir else None)
    given = [decode(Path(photo).read_bytes(), Path(photo).name) for photo in photos]

    def digest(cartoon: Any) -> str:
        return hashlib.sha256(encode(cartoon.pixels, cartoon.alpha, "png")).hexdigest()

    numbers = sorted(int(size) for size in sizes.split(","))
    for style in [card.id for card in toon.styles]:
        for size in numbers:
            for photo in given:
                yield f"{style}, {size}; {photo.name} alone", digest(toon.draw(photo, make(style, size=size)))
            for photo, cartoon in zip(given, toon.batch(given, style=style, size=size), strict=True):
                yield f"{style}, {size}; {photo.name} in a batch", digest(cartoon)
        for more in ASKED:
            told = " ".join(f"{name} {value}" for name, value in more.items())
            cartoon = toon.draw(given[0], make(style, size=numbers[0], **more))
            yield f"{style}, {numbers[0]}; {told}", digest(cartoon)
    toon.close()


def found(name: str) -> Any:
    """What a checkout calls by a name, wherever it has it."""
    for place in PLACES[name]:
        try:
            return getattr(importlib.import_module(place), name)
        except ModuleNotFoundError as problem:
            if problem.name is None or not place.startswith(problem.name):
                raise
    raise SystemExit(f"{Path.cwd()} has no {name} where it is looked for: {', '.join(PLACES[name])}.")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        print(json.dumps(dict(draw(*sys.argv[2:]))))
    else:
        main()
