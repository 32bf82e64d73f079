"""The resident pipeline: one photo in, one cartoon out.

decode (door) -> detect -> warp, guide, a crop per small or huge face -> network -> blend -> render -> size -> encode
(door).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from cartoon.admission import Gate, Ticket
from cartoon.drawing import compose
from cartoon.drawing.morph import carried, flow_between
from cartoon.drawing.render import Asked, render
from cartoon.drawing.textures import seed_of
from cartoon.errors import UnreadableError
from cartoon.faces.detector import Detector, MediaPipeDetector
from cartoon.faces.guide import Plane, Points, draw_guide, face_width, smoothstep
from cartoon.faces.segmentation import PersonMask
from cartoon.faces.warp import Crop, align, warp
from cartoon.images.resize import drawing_share, resize, result_shape
from cartoon.images.types import Alpha, Cartoon, Face, Photo, Pixels
from cartoon.memory import give_back, one_heap
from cartoon.models.cores import usable_cores
from cartoon.models.devices import devices, pick_device, pick_precision, use_cores
from cartoon.models.layers import ALPHA, FOREGROUND
from cartoon.models.runtime import Canvas, Drawn, StyleNet
from cartoon.options import Care, Options, Size
from cartoon.pipeline.batcher import Batcher
from cartoon.pipeline.capacity import Room, free_on, pixels_of_photos, watch
from cartoon.pipeline.dctnet_faces import Head, head_of, mask_of
from cartoon.pipeline.dctnet_faces import paste as paste_head
from cartoon.pipeline.networks import Residents
from cartoon.pipeline.redraw import Careful
from cartoon.pipeline.upscaler import Upscaler
from cartoon.settings import STYLES_DIR
from cartoon.styles.catalogue import Register, StyleCard
from cartoon.telemetry import metrics

log = logging.getLogger(__name__)

LARGEST_DRAWN: Final = 4096
"""Long side, px, of the largest picture drawn in one piece; above it the drawing is enlarged, and says so."""
LARGE: Final = 1 << 20
"""Pixels of a picture before and after which freed memory is handed back to the system."""
LEAST_SPACE: Final = 1 << 20
"""Pixels that a photo may have however little memory is free: one of 1024 px."""
HOME_SIZE: Final = 640
"""Long side, px, of the portraits the network learned from. A smaller photo is enlarged to it first: lines come out
crisper than when the drawing is enlarged."""
CPU_AT_ONCE: Final = 3
"""Photos drawn at the same time on a CPU: one is prepared while the network has another and a third is finished."""
CUDA_AT_ONCE: Final = 24
"""On each GPU: enough to fill its passes while others are prepared and finished."""

FACES_KNOWN: Final = (84.0, 400.0)
"""Widths, px, of the faces that the network draws well in the whole picture; others get a crop of their own, scaled."""
MATTE_EDGE: Final = (0.15, 0.85)
"""The mask is steepened between these, as it was for training."""

Matte = Callable[[Pixels, Sequence[Face]], Plane]


class Cartoonizer:
    """Draws photos; loaded once per process, safe to call from several threads, which share the network's passes.

    A style is named by its id or by the path of a style file; one of the user's own is loaded when it is first used.
    nets: the shipped styles on each device.
    """

    def __init__(self, nets: Sequence[StyleNet], register: Register, detector: Detector, matte: Matte) -> None:
        first, shipped = nets[0], register.shipped[0]
        self.device, self.precision = ", ".join(str(net.device) for net in nets), first.precision
        # What the nets have chosen by themselves an upscaler may choose otherwise.
        self._asked = "auto" if first.precision == pick_precision(first.device, "auto") else first.precision
        self.model = shipped.file.removesuffix(".safetensors")
        self._register, self._detector, self._matte = register, detector, matte
        room = Room(first.device.type, first.precision, free_on(first.device))
        self.batcher = Batcher([Residents(net, shipped) for net in nets], room)
        self._devices = [str(net.device) for net in nets]
        self._upscalers: dict[int, Upscaler] = {}
        self._loading = threading.Lock()
        self._careful = Careful([net.device for net in nets], shipped)
        for net in nets:
            watch(net.device)
        self.at_once: int = CPU_AT_ONCE if first.device.type == "cpu" else CUDA_AT_ONCE * len(nets)
        places = _places(nets)
        self._preparing, self._finishing = Gate(places), Gate(places)
        one, together = pixels_of_photos(first.device.type)
        self._most_pixels, self._space = max(LEAST_SPACE, one), Gate(max(LEAST_SPACE, together))
        self._pools = [ThreadPoolExecutor(self.at_once, thread_name_prefix=name) for name in ("urgent", "later")]

    @classmethod
    def load(cls, device: str = "auto", precision: str = "auto", styles_dir: Path | None = STYLES_DIR) -> "Cartoonizer":
        """Load the shipped styles: onto "cpu" or "cuda:N", every GPU there is for "cuda", "auto" for those or the CPU.

        styles_dir: the folder of the user's own styles; it may be missing. The artist's `precision` is the one that is
        used, which is fp32 where a device turns out to compute another one wrong.
        Raises OptionsError for a device that is not there, StyleError for damaged weights.
        """
        one_heap()
        register = Register(styles_dir)
        shipped = register.shipped[0]
        names = devices(device)
        use_cores(pick_device(names[0]))
        nets = [StyleNet(shipped.path, shipped.sha256, name, precision) for name in names]
        if len({net.precision for net in nets}) > 1:  # a photo is to come out the same, whichever GPU draws it
            nets = [StyleNet(shipped.path, shipped.sha256, name, "fp32") for name in names]
        places = _places(nets)
        toon = cls(nets, register, MediaPipeDetector(places), PersonMask(places).matte)
        log.info("device %s, precision %s, model %s", toon.device, toon.precision, toon.model)
        return toon

    @property
    def styles(self) -> tuple[StyleCard, ...]:
        """The styles on offer now: the shipped ones and those in the folder of the user's own."""
        return self._register.cards()

    def __call__(
        self,
        photo: Pixels | Photo,
        *,
        style: str = "anime",
        strength: float = 0.7,
        size: Size = 1024,
        exaggeration: float = 0.5,
        background: str = "drawn",
        upscale: int = 1,
    ) -> Cartoon:
        """Draw one photo: uint8 (H, W, 3) sRGB, or a Photo.

        Raises OptionsError, StyleError, InputError or ResourceError.
        """
        options = Options(style, strength, size, exaggeration, background, upscale=upscale)
        return self.draw(as_photo(photo), options)

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """Draw one photo as the options ask, when its turn comes; one that is not urgent lets those go first."""
        with metrics.photo_under_way(options.style):
            cartoon = self._draw(photo, options, Ticket(later=not urgent))
            metrics.photo_done(cartoon.style, cartoon.seconds)
            return cartoon

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        """Draw once more, and differently, what came out wrong; as `draw`, behind whatever is urgent."""
        return self._draw(photo, options, Ticket(later=True), care)

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """Every face in uint8 (H, W, 3) sRGB."""
        return self._detector.detect(pixels)

    def warm(self) -> None:
        """Draw a picture of nobody at the usual size, uncounted: the first draw in a process takes twice as long.

        Raises ResourceError when there is too little memory even for that.
        """
        options = Options()
        assert options.size != "original"
        noise = np.random.default_rng(0).integers(0, 255, (options.size, options.size, 3), np.uint8)
        # In a pool, so that close() waits for it as for any other photo.
        self._pools[0].submit(self._draw, Photo(noise), options, Ticket()).result()

    def _draw(self, photo: Photo, options: Options, ticket: Ticket, care: Care | None = None) -> Cartoon:
        card = self._register.find(options.style)
        options = replace(options, style=card.id)  # also where a path was given
        painted = self._painted_shape(photo, options)
        pixels = painted[0] * painted[1]
        large = pixels > LARGE
        with self._space.turn(ticket, pixels):
            if large:
                give_back()
            with self._preparing.turn(ticket):
                sketch = self._prepare(photo, options, card, painted, crops=care is None or care.crops)
            batcher = self._careful.batcher(care.tiles) if care and care.precise else self.batcher
            with sketch.timed("network"):
                sketch.drawn = batcher.draw(card, sketch.canvases, ticket)
                if card.head and sketch.heads:
                    faces = [
                        Canvas(head.pixels, np.zeros((1, *head.pixels.shape[:2]), np.uint8)) for head in sketch.heads
                    ]
                    sketch.drawn += batcher.draw(card.head, faces, ticket)
                sketch.canvases = []
                if large:
                    give_back()
            with self._finishing.turn(ticket):
                cartoon = _finish(sketch, options, card)
            if large:
                give_back()
        return cartoon if options.upscale == 1 else self._upscaled(cartoon, options.upscale)

    def _upscaled(self, cartoon: Cartoon, scale: int) -> Cartoon:
        """The drawing enlarged by the best network there is: Swin2SR where it was added, else the small one."""
        began = time.perf_counter()
        with self._loading:
            if scale not in self._upscalers:
                folder = self._register.folder or STYLES_DIR
                self._upscalers[scale] = Upscaler.best(scale, folder, self._devices[0], self._asked)
        upscaler = self._upscalers[scale]
        large = upscaler.upscale(cartoon.pixels, cartoon.alpha)
        seconds = {**cartoon.seconds, "upscale": time.perf_counter() - began}
        note = f"Enlarged {scale} times by {upscaler.name}."
        return replace(cartoon, pixels=large.pixels, alpha=large.alpha, seconds=seconds, notes=(*cartoon.notes, note))

    def submit(self, photo: Photo, options: Options, *, urgent: bool = True) -> "Future[Cartoon]":
        """As draw, in a thread of this Cartoonizer's; `at_once` are under way at a time, the rest may be cancelled."""
        return self._pools[0 if urgent else 1].submit(self.draw, photo, options, urgent=urgent)

    def canvases(self, photo: Photo, options: Options) -> list[Canvas]:
        """What the network gets of a photo: the whole of it, then a crop for each face too small or too large."""
        card = self._register.find(options.style)
        return self._prepare(photo, options, card, self._painted_shape(photo, options)).canvases

    def close(self) -> None:
        """Finish what is under way; what waits is cancelled or gets a ResourceError."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self.batcher.close()
        self._careful.close()
        for pool in self._pools:
            pool.shutdown()

    def batch(
        self,
        photos: Sequence[Pixels | Photo],
        *,
        style: str = "anime",
        strength: float = 0.7,
        size: Size = 1024,
        exaggeration: float = 0.5,
        background: str = "drawn",
        upscale: int = 1,
    ) -> list[Cartoon]:
        """Draw many photos alike: same order, same pixels as one by one."""
        options = Options(style, strength, size, exaggeration, background, upscale=upscale)
        return self.draw_all([as_photo(photo) for photo in photos], options)

    def draw_all(self, photos: Sequence[Photo], options: Options) -> list[Cartoon]:
        """Draw many photos as the options ask; those of one size share the network's passes."""
        futures = [self.submit(photo, options, urgent=False) for photo in photos]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _painted_shape(self, photo: Photo, options: Options) -> tuple[int, int]:
        """(height, width) that a photo is painted at: as asked, as far as LARGEST_DRAWN and the memory allow."""
        wanted = result_shape(photo.pixels.shape, options.size)
        shrink = (self._most_pixels / (wanted[0] * wanted[1])) ** 0.5
        side = max(1, min(max(wanted), LARGEST_DRAWN, int(max(wanted) * min(1.0, shrink))))
        return wanted if side == max(wanted) else result_shape(photo.pixels.shape, side)

    def _prepare(
        self, photo: Photo, options: Options, card: StyleCard, painted: tuple[int, int], crops: bool = True
    ) -> "_Sketch":
        """Everything before the network: faces, the warp, the guide, the crops."""
        sketch = _Sketch(photo, painted, _drawn_shape(photo.pixels.shape, painted))
        with sketch.timed("detect"):
            sketch.faces = self._detector.detect(photo.pixels)
        with sketch.timed("matte"):
            person = smoothstep(self._matte(photo.pixels, sketch.faces), *MATTE_EDGE)
        with sketch.timed("warp"):
            pixels, person = resize(photo.pixels, sketch.shape), resize(person, sketch.shape)
            scale = np.divide(sketch.shape[::-1], photo.pixels.shape[1::-1], dtype=np.float32)
            amount = card.exaggeration * options.exaggeration * options.strength
            for face in sketch.faces:
                pixels, person, points = warp(pixels, person, face.landmarks * scale, amount)
                sketch.points.append(points)
        sketch.warped = pixels
        with sketch.timed("guide"):
            sketch.canvases = [Canvas(pixels, draw_guide(person, sketch.points))]
            if card.head:
                sketch.heads = [head_of(pixels, points) for points in sketch.points]
            for points in sketch.points if crops and not card.head else ():
                if FACES_KNOWN[0] <= face_width(points) <= FACES_KNOWN[1]:
                    continue
                crop = align(pixels, person, points)
                sketch.crops.append((crop, points))
                sketch.canvases.append(Canvas(crop.pixels, draw_guide(crop.person, [crop.landmarks])))
        return sketch


