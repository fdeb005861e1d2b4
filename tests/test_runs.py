"""Which runs a monitor follows, how each ends and what watchers get, driven by times and reports alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smssim.core.audience import ALL, Audience, wait_s
from smssim.core.event import Event as RunEvent
from smssim.core.event import Kind
from smssim.core.exchange import Answer, Report, RunEnd
from smssim.core.followed import Ended, FollowedRun, Missed, Moment, Policy
from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Outcome, RunFacts, SenderFacts
from smssim.core.runs import Announced, Dropped, Event, NoSender, Runs, Started
from smssim.core.stretches import STRETCH_SIZE
from smssim.core.tally import Tally
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode, LaterError, PeerError

TOTAL = 4
CHECK_S, LOST_S, OPEN_S = LIMITS.end_check_s, LIMITS.lost_after_s, LIMITS.open_after_pause_s
POLICY = Policy(interval_s=1.0, give_up_s=60.0)
LINGER = replace(POLICY, linger=True)
WHOLE = RunEnd(True, TOTAL, 0)


def run_of(name: str, total: int = TOTAL) -> RunFacts:
    return RunFacts(name, seed=1, total=total, max_attempts=1)


A, B, C = map(run_of, "ABC")


def report(sequence: int = 1, ids: Any = (), goodbye: bool = False, end: RunEnd | None = None) -> Report:
    n = len(ids)
    sent, times = np.full(n, Outcome.SENT, np.uint8), np.ones(n, np.float32)
    finished = Finished(np.array(ids, np.int64), np.ones(n, np.uint8), sent, times, times)
    return Report(sequence, finished, 0, 0, 1.0, goodbye or end is not None, end)


def tell(runs: Runs, run: RunFacts, now: float = 0.0, sender: str = "s", **said: Any) -> Answer:
    return runs.report(run, SenderFacts(sender, sender), report(**said), now)


def complete(runs: Runs, run: RunFacts, now: float = 0.0, sequence: int = 1) -> None:
    """Report every message as sent, with the producer's totals and the sender's goodbye."""
    tell(runs, run, now, sequence=sequence, ids=range(run.total), end=RunEnd(True, run.total, 0))


def look_on(runs: Runs, until: float) -> list[Event]:
    """Wake the runs whenever they are due and return the events."""
    events = drain(runs)
    while runs.wake_at <= until:
        runs.look(runs.wake_at)
        events += drain(runs)
    return events


def drain(runs: Runs) -> list[Event]:
    events = list(runs.events)
    runs.events.clear()
    return events


def of_kind(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def codes(events: list[Event]) -> list[int]:
    return [event.snapshot.summary.exit_code for event in of_kind(events, Ended)]


def with_limits(policy: Policy = POLICY, **limits: Any) -> Runs:
    return Runs(policy, limits=replace(LIMITS, **limits))


# -- events of a run

KILLED = RunEvent(5.0, Kind.KILLED, "city killed", A.run_id, "city")


def test_a_new_event_of_a_run_is_emitted_once_and_is_in_all_later_snapshots() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    drain(runs)
    for _ in range(2):
        runs.announce(KILLED)
    assert drain(runs) == [Announced(KILLED)]
    assert runs.followed[A.run_id].snapshot(1.0).events == (KILLED,)
    complete(runs, A, 1.0, sequence=2)
    (ended,) = of_kind(look_on(runs, 10.0), Ended)
    assert ended.snapshot.events == (KILLED,)


def test_an_event_of_a_run_that_is_not_followed_yet_may_be_announced_later() -> None:
    runs = Runs(POLICY)
    with pytest.raises(LaterError, match="does not follow run A"):
        runs.announce(KILLED)
    tell(runs, A)
    runs.announce(KILLED)


def test_after_the_end_of_a_run_only_events_on_record_are_accepted() -> None:
    runs = with_limits(LINGER, ended_kept_max=1)
    tell(runs, A)
    runs.announce(KILLED)
    complete(runs, A, sequence=2)
    look_on(runs, 10.0)
    runs.announce(KILLED)  # a repeat, whose answer was lost
    with pytest.raises(PeerError, match="run A is over"):
        runs.announce(replace(KILLED, at_s=6.0))
    complete(runs, B, 11.0)
    look_on(runs, 20.0)
    assert A.run_id not in runs.followed
    with pytest.raises(PeerError, match="run A is over"):
        runs.announce(KILLED)


# -- one run


def test_the_first_report_of_a_run_starts_it() -> None:
    runs = Runs(POLICY)
    assert runs.wake_at == math.inf
    tell(runs, A, 5.0)
    assert drain(runs) == [Started(A)]
    assert runs.wake_at == 5.0


def test_the_notice_that_no_sender_has_come_is_repeated_until_one_comes() -> None:
    runs = Runs(POLICY)
    runs.await_sender(100.0)
    every_s = LIMITS.repeat_notice_s
    assert look_on(runs, 100.0 + 2.5 * every_s) == [NoSender(every_s), NoSender(2 * every_s)]
    tell(runs, A, 100.0 + 2.6 * every_s, ids=[0])
    assert of_kind(look_on(runs, 100.0 + 10 * every_s), NoSender) == []


def test_the_notice_that_no_sender_has_come_returns_after_a_drop_unless_a_run_has_ended() -> None:
    for ended_before in (False, True):
        runs = Runs(LINGER)
        runs.await_sender(0.0)
        if ended_before:
            complete(runs, B)
        tell(runs, A, goodbye=True)
        looks = of_kind(look_on(runs, 5 * 60.0), NoSender)
        assert A.run_id not in runs.followed
        assert bool(looks) == (not ended_before)


def test_a_resumed_run_gives_no_notice_that_no_sender_has_come() -> None:
    runs = Runs(JOURNALED)
    tell(runs, A)
    again = Runs(JOURNALED)
    again.resume({name: piece for name, piece in runs.changes(0.0).items() if piece is not None}, 50.0)
    again.await_sender(50.0)
    assert of_kind(look_on(again, 50.0 + 5 * LIMITS.repeat_notice_s), NoSender) == []


def test_figures_are_shown_at_once_and_then_every_interval() -> None:
    runs = Runs(replace(POLICY, interval_s=0.25))
    tell(runs, A)
    runs.look(0.0)
    shown = {0.0: of_kind(drain(runs), Moment)}
    for _ in range(60):
        at = runs.wake_at
        runs.look(at)
        if moments := of_kind(drain(runs), Moment):
            shown[at] = moments
    assert list(shown) == pytest.approx([0.25 * i for i in range(len(shown))])
    assert len(shown) > 10
    assert all(len(moments) == 1 for moments in shown.values())


def test_the_rate_of_a_moment_is_the_rate_since_the_moment_before() -> None:
    runs = Runs(POLICY)
    tell(runs, A, 1.0)
    look_on(runs, 1.5)
    tell(runs, A, 1.5, sequence=2, ids=[0, 1])
    (moment,) = of_kind(look_on(runs, 2.05), Moment)
    assert moment.snapshot.figures.recent_rate_per_s == pytest.approx(2.0)
    (moment,) = of_kind(look_on(runs, 3.05), Moment)
    assert moment.snapshot.figures.recent_rate_per_s == 0.0


def test_moments_show_as_many_senders_as_wanted_and_the_end_shows_them_all() -> None:
    for rows_max in (0, 10):
        runs = Runs(replace(POLICY, rows_max=rows_max))
        complete(runs, A)
        moment, ended = look_on(runs, 1.0)[1:]
        assert isinstance(moment, Moment)
        assert isinstance(ended, Ended)
        assert len(moment.snapshot.fleet.rows) == min(1, rows_max)
        assert len(ended.snapshot.fleet.rows) == 1


def test_there_is_one_warning_for_each_sender_whose_first_reports_are_missing() -> None:
    runs = Runs(POLICY)
    for sender, sequence in (("early", 1), ("late", 7), ("later", 9)):
        tell(runs, A, sender=sender, sequence=sequence)
    assert of_kind(look_on(runs, 3.0), Missed) == [Missed("late"), Missed("later")]


def test_outcomes_are_passed_on_as_they_are_recorded() -> None:
    taken: list[tuple[str, str, int]] = []
    runs = Runs(LINGER, on_report=lambda run, sender, done, counts, at_s: taken.append((run.run_id, sender, len(done))))
    tell(runs, A, ids=[0, 1])
    tell(runs, A, ids=[0, 1])  # a repeat
    tell(runs, B, sender="other", ids=[3])
    assert taken == [("A", "s", 2), ("B", "other", 1)]


# -- ends


def test_a_run_and_its_monitor_end_with_the_goodbye_of_the_last_sender() -> None:
    runs = Runs(POLICY)
    tell(runs, A, sender="other")
    complete(runs, A)
    assert codes(look_on(runs, 3 * CHECK_S)) == []
    tell(runs, A, 3 * CHECK_S, sender="other", sequence=2, goodbye=True)
    assert codes(look_on(runs, 5 * CHECK_S)) == [ExitCode.OK]
    assert runs.finished
    assert runs.any_ended
    assert runs.exit_code == ExitCode.OK
    assert runs.wake_at == math.inf


def test_a_run_whose_totals_are_known_ends_once_its_last_sender_is_lost() -> None:
    runs = Runs(POLICY)
    tell(runs, A, 1.0, sender="lost")
    complete(runs, A, 1.0)
    assert codes(look_on(runs, 1.0 + LOST_S)) == []
    assert codes(look_on(runs, 1.0 + LOST_S + 2 * CHECK_S)) == [ExitCode.OK]


def test_a_run_whose_totals_never_arrive_is_given_up() -> None:
    runs = Runs(POLICY)
    tell(runs, A, ids=[0])
    assert codes(look_on(runs, 60.0 - CHECK_S)) == []
    assert codes(look_on(runs, 60.0 + 2 * CHECK_S)) == [ExitCode.INCOMPLETE]


def test_the_summary_evaluates_the_thresholds_and_a_missed_one_decides_the_exit_code() -> None:
    runs = Runs(replace(POLICY, thresholds=(Threshold.parse("sent>5"), Threshold.parse("failed==0"))))
    complete(runs, A)
    (ended,) = of_kind(look_on(runs, 1.0), Ended)
    assert [one.passed for one in ended.snapshot.summary.thresholds] == [False, True]
    assert ended.ending.exit_code == ExitCode.OK
    assert runs.exit_code == ExitCode.THRESHOLD


def test_later_reports_do_not_change_the_last_figures() -> None:
    runs = Runs(LINGER)
    complete(runs, A)
    (ended,) = of_kind(look_on(runs, 1.0), Ended)
    followed = runs.followed["A"]
    assert tell(runs, A, 2.0, sender="late", ids=[0]).duplicates == 1
    assert followed.final is followed.snapshot(3.0) is followed.shared(3.0) is ended.snapshot
    assert drain(runs) == []


def test_a_stop_ends_every_run_as_it_stands() -> None:
    runs = Runs(LINGER)
    complete(runs, A)
    tell(runs, B, ids=[0])
    tell(runs, C)  # even a run that could be dropped later
    drain(runs)
    runs.stop(1.0)
    assert codes(drain(runs)) == [ExitCode.OK, ExitCode.INCOMPLETE, ExitCode.INCOMPLETE]
    assert runs.wake_at == math.inf
    runs.stop(2.0)
    assert drain(runs) == []


def test_after_a_stop_no_new_run_is_followed_and_late_reports_are_still_answered() -> None:
    for policy in (POLICY, LINGER):
        runs = Runs(policy)
        if policy.linger:
            tell(runs, A, ids=[0])
        runs.stop(1.0)
        drain(runs)
        with pytest.raises(LaterError, match=r"^this monitor is stopping$"):
            tell(runs, B, 1.1, ids=[0])
        assert drain(runs) == []
        assert B.run_id not in runs.followed
        if policy.linger:
            assert tell(runs, A, 1.2, sequence=2, ids=[1]).accepted == 1
            # Refused for now: the monitor's next process may accept it.
            with pytest.raises(LaterError, match=r"^this monitor is stopping$"):
                tell(runs, replace(A, total=TOTAL + 1), 1.3)


@pytest.mark.parametrize(
    ("policy", "ids", "code"),
    [
        (POLICY, None, ExitCode.INCOMPLETE),  # stopped before a sender has come
        (LINGER, None, ExitCode.OK),
        (POLICY, range(TOTAL), ExitCode.OK),
        (POLICY, range(2), ExitCode.DISAGREE),
    ],
)
def test_the_exit_code_of_a_monitor_is_the_worst_of_its_runs(policy: Policy, ids: Any, code: ExitCode) -> None:
    runs = Runs(policy)
    if ids is not None:
        tell(runs, A, ids=ids, end=RunEnd(True, 1, 0) if len(ids) < TOTAL else WHOLE)
        look_on(runs, 1.0)
    assert runs.exit_code == code


def test_a_lingering_monitor_is_never_finished_and_keeps_the_worst_code() -> None:
    runs = Runs(LINGER)
    tell(runs, A, ids=[0, 1], end=RunEnd(True, 1, 0))
    complete(runs, B)
    assert sorted(codes(look_on(runs, 1.0))) == [ExitCode.OK, ExitCode.DISAGREE]
    assert not runs.finished
    assert runs.exit_code == ExitCode.DISAGREE


# -- pauses of the monitor itself


@pytest.mark.parametrize(("late_s", "is_forgiven"), [(0.3, False), (0.99, False), (1.01, True), (100.0, True)])
@pytest.mark.parametrize("first", ["a look", "a report"])
def test_a_pause_is_forgiven_only_if_it_is_long(late_s: float, is_forgiven: bool, first: str) -> None:
    """It doesn't matter whether a look or a report comes first after the pause."""
    runs = Runs(LINGER)
    tell(runs, A, ids=[0])
    look_on(runs, LOST_S - 0.2)
    now = runs.wake_at + late_s
    if first == "a report":
        tell(runs, B, now)
    runs.look(now)
    silent_s = now - (late_s if is_forgiven else 0.0)
    assert (runs.followed["A"].tally.figures(now).senders == 1) == (silent_s <= LOST_S)
    next_s = CHECK_S + 0.05  # a pause is forgiven only once
    runs.look(now + next_s)
    assert (runs.followed["A"].tally.figures(now + next_s).senders == 1) == (silent_s + next_s <= LOST_S)


