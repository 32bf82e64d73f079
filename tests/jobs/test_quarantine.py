"""Only what crashes its process by itself is quarantined: not what was being drawn when somebody killed it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartoon.errors import ResourceError, UnreadableError
from cartoon.images.encode import encode
from cartoon.jobs import model as policy
from cartoon.jobs.executors.base import Executor, Load, WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.executors.process import ProcessExecutor
from cartoon.jobs.model import LAST_TRY_AFTER, SUSPICIOUS, Attempt, How, Losses, Order, next_try
from cartoon.jobs.queue import Waiting
from cartoon.jobs.runner import run
from cartoon.jobs.store import salvage
from cartoon.jobs.store.folder import open_order, resume
from cartoon.jobs.store.home import new_id
from cartoon.jobs.store.open_job import OpenJob
from cartoon.options import Options
from cartoon.settings import Settings
from tests import ROOT
from tests.fake_service import POISON
from tests.fakes import FakeStylizer, TroubledStylizer, spec_of

MOST_DEATHS = 1 + SUSPICIOUS + len(LAST_TRY_AFTER)
"""Of the whole program over one photo: in company, alone, and in last tries."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoon.jobs.queue.LAST_TRY_AFTER", (0.0, 0.0, 0.0))
    monkeypatch.setattr("cartoon.jobs.runner.OUTLIVE_SECONDS", 0.01)
    monkeypatch.setattr(policy, "BACK_OFF", (0.01, 0.02))


def make(folder: Path, *names: str) -> Path:
    """Small photos, no two alike unless their names differ in a `copy-of-` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shade = sum(name.removeprefix("copy-of-").encode()) % 256
        (folder / name).write_bytes(encode(np.full((30, 40, 3), shade, np.uint8), None, "png"))
    return folder


def begun(given: Path, out: Path) -> OpenJob:
    return open_order(Order(new_id(), (str(given),), out, Options(size=64), "m", "0", time.time()))


def outcomes(attempts: list[Attempt]) -> dict[str, str]:
    return {attempt.item.name: attempt.outcome for attempt in attempts}


def lines(job: OpenJob, event: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in (job.folder / "journal.jsonl").read_text().splitlines()]
    return [line for line in told if line["event"] == event]


@pytest.mark.parametrize(
    ("seen", "how"),
    [
        (Losses(), "company"),
        (Losses(company=1), "alone"),
        (Losses(company=40, alone=1), "alone"),
        (Losses(alone=2), "apart"),
        (Losses(company=9, alone=40, apart=2), "apart"),
        (Losses(alone=2, apart=3), None),
        (Losses(alone=2, apart=1, proven=True), None),
    ],
)
def test_how_a_photo_is_tried_after_its_losses(seen: Losses, how: How | None) -> None:
    assert next_try(seen) == how


def test_a_program_that_dies_over_every_try_is_soon_rid_of_the_photo() -> None:
    seen, deaths = Losses(), 0
    while (how := next_try(seen)) is not None:
        seen, deaths = seen.after(how, whole=True), deaths + 1
    assert deaths == MOST_DEATHS == 6
    assert next_try(Losses(alone=SUSPICIOUS).after("apart", whole=False)) is None


def test_a_death_of_one_process_counts_for_more_in_a_last_try_only() -> None:
    for how in ("company", "alone"):
        assert Losses().after(how, whole=False) == Losses().after(how, whole=True)


@pytest.mark.parametrize("seed", range(20))
def test_kills_soon_after_every_start_quarantine_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decisions alone, by a clock of our own: 40 kills 0.2 to 4 s after a start, a photo in 0.6 s, 3 at a time."""
    monkeypatch.setattr("cartoon.jobs.queue.LAST_TRY_AFTER", LAST_TRY_AFTER)
    chance, left = random.Random(seed), set(range(120))
    losses: dict[int, Losses] = {}
    for _ in range(40):
        now, end = 0.0, chance.uniform(0.2, 4.0)
        waiting = Waiting(sorted(left), losses, began=0.0)
        under_way: dict[int, How] = {}
        while now < end:
            while following := waiting.next(now, under_way.values(), slots=3):
                under_way[following.number] = following.how
            now += 0.6
            if now < end:
                left -= set(under_way)
                under_way.clear()
        for number, how in under_way.items():
            losses[number] = losses.get(number, Losses()).after(how, whole=True)
    assert not [number for number in left if next_try(losses.get(number, Losses())) is None]
    assert not [seen for seen in losses.values() if seen.apart], "a last try was begun too soon"


