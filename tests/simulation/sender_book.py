"""What must hold of each sender, counted again from what crosses its border: calls, batches, requests and reports.

Must not look into the classes under test.
"""

from __future__ import annotations

import math
from collections import Counter

from simulation.books import check
from smssim.core.exchange import Delivery, Report, Request
from smssim.core.lanes import Finished
from smssim.core.limits import Limits

NEAR_S = 1e-6


class PeerBook:
    """How long a sender has waited for a peer."""

    def __init__(self, peer: str, give_up_s: float, limits: Limits, met: bool = False) -> None:
        self.peer = peer
        self._limits = limits
        self._give_up_s = give_up_s
        self._bound_at = -math.inf if met else math.inf  # from when on it must give up
        self._lost_at = math.inf
        self._failures = 0  # in a row
        self._asked = 0  # for a reason, in a row

    def answered(self) -> None:
        """It has answered a call."""
        self._bound_at, self._lost_at, self._failures = -math.inf, math.inf, 0

    def bound(self, now: float, give_up_s: float = math.inf) -> None:
        """From now on it is given up as one that was met, after this time at most."""
        self._give_up_s = min(self._give_up_s, give_up_s)
        self._bound_at = min(self._bound_at, now)

    def waits(self, wait_s: float, now: float, explained: bool) -> None:
        """A call has failed, and another one follows after this time."""
        limits = self._limits
        if not explained and self._bound_at > now and self._asked < limits.reasons_asked_max:
            self._asked += 1
            check(wait_s <= limits.backoff_min_s, "%s: asks for the reason after %s s", self.peer, wait_s)
            return
        self._asked = 0
        self._lost_at = min(self._lost_at, now)
        backoff_s = min(limits.backoff_max_s, limits.backoff_min_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        check(wait_s <= backoff_s + NEAR_S, "%s: a wait of %s s, where %s is the most", self.peer, wait_s, backoff_s)
        left_s = self._give_up_s - self.away_s(now) if self._bound_at <= now else math.inf
        check(left_s > -NEAR_S, "%s: away for %s s and not given up", self.peer, self.away_s(now))
        least_s = min(backoff_s / 2, left_s)
        check(wait_s >= least_s - NEAR_S, "%s: a wait of %s s, where %s is the least", self.peer, wait_s, least_s)

    def given_up(self, now: float) -> None:
        """No other call follows the one that has failed."""
        self._lost_at = min(self._lost_at, now)
        away_s = self.away_s(now)
        check(away_s >= self._give_up_s - NEAR_S, "%s: given up after %s s", self.peer, away_s)

    def away_s(self, now: float) -> float:
        """For how long it has not answered; before it had to be there, that does not count."""
        return now - max(self._lost_at, self._bound_at)


class SenderBook:
    """What a sender has received, finished and reported in one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.draining = False
        self._on_stream = 0  # messages received on the present stream
        self._finished: Counter[int] = Counter()  # by message
        self._reported: Counter[int] = Counter()
        self._sequence = 0

    def receive(self, delivery: Delivery) -> None:
        """A batch has arrived."""
        self._on_stream += len(delivery.ids)

    def lose_stream(self) -> None:
        """The producer has taken back what it has not seen settled."""
        self._on_stream = 0

    def finish(self, finished: Finished) -> None:
        """Attempts are over."""
        self._finished.update(finished.ids.tolist())

    def request(self, request: Request) -> None:
        """A request goes out."""
        check(request.received <= self._on_stream, "%s has not received %s", self.name, request.received)
        held = request.held or 0
        check(held <= self._on_stream, "%s holds %s messages, of %s received", self.name, held, self._on_stream)
        check(not (self.draining and request.credit), "%s is draining and asks for %s", self.name, request.credit)

    def report(self, report: Report) -> None:
        """A report goes out for the first time."""
        self._sequence += 1
        check(report.sequence == self._sequence, "%s numbers a report %s", self.name, report.sequence)
        self._reported.update(report.finished.ids.tolist())
        check(report.held <= self._on_stream, "%s holds %s messages that it lost", self.name, report.held)
        if report.goodbye:
            self.leave()

    def leave(self) -> None:
        """Says goodbye, or leaves as if it had."""
        lost = self._finished - self._reported
        check(not lost, "%s leaves without a report of %s", self.name, sorted(lost)[:5])
        check(self._reported == self._finished, "%s has reported more than it finished", self.name)
