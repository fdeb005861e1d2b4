"""Where a node's figures go: a live view, a plain table that grows, or JSON, one object a line.

Is given snapshots and writes them. Must not know where they come from or how often.
"""

from __future__ import annotations

import json
from typing import Protocol

from smssim.core.snapshot import Snapshot
from smssim.core.stall import Cause
from smssim.outputs.terminal import summary, why
from smssim.outputs.terminal.lines import HEADER_EVERY, Table
from smssim.process import terminal
from smssim.words import clock


class Display(Protocol):
    """Shows one run, or several at the same time."""

    def show(self, snapshot: Snapshot) -> None:
        """A moment of a run; the last one, with its summary, ends it."""

    def say_stopping(self) -> None:
        """The run is being stopped: what is left is not going to be sent."""

    def close(self) -> None:
        """Nothing more will come."""


def display(as_json: bool, interval_s: float, several_runs: bool) -> Display:
    """What suits stdout."""
    if as_json:
        return JsonLines()
    if not terminal.is_screen():
        return Rows(several_runs)
    from smssim.outputs.terminal.live import Live  # rich is not for those who don't see it

    return Live(interval_s)


class JsonLines:
    """An object an interval and a last one."""

    def show(self, snapshot: Snapshot) -> None:
        """See Display."""
        terminal.say(json.dumps(snapshot.figures.as_dict()))

    def say_stopping(self) -> None:
        """See Display."""

    def close(self) -> None:
        """See Display."""


class Rows:
    """A row an interval, below a header, and a summary. Says why nothing moves whenever the cause is another one."""

    def __init__(self, several_runs: bool = False) -> None:
        self._several_runs = several_runs
        self._totals: dict[str, int] = {}  # of the runs that go on
        self._stalled: dict[str, Cause] = {}  # as last said
        self._table: Table | None = None  # whose header was shown
        self._rows = 0  # since then

    def show(self, snapshot: Snapshot) -> None:
        """See Display."""
        if snapshot.summary is not None:
            self._end(snapshot)
            return
        figures = snapshot.figures
        self._totals[figures.run_id] = figures.total
        table = Table(max(self._totals.values()), terminal.screen_width(), names_run=self._several_runs)
        if table != self._table or self._rows % HEADER_EVERY == 0:
            terminal.say(table.header())
            self._table, self._rows = table, 0
        self._rows += 1
        terminal.say(table.row(figures))
        self._explain(snapshot)

    def say_stopping(self) -> None:
        """See Display."""

    def close(self) -> None:
        """See Display."""

    def _explain(self, snapshot: Snapshot) -> None:
        run_id, stall = snapshot.figures.run_id, snapshot.stall
        before = self._stalled.pop(run_id, None)
        if stall is not None:
            self._stalled[run_id] = stall.cause
            if stall.cause != before:
                terminal.say(f"{clock(snapshot.figures.elapsed_s):>8}  {why.sentence(stall)}")

    def _end(self, snapshot: Snapshot) -> None:
        run_id = snapshot.figures.run_id
        page = summary.page(snapshot, terminal.screen_width())
        terminal.say("", *page, *([""] if self._several_runs else []))
        self._totals.pop(run_id, None)
        self._stalled.pop(run_id, None)
        self._table = None