@dataclass(eq=False)
class _Sketch:
    """One photo on its way through the pipeline. painted, shape: (height, width) to paint and for the network."""

    photo: Photo
    painted: tuple[int, int]
    shape: tuple[int, int]
    faces: tuple[Face, ...] = ()
    points: list[Points] = field(default_factory=list)
    warped: Pixels = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    crops: list[tuple[Crop, Points]] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    canvases: list[Canvas] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def enlarge(self, shape: tuple[int, int]) -> None:
        """Carry what composing needs to (height, width)."""
        self.points = [points * np.float32(shape[0] / self.warped.shape[0]) for points in self.points]
        self.warped = resize(self.warped, shape)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - began


def _finish(sketch: _Sketch, options: Options, card: StyleCard) -> Cartoon:
    """Everything after the network: blend, background, colour, size."""
    with sketch.timed("compose"):
        stack = sketch.drawn[0].stack
        if card.head:
            mask = mask_of(Path(card.mask) if card.mask else None)
            for head, drawn in zip(sketch.heads, sketch.drawn[1:], strict=True):
                paste_head(stack, drawn.stack, head, mask)
            meet(stack, sketch, drawing_share(options.strength))
        else:
            for (crop, points), drawn in zip(sketch.crops, sketch.drawn[1:], strict=True):
                compose.paste(stack, drawn.stack, crop, points)
        sketch.drawn, sketch.crops = [], []
        shape = result_shape(sketch.photo.pixels.shape, options.size)
        if max(sketch.painted) > max(sketch.shape):  # the layers, not the picture: lines and outline stay crisp
            stack = compose.enlarge(stack, sketch.painted)
            sketch.enlarge(sketch.painted)
    with sketch.timed("render"):
        asked = Asked(card.painter, card.texture, options.strength, options.background, seed_of(sketch.photo.pixels))
        picture, cover = render(stack, sketch.warped, sketch.points, asked)
    with sketch.timed("resize"):
        pixels = resize(compose.to_uint8(picture), shape)
        alpha = _joined_alpha(sketch.photo.alpha, cover, shape)
    effective = min(max(sketch.shape), max(sketch.photo.pixels.shape[:2]))
    notes = []  # on the drawing; those on the photo stay with the photo
    if not sketch.faces:
        notes.append("No face found: the whole picture was drawn as it is.")
    if effective < max(shape):
        notes.append(f"Drawn from {effective} px and enlarged to {max(shape)} px.")
    return Cartoon(pixels, options.style, sketch.faces, effective, sketch.seconds, alpha, tuple(notes))


