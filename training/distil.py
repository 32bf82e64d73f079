"""Teach the network what the teacher sees: `python -m training.distil --prepared DIR --out FILE`.

Resumable: the same command goes on from the last checkpoint. `--time-limit` fits the learning-rate schedule to a
wall-clock window, so the result is the best that window allows; stopped at any moment, at most a minute is lost.
"""

import argparse
import json
import logging
import os
from pathlib import Path

import numpy as np
import torch

from training.dataset import Crops
from training.losses import layer_losses
from training.people import people_of, split
from training.run import Run, Window, names_in

log = logging.getLogger("training.distil")

STYLES = ("anime", "comic", "watercolor", "sketch")


def main() -> None:
    """Parse, prepare, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True, help="folder that training.prepare wrote")
    parser.add_argument("--people", type=Path, help="CSV with the columns file and person; without it each photo is one")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/distil"), help="checkpoint and log")
    parser.add_argument("--time-limit", type=float, default=60.0, help="minutes")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--holdout", type=int, default=24, help="people kept apart for the evaluation")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(os.cpu_count() or 1)  # torch's default leaves hyper-threads out; here they help
    a.work.mkdir(parents=True, exist_ok=True)
    train, held = split(names_in(a.prepared), people_of(a.people), a.holdout, a.seed)
    if not train:
        raise SystemExit(f"{a.prepared} holds no prepared photos: run python -m training.prepare PHOTOS --out {a.prepared}")
    plan = {key: str(value) for key, value in vars(a).items()} | {"held_out": held, "learned_from": train}
    (a.work / "plan.json").write_text(json.dumps(plan, indent=1), encoding="utf-8")
    window = Window(a.out, a.work, a.time_limit * 60, a.rate, a.seed, a.device, STYLES)
    run = Run(window, layer_losses)
    log.info("drawing guides for %d photos x %d variants", len(train), a.variants)
    crops = Crops(a.prepared, train, a.variants, a.seed)
    crops.rng = np.random.default_rng([a.seed, run.step])  # a resumed run does not repeat its crops
    log.info("training on %s for %.0f min", a.device, a.time_limit)
    run.train(crops.batches(a.batch))


if __name__ == "__main__":
    main()