def test_a_pause_drops_no_run_whose_reports_could_not_arrive() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    look_on(runs, 1.0)
    with pytest.raises(LaterError):
        tell(runs, B, 100.0)
    assert list(runs.followed) == ["A"]


def test_a_run_stays_open_after_a_pause_so_that_what_happened_meanwhile_is_announced() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    look_on(runs, 1.0)
    complete(runs, A, 10.0, sequence=2)
    runs.look(10.0)
    look_on(runs, 10.0 + OPEN_S - 0.2)
    assert not runs.finished
    runs.announce(KILLED)
    (ended,) = of_kind(look_on(runs, 10.0 + OPEN_S + 0.2), Ended)
    assert ended.snapshot.events == (KILLED,)
    assert ended.snapshot.figures.elapsed_s == 11.0  # when it was complete; its first report was one second late


def test_a_stop_ends_a_run_that_stays_open_after_a_pause() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    look_on(runs, 1.0)
    runs.look(10.0)
    runs.stop(10.1)
    assert runs.finished


# -- which runs are followed


def test_without_linger_a_second_run_is_refused_for_good_once_something_is_counted() -> None:
    runs = Runs(POLICY)
    tell(runs, A, ids=[0])
    for now in (0.0, 1000.0):
        with pytest.raises(PeerError, match=r"^this monitor follows only run A$") as caught:
            tell(runs, B, now)
        assert not isinstance(caught.value, LaterError)
    look_on(runs, 2000.0)
    assert runs.followed["A"].final is not None
    with pytest.raises(PeerError, match="follows only run"):
        tell(runs, B, 2000.0)


