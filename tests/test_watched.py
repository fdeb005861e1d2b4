"""The runs that a watcher follows: what is new, when they are over, and the exit code."""

from __future__ import annotations

from dataclasses import replace

from view_support import OTHER, RUN_ID, ended, idle, of_run, snapshot

from smssim.core.event import Event, Kind
from smssim.core.watched import WatchedRuns
from smssim.errors import ExitCode


def test_a_watcher_that_has_seen_no_run_or_no_end_is_incomplete() -> None:
    runs = WatchedRuns()
    assert (runs.any_in_progress, runs.are_over, runs.exit_code) == (False, False, ExitCode.INCOMPLETE)
    assert runs.see(snapshot(elapsed_s=3.0))
    assert (runs.any_in_progress, runs.are_over, runs.exit_code) == (True, False, ExitCode.INCOMPLETE)
    assert runs.elapsed_s == 3.0


def test_nothing_is_new_after_the_end_of_a_run() -> None:
    runs = WatchedRuns()
    assert [runs.see(seen) for seen in (snapshot(), snapshot(), ended(), ended(), snapshot(elapsed_s=99.0))] == [
        *(True, True, True, False, False),
    ]
    assert (runs.any_in_progress, runs.are_over, runs.exit_code) == (False, True, ExitCode.OK)
    assert runs.elapsed_s == 20.0


def test_a_watcher_exits_with_the_worst_code_of_its_runs_once_all_are_over() -> None:
    assert RUN_ID != OTHER
    runs = WatchedRuns()
    runs.see(ended(exit_code=ExitCode.THRESHOLD))
    assert runs.exit_code == ExitCode.THRESHOLD
    runs.see(of_run(OTHER, snapshot()))
    assert (runs.any_in_progress, runs.are_over, runs.exit_code) == (True, False, ExitCode.INCOMPLETE)
    runs.see(of_run(OTHER, ended()))
    assert (runs.any_in_progress, runs.are_over, runs.exit_code) == (False, True, ExitCode.THRESHOLD)


def test_a_run_that_is_missing_from_a_turn_was_dropped_if_nothing_was_counted() -> None:
    for first, dropped in ((idle(RUN_ID), [RUN_ID]), (snapshot(), [])):
        runs = WatchedRuns()
        for seen in (first, idle(OTHER), first, idle(OTHER)):  # two turns
            assert runs.see(seen)
        assert runs.dropped() == []
        assert runs.see(idle(OTHER))
        assert runs.dropped() == dropped
        assert runs.dropped() == []


def test_each_event_is_new_once_for_each_run() -> None:
    events = [Event(float(second), Kind.KILLED, "killed", RUN_ID) for second in range(3)]
    runs, of_other = WatchedRuns(), replace(events[0], run_id=OTHER)
    for seen, new in (
        (replace(snapshot(), events=tuple(events[:1])), events[:1]),
        (of_run(OTHER, replace(snapshot(), events=(of_other,))), [of_other]),
        (replace(snapshot(), events=(events[0], events[2])), events[2:]),
        (replace(ended(), events=tuple(events)), events[1:2]),
        (replace(ended(), events=tuple(events)), []),
    ):
        runs.see(seen)
        assert runs.new_events() == new


def test_the_end_of_a_run_does_not_count_as_a_turn() -> None:
    runs = WatchedRuns()
    for seen in (idle(RUN_ID), idle(OTHER), of_run(OTHER, ended())):
        runs.see(seen)
    assert runs.dropped() == []
    assert not runs.are_over


def test_an_idle_run_without_an_end_was_dropped_if_the_monitor_left_in_order() -> None:
    for first, code in ((idle(RUN_ID), ExitCode.OK), (snapshot(), ExitCode.INCOMPLETE)):
        runs = WatchedRuns()
        runs.see(first)
        runs.see(of_run(OTHER, ended()))
        assert not runs.are_over
        runs.monitor_left()
        assert runs.exit_code == code
        assert runs.any_in_progress == (code != ExitCode.OK)
    lonely = WatchedRuns()
    lonely.see(idle(RUN_ID))
    lonely.monitor_left()
    assert (lonely.any_in_progress, lonely.exit_code) == (False, ExitCode.INCOMPLETE)
