"""The document of a run: everything that a page, a report or a history shows of it, as one JSON object.

Knows snapshots and courses. Must not know where a document goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from smssim import __version__
from smssim.core.course import Course, Span
from smssim.core.event import Event
from smssim.core.expected import COMPLETE, Expected, expected
from smssim.core.fleet import Fleet, Others, SenderRow
from smssim.core.folding import grouped
from smssim.core.history import COUNTS, EXTREMES, TIMES, History
from smssim.core.planned import PlannedCourse, PlannedTime
from smssim.core.progress import LatencyShape
from smssim.core.snapshot import Snapshot
from smssim.core.threshold import Threshold
from smssim.outputs.judging import deadlines, end_verdict, judged
from smssim.outputs.report.formats import VERSION
from smssim.outputs.terminal import plan_lines, why
from smssim.words import clock

POINTS_MAX: Final = 1_024  # of the history in a document
CELLS_MAX: Final = 100_000  # of the senders by time in a document: 200 senders have 500 steps each
EXACT_DIGITS: Final = 15  # decimal places in which a float is rounded exactly

EXPECTED_EVERY_S: Final = 0.5  # between two moments that the forecast follows: senders report about as often

_COST_DIGITS: Final = 9

_WHOLE: Final = ("concurrency", "sent", "failed", "attempts", "in_flight", "held", "burst")  # columns of senders
_REAL: Final = (
    *("mean_s", "failure_rate", "avg_time_s", "rate_per_s", "recent_rate_per_s", "limit_per_s", "declared_per_s"),
)


@dataclass(frozen=True, slots=True)
class About:
    """What a document says of a run that no snapshot has."""

    title: str = ""
    command: str = ""  # that started it; empty if unknown
    began: str | None = None  # when the run started, in ISO 8601
    goals: tuple[Threshold, ...] = ()


@dataclass(frozen=True, slots=True)
class Size:
    """How much a document may hold."""

    points: int = POINTS_MAX
    cells: int = CELLS_MAX


FULL: Final = Size()


def document(snapshot: Snapshot, course: Course, about: About, size: Size = FULL) -> dict[str, Any]:
    """Return the document of a run at one moment, which the course already includes."""
    run = None if snapshot.detail is None else snapshot.detail.run
    rows = snapshot.fleet.rows
    heat = course.heat.table(rows, size.cells)
    return {
        "version": VERSION,
        "kind": "run",
        "smssim": __version__,
        "title": title_of(about, snapshot),
        "began": about.began,
        "command": about.command,
        "seed": None if run is None else run.seed,
        "max_attempts": None if run is None else run.max_attempts,
        "unreachable_share": None if run is None else run.unreachable,
        "segments": None if run is None else run.segments,
        **moment(snapshot, course),
        "goals": deadlines(about.goals, 0.0 if run is None else run.unreachable),
        "plan": None if snapshot.plan is None else plan_of(snapshot.plan),
        "history": history_of(course.history, size.points),
        "gaps": [_span(gap) for gap in course.gaps],
        "senders": senders_of(snapshot.fleet),
        "heat": {"from_s": number(heat.from_s), "times_s": numbers(heat.times_s, 6), "rows": list(heat.rows)},
        "events": [event.as_dict() for event in events_of(snapshot, course)],
    }


def title_of(about: About, snapshot: Snapshot) -> str:
    """Return the title of a run: short, for headings."""
    return about.title or f"run {snapshot.figures.run_id[:8]}"


def moment(snapshot: Snapshot, course: Course, stalls_max: int | None = None) -> dict[str, Any]:
    """Return the part of a document that changes from moment to moment and is short; the latest stalls only."""
    spells = course.spells if stalls_max is None else course.spells[-stalls_max:]
    latency = LatencyShape((), (0,), ()) if snapshot.detail is None else snapshot.detail.latency
    progress = snapshot.as_dict()
    return {
        "progress": progress,
        "verdict": verdict(snapshot, course),
        "judged": judged(progress),
        "stall": None if snapshot.stall is None else why.sentence(snapshot.stall),
        "stalls": [{**_span(spell.span), "reason": why.reason(spell.stall)} for spell in spells],
        "reached_s": {str(percent): number(reached_s) for percent, reached_s in snapshot.reached_s.items()},
        "reached_reachable_s": _reachable(snapshot),
        "behind_s": number(snapshot.behind_s),
        "expected": expected_of(snapshot, course),
        "pace": "" if snapshot.behind_s is None else plan_lines.pace(snapshot.behind_s),
        "others": {"senders": snapshot.fleet.others.senders}
        | {name: getattr(snapshot.fleet.others, name) for name in Others.__slots__},
        "latency": {"bounds_s": numbers(latency.bounds_s, 4), "counts": list(latency.counts)},
        "spectrum": [
            [number(percent), number(time_s, 4)] for percent, time_s in latency.spectrum if time_s is not None
        ],
    }


def _reachable(snapshot: Snapshot) -> dict[str, Any]:
    """Return when shares of the messages that can be reached were sent; nothing if all can."""
    times_s = snapshot.reached_reachable_s if snapshot.figures.unreachable else {}
    return {str(percent): number(time_s) for percent, time_s in times_s.items()}


def verdict(snapshot: Snapshot, course: Course) -> dict[str, str]:
    """Return how the run is going, or how it ended: a code, and a sentence."""
    figures, summary, behind_s = snapshot.figures, snapshot.summary, snapshot.behind_s
    if summary is not None:
        missed = [one.text for one in summary.thresholds if not one.passed]
        return end_verdict(summary.exit_code, summary.reason, figures.elapsed_s, missed)
    if not figures.elapsed_s and not figures.attempts:
        return {"code": "starting", "text": "Waiting for the first outcome"}
    if snapshot.stall is not None:
        return {"code": "stalled", "text": why.sentence(snapshot.stall)}
    if behind_s:
        pace = plan_lines.pace(behind_s)
        return {"code": "late" if behind_s > 0 else "ahead", "text": f"{pace[:1].upper()}{pace[1:]}"}
    left_s = course.history.left_s(figures.total - figures.done)
    left = f": about {clock(max(1.0, left_s))} left" if left_s is not None and 0 < left_s < math.inf else ""
    if behind_s == 0:
        return {"code": "on_course", "text": f"As planned{left}"}
    return {"code": "running", "text": f"Running{left}"}


def expected_of(snapshot: Snapshot, course: Course) -> dict[str, Any] | None:
    """Return when the run is expected to reach the shares that it has not reached, and its end; None if unknown."""
    figures, detail = snapshot.figures, snapshot.detail
    if figures.final or figures.complete:
        return None
    samples = course.history.samples(int(figures.elapsed_s / EXPECTED_EVERY_S) or 1)
    max_attempts = None if detail is None else detail.run.max_attempts
    unreachable = None if detail is None else detail.run.unreachable
    found = expected(samples, figures, snapshot.fleet.rows, snapshot.fleet.others, max_attempts, unreachable)
    if not found:
        return None
    names = {COMPLETE: "complete"}
    return {names.get(percent, str(percent)): _times(time) for percent, time in found.items()}


def plan_of(plan: PlannedCourse) -> dict[str, Any]:
    """Return a plan for JSON."""
    return {
        "times_s": numbers(plan.times_s, 6),
        **{name: list(getattr(plan, name)) for name in ("sent", "sent_low", "sent_high")},
        "reached_s": {str(percent): _times(time) for percent, time in plan.reached_s.items()},
        "complete_s": _times(plan.complete_s),
        "seeds": plan.seeds,
    }


def history_of(history: History, points_max: int) -> dict[str, list[Any]]:
    """Return the history of a run for JSON: columns, with null for what was unknown."""
    samples = history.samples(points_max)
    real = ("rate_per_s", *EXTREMES, *TIMES)
    return {
        "elapsed_s": numbers(samples.elapsed_s.tolist(), 7),
        **{name: getattr(samples, name).tolist() for name in COUNTS},
        **{name: numbers(getattr(samples, name).tolist()) for name in real},
    }


def senders_of(fleet: Fleet) -> dict[str, Any]:
    """Return the senders for JSON: columns, one element per sender, and the names of senders that have copies.

    "group" has the place of that name for each copy, and -1 for other senders.
    """
    rows = fleet.rows
    copies = [group for group in grouped(rows) if len(group.rows) > 1]
    number_of = {id(row): number for number, group in enumerate(copies) for row in group.rows}
    return {
        "name": [row.name for row in rows],
        "group": [number_of.get(id(row), -1) for row in rows],
        "groups": [group.name for group in copies],
        "state": states_of(rows),
        **{name: [getattr(row, name) for row in rows] for name in _WHOLE},
        **{name: numbers([getattr(row, name) for row in rows]) for name in _REAL},
        "cost": numbers([row.cost for row in rows], _COST_DIGITS),
    }


def states_of(rows: Iterable[SenderRow]) -> str:
    """Return the state of each sender, as the digit that it is on the wire."""
    return bytes([ord("0") + row.state for row in rows]).decode()


def events_of(snapshot: Snapshot, course: Course) -> list[Event]:
    """Return the announced events and those of the senders, in order of time."""
    return sorted((*snapshot.events, *course.noticed), key=lambda event: event.at_s)


def numbers(some: Sequence[float | None], digits: int = 4) -> list[float | None]:
    """Return numbers for JSON, as `number` does, apart from ties."""
    values = np.array(some, np.float64)  # None becomes NaN
    known = np.isfinite(values) & (values != 0)
    sizes = np.floor(np.log10(np.abs(values, where=known, out=np.ones_like(values))))
    up, down = 10.0 ** np.clip(digits - 1 - sizes, 0, EXACT_DIGITS), 10.0 ** np.clip(sizes + 1 - digits, 0, None)
    short = np.rint(values / down * up) / up * down
    return [None if not math.isfinite(one) else int(one) if one.is_integer() else one for one in short.tolist()]


def number(one: float | None, digits: int = 6) -> float | None:
    """Return a number with so many significant digits, as an int if it is whole; None if it is None or not finite."""
    if one is None or not math.isfinite(one):
        return None
    short = float(f"{one:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _times(time: PlannedTime | Expected) -> dict[str, float | None]:
    return {name: number(getattr(time, name)) for name in ("low_s", "median_s", "high_s")}


def _span(span: Span) -> dict[str, float | None]:
    return {"from_s": number(span.from_s), "to_s": number(span.to_s)}
