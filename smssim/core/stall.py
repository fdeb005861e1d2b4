"""Why a run makes no progress.

Decides from the last reports of the senders. Must not know how it is put into words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from smssim.core.limits import LIMITS, Limits
from smssim.core.session import Session, State


class Cause(IntEnum):
    """Why a run makes no progress: the first cause that applies."""

    NO_SENDER = 1  # no sender reports
    SILENT = 2  # all senders with messages in their lanes are silent, but not yet lost
    LANES_BUSY = 3  # messages are being sent, which takes long
    NO_PRODUCER = 4  # no sender is connected to the producer
    LEASES_LOST = 5  # lost senders hold messages, and their leases have not expired
    NOTHING_OUT = 6  # the producer delivers nothing: a rate or a retry delay holds messages back
    LIMIT = 7  # senders wait until their limits let them start messages; comes before LEASES_LOST


@dataclass(frozen=True, slots=True)
class Stall:
    """No attempt was counted for `quiet_s` seconds, and why."""

    cause: Cause
    quiet_s: float
    senders: int  # that the cause concerns
    messages: int  # that they have; with LANES_BUSY only those in their lanes
    time_s: float = 0.0  # with LANES_BUSY: the longest of their mean times


def stall(
    sessions: Iterable[Session], missing: int, quiet_s: float, now: float, segments: int = 1, limits: Limits = LIMITS
) -> Stall | None:
    """Return why the run makes no progress; None if it does, or if it is complete.

    `missing`: messages without a final outcome. `quiet_s`: seconds since an outcome was last counted. `segments`: of
    each message, in which limits count.
    """
    if not missing or quiet_s < limits.quiet_s:
        return None
    staying = [s for s in sessions if not s.left]
    lost = [s for s in staying if s.state(now) == State.LOST and s.in_flight + s.held]
    present = [s for s in staying if s.state(now) != State.LOST]
    busy = [s for s in present if s.in_flight]

    def of(cause: Cause, some: list[Session]) -> Stall:
        return Stall(cause, quiet_s, len(some), min(missing, sum(s.in_flight + s.held for s in some)))

    if not present:
        return of(Cause.NO_SENDER, lost)
    if busy and all(now - s.last_report_at > limits.silent_after_s for s in busy):
        return of(Cause.SILENT, busy)
    if busy:
        sending = min(missing, sum(s.in_flight for s in busy))
        return Stall(Cause.LANES_BUSY, quiet_s, len(busy), sending, max(s.facts.mean_s for s in busy))
    if all(s.cut_off for s in present):
        return of(Cause.NO_PRODUCER, present)
    limited = [s for s in present if s.facts.limit_per_s and (s.held or quiet_s * s.facts.limit_per_s < segments)]
    if limited:
        return of(Cause.LIMIT, limited)
    return of(Cause.LEASES_LOST, lost) if lost else of(Cause.NOTHING_OUT, present)
