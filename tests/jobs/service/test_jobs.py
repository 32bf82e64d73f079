"""The desk keeps jobs through restarts, shares the machine between them, and says where each stands."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import BusyError, InputError, MissingError, StorageError, StyleError
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.jobs.service import fairness, places
from cartoon.jobs.service.jobs import Ask, Desk, Sent
from cartoon.jobs.store import journal, salvage
from cartoon.options import Options
from tests import ROOT
from tests.fakes import CARDS, FakeArtist, TroubledArtist
from tests.waiting import PATIENCE, wait_for

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


class ConnectionLimiter:
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
    door = ConnectionLimiter()
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
    door = ConnectionLimiter()
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
    door = ConnectionLimiter()
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


def open_files(under: Path) -> list[str]:
    """Names of files under a folder that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:  # of the listing itself
            continue
        if target.startswith(f"{under}/"):
            found.append(target)
    return found


def test_a_job_has_one_owner_whatever_is_said_to_it_while_others_are_looked_at(root: Path, tmp_path: Path) -> None:
    artist = TroubledArtist(lambda name: time.sleep(0.01))
    desk = Desk(root, artist, model_of, PIXELS)
    others = [desk.create(send(tmp_path / "in", "x.png"), Ask(SMALL, "ann")) for _ in range(40)]
    for other in others:
        assert at_rest(desk, other) == "finished"
    artist.seen.clear()
    names = [f"{n}.png" for n in range(30)]
    id = desk.create(send(tmp_path / "in", *names), Ask(SMALL, "ann"))
    for _ in range(12):
        wait_for(lambda: desk.glance(id).busy or desk.glance(id).state == "finished")
        desk.pause(id)
        for other in others:
            desk.rows(other)
        desk.resume(id)
        assert open_files(root).count(str(root / id / "journal.jsonl")) <= 1
        time.sleep(0.02)
    desk.cancel(id)
    wait_for(lambda: not desk.glance(id).busy)
    drawn = list(artist.seen)
    assert drawn
    time.sleep(0.3)
    assert artist.seen == drawn, "cancelled, it draws no more"
    assert max(Counter(drawn).values()) == 1
    desk.resume(id)
    assert at_rest(desk, id) == "finished"
    assert Counter(artist.seen) == dict.fromkeys(names, 1)
    desk.close()
    assert open_files(root) == []


def test_looking_waits_for_no_disk(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL, "ann"))
    at_rest(desk, id)
    stuck, free, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(file: int) -> None:
        stuck.set()
        assert free.wait(PATIENCE)
        fsync(file)

    drawn = desk.create(send(tmp_path / "in", *(f"{n}.png" for n in range(9))), Ask(SMALL, "ann"))
    monkeypatch.setattr(journal.os, "fsync", slow)
    with ThreadPoolExecutor(3) as pool:
        assert stuck.wait(PATIENCE)
        said = pool.submit(desk.pause, drawn)
        looks = [pool.submit(desk.jobs, "ann"), pool.submit(desk.states), pool.submit(desk.rows, drawn)]
        looks += [pool.submit(desk.glance, drawn), pool.submit(desk.latest, drawn, 9), pool.submit(desk.photos_left)]
        for look in looks:
            look.result(PATIENCE / 2)
        assert not said.done()
        assert desk.glance(drawn).state == "paused", "what was said holds before it is written"
        free.set()
        said.result(PATIENCE)
    desk.close()


def test_a_list_of_many_jobs_reads_no_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    ids = [desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL, "ann")) for _ in range(25)]
    for id in ids:
        at_rest(desk, id)
    monkeypatch.setattr(salvage, "read", lambda folder: pytest.fail("a listing read a job's files"))
    for _ in range(3):
        assert [glance.counts.done for glance in desk.jobs("ann")] == [1] * 25
        assert desk.states() == {"finished": 25}
        assert desk.photos_left() == 0
    monkeypatch.undo()
    assert [len(desk.rows(id)) for id in ids] == [1] * 25, "what is not in memory is read"
    desk.close()


