"""The output on stdout: a live view, a growing plain table, or JSON with one object per line.

Receives snapshots and writes them. Must not know where they come from or how often.
"""

from __future__ import annotations

import json
from typing import Final

from smssim.core.event import Event, Kind
from smssim.core.history import History
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.core.stall import Cause
from smssim.outputs.protocol import Output
from smssim.outputs.terminal import plan_lines, summary, why
from smssim.outputs.terminal.progress_table import progress_table
from smssim.outputs.terminal.table import Table, joined
from smssim.process import terminal
from smssim.words import clock

HEADER_EVERY: Final = 20  # rows


def display(as_json: bool, interval_s: float, several_runs: bool) -> Output:
    """Return the output for stdout: JSON if requested, a live view on a capable terminal, else a plain table."""
    if as_json:
        return JsonLines()
    if not terminal.is_screen():
        return Rows(several_runs)
    from smssim.outputs.terminal.live import Live  # imports rich, which only a screen needs

    return Live(interval_s)


class JsonLines(Output):
    """JSON lines: one object per interval, and one at the end, which also has the events and the plan."""

    def moment(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        terminal.print_lines(json.dumps(snapshot.figures.as_dict()))

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        terminal.print_lines(json.dumps(snapshot.last_object()))


class Rows(Output):
    """A table with one row per interval, then a summary.

    Between the rows are the events, the reason of a stall when it begins or its cause changes, and whether the run is
    ahead of its plan or behind it when that changes.
    """

    def __init__(self, several_runs: bool = False) -> None:
        self._several_runs = several_runs
        self._totals: dict[str, int] = {}  # messages by run id, of the runs in progress
        self._stalled: dict[str, Cause] = {}  # by run id: the cause last shown
        self._off_plan: dict[str, float] = {}  # by run id: how far it was behind when that was shown; negative: ahead
        self._shape: tuple[int, int | None] | None = None  # of the current table: messages, and width of the screen
        self._table: Table[Figures] = progress_table(0)
        self._rows = 0  # shown since the table was created

    def moment(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        figures = snapshot.figures
        self._totals[figures.run_id] = figures.total
        shape = (max(self._totals.values()), terminal.screen_width())
        if shape != self._shape:
            self._shape, self._rows = shape, 0
            self._table = progress_table(shape[0], names_run=self._several_runs)
        header, row = map(joined, self._table.lines((figures,), shape[1]))
        if self._rows % HEADER_EVERY == 0:
            terminal.print_lines(header)
        self._rows += 1
        terminal.print_lines(row)
        self._explain(snapshot)
        self._compare(snapshot)

    def event(self, event: Event) -> None:
        """See Output."""
        if event.kind is not Kind.STOPPING:  # the log says so
            run = f"{event.run_id[:8]}  " if self._several_runs else ""
            terminal.print_lines(f"{run}{clock(event.at_s):>8}  {event.text}")

    def dropped(self, run_id: str) -> None:
        """See Output."""
        self._totals.pop(run_id, None)
        self._stalled.pop(run_id, None)
        self._off_plan.pop(run_id, None)
        self._shape = None

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        run_id = snapshot.figures.run_id
        page = summary.page(snapshot, terminal.screen_width())
        terminal.print_lines("", *page, *([""] if self._several_runs else []))
        self.dropped(run_id)

    def _explain(self, snapshot: Snapshot) -> None:
        run_id, stall = snapshot.figures.run_id, snapshot.stall
        before = self._stalled.pop(run_id, None)
        if stall is not None:
            self._stalled[run_id] = stall.cause
            if stall.cause != before:
                terminal.print_lines(f"{clock(snapshot.figures.elapsed_s):>8}  {why.sentence(stall)}")

    def _compare(self, snapshot: Snapshot) -> None:
        """Show whether the run is ahead of its plan, behind it or as planned again, if that has changed."""
        figures, behind_s = snapshot.figures, snapshot.behind_s or 0.0
        before_s = self._off_plan.pop(figures.run_id, 0.0)
        if behind_s:
            self._off_plan[figures.run_id] = behind_s
        if (behind_s > 0) - (behind_s < 0) != (before_s > 0) - (before_s < 0):
            says = f"{plan_lines.pace(behind_s)}, {plan_lines.CHANCE}" if behind_s else "as planned again"
            terminal.print_lines(f"{clock(figures.elapsed_s):>8}  {says}")
