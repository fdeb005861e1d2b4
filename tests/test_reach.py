"""Unreachable messages: which ones they are, how attempts at them end, and how many can be reached."""

import numpy as np
import pytest

from smssim.core.conditions import Conditions
from smssim.core.fate import Fates
from smssim.core.model import AttemptModel, Outcome
from smssim.core.reach import CHUNK, Reach, Reachable

IDS = np.arange(200_000, dtype=np.uint64)
MODEL = AttemptModel(1.0, 0.3, "gamma", fail=0.2)


@pytest.mark.parametrize("share", [1e-3, 0.05, 0.5])
def test_the_share_of_unreachable_messages_is_as_asked(share: float) -> None:
    count = np.count_nonzero(Reach(7, share).missing(IDS))
    assert abs(count - share * len(IDS)) < 5 * (share * (1 - share) * len(IDS)) ** 0.5
    assert not Reach(7, 0.0).missing(IDS).any()
    assert Reach(7, 1.0).missing(IDS).all()


def test_which_messages_are_unreachable_depends_on_the_seed_and_the_message_alone() -> None:
    missing = Reach(7, 0.1).missing(IDS)
    shuffled = np.random.default_rng(1).permutation(IDS)
    assert (Reach(7, 0.1).missing(shuffled) == missing[shuffled]).all()
    assert (Reach(8, 0.1).missing(IDS) != missing).any()
    for model, attempts in ((MODEL, 3), (AttemptModel(0.1, 0.1, "exponential"), 1)):
        _, outcomes = Fates(7, attempts, model, 0.1).draw(IDS, 1)
        assert (outcomes[missing] == Outcome.FAILED).all()


def test_an_attempt_at_an_unreachable_message_takes_its_time_and_others_are_as_without_any() -> None:
    missing = Reach(7, 0.1).missing(IDS)
    times_s, outcomes = Fates(7, 3, MODEL).draw(IDS, 1)
    same_s, with_some = Conditions(7, 3, MODEL, unreachable=0.1).usual.draw(IDS, 1)
    np.testing.assert_array_equal(times_s, same_s)
    np.testing.assert_array_equal(outcomes[~missing], with_some[~missing])
    independent = np.count_nonzero(outcomes[missing] == Outcome.SENT) / np.count_nonzero(missing)
    assert abs(independent - 0.8) < 0.02


def test_the_number_of_reachable_messages_is_exact_and_counted_no_further_than_needed() -> None:
    total = 3 * CHUNK + 5
    expected = total - int(np.count_nonzero(Reach(3, 0.25).missing(np.arange(total, dtype=np.uint64))))
    reachable = Reachable(3, 0.25, total)
    assert not reachable.is_known(1000)
    assert reachable._counted == CHUNK
    assert reachable.count == expected
    assert reachable.is_known(0)
    assert Reachable(3, 0.0, total).count == total
    assert Reachable(3, 1.0, 10).count == 0
