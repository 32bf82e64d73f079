"""The service keeps jobs through restarts, shares the machine between them, and says where each stands."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import BusyError, InputError, MissingError, StorageError, StyleError
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.jobs.service import fairness, scheduler
from cartoon.jobs.service.creation import JobRequest, Sent
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.store import salvage
from cartoon.options import Options
from tests import ROOT
from tests.fakes import CARDS, FakeStylizer, TroubledStylizer, spec_of
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


def at_rest(service: JobService, id: str) -> str:
    """The state a job comes to rest in."""
    deadline, turn = time.monotonic() + PATIENCE, -1
    while time.monotonic() < deadline:
        status = service.wait(id, turn, 0.2)
        turn = status.turn
        if status.state not in ("waiting", "running"):
            return status.state
    raise AssertionError(f"the job did not come to rest: {service.status(id)}")


class Doorkeeper:
    """Holds photos back until they are let through, and remembers who came."""

    def __init__(self) -> None:
        self.free, self.came = threading.Event(), [""][:0]
        self.reached = threading.Semaphore(0)

    def __call__(self, name: str) -> None:
        self.came.append(name)
        self.reached.release()
        assert self.free.wait(PATIENCE)
        time.sleep(0.02)  # as drawing takes some time, a worker has its next photo ready when its turn comes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def test_a_job_is_drawn_and_every_photo_has_its_outcome(root: Path, tmp_path: Path) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(
        send(tmp_path / "in", "a.png", "bad.jpg", "b.jpg", "b.png"), JobRequest(SMALL, "ann", title="party")
    )
    assert at_rest(service, id) == "finished"
    counts = service.status(id).counts
    assert (counts.total, counts.done, counts.failed, counts.remaining) == (4, 3, 1, 0)
    named = {attempt.item.name: attempt.output for attempt in service.settled(id) if attempt.output}
    assert {name: path.name for name, path in named.items()} == {"a.png": "a.png", "b.jpg": "b.png", "b.png": "b-2.png"}
    assert all(read(path).pixels.shape == (48, 64, 3) for path in named.values())
    assert [row.outcome for row in service.rows(id)] == ["done", "failed", "done", "done"]
    assert not list((tmp_path / "in").glob("upload-[023]"))  # moved, not copied
    service.close()


def test_jobs_are_seen_by_their_owner_alone_and_by_whoever_has_the_id(root: Path, tmp_path: Path) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    one = service.create(send(tmp_path / "1", "a.png"), JobRequest(SMALL, "ann"))
    two = service.create(send(tmp_path / "2", "a.png"), JobRequest(SMALL, "bob"))
    three = service.create(send(tmp_path / "3", "a.png"), JobRequest(SMALL, "ann"))
    assert [status.id for status in service.jobs("ann")] == [three, one]
    assert [status.id for status in service.jobs("bob")] == [two]
    assert service.jobs("") == service.jobs("eve") == []
    for unknown in ("0" * 32, "../" + one, "", one.upper() + "x"):
        with pytest.raises(MissingError):
            service.status(unknown)
    service.close()


def test_what_cannot_become_a_job_leaves_nothing(root: Path, tmp_path: Path) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    with pytest.raises(InputError, match="no photo"):
        service.create([], JobRequest(SMALL))
    with pytest.raises(StyleError):
        service.create(send(tmp_path / "in", "a.png"), JobRequest(Options("wool")))
    assert list(root.iterdir()) == []
    service.close()


def test_pause_starts_nothing_further_and_resume_goes_on(root: Path, tmp_path: Path) -> None:
    door = Doorkeeper()
    service = JobService(root, spec_of(TroubledStylizer(door)), model_of, PIXELS)
    names = [f"{n}.png" for n in range(12)]
    id = service.create(send(tmp_path / "in", *names), JobRequest(SMALL))
    door.reached.acquire()
    service.pause(id)
    door.free.set()
    assert at_rest(service, id) == "paused"
    wait_for(lambda: not service.status(id).busy)  # what was begun has ended
    settled = service.status(id).counts.settled
    assert 0 < settled <= 6 < len(names)
    service.resume(id)
    assert at_rest(service, id) == "finished"
    assert Counter(door.came) == dict.fromkeys(names, 1)  # nothing was drawn twice
    service.close()


def test_a_service_opened_over_the_same_root_goes_on(root: Path, tmp_path: Path) -> None:
    door = Doorkeeper()
    service = JobService(root, spec_of(TroubledStylizer(door)), model_of, PIXELS)
    names = [f"{n}.png" for n in range(12)]
    id = service.create(send(tmp_path / "in", *names), JobRequest(SMALL, "ann"))
    paused = service.create(send(tmp_path / "in2", *names), JobRequest(SMALL, "ann"))
    service.pause(paused)
    door.reached.acquire()
    door.free.set()
    service.close()
    before = set(door.came)
    again = FakeStylizer()
    service = JobService(root, spec_of(again), model_of, PIXELS)
    assert at_rest(service, id) == "finished"
    assert service.status(id).counts.done == len(names)
    assert service.status(paused).state == "paused"
    assert not before & set(again.seen) or len(before & set(again.seen)) <= 5
    assert {status.id for status in service.jobs("ann")} == {id, paused}
    service.close()


def test_cancel_keeps_what_was_done_and_retry_draws_the_failed_alone(root: Path, tmp_path: Path) -> None:
    broken = {"1.png", "3.png"}

    def trouble(name: str) -> None:
        if name in broken:
            raise ZeroDivisionError

    stylizer = TroubledStylizer(trouble)
    service = JobService(root, spec_of(stylizer), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", *(f"{n}.png" for n in range(5))), JobRequest(SMALL))
    assert at_rest(service, id) == "finished"
    assert service.status(id).counts.failed == 2
    assert [attempt.item.name for attempt in service.failures(id)] == ["1.png", "3.png"]
    assert {attempt.item.name for attempt in service.latest(id, 9)} == {"0.png", "2.png", "4.png"}
    broken.clear()
    stylizer.seen.clear()
    service.retry(id)
    assert at_rest(service, id) == "finished"
    assert service.status(id).counts.done == 5
    assert sorted(stylizer.seen) == ["1.png", "3.png"]
    assert service.failures(id) == []
    assert {attempt.item.name for attempt in service.latest(id, 2)} == {"1.png", "3.png"}, "tried again, they came last"
    service.cancel(id)  # of a finished job: nothing happens
    assert service.status(id).state == "finished"
    service.remove(id)
    assert list(root.iterdir()) == []
    service.close()


def test_two_jobs_share_the_machine_by_their_priorities(root: Path, tmp_path: Path) -> None:
    door = Doorkeeper()
    service = JobService(root, spec_of(TroubledStylizer(door)), model_of, PIXELS)
    first = service.create(send(tmp_path / "1", *(f"first{n:02}.png" for n in range(40))), JobRequest(SMALL))
    for _ in range(3):
        door.reached.acquire()
    second = service.create(
        send(tmp_path / "2", *(f"second{n:02}.png" for n in range(40))), JobRequest(SMALL, priority=3)
    )
    wait_for(lambda: service.status(second).state == "running")
    time.sleep(0.3)  # until its worker has photos waiting, which nothing public tells
    door.free.set()
    assert {at_rest(service, first), at_rest(service, second)} == {"finished"}
    shared = door.came[3:27]
    assert 14 <= sum(name.startswith("second") for name in shared) <= 21  # 18 of 24 are three quarters
    service.close()


def test_old_jobs_are_swept_when_they_are_over(root: Path, tmp_path: Path) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL))
    at_rest(service, id)
    service.sweep(3600)
    assert service.status(id).state == "finished"
    service.sweep(-1)
    with pytest.raises(MissingError):
        service.status(id)
    service.close()


def test_a_job_that_cannot_be_read_hides_no_other(root: Path, tmp_path: Path) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL, "ann"))
    strange = root / ("f" * 32)
    strange.mkdir()
    (strange / "manifest.json").write_text("{}")
    assert [status.id for status in service.jobs("ann")] == [id]
    assert at_rest(service, id) == "finished"
    service.sweep(-1)
    assert service.jobs("ann") == []
    service.close()


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
    stylizer = TroubledStylizer(lambda name: time.sleep(0.01))  # drawing takes some time
    service = JobService(root, spec_of(stylizer), model_of, PIXELS)
    others = [service.create(send(tmp_path / "in", "x.png"), JobRequest(SMALL, "ann")) for _ in range(40)]
    for other in others:
        assert at_rest(service, other) == "finished"
    stylizer.seen.clear()
    names = [f"{n}.png" for n in range(30)]
    id = service.create(send(tmp_path / "in", *names), JobRequest(SMALL, "ann"))

    def drawn_more_than(count: int) -> bool:
        return len(stylizer.seen) > count or service.status(id).state == "finished"

    for _ in range(12):
        wait_for(lambda: service.status(id).busy or service.status(id).state == "finished")
        service.pause(id)
        for other in others:
            service.rows(other)
        service.resume(id)
        assert open_files(root).count(str(root / id / "journal.jsonl")) <= 1
        wait_for(partial(drawn_more_than, len(stylizer.seen)))
    service.cancel(id)
    wait_for(lambda: not service.status(id).busy)
    drawn = list(stylizer.seen)
    assert drawn
    later = service.create(send(tmp_path / "in", "later.png"), JobRequest(SMALL, "eve"))
    assert at_rest(service, later) == "finished"
    assert stylizer.seen == [*drawn, "later.png"], "cancelled, it draws no more, though others do"
    stylizer.seen.remove("later.png")
    assert max(Counter(drawn).values()) == 1
    service.resume(id)
    assert at_rest(service, id) == "finished"
    assert Counter(stylizer.seen) == dict.fromkeys(names, 1)
    service.close()
    assert open_files(root) == []


def test_looking_waits_for_no_disk(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL, "ann"))
    at_rest(service, id)
    stuck, free, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(file: int) -> None:
        stuck.set()
        assert free.wait(PATIENCE)
        fsync(file)

    drawn = service.create(send(tmp_path / "in", *(f"{n}.png" for n in range(9))), JobRequest(SMALL, "ann"))
    monkeypatch.setattr(os, "fsync", slow)
    with ThreadPoolExecutor(3) as pool:
        assert stuck.wait(PATIENCE)
        said = pool.submit(service.pause, drawn)
        looks: list[Callable[[], object]] = [
            partial(service.jobs, "ann"),
            service.states,
            partial(service.rows, drawn),
            partial(service.status, drawn),
            partial(service.latest, drawn, 9),
            service.photos_left,
        ]
        for look in [pool.submit(look) for look in looks]:
            look.result(PATIENCE / 2)
        assert not said.done()
        assert service.status(drawn).state == "paused", "what was said holds before it is written"
        free.set()
        said.result(PATIENCE)
    service.close()


def test_a_list_of_many_jobs_reads_no_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    ids = [service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL, "ann")) for _ in range(25)]
    for id in ids:
        at_rest(service, id)
    monkeypatch.setattr(salvage, "read", lambda folder: pytest.fail("a listing read a job's files"))
    for _ in range(3):
        assert [status.counts.done for status in service.jobs("ann")] == [1] * 25
        assert service.states() == {"finished": 25}
        assert service.photos_left() == 0
    monkeypatch.undo()
    assert [len(service.rows(id)) for id in ids] == [1] * 25, "what is not in memory is read"
    service.close()


def test_jobs_that_wait_have_neither_a_thread_nor_an_open_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "TURN_SECONDS", 10 * PATIENCE)
    door = Doorkeeper()
    service = JobService(root, spec_of(TroubledStylizer(door)), model_of, PIXELS)
    ids = [service.create(send(tmp_path / "in", "a.png", "b.png"), JobRequest(SMALL, f"{n % 3}")) for n in range(40)]
    wait_for(lambda: service.states() == {"running": fairness.AT_ONCE, "waiting": 40 - fairness.AT_ONCE})
    wait_for(lambda: len(open_files(root)) == 3 * fairness.AT_ONCE)  # each a journal, marks and a lock
    assert sum(thread.name == "job" for thread in threading.enumerate()) == fairness.AT_ONCE
    assert service.photos_left() == 80
    service.cancel(ids[-1])
    assert service.status(ids[-1]).state == "cancelled"
    door.free.set()
    assert {at_rest(service, id) for id in ids[:-1]} == {"finished"}
    service.close()


def test_an_owner_with_many_large_jobs_keeps_nobody_waiting(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "TURN_SECONDS", 0.0)
    stylizer = TroubledStylizer(lambda name: time.sleep(0.005))  # drawing takes some time
    service = JobService(root, spec_of(stylizer), model_of, PIXELS)
    many = [
        service.create(send(tmp_path / "in", *(f"{n}-{m}.png" for m in range(20))), JobRequest(SMALL, "ann"))
        for n in range(12)
    ]
    one = service.create(send(tmp_path / "in", "bob.png"), JobRequest(SMALL, "bob"))
    assert at_rest(service, one) == "finished"
    assert sum(service.status(id).state == "finished" for id in many) < 12, "it did not wait for all of them"
    assert {at_rest(service, id) for id in many} == {"finished"}
    assert max(Counter(stylizer.seen).values()) == 1, "whoever gave way draws nothing twice"
    service.close()


class TestFairness:
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


def test_a_second_service_over_the_same_folder_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoon.jobs.store.lock.HOLD_SECONDS", 0.1)
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL))
    with pytest.raises(BusyError, match=f"{tmp_path}.*CARTOON_DATA_DIR"):
        JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    assert at_rest(service, id) == "finished"
    service.close()
    JobService(root, spec_of(FakeStylizer()), model_of, PIXELS).close()


def test_a_folder_of_jobs_that_cannot_be_used_is_named(root: Path) -> None:
    root.write_bytes(b"a file")
    with pytest.raises(StorageError, match=f"{root}.*CARTOON_DATA_DIR"):
        JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)


def test_the_lock_of_a_killed_server_holds_nobody_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from tests.fakes import FakeStylizer, spec_of\n"
        "from cartoon.jobs.service.jobs import JobService\n"
        "service = JobService(Path(sys.argv[1]), spec_of(FakeStylizer()), str, 10**6); "
        "print('open', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with monkeypatch.context() as patch:
            patch.setattr("cartoon.jobs.store.lock.HOLD_SECONDS", 0.1)
            with pytest.raises(BusyError):
                JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
        process.send_signal(signal.SIGKILL)
    JobService(root, spec_of(FakeStylizer()), model_of, PIXELS).close()


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
    service = JobService(place / "jobs", spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL, "ann"))
    at_rest(service, id)
    halted = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL, "ann"))
    at_rest(service, halted)
    wait_for(lambda: not any(status.busy for status in service.jobs("ann")))  # a disk with open files stays as it is
    subprocess.run(lock_it, check=True)
    with pytest.raises(StorageError, match="Read-only file system"):
        service.remove(id)
    assert {status.id for status in service.jobs("ann")} == {id, halted}
    with pytest.raises(StorageError):
        service.retry(id)
    with pytest.raises(StorageError):
        service.create(send(tmp_path / "in", "b.png"), JobRequest(SMALL))
    subprocess.run([*lock_it[:-2], "remount,rw", lock_it[-1]], check=True)
    service.remove(id)
    assert not list((place / "jobs").glob(f"*{id}*"))
    service.close()


def test_a_job_that_was_half_removed_does_not_come_back(root: Path, tmp_path: Path) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    id = service.create(send(tmp_path / "in", "a.png"), JobRequest(SMALL, "ann"))
    at_rest(service, id)
    service.close()
    (root / id).rename(root / f".gone-{id}")  # as a process leaves it that is killed while it removes
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    assert service.jobs("ann") == []
    service.sweep(3600)
    assert list(root.iterdir()) == []
    service.close()


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
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    path = hostile_zip(tmp_path / "0")
    id = service.create([Sent(path, "holiday.zip"), *send(tmp_path / "in", "plain.png", "z.png")], JobRequest(SMALL))
    assert at_rest(service, id) == "finished"
    assert (service.status(id).counts.failed, service.status(id).counts.done) == (0, 20)
    outputs = [attempt.output for attempt in service.settled(id) if attempt.output]
    assert len({str(path).casefold() for path in outputs}) == 20
    assert all(len(os.fsencode(part)) <= 255 for path in outputs for part in path.parts)
    assert all(str(path).isprintable() for path in outputs)
    service.close()


@pytest.mark.parametrize("data", [b"no zip", b"PK\x03\x04 broken"])
def test_a_refused_zip_goes_by_the_name_its_owner_knows(root: Path, tmp_path: Path, data: bytes) -> None:
    service = JobService(root, spec_of(FakeStylizer()), model_of, PIXELS)
    (tmp_path / "0").write_bytes(data)
    id = service.create([Sent(tmp_path / "0", "holiday.zip"), *send(tmp_path / "in", "a.png")], JobRequest(SMALL))
    assert at_rest(service, id) == "finished"
    assert [row.photo for row in service.rows(id)] == ["holiday.zip", "a.png"]
    assert str(service.rows(id)[0].message).startswith("holiday.zip is not a whole zip file")
    service.close()
