"""Senders as the producer sees them: what each may have, what it has, and which of them are late.

Knows counts, and in which stretches a sender's messages may be. Must not know which messages they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, declared_speed
from smssim.core.stretches import stretches_of
from smssim.errors import PeerError, TooLargeError


def longest_attempt_s(distribution: str, mean_s: float, std_s: float, limits: Limits = LIMITS) -> float:
    """Return a bound on the time that an attempt of such a sender takes, in seconds; of any name of a distribution.

    The longest time is the mean of the longest 1 in 65,536 (`fate.time_table`). Whatever the distribution, the mean of
    the largest 1 in n lies at most sqrt(n - 1) standard deviations above the mean (Cauchy-Schwarz).
    """
    has_std = distribution in ("gamma", "lognormal", "normal", "uniform", "fixed")
    return mean_s + limits.tail * (std_s if has_std else max(std_s, mean_s))


@dataclass(slots=True)
class LeaseHolder:
    """A sender's stream, for as long as it is open."""

    number: int
    session_id: str
    speed: float  # messages a second that it says it can send
    concurrency: int
    heard_at: float
    longest_s: float = 0.0  # that one of its attempts takes, as it declares
    moved_at: float = -math.inf  # when it was last given messages while it had none, settled some or handed some back
    credit: int = 0  # how many more messages it is ready to take
    idle_lanes: int = 0  # as last said
    received: int = 0  # as of then
    held: int | None = None  # messages that no lane has started, as of then, if it was said
    delivered: int = 0
    leased: int = 0
    leaving: bool = False
    lost: bool = False
    expired: str = ""  # why, if it is lost because it was late
    limits: Limits = LIMITS
    stretches: set[int] = field(default_factory=set)  # that its messages are in, among others

    @property
    def weight(self) -> int:
        """Its speed as a whole number, for sums that are exact whoever comes and goes."""
        return int(math.ldexp(self.speed, 64))

    def check_ask(self, credit: int, received: int) -> None:
        """Raises TooLargeError or PeerError unless the sender may `ask` for this."""
        most = self.concurrency + self.limits.credit_ahead_max
        if credit + self.credit + self.leased > most:
            raise TooLargeError(f"credit for more than {most:,} messages at once")
        if received > self.delivered:
            raise PeerError(f"received {received} messages of {self.delivered} delivered")

    def ask(self, credit: int, idle_lanes: int | None, received: int, held: int | None = None) -> None:
        """The sender is ready to take `credit` more messages. Assumes `check_ask`."""
        if idle_lanes is not None:
            self.idle_lanes, self.received, self.held = idle_lanes, received, held
        if not self.leaving:
            self.credit += credit

    def allowance(self, fair_share: float) -> int:
        """How many messages the sender may be given now; `fair_share`: of those that wait, by its speed.

        At least what its idle lanes can start; beyond that, counting what it has ahead, no more than half its fair
        share: guided self-scheduling (Polychronopoulos and Kuck, 1987).
        """
        on_the_way = self.delivered - self.received
        idle = max(self.idle_lanes - on_the_way, self.concurrency - self.leased)
        ahead = max(0, self.leased - self.concurrency)
        if self.held is not None:  # less, where much is sent and not yet settled
            ahead = min(ahead, max(0, self.held + on_the_way - self.idle_lanes))
        return min(self.credit, max(idle, int(fair_share / 2) - ahead))

    def take(self, ids: Ids, now: float) -> None:
        """These messages, which ascend, are leased to it."""
        if not self.leased:
            self.moved_at = now
        self.leased += len(ids)
        self.delivered += len(ids)
        self.credit -= len(ids)
        self.stretches.update(stretches_of(ids))

    def release(self, count: int, now: float) -> None:
        """That many of its leases have ended, because messages were settled or handed back."""
        self.leased -= count
        self.moved_at = now

    def late(self, now: float, silent_s: float, stuck_s: float) -> str:
        """Return why its leases end now; empty if they go on.

        Either no request has arrived for `silent_s`, or requests arrive and none of its messages is settled for longer
        than its lanes can explain: of those that it has, one is done within two attempts.
        """
        if now - self.heard_at > silent_s:
            return f"no request for {silent_s:g} s"
        most_s = self.limits.slower_max * self.longest_s + stuck_s
        if self.leased and now - self.moved_at > most_s:
            return (
                f"none of {self.leased:,} leased messages was settled or handed back for {most_s:,.0f} s, "
                f"and an attempt takes at most {self.longest_s:,.3g} s"
            )
        return ""

    def leave(self) -> None:
        """It drains: it is given nothing more."""
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
        self._with_credit: dict[int, LeaseHolder] = {}  # those with credit
        self._next_number = 0
        self._weight = 0  # of all that are not leaving; whole numbers add up exactly

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[LeaseHolder]:
        return iter(self._open.values())

    def __getitem__(self, number: int) -> LeaseHolder:
        return self._open[number]

    def of(self, session_id: str) -> LeaseHolder | None:
        """The stream that a session has open."""
        return self._of.get(session_id)

    def add(self, session_id: str, mean_s: float, concurrency: int, longest_s: float, now: float) -> LeaseHolder:
        """A sender has opened a stream. Assumes that its session has no other."""
        speed = declared_speed(concurrency, mean_s)
        holder = LeaseHolder(
            self._next_number, session_id, speed, concurrency, heard_at=now, longest_s=longest_s, limits=self._limits
        )
        self._next_number += 1
        self._open[holder.number] = self._of[session_id] = holder
        self._weight += holder.weight
        return holder

    def remove(self, holder: LeaseHolder) -> bool:
        """The stream has ended. False if that was known."""
        if self._open.pop(holder.number, None) is None:
            return False
        del self._of[holder.session_id]
        self._with_credit.pop(holder.number, None)
        if not holder.leaving:
            self._weight -= holder.weight
        holder.lost = True
        return True

    def leave(self, holder: LeaseHolder) -> None:
        """The sender drains: it is given nothing more."""
        if not (holder.leaving or holder.lost):
            self._weight -= holder.weight
        holder.leave()
        self._with_credit.pop(holder.number, None)

    def share(self, holder: LeaseHolder) -> float:
        """A stream's part of what is handed out, by its speed."""
        return 0.0 if holder.leaving else holder.weight / self._weight

    def late(self, now: float) -> list[LeaseHolder]:
        """The streams whose leases are to end now, each with the reason in `expired`."""
        for holder in self._open.values():
            holder.expired = holder.late(now, self._silent_s, self._stuck_s)
        return [holder for holder in self._open.values() if holder.expired]

    def forgive_pause(self, late_s: float, now: float) -> None:
        """Extends all deadlines by the time that the producer itself was paused."""
        for holder in self._open.values():
            holder.heard_at = min(now, holder.heard_at + late_s)
            holder.moved_at = min(now, holder.moved_at + late_s)

    def note_credit(self, holder: LeaseHolder) -> None:
        """Whether a stream has credit may have changed."""
        if holder.credit and not holder.lost:
            self._with_credit[holder.number] = holder
        else:
            self._with_credit.pop(holder.number, None)

    @property
    def any_with_credit(self) -> bool:
        """Whether a stream has credit."""
        return bool(self._with_credit)

    def with_credit(self) -> list[LeaseHolder]:
        """The streams with credit, those with the smallest share of their lanes at work first."""
        return sorted(self._with_credit.values(), key=lambda holder: holder.leased / holder.concurrency)
