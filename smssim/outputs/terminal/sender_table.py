"""The table of senders: rows for some of them, and one line for the others. Copies of one sender are one row.

Knows rows of senders and plain text. Must not know colours or terminals, or which senders are copies.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from smssim.core.fleet import Others
from smssim.core.folding import FoldedRow
from smssim.outputs.terminal.table import Column, Elastic, Table
from smssim.words import about_per_second, count, money, part, plural, seconds, setting_s

TIMES: Final = "\N{MULTIPLICATION SIGN}"  # before the number of copies
NOT_AT_THE_END: Final = ("now", "in flight")  # heads of columns that are pointless after a run has ended
COST: Final = "cost"  # head of a column that only senders with a price need, after a run has ended
_SPREADS: Final = ("sent each", "average each")  # heads of columns that only copies have
_LIMITS: Final = ("limit",)  # heads of columns that only senders with a limit have
# Heads of the columns that are dropped if there is no room, the first one first. Without copies, settings are kept
# longest; with them, what tells how the copies are doing.
_GIVE_WAY: Final = ("share", "rate", "lanes", "average", "fail", "limit", "mean")
_GIVE_WAY_WITH_COPIES: Final = (
    *("average each", "share", "rate", "state", "lanes", "fail", "limit", "mean", "average", "sent each"),
)


def _state(row: FoldedRow) -> str:
    """Return the state, or several: "48 sending, 2 lost"."""
    return row.state.name.lower() if len(row.states) == 1 else ", ".join(_states(row.together))


def _brief_state(row: FoldedRow) -> str:
    """Return the state; of several the one that matters most: "2 lost"."""
    name = row.state.name.lower()
    return name if len(row.states) == 1 else f"{count(row.states[row.state])} {name}"


def _sent_each(row: FoldedRow) -> str:
    return f"{count(row.sent_low)} to {count(row.sent_high)}" if row.is_folded else ""


def _average_each(row: FoldedRow) -> str:
    if not row.is_folded or row.avg_time_low_s is None:
        return ""
    return f"{seconds(row.avg_time_low_s)} to {seconds(row.avg_time_high_s)}"


def _limit(row: FoldedRow) -> str:
    return "" if row.limit_per_s is None else f"{row.limit_per_s:,.9g}/s"


def columns(has_copies: bool, has_limits: bool, without: Collection[str] = ()) -> list[Column[FoldedRow]]:
    """Return the columns, without those that have these heads, and with or without those of copies and of limits."""
    left_out = {*without, *(() if has_copies else _SPREADS), *(() if has_limits else _LIMITS)}
    return [column for column in _columns(has_copies) if column.head not in left_out]


def _columns(has_copies: bool) -> tuple[Column[FoldedRow], ...]:
    brief = Column("state", _brief_state, 10, is_left=True)
    return (
        Column(
            "sender",
            lambda row: row.name,
            is_left=True,
            elastic=Elastic(least=10 if has_copies else 8, wanted=12, most=24),
            tail=lambda row: f" {TIMES}{count(row.copies)}" if row.is_folded else "",
        ),
        Column("lanes", lambda row: count(row.lanes)),
        Column("limit", _limit),
        Column("mean", lambda row: setting_s(row.mean_s), 6),
        Column("fail", lambda row: f"{100 * row.failure_rate:.3g}%"),
        Column("state", _state, 7, is_left=has_copies, brief=brief if has_copies else None),
        Column("sent", lambda row: count(row.together.sent)),
        Column("sent each", _sent_each),
        Column("failed", lambda row: count(row.together.failed)),
        Column("share", lambda row: part(row.together.failed, row.together.sent + row.together.failed), 5),
        Column("average", lambda row: seconds(row.avg_time_s)),
        Column("average each", _average_each),
        Column("rate", lambda row: about_per_second(row.rate_per_s), 7),
        Column("now", lambda row: about_per_second(row.together.recent_rate_per_s), 7),
        Column("in flight", lambda row: count(row.together.in_flight)),
        Column(COST, lambda row: money(row.together.cost)),
    )


def sender_table(has_copies: bool = False, has_limits: bool = False, without: Collection[str] = ()) -> Table[FoldedRow]:
    """Return the table of senders, with the columns that `columns` returns."""
    order = _GIVE_WAY_WITH_COPIES if has_copies else _GIVE_WAY
    ranks = {head: rank for rank, head in enumerate(order, 1)}
    return Table(
        [replace(column, gives_way=ranks.get(column.head, 0)) for column in columns(has_copies, has_limits, without)],
        grows=True,
    )


def others_line(others: Others, width: int) -> str:
    """Return a line about the senders that have no row, with as much detail as fits."""
    line = f"{plural(others.senders, 'more sender')}: {', '.join(_states(others))}"
    rate = f", {about_per_second(others.recent_rate_per_s)}" if others.recent_rate_per_s else ""
    for more in (f"; {count(others.sent)} sent, {count(others.failed)} failed", rate):
        line += more if len(line + more) <= width else ""
    return line


def _states(senders: Others) -> list[str]:
    """Return how many senders are in each state: "48 sending", "2 lost"."""
    return [f"{count(number)} {state.name.lower()}" for state, number in senders.by_state.items() if number]
