"""Plans of runs on the wire: their conversion, and all validation of what a program announces or a monitor sends.

Knows the protobuf messages. Must not know how a plan is made, or how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from smssim.core.limits import COUNT_MAX
from smssim.core.planned import POINTS_MAX, PlannedCourse, PlannedTime
from smssim.core.progress import Milestones
from smssim.errors import PeerError
from smssim.net.wire import ELAPSED_MAX_S, number, uuid_of
from smssim.v1 import monitor_pb2

_SEEDS_MAX: Final = 2**32 - 1


def plan_to_proto(plan: PlannedCourse) -> monitor_pb2.Plan:
    """Return a plan as a message."""
    return monitor_pb2.Plan(
        times_s=plan.times_s,
        sent=plan.sent,
        sent_low=plan.sent_low,
        sent_high=plan.sent_high,
        reached=[
            monitor_pb2.PlannedShare(percent=percent, time=_time_to_proto(time))
            for percent, time in plan.reached_s.items()
        ],
        complete=_time_to_proto(plan.complete_s),
        slack_s=plan.slack_s,
        seeds=plan.seeds,
    )


def plan_from_proto(plan: monitor_pb2.Plan) -> PlannedCourse:
    """Return a plan; raises PeerError."""
    _check_columns(plan)
    number("slack_s", plan.slack_s, 0, ELAPSED_MAX_S)
    number("seeds", plan.seeds, 1, _SEEDS_MAX)
    percents = [one.percent for one in plan.reached]
    if sorted(percents) != list(Milestones.PERCENTS):
        expected = ", ".join(map(str, Milestones.PERCENTS))
        raise PeerError(f"reached: got {len(percents)} shares; expected one for each of {expected} percent")
    return PlannedCourse(
        times_s=tuple(plan.times_s),
        sent=tuple(plan.sent),
        sent_low=tuple(plan.sent_low),
        sent_high=tuple(plan.sent_high),
        reached_s={one.percent: _time_from_proto("reached", one.time) for one in plan.reached},
        complete_s=_time_from_proto("complete", plan.complete),
        slack_s=plan.slack_s,
        seeds=plan.seeds,
    )


def announcement_from_proto(message: monitor_pb2.AnnouncePlanRequest) -> tuple[str, PlannedCourse]:
    """Return the id of the run, and the plan that a client announces for it; raises PeerError."""
    return uuid_of("run_id", message.run_id), plan_from_proto(message.plan)


def _check_columns(plan: monitor_pb2.Plan) -> None:
    """Raise PeerError unless the columns of a plan are as the protocol says."""
    columns = {"sent": plan.sent, "sent_low": plan.sent_low, "sent_high": plan.sent_high}
    points = len(plan.times_s)
    if not 2 <= points <= POINTS_MAX:
        raise PeerError(f"times_s: got {points} points; expected 2 to {POINTS_MAX}")
    number("times_s", plan.times_s[0], 0, 0)
    number("times_s", plan.times_s[-1], 0, ELAPSED_MAX_S)
    if not all(before < after for before, after in pairwise(plan.times_s)):
        raise PeerError("times_s: expected ascending times")
    for name, column in columns.items():
        if len(column) != points:
            raise PeerError(f"{name}: got {len(column)} counts; expected {points}, as in times_s")
        number(name, column[-1], 0, COUNT_MAX)
        if not _ascend(column):
            raise PeerError(f"{name}: expected counts that never descend")
    if not all(map(_ascend, zip(plan.sent_low, plan.sent, plan.sent_high, strict=True))):
        raise PeerError("sent: expected sent_low <= sent <= sent_high")


def _ascend(numbers: Iterable[float]) -> bool:
    return all(before <= after for before, after in pairwise(numbers))


def _time_to_proto(time: PlannedTime) -> monitor_pb2.PlannedTime:
    return monitor_pb2.PlannedTime(low_s=time.low_s, median_s=time.median_s, high_s=time.high_s)


def _time_from_proto(name: str, time: monitor_pb2.PlannedTime) -> PlannedTime:
    fields = ("low_s", "median_s", "high_s")
    given = [field for field in fields if time.HasField(field)]  # type: ignore[arg-type]
    values = [getattr(time, field) + 0.0 for field in given]  # -0.0 becomes 0.0
    for value in values:
        number(name, value, 0, ELAPSED_MAX_S)
    if given != list(fields[: len(given)]) or not _ascend(values):
        raise PeerError(f"{name}: expected low_s <= median_s <= high_s, and none of them after an absent one")
    return PlannedTime(**dict(zip(given, values, strict=True)))
