"""Plans with unreachable messages, and with prices: each play counts both exactly, scaled plays on average."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

from smssim.core.fate import Fates
from smssim.core.fault import MONITOR, Fault, FaultKind
from smssim.core.model import AttemptModel, Outcome
from smssim.core.progress import Milestones
from smssim.core.reach import Reachable
from smssim.core.threshold import Threshold
from smssim.plan.forecast import Forecast
from smssim.plan.outline import outline, outline_scale
from smssim.plan.scale import FULL, Scale
from smssim.plan.scenario import PlannedSender, Scenario, attempts_each, ceiling_of, sent_each
from smssim.plan.search.obstacle import obstacle
from smssim.plan.seeds import Play, play, seeds_from, unscaled
from smssim.plan.theory.theory import Theory
from smssim.plan.twin.twin import Twin
from smssim.planner import says, show
from smssim.planner.page import Page
from smssim.words import money

SHARE = 0.07
OFTEN = AttemptModel(0.1, 0.03, "gamma", fail=0.3)
CITY = PlannedSender("city", OFTEN, 20, price=0.01, price_failed=0.002)
REGION = PlannedSender("region", replace(OFTEN, mean_s=0.4, std_s=0.1), 40, price=0.03)
GONE = Scenario(4000, (CITY, REGION), max_attempts=3, unreachable=SHARE, segments=2)


def course_of(scenario: Scenario, seed: int) -> tuple[Twin, Play]:
    twin = Twin(scenario, seed)
    twin.play()
    return twin, play(scenario, seed)


# ---- One play


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_play_counts_the_unreachable_messages_that_the_seed_determines(attempts: int, seed: int) -> None:
    scenario = replace(GONE, max_attempts=attempts)
    twin, found = course_of(scenario, seed)
    reachable = Reachable(seed, SHARE, scenario.total).count
    assert (found.reachable, found.unreachable) == (reachable, scenario.total - reachable)
    assert 0 < found.unreachable < found.failed
    for percent, time_s in found.reached_reachable_s.items():
        assert time_s == twin.course.reached_s(Milestones.needed(percent, reachable))
    never = [percent for percent in Milestones.PERCENTS if found.reached_s[percent] is None]
    assert never == ([80, 95, 99] if attempts == 1 else [95, 99])


def test_a_retry_is_never_at_an_unreachable_message() -> None:
    ids = np.arange(5000, dtype=np.uint64)
    _, first = Fates(3, 9, OFTEN, SHARE).draw(ids, 1)
    _, second = Fates(3, 9, OFTEN, SHARE).draw(ids, 2)
    assert np.array_equal(second, Fates(3, 9, OFTEN).draw(ids, 2)[1])
    assert np.count_nonzero(first == Outcome.FAILED) == 5000 - Reachable(3, SHARE, 5000).count


def test_a_run_that_never_ends_knows_how_many_messages_can_be_reached() -> None:
    _, found = course_of(replace(GONE, faults=(Fault(2.0, FaultKind.KILL, MONITOR),)), 1)
    assert found.complete_s is None
    assert found.reachable == Reachable(1, SHARE, GONE.total).count
    assert found.unreachable < GONE.total - found.reachable


def test_without_unreachable_messages_those_that_can_be_reached_are_all() -> None:
    _, found = course_of(replace(GONE, unreachable=0.0), 1)
    assert (found.unreachable, found.reachable) == (0, GONE.total)
    assert found.reached_reachable_s == found.reached_s


def test_if_nothing_can_be_reached_all_fails_in_one_attempt() -> None:
    _, found = course_of(replace(GONE, unreachable=1.0), 1)
    assert (found.sent, found.failed, found.retried, found.unreachable) == (0, 4000, 0, 4000)
    assert {*found.reached_reachable_s.values()} == {None}
    theory = Theory(replace(GONE, unreachable=1.0))
    assert {*map(theory.reached_reachable_s, Milestones.PERCENTS)} == {None}
    assert (theory.ceiling, theory.attempts_per_message) == (0, 1)
    assert {theory.reached_s(percent) for percent in Milestones.PERCENTS} == {None}


def test_each_segment_of_what_is_sent_or_fails_has_its_price() -> None:
    _, found = course_of(GONE, 5)
    city, region = found.senders
    assert city.cost == pytest.approx(2 * (0.01 * city.sent + 0.002 * (city.attempts - city.sent)))
    assert region.cost == pytest.approx(2 * 0.03 * region.sent)
    assert found.cost == city.cost + region.cost
    assert (city.attempts + region.attempts, city.sent + region.sent) == (found.attempts, found.sent)


# ---- Scaled plays


@pytest.mark.parametrize(("attempts", "scale"), [(1, Scale(4, 1)), (3, Scale(4, 1)), (3, Scale(2, 3))])
def test_a_scaled_play_keeps_the_share_of_unreachable_messages(attempts: int, scale: Scale) -> None:
    some = (replace(CITY, concurrency=400), replace(REGION, concurrency=800))
    scenario = replace(GONE, total=40_000, senders=some, max_attempts=attempts)
    plays = [play(scenario, seed, scale) for seed in range(12)]
    full = [play(scenario, seed) for seed in range(3)]
    deviation = (SHARE * 40_000 * scale.messages) ** 0.5 / len(plays) ** 0.5
    assert abs(mean(one.unreachable for one in plays) - SHARE * 40_000) < 3.5 * deviation
    for one in plays:
        assert one.reachable == 40_000 - one.unreachable
    ceiling = 40_000 * ceiling_of(0.3, attempts, SHARE)
    assert abs(mean(one.sent for one in plays) - ceiling) < 2 * 3.5 * deviation
    half = mean(one.reached_reachable_s[50] or 0.0 for one in plays)
    assert half == pytest.approx(mean(one.reached_reachable_s[50] or 0.0 for one in full), rel=0.02 * scale.each)


def test_the_spread_of_scaled_plays_is_that_of_full_ones() -> None:
    scenario = replace(GONE, total=400_000, senders=(replace(CITY, concurrency=2000),))
    plays = unscaled([play(scenario, seed, Scale(20, 1)) for seed in range(20)], Scale(20, 1), scenario)
    deviation = (SHARE * (1 - SHARE) * scenario.total) ** 0.5
    assert 0.5 * deviation < np.std([one.unreachable for one in plays]) < 1.6 * deviation
    assert abs(mean(one.unreachable for one in plays) - SHARE * scenario.total) < deviation
    assert all(one.reachable + one.unreachable == scenario.total for one in plays)
    for one in plays:
        assert one.cost == pytest.approx(2 * (0.01 * one.sent + 0.002 * (one.attempts - one.sent)))


def test_in_scaled_plays_without_other_failures_exactly_the_unreachable_messages_fail() -> None:
    sure = replace(CITY, model=replace(OFTEN, fail=0.0), concurrency=200)
    scenario = replace(GONE, total=40_000, senders=(sure,))
    for one in unscaled([play(scenario, seed, Scale(10, 1)) for seed in range(5)], Scale(10, 1), scenario):
        assert one.failed == one.unreachable > 0


# ---- Shares


@pytest.mark.parametrize(
    ("fail", "attempts", "unreachable"), [(0.1, 3, 0.07), (0.5, 8, 0.3), (0.0, 2, 0.1), (1, 4, 0.2)]
)
def test_ceiling_and_attempts_are_exact(fail: float, attempts: int, unreachable: float) -> None:
    assert ceiling_of(fail, attempts, unreachable) == pytest.approx((1 - unreachable) * (1 - fail**attempts))
    each = unreachable + (1 - unreachable) * (attempts if fail == 1 else (1 - fail**attempts) / (1 - fail))
    assert attempts_each(fail, attempts, unreachable) == pytest.approx(each)
    assert sent_each(fail, attempts, unreachable) == pytest.approx(ceiling_of(fail, attempts, unreachable) / each)
    lanes = PlannedSender("a", replace(OFTEN, fail=fail), 50)
    theory = Theory(Scenario(5000, (lanes,), attempts, unreachable=unreachable))
    reachable = {str(percent): theory.reached_reachable_s(percent) for percent in Milestones.PERCENTS}
    assert theory.fields()["reached_reachable_s"] == reachable
    assert theory.ceiling == pytest.approx(ceiling_of(fail, attempts, unreachable), abs=1e-9)
    assert theory.attempts_per_message == pytest.approx(each)


# ---- Goals


def test_a_share_of_failures_among_the_reachable_is_of_these() -> None:
    figures = {"failed_reachable": 10.0, "unreachable": 900, "total": 1000}
    assert Threshold.parse("failed_reachable<=10%").judge(figures).passed
    assert not Threshold.parse("failed_reachable<10%").judge(figures).passed
    assert Threshold.parse("failed_reachable<11").judge(figures).passed


@pytest.mark.parametrize(
    ("goal", "why"),
    [
        ("t95<10m", "95% can't be reached: at most 93% of the messages"),
        ("t99<10m", "99% can't be reached: at most 93% of the messages"),
        ("failed<5%", "7% of the messages can't be reached, so failed<5% is met with a probability of"),
        ("unreachable<6%", "7% of the messages can't be reached, so unreachable<6% is met with a probability of"),
        ("failed<9%", "and 2.7% of the others fail in all 3 attempts, so failed<9% is met with a probability of"),
        ("failed<9%", "; 4 attempts would be needed"),
        ("failed_reachable<1%", "2.7% of the messages fail in all 3 attempts"),
        ("t99_reachable<10m", "2.7% of the messages fail in all 3 attempts"),
        ("t95<10m", "at most 93%"),
        ("failed_reachable<2%", "is met with a probability of <1%; 4 attempts"),
    ],
)
def test_what_stands_in_the_way_is_said(goal: str, why: str) -> None:
    assert why in (obstacle(GONE, [Threshold.parse(goal)]) or "")


def test_what_can_be_reached_has_no_obstacle() -> None:
    goals = [
        Threshold.parse(text) for text in ("t95_reachable<10m", "t80<10m", "failed_reachable<4%", "unreachable<9%")
    ]
    assert obstacle(GONE, goals) is None
    nobody = replace(GONE, unreachable=1.0)
    assert "there are no messages that can be reached" in (obstacle(nobody, goals[:1]) or "")


# ---- What people and monitors see


def forecast(scenario: Scenario = GONE, *goals: str) -> Forecast:
    plays = [play(scenario, seed) for seed in seeds_from(1, 5)]
    return Forecast(scenario, plays, FULL, [Threshold.parse(goal) for goal in goals])


def test_the_page_names_the_ceiling_the_reachable_and_the_cost() -> None:
    found = forecast(GONE, "t95_reachable<1m", "cost<1000")
    page = " ".join(show.plain(Page(found, None, [1], 1.5).lines()).split())
    assert "95% never at most 93.0% can be reached" in page
    assert "of reachable 50% " in page
    assert "7% of the messages can't be reached, 30% of other attempts fail, 3 attempts each" in page
    assert "95% and 99% can't be reached: at most 93.0%" in page
    assert f"cost {money(found.cost.median or 0.0)}" in page
    assert f"city {money(found.senders[0].cost)}" in page
    assert "passed t95_reachable<1m probability 100% passed cost<1000 probability 100%" in page


def test_the_page_is_silent_where_all_can_be_reached_for_nothing() -> None:
    free = replace(GONE, unreachable=0.0, senders=(replace(CITY, price=0.0, price_failed=0.0),))
    page = show.plain(Page(forecast(free), None, [1], 1.5).lines())
    assert not any(word in page for word in ("reachable", "reached:", "cost"))


@pytest.mark.parametrize(
    ("unreachable", "said"),
    [
        (0.0, ""),
        (0.01, ""),
        (0.02, "99% can't be reached: at most 98.0%"),
        (0.6, "50%, 80%, 95% and 99% can't be reached: at most 40.0%"),
    ],
)
def test_what_is_beyond_the_ceiling_is_listed(unreachable: float, said: str) -> None:
    assert says.beyond(unreachable) == said


def test_only_what_no_seed_reaches_is_out_of_reach() -> None:
    assert says.beyond(0.0501, [95, 99]) == "95% and 99% can't be reached: at most 94.99%"
    assert says.beyond(0.0501, [99]) == "99% can't be reached: at most 94.99%"
    close = replace(GONE, unreachable=0.5, total=1)
    found = Forecast(close, [play(close, seed) for seed in seeds_from(1, 9)], FULL, [])
    assert 0 < found.reached_s[99].share < 0.5
    assert says.never(found, 99).endswith("are sent on average")
    assert "can't be reached: at most" not in says.ceiling(found)


def test_of_nobody_no_share_can_be_reached() -> None:
    page = " ".join(show.plain(Page(forecast(replace(GONE, unreachable=1.0)), None, [1], 1.5).lines()).split())
    assert "of reachable 50% never nobody can be reached 80% never nobody can be reached" in page


def test_the_plan_beside_a_run_ends_at_the_ceiling() -> None:
    scale = outline_scale(GONE)
    course = outline(GONE, [play(GONE, seed, scale) for seed in range(6)], scale)
    assert course.sent[-1] / GONE.total == pytest.approx(ceiling_of(0.3, 3, SHARE), abs=0.02)
    assert course.median_s(80) is not None
    assert course.median_s(95) is course.median_s(99) is None
    assert course.complete_s.median_s is not None


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (12_500, "12,500.00"), (99.999, "100.00"), (12.3456, "12.35"), (1.2, "1.20"), (0.0075, "0.0075")],
)
def test_an_amount_is_written_with_as_many_decimals_as_it_needs(amount: float, text: str) -> None:
    assert money(amount) == text
