"""What a page needs of a run: the detailed snapshots of a monitor, on the wire, and as a watcher follows them."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from view_support import RUN_ID, figures, row

from smssim.core.course import Course
from smssim.core.ending import Ending
from smssim.core.exchange import Report
from smssim.core.fleet import DETAILED_ROWS_MAX, ROWS_MAX, Fleet, Others
from smssim.core.followed import FollowedRun, Missed, Moment, Noted, Policy
from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS
from smssim.core.model import Outcome, RunFacts, SenderFacts
from smssim.core.progress import BARS_MAX, Latencies
from smssim.core.snapshot import Detail, Snapshot
from smssim.core.tally import Tally
from smssim.core.watched import WatchedCourse
from smssim.errors import ExitCode, PeerError
from smssim.net import watching
from smssim.v1 import monitor_pb2

RUN: Final = RunFacts(RUN_ID, 7, 10**6, 3)
POLICY: Final = Policy(interval_s=5.0, give_up_s=60.0, noted=True)


def tally_of(senders: int) -> Tally:
    """Return a run to which each of these senders has reported ten outcomes, at second 1."""
    tally = Tally(RUN, 0.0)
    for number in range(senders):
        ids = np.arange(10) + 10 * number
        times = np.linspace(0.1, 2.0, 10, dtype=np.float32)
        finished = Finished(ids, np.ones(10, np.uint8), np.full(10, Outcome.SENT, np.uint8), times, times)
        facts = SenderFacts(str(uuid.uuid4()), f"sender-{number}", 0.5, 0.1, 4)
        tally.report(RUN, facts, Report(1, finished, 3, 2, 1.0), 1.0)
    return tally


def detailed(senders: int = 3) -> Snapshot:
    return FollowedRun(tally_of(senders), POLICY, 0.0).note(1.5).snapshot


# -- a followed run


def test_moments_are_noted_more_often_than_shown() -> None:
    run, counts = FollowedRun(tally_of(2), POLICY, 0.0), dict.fromkeys((Moment, Noted, Missed), 0)
    for tenth in range(1, 101):
        for event in run.look(tenth / 10):
            counts[type(event)] += 1
    assert counts[Moment] == 3
    assert counts[Noted] > 30
    assert len(run.course.history) == counts[Noted]


def test_nobody_is_told_of_notes_that_nobody_needs_and_the_course_is_kept_anyway() -> None:
    run = FollowedRun(tally_of(2), replace(POLICY, noted=False), 0.0)
    events = [event for tenth in range(1, 101) for event in run.look(tenth / 10)]
    assert {type(event) for event in events} == {Moment}
    assert len(run.course.history) > 30


@pytest.mark.parametrize("returns_s", [1.5, None])
def test_a_resumed_run_is_noted_when_a_report_has_said_how_long_the_monitor_was_away(returns_s: float | None) -> None:
    before = FollowedRun(tally_of(2), POLICY, 0.0)
    before.note(2.0)
    kept = {name: piece for name, piece in before.changes(2.0).items() if piece is not None}
    run = FollowedRun.restored(kept, POLICY, 100.0)
    (session, *_) = run.tally.sessions.values()
    whole, small, real = np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.float32)
    nothing = Finished(whole, small, small, real, real)
    noted_at = None
    for tenth in range(1, 100):
        now = 100.0 + tenth / 10
        if returns_s == tenth / 10:
            run.tally.report(RUN, session.facts, Report(2, nothing, 3, 2, 20.0), now)
        if noted_at is None and any(isinstance(event, Noted) for event in run.look(now)):
            noted_at = now
    assert noted_at == pytest.approx(100.0 + (LIMITS.lost_after_s if returns_s is None else returns_s), abs=0.15)
    assert len(run.course.gaps) == 1
    if returns_s is not None:
        (gap,) = run.course.gaps
        assert gap.to_s == pytest.approx(20.0)


def test_the_course_ends_with_the_last_figures() -> None:
    run = FollowedRun(tally_of(2), POLICY, 0.0)
    run.look(1.0)
    ended = run.end(Ending(ExitCode.INCOMPLETE, "stopped"), 9.0)
    samples = ended.course.history.samples()
    assert samples.elapsed_s[-1] == ended.snapshot.figures.elapsed_s
    assert samples.sent[-1] == ended.snapshot.figures.sent == 20


def test_a_detailed_snapshot_has_a_row_for_a_thousand_senders() -> None:
    snapshot = detailed(DETAILED_ROWS_MAX + 1)
    assert (len(snapshot.fleet.rows), snapshot.fleet.others.senders) == (DETAILED_ROWS_MAX, 1)
    assert len(snapshot.as_dict()) == len(snapshot.figures.as_dict())


def test_watchers_share_one_snapshot_of_each_kind() -> None:
    run = FollowedRun(tally_of(DETAILED_ROWS_MAX), POLICY, 0.0)
    for wants_details, rows in ((False, ROWS_MAX), (True, DETAILED_ROWS_MAX)):
        shared = run.shared(2.0, detailed=wants_details)
        assert run.shared(2.0 + LIMITS.shared_s / 2, detailed=wants_details) is shared
        assert run.shared(2.0 + 2 * LIMITS.shared_s, detailed=wants_details) is not shared
        assert len(shared.fleet.rows) == rows
        assert (shared.detail is not None) == wants_details


# -- the distribution of latencies


def test_the_bars_hold_every_latency_once() -> None:
    for values in ([], [0.0], [0.5], [0.0, 0.5], [1e-6, 1e6], [1.0] * 1000, np.geomspace(1e-3, 1e3, 999).tolist()):
        latencies = Latencies()
        latencies.add(np.array(values, np.float32))
        shape = latencies.shape()
        assert sum(shape.counts) == len(values)
        assert len(shape.counts) == len(shape.bounds_s) + 1 <= BARS_MAX + 2
        assert list(shape.bounds_s) == sorted(set(shape.bounds_s))
        assert shape.counts[0] == values.count(0.0)
        for (low, high), count in zip(
            zip(shape.bounds_s, shape.bounds_s[1:], strict=False), shape.counts[1:], strict=False
        ):
            assert count == sum(low <= np.float32(value) < high for value in values)


def test_the_spectrum_is_that_of_the_percentiles() -> None:
    latencies = Latencies()
    latencies.add(np.geomspace(1e-3, 1e3, 999).astype(np.float32))
    for percent, latency_s in latencies.shape().spectrum:
        assert latency_s == latencies.percentile(percent)


# -- the wire


def response(snapshot: Snapshot, course: Course | None = None) -> monitor_pb2.WatchProgressResponse:
    shared = watching.Shared.of(snapshot, detailed=True)
    return monitor_pb2.WatchProgressResponse.FromString(shared.response(None, course))


def test_a_detailed_snapshot_arrives_as_it_was_sent() -> None:
    snapshot = detailed()
    arrived, course = watching.response_from_proto(response(snapshot))
    assert course is None
    figures_ = replace(snapshot.figures, recent_rate_per_s=arrived.figures.recent_rate_per_s)
    assert arrived == replace(snapshot, figures=figures_)
    nothing = replace(snapshot.fleet.rows[0], avg_time_s=None)
    without = replace(snapshot, fleet=Fleet((nothing,), Others(lost=7)))
    assert watching.response_from_proto(response(without))[0].fleet == without.fleet


def test_the_course_comes_with_a_detailed_snapshot() -> None:
    run = FollowedRun(tally_of(3), POLICY, 0.0)
    noted = run.note(2.0)
    _, course = watching.response_from_proto(response(noted.snapshot, run.course))
    assert course is not None
    assert course.history.samples().elapsed_s.tolist() == run.course.history.samples().elapsed_s.tolist()


def test_without_details_a_watcher_gets_the_rows_that_people_read() -> None:
    snapshot = detailed(DETAILED_ROWS_MAX)
    message = watching.snapshot_to_proto(snapshot)
    assert len(message.senders) == ROWS_MAX
    assert not message.HasField("detail")
    assert message.others.sending == DETAILED_ROWS_MAX - ROWS_MAX


def test_a_thousand_senders_take_little_room() -> None:
    assert len(response(detailed(DETAILED_ROWS_MAX)).SerializeToString()) < 100_000


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("senders", {"name": ["a"] * 4}),
        ("senders", {"state": [1, 1, 77]}),
        ("senders", {"mean_s": [float("nan"), 1.0, 1.0]}),
        ("senders", {"recent_rate_per_s": [-1.0, 1.0, 1.0]}),
        ("latency", {"bounds_s": [1.0] * (BARS_MAX + 2), "counts": [1] * (BARS_MAX + 3)}),
        ("latency", {"bounds_s": [2.0, 1.0], "counts": [0, 1, 2]}),
        ("latency", {"bounds_s": [1.0], "counts": [0, 1, 2]}),
        ("latency", {"counts": [2**64 - 1] * 47}),
        ("latency", {"spectrum": [{"percent": 101.0}]}),
        ("latency", {"spectrum": [{"percent": 50.0, "latency_s": float("nan")}]}),
        ("latency", {"spectrum": [{"percent": 50.0}] * 65}),
        ("run", {"seed": 2**64 - 1}),
        ("run", {"run_id": "x"}),
    ],
)
def test_details_that_are_not_sound_are_refused(where: str, change: dict[str, Any]) -> None:
    message = response(detailed())
    part: Any = getattr(message.detail, where)
    for name in change:
        part.ClearField(name)
    part.MergeFrom(type(part)(**change))
    with pytest.raises(PeerError):
        watching.response_from_proto(message)


def test_more_senders_than_a_page_shows_are_refused() -> None:
    rows = tuple(row(f"s{i}") for i in range(DETAILED_ROWS_MAX + 1))
    snapshot = Snapshot(figures(), Fleet(rows), detail=Detail(RUN, Latencies().shape()))
    with pytest.raises(PeerError, match="at most 1000"):
        watching.response_from_proto(response(snapshot))


# -- a watcher


def at(elapsed_s: float, sent: int) -> Snapshot:
    return Snapshot(figures(sent, 0, 10**6, elapsed_s))


def test_a_watcher_that_joins_late_has_the_whole_course() -> None:
    course = Course()
    for second in range(10):
        course.note(at(float(second), second))
    watched = WatchedCourse(1.0)
    watched.see(at(10.0, 10), course)
    watched.see(at(11.0, 11), None)
    assert watched.course.history.samples().elapsed_s.tolist() == [float(second) for second in range(12)]


def test_a_watcher_shows_fewer_moments_than_arrive_with_the_rate_between_those() -> None:
    watched = WatchedCourse(5.0)
    shown = []
    for second in range(1, 13):
        seen = watched.to_show(at(float(second), second * second), now=100.0 + second * 0.999)
        shown += [] if seen is None else [(second, seen.figures.recent_rate_per_s)]
    assert shown == [(1, 1.0), (6, 7.0), (11, 17.0)]
