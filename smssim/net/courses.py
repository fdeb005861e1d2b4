"""Courses and details of runs on the wire: their conversion, and all validation of what a monitor sends to a watcher.

Knows the protobuf messages. Must not know how a course is made, or how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.course import Course, Span, Spell
from smssim.core.fleet import DETAILED_ROWS_MAX, SenderRow
from smssim.core.heat import HeatState
from smssim.core.history import COUNTS, EXTREMES, TIMES
from smssim.core.limits import COUNT_MAX, LIMITS, Limits
from smssim.core.progress import BARS_MAX, LatencyShape
from smssim.core.session import State
from smssim.core.snapshot import Detail
from smssim.core.stall import Cause, Stall
from smssim.errors import PeerError
from smssim.escaping import escape
from smssim.net.announcing import event_from_proto, event_to_proto
from smssim.net.wire import ELAPSED_MAX_S, number, run_from_proto, run_to_proto
from smssim.v1 import monitor_pb2

SPECTRUM_MAX: Final = 64  # percentiles

_OPTIONAL: Final = ("avg_time_s", "limit_per_s")  # of a row; NaN on the wire if it is None


# ---- Details


def detail_to_proto(detail: Detail, rows: Sequence[SenderRow]) -> monitor_pb2.Detail:
    """Return the details of a run, with its senders, as a message."""
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in SenderRow.__slots__}
    for name in _OPTIONAL:
        columns[name] = [np.nan if value is None else value for value in columns[name]]
    latency = detail.latency
    return monitor_pb2.Detail(
        run=run_to_proto(detail.run),
        senders=monitor_pb2.SenderColumns(**columns),
        latency=monitor_pb2.LatencyShape(
            bounds_s=latency.bounds_s,
            counts=latency.counts,
            spectrum=[
                monitor_pb2.Percentile(percent=percent, latency_s=time_s) for percent, time_s in latency.spectrum
            ],
        ),
    )


def detail_from_proto(detail: monitor_pb2.Detail) -> Detail:
    """Return the details of a run without its senders; raises PeerError."""
    latency = detail.latency
    if len(latency.bounds_s) > BARS_MAX + 1 or len(latency.counts) != len(latency.bounds_s) + 1:
        raise PeerError(f"latency: expected at most {BARS_MAX + 1} bounds, and one count more than bounds")
    if len(latency.spectrum) > SPECTRUM_MAX:
        raise PeerError(f"latency: got {len(latency.spectrum)} percentiles; expected at most {SPECTRUM_MAX}")
    _ascending("latency", np.array(latency.bounds_s))
    _bounded("latency", latency.counts, COUNT_MAX)
    spectrum = []
    for one in latency.spectrum:
        number("percent", one.percent, 0, 100)
        if one.HasField("latency_s"):
            number("latency_s", one.latency_s, 0, np.inf)
        spectrum.append((one.percent, one.latency_s if one.HasField("latency_s") else None))
    shape = LatencyShape(tuple(latency.bounds_s), tuple(latency.counts), tuple(spectrum))
    return Detail(run_from_proto(detail.run), shape)


def rows_from_proto(senders: monitor_pb2.SenderColumns) -> tuple[SenderRow, ...]:
    """Return the rows of senders; raises PeerError, or ValueError for an unknown state."""
    columns: dict[str, Sequence[Any]] = {name: getattr(senders, name) for name in SenderRow.__slots__}
    rows = _length("senders", columns, DETAILED_ROWS_MAX)
    for name in ("mean_s", "failure_rate", "rate_per_s", "recent_rate_per_s", "declared_per_s", "cost"):
        _bounded(name, columns[name], np.inf)
    columns |= {"name": [escape(name) for name in senders.name], "state": [State(state) for state in senders.state]}
    for name in _OPTIONAL:
        columns[name] = [None if np.isnan(value) else value for value in columns[name]]
    return tuple(SenderRow(**{name: column[at] for name, column in columns.items()}) for at in range(rows))


def stall_to_proto(stall: Stall) -> monitor_pb2.Stall:
    """Return a stall as a message."""
    return monitor_pb2.Stall(**{name: getattr(stall, name) for name in Stall.__slots__})


def stall_from_proto(stall: monitor_pb2.Stall) -> Stall:
    """Return a stall; raises ValueError for an unknown cause."""
    return Stall(Cause(stall.cause), stall.quiet_s, stall.senders, stall.messages, stall.time_s)


# ---- Courses


def course_to_proto(course: Course) -> monitor_pb2.Course:
    """Return a course as a message."""
    samples, heat = course.history.samples(), course.heat.state()
    return monitor_pb2.Course(
        history=monitor_pb2.History(
            step_s=course.history.step_s,
            **{name: getattr(samples, name) for name in ("elapsed_s", *COUNTS, *TIMES, *EXTREMES)},
        ),
        heat=monitor_pb2.Heat(
            from_s=heat.from_s,
            step_s=heat.step_s,
            ends_s=heat.ends_s,
            name=[name for name, _ in heat.senders],
            same_name=[number for _, number in heat.senders],
            cells=heat.cells.tobytes(),
        ),
        spells=[
            monitor_pb2.Spell(span=_span_to_proto(one.span), stall=stall_to_proto(one.stall)) for one in course.spells
        ],
        gaps=map(_span_to_proto, course.gaps),
        noticed=map(event_to_proto, course.noticed),
    )


def course_from_proto(message: monitor_pb2.Course, run_id: str, limits: Limits = LIMITS) -> Course:
    """Return the course of a run that a monitor sent; raises PeerError."""
    course = Course(limits)
    for name, some in (("spells", message.spells), ("gaps", message.gaps), ("noticed", message.noticed)):
        if len(some) > limits.course_entries_max:
            raise PeerError(f"{name}: got {len(some)}; expected at most {limits.course_entries_max}")
    try:
        course.history.load(_history_from_proto(message.history, limits), message.history.step_s)
        course.heat.load(_heat_from_proto(message.heat, limits))
        course.spells += [Spell(_span_from_proto(one.span), stall_from_proto(one.stall)) for one in message.spells]
    except ValueError as error:
        raise PeerError(f"course: {error}") from error
    course.gaps += map(_span_from_proto, message.gaps)
    course.noticed += [event_from_proto(event, run_id) for event in message.noticed]
    return course


def _history_from_proto(history: monitor_pb2.History, limits: Limits) -> dict[str, NDArray[np.generic]]:
    columns = {name: getattr(history, name) for name in ("elapsed_s", *COUNTS, *TIMES, *EXTREMES)}
    _length("history", columns, limits.history_samples_max)
    number("step_s", history.step_s, 0, ELAPSED_MAX_S)
    _bounded("elapsed_s", history.elapsed_s, ELAPSED_MAX_S)
    for name in (*COUNTS, *EXTREMES):
        _bounded(name, columns[name], 2**63 - 1)
    return {name: np.array(column, np.int64 if name in COUNTS else np.float64) for name, column in columns.items()}


def _heat_from_proto(heat: monitor_pb2.Heat, limits: Limits) -> HeatState:
    senders = list(zip(map(escape, heat.name), heat.same_name, strict=True))
    if len(senders) > limits.heat_rows_max or len(heat.ends_s) > limits.heat_steps_max:
        raise PeerError(f"heat: expected at most {limits.heat_rows_max} senders and {limits.heat_steps_max} steps")
    if len(heat.cells) != len(senders) * len(heat.ends_s):
        raise PeerError("heat: expected a cell for each sender and step")
    _bounded("ends_s", heat.ends_s, ELAPSED_MAX_S)
    number("from_s", heat.from_s, 0, ELAPSED_MAX_S)
    number("step_s", heat.step_s, 0, ELAPSED_MAX_S)
    cells = np.frombuffer(heat.cells, np.uint8).reshape(len(senders), len(heat.ends_s))
    return HeatState(heat.from_s, heat.step_s, np.array(heat.ends_s), senders, cells)


def _span_to_proto(span: Span) -> monitor_pb2.Span:
    return monitor_pb2.Span(from_s=span.from_s, to_s=span.to_s)


def _span_from_proto(span: monitor_pb2.Span) -> Span:
    number("from_s", span.from_s, 0, ELAPSED_MAX_S)
    if not span.HasField("to_s"):
        return Span(span.from_s, None)
    number("to_s", span.to_s, span.from_s, ELAPSED_MAX_S)
    return Span(span.from_s, span.to_s)


# ---- Columns


def _length(name: str, columns: Mapping[str, Sequence[Any]], most: int) -> int:
    """Return the length of these columns; raises PeerError unless all have the same, and at most `most`."""
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or max(lengths) > most:
        raise PeerError(f"{name}: expected columns of equal length, at most {most}")
    return lengths.pop()


def _bounded(name: str, column: Sequence[float], most: float) -> None:
    """Raise PeerError unless all numbers are from 0 to `most`."""
    if not all(0 <= one <= most for one in column):
        raise PeerError(f"{name}: expected numbers from 0 to {most:g}")


def _ascending(name: str, column: NDArray[np.float64]) -> None:
    """Raise PeerError unless the numbers are finite and ascend."""
    if not (np.isfinite(column).all() and (np.diff(column) > 0).all()):
        raise PeerError(f"{name}: expected ascending numbers")
