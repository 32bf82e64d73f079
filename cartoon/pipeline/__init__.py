"""One photo to one cartoon, on networks that stay in memory."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cartoon.pipeline.cartoonizer import Cartoonizer
    from cartoon.settings import Settings


def load_cartoonizer(settings: "Settings") -> "Cartoonizer":
    """The Cartoonizer that the settings ask for, in whichever process this is called; only the call imports torch.

    Doors hand it to executors of jobs, which send it to workers by its name.
    """
    from cartoon.pipeline.cartoonizer import Cartoonizer

    return Cartoonizer.load(settings.device, settings.precision, settings.styles_dir)
