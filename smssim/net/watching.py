"""Conversion of snapshots to protobuf and back, and all validation of what a monitor sends to a watcher.

Values that leave this module are safe to show: names are printable and enumeration values known. Anything else raises
PeerError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from google.protobuf.message import Message

from smssim.core.course import Course
from smssim.core.fleet import ROWS_MAX, Fleet, Others, SenderRow
from smssim.core.folding import FoldedFleet, FoldedRow
from smssim.core.followed import FollowedRun
from smssim.core.limits import COUNT_MAX, EVENTS_MAX, REASON_LENGTH_MAX, TIME_MAX_S, WATCH_INTERVAL_MIN_S
from smssim.core.progress import Figures, Milestones, recent_rate
from smssim.core.session import State
from smssim.core.snapshot import Snapshot, Summary
from smssim.core.threshold import Judged, Threshold
from smssim.errors import ExitCode, PeerError
from smssim.escaping import escape
from smssim.net.announcing import event_from_proto, event_to_proto
from smssim.net.courses import (
    course_from_proto,
    course_to_proto,
    detail_from_proto,
    detail_to_proto,
    rows_from_proto,
    stall_from_proto,
    stall_to_proto,
)
from smssim.net.planning import plan_from_proto, plan_to_proto
from smssim.net.wire import ELAPSED_MAX_S, number, uuid_of
from smssim.v1 import monitor_pb2


def watch_from_proto(message: monitor_pb2.WatchProgressRequest) -> tuple[str, float, bool]:
    """Return the id of the run to watch, the interval in seconds, and whether to send details; raises PeerError.

    An empty id means all runs, and an interval of 0 means that of the monitor.
    """
    if message.interval_s:
        number("interval_s", message.interval_s, WATCH_INTERVAL_MIN_S, TIME_MAX_S)
    return message.run_id and uuid_of("run_id", message.run_id), message.interval_s, message.detailed


def snapshot_to_proto(snapshot: Snapshot, *, detailed: bool = False) -> monitor_pb2.WatchProgressResponse:
    """Return a snapshot as the response to a watcher. Most fields have the same names.

    `detailed`: whether to include the details. Assumes that the snapshot has them.
    """
    shown = snapshot if detailed else snapshot.limited(ROWS_MAX)
    fleet, stall, folded = shown.fleet, shown.stall, shown.folded
    return monitor_pb2.WatchProgressResponse(
        progress=monitor_pb2.Progress(**snapshot.figures.as_dict()),
        senders=[] if detailed else [_row_to_proto(row) for row in fleet.rows],
        detail=detail_to_proto(snapshot.detail, fleet.rows) if detailed and snapshot.detail is not None else None,
        others=_others_to_proto(fleet.others),
        stall=None if stall is None else stall_to_proto(stall),
        summary=None if snapshot.summary is None else _summary_to_proto(snapshot.summary),
        events=map(event_to_proto, snapshot.events),
        reached=[monitor_pb2.Milestone(percent=p, reached_s=s) for p, s in snapshot.reached_s.items()],
        plan=None if snapshot.plan is None else plan_to_proto(snapshot.plan),
        behind_s=snapshot.behind_s,
        folded=None if folded is None else _folded_to_proto(folded.limited(ROWS_MAX)),
        reached_reachable=[
            monitor_pb2.Milestone(percent=p, reached_s=s) for p, s in snapshot.reached_reachable_s.items()
        ],
    )


@dataclass(frozen=True, slots=True)
class Shared:
    """A snapshot, encoded once for all watchers, without the recent rate, which differs between watchers."""

    snapshot: Snapshot
    encoded: bytes

    @classmethod
    def of(cls, snapshot: Snapshot, *, detailed: bool) -> Shared:
        """Encode a snapshot. The last one of a run is the same for all watchers, and includes the recent rate."""
        message = snapshot_to_proto(snapshot, detailed=detailed)
        if not snapshot.figures.final:
            message.progress.ClearField("recent_rate_per_s")
        return cls(snapshot, message.SerializeToString())

    def response(self, before: Figures | None, course: Course | None = None) -> bytes:
        """Return an encoded WatchProgressResponse for a watcher whose previous response had the figures `before`.

        `course`: to send too. Two encoded messages, one after the other, decode as both messages merged (protobuf's
        encoding guide).
        """
        figures = self.snapshot.figures
        own = monitor_pb2.WatchProgressResponse(course=None if course is None else course_to_proto(course))
        if not figures.final:
            own.progress.recent_rate_per_s = recent_rate(figures.done, figures.elapsed_s, before)
        return self.encoded + own.SerializeToString()


class Encoder:
    """Encodes snapshots of runs for watchers."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[FollowedRun, dict[bool, Shared]] = WeakKeyDictionary()

    def shared(self, run: FollowedRun, now: float, *, detailed: bool = False) -> Shared:
        """Return a recent snapshot of a run, encoded once for all watchers that want details, or that want none."""
        snapshot, last = run.shared(now, detailed=detailed), self._last.setdefault(run, {})
        if detailed not in last or last[detailed].snapshot is not snapshot:
            last[detailed] = Shared.of(snapshot, detailed=detailed)
        return last[detailed]


