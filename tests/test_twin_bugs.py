"""Each bug that is planted in the twin is found by a check that the twin passes without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from statistics import mean, stdev
from typing import Final

import pytest
import twin_bugs as bugs
from oracle.draw import KINDS
from test_twin_oracle import IDEAL, as_core, as_ideal
from twin_support import few, played

from smssim.core.model import AttemptModel, StartLimit
from smssim.plan.scale import Scale
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.plan.seeds import Play, play, unscaled

Check = Callable[[], Iterable[str]]  # yields what is wrong


def conserves(kind: str) -> Iterator[str]:
    """Look for plays that end with other than all messages counted once."""
    for scenario in few(kind):
        for twin in (played(scenario, seed) for seed in range(8)):
            counted = twin.course.sent + twin.course.failed
            if counted != twin.total:
                yield f"{kind}: {counted} of {twin.total} counted"


EXPONENTIAL: Final = AttemptModel(0.1, 0.1, "exponential", fail=0.1)
HUNDRED: Final = Scale(100)
MANY: Final = Scenario(200_000, (PlannedSender("a", EXPONENTIAL, 2000),))
LIMITED: Final = Scenario(20_000, (PlannedSender("a", EXPONENTIAL, 40, 50, limit=StartLimit.of(20.0, 1, 1)),))


def of_scaled(
    figure: Callable[[Play], float | None], spreads: bool = False, scenario: Scenario = MANY, scale: Scale = HUNDRED
) -> list[str]:
    """Compare a time of scaled plays with that of full ones: its mean, or else its standard deviation."""

    def times_s(plays: list[Play]) -> list[float]:
        return [figure(one) or 0.0 for one in plays]

    full = times_s([play(scenario, seed) for seed in range(20)])
    scaled = times_s(unscaled([play(scenario, seed, scale) for seed in range(20)], scale, scenario))
    if spreads:
        ratio = stdev(scaled) / stdev(full)
        return [f"{ratio:.2f} of the spread"] if not 1 / 5 < ratio < 5 else []  # 2.4 are expected
    apart_s, error_s = mean(scaled) - mean(full), (stdev(full) ** 2 / 20 + stdev(scaled) ** 2 / 20) ** 0.5
    return [f"{apart_s:+.3f} s apart, standard error {error_s:.3f} s"] if abs(apart_s) > 4 * error_s else []


last_of_scaled: Final = partial(of_scaled, lambda one: one.complete_s)
last_of_limited: Final = partial(last_of_scaled, scenario=LIMITED, scale=Scale(10))
spread_of_scaled: Final = partial(of_scaled, lambda one: one.reached_s[50], spreads=True)

FOUND: Final[dict[bugs.Bug, Check]] = {
    bugs.starts_at_the_edge_of_a_window: partial(as_ideal, "exponential times"),
    bugs.keeps_what_starts_beyond_the_horizon: partial(as_ideal, "gamma with a spread of 4 means"),
    bugs.hands_out_a_message_twice: partial(as_ideal, "equal lanes"),
    bugs.releases_messages_too_late: partial(as_ideal, "a rate of 0.9, 1 attempts"),
    bugs.starts_messages_although_all_lanes_are_busy: partial(as_ideal, "a rate of 1 to one sender, 3 attempts"),
    bugs.delivers_retries_last: partial(as_ideal, "retries"),
    bugs.lets_late_senders_join_at_once: partial(as_ideal, "a late sender"),
    bugs.is_never_slow: partial(as_ideal, "a slow sender"),
    bugs.delivers_retries_to_the_first_sender: partial(as_ideal, "unlike failures, delayed retries"),
    bugs.keeps_the_messages_of_a_killed_sender: partial(as_ideal, "a killed sender"),
    bugs.ignores_a_limit: partial(as_ideal, "a limit far below the lanes"),
    bugs.lets_copies_share_a_limit: partial(as_ideal, "many copies with a limit"),
    bugs.fills_a_bucket_beyond_its_size: partial(as_ideal, "a limit as fast as the lanes"),
    bugs.starts_again_with_an_empty_bucket: partial(as_ideal, "a sender with a limit and a burst is killed"),
    bugs.forgets_limits_while_messages_are_scarce: partial(as_ideal, "limits of copies at a rate"),
    bugs.loses_the_limit_at_the_end_of_a_scaled_play: last_of_limited,
    bugs.plays_the_end_of_a_scaled_play_scaled: last_of_scaled,
    bugs.spreads_scaled_plays_as_they_are: spread_of_scaled,
    bugs.reports_without_delay: partial(as_core, "plain"),
    bugs.retries_unreachable_messages: partial(as_core, "unreachable"),
    bugs.counts_no_unreachable_messages: partial(as_core, "unreachable"),
    bugs.delivers_retries_to_any_sender: partial(as_core, "failures"),
    bugs.forgets_a_senders_own_retries: partial(conserves, "failures"),
    bugs.lets_a_slow_sender_have_no_queue_ahead: partial(as_core, "slow"),
    bugs.lets_no_lease_expire: partial(as_core, "pause"),
    bugs.forgets_retries_in_a_pause: partial(conserves, "pause"),
    bugs.counts_late_outcomes_twice: partial(conserves, "pause"),
    bugs.drops_late_outcomes: partial(as_core, "pause"),
    bugs.ignores_a_paused_producer: partial(as_core, "pause producer"),
    bugs.records_while_the_monitor_is_away: partial(as_core, "pause monitor"),
}


# The checks that tests/test_twin_oracle.py makes of a twin without bugs.
MADE: Final = {(as_ideal, (name,)) for name in IDEAL} | {(as_core, (kind,)) for kind in KINDS}


def is_made(check: Check) -> bool:
    return isinstance(check, partial) and (check.func, check.args) in MADE


@pytest.mark.parametrize("bug", FOUND, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: bugs.Bug) -> None:
    with bug():
        assert next(iter(FOUND[bug]()), None) is not None


@pytest.mark.parametrize("bug", [bug for bug in FOUND if not is_made(FOUND[bug])], ids=lambda bug: bug.__name__)
def test_a_twin_without_bugs_passes_the_same_check(bug: bugs.Bug) -> None:
    """The other checks are tests of their own, see `MADE`."""
    assert list(FOUND[bug]()) == []


def test_every_bug_is_planted() -> None:
    planted = {name for name, one in vars(bugs).items() if callable(one) and one.__module__ == bugs.__name__}
    assert {bug.__name__ for bug in FOUND} == planted