def test_what_was_met_alone_goes_behind_the_others_and_last_tries_behind_everything() -> None:
    losses = {1: Losses(alone=1), 2: Losses(company=1), 4: Losses(alone=2), 5: Losses(alone=2, apart=1)}
    waiting = Waiting(range(6), losses, began=100.0)
    came: list[tuple[int, How]] = []
    for now in (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0):
        following = waiting.next(now, (), slots=3)
        if following:
            came.append((following.number, following.how))
    assert came == [(2, "alone"), (1, "alone"), (0, "company"), (3, "company"), (4, "apart"), (5, "apart")]
    assert not waiting


def test_a_last_try_waits_until_the_program_has_lived_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoon.jobs.queue.LAST_TRY_AFTER", LAST_TRY_AFTER)
    waiting = Waiting([0, 1], {0: Losses(alone=2), 1: Losses(alone=2, apart=1)}, began=100.0)
    assert waiting.next(109.9, (), 3) is None
    assert waiting.due() == 110.0
    following = waiting.next(110.0, (), 3)
    assert following
    assert following.number == 0
    assert waiting.next(110.0, ["apart"], 3) is None
    assert waiting.due() == 160.0


def test_nothing_starts_beside_a_photo_that_is_alone() -> None:
    waiting = Waiting(range(3), {0: Losses(company=1)}, began=0.0)
    assert waiting.next(0.0, ["company"], 3) is None
    assert waiting.next(0.0, (), 3)
    assert waiting.next(0.0, ["alone"], 3) is None
    assert waiting.next(0.0, ["apart"], 3) is None


class Killer(FakeStylizer):
    """Dies, with its process, over any photo called poison."""

    def draw(self, photo, options, *, urgent=True):  # type: ignore[no-untyped-def]
        if POISON in photo.name:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)  # drawing takes some time
        return super().draw(photo, options, urgent=urgent)


def load_killer(settings: Settings) -> Killer:
    return Killer()


def load_fake(settings: Settings) -> FakeStylizer:
    return FakeStylizer()


def load_nothing(settings: Settings) -> FakeStylizer:
    raise ResourceError("there is no memory today.")


def in_process(load: Load) -> WorkerSpec:
    return WorkerSpec(load, Settings())


def test_a_photo_that_kills_its_worker_is_quarantined_and_the_rest_is_drawn(tmp_path: Path) -> None:
    given = make(tmp_path / "in", *(f"{number}.png" for number in range(15)), f"5{POISON}.png")
    with closing(begun(given, tmp_path / "out")) as job, closing(ProcessExecutor(in_process(load_killer))) as executor:
        attempts = list(run(job, executor))
        assert job.counts.done == 15
    assert [(a.item.name, a.outcome, a.tries) for a in attempts if a.error] == [(f"5{POISON}.png", "quarantined", 4)]
    number = next(entry.number for entry in job.entries if POISON in entry.item.name)
    seen = [(line["alone"], line.get("apart", False)) for line in lines(job, "crashed") if line["item"] == number]
    assert seen == [(False, False), (True, False), (True, False), (True, True)]
    assert len(list((tmp_path / "out").glob("*.png"))) == 15


def seeded(job: OpenJob, number: int, *hows: How) -> Path:
    """The job's folder as the program left it that died over a photo so often; the last time is in the marks alone."""
    for how in hows[:-1]:
        job.journal.crashed({number: how}, whole=True)
    job.journal.started(number, hows[-1])
    return job.folder


SUSPECT: tuple[How, ...] = ("company", "alone", "alone")


