"""Copies of one sender in one row: which senders are copies, their sum, and how far apart they are.

The one place that decides this, for every output with a table of senders. Knows rows of senders. Must not know how
rows are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from smssim.core.fleet import NAMES_CACHED, Fleet, Others, SenderRow, Urgency, added_up, natural, split, urgency
from smssim.core.session import State

_COPY: Final = re.compile(r"(.+)-(?:0|[1-9][0-9]{0,3})", re.DOTALL)  # how copies are named: a number after the name
_BY_URGENCY: Final = (State.LOST, State.SENDING, State.WAITING, State.LEFT)


@dataclass(frozen=True, slots=True)
class Group:
    """Copies of one sender, or one sender that is not a copy. Not empty."""

    name: str  # of the copies, without their numbers
    rows: tuple[SenderRow, ...]  # a copy that was started again has several


def grouped(rows: Iterable[SenderRow]) -> list[Group]:
    """Return the groups and their rows, both in the natural order of names.

    Senders are copies of one if their names differ only in the number at the end, and they declare the same mean,
    failure rate, concurrency and limit. Any other sender is a group of its own, under its full name.
    """
    sorted_rows = sorted(rows, key=lambda row: natural(row.name))
    return sorted(_gathered(sorted_rows), key=lambda group: natural(group.name))


def _gathered(rows: Iterable[SenderRow]) -> list[Group]:
    """Return the groups in no particular order, each with its rows in the given order."""
    alike: dict[tuple[str, float, float, int, float | None, int], list[SenderRow]] = {}
    groups: list[Group] = []
    for row in rows:
        stem = _stem(row.name)
        if stem is None:
            groups.append(Group(row.name, (row,)))
        else:
            declared = (row.mean_s, row.failure_rate, row.concurrency, row.limit_per_s, row.burst)
            alike.setdefault((stem, *declared), []).append(row)
    for (stem, *_), some in alike.items():
        if any(row.name != some[0].name for row in some):
            groups.append(Group(stem, tuple(some)))
        else:
            groups += (Group(row.name, (row,)) for row in some)
    return groups


@lru_cache(NAMES_CACHED)
def _stem(name: str) -> str | None:
    """Return the name without the number of a copy; None if there is none at its end."""
    found = _COPY.fullmatch(name)
    return found and found[1]


@dataclass(frozen=True, slots=True)
class FoldedRow:
    """All copies of a sender, or one sender that is not a copy, at one moment."""

    name: str  # without the number of a copy
    copies: int  # different names; a copy that was started again counts once, but twice in `together`
    mean_s: float
    failure_rate: float
    concurrency: int  # of each copy
    together: Others
    attempts: int
    avg_time_s: float | None  # of an attempt, over all attempts
    rate_per_s: float  # the sum of the rates of all copies
    sent_low: int  # the fewest messages that a copy has sent
    sent_high: int  # the most
    avg_time_low_s: float | None  # the lowest average among the copies that have made an attempt; None if none has
    avg_time_high_s: float | None  # the highest
    limit_per_s: float | None = None  # of each copy: segments per second that it may start; None without a limit
    burst: int = 1  # of each copy: segments that it may start at once after a pause
    declared_per_s: float = 0.0  # attempts that all copies can make together, by what they declare

    @classmethod
    def of(cls, name: str, rows: Sequence[SenderRow]) -> FoldedRow:
        """Return the row of a group."""
        each = dict.fromkeys((row.name for row in rows), (0, 0, 0.0))  # messages sent, attempts and their time, by name
        for row in rows:
            sent, attempts, time_s = each[row.name]
            own_s = row.attempts * (row.avg_time_s or 0.0)
            each[row.name] = (sent + row.sent, attempts + row.attempts, time_s + own_s)
        sents, attempted, times_s = zip(*each.values(), strict=True)
        averages_s = [time_s / attempts for _, attempts, time_s in each.values() if attempts]
        return cls(
            name=name,
            copies=len(each),
            mean_s=rows[0].mean_s,
            failure_rate=rows[0].failure_rate,
            concurrency=rows[0].concurrency,
            together=Others().plus(rows),
            attempts=sum(attempted),
            avg_time_s=sum(times_s) / sum(attempted) if averages_s else None,
            rate_per_s=sum(row.rate_per_s for row in rows),
            sent_low=min(sents),
            sent_high=max(sents),
            avg_time_low_s=min(averages_s, default=None),
            avg_time_high_s=max(averages_s, default=None),
            limit_per_s=rows[0].limit_per_s,
            burst=rows[0].burst,
            declared_per_s=len(each) * rows[0].speed,
        )

    @property
    def is_folded(self) -> bool:
        """Whether this row stands for several copies."""
        return self.copies > 1

    @property
    def lanes(self) -> int:
        """The lanes of all copies."""
        return self.copies * self.concurrency

    @property
    def states(self) -> dict[State, int]:
        """How many of these senders are in which state, without zeros."""
        return {state: count for state, count in self.together.by_state.items() if count}

    @property
    def state(self) -> State:
        """The state to look at first, if there are several."""
        return min(self.states, key=_BY_URGENCY.index)


@dataclass(frozen=True, slots=True)
class FoldedFleet:
    """The senders of a run, with copies in one row: rows in the natural order of names, and the sum of the others."""

    rows: tuple[FoldedRow, ...] = ()
    others: Others = field(default_factory=Others)

    @property
    def has_copies(self) -> bool:
        """Whether any row stands for several copies."""
        return any(row.is_folded for row in self.rows)

    @property
    def has_limits(self) -> bool:
        """Whether any row is of senders with a limit."""
        return any(row.limit_per_s is not None for row in self.rows)

    def limited(self, rows_max: int) -> FoldedFleet:
        """Return the same senders with at most this many rows."""
        kept, rest = split(self.rows, rows_max, _urgency)
        return FoldedFleet(kept, added_up([self.others, *(row.together for row in rest)])) if rest else self


def fold(fleet: Fleet, rows_max: int | None = None) -> FoldedFleet:
    """Return the same senders with copies in one row, in at most `rows_max` rows.

    Folds nothing if some senders have no row: they may be copies too, and the sum over all copies would be unknown.
    """
    groups = [Group(row.name, (row,)) for row in fleet.rows] if fleet.others.senders else _gathered(fleet.rows)
    kept, rest = split(groups, len(groups) if rows_max is None else rows_max, _urgency_of_group)
    rows = (FoldedRow.of(group.name, group.rows) for group in kept)
    others = fleet.others.plus(row for group in rest for row in group.rows)
    return FoldedFleet(tuple(sorted(rows, key=lambda row: natural(row.name))), others)


def in_rows(everyone: Fleet, rows_max: int) -> tuple[Fleet, FoldedFleet | None]:
    """Return senders that all have a row in at most `rows_max` rows, sorted; and folded, if these rows don't tell."""
    fleet = everyone.limited(rows_max).sorted()
    return fleet, fold(everyone, rows_max) if fleet.others.senders else None


def _urgency(row: FoldedRow) -> Urgency:
    those = row.together
    return urgency(those.lost > 0, those.left == those.senders, row.declared_per_s)


def _urgency_of_group(group: Group) -> Urgency:
    states = {row.state for row in group.rows}
    return urgency(State.LOST in states, states == {State.LEFT}, len(group.rows) * group.rows[0].speed)
