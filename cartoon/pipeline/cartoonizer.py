"""The resident pipeline: one photo in, one cartoon out.

decode (door) -> detect -> warp, guide, a crop per small or huge face -> network -> blend -> render -> size -> encode
(door).
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from cartoon.faces.detector import Detector, MediaPipeDetector
from cartoon.faces.segmentation import PersonMask
from cartoon.images.types import Cartoon, Face, Photo, Pixels
from cartoon.memory import Ticket, one_heap
from cartoon.models.devices import devices, pick_device, pick_precision, use_cores
from cartoon.models.runtime import Canvas, StyleNet
from cartoon.options import Care, Options, Size
from cartoon.pipeline import one_file, stages
from cartoon.pipeline.batcher import Batcher
from cartoon.pipeline.capacity import Capacity, free_on, watch
from cartoon.pipeline.methods import method_of
from cartoon.pipeline.networks import Residents, Upscalers
from cartoon.pipeline.one_file import Drawing
from cartoon.pipeline.redraw import RedrawBatchers
from cartoon.pipeline.scheduler import Scheduler, places_of
from cartoon.pipeline.stages import Inputs, Matte, Plan, Scene, Stopwatch, as_photo
from cartoon.quality.gate import Judge
from cartoon.settings import STYLES_DIR
from cartoon.styles.catalogue import Register, StyleCard
from cartoon.telemetry import metrics

log = logging.getLogger(__name__)


class Cartoonizer:
    """Draws photos; loaded once per process, safe to call from several threads, which share the network's passes.

    A style is named by its id or by the path of a style file; one of the user's own is loaded when it is first used.
    nets: the shipped styles on each device.
    """

    def __init__(
        self,
        nets: Sequence[StyleNet],
        register: Register,
        detector: Detector,
        matte: Matte,
        upscalers: Upscalers | None = None,
    ) -> None:
        first, shipped = nets[0], register.shipped[0]
        kind, names = first.device.type, [str(net.device) for net in nets]
        self.device, self.precision = ", ".join(names), first.precision
        self.model = shipped.file.removesuffix(".safetensors")
        self._register, self._detector, self._matte = register, detector, matte
        self.scheduler = Scheduler(kind, len(nets))
        self.at_once = self.scheduler.at_once
        capacity = Capacity(kind, first.precision, free_on(first.device))
        self.batcher = Batcher([Residents(net, shipped) for net in nets], capacity)
        self._redraw = RedrawBatchers([net.device for net in nets], shipped)
        # What the nets have chosen by themselves an upscaler may choose otherwise.
        asked = "auto" if first.precision == pick_precision(first.device, "auto") else first.precision
        self._upscalers = upscalers or Upscalers(register.folder or STYLES_DIR, names[0], asked)
        for net in nets:
            watch(net.device)

    @classmethod
    def load(cls, device: str = "auto", precision: str = "auto", styles_dir: Path | None = STYLES_DIR) -> "Cartoonizer":
        """Load the shipped styles: onto "cpu" or "cuda:N", every GPU there is for "cuda", "auto" for those or the CPU.

        styles_dir: the folder of the user's own styles; it may be missing. `precision` of what is loaded is the one
        that is used: fp32 where a device turns out to compute another one wrong.
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
        places = places_of(nets[0].device.type, len(nets))
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

    def draw(self, photo: Photo, options: Options, *, urgent: bool = True) -> Cartoon:
        """Draw one photo as the options ask, when its turn comes; one that is not urgent lets those go first."""
        with metrics.photo_under_way(options.style):
            cartoon = self._draw(photo, options, Ticket(later=not urgent))
            metrics.photo_done(cartoon.style, cartoon.seconds)
            return cartoon

    def draw_file(
        self, source: Callable[[], Photo], options: Options, *, urgent: bool = True, judge: Judge | None = None
    ) -> Drawing:
        """The photo that `source` gives, drawn and encoded, past the judge if there is one: one_file.draw_file."""
        return one_file.draw_file(self, source, options, urgent=urgent, judge=judge)

    def redraw(self, photo: Photo, options: Options, care: Care) -> Cartoon:
        """Draw once more, and differently, what came out wrong; as `draw`, behind whatever is urgent."""
        return self._draw(photo, options, Ticket(later=True), care)

    def submit(self, photo: Photo, options: Options, *, urgent: bool = True) -> "Future[Cartoon]":
        """As draw, in a thread of this Cartoonizer's; `at_once` are under way at a time, the rest may be cancelled."""
        return self.scheduler.submit(partial(self.draw, photo, options, urgent=urgent), urgent)

    def draw_all(self, photos: Sequence[Photo], options: Options) -> list[Cartoon]:
        """Draw many photos as the options ask; those of one size share the network's passes."""
        futures = [self.submit(photo, options, urgent=False) for photo in photos]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        """Every face in uint8 (H, W, 3) sRGB."""
        return self._detector.detect(pixels)

    def canvases(self, photo: Photo, options: Options) -> list[Canvas]:
        """What the network gets of a photo: the whole of it, then a crop for each face too small or too large."""
        _, inputs = self._prepared(photo, self._planned(photo, options, None), Stopwatch())
        return list(inputs.canvases[0][1])

    def warm(self) -> None:
        """Draw a picture of nobody at the usual size, uncounted: the first draw in a process takes twice as long.

        Raises ResourceError when there is too little memory even for that.
        """
        options = Options()
        assert options.size != "original"
        noise = np.random.default_rng(0).integers(0, 255, (options.size, options.size, 3), np.uint8)
        # In a thread of the scheduler's, so that close() waits for it as for any other photo.
        self.scheduler.submit(partial(self._draw, Photo(noise), options, Ticket()), urgent=True).result()

    def close(self) -> None:
        """Finish what is under way; what waits is cancelled or gets a ResourceError."""
        self.scheduler.stop()
        self.batcher.close()
        self._redraw.close()
        self.scheduler.join()

    def _draw(self, photo: Photo, options: Options, ticket: Ticket, care: Care | None = None) -> Cartoon:
        """All steps of one photo, each when its turn comes; what a step has used up is let go before the next."""
        plan, clock = self._planned(photo, options, care), Stopwatch()
        method, scheduler = method_of(plan.card), self.scheduler
        with scheduler.memory(ticket, plan.painted[0] * plan.painted[1]) as trim:
            with scheduler.preparing.admit(ticket):
                scene, inputs = self._prepared(photo, plan, clock)
            batcher = self._redraw.of(care.tiles) if care and care.precise else self.batcher
            with clock.time("network"):
                drawn = [one for card, some in inputs.canvases for one in batcher.draw(card, some, ticket)]
                places = inputs.places
                del inputs
                trim()
            with scheduler.finishing.admit(ticket):
                with clock.time("compose"):
                    layers = method.composed(scene, places, drawn, plan)
                    del scene, drawn  # of a large photo they are hundreds of megabytes
                    layers = stages.enlarged(layers, plan.painted)
                cartoon = stages.finished(layers, plan, clock)
                del layers
        return cartoon if options.upscale == 1 else self._upscaled(cartoon, options.upscale, ticket)

    def _planned(self, photo: Photo, options: Options, care: Care | None) -> Plan:
        card = self._register.find(options.style)
        return stages.planned(photo, options, card, self.scheduler.most_pixels, care is None or care.crops)

    def _prepared(self, photo: Photo, plan: Plan, clock: Stopwatch) -> tuple[Scene, Inputs]:
        """Everything before the network: faces, the warp, the guide, the crops."""
        scene, person = stages.seen(photo, plan, self._detector, self._matte, clock)
        with clock.time("guide"):
            return scene, method_of(plan.card).prepared(scene, person, plan)

    def _upscaled(self, cartoon: Cartoon, scale: int, ticket: Ticket) -> Cartoon:
        """The drawing enlarged by the best network there is."""
        began = time.perf_counter()
        upscaler = self._upscalers.of(scale)
        large = upscaler.upscale(cartoon.pixels, cartoon.alpha, self.scheduler.enlarging.admit(ticket))
        seconds = {**cartoon.seconds, "upscale": time.perf_counter() - began}
        note = f"Enlarged {scale} times by {upscaler.name}."
        return replace(cartoon, pixels=large.pixels, alpha=large.alpha, seconds=seconds, notes=(*cartoon.notes, note))
