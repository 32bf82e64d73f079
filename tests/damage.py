"""Damages the files of jobs at random, starts a job service over them, and checks that it is none the worse for it.

`python -m tests.damage --count 200` is the long version; a test runs a short one. Run by root it is
another user, nobody, who has the service, so that files of another owner are among the damages; in its own process,
as Python takes for missing, from then on, what nobody may not read.
"""

import argparse
import codecs
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from cartoon.errors import CartoonError, InputError, OptionsError, StorageError, StyleError
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.inputs.hashing import sha256_of
from cartoon.jobs.model import Attempt, Order, State
from cartoon.jobs.runner import run
from cartoon.jobs.service.creation import JobRequest, Sent
from cartoon.jobs.service.jobs import JobService
from cartoon.jobs.store import index
from cartoon.jobs.store.folder import open_order
from cartoon.jobs.store.home import new_id
from cartoon.jobs.store.journal import Journal
from cartoon.options import Options
from cartoon.web import thumbnails
from cartoon.web.rest.zip_stream import packed
from tests.damage_kinds import NOBODY, damage
from tests.fakes import CARDS, TroubledStylizer, spec_of
from tests.waiting import wait_for

PATIENCE = 60.0
OPTIONS = Options(size=64, strength=1.0)
AT_REST = ("finished", "paused", "cancelled", "damaged")


def model_of(style: str) -> str:
    for card in CARDS:
        if card.id == style:
            return card.sha256
    raise StyleError(f"{style} is not known.")


def shade_of(name: str) -> int:
    """The gray of a photo, which its name tells: "b-3.png" is 63."""
    return 20 + 40 * "abh".index(name[0]) + int(name.split("-")[1].split(".")[0])


class Jobs:
    """Three jobs in a folder: one finished, with a failure; one half done; and a healthy one, half done."""

    def __init__(self, place: Path) -> None:
        self.root = place / "jobs"
        self._whole = place / "whole"
        self.finished = self._begun(place, "a", "ann", upto=99)
        self.half = self._begun(place, "b", "ann", upto=3)
        self.healthy = self._begun(place, "h", "eve", upto=2)
        shutil.copytree(self.root, self._whole)

    def restore(self) -> None:
        """As they were before any damage; called by who may remove what is another owner's."""
        shutil.rmtree(self.root)
        shutil.copytree(self._whole, self.root)
        if os.getuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, NOBODY, NOBODY)

    def _begun(self, place: Path, letter: str, owner: str, upto: int) -> str:
        incoming = place / "incoming"
        incoming.mkdir(exist_ok=True)
        sent = []
        for number in range(8):
            name = f"{letter}-{number}.png"
            path = incoming / name
            path.write_bytes(encode(np.full((30, 40, 3), shade_of(name), np.uint8), None, "png"))
            sent.append(Sent(path, name))
        (incoming / f"{letter}-2.png").write_bytes(b"no picture")

        def draw(name: str) -> None:
            if int(name[2]) >= upto:
                service.pause(next(iter(service.jobs(owner))).id)

        service = JobService(self.root, spec_of(TroubledStylizer(draw)), model_of, 10**6)
        id = service.create(sent, JobRequest(OPTIONS, owner, title=f"{letter}s"))
        wait_for(partial(_rests, service, id), PATIENCE)
        service.close()
        if upto < 8:
            journal = Journal(self.root / id)
            journal.say("resume")
            journal.close()
        return id


def _rests(service: JobService, id: str) -> bool:
    return service.status(id).state in AT_REST and not service.status(id).busy


def check(jobs: Jobs) -> dict[str, State]:
    """Start a service and look at everything; the states of the two jobs. Raises AssertionError where it is wrong."""
    damaged = [id for id in (jobs.finished, jobs.half) if os.path.lexists(jobs.root / id)]
    service = JobService(jobs.root, spec_of(TroubledStylizer(lambda name: None)), model_of, 10**6)
    try:
        for id in (*damaged, jobs.healthy):
            wait_for(partial(_rests, service, id), PATIENCE)
        healthy = service.status(jobs.healthy)
        assert (healthy.state, healthy.counts.done, healthy.counts.failed) == ("finished", 7, 1)
        assert [one.id for one in service.jobs("eve")] == [jobs.healthy]
        states: dict[str, State] = {}
        for id in damaged:
            status = service.status(id)
            states[id] = status.state
            assert status.state != "damaged" or status.reason.startswith("The job's files are damaged"), status
            _check_outcomes(service, id)
            with suppress(StorageError):  # files of another owner stay
                service.remove(id)
            assert id not in {one.id for one in service.jobs("ann")}
        return states
    finally:
        service.close()


