"""Where a job of a server stands, as a value: what doors ask for most."""

from dataclasses import dataclass

from cartoon.jobs.model import Counts, Order, State
from cartoon.jobs.service.served import ServedJob


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands. rate: pictures a second lately. seconds_left: an estimate. reason: why it was paused, or
    what of its files is damaged.

    turn: grows with every change. busy: something of it is still under way, also when it was paused meanwhile.
    """

    id: str
    order: Order
    state: State
    counts: Counts
    rate: float | None
    seconds_left: float | None
    reason: str
    turn: int
    busy: bool = False


def status_of(job: ServedJob) -> JobStatus:
    """Of a job as it is now."""
    counts, rate, left = job.counts, job.rate, None
    if rate and job.running:
        left = counts.remaining / rate
    reason = job.damage or job.reason
    return JobStatus(
        job.order.id, job.order, job.state_at(counts), counts, rate, left, reason, job.turn, busy=job.running
    )
