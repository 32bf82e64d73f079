"""Two ways from a scene to its layers: our own network's, and DCT-Net's with a second network for the faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from cartoon.drawing import compose
from cartoon.drawing.morph import carried, flow_between
from cartoon.faces.guide import Plane, draw_guide, face_width
from cartoon.faces.warp import align
from cartoon.images.resize import drawing_share
from cartoon.models.layers import ALPHA, FOREGROUND
from cartoon.models.runtime import Canvas, Drawn
from cartoon.pipeline import dctnet_faces
from cartoon.pipeline.stages import Inputs, Layers, Place, Plan, Scene
from cartoon.styles.catalogue import StyleCard

FACES_KNOWN: Final = (84.0, 400.0)
"""Widths, px, of the faces that the network draws well in the whole picture; others get a crop of their own, scaled."""


class Method(Protocol):
    """How a style's layers are drawn."""

    def prepared(self, scene: Scene, person: Plane, plan: Plan) -> Inputs:
        """What the networks get. person: where the people are, float32 (H, W), 0..1."""
        ...

    def composed(self, scene: Scene, places: Sequence[Place], drawn: Sequence[Drawn], plan: Plan) -> Layers:
        """One stack of layers out of what the networks drew, in the order of the inputs; the first one's is reused."""
        ...


def method_of(card: StyleCard) -> Method:
    """The way of a style."""
    if card.head is None:
        return OwnLayers(card)
    return DctNet(card, card.head, Path(card.mask) if card.mask else None)


@dataclass(frozen=True)
class OwnLayers:
    """Our network, also taught a style of a user's own: it is led by a guide map, and draws small faces once more."""

    card: StyleCard

    def prepared(self, scene: Scene, person: Plane, plan: Plan) -> Inputs:
        """The whole picture, then an upright crop for each face that is too small or too large in it."""
        canvases = [Canvas(scene.pixels, draw_guide(person, scene.points))]
        places = []
        for points in scene.points if plan.crops else ():
            if FACES_KNOWN[0] <= face_width(points) <= FACES_KNOWN[1]:
                continue
            crop = align(scene.pixels, person, points)
            places.append(Place(crop.matrix, points))
            canvases.append(Canvas(crop.pixels, draw_guide(crop.person, [crop.landmarks])))
        return Inputs(((self.card, tuple(canvases)),), tuple(places))

    def composed(self, scene: Scene, places: Sequence[Place], drawn: Sequence[Drawn], plan: Plan) -> Layers:
        """The crops blended in, each within its face."""
        stack = drawn[0].stack
        for place, face in zip(places, drawn[1:], strict=True):
            compose.paste(stack, face.stack, place.matrix, place.points)
        return Layers(scene, stack)


@dataclass(frozen=True)
class DctNet:
    """DCT-Net's own graphs: one draws the picture, one every face. mask: a picture file that blends them, or None."""

    card: StyleCard
    face_card: StyleCard
    mask: Path | None

    def prepared(self, scene: Scene, person: Plane, plan: Plan) -> Inputs:
        """The whole picture; every face rolled upright, at the size that its network was made for."""
        whole = Canvas(scene.pixels, draw_guide(person, scene.points))
        crops = [dctnet_faces.align(scene.pixels, points) for points in scene.points]
        if not crops:
            return Inputs(((self.card, (whole,)),))
        # It takes no guide; what is there of one says where the people are, which is told by the whole picture's.
        faces = [Canvas(crop.pixels, np.zeros((1, *crop.pixels.shape[:2]), np.uint8)) for crop in crops]
        places = [Place(crop.matrix, points) for crop, points in zip(crops, scene.points, strict=True)]
        return Inputs(((self.card, (whole,)), (self.face_card, tuple(faces))), tuple(places))

    def composed(self, scene: Scene, places: Sequence[Place], drawn: Sequence[Drawn], plan: Plan) -> Layers:
        """The faces blended in; photo and drawing brought to one geometry where both will show."""
        stack = drawn[0].stack
        mask = dctnet_faces.mask_of(self.mask)
        for place, face in zip(places, drawn[1:], strict=True):
            dctnet_faces.paste(stack, face.stack, place.matrix, mask)
        share = drawing_share(plan.options.strength)
        return Layers(scene, stack) if share >= 1 else _met(scene, stack, share)


def _met(scene: Scene, stack: compose.Stack, share: float) -> Layers:
    """Photo and drawing carried towards each other, so that a strength below 1 does not show two outlines."""
    drawing = compose.to_uint8(stack[FOREGROUND].transpose(1, 2, 0))
    flow = flow_between(scene.pixels, drawing)
    for plane in stack[: ALPHA + 1]:
        plane[:] = carried(plane, flow, share - 1)
    return Layers(replace(scene, pixels=np.asarray(carried(scene.pixels, flow, share), np.uint8)), stack)
