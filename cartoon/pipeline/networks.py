"""The networks in memory: the shipped one always; a few of the user's own and those that enlarge once asked for."""

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cartoon.models.runtime import StyleNet
from cartoon.pipeline.upscaler import Upscaler
from cartoon.styles.catalogue import StyleCard

if TYPE_CHECKING:
    from cartoon.models.dctnet import GraphNet

log = logging.getLogger(__name__)

MOST_OWN: Final = 6
"""Networks kept beside the shipped one; each takes 12 MB in single precision. DCT-Net's styles have two."""
GRAPH: Final = ".pb"


class Residents:
    """Finds the network that draws a style; all are on the shipped one's device. One caller at a time."""

    def __init__(self, net: StyleNet, shipped: StyleCard) -> None:
        self._net, self._shipped = net, shipped
        self._own: OrderedDict[str, StyleNet | GraphNet] = OrderedDict()

    def of(self, card: StyleCard) -> "StyleNet | GraphNet":
        """The network of a style; a file that was trained again is another one. The least recently used leaves first.

        Raises StyleError when the file is not what its card says, ResourceError when there is no memory for it.
        """
        if card.sha256 == self._shipped.sha256:
            return self._net
        if card.sha256 not in self._own:
            while len(self._own) >= MOST_OWN:
                self._own.popitem(last=False)
            log.info("loading the style %s", card.id)
            self._own[card.sha256] = self._load(card)
        self._own.move_to_end(card.sha256)
        return self._own[card.sha256]

    def _load(self, card: StyleCard) -> "StyleNet | GraphNet":
        device, precision = str(self._net.device), self._net.precision
        if card.path.suffix == GRAPH:
            from cartoon.models.dctnet import GraphNet  # most never need it

            return GraphNet(card.path, card.sha256, device, precision)
        return StyleNet(card.path, card.sha256, device, precision)


class Upscalers:
    """The networks that enlarge, on one device: for each scale the best there is, loaded once, in whichever thread."""

    def __init__(self, folder: Path, device: str, precision: str) -> None:
        """folder: where `styles add` puts weights. precision: as Upscaler.best takes it, also "auto"."""
        self._folder, self._device, self._precision = folder, device, precision
        self._loading = threading.Lock()
        self._loaded: dict[int, Upscaler] = {}

    def of(self, scale: int) -> Upscaler:
        """The network for a scale: Swin2SR where it was added, else the small one. Raises StyleError, ResourceError."""
        with self._loading:
            if scale not in self._loaded:
                self._loaded[scale] = Upscaler.best(scale, self._folder, self._device, self._precision)
            return self._loaded[scale]