def response_from_proto(message: monitor_pb2.WatchProgressResponse) -> tuple[Snapshot, Course | None]:
    """Return the snapshot that a monitor sent, and the course of the run if it sent one; raises PeerError."""
    snapshot = snapshot_from_proto(message)
    has_course = message.HasField("course")
    return snapshot, course_from_proto(message.course, snapshot.figures.run_id) if has_course else None


def snapshot_from_proto(message: monitor_pb2.WatchProgressResponse) -> Snapshot:
    """Return the snapshot that a monitor sent; raises PeerError."""
    for name, rows in (("senders", message.senders), ("folded", message.folded.rows)):
        if len(rows) > ROWS_MAX:
            raise PeerError(f"{name}: got {len(rows)} rows; expected at most {ROWS_MAX}")
    detailed = message.HasField("detail")
    if len(message.events) > EVENTS_MAX:
        raise PeerError(f"events: got {len(message.events)}; expected at most {EVENTS_MAX}")
    try:
        return Snapshot(
            figures=_figures_from_proto(message.progress),
            fleet=Fleet(
                rows_from_proto(message.detail.senders) if detailed else tuple(map(_row_from_proto, message.senders)),
                _others_from_proto(message.others),
            ),
            stall=stall_from_proto(message.stall) if message.HasField("stall") else None,
            summary=_summary_from_proto(message.summary) if message.HasField("summary") else None,
            events=tuple(event_from_proto(event, message.progress.run_id) for event in message.events),
            reached_s=dict(map(_milestone_from_proto, message.reached)),
            plan=plan_from_proto(message.plan) if message.HasField("plan") else None,
            behind_s=_behind_from_proto(message),
            detail=detail_from_proto(message.detail) if detailed else None,
            folded=_folded_from_proto(message.folded) if message.HasField("folded") else None,
            reached_reachable_s=dict(map(_milestone_from_proto, message.reached_reachable)),
        )
    except ValueError as error:  # an unknown enumeration value, or a malformed threshold
        raise PeerError(f"invalid value: {error}") from error


def _figures_from_proto(progress: monitor_pb2.Progress) -> Figures:
    uuid_of("run_id", progress.run_id)
    number("total", progress.total, 0, COUNT_MAX)
    for name in ("elapsed_s", "rate_per_s", "recent_rate_per_s"):
        number(name, getattr(progress, name), -math.inf, math.inf)
    number("sent + failed", progress.sent + progress.failed, 0, progress.total)
    number("unreachable", progress.unreachable, 0, progress.failed)
    number("cost", progress.cost, 0, math.inf)
    return Figures(**{name: _given(progress, name) for name in Figures.__slots__})


def _milestone_from_proto(milestone: monitor_pb2.Milestone) -> tuple[int, float]:
    if milestone.percent not in Milestones.PERCENTS:
        expected = ", ".join(map(str, Milestones.PERCENTS))
        raise PeerError(f"reached: got {milestone.percent} percent; expected one of {expected}")
    number("reached", milestone.reached_s, 0, ELAPSED_MAX_S)
    return milestone.percent, milestone.reached_s