def _check_outcomes(service: JobService, id: str) -> None:
    rows = service.rows(id)
    for attempt in service.settled(id):
        number, name = attempt.entry.number, attempt.item.name
        assert rows[number].photo == name
        if attempt.error:
            assert name in str(attempt.error) or "no picture" not in str(attempt.error), (name, attempt.error)
            assert name[2:] == "2.png" or "damaged" not in name, (name, attempt.error)
        else:
            with suppress(CartoonError):  # the picture itself is gone
                picture = thumbnails.picture(service, id, number)
                if sha256_of(picture) != attempt.sha256:  # or damaged
                    continue
                pixels = read(picture).pixels
                assert int(np.median(pixels)) == 255 - shade_of(name), f"{name} has another photo's picture"
    pack = packed(service, id)
    assert len(b"".join(pack.chunks())) == pack.size


@contextmanager
def as_nobody() -> Iterator[None]:
    """Where root runs this: no more rights than anybody has, for a while."""
    if os.getuid() != 0:
        yield
        return
    for name in ("ascii", "cp437", "utf-8-sig"):  # Python reads them when they are needed
        codecs.lookup(name)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def damages(place: Path, count: int, seed: int, tell: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """So many damages, each to whole jobs; how often they came to which state. place: of whoever has the service."""
    chance = random.Random(seed)
    with as_nobody():
        jobs = Jobs(place)
    came: Counter[str] = Counter()
    for number in range(count):
        jobs.restore()
        with as_nobody():
            done = damage(jobs.root / chance.choice((jobs.finished, jobs.half)), chance)
            try:
                states = check(jobs)
            except BaseException:
                print(f"damage {number} of seed {seed}: {done}", file=sys.stderr)
                raise
        came.update(states.values())
        tell(f"{number:4} {' '.join(states.values()):20} {done}")
    return came


def begun(place: Path, overwrite: bool = False) -> list[Attempt]:
    """What `run IN -o OUT` does."""
    asked = Order(new_id(), (str(place / "in"),), place / "out", OPTIONS, "m", "0", time.time(), overwrite=overwrite)
    with (
        closing(open_order(asked)) as job,
        closing(ThreadExecutor(spec_of(TroubledStylizer(lambda name: None)))) as executor,
    ):
        return [*job.again(), *run(job, executor)]


def outcome_of(place: Path) -> list[Attempt] | CartoonError:
    try:
        return begun(place)
    except CartoonError as error:
        return error


def mended(place: Path, whole: Path) -> None:
    shutil.rmtree(place / "out")
    shutil.copytree(whole, place / "out")
    if os.getuid() == 0:
        for path in (place / "out", *(place / "out").rglob("*")):
            os.chown(path, NOBODY, NOBODY)


def command_line(place: Path, count: int, seed: int) -> Counter[str]:
    """So many damages to a job of the command line: the same command says one sentence, or goes on with it."""
    chance, refused, went_on = random.Random(seed), 0, 0
    with as_nobody():
        (place / "in").mkdir()
        for number in range(4):
            shade = shade_of(f"a-{number}.png")
            data = encode(np.full((30, 40, 3), shade, np.uint8), None, "png")
            (place / "in" / f"a-{number}.png").write_bytes(data)
        begun(place)
    shutil.copytree(place / "out", place / "whole")
    for _ in range(count):
        mended(place, place / "whole")
        with as_nobody():
            done = damage(next(path for path in (place / "out" / ".cartoon").iterdir() if path.is_dir()), chance)
            assert all(
                seen.state in ("finished", "waiting", "damaged") for seen in index.found_jobs(None, place / "out")
            )
            came = outcome_of(place)
            if isinstance(came, CartoonError):
                refused += 1
                assert str(came).endswith("."), done
                assert isinstance(came, OptionsError | InputError) or "foreign" in done, (done, came)
                assert "foreign" in done or len(begun(place, overwrite=True)) == 4, done
            else:
                went_on += 1
                assert sorted(attempt.item.name for attempt in came) == [f"a-{n}.png" for n in range(4)], done
                assert not [attempt.error for attempt in came if attempt.error], done
            for number in range(4):
                pixels = read(place / "out" / f"a-{number}.png").pixels
                assert int(np.median(pixels)) == 255 - shade_of(f"a-{number}.png"), done
    return Counter({"refused": refused, "went on": went_on})


@contextmanager
def place_for_all() -> Iterator[Path]:
    """A folder that belongs to whoever has the service, with nothing above it in the way."""
    place = Path(mkdtemp(prefix="cartoon-damage-"))
    try:
        if os.getuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield place
    finally:
        shutil.rmtree(place)


def main() -> None:
    """The long version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with place_for_all() as place:
        came = damages(place, args.count, args.seed, print)
    with place_for_all() as place:
        came += command_line(place, args.count, args.seed)
    print(json.dumps(came))


if __name__ == "__main__":
    main()
