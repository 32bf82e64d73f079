"""The desk keeps jobs through restarts, shares the machine between them, and says where each stands."""

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import InputError, MissingError, StyleError
from cartoon.image import encode, read
from cartoon.jobs.desk import Ask, Desk, Sent
from cartoon.settings import Options
from tests.fakes import CARDS, FakeArtist, TroubledArtist
from tests.waiting import PATIENCE

SMALL = Options(size=64)
PIXELS = 1_000_000


def model_of(style: str) -> str:
    for card in CARDS:
        if card.id == style:
            return card.sha256
    raise StyleError(f"{style} is not known.")


def send(folder: Path, *names: str) -> list[Sent]:
    """Files that lie where a server has received them, each picture another."""
    folder.mkdir(parents=True, exist_ok=True)
    sent = []
    for number, name in enumerate(names):
        path = folder / f"upload-{number}"
        gray = np.full((30, 40, 3), 20 + number, np.uint8)
        path.write_bytes(b"a text" if name.startswith("bad") else encode(gray, None, "png"))
        sent.append(Sent(path, name))
    return sent


def at_rest(desk: Desk, id: str) -> str:
    """The state a job comes to rest in."""
    deadline, turn = time.monotonic() + PATIENCE, -1
    while time.monotonic() < deadline:
        glance = desk.wait(id, turn, 0.2)
        turn = glance.turn
        if glance.state not in ("waiting", "running"):
            return glance.state
    raise AssertionError(f"the job did not come to rest: {desk.glance(id)}")


class Doorkeeper:
    """Holds photos back until they are let through, and remembers who came."""

    def __init__(self) -> None:
        self.free, self.came = threading.Event(), [""][:0]
        self.reached = threading.Semaphore(0)

    def __call__(self, name: str) -> None:
        self.came.append(name)
        self.reached.release()
        assert self.free.wait(PATIENCE)
        time.sleep(0.02)  # as drawing takes some time, a lane has its next photo ready when its turn comes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def test_a_job_is_drawn_and_every_photo_has_its_outcome(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png", "bad.jpg", "b.jpg", "b.png"), Ask(SMALL, "ann", title="party"))
    assert at_rest(desk, id) == "finished"
    counts = desk.glance(id).counts
    assert (counts.total, counts.done, counts.failed, counts.remaining) == (4, 3, 1, 0)
    named = {entry.item.name: attempt.output for entry, attempt in desk.settled(id) if attempt.output}
    assert {name: path.name for name, path in named.items()} == {"a.png": "a.png", "b.jpg": "b.png", "b.png": "b-2.png"}
    assert all(read(path).pixels.shape == (48, 64, 3) for path in named.values())
    assert [row["outcome"] for row in desk.rows(id)] == ["done", "failed", "done", "done"]
    assert not list((tmp_path / "in").glob("upload-[023]"))  # moved, not copied
    desk.close()


