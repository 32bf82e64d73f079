"""What several tests need: the shared data beside the checkout, and small pictures made on the spot."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Painter = Callable[..., NDArray[np.uint8]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--update-golden: see tests/drawing/test_golden.py."""
    parser.addoption("--update-golden", action="store_true", help="draw the golden pictures of the styles anew")


def pytest_configure() -> None:
    """Where somebody says that there is shared data, as CI does, nothing may pass for tested that was skipped."""
    told = os.environ.get("CARTOON_SHARED")
    if told and not (Path(told) / "data").is_dir():
        raise pytest.UsageError(
            f"CARTOON_SHARED={told} leads to no shared data: correct it, or unset it to skip those tests"
        )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; tests that need it are skipped where it is missing and nobody promised it."""
    folder = Path(os.environ.get("CARTOON_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data at {folder}: set CARTOON_SHARED")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the home of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARTOON_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def paint() -> Painter:
    """A painter of small test pictures: `paint(height, width, seed=0)` -> uint8 (height, width, 3) sRGB.

    Two gradients, a disc and a bar, no symmetry: a turned or mirrored copy differs everywhere. Shows nobody.
    """

    def picture(height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        y, x = y / max(1, height - 1), x / max(1, width - 1)
        layers = np.stack((40 + 180 * x, 40 + 180 * y, 200 - 120 * x * y), axis=-1)
        rng = np.random.default_rng(seed)
        for _ in range(2):
            centre, colour = rng.uniform(0.2, 0.8, 2), rng.uniform(20, 235, 3)
            layers[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 0.02] = colour
        layers[: height // 6, : width // 3] = rng.uniform(20, 235, 3)
        pixels: NDArray[np.uint8] = np.rint(layers).astype(np.uint8)
        return pixels

    return picture
