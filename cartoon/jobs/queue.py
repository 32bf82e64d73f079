"""Which photo of a job comes next, and how it is drawn: beside others, alone, or apart; pure, told the time."""

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cartoon.jobs.model import LAST_TRY_AFTER, How, Losses, next_try


@dataclass(frozen=True)
class Next:
    """A photo to start now."""

    number: int
    how: How


@dataclass(frozen=True, order=True)
class _Later:
    """A photo that is tried again at a time (monotonic, s)."""

    due: float
    number: int


class Waiting:
    """Photos without an outcome that are not under way.

    losses: of those that had any; looked at, never changed here. began: when the program did (monotonic, s).
    Those that were under way when a process died come first, one at a time; last tries come after everything else.
    """

    def __init__(self, numbers: Iterable[int], losses: Mapping[int, Losses], began: float) -> None:
        self._losses, self._began = losses, began
        self._company: deque[int] = deque()
        self._alone: deque[int] = deque()
        self._apart: deque[int] = deque()
        self._later: list[_Later] = []
        # A photo that was met alone goes behind the others, so that a program that dies time and again meets each.
        for number in sorted(numbers, key=lambda number: self._seen(number).alone):
            self.add(number)

    def __bool__(self) -> bool:
        return bool(self._company or self._alone or self._apart or self._later)

    def add(self, number: int, first: bool = False) -> None:
        """A photo waits among its like, behind them or before."""
        how = next_try(self._seen(number))
        # One that is to blame waits in company: it is not drawn any more, so it is no danger.
        like = self._alone if how == "alone" else self._apart if how == "apart" else self._company
        if first:
            like.appendleft(number)
        else:
            like.append(number)

    def add_later(self, number: int, due: float) -> None:
        """A photo is tried again at a time."""
        heapq.heappush(self._later, _Later(due, number))

    def next(self, now: float, under_way: Collection[How], slots: int) -> Next | None:
        """What to start beside what is under way: nothing beside a photo that is alone, which starts beside nothing."""
        while self._later and self._later[0].due <= now:
            self.add(heapq.heappop(self._later).number, first=True)
        if any(how != "company" for how in under_way):
            return None
        if self._alone:
            return None if under_way else Next(self._alone.popleft(), "alone")
        if self._company:
            return Next(self._company.popleft(), "company") if len(under_way) < slots else None
        if self._apart and not (under_way or self._later) and self._last_try_due() <= now:
            return Next(self._apart.popleft(), "apart")
        return None

    def due(self) -> float | None:
        """When there may be something to start that cannot be started now, if nothing is under way."""
        if self._alone or self._company:
            return None
        if self._later:
            return self._later[0].due
        return self._last_try_due() if self._apart else None

    def _last_try_due(self) -> float:
        return self._began + LAST_TRY_AFTER[self._seen(self._apart[0]).apart]

    def _seen(self, number: int) -> Losses:
        return self._losses.get(number, Losses())
