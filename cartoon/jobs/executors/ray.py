"""An executor on a Ray cluster: a resident stylizer for every GPU, or every few cores, of every node there is now."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from cartoon.errors import CartoonError, ResourceError, WorkerLostError
from cartoon.jobs.executors.base import WorkerSpec
from cartoon.jobs.executors.ray_actor import RayWorker
from cartoon.jobs.executors.ray_nodes import Placement, connected, not_opened, placements
from cartoon.jobs.model import Result, Task

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""Between two looks at which nodes there are."""
START_SECONDS: Final = 300.0
"""How long a cluster may take until its first stylizer draws: its nodes may be busy with other work."""
LOST_SECONDS: Final = 300.0
"""How long a run waits for nodes when it has none left."""
VANISH_SECONDS: Final = 45.0
"""How long a node has to outlive an actor that died over a last try: Ray misses one that has vanished after 30 s."""
STRIKES: Final = 3
"""Stylizers in a row that died or did not load before their place is left alone, while there are others."""


@dataclass(eq=False)
class _Pending:
    """A task, and who waits for it; isolated: it is the last try of a photo."""

    task: Task
    isolated: bool = False
    future: "Future[Result]" = field(default_factory=Future)


@dataclass(eq=False)
class _Actor:
    """An actor; slots is 0 until its stylizer has loaded."""

    placement: Placement
    handle: Any
    slots: int = 0
    finished: int = 0
    under_way: set[_Pending] = field(default_factory=set)

    @property
    def free(self) -> int:
        """How many more photos it takes."""
        return self.slots - len(self.under_way)


