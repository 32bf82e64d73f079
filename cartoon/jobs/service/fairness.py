"""Which of the waiting jobs is drawn next, and when one gives its place to another: fair between their owners."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

AT_ONCE: Final = 8
"""Jobs that have a thread and open files; all others wait with neither."""
TURN_SECONDS: Final = 5.0
"""How long a job draws, at least, before it gives its place to one whose owner has fewer."""


@dataclass(frozen=True)
class Claim:
    """A job as its place is argued about. owner: "" where it is nobody's, and then it stands for itself."""

    id: str
    owner: str
    priority: int = 1

    @property
    def party(self) -> str:
        """Those who share a claim."""
        return self.owner or self.id


def next_of(waiting: Sequence[Claim], running: Iterable[Claim]) -> Claim:
    """Of the jobs that wait, in the order they came, the one to begin: its owner has the fewest under way."""
    places = Counter(claim.party for claim in running)
    return min(waiting, key=lambda claim: (places[claim.party], -claim.priority))


def gives_way(claim: Claim, waiting: Iterable[Claim], running: Sequence[Claim], giving: int) -> bool:
    """Whether a job that has had its turn leaves its place: more wait whose owners have none, or two fewer, than places
    are being left already.

    giving: how many are. With two fewer it becomes more even; with one fewer it would only change sides, for ever.
    """
    places = Counter(one.party for one in running)
    mine = places[claim.party]
    theirs = [places[one.party] for one in waiting if one.party != claim.party]
    return sum(not place or place + 2 <= mine for place in theirs) > giving