@pytest.mark.parametrize("executor", ["threads", pytest.param("worker", marks=pytest.mark.slow)])
def test_a_suspect_that_can_be_drawn_is_drawn_apart_after_all_others(tmp_path: Path, executor: str) -> None:
    given = make(tmp_path / "in", "1.png", "2.png", "3.png")
    with closing(begun(given, tmp_path / "out")) as job:
        folder = seeded(job, 0, *SUSPECT, "apart")  # a last try that was cut short proves nothing
    here = FakeStylizer()
    drawing: Executor = (
        ThreadExecutor(spec_of(here, isolated=load_fake))
        if executor == "threads"
        else ProcessExecutor(in_process(load_fake))
    )
    with closing(drawing), closing(resume(folder)) as job:
        attempts = list(run(job, drawing))
        assert [attempt.item.name for attempt in attempts] == ["2.png", "3.png", "1.png"]
        assert {attempt.outcome for attempt in attempts} == {"done"}
        assert len(lines(job, "crashed")) == 4, "the marks of the last time go into the journal"
    if executor == "threads":
        assert sorted(here.seen) == ["2.png", "3.png"], "the suspect was not drawn in this process"


def test_a_suspect_whose_own_process_dies_is_quarantined_with_its_twin_and_this_process_lives(tmp_path: Path) -> None:
    given = make(tmp_path / "in", "1.png", f"2{POISON}.png", f"copy-of-2{POISON}.png")
    with closing(begun(given, tmp_path / "out")) as job:
        folder = seeded(job, 1, *SUSPECT)
    executor = ThreadExecutor(spec_of(FakeStylizer(), isolated=load_killer))
    with closing(executor), closing(resume(folder)) as job:
        attempts = list(run(job, executor))
    assert outcomes(attempts) == {
        "1.png": "done",
        f"2{POISON}.png": "quarantined",
        f"copy-of-2{POISON}.png": "quarantined",
    }
    with closing(resume(folder)) as job:
        assert job.counts.quarantined == 2
        assert not job.state.cut_short


def test_the_program_that_dies_over_three_last_tries_leaves_the_photo_out(tmp_path: Path) -> None:
    given = make(tmp_path / "in", "1.png", "2.png")
    with closing(begun(given, tmp_path / "out")) as job:
        folder = seeded(job, 0, *SUSPECT, "apart", "apart", "apart")
    with closing(ThreadExecutor(spec_of(FakeStylizer()))) as executor, closing(resume(folder)) as job:
        attempts = list(run(job, executor))
    assert outcomes(attempts) == {"1.png": "quarantined", "2.png": "done"}
    assert "1.png" in str(next(attempt.error for attempt in attempts if attempt.error))


def test_a_suspect_for_which_no_process_can_be_had_fails_and_may_be_tried_again(tmp_path: Path) -> None:
    given = make(tmp_path / "in", "1.png", "2.png")
    with closing(begun(given, tmp_path / "out")) as job:
        folder = seeded(job, 0, *SUSPECT)
    executor = ThreadExecutor(spec_of(FakeStylizer(), isolated=load_nothing))
    with closing(executor), closing(resume(folder)) as job:
        attempts = list(run(job, executor))
        assert outcomes(attempts) == {"2.png": "done", "1.png": "failed"}
        assert attempts[1].tries == 3
        assert "1.png has to be tried in a process of its own" in str(attempts[1].error)
        job.retry()
        assert outcomes(list(run(job, executor))) == {"1.png": "done"}


@pytest.mark.slow
def test_a_last_try_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoon.jobs.executors.process.LAST_TRY_SECONDS", 0.2)
    monkeypatch.setattr("cartoon.jobs.executors.process.CLOSE_SECONDS", 0.2)
    given = make(tmp_path / "in", "1.png", "2.png")
    with closing(begun(given, tmp_path / "out")) as job:
        folder = seeded(job, 0, *SUSPECT)
    executor = ThreadExecutor(spec_of(FakeStylizer(), isolated=load_endless))
    with closing(executor), closing(resume(folder)) as job:
        assert outcomes(list(run(job, executor))) == {"2.png": "done", "1.png": "quarantined"}


