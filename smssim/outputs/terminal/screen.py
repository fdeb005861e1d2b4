"""The layout of the live view: one run, or several, on a screen of a given width and height.

Lays out snapshots as coloured lines. Must not know how they are painted on a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from rich.text import Text

from smssim.core.folding import FoldedRow
from smssim.core.history import History
from smssim.core.progress import Figures
from smssim.core.session import State
from smssim.core.snapshot import Snapshot
from smssim.outputs.judging import ceiling
from smssim.outputs.terminal import plan_lines, why
from smssim.outputs.terminal.sender_table import COST, others_line, sender_table
from smssim.outputs.terminal.table import Piece, joined
from smssim.words import about_per_second, clock, count, money, part, plural, seconds

FRAME_LINES: Final = 10  # all lines except the rows of senders, the plan and the events
WIDTH_MAX: Final = 140  # longer lines are hard to follow by eye
EVENTS_SHOWN: Final = 2  # the latest
SENDERS_MIN: Final = 2  # rows; with less room, the table is left out
SPARK_MAX: Final = 60  # moments
BARS: Final = "▁▂▃▄▅▆▇█"
DONE, OPEN = "━", "─"  # the parts of the progress bar, which differ without colour too

_STATE_STYLE: Final = {State.SENDING: "green", State.WAITING: "", State.LOST: "bold red", State.LEFT: "dim"}


class RunView:
    """One run on the screen, kept from refresh to refresh."""

    def __init__(self, snapshot: Snapshot, history: History) -> None:
        self._table = sender_table(without=(COST,))
        self._has = False, False  # whether the table has the columns for copies, and for limits
        self._snapshot = snapshot
        self._history = history
        self.is_stopping = False  # if so, the remaining messages are not sent
        self.is_followed = True  # whether later moments will follow

    def update(self, snapshot: Snapshot, history: History) -> None:
        """Show a later moment of the run, with its history until then."""
        self._snapshot, self._history = snapshot, history

    def lines(self, width: int, height: int) -> list[Text]:
        """Return the full view, in at most `width` columns and `height` lines."""
        width = min(width, WIDTH_MAX)
        plan = [*self._more(width), *self._plan(width)]
        room = height - FRAME_LINES - len(plan)
        events = self._events()[-max(1, room - SENDERS_MIN) :]
        lines = [
            *self.short_lines(width)[:2],
            Text(),
            *self._numbers(width),
            *plan,
            self._trouble(width),
            *events,
            *self._senders(width, room - len(events)),
        ]
        return _cropped(lines, width, height)

    def short_lines(self, width: int) -> list[Text]:
        """Return the run in two lines, or three if it stalls or is off its plan; for several runs on one screen."""
        lines, trouble = [self._title(width), self._bar(width)], self._trouble(width)
        return _cropped([*lines, trouble] if trouble else lines, width, 3)

    def _title(self, width: int) -> Text:
        figures = self._snapshot.figures
        left = Text.assemble(("run ", "dim"), (figures.run_id[:8], "bold"), "  ", plural(figures.total, "message"))
        left.append(f"  {plural(figures.senders_seen if figures.final else figures.senders, 'sender')}")
        return _apart(left, Text(clock(figures.elapsed_s)), width)

    def _bar(self, width: int) -> Text:
        figures = self._snapshot.figures
        says = f"  {part(figures.done, figures.total):>6}  {self._time_left(figures):>16}"
        cells = max(0, width - len(says))
        done = cells * figures.done // figures.total if figures.total else cells
        failed = min(done, -(-cells * figures.failed // figures.total)) if figures.failed else 0
        return Text.assemble(
            (DONE * (done - failed), "green"), (DONE * failed, "red"), (OPEN * (cells - done), "dim"), says
        )

    def _time_left(self, figures: Figures) -> str:
        missing = figures.total - figures.done
        if not missing:
            return ""
        if figures.final:
            return "not complete"
        if self.is_stopping:
            return "stopping"
        left_s = self._history.left_s(missing) if self.is_followed else None
        if left_s is None:
            return ""
        return "no estimate" if left_s == inf else f"about {_about(max(1.0, left_s))} left"

    def _numbers(self, width: int) -> list[Text]:
        figures = self._snapshot.figures
        wide = max(7, len(count(figures.total)))
        first = [
            _pair("sent", 11, count(figures.sent), wide, part(figures.sent, figures.total), "green"),
            _pair(
                "failed",
                11,
                count(figures.failed),
                wide,
                part(figures.failed, figures.total),
                _if(figures.failed, "red"),
            ),
            _pair("in flight", 11, count(figures.in_flight), wide, ""),
            _pair("waiting", 11, count(figures.waiting), wide, ""),
        ]
        second = [
            _pair("average time", 13, seconds(figures.avg_time_s), 7),
            _pair("average sent", 13, seconds(figures.avg_sent_time_s), 7),
            _pair("latency p50", 13, seconds(figures.latency_p50_s), 7),
            _pair("latency p99", 13, seconds(figures.latency_p99_s), 7),
        ]
        room = width - len(first[0]) - len(second[0]) - 6
        third = [
            _pair("now", 10, about_per_second(figures.recent_rate_per_s), 8),
            _pair("overall", 10, about_per_second(figures.rate_per_s), 8),
            Text(sparkline(self._history.recent_rates(), min(room, SPARK_MAX)), "cyan"),
            _rare(figures),
        ]
        return [Text("   ").join(three) for three in zip(first, second, third, strict=True)]

    def _more(self, width: int) -> list[Text]:
        """Return a line about unreachable messages, the ceiling that they set, and the cost: what fits; or nothing."""
        figures = self._snapshot.figures
        pieces = [
            Text.assemble(("unreachable  ", "dim"), count(figures.unreachable)) if figures.unreachable else Text(),
            Text.assemble(("cost  ", "dim"), money(figures.cost)) if figures.cost else Text(),
            Text(ceiling(figures.total, figures.unreachable), "yellow"),
        ]
        shown = [piece for piece in pieces if piece]
        while shown and sum(map(len, shown)) + 3 * (len(shown) - 1) > width:
            shown.pop()
        return [Text("   ").join(shown)] if shown else []

    def _plan(self, width: int) -> list[Text]:
        return [Text.assemble((head, "dim"), text) for head, text in plan_lines.beside(self._snapshot, width)]

    def _trouble(self, width: int) -> Text:
        """Return why nothing moves and, if there is room, how far the run is off its plan; empty if all is well."""
        stall, behind_s = self._snapshot.stall, self._snapshot.behind_s
        cause = Text(why.sentence(stall), "yellow") if stall else Text()
        if not behind_s:
            return cause
        pace = Text(plan_lines.pace(behind_s).capitalize(), "yellow" if behind_s > 0 else "cyan")
        both = Text("   ").join(line for line in (cause, pace) if line)
        return both if len(both) <= width or not cause else cause

    def _events(self) -> list[Text]:
        latest = self._snapshot.events[-EVENTS_SHOWN:]
        return [Text.assemble((f"{clock(event.at_s):>8}  ", "dim"), (event.text, "cyan")) for event in latest]

    def _senders(self, width: int, rows: int) -> list[Text]:
        if rows < SENDERS_MIN:
            return []
        shown = self._snapshot.senders.limited(rows)
        has = shown.has_copies or self._has[0], shown.has_limits or self._has[1]
        if has != self._has:  # from now on, so that columns don't come and go
            self._has, self._table = has, sender_table(*has, without=(COST,))
        others = [Text(others_line(shown.others, width), "dim")] if shown.others.senders else []
        table = self._table.lines(shown.rows, width)
        header = Text(joined(table[0]), "dim")
        return [header, *map(_sender_line, table[1:], shown.rows), *others]


def several_runs(views: Sequence[RunView], width: int, height: int) -> list[Text]:
    """Return a short view of every run, or of the first ones that fit on the screen."""
    width = min(width, WIDTH_MAX)
    lines: list[Text] = []
    for number, view in enumerate(views):
        some = view.short_lines(width)
        if len(lines) + len(some) + 1 > height:
            return _cropped([*lines, Text(f"and {plural(len(views) - number, 'more run')}", "dim")], width, height)
        lines += some
    return _cropped(lines, width, height)


def sparkline(rates: Sequence[float], width: int) -> str:
    """Return the last `width` of these rates as a line of bars, scaled to the highest of them."""
    last = rates[-width:] if width > 0 else []
    top = max(last, default=0.0)
    return "".join(BARS[min(len(BARS) - 1, int(len(BARS) * one / top))] if top else BARS[0] for one in last)


def _about(time_s: float) -> str:
    """Return an estimated time: in whole seconds, then minutes, hours or days."""
    return (
        f"{time_s:.0f} s" if time_s < 99.5 else clock(time_s) if time_s < 100 * 3600 else f"{time_s / 86400:,.0f} days"
    )


def _pair(head: str, head_width: int, number: str, width: int, share: str | None = None, style: str = "") -> Text:
    pair = Text.assemble((head.ljust(head_width), "dim"), (number.rjust(width), style))
    return pair if share is None else pair.append(f"  {share:>6}", style or "dim")


def _rare(figures: Figures) -> Text:
    """Return the retries if there are only retries, else the duplicates: both are usually 0."""
    if figures.retried and not figures.duplicates:
        return _pair("retried", 10, count(figures.retried), 8)
    return _pair("duplicates", 10, count(figures.duplicates), 8, style=_if(figures.duplicates, "yellow"))


def _if(number: int, style: str) -> str:
    return style if number else ""


def _sender_line(pieces: Sequence[Piece], row: FoldedRow) -> Text:
    faded = "dim" if row.state == State.LEFT else ""
    styles = {
        "state": _STATE_STYLE[row.state],
        "lanes": "dim",
        "mean": "dim",
        "fail": "dim",
        "sent each": "dim",
        "average each": "dim",
        "sender": "bold" if not faded else "",
    }
    return Text.assemble(*((piece, faded or styles.get(head, "")) for piece, head in pieces))


def _apart(left: Text, right: Text, width: int) -> Text:
    gap = max(1, width - len(left) - len(right))
    return Text.assemble(left, " " * gap, right)


def _cropped(lines: Sequence[Text], width: int, height: int) -> list[Text]:
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return list(lines[:height])