def meet(stack: compose.Stack, sketch: _Sketch, share: float) -> None:
    """Bring photo and drawing to one geometry, so that a strength below 1 does not show two outlines."""
    if share >= 1:
        return
    drawing = compose.to_uint8(stack[FOREGROUND].transpose(1, 2, 0))
    flow = flow_between(sketch.warped, drawing)
    sketch.warped = np.asarray(carried(sketch.warped, flow, share), np.uint8)
    for plane in stack[: ALPHA + 1]:
        plane[:] = carried(plane, flow, share - 1)


def _places(nets: Sequence[StyleNet]) -> int:
    """Photos that may be prepared, and finished, at the same time: on a CPU the network wants every core."""
    return 1 if nets[0].device.type == "cpu" else min(usable_cores(), CUDA_AT_ONCE * len(nets))


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


def _drawn_shape(shape: Sequence[int], painted: tuple[int, int]) -> tuple[int, int]:
    """(height, width) the network draws at: as painted, but no larger than the photo is (or HOME_SIZE)."""
    most = max(*shape[:2], HOME_SIZE)
    return painted if max(painted) <= most else result_shape(shape, most)


def _joined_alpha(given: Alpha | None, cover: Plane | None, shape: tuple[int, int]) -> Alpha | None:
    """The photo's own transparency and the cut-out person's, multiplied."""
    alphas = [resize(given, shape)] if given is not None else []
    if cover is not None:
        alphas.append(resize(compose.to_uint8(cover), shape))
    if not alphas:
        return None
    if len(alphas) == 1:
        return alphas[0]
    return (alphas[0].astype(np.uint16) * alphas[1] // 255).astype(np.uint8)
