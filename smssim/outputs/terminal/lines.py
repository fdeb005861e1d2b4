"""Progress as lines of text: a table that grows by a row each interval.

Knows figures. Must not know where they come from or where the lines go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from smssim.core.progress import Figures
from smssim.words import about_per_second, clock, count, percent, seconds

HEADER_EVERY: Final = 20  # rows
GAP: Final = "  "  # between two columns

_COUNT: Final = 0  # in place of a width: as wide as the number of all messages
_COLUMNS: Final[tuple[tuple[str, int, Callable[[Figures], str]], ...]] = (
    ("run", 8, lambda f: f.run_id[:8]),
    ("time", 8, lambda f: clock(f.elapsed_s)),
    ("done", 5, lambda f: percent(f.done, f.total) if f.total else "100%"),
    ("sent", _COUNT, lambda f: count(f.sent)),
    ("failed", _COUNT, lambda f: count(f.failed)),
    ("in flight", _COUNT, lambda f: count(f.in_flight)),
    ("waiting", _COUNT, lambda f: count(f.waiting)),
    ("attempts", _COUNT, lambda f: count(f.attempts)),
    ("dups", 5, lambda f: count(f.duplicates)),
    ("avg time", 8, lambda f: seconds(f.avg_time_s)),
    ("avg sent", 8, lambda f: seconds(f.avg_sent_time_s)),
    ("now", 8, lambda f: about_per_second(f.recent_rate_per_s)),
    ("overall", 8, lambda f: about_per_second(f.rate_per_s)),
    ("senders", 7, lambda f: count(f.senders)),
)
_FIRST_TO_GO: Final = ("attempts", "overall", "dups", "avg sent", "senders", "in flight", "waiting", "now")


@dataclass(frozen=True)
class Table:
    """Rows of figures, one below the other, for runs of up to `total` messages.

    Where it would be wider than `width` characters, it has fewer columns, those that say least gone first.
    """

    total: int
    width: int | None = None
    names_run: bool = False

    def header(self) -> str:
        """The heads of the columns."""
        return GAP.join(head.rjust(width) for head, width, _ in self._columns())

    def row(self, figures: Figures) -> str:
        """One line of the table."""
        return GAP.join(cell(figures).rjust(width) for _, width, cell in self._columns())

    def _columns(self) -> list[tuple[str, int, Callable[[Figures], str]]]:
        columns = [
            (head, width or max(len(head), len(count(self.total))), cell)
            for head, width, cell in _COLUMNS
            if self.names_run or head != "run"
        ]
        for least in _FIRST_TO_GO:
            if self.width is None or sum(width + len(GAP) for _, width, _ in columns) - len(GAP) <= self.width:
                break
            columns = [column for column in columns if column[0] != least]
        return columns
