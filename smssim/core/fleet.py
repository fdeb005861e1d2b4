"""The senders of a run as people read them: a row for each of those that say most, the others added up.

Knows sessions. Must not know how rows are shown.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from smssim.core.model import declared_speed
from smssim.core.session import Session, State

ROWS_MAX: Final = 100  # senders that are named one by one; beyond, nobody reads on
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
    rate_per_s: float  # sent + failed a second, for as long as it was heard
    recent_rate_per_s: float  # over the last seconds
    in_flight: int
    held: int  # taken and not yet started

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "state": self.state.name.lower()}


@dataclass(frozen=True, slots=True)
class Others:
    """Senders added up."""

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
        """How many they are."""
        return self.sending + self.waiting + self.lost + self.left

    def plus(self, rows: Iterable[SenderRow]) -> Others:
        """These and some more."""
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
    """Rows in order of name, and the others."""

    rows: tuple[SenderRow, ...] = ()
    others: Others = field(default_factory=Others)

    def limited(self, rows_max: int) -> Fleet:
        """The same with no more rows than this."""
        if len(self.rows) <= rows_max:
            return self
        chosen = set(heapq.nsmallest(rows_max, range(len(self.rows)), key=lambda i: _weight(self.rows[i], i)))
        others = self.others.plus(row for i, row in enumerate(self.rows) if i not in chosen)
        return Fleet(tuple(row for i, row in enumerate(self.rows) if i in chosen), others)


NOBODY: Final = Fleet()


def fleet(sessions: Iterable[Session], now: float, rows_max: int = ROWS_MAX) -> Fleet:
    """The senders at this moment, those that say most in rows of their own; nobody if no row is wanted."""
    if not rows_max:
        return NOBODY
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


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts sender-2 before sender-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(name)]


def _weight(row: SenderRow, order: int) -> tuple[bool, bool, float, int]:
    """Sorts first who says most: the lost, then who takes part, the fastest first.

    By the speed that they declare, not by what they did so far: else rows of equal senders would come and go.
    """
    return (row.state != State.LOST, row.state == State.LEFT, -declared_speed(row.concurrency, row.mean_s), order)