def test_jobs_that_wait_have_neither_a_thread_nor_an_open_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "TURN_SECONDS", 10 * PATIENCE)
    door = ConnectionLimiter()
    desk = Desk(root, TroubledArtist(door), model_of, PIXELS)
    ids = [desk.create(send(tmp_path / "in", "a.png", "b.png"), Ask(SMALL, f"{n % 3}")) for n in range(40)]
    wait_for(lambda: desk.states() == {"running": fairness.AT_ONCE, "waiting": 40 - fairness.AT_ONCE})
    wait_for(lambda: len(open_files(root)) == 3 * fairness.AT_ONCE)  # each a journal, marks and a lock
    assert sum(thread.name == "job" for thread in threading.enumerate()) == fairness.AT_ONCE
    assert desk.photos_left() == 80
    desk.cancel(ids[-1])
    assert desk.glance(ids[-1]).state == "cancelled"
    door.free.set()
    assert {at_rest(desk, id) for id in ids[:-1]} == {"finished"}
    desk.close()


def test_an_owner_with_many_large_jobs_keeps_nobody_waiting(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "TURN_SECONDS", 0.0)
    artist = TroubledArtist(lambda name: time.sleep(0.005))
    desk = Desk(root, artist, model_of, PIXELS)
    many = [
        desk.create(send(tmp_path / "in", *(f"{n}-{m}.png" for m in range(20))), Ask(SMALL, "ann")) for n in range(12)
    ]
    one = desk.create(send(tmp_path / "in", "bob.png"), Ask(SMALL, "bob"))
    assert at_rest(desk, one) == "finished"
    assert sum(desk.glance(id).state == "finished" for id in many) < 12, "it did not wait for all of them"
    assert {at_rest(desk, id) for id in many} == {"finished"}
    assert max(Counter(artist.seen).values()) == 1, "whoever gave way draws nothing twice"
    desk.close()


class TestRota:
    def test_the_owner_with_the_fewest_places_goes_next_then_priority_then_the_order(self) -> None:
        ann, bob, urgent = fairness.Claim("1", "ann"), fairness.Claim("2", "bob"), fairness.Claim("3", "bob", 5)
        assert fairness.next_of([ann, bob, urgent], []) is urgent
        assert fairness.next_of([ann, bob], []) is ann
        assert fairness.next_of([ann, bob, urgent], [fairness.Claim("4", "bob")]) is ann

    def test_nobodys_jobs_stand_for_themselves(self) -> None:
        assert (
            fairness.next_of([fairness.Claim("1", ""), fairness.Claim("2", "ann")], [fairness.Claim("3", "")]).id == "1"
        )

    def test_a_place_is_left_for_each_who_has_fewer_and_no_more(self) -> None:
        anns = [fairness.Claim(f"{n}", "ann") for n in range(8)]
        bob = fairness.Claim("b", "bob")
        assert fairness.gives_way(anns[0], [bob], anns, giving=0)
        assert not fairness.gives_way(anns[0], [bob], anns, giving=1)
        assert not fairness.gives_way(anns[0], [fairness.Claim("9", "ann")], anns, giving=0)
        assert fairness.gives_way(fairness.Claim("e", "eve"), [bob], [fairness.Claim("e", "eve")], giving=0), "in turns"
        bobs = [fairness.Claim(f"b{n}", "bob") for n in range(2)]
        assert not fairness.gives_way(anns[0], [bob], [*anns[:3], *bobs], giving=0), "it would only change sides"
        assert not fairness.gives_way(bob, [fairness.Claim("9", "ann")], [bob, *anns], giving=0)


def test_a_second_desk_over_the_same_folder_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoon.jobs.store.lock.HOLD_SECONDS", 0.1)
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL))
    with pytest.raises(BusyError, match=f"{tmp_path}.*CARTOON_DATA_DIR"):
        Desk(root, FakeArtist(), model_of, PIXELS)
    assert at_rest(desk, id) == "finished"
    desk.close()
    Desk(root, FakeArtist(), model_of, PIXELS).close()


def test_a_folder_of_jobs_that_cannot_be_used_is_named(root: Path) -> None:
    root.write_bytes(b"a file")
    with pytest.raises(StorageError, match=f"{root}.*CARTOON_DATA_DIR"):
        Desk(root, FakeArtist(), model_of, PIXELS)


