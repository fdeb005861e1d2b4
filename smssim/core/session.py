"""One sender as the monitor sees it.

Knows what the sender reports about itself, and the sums of its reports. Must not know other senders.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

from smssim.core.exchange import Answer, Report
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import SenderFacts, cost_of
from smssim.core.pieces import pack, unpack
from smssim.core.progress import Sums, rate


class State(IntEnum):
    """What a sender is doing."""

    SENDING = 1
    WAITING = 2  # for messages
    LOST = 3  # its reports have stopped
    LEFT = 4  # it has sent its goodbye


@dataclass(slots=True)
class Session:
    """One sender in one run."""

    facts: SenderFacts
    limits: Limits = LIMITS
    sequence: int = 0  # of its last report
    digest: str = ""  # of that report
    answer: Answer | None = None  # to that report
    joined_at: float = -math.inf
    last_report_at: float = -math.inf  # when its last report arrived, plus pauses of the monitor itself
    in_flight: int = 0
    held: int = 0
    cut_off: bool = False  # from the producer
    left: bool = False
    late: bool = False  # it joined after a complete run was resumed
    sums: Sums = field(default_factory=Sums)  # of its attempts that count
    _rate_per_s: float | None = None  # in the last full period of `Limits.rate_over_s`
    _stretch_at: float = -math.inf  # when the current period began ...
    _stretch_from: int = 0  # ... and with how many messages done

    def packed(self) -> bytes:
        """Return this session as a piece."""
        facts = {"facts": asdict(self.facts), "sequence": self.sequence, "digest": self.digest}
        facts |= {"in_flight": self.in_flight, "left": self.left, "late": self.late}
        facts |= {"heard_s": self.last_report_at - self.joined_at, "sums": asdict(self.sums)}
        if self.answer is None:
            return pack(facts)
        counts = {name: getattr(self.answer, name) for name in ("accepted", "duplicates", "wait_s")}
        ids, outcomes = self.answer.overruled_ids, self.answer.overruled_outcomes
        return pack({**facts, "answer": counts}, overruled_ids=ids, overruled_outcomes=outcomes)

    @classmethod
    def unpacked(cls, piece: bytes, now: float, limits: Limits = LIMITS) -> Session:
        """Return the session stored in a piece; raises DAMAGE.

        Its last report counts as received `now`. The time from when it joined to that report stays as it was saved.
        """
        facts, columns = unpack(piece)
        counts: dict[str, Any] | None = facts.pop("answer", None)
        answer = None if counts is None else Answer(**counts | columns)
        sender, sums = SenderFacts(**facts.pop("facts")), Sums(**facts.pop("sums"))
        joined_at = now - facts.pop("heard_s")
        return cls(sender, limits, **facts, answer=answer, joined_at=joined_at, last_report_at=now, sums=sums)

    def state(self, now: float) -> State:
        """Return what the sender is doing."""
        if self.left:
            return State.LEFT
        if now - self.last_report_at > self.limits.lost_after_s:
            return State.LOST
        return State.SENDING if self.in_flight else State.WAITING

    def update(self, report: Report) -> None:
        """Record the sender's state from a report."""
        self.in_flight, self.held, self.cut_off = report.in_flight, report.held, report.cut_off

    def add(self, sums: Sums, now: float) -> None:
        """Add the sums of a report."""
        self.sums.add(sums)
        stretch_s = now - self._stretch_at
        if stretch_s >= self.limits.rate_over_s:
            if math.isfinite(stretch_s):
                self._rate_per_s = rate(self.sums.final - self._stretch_from, stretch_s)
            self._stretch_at, self._stretch_from = now, self.sums.final

    @property
    def has_price(self) -> bool:
        """Whether its attempts cost anything."""
        return self.facts.price > 0 or self.facts.price_failed > 0

    def cost(self, segments: int) -> float:
        """Return the cost of its attempts that count, at messages of this many segments."""
        facts, sums = self.facts, self.sums
        return cost_of(segments, facts.price, facts.price_failed, sums.sent, sums.attempts)

    @property
    def rate_per_s(self) -> float:
        """Messages with a final outcome per second, from when it joined to its last report."""
        return rate(self.sums.final, self.last_report_at - self.joined_at)

    def recent_rate_per_s(self, now: float) -> float:
        """Return the rate over about the last two seconds; 0 once the sender has left or is silent."""
        if self.left or now - self.last_report_at > self.limits.silent_after_s:
            return 0.0
        return self.rate_per_s if self._rate_per_s is None else self._rate_per_s
