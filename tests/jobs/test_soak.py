"""Short versions of the long runs: kills, damaged files among good ones, a batch through the server."""

from pathlib import Path

import pytest

from tests import ROOT
from tests.bad_files import mixed
from tests.kill import WAYS, Door, early_kills, kill_and_resume
from tests.soak import ten_thousand

pytestmark = pytest.mark.slow


def test_sigkill_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    seen = kill_and_resume(tmp_path, photos=30, kills=5)
    assert seen["kills"] == 5
    assert seen["drawn_again"] == 0


@pytest.mark.parametrize("door", WAYS)
def test_sigkill_soon_after_every_start_blames_nobody(tmp_path: Path, door: Door) -> None:
    seen = early_kills(tmp_path, photos=24, kills=5, door=door, since="drawing", seed=2)
    assert seen["photos"] == 24
    assert seen["interrupted"] > 0


def test_every_good_portrait_among_damaged_files_is_drawn(shared: Path, tmp_path: Path) -> None:
    portraits = sorted((shared / "data" / "portraits" / "large").rglob("*.jpg"))[:10]
    seen = mixed(shared / "data" / "bad-images", portraits, tmp_path)
    assert seen["good"] == seen["good_drawn"] == 10
    assert seen["failed"] > 20
    assert seen["failed_without_a_reason"] == seen["not_reached"] == 0
    assert seen["over_idle_mb"] <= 1536


def test_a_batch_through_the_server_finishes_and_its_page_answers(tmp_path: Path) -> None:
    seen = ten_thousand(tmp_path, 120, ROOT / "assets" / "examples")
    assert seen["photos"] == 120
    assert seen["page_answers"] > 0
