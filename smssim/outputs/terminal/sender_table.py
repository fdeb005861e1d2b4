"""The table of senders: rows for some of them, and one line for the others.

Knows rows of senders and plain text. Must not know colours or terminals.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from smssim.core.fleet import Others, SenderRow
from smssim.outputs.terminal.table import Column, Elastic, Table
from smssim.words import about_per_second, count, part, plural, seconds, setting_s

_COLUMNS: Final[tuple[Column[SenderRow], ...]] = (
    Column("sender", lambda row: row.name, is_left=True, elastic=Elastic(least=8, wanted=12, most=24)),
    Column("lanes", lambda row: count(row.concurrency), gives_way=3),
    Column("mean", lambda row: setting_s(row.mean_s), 6, gives_way=6),
    Column("fail", lambda row: f"{100 * row.failure_rate:.3g}%", gives_way=5),
    Column("state", lambda row: row.state.name.lower(), 7),
    Column("sent", lambda row: count(row.sent)),
    Column("failed", lambda row: count(row.failed)),
    Column("share", lambda row: part(row.failed, row.sent + row.failed), 5, gives_way=1),
    Column("average", lambda row: seconds(row.avg_time_s), gives_way=4),
    Column("rate", lambda row: about_per_second(row.rate_per_s), 7, gives_way=2),
    Column("now", lambda row: about_per_second(row.recent_rate_per_s), 7),
    Column("in flight", lambda row: count(row.in_flight)),
)
NOT_AT_THE_END: Final = ("now", "in flight")  # heads of columns that are pointless after a run has ended


def sender_table(without: Collection[str] = ()) -> Table[SenderRow]:
    """Return the table of senders, without the columns that have these heads."""
    return Table([column for column in _COLUMNS if column.head not in without], grows=True)


def others_line(others: Others, width: int) -> str:
    """Return a line about the senders that have no row, with as much detail as fits."""
    states = [
        f"{count(number)} {state}"
        for number, state in (
            (others.sending, "sending"),
            (others.waiting, "waiting"),
            (others.lost, "lost"),
            (others.left, "left"),
        )
        if number
    ]
    line = f"{plural(others.senders, 'more sender')}: {', '.join(states)}"
    rate = f", {about_per_second(others.recent_rate_per_s)}" if others.recent_rate_per_s else ""
    for more in (f"; {count(others.sent)} sent, {count(others.failed)} failed", rate):
        line += more if len(line + more) <= width else ""
    return line
