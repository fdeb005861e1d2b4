"""An ideal run of a scenario: the next available message goes to the first free lane, with no queue ahead, no reports.

This is a greedy list schedule (Graham 1969), played event by event, so it is exact and slow. A sender with a limit
counts tokens: while a copy has none, its idle lanes wait. Knows messages, lanes and fates. Must not know how messages
are leased, reported or settled.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import Fates
from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind, changes_s, model_at
from smssim.core.model import AttemptModel, Outcome, StartLimit
from smssim.plan.scenario import PlannedSender, Scenario

Message = tuple[int, int]  # its id, and the next attempt
_FINISH, _READY, _JOIN, _KILL, _TOKEN = range(5)  # kinds of events, as they come at equal times


@dataclass(frozen=True)
class Schedule:
    """All attempts that ended, in order of time: columns of shape (n,)."""

    total: int
    finish_s: NDArray[np.float64]
    outcomes: NDArray[np.uint8]
    senders: NDArray[np.int64]  # positions in `Scenario.senders`

    def count(self, outcome: Outcome) -> int:
        """Return how many attempts ended like this."""
        return int(np.count_nonzero(self.outcomes == outcome))

    def reached_s(self, percent: int) -> float | None:
        """Return when this share of all messages was sent; None if it never was."""
        sent_s = self.finish_s[self.outcomes == Outcome.SENT]
        needed = max(1, -(-self.total * percent // 100))
        return float(sent_s[needed - 1]) if needed <= len(sent_s) else None


class _Tokens:
    """The tokens of one copy of a sender with a limit, counted."""

    def __init__(self, limit: StartLimit, now: float) -> None:
        self._per_s, self._most, self._at_s = limit.per_s, 1 + limit.slack_s / limit.interval_s, now
        self._tokens = self._most
        self.parked = 0  # idle lanes that wait for one

    def missing_s(self, now: float) -> float:
        """Return how long it takes until there is a token; 0 if there is one."""
        self._tokens = min(self._most, self._tokens + (now - self._at_s) * self._per_s)
        self._at_s = now
        return max(0.0, 1 - self._tokens) / self._per_s if self._tokens < 1 - 1e-9 else 0.0

    def take(self) -> None:
        """Take one."""
        self._tokens -= 1


class _Sender:
    """The lanes of one sender and of its copies, and how its attempts go at any time."""

    def __init__(self, planned: PlannedSender, faults: tuple[Fault, ...]) -> None:
        self.planned, self.there = planned, False
        self.back_s = {fault.at_s: fault.until_s for fault in faults if fault.kind is FaultKind.KILL}
        # With its outcome and the copy, by the number of the event that ends it.
        self.busy: dict[int, tuple[Message, int, int]] = {}
        self.tokens: list[_Tokens] = []  # of each copy, if it has a limit
        self._models = deque((at_s, model_at(planned.model, faults, at_s)) for at_s in (0.0, *changes_s(faults)))

    def model(self, now: float) -> AttemptModel:
        """Return how attempts go that start now; time never goes back."""
        while len(self._models) > 1 and self._models[1][0] <= now:
            self._models.popleft()
        return self._models[0][1]


class Heap:
    """One scenario with one seed. Of the faults, only senders can be killed, slow or failing."""

    def __init__(self, scenario: Scenario, seed: int, lag_s: float = 0.0, start_s: float = 0.0) -> None:
        """`lag_s`: from the end of a failed attempt to when its retry delay begins. `start_s`: to restart a sender."""
        for fault in scenario.faults:
            if fault.kind is FaultKind.PAUSE or fault.target in (PRODUCER, MONITOR):
                raise ValueError(f"got {fault}; expected a sender that is killed, slow or failing")
        self._scenario, self._seed, self._start_s = scenario, seed, start_s
        self._retry_s = lag_s + scenario.retry_delay_s
        self._senders = [_Sender(planned, scenario.faults_of(planned.name)) for planned in scenario.senders]
        self._idle: deque[tuple[int, int]] = deque()  # a sender and its copy for each idle lane, the first one first
        self._ready: deque[Message] = deque()  # delivered before
        self._next_fresh = self._numbers = 0
        self._events: list[tuple[float, int, int, int, Message | None]] = []
        self._drawn: dict[tuple[AttemptModel, int], tuple[list[float], list[int]]] = {}
        self._finished: list[tuple[float, int, int]] = []

    def play(self) -> Schedule:
        """Return the schedule."""
        for of, sender in enumerate(self._senders):
            self._push(max(0.0, sender.planned.joins_s), _JOIN, of)
            for at_s in sender.back_s:
                self._push(at_s, _KILL, of)
        now = 0.0
        while now < math.inf:
            while self._events and self._events[0][0] <= now:
                self._happen(*heapq.heappop(self._events))
            while self._any_idle(now) and (message := self._next_message(now)) is not None:
                self._start(*self._idle.popleft(), message, now)
            event_s = self._events[0][0] if self._events else math.inf
            now = min(event_s, self._released_s() if self._idle else math.inf)
        columns = np.array(self._finished, np.float64).reshape(-1, 3).T
        return Schedule(self._scenario.total, columns[0], columns[1].astype(np.uint8), columns[2].astype(np.int64))

    def _push(self, at_s: float, kind: int, of: int, message: Message | None = None) -> int:
        self._numbers += 1
        heapq.heappush(self._events, (at_s, kind, self._numbers, of, message))
        return self._numbers

    def _happen(self, at_s: float, kind: int, number: int, of: int, message: Message | None) -> None:
        sender = self._senders[of]
        if kind == _FINISH:
            self._finish(at_s, number, of)
        elif kind == _READY and message is not None:
            self._ready.append(message)
        elif kind == _JOIN and not sender.there:
            sender.there = True
            copies = range(sender.planned.copies)
            if (limit := sender.planned.limit) is not None:
                sender.tokens = [_Tokens(limit, at_s) for _ in copies]
            self._idle.extend((of, copy) for _ in range(sender.planned.concurrency) for copy in copies)
        elif kind == _TOKEN and message is not None and sender.there:
            tokens = sender.tokens[message[0]]
            if tokens.parked:
                self._idle.append((of, message[0]))
                tokens.parked -= 1
        elif kind == _KILL and sender.there:
            sender.there = False
            self._ready.extendleft(sorted((taken for taken, _, _ in sender.busy.values()), reverse=True))
            sender.busy.clear()
            self._idle = deque(other for other in self._idle if other[0] != of)
            self._push(sender.back_s[at_s] + self._start_s, _JOIN, of)

    def _finish(self, at_s: float, number: int, of: int) -> None:
        """End an attempt, unless its sender was killed."""
        message, outcome, copy = self._senders[of].busy.pop(number, (None, 0, 0))
        if message is None:
            return
        self._idle.append((of, copy))
        self._finished.append((at_s, outcome, of))
        if outcome == Outcome.RETRY:
            self._push(at_s + self._retry_s, _READY, of, (message[0], message[1] + 1))

    def _any_idle(self, now: float) -> bool:
        """Whether a lane may start a message now; it is then the first one."""
        while self._idle:
            of, copy = self._idle[0]
            tokens = self._senders[of].tokens[copy] if self._senders[of].tokens else None
            missing_s = 0.0 if tokens is None else tokens.missing_s(now)
            if tokens is None or not missing_s:
                return True
            self._idle.popleft()
            if not tokens.parked:
                self._push(now + missing_s, _TOKEN, of, (copy, 0))
            tokens.parked += 1
        return False

    def _released_s(self) -> float:
        """Return when the next fresh message is released; infinity if there is none."""
        if self._next_fresh == self._scenario.total:
            return math.inf
        return 0.0 if self._scenario.rate_per_s is None else self._next_fresh / self._scenario.rate_per_s

    def _next_message(self, now: float) -> Message | None:
        if self._ready:
            return self._ready.popleft()
        if self._released_s() > now:
            return None
        self._next_fresh += 1
        return self._next_fresh - 1, 1

    def _start(self, of: int, copy: int, message: Message, now: float) -> None:
        id_, attempt = message
        model = self._senders[of].model(now)
        if (model, attempt) not in self._drawn:
            fates = Fates(self._seed, self._scenario.max_attempts, model, self._scenario.unreachable)
            durations_s, outcomes = fates.draw(np.arange(self._scenario.total, dtype=np.uint64), attempt)
            self._drawn[model, attempt] = durations_s.tolist(), outcomes.tolist()
        times_s, ends = self._drawn[model, attempt]
        if self._senders[of].tokens:
            tokens = self._senders[of].tokens[copy]
            tokens.take()
            if tokens.parked:
                self._push(now + tokens.missing_s(now), _TOKEN, of, (copy, 0))
        self._senders[of].busy[self._push(now + times_s[id_], _FINISH, of)] = message, ends[id_], copy
