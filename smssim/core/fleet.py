"""The senders of a run as people see them: a row for each of the most important ones, and the sum of the others.

Knows sessions. Must not know how rows are shown.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from smssim.core.model import declared_speed
from smssim.core.session import Session, State

ROWS_MAX: Final = 100  # senders with a row of their own: people don't read more
DETAILED_ROWS_MAX: Final = 1_000  # the same where they can be searched, as on a page
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

    @property
    def senders(self) -> int:
        """The number of these senders."""
        return self.sending + self.waiting + self.lost + self.left

    def plus(self, rows: Iterable[SenderRow]) -> Others:
        """Return the sum of these senders and the given ones."""
        states = {
            State.SENDING: self.sending,
            State.WAITING: self.waiting,
            State.LOST: self.lost,
            State.LEFT: self.left,
        }
        sent, failed, in_flight, rate_per_s = self.sent, self.failed, self.in_flight, self.recent_rate_per_s
        for row in rows:
            states[row.state] += 1
            sent += row.sent
            failed += row.failed
            in_flight += row.in_flight
            rate_per_s += row.recent_rate_per_s
        return Others(
            states[State.SENDING],
            states[State.WAITING],
            states[State.LOST],
            states[State.LEFT],
            sent,
            failed,
            in_flight,
            rate_per_s,
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Rows sorted by name, and the sum of the other senders."""

    rows: tuple[SenderRow, ...] = ()
    others: Others = field(default_factory=Others)

    def limited(self, rows_max: int) -> Fleet:
        """Return the same senders with at most this many rows."""
        if len(self.rows) <= rows_max:
            return self
        chosen = set(heapq.nsmallest(rows_max, range(len(self.rows)), key=lambda i: _weight(self.rows[i], i)))
        others = self.others.plus(row for i, row in enumerate(self.rows) if i not in chosen)
        return Fleet(tuple(row for i, row in enumerate(self.rows) if i in chosen), others)


EMPTY_FLEET: Final = Fleet()


def fleet(sessions: Iterable[Session], now: float, rows_max: int = ROWS_MAX) -> Fleet:
    """Return the senders at this moment, the most important ones in rows of their own; empty if `rows_max` is 0."""
    if not rows_max:
        return EMPTY_FLEET
    some = Fleet(tuple(_row(session, now) for session in sessions)).limited(rows_max)
    return Fleet(tuple(sorted(some.rows, key=lambda row: _natural(row.name))), some.others)


def _row(session: Session, now: float) -> SenderRow:
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
    )


@lru_cache(4 * DETAILED_ROWS_MAX)
def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts sender-2 before sender-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(name)]


def _weight(row: SenderRow, order: int) -> tuple[bool, bool, float, int]:
    """Return a sort key that puts the most important senders first.

    Lost senders come first, then those that take part, then those that have left; the fastest of each come first. The
    speed is the declared one, not the measured one, so that rows of equal senders don't appear and disappear.
    """
    return (row.state != State.LOST, row.state == State.LEFT, -declared_speed(row.concurrency, row.mean_s), order)