def test_the_lock_of_a_killed_server_holds_nobody_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.fakes import FakeArtist\n"
        "from cartoon.jobs.service.jobs import Desk\n"
        "desk = Desk(Path(sys.argv[1]), FakeArtist(), str, 10**6); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with monkeypatch.context() as patch:
            patch.setattr("cartoon.jobs.store.lock.HOLD_SECONDS", 0.1)
            with pytest.raises(BusyError):
                Desk(root, FakeArtist(), model_of, PIXELS)
        process.send_signal(signal.SIGKILL)
    Desk(root, FakeArtist(), model_of, PIXELS).close()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A disk, and the command that makes it one that cannot be written; takes root on Linux."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes root")
    yield place, ["mount", "-o", "remount,ro", str(place)]
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_what_cannot_be_removed_is_said_and_stays(read_only: tuple[Path, list[str]], tmp_path: Path) -> None:
    place, lock_it = read_only
    desk = Desk(place / "jobs", FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL, "ann"))
    at_rest(desk, id)
    halted = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL, "ann"))
    at_rest(desk, halted)
    subprocess.run(lock_it, check=True)
    with pytest.raises(StorageError, match="Read-only file system"):
        desk.remove(id)
    assert {glance.id for glance in desk.jobs("ann")} == {id, halted}
    with pytest.raises(StorageError):
        desk.retry(id)
    with pytest.raises(StorageError):
        desk.create(send(tmp_path / "in", "b.png"), Ask(SMALL))
    subprocess.run([*lock_it[:-2], "remount,rw", lock_it[-1]], check=True)
    desk.remove(id)
    assert not list((place / "jobs").glob(f"*{id}*"))
    desk.close()


def test_a_job_that_was_half_removed_does_not_come_back(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    id = desk.create(send(tmp_path / "in", "a.png"), Ask(SMALL, "ann"))
    at_rest(desk, id)
    desk.close()
    (root / id).rename(root / f".gone-{id}")  # as a process leaves it that is killed while it removes
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    assert desk.jobs("ann") == []
    desk.sweep(3600)
    assert list(root.iterdir()) == []
    desk.close()


def hostile_zip(path: Path) -> Path:
    """Pictures under names that no file system, or not every one, takes."""
    picture = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")
    names = ["plain.png", "f" * 300 + "/a.png", "g" * 300 + "/a.png", "n" * 300 + ".png", "ü" * 200 + ".png"]
    names += [
        "deep/" * 900 + "a.png",
        "d" * 60_000 + ".png",
        "aux.png",
        "con/nul.jpg.png",
        "dots.../a.png",
        "space /a.png",
    ]
    names += [
        "line\nbreak\x07.png",
        "Plain.PNG",
        "plain.png/x.png",
        "report.csv/x.png",
        "a\\b\\c.png",
        " .png",
        "😀.png",
    ]
    with zipfile.ZipFile(path, "w") as bundle:
        for name in names:
            bundle.writestr(zipfile.ZipInfo(name), picture)
    return path


def test_one_hostile_name_in_a_zip_keeps_nothing_from_being_drawn(root: Path, tmp_path: Path) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    path = hostile_zip(tmp_path / "0")
    id = desk.create([Sent(path, "holiday.zip"), *send(tmp_path / "in", "plain.png", "z.png")], Ask(SMALL))
    assert at_rest(desk, id) == "finished"
    assert (desk.glance(id).counts.failed, desk.glance(id).counts.done) == (0, 20)
    outputs = [attempt.output for _, attempt in desk.settled(id) if attempt.output]
    assert len({str(path).casefold() for path in outputs}) == 20
    assert all(len(os.fsencode(part)) <= 255 for path in outputs for part in path.parts)
    assert all(str(path).isprintable() for path in outputs)
    desk.close()


@pytest.mark.parametrize("data", [b"no zip", b"PK\x03\x04 broken"])
def test_a_refused_zip_goes_by_the_name_its_owner_knows(root: Path, tmp_path: Path, data: bytes) -> None:
    desk = Desk(root, FakeArtist(), model_of, PIXELS)
    (tmp_path / "0").write_bytes(data)
    id = desk.create([Sent(tmp_path / "0", "holiday.zip"), *send(tmp_path / "in", "a.png")], Ask(SMALL))
    assert at_rest(desk, id) == "finished"
    assert [row["photo"] for row in desk.rows(id)] == ["holiday.zip", "a.png"]
    assert str(desk.rows(id)[0]["message"]).startswith("holiday.zip is not a whole zip file")
    desk.close()
