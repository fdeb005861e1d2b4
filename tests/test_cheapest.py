"""The search for the cheapest mix finds what a search through all mixes finds, and says why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product
from random import Random
from typing import Final

import numpy as np
import pytest

from smssim.core.fault import Fault, FaultKind
from smssim.core.model import AttemptModel, StartLimit
from smssim.core.threshold import Threshold
from smssim.errors import UsageError
from smssim.plan.scale import Scale
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.plan.search.cheapest import Cheapest, _looks
from smssim.plan.search.cheapest_answer import CheapestAnswer, Fewer
from smssim.plan.search.confidence import at_most
from smssim.plan.search.mixes import EQUAL, Kind, Mix, Mixes, with_mix
from smssim.plan.search.trial import Plays
from smssim.plan.seeds import Play, SenderShare, play
from smssim.planner import says_mix

EMPTY = np.zeros((0, 2))
SPREAD: Final = 0.02  # of the time of a made-up play


def goals_of(*texts: str) -> list[Threshold]:
    return [Threshold.parse(text) for text in texts]


def sender(name: str, mean_s: float = 0.5, price: float = 0.0, lanes: int = 10, fail: float = 0.0) -> PlannedSender:
    return PlannedSender(name, AttemptModel(mean_s, 0.3 * mean_s, "gamma", None, fail), lanes, price=price)


def plain(scenario: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
    """Play with the twin."""
    return [play(scenario, seed, scale) for seed in seeds]


def no_plays(scenario: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
    raise AssertionError("played")


def mean_s(scenario: Scenario) -> float:
    """Return how long a made-up run takes on average: as long as its senders need together."""
    per_s = sum(one.declared_per_s * (1 - one.model.fail) for one in scenario.senders)
    return scenario.total / per_s if per_s else math.inf


def paid(scenario: Scenario) -> float:
    """Return what a made-up run costs: senders share the messages by their speeds."""
    per_s = [one.declared_per_s for one in scenario.senders]
    return scenario.total * sum(s * one.price for s, one in zip(per_s, scenario.senders, strict=True)) / sum(per_s)


def made_up(scenario: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
    """Return plays that take `mean_s`, with a lognormal spread, and in which everything is sent."""
    found = []
    for seed in seeds:
        time_s = mean_s(scenario) * math.exp(SPREAD * np.random.default_rng(seed).standard_normal())
        times: dict[int, float | None] = dict.fromkeys((50, 80, 95, 99), time_s)
        shares = tuple(SenderShare(0, 0, 0, 1.0, 0.0) for _ in scenario.senders)
        counts = (scenario.total, 0, 0, 0, 0, scenario.total, paid(scenario))
        found.append(
            Play(*counts, times, times, time_s, 1.0, math.inf, shares, times_s=EMPTY[:, 0], course=EMPTY),
        )
    return found


def failing(scenario: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
    """Return plays that are `made_up`, in which an eighth more messages fail with every 15th seed after the 20th."""
    share = float(np.average([s.model.fail for s in scenario.senders], weights=[s.lanes for s in scenario.senders]))
    found = []
    for seed, one in zip(seeds, made_up(scenario, seeds, scale), strict=True):
        failed = round(scenario.total * share * (1.125 if seed > 20 and seed % 15 == 0 else 1.0))
        found.append(replace(one, sent=scenario.total - failed, failed=failed))
    return found


def kinds_of(**ranges: tuple[int, int]) -> list[Kind]:
    return [Kind(name, low, high) for name, (low, high) in ranges.items()]


def cheapest(scenario: Scenario, kinds: Sequence[Kind], *goals: str, plays: Plays = plain) -> CheapestAnswer:
    return Cheapest(scenario, kinds, goals_of(*goals), plays, first_seed=1).answer()


def every(kinds: Sequence[Kind]) -> list[Mix]:
    return list(product(*(range(kind.low, kind.high + 1) for kind in kinds)))


def best_of(costs: dict[Mix, float]) -> Mix:
    """Return the cheapest mix and, of those that cost about as much, that with the fewest copies."""
    most = (1 + EQUAL) * min(costs.values())
    return min((mix for mix, cost in costs.items() if cost <= most), key=lambda mix: (sum(mix), costs[mix]))


# ---- Against a search through all mixes


def drawn(seed: int) -> tuple[Scenario, list[Kind], float]:
    """Return a scenario of two or three kinds with up to six copies each, and a deadline that some mixes meet."""
    random = Random(seed)
    names = "abc"[: random.choice([2, 3])]
    prices = [random.choice([0.0, 1.0, 1.0, 2.0, 5.0]) for _ in names]
    some = tuple(
        sender(name, random.uniform(0.2, 2.0), price, random.choice([1, 3, 10]))
        for name, price in zip(names, prices, strict=True)
    )
    fixed = (sender("fixed", random.uniform(0.5, 2.0), 1.5),) if random.random() < 0.5 else ()
    kinds = [Kind(name, random.choice([0, 0, 1]), random.randint(2, 6)) for name in names]
    fastest = with_mix(Scenario(50_000, some + fixed), {kind.name: kind.high for kind in kinds})
    return Scenario(50_000, some + fixed), kinds, random.uniform(1.1, 4.0) * mean_s(fastest)


@pytest.mark.parametrize("seed", range(30))
def test_the_answer_is_that_of_a_search_through_all_mixes(seed: int) -> None:
    scenario, kinds, deadline_s = drawn(seed)
    found = cheapest(scenario, kinds, f"t95<{deadline_s:.6f}s", plays=made_up)
    sure: dict[Mix, float] = {}
    unsure: dict[Mix, float] = {}
    for mix in every(kinds):
        one = with_mix(scenario, dict(zip((kind.name for kind in kinds), mix, strict=True)))
        if one.senders and mean_s(one) * math.exp(3.3 * SPREAD) < deadline_s:
            sure[mix] = paid(one)
        if one.senders and mean_s(one) * math.exp(1.2 * SPREAD) < deadline_s:
            unsure[mix] = paid(one)
    mix = tuple(found.copies[kind.name] for kind in kinds)
    assert mix in unsure  # met with 88% at least
    best = best_of(sure)
    assert (unsure[mix], sum(mix)) <= ((1 + EQUAL) * sure[best], sum(best)) or unsure[mix] < sure[best] * (1 - EQUAL)


def test_the_twin_gives_the_answer_of_a_search_through_all_mixes() -> None:
    dear, cheap = sender("dear", 0.2, 3.0, 4, fail=0.1), sender("cheap", 0.6, 1.0, 4, fail=0.1)
    scenario = Scenario(300, (dear, cheap), max_attempts=2)
    kinds, goals = kinds_of(dear=(0, 2), cheap=(0, 3)), goals_of("t95<12s", "failed<5%")
    costs: dict[Mix, float] = {}
    for mix in every(kinds)[1:]:
        one = with_mix(scenario, dict(zip(("dear", "cheap"), mix, strict=True)))
        figures = [play(one, seed).figures(400) for seed in range(1000, 1010)]
        if all(goal.judge(some).passed for goal in goals for some in figures):
            costs[mix] = float(np.median([some["cost"] or 0.0 for some in figures]))
    found = cheapest(scenario, kinds, "t95<12s", "failed<5%")
    mix = found.copies["dear"], found.copies["cheap"]
    assert mix == best_of(costs)
    assert found.cost == pytest.approx(costs[mix], rel=0.03)
    assert (found.probability, found.seeds) == (1.0, _looks(0.025)[0].plays)
    assert found.at_least > 0.95


def test_large_ranges_are_searched_around_the_vertices() -> None:
    some = tuple(sender(name, mean, price) for name, mean, price in (("a", 1.0, 1.0), ("b", 0.7, 2.0), ("c", 0.3, 4.0)))
    scenario = Scenario(2_000_000, some)
    kinds = kinds_of(a=(0, 300), b=(0, 300), c=(0, 300))
    first = next(Mixes(scenario, kinds, goals_of("t95<300s")).candidates())
    assert first[0] == 300  # as many as there are of the cheapest, and what is missing of the next one
    assert first[2] == 0
    speed = sum(number * 10 / one.model.mean_s for number, one in zip(first, some, strict=True))
    assert 1.0 <= speed * 300 / (0.95 * 2_000_000) < 1.02
    found = cheapest(scenario, kinds, "t99<330s", plays=made_up)
    assert found.copies["a"] == 300
    assert found.copies["c"] == 0


def test_the_estimated_cost_counts_what_a_burst_sends_and_what_a_killed_sender_does_not() -> None:
    plain, killed = sender("plain", 0.5, 0.0, lanes=13), sender("killed", 0.5, 1.0, lanes=26)  # 26 and 52 a second
    bursts = replace(sender("bursts", 0.5, 1.0, lanes=400), limit=StartLimit.of(5.0, 200, 1))
    for dear, faults in ((bursts, ()), (killed, (Fault(5.0, FaultKind.KILL, "killed"),))):  # both send 250 in 10 s
        mixes = Mixes(Scenario(500, (plain, dear), faults=faults), kinds_of(plain=(0, 2)), goals_of("elapsed_s<10"))
        assert mixes.cost((1,)) == pytest.approx(250, rel=0.05)


# ---- Ties, fixed senders, several goals


def test_of_equal_costs_the_fewest_copies_win() -> None:
    slow, fast = sender("slow", 1.0, 2.0), sender("fast", 0.25, 2.0)
    found = cheapest(Scenario(8000, (slow, fast)), kinds_of(slow=(0, 6), fast=(0, 6)), "t95<80s", plays=made_up)
    assert found.copies == {"slow": 0, "fast": 3}
    assert [(one.name, one.copies) for one in found.fewer] == [("fast", 2)]


def test_without_prices_there_are_as_few_copies_as_possible() -> None:
    slow, fast = sender("slow", 1.0), sender("fast", 0.25)
    found = cheapest(Scenario(8000, (slow, fast)), kinds_of(slow=(0, 6), fast=(0, 2)), "t95<80s", plays=made_up)
    assert found.copies == {"slow": 3, "fast": 2}
    assert found.cost == 0
    assert "as few copies as possible" in says_mix.mix(found)


def test_fixed_senders_take_part_as_they_are() -> None:
    own, other = replace(sender("own", 0.25, 1.0), copies=2), sender("other", 1.0, 5.0)
    scenario = Scenario(8000, (own, other))
    assert cheapest(scenario, kinds_of(other=(0, 6)), "t95<130s", plays=made_up).copies == {"other": 0}
    found = cheapest(scenario, kinds_of(other=(0, 6)), "t95<80s", plays=made_up)
    assert found.copies == {"other": 3}
    assert found.cost == pytest.approx(8000 * (80 * 1 + 30 * 5) / 110)


def test_the_deadline_that_binds_decides() -> None:
    scenario, kinds = Scenario(8000, (sender("a", 0.5),)), kinds_of(a=(0, 20))
    alone = {goal: cheapest(scenario, kinds, goal, plays=made_up).copies["a"] for goal in ("t50<60s", "t95<90s")}
    assert len({*alone.values()}) == 2
    assert cheapest(scenario, kinds, *alone, plays=made_up).copies["a"] == max(alone.values())


def test_a_sender_that_fails_too_often_is_not_bought_beyond_what_a_goal_allows() -> None:
    cheap, good = sender("cheap", 0.5, 1.0, fail=0.3), sender("good", 0.5, 3.0, fail=0.02)
    found = cheapest(Scenario(1000, (cheap, good)), kinds_of(cheap=(0, 5), good=(0, 5)), "failed<20%")
    shares = found.copies["cheap"] / (found.copies["cheap"] + found.copies["good"])
    assert 0.02 + 0.28 * shares < 0.2 < 0.02 + 0.28 * (shares + 0.2)


def test_one_copy_fewer_is_not_enough_or_dearer() -> None:
    scenario = Scenario(8000, (sender("cheap", 1.0, 1.0), sender("dear", 0.5, 3.0)))
    found = cheapest(scenario, kinds_of(cheap=(0, 4), dear=(0, 9)), "t95<100s", plays=made_up)
    assert found.copies == {"cheap": 4, "dear": 3}
    for one in found.fewer:
        assert one.copies == found.copies[one.name] - 1
        assert one.probability < 0.95 or one.cost > (1 + EQUAL) * found.cost


def test_a_sender_without_copies_is_not_there_and_its_faults_vanish() -> None:
    kill, other = Fault(1.0, FaultKind.KILL, "a"), Fault(2.0, FaultKind.PAUSE, "b", 1.0)
    scenario = with_mix(Scenario(10, (sender("a"), sender("b")), faults=(kill, other)), {"a": 0, "b": 3})
    assert [(one.name, one.copies) for one in scenario.senders] == [("b", 3)]
    assert scenario.faults == (other,)


def test_a_mix_has_a_sender_that_is_there_from_the_start() -> None:
    late = replace(sender("late", 0.1), joins_s=5.0)
    mixes = Mixes(
        Scenario(100, (late, sender("soon", 5.0, 9.0))), kinds_of(late=(0, 3), soon=(0, 3)), goals_of("t95<90s")
    )
    assert all(mix[1] for mix in islice(mixes.candidates(), 5))


# ---- No mix


@pytest.mark.parametrize(
    ("scenario", "goals", "why"),
    [
        (Scenario(2000, (sender("a"),), unreachable=0.07), ["t95<9m"], "95% can't be reached: at most 93% of the"),
        (Scenario(2000, (sender("a", fail=0.3),)), ["failed<1%"], "30% of the messages fail in their only attempt"),
        (Scenario(2000, (sender("a", 2.0),)), ["t50<100ms"], "t50<100ms is earlier than a single attempt takes"),
        (Scenario(2000, (replace(sender("a"), joins_s=3.0),)), ["t50<1h"], "no sender is there from the start"),
    ],
)
def test_what_no_mix_can_do_is_said_without_a_play(scenario: Scenario, goals: list[str], why: str) -> None:
    found = cheapest(scenario, kinds_of(a=(0, 6)), *goals, plays=no_plays)
    assert why in found.why
    assert found.as_dict() == {"senders": None, "why": found.why}
    assert says_mix.mix(found).startswith("No mix of the senders will do, because ")


def test_too_few_copies_and_too_much_money_are_why_no_mix_will_do() -> None:
    scenario, kinds = Scenario(8000, (sender("a", 1.0, 1.0),)), kinds_of(a=(0, 6))
    slow = cheapest(scenario, kinds, "t95<60s", plays=made_up)
    assert "even with 6 of a, t95<60s is met with a probability of only 0%: t95 is about 1" in slow.why
    dear = cheapest(scenario, kinds, "t95<300s", "cost<7000", plays=made_up)
    assert "cost<7000 is met with a probability of only 0%: cost is about 8,000" in dear.why


def test_without_a_goal_there_is_nothing_to_look_for() -> None:
    with pytest.raises(UsageError, match="--cheapest: no goal to meet"):
        Cheapest(Scenario(10, (sender("a"),)), kinds_of(a=(0, 3)), [], no_plays)


# ---- How sure


def unlucky(*unmet: int) -> Plays:
    """Return plays that are `made_up`, but late with these seeds."""

    def plays(scenario: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
        late: dict[int, float | None] = dict.fromkeys((50, 80, 95, 99), 999.0)
        found = zip(seeds, made_up(scenario, seeds, scale), strict=True)
        return [replace(one, reached_s=late) if seed in unmet else one for seed, one in found]

    return plays


def test_a_mix_is_found_although_one_search_seed_of_the_only_good_one_misses() -> None:
    scenario, kinds = Scenario(8000, (sender("a", 0.5, 1.0),)), kinds_of(a=(0, 1))
    found = cheapest(scenario, kinds, "t95<900s", plays=unlucky(5))
    assert found.copies == {"a": 1}


def test_mixes_with_more_to_spare_follow_if_the_cheapest_ones_are_too_close_to_call() -> None:
    some = (
        sender("good", price=3.0, fail=0.02),
        sender("fair", price=2.0, fail=0.1),
        sender("bad", price=1.0, fail=0.2),
    )
    kinds, bound = kinds_of(good=(0, 9), fair=(0, 9), bad=(0, 9)), 0.1
    found = cheapest(Scenario(3000, some), kinds, f"failed<{bound:.0%}", plays=failing)
    assert found.found
    shares = [found.copies[one.name] * one.model.fail for one in some]
    assert 0.8 * bound < sum(shares) / sum(found.copies.values()) < bound / 1.125


def test_why_no_mix_will_do_is_never_that_all_plays_meet_the_goals() -> None:
    scenario, kinds = Scenario(8000, (sender("a", 0.5, 1.0),)), kinds_of(a=(0, 1))
    found = cheapest(scenario, kinds, "t95<900s", plays=unlucky(3, 7, 12, 16))  # no fresh seed
    assert found.why.startswith("even with 1 of a, t95<900s is met with a probability of only 80%")


@pytest.mark.parametrize("number", range(1, 9))
def test_looks_err_with_no_more_than_the_probability_that_they_are_given(number: int) -> None:
    error = 0.05 / 2**number
    first, second = _looks(error)
    assert at_most(first.misses, first.plays, 0.05) + at_most(second.misses, second.plays, 0.05) <= error
    assert first.misses == 0


def test_the_answer_is_said_in_sentences() -> None:
    fewer = (Fewer("a", 3, 0.41, 90.0), Fewer("b", 1, 0.99, 130.0), Fewer("c", 0, 0.96, 100.0))
    copies = {"a": 4, "b": 1, "c": 0}
    said = says_mix.mix(CheapestAnswer(goals_of("t95<9s"), 9, copies, "", 100.0, 1.0, 0.96, 72, 5, fewer))
    assert said == (
        "4 copies of a, 1 copy of b, no copy of c, for 100.00: all 72 plays meet t95<9s, so the probability is at "
        "least 95%, with 95% confidence. With one copy of a fewer, it is about 41%. With one copy of b fewer, it costs "
        "130.00. With one copy of c fewer, it is about 96%, which is not shown to be enough. One played message stands "
        "for 5."
    )
