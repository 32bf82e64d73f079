"""What the network is trained for: the teacher's layers, with what the eye sees of them weighing most."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cartoon.styles.layers import ALPHA, BACKGROUND, FOREGROUND, INK, LINE

UNSEEN = 0.05
"""Weight of colours where the other layer covers them."""
MASK_WEIGHTS = (0.30, 0.80, 0.60, 0.35, 0.35)
"""Of alpha, line, ink, skin and hair."""


def layer_losses(colours: Tensor, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The terms of the loss, each a scalar.

    colours (B, 6, H, W) and logits (B, 5, H, W): what CartoonNet returned. target (B, 11, H, W): the teacher's stack.
    """
    alpha = target[:, ALPHA : ALPHA + 1]
    seen = torch.cat([_near(alpha).expand(-1, 3, -1, -1), _near(1 - alpha).expand(-1, 3, -1, -1)], 1)
    difference = colours - torch.cat([target[:, FOREGROUND], target[:, BACKGROUND]], 1)
    masks = F.binary_cross_entropy_with_logits(logits, target[:, ALPHA:], reduction="none")
    weights = torch.tensor(MASK_WEIGHTS, device=logits.device)
    return {
        "colour": (difference.abs() * seen).mean() * 2,
        "edges": (gradient(difference) * seen).mean() * 2,
        # Tones step at luma thresholds: an error over an area moves a border, one on a pixel does not.
        "tone": F.avg_pool2d(difference * seen, 4).abs().mean() * 2,
        "masks": (masks.mean((0, 2, 3)) * weights).sum(),
        "lines": gradient(torch.sigmoid(logits[:, LINE - ALPHA : INK - ALPHA + 1]) - target[:, LINE : INK + 1]).mean() * 0.3,
    }


def picture_losses(drawn: Tensor, target: Tensor) -> dict[str, Tensor]:
    """For a drawing as a whole, (B, 3, H, W) each: colours and edges."""
    difference = drawn - target
    return {"colour": difference.abs().mean() * 2, "edges": gradient(difference).mean(), "tone": F.avg_pool2d(difference, 4).abs().mean()}


def gradient(x: Tensor) -> Tensor:
    """Sum of absolute forward differences, same size as x."""
    dx = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1)).abs()
    dy = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1)).abs()
    return dx + dy


def _near(mask: Tensor) -> Tensor:
    """1 where the mask is or within a few pixels of it, UNSEEN elsewhere."""
    return UNSEEN + (1 - UNSEEN) * F.max_pool2d(mask, 9, 1, 4)