class Endless(FakeStylizer):
    def draw(self, photo, options, *, urgent=True):  # type: ignore[no-untyped-def]
        time.sleep(3600)  # which nobody waits for: it is killed


def load_endless(settings: Settings) -> Endless:
    return Endless()


def test_marks_tell_of_what_is_under_way_alone(tmp_path: Path) -> None:
    given = make(tmp_path / "in", "1.png", "2.png", "3.png")
    marked: list[set[int]] = []

    def look(name: str) -> None:
        marked.append(set(salvage.read(folder).state.cut_short))
        if name == "1.png" and len(marked) < 3:
            raise ResourceError("busy.")
        if name == "2.png":
            raise UnreadableError("damaged.")

    with closing(begun(given, tmp_path / "out")) as job:
        folder = job.folder
        executor = OneByOne(look)
        attempts = list(run(job, executor))
        assert outcomes(attempts)["2.png"] == "failed"
        executor.close()
    assert all(len(marks) == 1 for marks in marked), marked
    assert (folder / "started.jsonl").read_bytes() == b""


class OneByOne(ThreadExecutor):
    """Threads that are given one photo at a time."""

    def __init__(self, trouble: Any) -> None:
        super().__init__(spec_of(TroubledStylizer(trouble)))
        self.slots = 1


KILLS_BOTH = """
import os, signal, subprocess, sys
from contextlib import closing
from pathlib import Path
import cartoon.jobs.queue
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.process import ProcessExecutor
from cartoon.jobs.store.folder import resume
from cartoon.jobs.runner import run
from cartoon.settings import Settings
from tests.jobs.test_quarantine import load_takes_parent
cartoon.jobs.queue.LAST_TRY_AFTER = (0.0, 0.0, 0.0)
if __name__ == "__main__":
    with closing(resume(Path(sys.argv[1]))) as job:
        list(run(job, ProcessExecutor(WorkerSpec(load_takes_parent, Settings()))))
"""


class TakesParent(FakeStylizer):
    """Is killed, and its parent a moment later, as by whoever kills a whole tree of processes."""

    def draw(self, photo, options, *, urgent=True):  # type: ignore[no-untyped-def]
        subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -9 {os.getppid()}"], start_new_session=True)
        os.kill(os.getpid(), signal.SIGKILL)


def load_takes_parent(settings: Settings) -> TakesParent:
    return TakesParent()


@pytest.mark.slow
def test_a_process_that_is_killed_just_before_the_program_proves_nothing(tmp_path: Path) -> None:
    given = make(tmp_path / "in", "1.png")
    with closing(begun(given, tmp_path / "out")) as job:
        folder = seeded(job, 0, *SUSPECT)
    program = tmp_path / "program.py"
    program.write_text(KILLS_BOTH)
    command = [sys.executable, str(program), str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    with closing(resume(folder)) as job:
        assert job.state.losses == {0: Losses(company=1, alone=2, apart=1)}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return make(tmp_path / "photos", *(f"{number}.png" for number in range(8)), f"4{POISON}.png")


@pytest.mark.slow
def test_a_server_dies_three_times_over_a_photo_then_lives_and_draws_the_others(tmp_path: Path, given: Path) -> None:
    command = [sys.executable, "-m", "tests.fake_service", str(tmp_path / "home"), str(given)]
    (tmp_path / "home").mkdir()
    deaths = 0
    while (ended := subprocess.run(command, cwd=ROOT, timeout=300, check=False)).returncode == -signal.SIGKILL:
        deaths += 1
        assert deaths <= MOST_DEATHS
    assert ended.returncode == 0
    assert deaths == 1 + SUSPICIOUS
    folder = next((tmp_path / "home" / "jobs").glob("*/manifest.json")).parent
    with closing(resume(folder)) as job:
        assert replace(job.counts, flagged=0) == replace(job.counts, done=8, quarantined=1, failed=0, skipped=0)
        told = lines(job, "attempt")
        assert sorted(line["item"] for line in told) == list(range(9))
        assert [line["path"] for line in told if line["outcome"] == "quarantined"] == [f"4{POISON}.png"]
