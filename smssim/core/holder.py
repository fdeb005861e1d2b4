"""A sender as the producer sees it: what it may have, what it has.

Knows counts. Must not know which messages they are, nor the other senders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from smssim.errors import PeerError, TooLargeError

MEAN_MIN_S: Final = 1e-6  # a sender that declares less is taken to be this fast
CREDIT_AHEAD_MAX: Final = 1_600_000  # messages that a sender may hold or have asked for beyond its lanes
LEASED_MAX: Final = 100_000_000  # messages that all senders may hold together: some 1.5 GB


@dataclass(slots=True)
class Holder:
    """A sender's stream, for as long as it is open."""

    number: int
    session_id: str
    speed: float  # messages a second that it says it can send
    concurrency: int
    heard_at: float
    credit: int = 0  # how many more messages it is ready to take
    idle_lanes: int = 0  # as last said
    received: int = 0  # as of then
    held: int | None = None  # messages that no lane has started, as of then, if it was said
    delivered: int = 0
    leased: int = 0
    leaving: bool = False
    lost: bool = False

    @property
    def weight(self) -> int:
        """Its speed as a whole number, for sums that are exact whoever comes and goes."""
        return int(math.ldexp(self.speed, 64))

    def check_ask(self, credit: int, received: int) -> None:
        """Raises TooLargeError or PeerError unless the sender may `ask` for this."""
        most = self.concurrency + CREDIT_AHEAD_MAX
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

    def take(self, count: int) -> None:
        """So many messages are leased to it."""
        self.leased += count
        self.delivered += count
        self.credit -= count

    def leave(self) -> None:
        """It drains: it is given nothing more."""
        self.leaving = True
        self.credit = 0
