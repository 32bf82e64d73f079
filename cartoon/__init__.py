"""Cartoon: portraits to cartoons, one photo or ten thousand.

`Cartoonizer.load()` is the way in, `Options` what a drawing is asked for, `Photo` what may go in and `Cartoon` what
comes out. Each is imported at its first use, so that `import cartoon` and `cartoon --help` cost nothing.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Cartoon", "Cartoonizer", "Options", "Photo", "__version__"]

if TYPE_CHECKING:
    from cartoon.images.types import Cartoon, Photo
    from cartoon.options import Options
    from cartoon.pipeline.cartoonizer import Cartoonizer
else:  # hidden from type checkers, to which any name would be right
    _HOMES = {
        "Cartoon": "cartoon.images.types",
        "Cartoonizer": "cartoon.pipeline.cartoonizer",
        "Options": "cartoon.options",
        "Photo": "cartoon.images.types",
    }

    def __getattr__(name: str) -> object:
        """A public name, at its first use (PEP 562)."""
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
