"""Layers -> the finished drawing: paint, features, colours, texture, strength, background; in that order.

The teacher's layers and the network's go through here alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cartoon.drawing.bands import cuts
from cartoon.drawing.compose import Picture, Stack, correct_cast, correct_skin
from cartoon.drawing.features.draw import draw_features
from cartoon.drawing.painters import PAINTERS, Painter, paint
from cartoon.drawing.textures import Ground, lay_texture
from cartoon.drawing.tones import measure
from cartoon.faces.guide import Plane, Points
from cartoon.images.resize import drawing_share
from cartoon.images.types import Pixels
from cartoon.models.layers import ALPHA, BACKGROUND, FOREGROUND, luma, over
from cartoon.styles.card import PLAIN

FLAT_FROM: Final = 0.45
"""From this strength on the flattened photo shows through the drawing, below it more and more the photo itself."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a rendering.

    painter, texture: a StyleCard's; PLAIN leaves the texture out, as comparisons with the teacher want. strength,
    background: as in Options. seed: of the texture, the same for one photo at every size and strength.
    """

    painter: str
    texture: str
    strength: float = 1.0
    background: str = "drawn"
    seed: int = 0


def render(stack: Stack, photo: Pixels, faces: Sequence[Points], asked: Asked) -> tuple[Picture, Plane | None]:
    """Draw one photo from its layers.

    stack: (11, H, W). photo: uint8 (H, W, 3), warped as the layers are. faces: landmarks (478, 2), px.
    Returns the picture (H, W, 3), 0..1, whose planes lie apart in memory, and its alpha (H, W), None when opaque.
    """
    painter = PAINTERS[asked.painter]
    with torch.inference_mode():
        layers = torch.from_numpy(stack)[None]
        tones = [tone for tone in (measure(stack, photo, face) for face in faces) if tone is not None]
        painted = paint(layers, tones, asked.painter)
        draw_features(painted.person, photo, tones, painter.features)
        painted.person.clamp_(0, 1)
        painted.backdrop.clamp_(0, 1)
        if not painter.own_colours:
            correct_skin(_view(painted.person), photo, faces)
        ground, cover = Ground(painted, layers, tones, asked.seed, asked.background == "drawn"), painted.cover
        drawn = _drawn(ground, photo, asked)
        del painted, ground  # at 4096 px the planes are 400 MB
        drawn = _mixed(drawn, layers, photo, painter, asked.strength)
        if asked.background == "transparent":
            return _view(drawn), cover[0, 0].numpy()
        if asked.background != "drawn":
            drawn = over(_behind(asked.background, photo), drawn, cover)
        return _view(drawn), None


def _drawn(ground: Ground, photo: Pixels, asked: Asked) -> Tensor:
    """The drawing at full strength: on its own backdrop, or the person alone where another background is asked for."""
    painted, whole = ground.painted, ground.whole
    picture = (
        torch.lerp(painted.backdrop, painted.person, painted.cover, out=painted.backdrop) if whole else painted.person
    )
    if whole and not PAINTERS[asked.painter].own_colours:
        correct_cast(_view(picture), photo)
    if asked.texture == PLAIN:
        return picture.clamp_(0, 1)
    return lay_texture(picture, ground, asked.texture).clamp_(0, 1)


def _mixed(drawn: Tensor, layers: Tensor, photo: Pixels, painter: Painter, strength: float) -> Tensor:
    """The drawing over the flattened photo over the photo."""
    if strength >= 1:
        return drawn
    for _, rows, _ in cuts(drawn.shape[2:], 0):  # in place and in bands: at 4096 px a whole copy is 200 MB
        drawn[:, :, rows] = _mixed_rows(drawn[:, :, rows], layers[:, :, rows], photo[rows], painter, strength)
    return drawn


def _mixed_rows(drawn: Tensor, layers: Tensor, photo: Pixels, painter: Painter, strength: float) -> Tensor:
    if not painter.flattened:
        base = _scaled(photo)
    else:
        flat = over(layers[:, BACKGROUND], layers[:, FOREGROUND], layers[:, ALPHA : ALPHA + 1])
        if painter.own_colours:  # a flag's red behind graphite would be neither photo nor drawing
            flat = over(flat, luma(flat).expand(-1, 3, -1, -1), drawing_share(strength))
        t = min(strength / FLAT_FROM, 1.0)
        base = flat if t == 1 else torch.lerp(_scaled(photo), flat, t * t * (3 - 2 * t), out=flat)
    return torch.lerp(base, drawn, drawing_share(strength), out=base)


def _behind(background: str, photo: Pixels) -> Tensor:
    """The photo itself, or a colour "#RRGGBB"."""
    if background == "photo":
        return _scaled(photo)
    colour = [int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, *photo.shape[:2])


def _scaled(photo: Pixels) -> Tensor:
    """uint8 (H, W, 3) as (1, 3, H, W), 0..1."""
    return torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous().float().mul_(1 / 255)


def _view(picture: Tensor) -> NDArray[np.float32]:
    """(1, 3, H, W) as (H, W, 3) without copying."""
    view: NDArray[np.float32] = picture[0].permute(1, 2, 0).numpy()
    return view
