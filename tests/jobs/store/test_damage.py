"""Damaged files of jobs: the server starts, shows what can be told of them, and no outcome on another photo."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cartoon.errors import DamagedError, MissingError
from cartoon.jobs.service.creation import JobRequest
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.store import salvage
from tests import ROOT
from tests.fakes import FakeStylizer, spec_of
from tests.jobs.service.test_jobs import PIXELS, SMALL, at_rest, model_of, send


def damaged(count: int, seed: int) -> dict[str, int]:
    """What the long version says."""
    command = [sys.executable, "-m", "tests.damage", "--count", str(count), "--seed", str(seed)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    came: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
    return came


def test_sixty_random_damages_to_jobs_of_a_server_and_of_the_command_line() -> None:
    came = damaged(60, seed=7)
    assert came["damaged"] > 15 < came["finished"]
    assert came["refused"] > 10 < came["went on"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_random_damages(seed: int) -> None:
    assert damaged(200, seed)["damaged"] > 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a finished job of four photos, one of them bad, that nobody has open."""
    service = JobService(tmp_path / "jobs", spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(
        send(tmp_path / "in", "a.png", "bad.jpg", "b.png", "c.png"), JobRequest(SMALL, "ann", title="four")
    )
    at_rest(service, id)
    service.close()
    return tmp_path / "jobs" / id


def opened(folder: Path) -> JobService:
    return JobService(folder.parent, spec_of(FakeStylizer()), model_of, PIXELS)


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def without_sums(folder: Path) -> None:
    """The files as earlier versions wrote them."""
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({k: v for k, v in told.items() if k not in ("sum", "items")}))
    (folder / "manifest.copy.json").unlink()
    for name in ("items.jsonl", "journal.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        plain = [json.dumps({key: value for key, value in line.items() if key != "sum"}) + "\n" for line in lines]
        (folder / name).write_text("".join(plain))


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        ("manifest.json", "anime"),
        ("manifest.json", "64"),
        ("manifest.json", "0."),
        ("items.jsonl", "a.png"),
        ("items.jsonl", "sha256"),
        ("journal.jsonl", "a.png"),
        ("journal.jsonl", "0."),
        ("journal.jsonl", "done"),
    ],
)
def test_one_wrong_letter_is_noticed(folder: Path, name: str, letter: str) -> None:
    path = folder / name
    text = path.read_text()
    at = text.index(letter)
    path.write_text(text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :])
    service = opened(folder)
    status = service.status(folder.name)
    assert status.state == "damaged"
    assert name in status.reason
    assert status.reason.endswith("send the other photos as a new job.")
    assert [one.id for one in service.jobs("ann")] == [folder.name], "its owner sees it"
    assert status.order.title == "four"
    service.close()


def test_a_damaged_job_shows_what_can_be_tied_to_its_photos_and_can_be_removed(folder: Path) -> None:
    rewrite(folder / "items.jsonl", lambda lines: [lines[0], "{broken\n", *lines[2:]])
    rewrite(folder / "journal.jsonl", lambda lines: [line.replace("c.png", "b.png") for line in lines])
    service = opened(folder)
    assert service.status(folder.name).counts.done == 2
    assert {attempt.item.name for attempt in service.settled(folder.name)} == {"a.png", "bad.jpg", "b.png"}
    rows = service.rows(folder.name)
    assert [row.photo for row in rows] == ["a.png", "bad.jpg", "b.png", "c.png"]
    assert [row.outcome for row in rows] == ["done", "failed", "done", "waiting"]
    for act in (service.resume, service.retry):
        with pytest.raises(DamagedError, match=r"line 2 of items.jsonl is not what was written and 1 more"):
            act(folder.name)
    service.pause(folder.name)
    service.cancel(folder.name)
    assert service.status(folder.name).state == "damaged"
    service.remove(folder.name)
    with pytest.raises(MissingError):
        service.status(folder.name)
    assert list(folder.parent.iterdir()) == []
    service.close()


def test_what_only_the_journal_tells_of_is_shown_and_the_rest_has_a_place(folder: Path) -> None:
    (folder / "items.jsonl").unlink()
    rewrite(folder / "journal.jsonl", lambda lines: [line for line in lines if "b.png" not in line])
    told = salvage.read(folder)
    assert told.damage == ("items.jsonl is missing",)
    assert [str(entry.output) for entry in told.entries] == [
        "a.png",
        "bad.jpg",
        "photo 3 (its name is lost).png",
        "c.png",
    ]
    assert sorted(told.state.settled) == [0, 1, 3]


@pytest.mark.parametrize("kind", ["line", "all"])
def test_lines_of_another_job_are_none_of_this_one(folder: Path, tmp_path: Path, kind: str) -> None:
    service = opened(folder)
    other = service.create(send(tmp_path / "in2", "a.png", "x.jpg", "b.png", "c.png"), JobRequest(SMALL))
    at_rest(service, other)
    service.close()
    theirs = (folder.parent / other / "items.jsonl").read_text()
    rewrite(
        folder / "items.jsonl", lambda lines: [theirs] if kind == "all" else [theirs.splitlines(True)[0], *lines[1:]]
    )
    told = salvage.read(folder)
    assert told.damage
    assert str(told.entries[0].item.source).startswith("a.png"), "as its own journal tells"


def test_a_job_of_an_earlier_version_opens_and_goes_on(folder: Path) -> None:
    without_sums(folder)
    rewrite(folder / "journal.jsonl", lambda lines: lines[:-1])
    service = opened(folder)
    assert at_rest(service, folder.name) == "finished"
    assert service.status(folder.name).counts.done == 3
    service.close()
    assert salvage.read(folder).damage == ()


@pytest.mark.parametrize(("old", "new"), [('"item": 0', '"item": 2'), ('"path": "a.png"', '"path": "b.png"')])
@pytest.mark.parametrize("name", ["items.jsonl", "journal.jsonl"])
def test_numbers_and_names_without_a_checksum_are_compared(folder: Path, name: str, old: str, new: str) -> None:
    without_sums(folder)
    rewrite(folder / name, lambda lines: [line.replace(old, new) for line in lines])
    told = salvage.read(folder)
    assert told.damage
    for number, attempt in told.state.settled.items():
        name = told.entries[number].item.name
        assert attempt.output is None or attempt.output.stem == Path(name).stem
    assert 0 not in told.state.settled


def test_a_torn_last_line_and_nothing_else_is_what_a_crash_leaves(folder: Path) -> None:
    for name in ("items.jsonl", "journal.jsonl", "started.jsonl"):
        with (folder / name).open("ab") as file:
            file.write(b'{"item": 9, "pa')
    assert salvage.read(folder).damage == ()
    first = (folder / "items.jsonl").read_bytes().index(b"\n") + 1
    os.truncate(folder / "items.jsonl", first + 20)
    assert salvage.read(folder).damage == ("items.jsonl lacks 3 of its lines",)


def test_what_a_killed_process_had_not_begun_is_no_job_and_goes(folder: Path) -> None:
    left = folder.parent / ("e" * 32)
    (left / "inputs").mkdir(parents=True)
    (left / "results").mkdir()
    (left / "inputs" / "000000").write_bytes(b"x")
    service = opened(folder)
    with pytest.raises(MissingError):
        service.status(left.name)
    service.sweep(3600)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    service.close()
