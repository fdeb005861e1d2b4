"""The table of senders: a row each, columns that give way where the screen is narrow.

Knows rows of senders and plain text. Must not know colours or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from smssim.core.fleet import Others, SenderRow
from smssim.words import about_per_second, count, part, plural, seconds, setting_s

GAP: Final = "  "  # between two columns
NAME_MIN: Final = 8  # characters that are left of a name
NAME_MAX: Final = 24


@dataclass(frozen=True)
class Column:
    """One column: its head, what is in it, and the width that it has at least."""

    head: str
    cell: Callable[[SenderRow], str]
    least: int = 0


_NAME: Final = Column("sender", lambda row: row.name)
_COLUMNS: Final = (
    Column("lanes", lambda row: count(row.concurrency)),
    Column("mean", lambda row: setting_s(row.mean_s), 6),
    Column("fail", lambda row: f"{100 * row.failure_rate:.3g}%"),
    Column("state", lambda row: row.state.name.lower(), 7),
    Column("sent", lambda row: count(row.sent)),
    Column("failed", lambda row: count(row.failed)),
    Column("share", lambda row: part(row.failed, row.sent + row.failed), 5),
    Column("average", lambda row: seconds(row.avg_time_s)),
    Column("rate", lambda row: about_per_second(row.rate_per_s), 7),
    Column("now", lambda row: about_per_second(row.recent_rate_per_s), 7),
    Column("in flight", lambda row: count(row.in_flight)),
)
_FIRST_TO_GO: Final = ("share", "rate", "lanes", "average", "fail", "mean")
LEFT_TO_READ: Final = ("lanes", "mean", "fail", "state", "sent", "failed", "share", "average", "rate")  # at the end


class SenderTable:
    """Lines of equal columns. Kept from refresh to refresh, it never makes a column narrower: nothing jumps."""

    def __init__(self, heads: Sequence[str] | None = None) -> None:
        self._columns = [column for column in _COLUMNS if heads is None or column.head in heads]
        self._widths: dict[str, int] = {}

    def lines(self, rows: Sequence[SenderRow], width: int) -> list[list[tuple[str, str]]]:
        """The header and a line for each row: pieces of text, each with the head of its column."""
        columns = [_NAME, *self._columns]
        cells = {column.head: [_cut(column.cell(row)) for row in rows] for column in columns}
        for column in columns:
            wanted = max(len(column.head), column.least, *map(len, cells[column.head]), 0)
            self._widths[column.head] = max(wanted, self._widths.get(column.head, 0))
        shown = self._fitting(width)
        name_width = min(self._widths["sender"], max(NAME_MIN, width - self._needed(shown)))
        header = [("sender".ljust(name_width), "head"), *((self._right(c.head, c.head), "head") for c in shown)]
        lines = [header]
        for i in range(len(rows)):
            name = _cut(cells["sender"][i], name_width).ljust(name_width)
            lines.append([(name, "sender"), *((self._right(c.head, cells[c.head][i]), c.head) for c in shown)])
        return lines

    def _fitting(self, width: int) -> list[Column]:
        """The columns that fit beside a name, those that say least gone first."""
        shown = list(self._columns)
        for least in _FIRST_TO_GO:
            if min(self._widths["sender"], 12) + self._needed(shown) <= width:
                break
            shown = [column for column in shown if column.head != least]
        return shown

    def _needed(self, columns: Sequence[Column]) -> int:
        return sum(self._widths[column.head] + len(GAP) for column in columns)

    def _right(self, head: str, text: str) -> str:
        return GAP + text.rjust(self._widths[head])


def others_line(others: Others, width: int) -> str:
    """The senders that have no row, in as much detail as fits."""
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


def _cut(text: str, width: int = NAME_MAX) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
