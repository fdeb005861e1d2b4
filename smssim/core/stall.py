"""Why nothing moves.

Decides from what the senders last said. Must not know how it is put into words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from smssim.core.limits import LIMITS, Limits
from smssim.core.session import Session, State


class Cause(IntEnum):
    """Why nothing moves, the first that applies."""

    NO_SENDER = 1  # none is heard from
    SILENT = 2  # those that have messages are not heard from just now
    LANES_BUSY = 3  # messages are being sent, which takes long
    NO_PRODUCER = 4  # no sender is connected to it
    LEASES_LOST = 5  # messages went with lost senders, whose leases have not ended
    NOTHING_OUT = 6  # the producer hands nothing out: a rate or a delay holds messages back


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing was finished for `quiet_s` seconds."""

    cause: Cause
    quiet_s: float
    senders: int  # that the cause is about
    messages: int  # that are with them; with LANES_BUSY those that are in their lanes
    time_s: float = 0.0  # with LANES_BUSY: the longest mean time of theirs


def stall(
    sessions: Iterable[Session], missing: int, quiet_s: float, now: float, limits: Limits = LIMITS
) -> Stall | None:
    """Why nothing moves, or None if it does or all is done. `missing`: messages without a final outcome."""
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
    if busy and all(now - s.heard_at > limits.silent_after_s for s in busy):
        return of(Cause.SILENT, busy)
    if busy:
        sending = min(missing, sum(s.in_flight for s in busy))
        return Stall(Cause.LANES_BUSY, quiet_s, len(busy), sending, max(s.facts.mean_s for s in busy))
    if all(s.cut_off for s in present):
        return of(Cause.NO_PRODUCER, present)
    return of(Cause.LEASES_LOST, lost) if lost else of(Cause.NOTHING_OUT, present)