def _behind_from_proto(message: monitor_pb2.WatchProgressResponse) -> float | None:
    if not message.HasField("behind_s"):
        return None
    number("behind_s", message.behind_s, -ELAPSED_MAX_S, ELAPSED_MAX_S)
    return message.behind_s


def _row_to_proto(row: SenderRow) -> monitor_pb2.SenderProgress:
    return monitor_pb2.SenderProgress(**{name: getattr(row, name) for name in SenderRow.__slots__})


def _row_from_proto(row: monitor_pb2.SenderProgress) -> SenderRow:
    fields = {name: _given(row, name) for name in SenderRow.__slots__}
    return SenderRow(**{**fields, "name": escape(row.name), "state": State(row.state)})


def _others_to_proto(others: Others) -> monitor_pb2.OtherSenders:
    return monitor_pb2.OtherSenders(**{name: getattr(others, name) for name in Others.__slots__})


def _others_from_proto(others: monitor_pb2.OtherSenders) -> Others:
    return Others(**{name: getattr(others, name) for name in Others.__slots__})


def _folded_to_proto(fleet: FoldedFleet) -> monitor_pb2.FoldedSenders:
    rows = (
        monitor_pb2.FoldedProgress(**{**_fields(row), "together": _others_to_proto(row.together)}) for row in fleet.rows
    )
    return monitor_pb2.FoldedSenders(rows=rows, others=_others_to_proto(fleet.others))


def _fields(row: FoldedRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FoldedRow.__slots__}


def _folded_from_proto(folded: monitor_pb2.FoldedSenders) -> FoldedFleet:
    return FoldedFleet(tuple(map(_folded_row_from_proto, folded.rows)), _others_from_proto(folded.others))


def _folded_row_from_proto(row: monitor_pb2.FoldedProgress) -> FoldedRow:
    fields, together = {name: _given(row, name) for name in FoldedRow.__slots__}, _others_from_proto(row.together)
    number("together", together.senders, 1, math.inf)
    return FoldedRow(**{**fields, "name": escape(row.name), "together": together})


def _summary_to_proto(summary: Summary) -> monitor_pb2.Summary:
    return monitor_pb2.Summary(
        exit_code=summary.exit_code,
        reason=summary.reason,
        milestones=_milestones_to_proto(summary.reached_s),
        milestones_reachable=_milestones_to_proto(summary.reached_reachable_s),
        percentiles=[monitor_pb2.Percentile(percent=float(p), latency_s=s) for p, s in summary.percentiles.items()],
        redelivered=summary.redelivered,
        thresholds=[monitor_pb2.Judged(threshold=t.text, value=t.value, passed=t.passed) for t in summary.thresholds],
        segments=summary.segments,
    )


def _milestones_to_proto(reached_s: Mapping[str, float | None]) -> list[monitor_pb2.Milestone]:
    return [monitor_pb2.Milestone(percent=int(percent), reached_s=time_s) for percent, time_s in reached_s.items()]


def _summary_from_proto(summary: monitor_pb2.Summary) -> Summary:
    return Summary(
        exit_code=ExitCode(summary.exit_code),
        reason=escape(summary.reason[:REASON_LENGTH_MAX]),
        reached_s={str(one.percent): _given(one, "reached_s") for one in summary.milestones},
        percentiles={f"{one.percent:g}": _given(one, "latency_s") for one in summary.percentiles},
        redelivered=_given(summary, "redelivered"),
        thresholds=tuple(
            Judged(Threshold.parse(one.threshold), _given(one, "value"), one.passed) for one in summary.thresholds
        ),
        segments=summary.segments or 1,
        reached_reachable_s={str(one.percent): _given(one, "reached_s") for one in summary.milestones_reachable},
    )


def _given(message: Message, name: str) -> Any:
    """Return the value of a field; None if it is optional and absent."""
    field = message.DESCRIPTOR.fields_by_name[name]
    return None if field.has_presence and not message.HasField(name) else getattr(message, name)
