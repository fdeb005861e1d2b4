"""What must hold for each sender, recounted from what crosses its border: calls, batches, requests and reports.

Must not read the classes under test.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from simulation.books import check
from smssim.core.exchange import Delivery, Report, Request
from smssim.core.fate import Fates
from smssim.core.fault import model_at
from smssim.core.lanes import Finished, pick
from smssim.core.limits import Limits
from smssim.core.model import Outcome, RunFacts
from smssim.core.reach import Reach
from smssim.settings import SenderSettings

NEAR_S = 1e-6
START_NEAR_S = 1e-3  # of a start that is computed from a latency, a float32


class PeerBook:
    """How long a sender waits for a peer, and when it gives up."""

    def __init__(self, peer: str, give_up_s: float, limits: Limits, addresses: int = 1) -> None:
        """`addresses`: how many the peer has; only a round of failures at all of them makes the waits longer."""
        self.peer = peer
        self._addresses = addresses
        self._limits = limits
        self._give_up_s = give_up_s
        self._bound_at = math.inf  # when the give-up time begins to apply
        self._lost_at = math.inf
        self._failures = 0  # in a row
        self._asked = 0  # calls for the reason of a loss, in a row

    def answered(self) -> None:
        """Record that the peer has answered a call."""
        self._bound_at, self._lost_at, self._failures = -math.inf, math.inf, 0

    def bound(self, now: float, give_up_s: float = math.inf) -> None:
        """Apply the give-up time from now on, as for a peer that was connected, with this maximum."""
        self._give_up_s = min(self._give_up_s, give_up_s)
        self._bound_at = min(self._bound_at, now)

    def waits(self, wait_s: float, now: float, explained: bool) -> None:
        """Record that a call has failed and another one follows after `wait_s`; check that wait."""
        limits = self._limits
        if not explained and self._bound_at > now and self._asked < limits.reasons_asked_max:
            self._asked += 1
            check(wait_s <= limits.backoff_min_s, "%s: calls for the reason after %s s", self.peer, wait_s)
            return
        self._asked = 0
        self._lost_at = min(self._lost_at, now)
        self._failures += 1
        rounds, rest = divmod(self._failures, self._addresses)
        backoff_s = limits.backoff_min_s * (1.0 if rest else 2.0 ** min(rounds - 1, 30))
        backoff_s = min(limits.backoff_max_s, backoff_s)
        check(wait_s <= backoff_s + NEAR_S, "%s: waits %s s, at most %s s are allowed", self.peer, wait_s, backoff_s)
        left_s = self._give_up_s - self.away_s(now) if self._bound_at <= now else math.inf
        check(left_s > -NEAR_S, "%s: lost for %s s and not given up", self.peer, self.away_s(now))
        least_s = min(backoff_s / 2, left_s)
        check(wait_s >= least_s - NEAR_S, "%s: waits %s s, expected at least %s s", self.peer, wait_s, least_s)

    def given_up(self, now: float) -> None:
        """Record that a call has failed and the sender gives up; check that it does not give up early."""
        self._lost_at = min(self._lost_at, now)
        away_s = self.away_s(now)
        check(away_s >= self._give_up_s - NEAR_S, "%s: given up after only %s s", self.peer, away_s)

    def away_s(self, now: float) -> float:
        """Return how long the peer has not answered, counted from when the give-up time applies."""
        return now - max(self._lost_at, self._bound_at)


class SenderBook:
    """What a sender has received, finished and reported in one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.draining = False
        self._on_stream = 0  # messages received on the current stream
        self._finished: Counter[int] = Counter()  # by message
        self._reported: Counter[int] = Counter()
        self._sequence = 0
        self._run: RunFacts | None = None  # if the sender has faults or a limit
        self._settings = SenderSettings()
        self._run_at: float | None = None  # when the run started, by the first batch
        self._queued_at: dict[int, list[float]] = {}  # by message, of each delivery
        self._starts: list[float] = []  # of finished attempts, if there is a limit

    def join(self, run: RunFacts, settings: SenderSettings) -> None:
        """Record which run the sender joins."""
        self._run, self._settings = run if settings.faults or settings.limit_per_s else None, settings

    def receive(self, delivery: Delivery, now: float) -> None:
        """Record the arrival of a batch."""
        self._on_stream += len(delivery.ids)
        self._run_at = now - delivery.elapsed_s if self._run_at is None else self._run_at
        if self._run is not None:
            for message, queued_s in zip(delivery.ids.tolist(), delivery.queued_s.tolist(), strict=True):
                self._queued_at.setdefault(message, []).append(now - queued_s)

    def lose_stream(self) -> None:
        """Record the loss of the stream, with which the producer reclaims all unsettled messages."""
        self._on_stream = 0

    def finish(self, finished: Finished) -> None:
        """Record attempts that have finished."""
        self._finished.update(finished.ids.tolist())
        if self._run is not None and self._settings.faults:
            for i in range(len(finished)):
                self._check_fate(self._run, pick(finished, slice(i, i + 1)))
        if self._run is not None and self._settings.limit_per_s:
            took_s = finished.latencies_s.astype(np.float64) - finished.durations_s
            for message, start_s in zip(finished.ids.tolist(), took_s.tolist(), strict=True):
                if len(self._queued_at[message]) == 1:  # else it is unknown which delivery it was
                    self._starts.append(self._queued_at[message][0] + start_s)

    def check_limit(self) -> None:
        """Check that at any time, no more messages started than its limit allows."""
        if self._run is None or not self._settings.limit_per_s:
            return
        per_s = self._settings.limit_per_s / self._run.segments
        at_once = max(1.0, self._settings.burst / self._run.segments)
        ahead = np.arange(len(self._starts)) - per_s * np.sort(np.array(self._starts))
        most = float(np.max(ahead - np.minimum.accumulate(ahead), initial=0.0)) + 1
        allowed = at_once + per_s * 2 * START_NEAR_S + NEAR_S
        check(most <= allowed, "%s starts %.3f messages too many for its limit", self.name, most - allowed)

    def _check_fate(self, run: RunFacts, one: Finished) -> None:
        """Check that an attempt has the fate of the second at which it started."""
        assert self._run_at is not None
        model, faults = self._settings.attempt_model, self._settings.faults
        (message,), (attempt,) = one.ids.tolist(), one.attempts.tolist()
        models = set()
        for queued_at in self._queued_at[message]:
            start_s = queued_at + float(one.latencies_s[0]) - float(one.durations_s[0]) - self._run_at
            models |= {model_at(model, faults, start_s + near_s) for near_s in (-START_NEAR_S, START_NEAR_S)}
        ids = one.ids.view(np.uint64)
        fates = [Fates(run.seed, run.max_attempts, each, run.unreachable).draw(ids, attempt) for each in models]
        if Reach(run.seed, run.unreachable).missing(ids)[0]:
            ended = attempt, one.outcomes[0]
            check(ended == (1, Outcome.FAILED), "attempt, outcome of an unreachable message: %s", ended)
        found = (one.durations_s[0], one.outcomes[0])
        check(
            any((s[0], o[0]) == found for s, o in fates), "%s: attempt %s of %s: %s", self.name, attempt, message, found
        )

    def request(self, request: Request) -> None:
        """Check a request that is sent."""
        check(request.received <= self._on_stream, "%s has not received %s messages", self.name, request.received)
        held = request.held or 0
        check(held <= self._on_stream, "%s holds %s messages but has received %s", self.name, held, self._on_stream)
        check(not (self.draining and request.credit), "%s requests %s while draining", self.name, request.credit)

    def report(self, report: Report) -> None:
        """Record a report that is sent for the first time, and check it."""
        self._sequence += 1
        check(report.sequence == self._sequence, "%s sends a report with the sequence %s", self.name, report.sequence)
        self._reported.update(report.finished.ids.tolist())
        check(report.held <= self._on_stream, "%s holds %s messages, more than it has received", self.name, report.held)
        if report.goodbye:
            self.leave()

    def leave(self) -> None:
        """Check, when the sender leaves, that it has reported everything that it finished, and kept its limit."""
        self.check_limit()
        lost = self._finished - self._reported
        check(not lost, "%s leaves without reporting %s", self.name, sorted(lost)[:5])
        check(dict(self._reported) == dict(self._finished), "%s has reported more than it has finished", self.name)
