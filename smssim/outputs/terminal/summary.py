"""The summary of a run, as one page of text.

Knows snapshots and plain text. Must not know where the page is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot, Summary
from smssim.core.threshold import REACHED, REACHED_REACHABLE, Judged
from smssim.outputs.judging import amount, ceiling
from smssim.outputs.terminal.plan_lines import CHANCE, pace, planned
from smssim.outputs.terminal.sender_table import COST, NOT_AT_THE_END, others_line, sender_table
from smssim.outputs.terminal.table import joined
from smssim.words import clock, count, money, per_second, percent_of, percents, plural, seconds

WIDTH: Final = 80  # of the page, if the width of the screen is unknown
ROWS_MAX: Final = 20  # senders
EVENTS_MAX: Final = 20
INDENT: Final = "  "
_HEAD: Final = 14  # width of the first column, with the name of each row


def page(snapshot: Snapshot, width: int | None = None) -> list[str]:
    """Return the lines of the page; none if the snapshot has no summary."""
    figures, summary, width = snapshot.figures, snapshot.summary, (width or WIDTH) - 1
    if summary is None:
        return []
    state = "complete" if figures.complete else "NOT COMPLETE"
    return [
        f"run {figures.run_id}: {state} after {clock(figures.elapsed_s)}",
        "",
        *_totals(figures, summary),
        "",
        *_times(snapshot, summary, width),
        "",
        *_senders(snapshot, width),
        *_events(snapshot),
        *_thresholds(figures, summary),
        _line("totals", summary.reason),
        _line("conservation", conservation(figures)),
    ]


def conservation(figures: Figures) -> str:
    """Return the sum total = sent + failed + in flight + waiting, in numbers."""
    parts = (figures.sent, figures.failed, figures.in_flight, figures.waiting)
    names = ("sent", "failed", "in flight", "waiting")
    terms = " + ".join(f"{count(part)} {name}" for part, name in zip(parts, names, strict=True))
    return f"{count(figures.total)} = {terms}"


def _line(head: str, text: str) -> str:
    return f"{INDENT}{head:<{_HEAD}}{text}".rstrip()


def _totals(figures: Figures, summary: Summary) -> list[str]:
    sent, failed = percents(figures.sent, figures.failed, figures.total) if figures.total else ("", "")
    missing = f"{percent_of(figures.unreachable, figures.failed, figures.total):>6}  of them unreachable"
    redelivered = "-" if summary.redelivered is None else count(summary.redelivered)
    retried = f"{count(figures.retried)} of them failed and were queued for a retry" if figures.retried else ""
    rows = [
        ("sent", count(figures.sent), f"{sent:>6}"),
        ("failed", count(figures.failed), f"{failed:>6}"),
        *([("", count(figures.unreachable), missing)] if figures.unreachable else []),
        ("attempts", count(figures.attempts), retried),
        ("duplicates", count(figures.duplicates), "repeated outcomes, not counted elsewhere"),
        ("redelivered", redelivered, "delivered again because a sender was lost"),
        ("rate", per_second(figures.rate_per_s), f"with {plural(figures.senders_seen, 'sender')}"),
        (
            "average time",
            seconds(figures.avg_time_s),
            f"per attempt, {seconds(figures.avg_sent_time_s)} per successful attempt",
        ),
        *([("cost", money(figures.cost), _each(figures))] if figures.cost else []),
    ]
    if summary.segments > 1:
        rows.append(("segments", count(summary.segments), "in each message; limits and prices count them"))
    width = max(len(number) for _, number, _ in rows)
    return [_line(head, f"{number:>{width}}  {text}") for head, number, text in rows]


def _each(figures: Figures) -> str:
    return f"{money(figures.cost / figures.sent)} per message that was sent" if figures.sent else "nothing was sent"


def _times(snapshot: Snapshot, summary: Summary, width: int) -> list[str]:
    """Return the percentiles of the latency, and when given shares of all messages were sent, beside the plan."""
    plan, behind_s = snapshot.plan, snapshot.behind_s
    latencies = [(f"{percent}%", seconds(value)) for percent, value in summary.percentiles.items()]
    missing = snapshot.figures.unreachable
    heads = ("sent after", "", *(("reachable",) if missing else ()), "plan")
    reached = [
        (
            f"{percent}%",
            _reached(value),
            *((_reached(summary.reached_reachable_s.get(percent)),) if missing else ()),
            *([planned(plan, int(percent))] if plan else []),
        )
        for percent, value in summary.reached_s.items()
    ]
    says = "time from the start until this share of all messages was sent"
    lines = [
        *_across(("latency", ""), latencies, "time from queued to final outcome, by percentile", width),
        *_across(heads, reached, says, width),
        *([_line("", "reachable: the same of the messages that can be reached")] if missing else ()),
    ]
    most = ceiling(snapshot.figures.total, missing)
    if most:
        lines.append(_line("ceiling", most))
    if behind_s is not None:
        lines.append(_line("pace", f"{pace(behind_s)}, {CHANCE}" if behind_s else pace(behind_s)))
    return lines


def _reached(time_s: float | None) -> str:
    return "never" if time_s is None else clock(time_s)


def _across(heads: Sequence[str], cells: Sequence[tuple[str, ...]], says: str, width: int) -> list[str]:
    """Return cells as columns of as many lines as they have texts, in several blocks if need be, and a note below."""
    if not cells:
        return []
    wide = max(len(text) for cell in cells for text in cell) + 2
    fit = max(1, (width - len(INDENT) - _HEAD + 2) // wide)
    if fit < len(cells):  # several blocks, of equal length
        fit = -(-len(cells) // -(-len(cells) // fit))
    lines: list[str] = []
    for first in range(0, len(cells), fit):
        some = cells[first : first + fit]
        for i in range(len(cells[0])):
            head = heads[i] if i or not lines else ""
            lines.append(_line(head, "".join(cell[i].rjust(wide) for cell in some)[2:]))
    return [*lines, _line("", says)]


def _senders(snapshot: Snapshot, width: int) -> list[str]:
    fleet = snapshot.senders.limited(ROWS_MAX)
    if not fleet.rows:
        return []
    width -= len(INDENT)
    without = NOT_AT_THE_END if snapshot.figures.cost else (*NOT_AT_THE_END, COST)
    table = sender_table(fleet.has_copies, fleet.has_limits, without)
    lines = [joined(pieces) for pieces in table.lines(fleet.rows, width)]
    others = [others_line(fleet.others, width)] if fleet.others.senders else []
    return [*(INDENT + line for line in [*lines, *others]), ""]


def _events(snapshot: Snapshot) -> list[str]:
    events = snapshot.events
    lines = [f"{clock(event.at_s):>8}  {event.text}" for event in events[:EVENTS_MAX]]
    if len(events) > EVENTS_MAX:
        lines.append(f"and {plural(len(events) - EVENTS_MAX, 'more event')}")
    return [*(_line("" if i else "events", line) for i, line in enumerate(lines)), ""] if lines else []


def _thresholds(figures: Figures, summary: Summary) -> list[str]:
    width = max((len(one.text) for one in summary.thresholds), default=0)
    lines = [
        _line(
            "" if i else "thresholds",
            f"{'passed' if one.passed else 'MISSED'}  {one.text:<{width}}  {value(one, figures.as_dict())}",
        )
        for i, one in enumerate(summary.thresholds)
    ]
    return [*lines, ""] if lines else []


def value(judged: Judged, figures: Mapping[str, float | None]) -> str:
    """Return the value that a threshold was compared with, in its own unit: "was 12.3 s"."""
    threshold = judged.threshold
    if judged.value is None:
        return "was never reached" if threshold.name in (*REACHED, *REACHED_REACHABLE) else "is unknown"
    return f"was {amount(threshold, float(threshold.compared(judged.value, figures)))}"
