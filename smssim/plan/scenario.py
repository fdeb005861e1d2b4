"""A scenario as the plan sees it: messages, senders and faults.

Holds values. Must not know files, flags, or how a scenario is played.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.fault import Fault, FaultKind
from smssim.core.model import AttemptModel, StartLimit, declared_speed

START_S: Final = 0.5  # from when `smssim run` starts a process until it takes part: 0.25 to 0.8 s, by machine


@dataclass(frozen=True, slots=True)
class PlannedSender:
    """A sender, or several equal copies of it in one process."""

    name: str
    model: AttemptModel
    concurrency: int  # lanes of each copy
    copies: int = 1
    joins_s: float = 0.0  # since the first message was delivered; 0 or less: it is there from the start
    limit: StartLimit | None = None  # of each copy
    price: float = 0.0  # of each segment of a message that was sent
    price_failed: float = 0.0  # of each segment of an attempt that failed

    @property
    def lanes(self) -> int:
        """The lanes of all copies."""
        return self.concurrency * self.copies

    @property
    def declared_per_s(self) -> float:
        """The messages per second that all copies can send, as they declare."""
        return self.copies * declared_speed(self.concurrency, self.model.mean_s, self.limit)


def ceiling_of(fail: float, max_attempts: int, unreachable: float = 0.0) -> float:
    """Return (1 - u) (1 - f^K), the expected share of messages that is sent.

    Each of K attempts fails with probability f, and a share u of the messages can't be reached.
    """
    return (1 - unreachable) * (1 - fail**max_attempts)


def attempts_each(fail: float, max_attempts: int, unreachable: float = 0.0) -> float:
    """Return the expected attempts of a message: 1 + f + f^2 + ..., or only 1 if it can't be reached."""
    return unreachable + (1 - unreachable) * sum(fail**k for k in range(max_attempts))


def sent_each(fail: float, max_attempts: int, unreachable: float) -> float:
    """Return the expected share of all attempts that succeed."""
    return (1 - fail) * (1 - unreachable / attempts_each(fail, max_attempts, unreachable))


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played. Times are in seconds, rates in messages per second."""

    total: int
    senders: tuple[PlannedSender, ...]
    max_attempts: int = 1
    retry_delay_s: float = 0.0
    rate_per_s: float | None = None  # at which messages are released; None: all at once
    lease_timeout_s: float = 10.0
    give_up_s: float = 60.0
    faults: tuple[Fault, ...] = ()
    unreachable: float = 0.0  # share of the messages that no sender can deliver
    segments: int = 1  # of each message

    @property
    def fail(self) -> float | None:
        """How often an attempt at a reachable message fails; None if it depends on the sender or on the time."""
        shares = {sender.model.fail for sender in self.senders}
        changes = any(fault.kind is FaultKind.FAIL for fault in self.faults)
        return None if changes or len(shares) != 1 else shares.pop()

    @property
    def reachable(self) -> int:
        """The messages that can be reached, as expected."""
        return round(self.total * (1 - self.unreachable))

    def faults_of(self, name: str) -> tuple[Fault, ...]:
        """Return the faults of one node, in order of time."""
        return tuple(sorted((one for one in self.faults if one.target == name), key=lambda one: one.at_s))