def test_jobs_are_seen_by_their_owner_alone_and_by_whoever_has_the_id(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    one = desk.create(send(tmp_path / "1", "a.png"), Ask(SMALL, "ann"))
    two = desk.create(send(tmp_path / "2", "a.png"), Ask(SMALL, "bob"))
    three = desk.create(send(tmp_path / "3", "a.png"), Ask(SMALL, "ann"))
    assert [glance.id for glance in desk.jobs("ann")] == [three, one]
    assert [glance.id for glance in desk.jobs("bob")] == [two]
    assert desk.jobs("") == desk.jobs("eve") == []
    for unknown in ("0" * 32, "../" + one, "", one.upper() + "x"):
        with pytest.raises(MissingError):
            desk.glance(unknown)
    desk.close()


def test_what_cannot_become_a_job_leaves_nothing(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    with pytest.raises(InputError, match="no photo"):
        desk.create([], Ask(SMALL))
    with pytest.raises(StyleError):
        desk.create(send(tmp_path / "in", "a.png"), Ask(Options("wool")))
    assert list(root.iterdir()) == []
    desk.close()


def test_pause_starts_nothing_further_and_resume_goes_on(root: Path, tmp_path: Path) -> None:
    door = Doorkeeper()
    desk = Desk(root, TroubledArtist(door), model_of, PIXELS)
    names = [f"{n}.png" for n in range(12)]
    id = desk.create(send(tmp_path / "in", *names), Ask(SMALL))
    door.reached.acquire()
    desk.pause(id)
    door.free.set()
    assert at_rest(desk, id) == "paused"
    time.sleep(0.2)
    settled = desk.glance(id).counts.settled
    assert 0 < settled <= 6 < len(names)
    desk.resume(id)
    assert at_rest(desk, id) == "finished"
    assert Counter(door.came) == dict.fromkeys(names, 1)  # nothing was drawn twice
    desk.close()


def test_a_desk_opened_over_the_same_root_goes_on(root: Path, tmp_path: Path) -> None:
    door = Doorkeeper()
    desk = Desk(root, TroubledArtist(door), model_of, PIXELS)
    names = [f"{n}.png" for n in range(12)]
    id = desk.create(send(tmp_path / "in", *names), Ask(SMALL, "ann"))
    paused = desk.create(send(tmp_path / "in2", *names), Ask(SMALL, "ann"))
    desk.pause(paused)
    door.reached.acquire()
    door.free.set()
    desk.close()
    before = set(door.came)
    again = FakeArtist()
    desk = Desk(root, again, model_of, PIXELS)
    assert at_rest(desk, id) == "finished"
    assert desk.glance(id).counts.done == len(names)
    assert desk.glance(paused).state == "paused"
    assert not before & set(again.seen) or len(before & set(again.seen)) <= 5
    assert {glance.id for glance in desk.jobs("ann")} == {id, paused}
    desk.close()


def test_cancel_keeps_what_was_done_and_retry_draws_the_failed_alone(root: Path, tmp_path: Path) -> None:
    broken = {"1.png", "3.png"}

    def trouble(name: str) -> None:
        if name in broken:
            raise ZeroDivisionError

    artist = TroubledArtist(trouble)
    desk = Desk(root, artist, model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", *(f"{n}.png" for n in range(5))), Ask(SMALL))
    assert at_rest(desk, id) == "finished"
    assert desk.glance(id).counts.failed == 2
    assert [entry.item.name for entry, _ in desk.failures(id)] == ["1.png", "3.png"]
    assert {entry.item.name for entry, _ in desk.latest(id, 9)} == {"0.png", "2.png", "4.png"}
    broken.clear()
    artist.seen.clear()
    desk.retry(id)
    assert at_rest(desk, id) == "finished"
    assert desk.glance(id).counts.done == 5
    assert sorted(artist.seen) == ["1.png", "3.png"]
    assert desk.failures(id) == []
    assert {entry.item.name for entry, _ in desk.latest(id, 2)} == {"1.png", "3.png"}, "tried again, they came last"
    desk.cancel(id)  # of a finished job: nothing happens
    assert desk.glance(id).state == "finished"
    desk.remove(id)
    assert list(root.iterdir()) == []
    desk.close()


def test_two_jobs_share_the_machine_by_their_priorities(root: Path, tmp_path: Path) -> None:
    door = Doorkeeper()
    desk = Desk(root, TroubledArtist(door), model_of, PIXELS)
    first = desk.create(send(tmp_path / "1", *(f"first{n:02}.png" for n in range(40))), Ask(SMALL))
    for _ in range(3):
        door.reached.acquire()
    second = desk.create(send(tmp_path / "2", *(f"second{n:02}.png" for n in range(40))), Ask(SMALL, priority=3))
    while desk.glance(second).state != "running":
        time.sleep(0.01)
    time.sleep(0.3)  # until its lane is filled
    door.free.set()
    assert {at_rest(desk, first), at_rest(desk, second)} == {"finished"}
    shared = door.came[3:27]
    assert 14 <= sum(name.startswith("second") for name in shared) <= 21  # 18 of 24 are three quarters
    desk.close()


def test_old_jobs_are_swept_when_they_are_over(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL))
    at_rest(desk, id)
    desk.sweep(3600)
    assert desk.glance(id).state == "finished"
    desk.sweep(-1)
    with pytest.raises(MissingError):
        desk.glance(id)
    desk.close()


def test_a_job_that_cannot_be_read_hides_no_other(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL, "ann"))
    strange = root / ("f" * 32)
    strange.mkdir()
    (strange / "manifest.json").write_text("{}")
    assert [glance.id for glance in desk.jobs("ann")] == [id]
    assert at_rest(desk, id) == "finished"
    desk.sweep(-1)
    assert desk.jobs("ann") == []
    desk.close()
