"""Teach the network what the teacher drew: `python -m training.distil --pairs DIR --faces faces.npz --out FILE`.

Resumable: the same command goes on from the last checkpoint. `--time-limit` fits the learning-rate schedule to a
wall-clock window, so the result is the best that window allows; stopped at any moment, at most a minute is lost.
"""

import argparse
import csv
import json
import logging
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.styles.unet import CartoonNet, Layers, NetConfig
from training.dataset import Batch, Crops
from training.export import export

log = logging.getLogger("training.distil")

WARM_UP_SHARE = 0.03
"""Share of the window in which the learning rate rises linearly."""
EMA_DECAY = 0.998
CLIP_NORM = 1.0
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What a run was asked for."""

    pairs: Path
    faces: Path
    out: Path
    work: Path
    styles: tuple[str, ...]
    time_limit_s: float
    batch: int
    variants: int
    rate: float
    seed: int
    device: str
    holdout: int


def losses(layers: Layers, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss; each a scalar. Edges and the drawn features count most, since they make the drawing."""
    drawn = layers.composite()
    person = batch.guide[:, :1]
    weight = batch.weight
    difference = (drawn - batch.target).abs()
    inside = F.max_pool2d(person, 5, 1, 2)
    outside = F.max_pool2d(1 - person, 5, 1, 2)
    no_ink = 1 - batch.line
    return {
        "colour": (difference * weight).mean(),
        "edges": (_gradient(drawn - batch.target) * weight).mean() * 1.5,
        # each layer alone must be the picture where it will be seen, a few pixels beyond its border included
        "foreground": ((layers.foreground - batch.target).abs() * inside * no_ink).mean() * 0.3,
        "background": ((layers.background - batch.target).abs() * outside * no_ink).mean() * 0.3,
        # Cross-entropy, as lines are rare: an absolute error is least where none is drawn at all.
        "alpha": F.binary_cross_entropy(layers.alpha, person) * 0.2,
        "line": (F.binary_cross_entropy(layers.line, batch.line, reduction="none") * weight).mean() * 0.25,
    }


def _gradient(x: Tensor) -> Tensor:
    """Sum of absolute forward differences, same size as x."""
    dx = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1)).abs()
    dy = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1)).abs()
    return dx + dy


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then cosine to 2 % of the peak; progress is 0..1 of the window."""
    if progress < WARM_UP_SHARE:
        return peak * progress / WARM_UP_SHARE
    turn = (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(turn, 1.0))))


class Run:
    """One training run: network, its moving average, optimiser, and what was spent so far."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        torch.manual_seed(plan.seed)
        self.net = CartoonNet(NetConfig()).to(plan.device).to(memory_format=torch.channels_last)
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=1e-4)
        self.step, self.spent_s, self.skipped = 0, 0.0, 0
        self.checkpoint = plan.work / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=plan.device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.average = state["average"]
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.spent_s = state["step"], state["spent_s"]
            log.info("resumed at step %d after %.0f s", self.step, self.spent_s)

    def save(self) -> None:
        """Write the checkpoint and the exported weights, each whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent_s": self.spent_s,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)
        facts = {"steps": str(self.step), "seconds": f"{self.spent_s:.0f}", "seed": str(self.plan.seed)}
        export(self.average, self.net.config, self.plan.styles, self.plan.out, facts)

    def train(self, crops: Crops) -> None:
        """Train until the window is spent."""
        plan = self.plan
        began, saved = time.monotonic() - self.spent_s, time.monotonic()
        crops.rng = np.random.default_rng([plan.seed, self.step])  # a resumed run does not repeat its crops
        with (plan.work / "log.csv").open("a", newline="") as file:
            table = csv.writer(file)
            for batch in crops.batches(plan.batch):
                self.spent_s = time.monotonic() - began
                if self.spent_s >= plan.time_limit_s:
                    break
                terms = self._update(batch)
                if self.step % 50 == 0:
                    values = {k: round(v.item(), 5) for k, v in terms.items()}
                    table.writerow([self.step, round(self.spent_s, 1), *values.values()])
                    file.flush()
                    if self.step % 200 == 0:
                        log.info(
                            "step %d, %.0f s, %d skipped: %s", self.step, self.spent_s, self.skipped, json.dumps(values)
                        )
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        rate = learning_rate(self.spent_s / self.plan.time_limit_s, self.plan.rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        device = self.plan.device
        batch = Batch(**{k: v.to(device, non_blocking=True) for k, v in vars(batch).items()})
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            layers = self.net(batch.photo, batch.guide, batch.style, batch.strength)
        terms = losses(layers, batch)
        total = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        if torch.isfinite(norm):  # bfloat16 overflows now and then; such a step would poison every weight
            self.optimiser.step()
        else:
            self.skipped += 1
        self.step += 1
        decay = min(EMA_DECAY, self.step / (self.step + 20))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return terms


def split(names: list[str], holdout: int, seed: int) -> tuple[list[str], list[str]]:
    """Shuffle by seed and keep `holdout` names apart; one name is one person in a folder of pairs."""
    order = list(np.random.default_rng(seed).permutation(sorted(names)))
    return sorted(order[holdout:]), sorted(order[:holdout])


def main() -> None:
    """Parse, prepare, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of NAME.photo.jpg and NAME.STYLE.jpg")
    parser.add_argument("--faces", type=Path, required=True, help="faces.npz written by training.prepare")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/distil"), help="checkpoint and log")
    parser.add_argument("--styles", default="anime,comic")
    parser.add_argument("--time-limit", type=float, default=45.0, help="minutes")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--variants", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--holdout", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    styles = tuple(a.styles.split(","))
    plan = Plan(
        a.pairs,
        a.faces,
        a.out,
        a.work,
        styles,
        a.time_limit * 60,
        a.batch,
        a.variants,
        a.rate,
        a.seed,
        a.device,
        a.holdout,
    )
    torch.set_num_threads(os.cpu_count() or 1)  # torch's default leaves hyper-threads out; here they help
    plan.work.mkdir(parents=True, exist_ok=True)
    with np.load(plan.faces) as known:
        names = [k.removesuffix(".person") for k in known.files if k.endswith(".person")]
    train, held = split(names, plan.holdout, plan.seed)
    facts = {k: str(v) for k, v in asdict(plan).items()} | {"held_out": held}
    (plan.work / "plan.json").write_text(json.dumps(facts, indent=1))
    run = Run(plan)
    log.info("drawing guides for %d pairs x %d variants", len(train), plan.variants)
    crops = Crops(plan.pairs, plan.faces, train, styles, plan.variants, plan.seed)
    log.info("training on %s for %.0f min", plan.device, plan.time_limit_s / 60)
    run.train(crops)


if __name__ == "__main__":
    main()
