"""A crew on a Ray cluster: a resident artist for every GPU, or every few cores, of every node that is there now."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from cartoon.errors import CartoonError, ResourceError, WorkerLostError
from cartoon.jobs.executors.ray_actor import Recipe, Resident
from cartoon.jobs.executors.ray_nodes import Site, connected, not_opened, sites
from cartoon.jobs.photo import Artist, Judge, Result, Task
from cartoon.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""Between two looks at which nodes there are."""
START_SECONDS: Final = 300.0
"""How long a cluster may take until its first artist draws: its nodes may be busy with other work."""
LOST_SECONDS: Final = 300.0
"""How long a run waits for nodes when it has none left."""
VANISH_SECONDS: Final = 45.0
"""How long a node has to outlive an actor that died over a last try: Ray misses one that has vanished after 30 s."""
STRIKES: Final = 3
"""Artists in a row that died or did not load before their place is left alone, while there are others."""


@dataclass(eq=False)
class _Errand:
    """A task, and who waits for it; last: it is the last try of a photo."""

    task: Task
    future: "Future[Result]" = field(default_factory=Future)
    last: bool = False


@dataclass(eq=False)
class _Seat:
    """An actor; places is 0 until its artist has loaded."""

    site: Site
    actor: Any
    places: int = 0
    finished: int = 0
    under_way: set[_Errand] = field(default_factory=set)

    @property
    def free(self) -> int:
        """How many more photos it takes."""
        return self.places - len(self.under_way)


