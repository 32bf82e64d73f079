"""A real run, killed at random moments and resumed, loses nothing and draws nothing twice."""

from pathlib import Path

import pytest

from tests.kill import kill_and_resume


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    seen = kill_and_resume(tmp_path, photos=30, kills=5)
    assert seen["kills"] == 5
    assert seen["drawn_again"] == 0