class RayExecutor:
    """An executor of actors. Nodes may come and go while it draws; Ray itself repeats nothing, the runner decides.

    A photo whose actor died is a lost one (WorkerLostError); where the whole node has gone the photo is not to blame
    (ResourceError, a plain retry). Once there has been no node for LOST_SECONDS, `submit` raises ResourceError.
    Raises what loading the stylizer raised, OptionsError without Ray or without a cluster at the address.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec, self._settings = spec, spec.settings
        self._actors: list[_Actor] = []
        self._waiting: deque[_Pending] = deque()
        self._strikes: dict[Placement, int] = {}
        self._lost_on: dict[int, set[str]] = {}
        self._unsure: set[_Pending] = set()  # last tries whose actor died, and perhaps its node
        self._slots = 0
        self._problem: CartoonError | None = None
        self._since = time.monotonic()  # when there last was a stylizer
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._first: Future[None] = Future()
        self._connection = connected(spec.cluster)
        self._ray = self._connection.ray
        # One thread owns the actors: others, and Ray's callbacks, only leave it word.
        self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
        self._keeper.start()
        try:
            self._first.result()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """How many tasks keep all stylizers busy; 1 while there are none, so that somebody waits for them."""
        return max(1, self._slots)

    def submit(self, task: Task, *, isolated: bool = False) -> "Future[Result]":
        """Draw a task on some node: each actor is a process. Raises ResourceError when the cluster is lost."""
        if self._problem:
            raise self._problem
        pending = _Pending(task, isolated)
        self._events.put(partial(self._take, pending))
        return pending.future

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
        """Drop the actors of dead nodes, fill those that are empty, and notice when nobody is left."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        alive = {node["NodeID"] for node in nodes}
        for actor in [actor for actor in self._actors if actor.placement.node not in alive]:
            self._lose(actor, node_lost=True)
        taken = {actor.placement for actor in self._actors}
        for placement in placements(nodes, self._settings.device, self._settings.cluster_cores):
            if placement not in taken and self._may_start(placement):
                self._start(placement)
        now = time.monotonic()
        if self._slots:
            self._since = now
        elif not self._actors and now - self._since < LOOK_SECONDS:
            log.warning("no node has a place for a stylizer: waiting for one")
        elif now - self._since > (LOST_SECONDS if self._first.done() else START_SECONDS):
            what = "No node of the cluster has a free GPU or free cores" if nodes else "The cluster has no nodes left"
            self._give_up(ResourceError(f"{what}: add nodes or wait, then run the same command again."))

    def _may_start(self, placement: Placement) -> bool:
        """Not where stylizers died time and again: a broken GPU would take every photo down that comes its way."""
        others = any(actor.slots and actor.placement.node != placement.node for actor in self._actors)
        return self._problem is None and not (others and self._strikes.get(placement, 0) >= STRIKES)

    def _start(self, placement: Placement) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kind = self._ray.remote(RayWorker).options(
            num_cpus=placement.cores,
            num_gpus=int(placement.gpu),
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(placement.node, soft=False),
        )
        actor = _Actor(placement, kind.remote())
        self._actors.append(actor)
        settings = self._settings.model_copy(update={"device": "cuda" if placement.gpu else "cpu"})
        opening = actor.handle.open.remote(
            replace(self._spec, settings=settings), 0 if placement.gpu else placement.cores
        )
        opening.future().add_done_callback(lambda done: self._events.put(partial(self._opened, actor, done)))

    def _opened(self, actor: _Actor, done: "Future[int | CartoonError]") -> None:
        if actor not in self._actors:
            return
        problem = done.exception()
        told = done.result() if problem is None else None
        if isinstance(told, int):
            actor.slots = told
            self._count()
            log.info("node %s: a stylizer with %d places, %d in all", actor.placement.node[:8], told, self._slots)
            if not self._first.done():
                self._first.set_result(None)
            self._hand_out()
            return
        error = told or not_opened(problem)
        log.warning("node %s: no stylizer there: %s", actor.placement.node[:8], error)
        self._lose(actor, self._node_lost(actor, problem))
        if not self._actors and not self._first.done():
            self._give_up(error)

    def _take(self, pending: _Pending) -> None:
        self._waiting.append(pending)
        if self._problem:
            self._give_up(self._problem)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting:
            free = [actor for actor in self._actors if actor.free > 0]
            if not free:
                return
            pending = self._waiting.popleft()
            if not pending.future.set_running_or_notify_cancel():
                continue
            # A photo that was lost somewhere is next drawn elsewhere: perhaps the node is to blame.
            shunned = self._lost_on.get(pending.task.number, set())
            actor = min(free, key=lambda actor: (actor.placement.node in shunned, len(actor.under_way) / actor.slots))
            actor.under_way.add(pending)
            drawing = actor.handle.draw.remote(pending.task).future()
            drawing.add_done_callback(partial(self._tell_ended, actor, pending))

    def _tell_ended(self, actor: _Actor, pending: _Pending, done: "Future[Result]") -> None:
        self._events.put(partial(self._ended, actor, pending, done))

    def _ended(self, actor: _Actor, pending: _Pending, done: "Future[Result]") -> None:
        if pending not in actor.under_way:  # the actor was lost before this was heard
            return
        problem = done.exception()
        faults = self._ray.exceptions
        if isinstance(problem, faults.RayError) and not isinstance(problem, faults.RayTaskError):
            log.debug("lost: %s", problem)
            self._lose(actor, self._node_lost(actor, problem))
            self._look()
            return
        actor.under_way.discard(pending)
        actor.finished += 1
        self._strikes.pop(actor.placement, None)
        if problem is None:
            pending.future.set_result(done.result())
        else:
            pending.future.set_exception(getattr(problem, "cause", problem))
        self._hand_out()

    def _node_lost(self, actor: _Actor, problem: BaseException | None) -> bool:
        """Whether more than the actor is gone. A node is declared dead before its actors are, so asking is enough."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return bool(getattr(problem, "preempted", False)) or actor.placement.node not in alive

    def _lose(self, actor: _Actor, node_lost: bool) -> None:
        """An actor is gone: its photos are told so, all together."""
        self._actors.remove(actor)
        self._count()
        self._ray.kill(actor.handle)  # an actor that only did not answer must not write any more
        if not node_lost:
            self._strikes[actor.placement] = self._strikes.get(actor.placement, 0) + 1
        log.warning("node %s: %s is gone", actor.placement.node[:8], "it" if node_lost else "a stylizer")
        lost, actor.under_way = actor.under_way, set()
        for pending in lost:
            if pending.isolated and not node_lost:
                self._unsure.add(pending)
                sure = partial(self._events.put, partial(self._tell_lost, pending, actor))
                timer = threading.Timer(VANISH_SECONDS, sure)
                timer.daemon = True
                timer.start()
            else:
                self._blame(pending, actor, node_lost)

    def _tell_lost(self, pending: _Pending, actor: _Actor) -> None:
        if pending in self._unsure:
            self._unsure.discard(pending)
            self._blame(pending, actor, self._node_lost(actor, None))

    def _blame(self, pending: _Pending, actor: _Actor, node_lost: bool) -> None:
        """Say what was lost: a photo is not to blame where the whole node has gone."""
        name = pending.task.name
        if node_lost:
            pending.future.set_exception(ResourceError(f"{name}: the node that drew it was lost; run it again."))
            return
        self._lost_on.setdefault(pending.task.number, set()).add(actor.placement.node)
        pending.future.set_exception(WorkerLostError(f"{name}: the process that drew it died."))

    def _count(self) -> None:
        self._slots = sum(actor.slots for actor in self._actors)

    def _give_up(self, problem: CartoonError) -> None:
        """No more stylizers are expected: nobody is kept waiting."""
        self._problem = problem
        if not self._first.done():
            self._first.set_exception(problem)
        waiting = [*self._waiting, *self._unsure, *(pending for actor in self._actors for pending in actor.under_way)]
        self._waiting.clear()
        self._unsure.clear()
        for actor in self._actors:
            actor.under_way.clear()
        for pending in waiting:
            if pending.future.running() or pending.future.set_running_or_notify_cancel():
                pending.future.set_exception(problem)

    def _end(self) -> None:
        self._give_up(self._problem or ResourceError("The run has ended; run the same command again."))
        for actor in self._actors:
            try:
                self._ray.kill(actor.handle)
            except Exception as problem:  # the cluster may be gone
                log.debug("not ended", exc_info=problem)
