"""The training loop: fits any wall-clock window, resumes after any stop, keeps a moving average and a log."""

import csv
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cartoon.errors import StyleError
from cartoon.models.style_file import SHIPPED_CONFIG, NetConfig
from cartoon.models.unet import CartoonNet
from training.dataset import Batch
from training.export import export

log = logging.getLogger("training.run")

WARM_UP_SHARE = 0.03
"""Share of the window in which the learning rate rises linearly."""
EMA_DECAY = 0.998
EMA_WARM_UP = 20
"""Steps: a short training's average must not remember the random weights that it began with."""
CLIP_NORM = 1.0
SAVE_EVERY_S = 60.0
LOG_EVERY = 50
MOST_IN_A_ROW = 50
"""Skipped steps after which no later one can be expected to work."""

Parameters = tuple[Tensor, ...] | list[Tensor]
Losses = Callable[[Tensor, Tensor, Tensor], Mapping[str, Tensor]]
"""(colours, logits, target) -> the terms of the loss."""


@dataclass(frozen=True)
class Window:
    """What a run may spend and where it writes.

    out: the safetensors file. work: checkpoint and log. rate: peak learning rate. styles: ids that the exported file is
    good for.
    """

    out: Path
    work: Path
    time_limit_s: float
    rate: float
    seed: int
    device: str
    styles: tuple[str, ...]


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then cosine to 2 % of the peak; progress is 0..1 of the window."""
    if progress < WARM_UP_SHARE:
        return peak * progress / WARM_UP_SHARE
    turn = (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(turn, 1.0))))


def moving_average(averaged: Parameters, current: Parameters, count: Tensor | int) -> None:
    """Move the averaged parameters towards the current ones, in place; count: of steps that were averaged already.

    As AveragedModel's multi_avg_fn. Kept is EMA_DECAY of the average, and less of it in the first steps.
    """
    step = int(count) + 1
    ema = get_ema_multi_avg_fn(min(EMA_DECAY, step / (step + EMA_WARM_UP)))  # type: ignore[no-untyped-call]
    ema(averaged, current, count)


class Run:
    """Network, its moving average, optimiser, and what was spent so far; goes on from the last checkpoint in `work`.

    start: weights to begin with where there is no checkpoint; facts: what the exported file's metadata should tell;
    only: beginnings of the parameters' names that are trained, all by default.
    """

    def __init__(
        self,
        window: Window,
        losses: Losses,
        start: Mapping[str, Tensor] | None = None,
        config: NetConfig = SHIPPED_CONFIG,
        facts: Mapping[str, str] | None = None,
        only: tuple[str, ...] = ("",),
    ) -> None:
        self.window, self._losses, self._facts = window, losses, dict(facts or {})
        torch.manual_seed(window.seed)
        self.net = CartoonNet(config)
        if start is not None:
            self.net.load_state_dict(start)
        self.net = self.net.to(window.device).to(memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.net, multi_avg_fn=moving_average)
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith(only))
        trained = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=window.rate, betas=(0.9, 0.98), weight_decay=1e-4)
        self.step, self.spent_s, self.skipped, self._in_a_row = 0, 0.0, 0, 0
        window.work.mkdir(parents=True, exist_ok=True)
        self.checkpoint = window.work / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=window.device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.averaged.module.load_state_dict(state["average"])
            self.averaged.n_averaged.fill_(state["step"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.spent_s = state["step"], state["spent_s"]
            log.info("resumed at step %d after %.0f s", self.step, self.spent_s)

    def save(self) -> None:
        """Write the checkpoint and the exported weights, each whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "average": self.averaged.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent_s": self.spent_s,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)
        facts = {"steps": str(self.step), "seconds": f"{self.spent_s:.0f}", "seed": str(self.window.seed)}
        export(
            self.averaged.module.state_dict(), self.net.config, self.window.styles, self.window.out, self._facts | facts
        )

    def train(self, batches: Iterator[Batch]) -> None:
        """Train until the window is spent."""
        began, saved = time.monotonic() - self.spent_s, time.monotonic()
        sums: dict[str, float] = {}
        counted = 0
        with (self.window.work / "log.csv").open("a", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            for batch in batches:
                self.spent_s = time.monotonic() - began
                if self.spent_s >= self.window.time_limit_s:
                    break
                terms = self.update(batch)
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.item()
                counted += 1
                if self.step % LOG_EVERY == 0:
                    sums = {name: total / counted for name, total in sums.items()}
                    if file.tell() == 0:
                        table.writerow(["step", "seconds", *sums])
                    table.writerow([self.step, round(self.spent_s, 1), *(round(v, 5) for v in sums.values())])
                    file.flush()
                    if self.step % (4 * LOG_EVERY) == 0:
                        shown = json.dumps({k: round(v, 4) for k, v in sums.items()})
                        log.info("step %d, %.0f s, %d skipped: %s", self.step, self.spent_s, self.skipped, shown)
                    sums, counted = {}, 0
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def update(self, batch: Batch) -> Mapping[str, Tensor]:
        """One step: the losses on a batch, by name, each a number; raises StyleError when training comes to nothing."""
        rate = learning_rate(self.spent_s / self.window.time_limit_s, self.window.rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        device = self.window.device
        photo, guide, target = (x.to(device, non_blocking=True) for x in (batch.photo, batch.guide, batch.target))
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            colours, logits = self.net(photo, guide)
        terms = self._losses(colours, logits, target)
        total = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        if torch.isfinite(norm):  # bfloat16 overflows now and then; such a step would poison every weight
            self.optimiser.step()
            self._in_a_row = 0
        else:
            self.skipped += 1
            self._in_a_row += 1
            if self._in_a_row >= MOST_IN_A_ROW:
                raise StyleError(
                    f"training has come to nothing: {MOST_IN_A_ROW} steps in a row had no finite gradient after step "
                    f"{self.step}. Remove {self.window.work} and begin anew with a smaller --rate."
                )
        self.step += 1
        self.averaged.update_parameters(self.net)
        return terms


def names_in(folder: Path) -> Sequence[str]:
    """The prepared photos in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.npz"))
