"""What the network is trained for: the teacher's layers, with what the eye sees of them weighing most."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.drawing.painters import paint
from cartoon.models.layers import ALPHA, BACKGROUND, FOREGROUND, HAIR, INK, LINE, SKIN
from cartoon.styles.card import PAINTED

UNSEEN = 0.05
"""Weight of colours where the other layer covers them."""
MASK_WEIGHTS = (0.30, 0.80, 0.60, 0.35, 0.35)
"""Of alpha, line, ink, skin and hair."""
PERSON_WEIGHT = 0.05
"""Of the person mask beside a drawing: enough that it stays one, too little to cost the drawing anything."""


def layer_losses(colours: Tensor, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The terms of the loss, each a scalar.

    colours (B, 6, H, W) and logits (B, 5, H, W): what CartoonNet returned. target (B, 11, H, W): the teacher's stack.
    """
    alpha = target[:, ALPHA : ALPHA + 1]
    # Strands of hair and the forms of a face are what the tones are made of.
    person = _near(alpha) * (1 + target[:, HAIR : HAIR + 1] + 0.5 * target[:, SKIN : SKIN + 1])
    seen = torch.cat([person.expand(-1, 3, -1, -1), _near(1 - alpha).expand(-1, 3, -1, -1)], 1)
    difference = colours - torch.cat([target[:, FOREGROUND], target[:, BACKGROUND]], 1)
    masks = F.binary_cross_entropy_with_logits(logits, target[:, ALPHA:], reduction="none")
    weights = torch.tensor(MASK_WEIGHTS, device=logits.device)
    return {
        "colour": (difference.abs() * seen).mean() * 2,
        "edges": (gradient(difference) * seen).mean() * 2,
        # Tones step at luma thresholds: an error over an area moves a border, one on a pixel does not.
        "tone": F.avg_pool2d(difference * seen, 4).abs().mean() * 2,
        "masks": (masks.mean((0, 2, 3)) * weights).sum(),
        "lines": gradient(torch.sigmoid(logits[:, LINE - ALPHA : INK - ALPHA + 1]) - target[:, LINE : INK + 1]).mean()
        * 0.3,
    }


def picture_losses(drawn: Tensor, target: Tensor) -> dict[str, Tensor]:
    """For a drawing as a whole, (B, 3, H, W) each: colours and edges.

    Mostly squares: where a stranger's drawing puts a border cannot be told from the photo to the pixel, and a mean of
    absolute differences then gambles on one side of it (over six colours that cost 0.9 dB after two minutes).
    """
    difference = drawn - target
    return {
        "colour": difference.abs().mean() * 0.5,
        "square": difference.square().mean() * 8,
        "edges": gradient(difference).mean(),
        "tone": F.avg_pool2d(difference, 4).abs().mean(),
    }


def drawing_losses(colours: Tensor, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The terms for a style of a user's own, whose layers are to be the drawing once they are flattened.

    colours (B, 6, H, W) and logits (B, 5, H, W): what CartoonNet returned. target (B, 4, H, W): the drawing, sRGB, and
    the person mask, which keeps person and backdrop apart for backgrounds of another kind.
    """
    person = F.binary_cross_entropy_with_logits(logits[:, :1], target[:, 3:])
    return picture_losses(composite(colours, logits), target[:, :3]) | {"person": PERSON_WEIGHT * person}


def composite(colours: Tensor, logits: Tensor) -> Tensor:
    """What CartoonNet returned, flattened as rendering flattens a style of a user's own: (B, 3, H, W), 0..1."""
    # Clamped as in rendering, but with the gradient of no clamp: a colour that left the range finds its way back.
    clamped = colours + (colours.clamp(0, 1) - colours).detach()
    return paint(torch.cat([clamped, torch.sigmoid(logits)], 1), (), PAINTED).picture()


def gradient(x: Tensor) -> Tensor:
    """Sum of absolute forward differences, same size as x."""
    dx = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1)).abs()
    dy = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1)).abs()
    return dx + dy


def _near(mask: Tensor) -> Tensor:
    """1 where the mask is or within a few pixels of it, UNSEEN elsewhere."""
    return UNSEEN + (1 - UNSEEN) * F.max_pool2d(mask, 9, 1, 4)
