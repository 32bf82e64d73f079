"""The steps of one photo, and the frozen values that each hands on to the next.

Photo -> Plan (what is asked, at which size) -> Scene (faces found, warped) -> Inputs -> the network -> Layers (blended)
-> Cartoon. What lies between Scene and Layers differs from method to method: cartoon.pipeline.methods.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cartoon.drawing import compose
from cartoon.drawing.render import Asked, render
from cartoon.drawing.textures import seed_of
from cartoon.errors import UnreadableError
from cartoon.faces.detector import Detector
from cartoon.faces.guide import Plane, Points, smoothstep
from cartoon.faces.warp import warp
from cartoon.images.resize import resize, result_shape
from cartoon.images.types import Alpha, Cartoon, Face, Photo, Pixels
from cartoon.models.runtime import Canvas
from cartoon.options import Options
from cartoon.styles.catalogue import StyleCard

LARGEST_DRAWN: Final = 4096
"""Long side, px, of the largest picture drawn in one piece; above it the drawing is enlarged, and says so."""
HOME_SIZE: Final = 640
"""Long side, px, of the portraits the network learned from. A smaller photo is enlarged to it first: lines come out
crisper than when the drawing is enlarged."""
MATTE_EDGE: Final = (0.15, 0.85)
"""The mask is steepened between these, as it was for training."""

Matte = Callable[[Pixels, Sequence[Face]], Plane]
Shape = tuple[int, int]
"""(height, width) px."""


@dataclass(frozen=True)
class Plan:
    """What is asked of one photo.

    options: with the card's id for a style. painted: what it is painted at. drawn: what the network draws it at. crops:
    a small or huge face gets a crop of its own.
    """

    card: StyleCard
    options: Options
    painted: Shape
    drawn: Shape
    crops: bool = True


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo on its way. pixels: uint8 (H, W, 3) sRGB, warped. points: of each face, (478, 2) px in these pixels."""

    photo: Photo
    faces: tuple[Face, ...]
    pixels: Pixels
    points: tuple[Points, ...]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a face's crop lies. matrix: float64 (2, 3), picture -> crop (x, y). points: (478, 2) px in the picture."""

    matrix: NDArray[np.float64]
    points: Points


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the networks get of a photo.

    canvases: for each network, by its card, in order; the whole picture is the first, the crops of the faces at
    `places` are the others.
    """

    canvases: tuple[tuple[StyleCard, tuple[Canvas, ...]], ...]
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, eq=False)
class Layers:
    """A photo drawn, not yet painted. stack: float32 (11, H, W), as large as the scene's pixels, which it fits."""

    scene: Scene
    stack: compose.Stack


class Stopwatch:
    """Seconds per step of one photo, in the steps' order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Time a step that ends well."""
        began = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - began


def as_photo(photo: Pixels | Photo) -> Photo:
    """An array as a Photo; raises UnreadableError when it is not uint8 (H, W, 3) with some pixels in it."""
    if isinstance(photo, Photo):
        return photo
    array = np.asarray(photo)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise UnreadableError(
            f"the photo must be a uint8 array (H, W, 3) of sRGB; got {array.dtype} {array.shape}: convert it first."
        )
    return Photo(np.ascontiguousarray(array))


def planned(photo: Photo, options: Options, card: StyleCard, most_pixels: int, crops: bool = True) -> Plan:
    """The sizes of a drawing: as asked, as far as LARGEST_DRAWN and most_pixels allow; drawn no larger than the photo
    is (or HOME_SIZE)."""
    given = photo.pixels.shape
    wanted = result_shape(given, options.size)
    shrink = (most_pixels / (wanted[0] * wanted[1])) ** 0.5
    side = max(1, min(max(wanted), LARGEST_DRAWN, int(max(wanted) * min(1.0, shrink))))
    painted = wanted if side == max(wanted) else result_shape(given, side)
    most = max(*given[:2], HOME_SIZE)
    drawn = painted if max(painted) <= most else result_shape(given, most)
    return Plan(card, replace(options, style=card.id), painted, drawn, crops)  # the id also where a path was given


def seen(photo: Photo, plan: Plan, detector: Detector, matte: Matte, clock: Stopwatch) -> tuple[Scene, Plane]:
    """Find the faces and the people, at the size to draw, faces exaggerated; the mask of the people is (H, W), 0..1."""
    with clock.time("detect"):
        faces = detector.detect(photo.pixels)
    with clock.time("matte"):
        person = smoothstep(matte(photo.pixels, faces), *MATTE_EDGE)
    with clock.time("warp"):
        pixels, person = resize(photo.pixels, plan.drawn), resize(person, plan.drawn)
        scale = np.divide(plan.drawn[::-1], photo.pixels.shape[1::-1], dtype=np.float32)
        amount = plan.card.exaggeration * plan.options.exaggeration * plan.options.strength
        warped = []
        for face in faces:
            pixels, person, points = warp(pixels, person, face.landmarks * scale, amount)
            warped.append(points)
    return Scene(photo, faces, pixels, tuple(warped)), person


def enlarged(layers: Layers, shape: Shape) -> Layers:
    """The layers, not the picture: lines and outline stay crisp; the scene with them."""
    scene = layers.scene
    if max(shape) <= max(scene.pixels.shape[:2]):
        return layers
    stack = compose.enlarge(layers.stack, shape)
    points = tuple(points * np.float32(shape[0] / scene.pixels.shape[0]) for points in scene.points)
    return Layers(replace(scene, pixels=resize(scene.pixels, shape), points=points), stack)


def finished(layers: Layers, plan: Plan, clock: Stopwatch) -> Cartoon:
    """Paint the layers in the style, in front of the background, at the size asked for."""
    scene, options, photo = layers.scene, plan.options, layers.scene.photo
    with clock.time("render"):
        card = plan.card
        asked = Asked(card.painter, card.texture, options.strength, options.background, seed_of(photo.pixels))
        picture, cover = render(layers.stack, scene.pixels, scene.points, asked)
    shape = result_shape(photo.pixels.shape, options.size)
    with clock.time("resize"):
        pixels = resize(compose.to_uint8(picture), shape)
        alpha = _joined_alpha(photo.alpha, cover, shape)
    effective = min(max(plan.drawn), max(photo.pixels.shape[:2]))
    notes = []  # on the drawing; those on the photo stay with the photo
    if not scene.faces:
        notes.append("No face found: the whole picture was drawn as it is.")
    if effective < max(shape):
        notes.append(f"Drawn from {effective} px and enlarged to {max(shape)} px.")
    return Cartoon(pixels, options.style, scene.faces, effective, clock.seconds, alpha, tuple(notes))


def _joined_alpha(given: Alpha | None, cover: Plane | None, shape: Shape) -> Alpha | None:
    """The photo's own transparency and the cut-out person's, multiplied."""
    alphas = [resize(given, shape)] if given is not None else []
    if cover is not None:
        alphas.append(resize(compose.to_uint8(cover), shape))
    if not alphas:
        return None
    if len(alphas) == 1:
        return alphas[0]
    return (alphas[0].astype(np.uint16) * alphas[1] // 255).astype(np.uint8)
