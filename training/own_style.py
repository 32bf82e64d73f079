"""A style of a user's own: the shipped network, taught on their photos and drawings, becomes one style file.

Nothing of the shipped styles is used but what the network sees: its layers, flattened, become the drawing.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cartoon.drawing.compose import to_uint8
from cartoon.drawing.render import Asked, render
from cartoon.errors import OptionsError, StyleError
from cartoon.images.types import Pixels
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.models.unet import CartoonNet
from cartoon.models.weights import load_weights, sha256_of
from cartoon.styles.card import PAINTED, PLAIN, OwnCard
from cartoon.styles.catalogue import SUFFIX, available
from training.losses import drawing_losses
from training.metrics import psnr
from training.pairs import Pair, PairCrops, PairFiles, find_pairs, load_pairs
from training.people import split
from training.run import Run, Window

log = logging.getLogger("training.own_style")

FRESH = ("head_foreground", "head_background", "look")
"""The parts that the shipped network does not have or has for something else."""
LEARNED = ("decode", "fuse", "last", "head", "look")
"""The parts that are trained. With all of them, at a rate that gets anywhere, the gradients tore the network apart."""
HELD_OUT_FROM = 12
"""With so many pairs some are kept apart, to tell at the end how the style draws what it has not seen."""
HELD_OUT_SHARE = 0.1
FEWEST_HELD_OUT = 2


@dataclass(frozen=True)
class OwnStyle:
    """What to teach, from where, and for how long.

    pairs: the folder. window: its one style is the style's name. title: None for the name's own. start: weights to
    begin with, None for the shipped ones. holdout: pairs kept apart, None for a tenth of twelve and more.
    """

    pairs: Path
    window: Window
    title: str | None = None
    start: Path | None = None
    batch: int = 4
    holdout: int | None = None

    @property
    def name(self) -> str:
        """The style's id."""
        return self.window.styles[0]


@dataclass(frozen=True)
class Score:
    """PSNR to the drawing, dB: of what the network draws, of the photo, of the photo's best affine recolouring."""

    drawn: float
    photo: float
    recoloured: float


def teach(plan: OwnStyle) -> list[Score]:
    """Train until the time is spent and write the style file; what held-out pairs score, none where none are held out.

    The same plan goes on from its last checkpoint. Raises a CartoonError for pairs or names that cannot be used.
    """
    card_for(plan, 0)
    window = plan.window
    if window.out.suffix != SUFFIX:
        raise OptionsError(f"{window.out.name} does not end in {SUFFIX}: give another --out.")
    files = find_pairs(plan.pairs, plan.name)
    start = plan.start or available()[0].path
    weights = load_weights(start, None)
    learned, held = _split(files, plan)
    _same_plan(plan, files, held, sha256_of(start))
    log.info("looking at %d photos", len(files))
    pairs = {pair.name: pair for pair in load_pairs(files, window.work / "seen")}
    card = card_for(plan, len(learned))
    # What the network sees stays; how it draws is learned anew, since a drawing may be far from the photo.
    config = replace(weights.config, keeps_photo=False)
    torch.manual_seed(window.seed)
    fresh = {name: value for name, value in CartoonNet(config).state_dict().items() if name.startswith(FRESH)}
    facts = {"card": json.dumps(asdict(card))}
    run = Run(window, drawing_losses, weights.state | fresh, config, facts, LEARNED)
    crops = PairCrops([pairs[name] for name in learned], np.random.default_rng([window.seed, run.step]))
    minutes = window.time_limit_s / 60
    log.info("training on %d pairs on %s for %g min, %d held out", len(learned), window.device, minutes, len(held))
    if run.spent_s >= window.time_limit_s:
        log.info("it has had its %g min already: give a longer --time-limit to go on", minutes)
    run.train(crops.batches(plan.batch))
    return [score(drawn, pairs[name]) for name, drawn in zip(held, draw(window, [pairs[n] for n in held]), strict=True)]


def card_for(plan: OwnStyle, count: int) -> OwnCard:
    """The card of the style to be; raises StyleError for a name or title that cannot be used."""
    if plan.name in {card.id for card in available()}:
        raise StyleError(f"{plan.name!r} is the name of a shipped style: give another --style-name.")
    title = plan.title or plan.name.replace("-", " ").replace("_", " ").strip().capitalize() or plan.name
    return OwnCard(plan.name, title, f"trained on {count} pairs of your own")


def draw(window: Window, pairs: Sequence[Pair]) -> list[Pixels]:
    """The photos of pairs, drawn with the style that was written, at full strength and their own size."""
    if not pairs:
        return []
    net = StyleNet(window.out, None, window.device)
    stacks = [net.draw([Canvas(pair.photo, pair.guide())])[0].stack for pair in pairs]
    asked = Asked(PAINTED, PLAIN)
    return [to_uint8(render(stack, pair.photo, [], asked)[0]) for stack, pair in zip(stacks, pairs, strict=True)]


def score(drawn: Pixels, pair: Pair) -> Score:
    """How close a drawing comes to the pair's own."""
    return Score(
        psnr(drawn, pair.drawing),
        psnr(pair.photo, pair.drawing),
        psnr(recoloured(pair.photo, pair.drawing), pair.drawing),
    )


def recoloured(photo: Pixels, drawing: Pixels) -> Pixels:
    """The photo under the affine change of colours (3 x 4) that brings it closest to the drawing, by least squares."""
    basis = np.column_stack([photo.reshape(-1, 3).astype(np.float64), np.ones(photo.size // 3)])
    fit, *_ = np.linalg.lstsq(basis, drawing.reshape(-1, 3).astype(np.float64), rcond=None)
    return np.asarray(np.clip(basis @ fit + 0.5, 0, 255), np.uint8).reshape(photo.shape)


def table(scores: Sequence[Score]) -> str:
    """Means as a Markdown table, decibels."""
    drawn, photo, affine = np.mean([(s.drawn, s.photo, s.recoloured) for s in scores], 0)
    return (
        f"| pairs not learned from | drawn dB | the photo dB | its best affine recolouring dB |\n|---|---|---|---|\n"
        f"| {len(scores)} | {drawn:.2f} | {photo:.2f} | {affine:.2f} |"
    )


def _split(files: Sequence[PairFiles], plan: OwnStyle) -> tuple[list[str], list[str]]:
    names = [file.name for file in files]
    count = max(FEWEST_HELD_OUT, round(HELD_OUT_SHARE * len(names))) if len(names) >= HELD_OUT_FROM else 0
    count = count if plan.holdout is None else plan.holdout
    if not 0 <= count < len(names):
        raise OptionsError(
            f"--holdout {count} leaves nothing of {len(names)} pairs to learn from: give a smaller number."
        )
    return split(names, {}, count, plan.window.seed)


def _same_plan(plan: OwnStyle, files: Sequence[PairFiles], held: Sequence[str], start: str) -> None:
    """Note what is learned from; raises OptionsError where the work folder holds the training of something else."""
    pairs = {file.name: [sha256_of(file.photo), sha256_of(file.drawing)] for file in files}
    note = {"style": plan.name, "start": start, "held_out": list(held), "pairs": pairs}
    work = plan.window.work
    work.mkdir(parents=True, exist_ok=True)
    place = work / "plan.json"
    try:
        before = json.loads(place.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        before = None
    if before != note and (work / "checkpoint.pt").exists():
        raise OptionsError(
            f"{work} holds a training on other pairs or from other weights: remove it to begin anew, or give "
            "another --work."
        )
    place.write_text(json.dumps(note, indent=1), encoding="utf-8")
