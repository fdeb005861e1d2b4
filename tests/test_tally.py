"""One run at the monitor: reports are recorded once, figures add up, and each ending has its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.exchange import Answer, Report, RunEnd
from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS
from smssim.core.model import Outcome, RunFacts, SenderFacts
from smssim.core.progress import Figures
from smssim.core.stall import Cause
from smssim.core.tally import Tally
from smssim.errors import ExitCode, LaterError, PeerError, TooLargeError

SENT, FAILED, RETRY = Outcome.SENT, Outcome.FAILED, Outcome.RETRY
RUN = RunFacts("a run", seed=1, total=4, max_attempts=2)
GIVE_UP_S = 60.0
KEY = b"a secret"
# It does not reveal the expected number.
OUT_OF_TURN = r"^sequence: expected the next report of the session, or its last one again$"

Rows = Sequence[tuple[int, Outcome]]


def finished(rows: Rows, duration_s: float = 0.5) -> Finished:
    return Finished(
        ids=np.array([i for i, _ in rows], np.int64),
        attempts=np.ones(len(rows), np.uint8),
        outcomes=np.array([outcome for _, outcome in rows], np.uint8),
        durations_s=np.full(len(rows), duration_s, np.float32),
        latencies_s=np.full(len(rows), 2 * duration_s, np.float32),
    )


def tell(
    tally: Tally,
    sequence: int,
    rows: Rows = (),
    sender: str = "a",
    now: float = 0.0,
    in_flight: int = 0,
    elapsed_s: float | None = None,
    goodbye: bool = False,
    end: RunEnd | None = None,
) -> Answer:
    got = Report(sequence, finished(rows), in_flight, 0, elapsed_s, goodbye or end is not None, end)
    return tally.report(tally.run, SenderFacts(sender, f"name of {sender}"), got, now)


def overruled(answer: Answer) -> list[tuple[int, int]]:
    return list(zip(answer.overruled_ids.tolist(), answer.overruled_outcomes.tolist(), strict=True))


def counts(tally: Tally, now: float = 0.0) -> tuple[int, int, int, int]:
    figures = tally.figures(now)
    return figures.sent, figures.failed, figures.retried, figures.duplicates


# -- reports


def test_an_answer_counts_accepted_and_duplicate_outcomes_and_lists_overruled_messages() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, [(0, SENT), (1, FAILED)])
    answer = tell(tally, 1, [(0, FAILED), (1, FAILED), (2, RETRY), (3, SENT), (1, RETRY)], sender="b")
    assert (answer.accepted, answer.duplicates) == (2, 2)
    assert overruled(answer) == [(0, SENT), (1, FAILED)]


def test_the_number_of_overruled_messages_in_kept_answers_is_bounded() -> None:
    """If an answer is not kept, its overruled messages are looked up again when the report is repeated."""
    tally = Tally(RUN, 0.0, limits=replace(LIMITS, answer_rows_max=3))
    tell(tally, 1, ALL)
    other = [(0, FAILED), (1, FAILED), (3, FAILED)]
    for sender in "bcd":
        first = tell(tally, 1, other, sender=sender)
        again = tell(tally, 1, other, sender=sender)
        assert overruled(first) == overruled(again) == [(0, SENT), (1, SENT)]
    answers = [session.answer for session in tally.sessions.values()]
    assert [answer and len(answer.overruled_ids) for answer in answers] == [0, 2, None, None]
    tell(tally, 2, sender="b")
    tell(tally, 2, other, sender="d")
    assert tally.sessions["d"].answer is not None


def test_a_repeated_report_is_answered_as_before_and_changes_nothing() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, [(0, SENT)], sender="b")
    rows = [(0, FAILED), (1, FAILED), (2, RETRY)]
    first = tell(tally, 1, rows)
    before = counts(tally)
    assert tell(tally, 1, rows) == first
    assert overruled(first) == [(0, SENT)]
    assert counts(tally) == before == (1, 1, 1, 1)


def test_another_report_with_the_sequence_of_the_last_is_refused_as_a_whole() -> None:
    """A forged report uses up a sequence; the real report with that sequence must not count as recorded."""
    tally = Tally(RUN, 0.0, KEY)
    forged = tell(tally, 1, in_flight=1)
    with pytest.raises(PeerError, match=OUT_OF_TURN):
        tell(tally, 1, [(0, SENT)], in_flight=2)
    assert counts(tally) == (0, 0, 0, 0)
    assert tally.figures(0.0).in_flight == 1
    assert tell(tally, 1, in_flight=1) == forged


def test_a_report_older_than_the_last_is_refused_and_changes_nothing() -> None:
    """Its sender has the answer already, because it has sent the next report."""
    tally = Tally(RUN, 0.0, KEY)
    tell(tally, 1, [(0, SENT)])
    tell(tally, 2, [(1, RETRY)])
    with pytest.raises(PeerError, match=OUT_OF_TURN):
        tell(tally, 1, [(0, SENT)])
    assert counts(tally) == (1, 0, 1, 0)
    tell(tally, 3, [(1, SENT)])
    assert counts(tally) == (2, 0, 1, 0)


def test_each_session_has_its_own_sequence() -> None:
    tally = Tally(RUN, 0.0)
    for sender in "abc":
        tell(tally, 1, [(0, RETRY)], sender=sender)
    assert counts(tally) == (0, 0, 3, 0)


def test_a_report_after_a_gap_in_the_sequence_is_refused_as_a_whole() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1)
    with pytest.raises(PeerError, match=OUT_OF_TURN):
        tell(tally, 3, [(0, SENT)], in_flight=2)
    assert counts(tally) == (0, 0, 0, 0)
    assert tally.figures(0.0).in_flight == 0
    assert tell(tally, 2, [(0, SENT)]).accepted == 1


def test_reports_of_a_run_with_other_settings_are_refused() -> None:
    tally = Tally(RUN, 0.0)
    for other in (replace(RUN, seed=2), replace(RUN, total=5), replace(RUN, max_attempts=3)):
        with pytest.raises(PeerError, match="different settings"):
            tally.report(other, SenderFacts("a", "a"), Report(1, finished([(0, SENT)]), 0, 0), 0.0)
    assert counts(tally) == (0, 0, 0, 0)
    assert tally.figures(0.0).senders_seen == 0


def test_the_number_of_senders_is_bounded() -> None:
    tally = Tally(RUN, 0.0, limits=replace(LIMITS, sessions_max=2))
    for sender in "ab":
        tell(tally, 1, [(0, RETRY)], sender=sender)
    with pytest.raises(TooLargeError):
        tell(tally, 1, sender="c", now=100.0)
    tell(tally, 2, sender="a")


def test_senders_without_outcomes_make_room_once_they_have_left_or_are_lost() -> None:
    tally = Tally(RUN, 0.0, limits=replace(LIMITS, sessions_max=4))
    tell(tally, 1, [(0, SENT)], sender="counted")
    tell(tally, 1, sender="left", goodbye=True)
    tell(tally, 1, [(0, FAILED)], sender="lost")  # a duplicate is not counted
    tell(tally, 1, sender="here")
    tell(tally, 1, sender="first", now=1.0)
    assert list(tally.sessions) == ["counted", "lost", "here", "first"]
    # Some may be lost by now, but the last search for them was too recent.
    with pytest.raises(LaterError, match="this run already has 4 senders"):
        tell(tally, 1, sender="second", now=LIMITS.lost_after_s + 0.5)
    tell(tally, 2, sender="here", now=LIMITS.lost_after_s + 0.5)
    tell(tally, 2, sender="first", now=LIMITS.lost_after_s + 0.5)
    tell(tally, 1, sender="second", now=LIMITS.lost_after_s + 1.0)
    assert list(tally.sessions) == ["counted", "here", "first", "second"]
    assert tally.figures(LIMITS.lost_after_s + 1.0).senders_seen == 6
    assert tell(tally, 2, sender="second", now=LIMITS.lost_after_s + 1.0).wait_s == LIMITS.report_wait_min_s
    assert counts(tally) == (1, 0, 0, 1)


def test_senders_report_less_often_the_more_of_them_there_are() -> None:
    tally = Tally(RUN, 0.0)
    few = tell(tally, 1, sender="first").wait_s
    many = [tell(tally, 1, sender=str(n)).wait_s for n in range(999)][-1]
    for n in range(999):
        tell(tally, 2, sender=str(n), goodbye=True)
    assert (few, many) == (LIMITS.report_wait_min_s, 1000 * LIMITS.report_wait_per_sender_s)
    assert tell(tally, 2, sender="first").wait_s == LIMITS.report_wait_min_s


# -- figures


def test_figures_before_the_first_report_are_zero_or_none() -> None:
    figures = Tally(RUN, 0.0).figures(9.0)
    assert (figures.sent, figures.failed, figures.waiting, figures.elapsed_s) == (0, 0, 4, 0.0)
    assert (figures.avg_time_s, figures.avg_sent_time_s, figures.latency_p50_s) == (None, None, None)
    assert (figures.rate_per_s, figures.recent_rate_per_s, figures.senders) == (0.0, 0.0, 0)
    assert not figures.complete


def test_a_run_of_no_messages_is_complete_from_the_start() -> None:
    tally = Tally(replace(RUN, total=0), 5.0)
    figures = tally.figures(9.0)
    assert figures.complete
    assert (figures.waiting, figures.elapsed_s, figures.rate_per_s) == (0, 0.0, 0.0)
    tell(tally, 1, end=RunEnd(True, 0, 0))
    ending = tally.ending(9.0, GIVE_UP_S)
    assert ending is not None
    assert ending.exit_code == ExitCode.OK


def test_averages_are_over_the_attempts_that_count() -> None:
    tally = Tally(RUN, 0.0)
    for sequence, (message, outcome, duration_s) in enumerate(
        [(0, SENT, 1.0), (0, SENT, 100.0), (0, RETRY, 100.0), (1, RETRY, 2.0), (1, FAILED, 6.0)], start=1
    ):
        tally.report(
            RUN, SenderFacts("a", "a"), Report(sequence, finished([(message, outcome)], duration_s), 0, 0), 0.0
        )
    figures = tally.figures(0.0)
    assert figures.avg_time_s == 3.0
    assert figures.avg_sent_time_s == 1.0
    assert figures.latency_p99_s == pytest.approx(12.0, rel=0.004)


def test_messages_of_a_lost_sender_are_no_longer_in_flight() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, sender="lost", in_flight=2, now=0.0)
    tell(tally, 1, sender="here", in_flight=1, now=1.0)
    at_first, later = tally.figures(LIMITS.lost_after_s), tally.figures(LIMITS.lost_after_s + 0.5)
    assert (at_first.in_flight, at_first.waiting, at_first.senders) == (3, 1, 2)
    assert (later.in_flight, later.waiting, later.senders, later.senders_seen) == (1, 3, 1, 2)


def test_a_sender_that_has_said_goodbye_no_longer_counts_as_present() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, in_flight=2, goodbye=True)
    figures = tally.figures(0.0)
    assert (figures.in_flight, figures.senders, figures.senders_seen) == (0, 0, 1)


def test_elapsed_time_runs_from_the_earliest_start_that_senders_report_to_the_last_outcome() -> None:
    tally = Tally(RUN, 100.0)
    tell(tally, 1, now=107.0)
    assert tally.figures(108.0).elapsed_s == 0.0
    tell(tally, 2, [(0, SENT)], elapsed_s=2.0, now=110.0)
    tell(tally, 1, elapsed_s=1.0, sender="b", now=110.0)
    assert tally.figures(112.0).elapsed_s == 4.0
    tell(tally, 3, [(1, SENT)], now=113.0)
    assert tally.milestones.reached_s == {50: 5.0}
    tell(tally, 2, elapsed_s=8.0, sender="b", now=114.0)  # the first report was long on its way
    assert tally.milestones.reached_s == {50: 7.0}
    tell(tally, 4, [(2, SENT), (3, FAILED)], now=116.0)
    figures = tally.figures(500.0)
    assert (figures.elapsed_s, figures.rate_per_s) == (10.0, 0.4)


def test_a_sender_that_reports_rarely_has_a_rate_until_its_next_report_is_overdue() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1)
    tell(tally, 2, [(0, SENT)], now=2.0, in_flight=1)
    session = tally.sessions["a"]
    assert session.recent_rate_per_s(2.0 + LIMITS.report_wait_max_s + 0.25) == 0.5
    assert session.recent_rate_per_s(2.0 + LIMITS.lost_after_s) == 0.0


def test_the_recent_rate_is_the_rate_since_the_figures_before() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, [(0, SENT)], elapsed_s=0.0, now=0.0)
    before = tally.figures(2.0)
    tell(tally, 2, [(1, SENT), (2, FAILED)], now=2.0)
    figures = tally.figures(6.0, before)
    assert (before.recent_rate_per_s, figures.recent_rate_per_s, figures.rate_per_s) == (0.5, 0.5, 0.5)
    assert tally.figures(10.0, figures).recent_rate_per_s == 0.0
    assert tally.figures(6.0, figures).recent_rate_per_s == 0.0


reports = st.tuples(
    st.sampled_from("abc"),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([SENT, FAILED, RETRY])), max_size=5),
    st.integers(0, 5),  # in flight
    st.booleans(),  # sent twice
    st.sampled_from([0.0, 1.0, 3.0]),  # seconds later
)


def assert_adds_up(figures: Figures) -> None:
    assert figures.waiting + figures.in_flight + figures.sent + figures.failed == figures.total
    assert min(figures.waiting, figures.in_flight, figures.sent, figures.failed) >= 0
    assert figures.attempts == figures.sent + figures.failed + figures.retried
    assert figures.complete == (figures.sent + figures.failed == figures.total)
    assert figures.senders <= figures.senders_seen


@given(st.lists(reports, max_size=20))
def test_figures_add_up_whatever_is_reported(steps: list[tuple[str, Rows, int, bool, float]]) -> None:
    tally = Tally(RUN, 0.0)
    final: dict[int, Outcome] = {}
    sequences = dict.fromkeys("abc", 0)
    now = 0.0
    for sender, rows, in_flight, again, seconds in steps:
        now += seconds
        sequences[sender] += 1
        for _ in range(2 if again else 1):
            tell(tally, sequences[sender], rows, sender, now, in_flight)
        for message, outcome in rows:
            if outcome is not RETRY:
                final.setdefault(message, outcome)
        figures = tally.figures(now)
        assert_adds_up(figures)
        assert (figures.sent, figures.failed) == tuple(list(final.values()).count(o) for o in (SENT, FAILED))


# -- endings

ALL = [(0, SENT), (1, SENT), (2, SENT), (3, FAILED)]


def exit_code(tally: Tally, now: float) -> ExitCode | None:
    ending = tally.ending(now, GIVE_UP_S)
    return None if ending is None else ending.exit_code


ENDINGS: dict[str, tuple[Rows, RunEnd, ExitCode]] = {
    "both totals agree": (ALL, RunEnd(True, 3, 1), ExitCode.OK),
    "as many, but other outcomes": (ALL, RunEnd(True, 2, 2), ExitCode.DISAGREE),
    "the producer has fewer": (ALL, RunEnd(True, 3, 0), ExitCode.DISAGREE),
    "the monitor has fewer": (ALL[:3], RunEnd(True, 3, 1), ExitCode.INCOMPLETE),
    "both agree on less than all": (ALL[:3], RunEnd(True, 3, 0), ExitCode.DISAGREE),
    "fewer, but with other outcomes": (ALL[:3], RunEnd(True, 2, 2), ExitCode.DISAGREE),
    "the producer ended early": (ALL[:3], RunEnd(False, 3, 0), ExitCode.INCOMPLETE),
}


def test_the_exit_code_of_a_run_follows_from_both_totals() -> None:
    for case, (rows, end, code) in ENDINGS.items():
        tally = Tally(RUN, 0.0)
        tell(tally, 1, rows)
        assert exit_code(tally, 0.0) is None, case
        tell(tally, 2, end=end)
        assert exit_code(tally, 0.0) == code, case


def test_a_monitor_that_lacks_settled_outcomes_has_missed_reports() -> None:
    """Even if no sequence reveals it, because all senders that reported here are new."""
    tally = Tally(RUN, 0.0)
    tell(tally, 1, ALL[1:])
    tell(tally, 2, end=RunEnd(True, 3, 1))
    ending = tally.ending(0.0, GIVE_UP_S)
    assert ending is not None
    assert ending.exit_code == ExitCode.INCOMPLETE
    assert "reports are missing" in ending.reason
    assert "1 have no final outcome" in ending.reason


def test_a_monitor_that_missed_first_reports_names_the_senders() -> None:
    """In that case it is no proof of an error if it has fewer outcomes than the producer."""
    tally = Tally(RUN, 0.0)
    tell(tally, 7, ALL[1:])
    tell(tally, 8, end=RunEnd(True, 3, 1))
    ending = tally.ending(0.0, GIVE_UP_S)
    assert ending is not None
    assert ending.exit_code == ExitCode.INCOMPLETE
    assert "name of a" in ending.reason


def test_the_reason_of_an_ending_contains_the_difference() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, ALL[:2])
    tell(tally, 2, end=RunEnd(True, 3, 1))
    ending = tally.ending(0.0, GIVE_UP_S)
    assert ending is not None
    assert "sent -1, failed -1" in ending.reason


def test_a_run_does_not_end_while_a_sender_is_present_that_has_not_said_goodbye() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, ALL[:2], sender="a")
    tell(tally, 1, ALL[2:], sender="b")
    tell(tally, 2, end=RunEnd(True, 3, 1), sender="a")
    assert exit_code(tally, 0.0) is None
    tell(tally, 2, end=RunEnd(True, 3, 1), sender="b")
    assert exit_code(tally, 0.0) == ExitCode.OK


def test_a_run_ends_without_the_goodbye_of_a_lost_sender() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, ALL, sender="lost")
    tell(tally, 1, end=RunEnd(True, 3, 1), sender="here", now=1.0)
    assert exit_code(tally, LIMITS.lost_after_s) is None
    assert exit_code(tally, LIMITS.lost_after_s + 0.1) == ExitCode.OK


def test_the_producers_totals_are_passed_on_once_every_message_has_its_final_outcome() -> None:
    """Senders that have lost the producer need them."""
    whole = RunEnd(True, 3, 1)
    cases: dict[str, tuple[Rows, RunEnd | None, RunEnd | None]] = {
        "all is counted": (ALL, whole, whole),
        "one is missing": (ALL[:3], whole, None),
        "the producer ended early": (ALL, RunEnd(False, 3, 1), None),
        "no sender has brought the totals": (ALL, None, None),
    }
    for case, (rows, end, passed_on) in cases.items():
        tally = Tally(RUN, 0.0)
        assert tell(tally, 1, rows).end is None, case
        tell(tally, 2, goodbye=True, end=end)
        assert tell(tally, 1, sender="astray").end == passed_on, case


def test_a_run_continues_after_all_its_senders_have_drained() -> None:
    """Others may join."""
    tally = Tally(RUN, 0.0)
    tell(tally, 1, ALL[:2], goodbye=True)
    assert exit_code(tally, 50.0) is None
    tell(tally, 1, ALL[2:], sender="b", now=50.0)
    tell(tally, 2, end=RunEnd(True, 3, 1), sender="b", now=51.0)
    assert exit_code(tally, 51.0) == ExitCode.OK


def test_the_monitor_gives_up_once_no_report_has_arrived_for_the_give_up_timeout() -> None:
    for rows, words in ((ALL[:1], "3 of 4 messages"), (ALL, "the producer's totals never arrived")):
        tally = Tally(RUN, 0.0)
        tell(tally, 1, rows, now=10.0)
        assert exit_code(tally, 10.0 + GIVE_UP_S - 0.1) is None
        ending = tally.ending(10.0 + GIVE_UP_S, GIVE_UP_S)
        assert ending is not None
        assert ending.exit_code == ExitCode.INCOMPLETE
        assert words in ending.reason


def test_a_run_without_any_report_is_given_up_too() -> None:
    assert exit_code(Tally(RUN, 0.0), GIVE_UP_S) == ExitCode.INCOMPLETE


@pytest.mark.parametrize(("end", "code"), [(None, ExitCode.INCOMPLETE), (RunEnd(True, 3, 1), ExitCode.OK)])
def test_a_stopped_monitor_exits_with_0_only_if_the_totals_agree(end: RunEnd | None, code: ExitCode) -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, ALL, sender="b")
    tell(tally, 1, end=end)
    assert tally.interrupted().exit_code == code


def test_a_pause_of_the_monitor_does_not_count_as_silence_of_a_sender() -> None:
    """After it, no sender counts as lost, and the run neither ends before the last goodbye nor is given up."""
    tally = Tally(RUN, 0.0)
    tell(tally, 1, sender="a")
    tell(tally, 1, sender="b", end=RunEnd(True, 0, 0))
    tally.forgive_pause(100.0, 101.0)
    assert tally.figures(101.0).senders == 1
    assert tally.ending(101.0, GIVE_UP_S) is None
    assert tally.ending(101.0 + LIMITS.lost_after_s, GIVE_UP_S) is not None


def test_a_sender_waits_for_its_limit_for_as_long_as_all_segments_of_a_message_need() -> None:
    tally = Tally(replace(RUN, segments=3), 0.0)
    tally.report(tally.run, SenderFacts("a", "a", limit_per_s=0.5), Report(1, finished([(0, SENT)]), 0, 0, 0.0), 0.0)
    for sequence, now, cause in ((2, 5.9, Cause.LIMIT), (3, 6.1, Cause.NOTHING_OUT)):
        tell(tally, sequence, now=now)
        why = tally.snapshot(tally.figures(now), now).stall
        assert why is not None
        assert why.cause == cause


def test_a_pause_of_the_monitor_does_not_change_the_rate_of_a_sender_that_has_left() -> None:
    tally = Tally(RUN, 0.0)
    tell(tally, 1, sender="a")
    tell(tally, 2, ALL, sender="a", end=RunEnd(True, 3, 1), now=2.0)
    rate = tally.sessions["a"].rate_per_s
    tally.forgive_pause(100.0, 102.0)
    assert tally.sessions["a"].rate_per_s == rate > 0


def test_copies_beyond_the_rows_of_a_snapshot_are_in_the_sums_over_all_copies() -> None:
    tally = Tally(replace(RUN, total=1000), 0.0)
    for number in range(1, 151):
        tell(tally, 1, [(number, SENT)], sender=f"a-{number}", in_flight=1)
    tell(tally, 1, [(0, FAILED)], sender="b")
    seen = tally.snapshot(tally.figures(0.0), 0.0)
    assert (len(seen.fleet.rows), seen.fleet.others.senders) == (100, 51)
    of_a, of_b = seen.senders.rows
    assert (of_a.name, of_a.copies, of_a.together.sent, of_a.together.in_flight) == ("name of a", 150, 150, 150)
    assert (of_b.name, of_b.copies, of_b.together.failed) == ("name of b", 1, 1)
    assert not seen.senders.others.senders
    nothing = tally.snapshot(tally.figures(0.0), 0.0, rows_max=0)
    assert (nothing.fleet.rows, nothing.senders.rows) == ((), ())
