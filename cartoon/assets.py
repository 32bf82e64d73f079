"""The files that come with the program: weights, style cards, MediaPipe's models, example portraits.

A checkout has them in `assets/`; a wheel carries that folder as `cartoon/data` (setup.py). Only this module knows.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(str(files("cartoon")))
_PACKED: Final = _PACKAGE / "data"

CHECKOUT: Final = None if _PACKED.is_dir() else _PACKAGE.parent
"""The checkout that this runs from, directly or by an editable install; None where it was installed from a wheel."""
ASSETS: Final = CHECKOUT / "assets" if CHECKOUT else _PACKED
"""The folder they lie in."""
EXAMPLES: Final = ASSETS / "examples"
