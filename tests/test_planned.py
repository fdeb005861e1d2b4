"""The plan of a run at its monitor: when a run counts as ahead or behind, and what is saved and restored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_support import figures, planned

from smssim.core.ending import Ending
from smssim.core.exchange import RunEnd
from smssim.core.model import RunFacts
from smssim.core.pieces import DAMAGE, pack
from smssim.core.planned import Plan, PlannedCourse, PlannedTime
from smssim.core.tally import Tally
from smssim.errors import ExitCode

# 100 messages a second for 10 s, with a range of 20 messages either way; complete at 9.5 to 10.5 s. So a run that lies
# more than 40 messages and 0.5 s and 1% of the time away from that is off its plan.
STEADY: Final = planned()
# The same, but nothing is sent from 4 s to 8 s, as when all senders are paused.
PAUSED: Final = replace(
    STEADY,
    times_s=(0.0, 4.0, 8.0, 14.0),
    sent=(0, 400, 400, 1000),
    sent_low=(0, 400, 400, 1000),
    sent_high=(0, 400, 400, 1000),
    complete_s=PlannedTime(13.5, 14.0, 14.5),
)
STUCK: Final = replace(STEADY, complete_s=PlannedTime())  # some messages never have a final outcome


def behind_s(plan: PlannedCourse, at_s: float, sent: int, *, was_off: bool = False, **more: Any) -> float | None:
    """Return how far a run is behind that has sent so many messages after so many seconds."""
    seen = figures(sent, 0, 1000, at_s, **more)
    behind = plan.behind_s(seen, {}, was_off)
    return None if behind is None else round(behind, 6)


@pytest.mark.parametrize(
    ("plan", "at_s", "sent", "expected"),
    [
        (STEADY, 0.0, 0, None),  # too early to say
        (STEADY, 0.1, 19, None),
        (STEADY, 0.1, 20, 0),
        (STEADY, 5.0, 500, 0),
        (STEADY, 5.0, 405 + 1, 0),  # 500 - 40 - (0.5 + 1% of 5) * 100
        (STEADY, 5.0, 405 - 1, 0.96),
        (STEADY, 5.0, 595 - 1, 0),
        (STEADY, 5.0, 595 + 1, -0.96),
        (STEADY, 3.0, 0, 3.0),  # nothing was sent at all
        (STEADY, 1.0, 990, -8.9),
        (STEADY, 11.59, 999, 0),  # until 10 + twice 0.5 + 0.5 + 1% of 11.59, the last message may take
        (STEADY, 11.7, 999, 1.7),
        (STEADY, 30.0, 300, 20.0),  # compared with the end of the plan
        (STUCK, 30.0, 990, 0),
        (STUCK, 30.0, 300, 27.0),
        (PAUSED, 6.0, 400, 0),
        (PAUSED, 8.5, 400, 0),
        (PAUSED, 9.0, 400, 1.0),  # behind the end of the pause
        (PAUSED, 6.0, 410, -0.1),
        (PAUSED, 7.0, 300, 1.0),  # the pause itself does not count
        (PAUSED, 3.6, 400, 0),
    ],
)
def test_a_run_is_off_its_plan_if_neither_chance_nor_the_slack_explains_it(
    plan: PlannedCourse, at_s: float, sent: int, expected: float | None
) -> None:
    assert behind_s(plan, at_s, sent) == expected


@pytest.mark.parametrize(
    ("at_s", "reached_s", "expected"),
    [
        (10.0, {99: 9.9}, 0),
        (11.5, {99: 9.9}, 0),
        (13.0, {99: 9.9}, 3.0),  # the last messages are late
        (13.0, {99: 12.0}, 2.1),
        (11.0, {99: 11.0}, 1.1),  # the last message is not, but all others are
        (5.0, {99: 4.9}, -5.0),
        (5.0, {}, -5.0),
        (13.0, {50: 5.0, 80: 10.0}, 2.0),  # fewer than 95% were ever sent
    ],
)
def test_a_complete_run_is_judged_by_its_last_milestone_and_its_end(
    at_s: float, reached_s: dict[int, float], expected: float
) -> None:
    behind = STEADY.behind_s(figures(1000, 0, 1000, at_s), reached_s)
    assert behind == pytest.approx(expected)


def test_a_plan_in_which_a_share_is_never_reached_says_nothing_about_it() -> None:
    never = replace(STEADY, reached_s={**STEADY.reached_s, 99: PlannedTime()})
    assert never.behind_s(figures(1000, 0, 1000, 10.0), {99: 9.9}) == 0
    assert never.as_reached_s() == {"50": 5.0, "80": 8.0, "95": 9.5, "99": None}


def test_a_run_that_is_off_its_plan_returns_to_it_only_well_within_the_range() -> None:
    plan = Plan()
    assert plan.behind_s(figures(440, 0, 1000, 5.0), {}) is None
    plan.set(STEADY)
    for sent, is_off in ((440, False), (410, False), (400, True), (410, True), (440, True), (460, False), (440, False)):
        assert bool(plan.behind_s(figures(sent, 0, 1000, 5.0), {})) == is_off, sent


@given(st.floats(0, 100), st.integers(0, 1000), st.booleans(), st.booleans())
def test_a_run_is_behind_only_if_it_has_sent_less_and_ahead_only_if_more(
    at_s: float, sent: int, was_off: bool, is_paused: bool
) -> None:
    plan = PAUSED if is_paused else STUCK
    behind = behind_s(plan, at_s, sent, was_off=was_off, complete=False)
    usual = 100 * min(at_s, 10.0) if plan is STUCK else 100 * (min(at_s, 4.0) + max(0.0, min(at_s, 14.0) - 8.0))
    if behind is not None and behind > 0:
        assert sent < usual or at_s > 14
        assert behind <= at_s + 1e-6  # it is rounded
    if behind is not None and behind < 0:
        assert sent > usual


# -- saved and restored

RUN: Final = RunFacts("a run", seed=1, total=1000, max_attempts=2)


def test_the_first_plan_of_a_run_stands_and_is_saved_once() -> None:
    tally = Tally(RUN, 0.0)
    pieces = {name: piece for name, piece in tally.changes(1.0).items() if piece is not None}
    assert not any(name.startswith("plan") for name in pieces)
    assert Tally.restored(pieces, 0.0).plan.course is None  # as from a journal of an earlier version
    tally.plan.set(STUCK)
    tally.plan.set(STEADY)
    assert tally.plan.course == STUCK
    pieces |= {name: piece for name, piece in tally.changes(2.0).items() if piece is not None}
    assert "plan/course" not in tally.changes(3.0)
    again = Tally.restored(pieces, 100.0)
    assert again.plan.course == STUCK
    assert "plan/course" not in again.changes(101.0)
    assert tally.erased(4.0)["plan/course"] is None


def test_a_damaged_plan_is_damage() -> None:
    saved = Plan()
    saved.set(STEADY)
    whole = saved.changes()["course"]
    assert whole is not None
    for piece in (b"", whole[:50], pack({}), pack({"reached_s": {"x": {}}}), whole.replace(b"slack_s", b"slack_m")):
        with pytest.raises(DAMAGE):
            Plan().restore({"course": piece})


def test_the_last_object_and_the_summary_of_a_run_have_its_plan() -> None:
    tally = Tally(RUN, 0.0)
    tally.plan.set(replace(STEADY, reached_s={**STEADY.reached_s, 99: PlannedTime()}))
    seen = tally.figures(9.0)
    shown = tally.snapshot(seen, 9.0)
    said = {"50": 5.0, "80": 8.0, "95": 9.5, "99": None}
    never = dict.fromkeys(("50", "80", "95", "99"))
    expected = {**seen.as_dict(), "events": [], "plan_reached_s": said, "reached_reachable_s": never}
    assert shown.last_object() == expected
    tally.end = RunEnd(False, 0, 0)
    summary = tally.summary(seen, Ending(ExitCode.INCOMPLETE, ""), ())
    assert replace(shown, summary=summary).as_dict()["plan_reached_s"] == said
