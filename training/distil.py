"""Teach the network: what the teacher sees in photos, or a style of your own from pairs of photo and drawing.

    python -m training.distil --prepared DIR --out FILE
    python -m training.distil --pairs DIR --style-name mystyle

The second starts from the shipped weights and writes styles/mystyle.safetensors, which is on offer as soon as it is
there. DIR holds NAME.photo.jpg beside NAME.mystyle.png or NAME.drawing.png, or two folders, photos/ and drawings/, with
equal names; 30 pairs are enough.

Resumable: the same command goes on from the last checkpoint. `--time-limit` fits the learning-rate schedule to a
wall-clock window, so the result is the best that window allows; stopped at any moment, at most a minute is lost.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cartoon.errors import CartoonError
from cartoon.models.devices import use_cores
from cartoon.models.weights import load_weights
from cartoon.settings import Settings
from training.dataset import Crops
from training.losses import layer_losses
from training.own_style import OwnStyle, table, teach
from training.people import people_of, split
from training.release import taught
from training.run import Run, Window, names_in

log = logging.getLogger("training.distil")

STYLES = tuple(card.id for card in taught())
"""Those that the network is good for."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prepared", type=Path, help="folder that training.prepare wrote")
    source.add_argument("--pairs", type=Path, help="folder of your photos and drawings")
    parser.add_argument("--out", type=Path, help="the safetensors file to write; styles/NAME.safetensors with --pairs")
    parser.add_argument("--work", type=Path, help="checkpoint and log; runs/distil, runs/style-NAME with --pairs")
    parser.add_argument("--time-limit", type=float, help="minutes; 60, 18 with --pairs")
    parser.add_argument("--start", type=Path, help="weights to begin with; none, the shipped ones with --pairs")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, help="peak learning rate; 1e-3")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--holdout", type=int, help="people kept apart, 24; pairs with --pairs, a tenth of 12 and more")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    whole = parser.add_argument_group("with --prepared")
    whole.add_argument("--people", type=Path, help="CSV with the columns file and person; without it each photo is one")
    whole.add_argument("--variants", type=int, default=3)
    own = parser.add_argument_group("with --pairs")
    own.add_argument("--style-name", help="the style's id: lowercase letters, digits, - and _")
    own.add_argument("--title", help="what the page calls the style")
    a = parser.parse_args(argv)
    if a.pairs and not a.style_name:
        parser.error("--pairs needs --style-name")
    if a.prepared and not a.out:
        parser.error("--prepared needs --out")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    use_cores(torch.device("cpu"))  # beside a GPU too: they prepare what it learns from
    try:
        if a.pairs:
            own_style(a)
        else:
            distil(a)
    except CartoonError as error:
        raise SystemExit(f"error: {error}") from error


def distil(a: argparse.Namespace) -> None:
    """Teach what the teacher sees."""
    _fill(a, work=Path("runs/distil"), time_limit=60.0, rate=1e-3, holdout=24)
    a.work.mkdir(parents=True, exist_ok=True)
    train, held = split(names_in(a.prepared), people_of(a.people), a.holdout, a.seed)
    if not train:
        raise SystemExit(
            f"{a.prepared} holds no prepared photos: run python -m training.prepare PHOTOS --out {a.prepared}"
        )
    plan = {key: str(value) for key, value in vars(a).items()} | {"held_out": held, "learned_from": train}
    (a.work / "plan.json").write_text(json.dumps(plan, indent=1), encoding="utf-8")
    window = Window(a.out, a.work, a.time_limit * 60, a.rate, a.seed, a.device, STYLES)
    run = Run(window, layer_losses, load_weights(a.start, None).state if a.start else None)
    log.info("drawing guides for %d photos x %d variants", len(train), a.variants)
    crops = Crops(a.prepared, train, a.variants, a.seed)
    crops.rng = np.random.default_rng([a.seed, run.step])  # a resumed run does not repeat its crops
    log.info("training on %s for %g min", a.device, a.time_limit)
    run.train(crops.batches(a.batch))


def own_style(a: argparse.Namespace) -> None:
    """Teach a style of the user's own, and say how it draws what it has not seen."""
    folder = Settings().styles_dir
    _fill(a, work=Path("runs") / f"style-{a.style_name}", time_limit=18.0, rate=1e-3)
    _fill(a, out=folder / f"{a.style_name}.safetensors")
    window = Window(a.out, a.work, a.time_limit * 60, a.rate, a.seed, a.device, (a.style_name,))
    scores = teach(OwnStyle(a.pairs, window, a.title, a.start, a.batch, a.holdout))
    if scores:
        print(table(scores))
    there = a.out.resolve().parent == folder.resolve()
    print(f"{a.out} is ready: draw with --style {a.style_name if there else a.out}")


def _fill(a: argparse.Namespace, **defaults: Any) -> None:
    """What was not given takes its default, which differs between the two ways."""
    for name, value in defaults.items():
        if getattr(a, name) is None:
            setattr(a, name, value)


if __name__ == "__main__":
    main()
