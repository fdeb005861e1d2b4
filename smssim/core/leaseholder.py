"""Senders as the producer sees them: leases, credit and deadlines.

Knows counts, and the stretches in which a sender's messages may be. Must not know which messages they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, StartLimit, declared_speed
from smssim.core.stretches import stretches_of
from smssim.errors import PeerError, TooLargeError


def longest_attempt_s(distribution: str, mean_s: float, std_s: float, limits: Limits = LIMITS) -> float:
    """Return an upper bound on the time of an attempt, in seconds; `distribution` may be an unknown name.

    The longest time is the mean of the longest 1 in 65,536 (`fate.time_table`). In any distribution, the mean of the
    largest 1 in n is at most sqrt(n - 1) standard deviations above the mean (Cauchy-Schwarz).
    """
    has_std = distribution in ("gamma", "lognormal", "normal", "uniform", "fixed")
    return mean_s + limits.tail * (std_s if has_std else max(std_s, mean_s))


@dataclass(slots=True)
class LeaseHolder:
    """A sender's open stream."""

    number: int
    session_id: str
    speed: float  # messages per second that it can send, as it declares
    concurrency: int
    lanes_used: int  # that are busy on average, at most: all of them, or as many as its limit can feed
    last_request_at: float
    longest_s: float = 0.0  # the longest time of one of its attempts, as it declares
    interval_s: float | None = None  # between two starts, at least; None without a limit
    moved_at: float = -math.inf  # when it last settled some, handed some back, or got some while it had none
    credit: int = 0  # how many more messages it is ready to take
    idle_lanes: int | None = None  # as last declared in a request; with a limit, those that can start a message soon
    received: int = 0  # messages, as of that request
    held: int | None = None  # messages that no lane has started, as of that request; None if not declared
    delivered: int = 0
    leased: int = 0
    leaving: bool = False
    lost: bool = False
    expired: str = ""  # the reason, if it was lost because it was overdue
    limits: Limits = LIMITS
    stretches: set[int] = field(default_factory=set)  # those that its messages are in, and possibly others

    @property
    def weight(self) -> int:
        """Its speed as a whole number, so that sums stay exact while senders join and leave."""
        return int(math.ldexp(self.speed, 64))

    def check_ask(self, credit: int, received: int) -> None:
        """Raise TooLargeError or PeerError unless the sender may `ask` for this."""
        most = self.concurrency + self.limits.credit_ahead_max
        if credit + self.credit + self.leased > most:
            raise TooLargeError(f"credit and unsettled messages exceed {most:,}")
        if received > self.delivered:
            raise PeerError(f"received {received} messages, but only {self.delivered} were delivered")

    def ask(self, credit: int, idle_lanes: int | None, received: int, held: int | None = None) -> None:
        """Record that the sender is ready to take `credit` more messages. Assumes that `check_ask` has passed."""
        if idle_lanes is not None:
            self.idle_lanes, self.received, self.held = idle_lanes, received, held
        if not self.leaving:
            self.credit += credit

    def allowance(self, fair_share: float) -> int:
        """Return how many messages the sender may get now; `fair_share` is its share of the waiting ones, by speed.

        Within its credit, that is the larger of two numbers: what its idle lanes can start, and half its fair share
        minus what it has ahead. This is guided self-scheduling (Polychronopoulos and Kuck, 1987).

        Its leases tell which lanes are idle too, unless it has a limit. If it never says what it can start then, it
        gets one message at a time at least.
        """
        on_the_way = self.delivered - self.received
        declared = (self.idle_lanes or 0) - on_the_way
        if self.interval_s is None:
            known = self.concurrency - self.leased
        else:
            known = 1 - self.leased if self.idle_lanes is None else 0
        idle = max(declared, known)
        ahead = max(0, self.leased - self.lanes_used)
        if self.held is not None:  # less if many of its messages are finished but not settled
            ahead = min(ahead, max(0, self.held - declared))
        return min(self.credit, max(idle, int(fair_share / 2) - ahead))

    def take(self, ids: Ids, now: float) -> None:
        """Record that these messages, in ascending order, are leased to it."""
        if not self.leased:
            self.moved_at = now
        self.leased += len(ids)
        self.delivered += len(ids)
        self.credit -= len(ids)
        self.stretches.update(stretches_of(ids))

    def release(self, count: int, now: float) -> None:
        """Record that this many leases have ended because messages were settled or handed back."""
        self.leased -= count
        self.moved_at = now

    def overdue(self, now: float, silent_s: float, stuck_s: float) -> str:
        """Return why its leases expire now; empty if they don't.

        They expire if no request has arrived for `silent_s`. They also expire if requests arrive, but no message was
        settled or handed back for longer than attempts can take: one should finish within the time of two attempts, and
        its limit may let one start only after a while.
        """
        if now - self.last_request_at > silent_s:
            return f"no request for {silent_s:g} s"
        most_s = self.limits.slower_max * self.longest_s + (self.interval_s or 0.0) + stuck_s
        if self.leased and now - self.moved_at > most_s:
            return (
                f"none of {self.leased:,} leased messages was settled or handed back for {most_s:,.0f} s, "
                f"although an attempt takes at most {self.longest_s:,.3g} s"
            )
        return ""

    def leave(self) -> None:
        """Record that the sender drains: it gets no more messages."""
        self.leaving = True
        self.credit = 0