class OnRay:
    """A crew of actors. Nodes may come and go while it draws; Ray itself repeats nothing, the runner decides.

    A photo whose actor died is a lost one (WorkerLostError); where the whole node has gone the photo is not to blame
    (ResourceError, a plain retry). Once there has been no node for LOST_SECONDS, `submit` raises ResourceError.
    Raises what loading the artist raised, OptionsError without Ray or without a cluster at the address.
    """

    def __init__(
        self, address: str, settings: Settings, load: Callable[[Settings], Artist], judge: Judge | None = None
    ) -> None:
        self._settings, self._recipe = settings, Recipe(load, judge)
        self._seats: list[_Seat] = []
        self._waiting: deque[_Errand] = deque()
        self._strikes: dict[Site, int] = {}
        self._lost_on: dict[int, set[str]] = {}
        self._unsure: set[_Errand] = set()  # last tries whose actor died, and perhaps its node
        self._places = 0
        self._problem: CartoonError | None = None
        self._since = time.monotonic()  # when there last was an artist
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._first: Future[None] = Future()
        self._connection = connected(address)
        self._ray = self._connection.ray
        # One thread owns the seats: others, and Ray's callbacks, only leave it word.
        self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
        self._keeper.start()
        try:
            self._first.result()
        except BaseException:
            self.close()
            raise

    @property
    def places(self) -> int:
        """How many tasks keep all artists busy; 1 while there are none, so that somebody waits for them."""
        return max(1, self._places)

    def submit(self, task: Task) -> "Future[Result]":
        """Draw a task on some node; raises ResourceError when the cluster is lost."""
        return self._send(_Errand(task))

    def apart(self, task: Task) -> "Future[Result]":
        """Draw a task in an actor, which is a process, and draws nothing else meanwhile."""
        return self._send(_Errand(task, last=True))

    def _send(self, errand: _Errand) -> "Future[Result]":
        if self._problem:
            raise self._problem
        self._events.put(partial(self._take, errand))
        return errand.future

    def close(self) -> None:
        """End the actors, and Ray where it was started for this."""
        self._events.put(None)
        self._keeper.join()
        self._connection.close()

    def _keep(self) -> None:
        next_look = 0.0
        try:
            while True:
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + LOOK_SECONDS
                try:
                    event = self._events.get(timeout=max(0.0, next_look - time.monotonic()))
                except queue.Empty:
                    continue
                if event is None:
                    break
                event()
        except Exception as problem:  # whoever waits must hear of it
            log.error("the cluster is lost", exc_info=problem)
            self._give_up(ResourceError(f"The Ray cluster does not answer ({problem}): run the same command again."))
        self._end()

    def _look(self) -> None:
        """Drop the seats of dead nodes, fill those that are empty, and notice when nobody is left."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        alive = {node["NodeID"] for node in nodes}
        for seat in [seat for seat in self._seats if seat.site.node not in alive]:
            self._lose(seat, node_lost=True)
        taken = {seat.site for seat in self._seats}
        for site in sites(nodes, self._settings.device, self._settings.cluster_cores):
            if site not in taken and self._may_start(site):
                self._start(site)
        now = time.monotonic()
        if self._places:
            self._since = now
        elif not self._seats and now - self._since < LOOK_SECONDS:
            log.warning("no node has a place for an artist: waiting for one")
        elif now - self._since > (LOST_SECONDS if self._first.done() else START_SECONDS):
            what = "No node of the cluster has a free GPU or free cores" if nodes else "The cluster has no nodes left"
            self._give_up(ResourceError(f"{what}: add nodes or wait, then run the same command again."))

    def _may_start(self, site: Site) -> bool:
        """Not where artists died time and again: a broken GPU would take every photo down that comes its way."""
        others = any(seat.places and seat.site.node != site.node for seat in self._seats)
        return self._problem is None and not (others and self._strikes.get(site, 0) >= STRIKES)

    def _start(self, site: Site) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kind = self._ray.remote(Resident).options(
            num_cpus=site.cores,
            num_gpus=int(site.gpu),
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(site.node, soft=False),
        )
        seat = _Seat(site, kind.remote())
        self._seats.append(seat)
        settings = self._settings.model_copy(update={"device": "cuda" if site.gpu else "cpu"})
        opening = seat.actor.open.remote(self._recipe, settings, 0 if site.gpu else site.cores)
        opening.future().add_done_callback(lambda done: self._events.put(partial(self._opened, seat, done)))

    def _opened(self, seat: _Seat, done: "Future[int | CartoonError]") -> None:
        if seat not in self._seats:
            return
        problem = done.exception()
        told = done.result() if problem is None else None
        if isinstance(told, int):
            seat.places = told
            self._count()
            log.info("node %s: an artist with %d places, %d in all", seat.site.node[:8], told, self._places)
            if not self._first.done():
                self._first.set_result(None)
            self._hand_out()
            return
        error = told or not_opened(problem)
        log.warning("node %s: no artist there: %s", seat.site.node[:8], error)
        self._lose(seat, self._node_lost(seat, problem))
        if not self._seats and not self._first.done():
            self._give_up(error)

    def _take(self, errand: _Errand) -> None:
        self._waiting.append(errand)
        if self._problem:
            self._give_up(self._problem)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting:
            free = [seat for seat in self._seats if seat.free > 0]
            if not free:
                return
            errand = self._waiting.popleft()
            if not errand.future.set_running_or_notify_cancel():
                continue
            # A photo that was lost somewhere is next drawn elsewhere: perhaps the node is to blame.
            shunned = self._lost_on.get(errand.task.number, set())
            seat = min(free, key=lambda seat: (seat.site.node in shunned, len(seat.under_way) / seat.places))
            seat.under_way.add(errand)
            drawing = seat.actor.draw.remote(errand.task).future()
            drawing.add_done_callback(partial(self._tell_ended, seat, errand))

    def _tell_ended(self, seat: _Seat, errand: _Errand, done: "Future[Result]") -> None:
        self._events.put(partial(self._ended, seat, errand, done))

    def _ended(self, seat: _Seat, errand: _Errand, done: "Future[Result]") -> None:
        if errand not in seat.under_way:  # the seat was lost before this was heard
            return
        problem = done.exception()
        faults = self._ray.exceptions
        if isinstance(problem, faults.RayError) and not isinstance(problem, faults.RayTaskError):
            log.debug("lost: %s", problem)
            self._lose(seat, self._node_lost(seat, problem))
            self._look()
            return
        seat.under_way.discard(errand)
        seat.finished += 1
        self._strikes.pop(seat.site, None)
        if problem is None:
            errand.future.set_result(done.result())
        else:
            errand.future.set_exception(getattr(problem, "cause", problem))
        self._hand_out()

    def _node_lost(self, seat: _Seat, problem: BaseException | None) -> bool:
        """Whether more than the actor is gone. A node is declared dead before its actors are, so asking is enough."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return bool(getattr(problem, "preempted", False)) or seat.site.node not in alive

    def _lose(self, seat: _Seat, node_lost: bool) -> None:
        """An actor is gone: its photos are told so, all together."""
        self._seats.remove(seat)
        self._count()
        self._ray.kill(seat.actor)  # an actor that only did not answer must not write any more
        if not node_lost:
            self._strikes[seat.site] = self._strikes.get(seat.site, 0) + 1
        log.warning("node %s: %s is gone", seat.site.node[:8], "it" if node_lost else "an artist")
        lost, seat.under_way = seat.under_way, set()
        for errand in lost:
            if errand.last and not node_lost:
                self._unsure.add(errand)
                sure = partial(self._events.put, partial(self._tell_lost, errand, seat))
                timer = threading.Timer(VANISH_SECONDS, sure)
                timer.daemon = True
                timer.start()
            else:
                self._blame(errand, seat, node_lost)

    def _tell_lost(self, errand: _Errand, seat: _Seat) -> None:
        if errand in self._unsure:
            self._unsure.discard(errand)
            self._blame(errand, seat, self._node_lost(seat, None))

    def _blame(self, errand: _Errand, seat: _Seat, node_lost: bool) -> None:
        """Say what was lost: a photo is not to blame where the whole node has gone."""
        name = errand.task.name
        if node_lost:
            errand.future.set_exception(ResourceError(f"{name}: the node that drew it was lost; run it again."))
            return
        self._lost_on.setdefault(errand.task.number, set()).add(seat.site.node)
        errand.future.set_exception(WorkerLostError(f"{name}: the process that drew it died."))

    def _count(self) -> None:
        self._places = sum(seat.places for seat in self._seats)

    def _give_up(self, problem: CartoonError) -> None:
        """No more artists are expected: nobody is kept waiting."""
        self._problem = problem
        if not self._first.done():
            self._first.set_exception(problem)
        waiting = [*self._waiting, *self._unsure, *(errand for seat in self._seats for errand in seat.under_way)]
        self._waiting.clear()
        self._unsure.clear()
        for seat in self._seats:
            seat.under_way.clear()
        for errand in waiting:
            if errand.future.running() or errand.future.set_running_or_notify_cancel():
                errand.future.set_exception(problem)

    def _end(self) -> None:
        self._give_up(self._problem or ResourceError("The run has ended; run the same command again."))
        for seat in self._seats:
            try:
                self._ray.kill(seat.actor)
            except Exception as problem:  # the cluster may be gone
                log.debug("not ended", exc_info=problem)
