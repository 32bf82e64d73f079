"""Executors of one signature: each is made from a WorkerSpec, draws what it is given, and leaves nobody waiting."""

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import ResourceError, UnsupportedError
from cartoon.images.encode import encode
from cartoon.jobs.executors.base import LOOK_AHEAD, Executor, WorkerSpec
from cartoon.jobs.executors.fair import SHARE_DEPTH, FairExecutor
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.executors.process import IsolatedExecutor, ProcessExecutor
from cartoon.jobs.executors.ray import RayExecutor
from cartoon.jobs.model import Result, Task
from cartoon.options import Options
from cartoon.settings import Settings
from tests.fakes import FakeStylizer, TroubledStylizer, load_fake, spec_of
from tests.waiting import PATIENCE, wait_for

Kind = type[ThreadExecutor | ProcessExecutor | IsolatedExecutor | FairExecutor | RayExecutor]
MADE_FROM_A_SPEC: tuple[Kind, ...] = (ThreadExecutor, ProcessExecutor, IsolatedExecutor, FairExecutor, RayExecutor)


@pytest.fixture
def task(tmp_path: Path) -> Callable[[int], Task]:
    """Makes a task over a photo of 40 x 30 px; number 0 is none."""
    (tmp_path / "out").mkdir()

    def made(number: int) -> Task:
        source = tmp_path / f"{number}.png"
        pixels = np.full((30, 40, 3), 10 * number, np.uint8)
        source.write_bytes(encode(pixels, None, "png") if number else b"nothing")
        out = str(tmp_path / "out")
        return Task(number, str(source), source.name, out, f"{number}.png", Options(size=64), "flag", 10**6)

    return made


@pytest.mark.parametrize("kind", MADE_FROM_A_SPEC)
def test_each_is_made_from_a_spec_alone_and_asked_in_one_way(kind: Kind) -> None:
    asked = [one for one in inspect.signature(kind).parameters.values() if one.default is inspect.Parameter.empty]
    assert [one.annotation for one in asked] == [WorkerSpec]
    ask = (
        kind.share if issubclass(kind, FairExecutor) else kind.submit
    )  # the fair one is asked through the share of a job
    told = inspect.signature(ask).parameters
    assert list(told) == (["self", "priority"] if kind is FairExecutor else ["self", "task", "isolated"])


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("kind", [ThreadExecutor, ProcessExecutor, IsolatedExecutor, lambda spec: FairExecutor(spec)])
def test_each_draws_the_same_files(
    kind: Callable[[WorkerSpec], Executor | FairExecutor], isolated: bool, task: Callable[[int], Task]
) -> None:
    with closing(kind(WorkerSpec(load_fake, Settings(device="cpu"), isolated=load_fake))) as made:
        executor = made.share() if isinstance(made, FairExecutor) else made
        results = [executor.submit(task(number), isolated=isolated).result(PATIENCE) for number in (1, 0)]
    assert [type(result.error) for result in results] == [type(None), UnsupportedError]
    with closing(ThreadExecutor(spec_of(FakeStylizer()))) as here:
        again = here.submit(task(1)).result(PATIENCE)
    assert (results[0].sha256, results[0].size) == (again.sha256, again.size) != ("", 0)


def test_what_waits_is_cancelled_when_an_executor_closes_and_what_is_drawn_is_finished(
    task: Callable[[int], Task],
) -> None:
    door, began = threading.Event(), threading.Semaphore(0)

    def hold(name: str) -> None:
        began.release()
        assert door.wait(PATIENCE)

    executor = ThreadExecutor(spec_of(TroubledStylizer(hold)))
    assert executor.slots == 1 + LOOK_AHEAD
    futures = [executor.submit(task(number)) for number in range(1, 7)]
    for _ in range(executor.slots):
        assert began.acquire(timeout=PATIENCE)
    closing_it = threading.Thread(target=executor.close)
    closing_it.start()
    wait_for(lambda: sum(future.cancelled() for future in futures) == 3)
    door.set()
    closing_it.join(PATIENCE)
    assert [future.cancelled() for future in futures] == [False] * 3 + [True] * 3
    assert all(future.result().error is None for future in futures[:3])
    assert executor.submit(task(1)).cancelled(), "it takes no more"


def test_whatever_a_stylizer_does_whoever_waits_hears_of_it(task: Callable[[int], Task]) -> None:
    def leave(name: str) -> None:
        raise SystemExit(name)

    with closing(ThreadExecutor(spec_of(TroubledStylizer(leave)))) as executor:
        assert isinstance(executor.submit(task(1)).exception(PATIENCE), SystemExit)
        assert isinstance(executor.submit(task(2)).exception(PATIENCE), SystemExit), "its thread still serves"


class Refusing:
    """Takes the first task, and no other."""

    slots = 1

    def __init__(self, spec: WorkerSpec) -> None:
        self.given: list[Future[Result]] = []

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        if self.given:
            raise ResourceError("the cluster is lost.")
        self.given.append(Future())
        return self.given[0]

    def close(self) -> None:
        """Nothing to end."""


def test_a_share_hands_on_what_its_executor_refuses_and_no_more_than_it_has_slots_for(
    task: Callable[[int], Task],
) -> None:
    refusing = Refusing(spec_of(FakeStylizer()))
    fair = FairExecutor(spec_of(FakeStylizer()), lambda spec: refusing)
    share = fair.share()
    assert share.slots == SHARE_DEPTH
    first, second = share.submit(task(1)), share.submit(task(2))
    assert (first.running(), second.running()) == (True, False)
    refusing.given[0].set_result(Result(sha256="f"))
    assert first.result().sha256 == "f"
    assert isinstance(second.exception(PATIENCE), ResourceError)
    share.close()
    fair.close()
    assert share.submit(task(3)).cancelled()


def test_a_share_hears_of_what_its_executor_calls_off(task: Callable[[int], Task]) -> None:
    refusing = Refusing(spec_of(FakeStylizer()))
    first = FairExecutor(spec_of(FakeStylizer()), lambda spec: refusing).share().submit(task(1))
    refusing.given[0].cancel()
    assert isinstance(first.exception(PATIENCE), ResourceError)