@pytest.mark.parametrize("other", [B, run_of("A", TOTAL + 1)], ids=["another run", "the same with another total"])
@pytest.mark.parametrize("policy", [POLICY, LINGER], ids=["alone", "linger"])
def test_a_run_without_outcomes_makes_room_once_its_senders_are_gone(other: RunFacts, policy: Policy) -> None:
    runs = Runs(policy)
    tell(runs, A)
    if other == B and policy.linger:
        tell(runs, B)
        assert list(runs.followed) == ["A", "B"]
        return
    look_on(runs, LOST_S)
    with pytest.raises(LaterError, match="no outcomes yet"):
        tell(runs, other, LOST_S)
    drain(runs)
    tell(runs, other, LOST_S + 0.01)
    assert drain(runs) == [Dropped(A), Started(other)]
    assert [followed.tally.run for followed in runs.followed.values()] == [other]


def test_once_outcomes_are_counted_the_same_run_with_other_settings_is_refused() -> None:
    runs = Runs(LINGER)
    tell(runs, A, ids=[0])
    with pytest.raises(PeerError, match="has different settings at this monitor") as caught:
        tell(runs, run_of("A", TOTAL + 1), 1000.0)
    assert not isinstance(caught.value, LaterError)


def test_a_run_without_outcomes_is_dropped_instead_of_ended() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    events = look_on(runs, 61.0)
    assert of_kind(events, Dropped) == [Dropped(A)]
    assert of_kind(events, Ended) == []
    assert not runs.followed
    assert not runs.finished
    complete(runs, B, 62.0)
    assert codes(look_on(runs, 63.0)) == [ExitCode.OK]


