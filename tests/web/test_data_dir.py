"""Where the server keeps things: it lasts where it can, says so where it cannot, and is private and swept."""

import logging
import os
import time
from pathlib import Path

import pytest

from cartoon.settings import Settings
from cartoon.web.data_dir import KEPT_SECONDS, VISITORS, open_data_dir


def test_jobs_last_in_the_users_own_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARTOON_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert Settings().data_dir == Path("/somewhere/cartoon")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # the specification has it ignored
    monkeypatch.setenv("HOME", "/home/ann")
    assert Settings().data_dir == Path("/home/ann/.local/share/cartoon")
    monkeypatch.setenv("CARTOON_DATA_DIR", "/told")
    assert Settings().data_dir == Path("/told")


def test_a_folder_that_can_be_made_lasts_and_is_private(tmp_path: Path) -> None:
    home = open_data_dir(tmp_path / "a" / "b")
    assert home.lasts
    assert home.folder.stat().st_mode & 0o077 == 0
    again = open_data_dir(tmp_path / "a" / "b")
    assert again == home
    assert again.secret() == home.secret()
    assert len(home.secret()) == 32
    assert (home.folder / "secret").stat().st_mode & 0o077 == 0
    home.close()
    assert again.page.is_dir()  # a page that is open goes on after a restart


@pytest.mark.parametrize("blocked", [True, False])
def test_without_a_folder_to_write_a_temporary_one_is_used_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, blocked: bool
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        home = open_data_dir(tmp_path / "file" / "home" if blocked else None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "will not survive a restart" in caplog.text
    assert str(tmp_path) not in caplog.text
    assert not home.lasts
    assert home.folder.stat().st_mode & 0o077 == 0
    home.close()
    assert not home.folder.exists()


def test_what_was_left_behind_is_swept_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    home = open_data_dir(tmp_path)
    visitors = home.page / VISITORS
    left = [visitors / "ann" / "old", visitors / "bob" / "old", home.incoming / "cut-off"]
    young = [home.incoming / "young", visitors / "bob" / "young", home.page / "examples"]
    for folder in (*left, *young):
        folder.mkdir(parents=True)
    past = time.time() - KEPT_SECONDS - 60
    for folder in (*left, home.page / "examples"):
        os.utime(folder, (past, past))
    home.sweep()
    assert [folder.exists() for folder in (*left, *young)] == [False] * 3 + [True] * 3
    assert not (visitors / "ann").exists()
