"""The senders of a run as people see them: a row for each of the most important ones, and the sum of the others.

Knows sessions. Must not know how rows are shown, or which of them are copies: that is in `folding`.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar

from smssim.core.model import StartLimit, declared_speed
from smssim.core.session import Session, State

ROWS_MAX: Final = 100  # senders with a row of their own: people don't read more
DETAILED_ROWS_MAX: Final = 1_000  # the same where they can be searched, as on a page
NAMES_CACHED: Final = 4096  # names whose sort keys are kept: computing one costs about a microsecond
Row = TypeVar("Row")
_NUMBERS: Final = re.compile(r"([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class SenderRow:
    """One sender at one moment."""

    name: str
    mean_s: float
    failure_rate: float
    concurrency: int
    state: State
    sent: int
    failed: int
    attempts: int
    avg_time_s: float | None  # of an attempt
    rate_per_s: float  # sent + failed per second, from when it joined to its last report
    recent_rate_per_s: float  # over the last seconds
    in_flight: int
    held: int  # taken but not yet started
    limit_per_s: float | None = None  # segments per second that it may start; None without a limit
    burst: int = 1  # segments that it may start at once after a pause
    declared_per_s: float = 0.0  # attempts that it can make, by what it declares; 0 if nobody computed it
    cost: float = 0.0  # of its attempts

    @property
    def speed(self) -> float:
        """Attempts per second that it can make, by what it declares."""
        return self.declared_per_s or declared_speed(self.concurrency, self.mean_s)

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "state": self.state.name.lower()}


@dataclass(frozen=True, slots=True)
class Others:
    """The sum of several senders."""

    sending: int = 0
    waiting: int = 0
    lost: int = 0
    left: int = 0
    sent: int = 0
    failed: int = 0
    in_flight: int = 0
    recent_rate_per_s: float = 0.0
    cost: float = 0.0

    @property
    def senders(self) -> int:
        """The number of these senders."""
        return self.sending + self.waiting + self.lost + self.left

    @property
    def by_state(self) -> dict[State, int]:
        """How many of these senders are in each state, with zeros."""
        return {
            State.SENDING: self.sending,
            State.WAITING: self.waiting,
            State.LOST: self.lost,
            State.LEFT: self.left,
        }

    def plus(self, rows: Iterable[SenderRow]) -> Others:
        """Return the sum of these senders and the given ones."""
        states = self.by_state
        sent, failed, in_flight, rate_per_s = self.sent, self.failed, self.in_flight, self.recent_rate_per_s
        cost = self.cost
        for row in rows:
            states[row.state] += 1
            sent += row.sent
            failed += row.failed
            in_flight += row.in_flight
            rate_per_s += row.recent_rate_per_s
            cost += row.cost
        return Others(
            states[State.SENDING],
            states[State.WAITING],
            states[State.LOST],
            states[State.LEFT],
            sent,
            failed,
            in_flight,
            rate_per_s,
            cost,
        )


_FIELDS: Final = attrgetter(*Others.__slots__)


def added_up(sums: Iterable[Others]) -> Others:
    """Return the sum of sums."""
    return Others(*(sum(column) for column in zip(*map(_FIELDS, sums), strict=True)))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Rows sorted by name, and the sum of the other senders."""

    rows: tuple[SenderRow, ...] = ()
    others: Others = field(default_factory=Others)

    def limited(self, rows_max: int) -> Fleet:
        """Return the same senders with at most this many rows."""
        kept, rest = split(self.rows, rows_max, _urgency)
        return Fleet(kept, self.others.plus(rest)) if rest else self

    def sorted(self) -> Fleet:
        """Return the same senders with their rows in the natural order of names."""
        return Fleet(tuple(sorted(self.rows, key=lambda row: natural(row.name))), self.others)


EMPTY_FLEET: Final = Fleet()


def everyone(sessions: Iterable[Session], now: float, segments: int = 1) -> Fleet:
    """Return all senders at this moment in rows of their own, not sorted. `segments`: of each message of the run."""
    return Fleet(tuple(_row(session, now, segments) for session in sessions))


def _row(session: Session, now: float, segments: int) -> SenderRow:
    facts, sums, state = session.facts, session.sums, session.state(now)
    return SenderRow(
        name=facts.name,
        mean_s=facts.mean_s,
        failure_rate=facts.failure_rate,
        concurrency=facts.concurrency,
        state=state,
        sent=sums.sent,
        failed=sums.failed,
        attempts=sums.attempts,
        avg_time_s=sums.avg_time_s,
        rate_per_s=session.rate_per_s,
        recent_rate_per_s=session.recent_rate_per_s(now),
        in_flight=0 if state in (State.LOST, State.LEFT) else session.in_flight,
        held=0 if state in (State.LOST, State.LEFT) else session.held,
        limit_per_s=facts.limit_per_s,
        burst=facts.burst,
        declared_per_s=declared_speed(
            facts.concurrency, facts.mean_s, StartLimit.of(facts.limit_per_s, facts.burst, segments)
        ),
        cost=session.cost(segments),
    )


@lru_cache(NAMES_CACHED)
def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts sender-2 before sender-10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(name))


Urgency = tuple[bool, bool, float]  # a sort key that puts the most important senders first


def urgency(is_lost: bool, has_left: bool, per_s: float) -> Urgency:
    """Return how important a row is; `per_s`: what its senders can do together, by what they declare.

    Lost senders come first, then those that take part, then those that have left; the fastest of each come first. The
    speed is the declared one, not the measured one, so that rows of equal senders don't appear and disappear.
    """
    return (not is_lost, has_left, -per_s)


def _urgency(row: SenderRow) -> Urgency:
    return urgency(row.state == State.LOST, row.state == State.LEFT, row.speed)


def split(
    rows: Sequence[Row], rows_max: int, urgency_of: Callable[[Row], Urgency]
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return the `rows_max` most important rows, the first of equals, and all others, both in the given order."""
    if len(rows) <= rows_max:
        return tuple(rows), ()
    chosen = set(heapq.nsmallest(rows_max, range(len(rows)), key=lambda i: (urgency_of(rows[i]), i)))
    return (
        tuple(row for i, row in enumerate(rows) if i in chosen),
        tuple(row for i, row in enumerate(rows) if i not in chosen),
    )