def test_a_run_whose_end_is_known_is_not_dropped() -> None:
    runs = Runs(POLICY)
    tell(runs, run_of("A", 0), end=RunEnd(True, 0, 0))
    with pytest.raises(LaterError):
        tell(runs, B)
    assert codes(look_on(runs, 1.0)) == [ExitCode.OK]


def test_the_number_of_runs_is_bounded_and_runs_without_outcomes_make_room() -> None:
    runs = with_limits(LINGER, runs_max=3)
    tell(runs, A, ids=[0])
    tell(runs, B)
    tell(runs, C)
    look_on(runs, LOST_S)
    with pytest.raises(LaterError, match=r"^this monitor already follows 3 runs$"):
        tell(runs, run_of("D"), LOST_S)
    tell(runs, run_of("D"), LOST_S + 0.01)
    assert list(runs.followed) == ["A", "D"]
    tell(runs, B, LOST_S + 0.01)


def test_all_runs_share_the_memory_for_open_messages() -> None:
    large = [run_of(name, 10**7) for name in "ABC"]
    first, second = (np.arange(i, i + 100) * STRETCH_SIZE for i in (0, 100))  # each opens a stretch
    room = 250 * STRETCH_SIZE  # bytes
    runs = with_limits(LINGER, leased_max=room // 3, pending_max=room - 1, pending_bytes_max=room)
    for run in large[:2]:
        tell(runs, run, ids=first)
    with pytest.raises(LaterError):
        tell(runs, large[2], ids=first)
    with pytest.raises(LaterError):
        tell(runs, large[0], sequence=2, ids=second)
    assert tell(runs, large[0], ids=first).accepted == 100  # a repeat


# -- runs that ended


def test_the_latest_ended_runs_answer_late_reports_and_older_ones_refuse_them() -> None:
    runs = with_limits(LINGER, ended_kept_max=2, ended_ids_max=3)
    names = "ABCDEFG"
    for i, name in enumerate(names):
        complete(runs, run_of(name), float(i))
        look_on(runs, i + 0.5)
    assert list(runs.followed) == ["F", "G"]
    assert tell(runs, run_of("F"), 10.0, sender="late", ids=[0]).duplicates == 1
    for name in "CDE":
        with pytest.raises(PeerError, match=f"^run {name} is over$"):
            tell(runs, run_of(name), 10.0)
    tell(runs, A, 10.0)  # its end is forgotten, so it counts as a new run


def test_the_run_that_ends_last_is_kept_longest_even_if_it_began_first() -> None:
    runs = with_limits(LINGER, ended_kept_max=2)
    tell(runs, A)
    for run in (B, C, run_of("D")):
        complete(runs, run)
    look_on(runs, 1.0)
    complete(runs, A, 1.0, sequence=2)
    look_on(runs, 2.0)
    assert list(runs.followed) == ["D", "A"]


def test_runs_that_ended_do_not_count_as_followed() -> None:
    runs = with_limits(LINGER, runs_max=1)
    for run in (A, B, C):
        complete(runs, run)
        look_on(runs, 1.0)
    assert list(runs.followed) == ["A", "B", "C"]


# -- the journal


class Disk:
    """The pieces in a journal."""

    def __init__(self, runs: Runs) -> None:
        self.pieces: dict[str, bytes] = {}
        self.runs = runs

    def save(self, now: float) -> Disk:
        for name, piece in self.runs.changes(now).items():
            if piece is None:
                self.pieces.pop(name, None)
            else:
                self.pieces[name] = piece
        return self


JOURNALED = replace(POLICY, journaled=True)


def resumed(disk: Disk, now: float, limits: Limits = LIMITS) -> Runs:
    runs = Runs(JOURNALED, limits=limits)
    runs.resume(disk.pieces, now)
    return runs


def test_nothing_is_saved_before_the_first_run() -> None:
    assert Runs(JOURNALED).changes(0.0) == {}


def test_a_resumed_run_continues_and_is_shown_at_once() -> None:
    runs = Runs(JOURNALED)
    tell(runs, A, ids=[0, 1])
    again = resumed(Disk(runs).save(0.0), 50.0)
    assert drain(again) == [Started(A)]
    assert again.wake_at == 50.0
    tell(again, A, 50.0, sequence=2, ids=[2, 3], end=WHOLE)
    events = look_on(again, 51.0)
    assert of_kind(events, Moment)[0].snapshot.figures.sent == TOTAL
    assert codes(events) == []
    assert codes(look_on(again, 50.0 + OPEN_S - 0.01)) == []  # its watchers may still be on their way
    assert codes(look_on(again, 50.0 + OPEN_S + CHECK_S)) == [ExitCode.OK]


def test_a_dropped_run_leaves_nothing_in_the_journal() -> None:
    runs = Runs(JOURNALED)
    tell(runs, A, sender="stranger")
    disk = Disk(runs).save(0.0)
    assert disk.pieces
    look_on(runs, 61.0)
    assert disk.save(61.0).pieces == {}


def test_a_run_that_replaces_a_dropped_one_is_alone_in_the_journal() -> None:
    runs = Runs(JOURNALED)
    tell(runs, A, sender="stranger")
    disk = Disk(runs).save(0.0)
    look_on(runs, LOST_S + 1.0)
    tell(runs, B, LOST_S + 1.0, sender="real", ids=[0])
    (followed,) = resumed(disk.save(LOST_S + 1.0), 10.0).followed.values()
    assert (followed.tally.run, list(followed.tally.sessions), followed.tally.ledger.final) == (B, ["real"], 1)


def test_dropped_runs_take_no_memory_without_a_journal() -> None:
    runs = Runs(POLICY)
    for i in range(50):
        tell(runs, run_of(f"run {i}"), 10.0 * i)
        look_on(runs, 10.0 * i + 9.0)
    assert runs._erased == {}


def test_a_resumed_run_is_never_dropped() -> None:
    runs = Runs(JOURNALED)
    tell(runs, A)
    disk = Disk(runs).save(0.0)
    again = resumed(disk, 0.0)
    look_on(again, LOST_S + 1.0)
    with pytest.raises(LaterError):
        tell(again, B, LOST_S + 1.0)
    assert codes(look_on(again, 61.0)) == [ExitCode.INCOMPLETE]


# -- watchers


def followed_run(now: float = 0.0, limits: Limits = LIMITS) -> FollowedRun:
    return FollowedRun(Tally(A, now), POLICY, now, limits)


def test_watchers_share_at_most_twenty_moments_a_second_and_get_the_last_one_at_once() -> None:
    followed = followed_run()
    shared = [followed.shared(ms / 1000) for ms in range(2000)]
    assert 20 <= len({id(one) for one in shared}) <= 40
    ended = followed.end(followed.tally.interrupted(), 1.9991)
    assert followed.shared(1.9991) is followed.shared(9.0) is ended.snapshot


def audience(runs: Runs, lingers: bool = False, **limits: Any) -> Audience:
    return Audience(runs.followed, 1.0, replace(LIMITS, **limits), lingers=lingers)


def given(watching: Audience, watcher: Any, now: float) -> list[tuple[str, bool]]:
    """Take a watcher's turn and return the runs that it gets figures of and whether they are the last."""
    got = []
    for followed in watcher.turn(now):
        figures = followed.shared(now).figures
        watcher.took(figures)
        got.append((figures.run_id, figures.final))
    watcher.rest(now)
    if watcher.finished:
        watching.leave(watcher)
    return got


def test_a_watcher_gets_figures_at_once_and_then_at_the_interval_it_asked_for() -> None:
    runs = Runs(LINGER)
    tell(runs, A)
    watching = audience(runs)
    for asked_s, every_s in ((0.5, 0.5), (0.0, 1.0)):
        watcher = watching.join("A", asked_s, 10.0)
        assert given(watching, watcher, 10.0) == [("A", False)]
        assert given(watching, watcher, 10.0 + every_s - 0.01) == []
        assert watcher.rest(10.0 + every_s - 0.01) == 10.0 + every_s
        assert given(watching, watcher, 10.0 + every_s) == [("A", False)]
        assert not watcher.finished


def test_a_watcher_gets_last_figures_at_once_and_is_finished_with_those_of_its_run() -> None:
    runs = Runs(LINGER)
    tell(runs, A)
    tell(runs, B)
    watching = audience(runs)
    one, every = watching.join("A", 100.0, 0.0), watching.join(ALL, 100.0, 0.0)
    assert given(watching, one, 0.0) == [("A", False)]
    assert given(watching, every, 0.0) == [("A", False), ("B", False)]
    complete(runs, A, sequence=2)
    look_on(runs, 1.0)
    assert given(watching, one, 1.0) == [("A", True)]
    assert given(watching, every, 1.0) == [("A", True)]
    assert (one.finished, every.finished) == (True, False)
    assert given(watching, every, 100.0) == [("B", False)]


def test_an_ended_run_is_shown_to_its_own_watchers_and_not_to_new_watchers_of_all_runs() -> None:
    runs = Runs(LINGER)
    complete(runs, A)
    look_on(runs, 1.0)
    watching = audience(runs, lingers=True)
    one, every = watching.join("A", 0.0, 1.0), watching.join(ALL, 0.0, 1.0)
    assert given(watching, every, 1.0) == []
    assert given(watching, one, 1.0) == [("A", True)]
    assert one.finished


def test_the_only_run_is_shown_also_to_watchers_that_join_after_its_end() -> None:
    runs = Runs(POLICY)
    complete(runs, A)
    look_on(runs, 1.0)
    watching = audience(runs)
    watching.close(1.0)
    watcher = watching.join(ALL, 0.0, 1.5)
    assert given(watching, watcher, 1.5) == [("A", True)]
    assert watcher.finished


def test_a_watcher_of_a_dropped_run_is_finished() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    watching = audience(runs)
    watcher = watching.join("A", 0.0, 0.0)
    given(watching, watcher, 0.0)
    look_on(runs, 61.0)
    assert given(watching, watcher, 61.0) == []
    assert watcher.finished


def test_last_figures_that_arrive_during_a_watchers_turn_are_its_next_turn() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    watching = audience(runs)
    watcher = watching.join("A", 100.0, 0.0)
    (followed,) = watcher.turn(0.0)
    before = followed.shared(0.0).figures  # still being written to the watcher when the run ends
    complete(runs, A, sequence=2)
    look_on(runs, 1.0)
    watching.close(1.0)
    watcher.took(before)
    watcher.rest(1.0)
    assert not watcher.finished
    assert given(watching, watcher, 1.0) == [("A", True)]
    assert watcher.finished


def test_a_closing_monitor_gives_each_watcher_one_more_turn_within_a_bounded_time() -> None:
    runs = Runs(LINGER)
    tell(runs, A)
    watching = audience(runs, last_figures_s=2.0)
    slow, quick = watching.join(ALL, 100.0, 0.0), watching.join(ALL, 100.0, 0.0)
    for watcher in (slow, quick):
        given(watching, watcher, 0.0)
    runs.stop(1.0)
    watching.close(1.0)
    assert given(watching, quick, 1.0) == [("A", True)]
    assert quick.finished
    assert watching.is_reading(2.9)
    assert not watching.is_reading(3.0)
    given(watching, slow, 1.0)
    assert not watching.is_reading(1.0)


def test_a_watcher_gets_back_the_figures_that_it_got_before() -> None:
    runs = Runs(POLICY)
    tell(runs, A)
    watching = audience(runs)
    one, other = watching.join("A", 0.0, 0.0), watching.join("A", 0.0, 0.0)
    first, second = (runs.followed["A"].shared(at).figures for at in (1.0, 2.0))
    assert one.took(first) is None
    assert one.took(second) is first
    assert other.took(second) is None


def test_the_number_of_watchers_is_bounded_and_an_unknown_run_is_refused() -> None:
    runs = Runs(POLICY)
    watching = audience(runs, watchers_max=2)
    watchers = [watching.join(ALL, 0.0, 0.0) for _ in range(2)]
    with pytest.raises(LaterError, match=r"^2 watchers are connected already$"):
        watching.join(ALL, 0.0, 0.0)
    with pytest.raises(PeerError, match=r"^unknown run 'A'$"):
        watching.join("A", 0.0, 0.0)
    watching.leave(watchers[0])
    watching.join(ALL, 0.0, 0.0)


def test_the_more_watchers_there_are_the_longer_each_waits() -> None:
    runs = Runs(LINGER)
    for run in (A, B):
        tell(runs, run)
    watching = audience(runs)
    watchers = [watching.join(ALL, 0.01, 0.0) for _ in range(50)]
    for watcher in watchers:
        given(watching, watcher, 0.0)
    assert watchers[0].rest(0.0) == wait_s(0.01, 50, 2) == 50 * 2 * LIMITS.wait_per_response_s
