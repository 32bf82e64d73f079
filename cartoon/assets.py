"""The files that come with the program: weights, style cards, MediaPipe's models, example portraits."""

from pathlib import Path
from typing import Final

ASSETS: Final = Path(__file__).resolve().parents[1] / "assets"
"""The folder they lie in."""
EXAMPLES: Final = ASSETS / "examples"