class LeaseHolders:
    """All open streams."""

    def __init__(self, lease_timeout_s: float, give_up_s: float, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._silent_s = lease_timeout_s
        self._stuck_s = max(lease_timeout_s, give_up_s, limits.stuck_after_s)
        self._open: dict[int, LeaseHolder] = {}  # by number
        self._of: dict[str, LeaseHolder] = {}  # by session
        self._with_credit: dict[int, LeaseHolder] = {}  # by number
        self._next_number = 0
        self._weight = 0  # of all that are not leaving

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[LeaseHolder]:
        return iter(self._open.values())

    def __getitem__(self, number: int) -> LeaseHolder:
        return self._open[number]

    def of(self, session_id: str) -> LeaseHolder | None:
        """Return the open stream of a session; None if it has none."""
        return self._of.get(session_id)

    def add(
        self,
        session_id: str,
        mean_s: float,
        concurrency: int,
        longest_s: float,
        now: float,
        limit: StartLimit | None = None,
    ) -> LeaseHolder:
        """Add a stream that a sender has opened, and return it. Assumes that its session has no other."""
        speed = declared_speed(concurrency, mean_s, limit)
        holder = LeaseHolder(
            self._next_number,
            session_id,
            speed,
            concurrency,
            min(concurrency, max(1, math.ceil(speed * mean_s))) if limit else concurrency,
            last_request_at=now,
            longest_s=longest_s,
            interval_s=limit.interval_s if limit else None,
            limits=self._limits,
        )
        self._next_number += 1
        self._open[holder.number] = self._of[session_id] = holder
        self._weight += holder.weight
        return holder

    def remove(self, holder: LeaseHolder) -> bool:
        """Remove a stream that has ended, and return whether it was still open."""
        if self._open.pop(holder.number, None) is None:
            return False
        del self._of[holder.session_id]
        self._with_credit.pop(holder.number, None)
        if not holder.leaving:
            self._weight -= holder.weight
        holder.lost = True
        return True

    def leave(self, holder: LeaseHolder) -> None:
        """Record that the sender of this stream drains: it gets no more messages."""
        if not (holder.leaving or holder.lost):
            self._weight -= holder.weight
        holder.leave()
        self._with_credit.pop(holder.number, None)

    def share(self, holder: LeaseHolder) -> float:
        """Return a stream's share of the messages, by its speed: 0 to 1."""
        return 0.0 if holder.leaving else holder.weight / self._weight

    def overdue(self, now: float) -> list[LeaseHolder]:
        """Return the streams whose leases expire now, each with the reason in `expired`."""
        for holder in self._open.values():
            holder.expired = holder.overdue(now, self._silent_s, self._stuck_s)
        return [holder for holder in self._open.values() if holder.expired]

    def forgive_pause(self, late_s: float, now: float) -> None:
        """Extend all deadlines by the time that the producer itself was paused."""
        for holder in self._open.values():
            holder.last_request_at = min(now, holder.last_request_at + late_s)
            holder.moved_at = min(now, holder.moved_at + late_s)

    def note_credit(self, holder: LeaseHolder) -> None:
        """Update the record of the streams with credit, after the credit of this one may have changed."""
        if holder.credit and not holder.lost:
            self._with_credit[holder.number] = holder
        else:
            self._with_credit.pop(holder.number, None)

    @property
    def any_with_credit(self) -> bool:
        """Whether a stream has credit."""
        return bool(self._with_credit)

    def with_credit(self) -> list[LeaseHolder]:
        """Return the streams with credit, in ascending order of leases per lane that they can use."""
        return sorted(self._with_credit.values(), key=lambda holder: holder.leased / holder.lanes_used)
