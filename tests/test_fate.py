"""Fates are pure functions of seed, id, attempt and settings; times follow their distribution, failures their rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.fate import STRATA, Fates, time_table
from smssim.core.model import Outcome
from smssim.core.splitmix import _split_mix, stream
from smssim.core.spread import STD_MEANS_MAX
from smssim.errors import UsageError
from smssim.settings import SenderSettings

SEED = 7
MANY = np.arange(10**6, dtype=np.uint64)
SIGMAS = 5  # of every statistical bound; seeds are fixed, so a test that passes once always passes


def fates(settings: SenderSettings | None = None, max_attempts: int = 3, seed: int = SEED) -> Fates:
    return Fates(seed, max_attempts, (settings or SenderSettings()).attempt_model)


def correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


def test_a_seed_gives_the_same_fates_in_every_version() -> None:
    """Times may differ in the last bit of float32."""
    durations_s, outcomes = fates(SenderSettings(fail=0.4)).draw(np.array([0, 1, 2, 3, 10**12], np.uint64), 3)
    assert outcomes.tolist() == [1, 1, 2, 2, 1]
    assert durations_s == pytest.approx([0.7359124, 0.6968550, 0.3749014, 0.4640302, 0.6332535], rel=2e-7)


def test_fates_follow_from_the_output_of_split_mix() -> None:
    """Check column arithmetic against Python's integers, and those against the published first output for state 0."""
    assert _split_mix(0) == 0xE220A8397B1DCDAF
    ids = [0, 1, 77, 10**12]
    words = [_split_mix(_split_mix(_split_mix(SEED) + 2) + (i - 1) * 0x9E3779B97F4A7C15) for i in ids]
    durations_s, outcomes = fates(SenderSettings(fail=0.5), max_attempts=2).draw(np.array(ids, np.uint64), 2)
    assert durations_s.tolist() == [time_table("gamma", 0.5, 0.15)[word & 0xFFFF] for word in words]
    assert outcomes.tolist() == [Outcome.FAILED if word >> 63 == 0 else Outcome.SENT for word in words]


@given(st.lists(st.integers(0, 9999), max_size=50), st.integers(1, 3))
def test_a_fate_does_not_depend_on_the_batch(ids: list[int], attempt: int) -> None:
    whole = fates().draw(MANY[:10_000], attempt)
    some = fates().draw(np.array(ids, np.uint64), attempt)
    assert [column.tolist() for column in some] == [column[ids].tolist() for column in whole]


def test_drawing_leaves_the_ids_alone() -> None:
    ids = MANY[:100].copy()
    fates().draw(ids, 1)
    assert np.array_equal(ids, MANY[:100])


def test_the_failure_rate_is_as_set() -> None:
    for fail in (0.001, 0.1, 0.5, 0.9):
        _, outcomes = fates(SenderSettings(fail=fail)).draw(MANY, 1)
        failed = np.count_nonzero(outcomes != Outcome.SENT)
        assert abs(failed - fail * MANY.size) < SIGMAS * math.sqrt(fail * (1 - fail) * MANY.size), f"fail={fail}"


def id_of(word: int, attempt: int) -> int:
    """Return the id that has this random word, by inverting each step of SplitMix64."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9)):
        word = (word ^ word >> shift ^ word >> 2 * shift) * pow(factor, -1, 2**64) % 2**64
    state = word ^ word >> 30 ^ word >> 60
    return (state - int(stream(SEED, attempt))) * pow(0x9E3779B97F4A7C15, -1, 2**64) % 2**64


def test_failure_rates_of_0_and_1_are_exact() -> None:
    extremes = np.array([id_of(0, 3), id_of(2**64 - 1, 3)], np.uint64)
    for fail, outcome in ((0.0, Outcome.SENT), (1.0, Outcome.FAILED)):
        _, outcomes = fates(SenderSettings(fail=fail)).draw(np.concatenate([MANY, extremes]), 3)
        assert (outcomes == outcome).all(), f"fail={fail}"


def test_a_message_that_fails_at_a_low_rate_fails_at_a_higher_one() -> None:
    low, high = (fates(SenderSettings(fail=fail)).draw(MANY, 3)[1] == Outcome.FAILED for fail in (0.1, 0.2))
    assert low.any()
    assert not (low & ~high).any()


def test_a_failure_is_final_only_at_the_last_attempt() -> None:
    for attempt, failed in ((1, Outcome.RETRY), (2, Outcome.RETRY), (3, Outcome.FAILED)):
        _, outcomes = fates(max_attempts=3).draw(MANY[:1000], attempt)
        assert set(outcomes.tolist()) == {Outcome.SENT, failed}, f"attempt {attempt}"


def test_times_do_not_depend_on_outcomes() -> None:
    durations_s, outcomes = fates(SenderSettings(fail=0.3)).draw(MANY, 1)
    assert abs(correlation(durations_s, outcomes)) < SIGMAS / math.sqrt(MANY.size)


def test_fates_of_different_attempts_seeds_and_messages_are_independent() -> None:
    settings = SenderSettings(fail=0.3)
    one = fates(settings).draw(MANY, 1)
    for seed, attempt, shift in ((SEED, 2, 0), (SEED + 1, 1, 0), (SEED, 1, 1)):
        other = fates(settings, seed=seed).draw(MANY + np.uint64(shift), attempt)
        for column in (0, 1):
            bound = SIGMAS / math.sqrt(MANY.size)
            assert abs(correlation(one[column], other[column])) < bound, (seed, attempt, shift, column)


MOMENTS = {  # by distribution: std as set, actual std, excess kurtosis; the mean is 2
    "gamma": (0.6, 0.6, 6 * 0.3**2),
    "exponential": (None, 2.0, 6.0),
    "lognormal": (0.6, 0.6, 1.09**4 + 2 * 1.09**3 + 3 * 1.09**2 - 6),
    "normal": (0.2, 0.2, 0.0),  # ten standard deviations from the cut
    "uniform": (0.6, 0.6, -1.2),
    "fixed": (None, 0.0, 0.0),
}


def test_the_mean_and_std_of_many_attempts_are_as_set() -> None:
    rounding = 1e-6
    for distribution, (given_std, std, kurtosis) in MOMENTS.items():
        settings = SenderSettings(mean_s=2.0, std_s=given_std, distribution=distribution)
        durations = fates(settings).draw(MANY, 1)[0].astype(np.float64)
        of_mean = SIGMAS * std / math.sqrt(MANY.size) + rounding
        of_variance = SIGMAS * std**2 * math.sqrt((kurtosis + 2) / MANY.size) + rounding
        assert abs(durations.mean() - 2) <= of_mean, distribution
        assert abs(durations.var() - std**2) <= of_variance, distribution


spreads = st.floats(-12, 12).map(lambda power: 10.0**power)


@given(st.sampled_from(["gamma", "lognormal", "normal"]), st.floats(1e-3, 1e7), spreads)
def test_the_mean_of_a_table_is_as_set(distribution: str, mean_s: float, spread: float) -> None:
    times = time_table(distribution, mean_s, mean_s * spread).astype(np.float64)
    assert times.mean() == pytest.approx(mean_s, rel=1e-6)
    assert times.min() >= 0


def spread_of(times: NDArray[np.float32]) -> float:
    """Return the standard deviation in means."""
    return float(times.std(dtype=np.float64) / times.mean(dtype=np.float64))


def test_the_std_of_a_normal_distribution_is_as_set_despite_the_cut_at_zero() -> None:
    for spread in (1e-5, 1e-3, 0.1, 0.3, 0.6, 0.9, 0.94, 0.98, STD_MEANS_MAX["normal"]):
        times = time_table("normal", 0.02, 0.02 * spread)
        assert spread_of(times) == pytest.approx(spread, rel=1e-4)
        assert times.min() >= 0, f"spread {spread}"


@given(st.sampled_from(sorted(STD_MEANS_MAX)), st.floats(1e-3, 1.0), st.floats(1e-3, 1e4))
def test_any_std_that_a_sender_accepts_is_met_within_1_percent(distribution: str, share: float, mean_s: float) -> None:
    settings = SenderSettings(mean_s, share * STD_MEANS_MAX[distribution] * mean_s, distribution)
    assert settings.std_s is not None
    times = time_table(distribution, mean_s, settings.std_s)
    assert spread_of(times) == pytest.approx(settings.std_s / mean_s, rel=0.01)


def test_a_std_well_above_the_limit_can_not_be_met() -> None:
    for distribution, limit in STD_MEANS_MAX.items():
        times = time_table(distribution, 1.0, 1.2 * limit)
        assert times.min() < 0 or spread_of(times) < 0.99 * 1.2 * limit, distribution


def test_a_std_above_the_limit_is_refused() -> None:
    for distribution, limit in STD_MEANS_MAX.items():
        with pytest.raises(UsageError, match=r"^--std: "):
            SenderSettings(1.0, 1.2 * limit, distribution)


def normal_cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def gamma_cdf(shape: float) -> Callable[[float], float]:
    """Return the distribution function for mean 1: the power series of the incomplete gamma function (DLMF 8.7.1)."""

    def cdf(x: float) -> float:
        y = shape * x
        total, term, n = 0.0, 1.0, 0
        while term > 1e-17 * total:
            total, n = total + term, n + 1
            term *= y / (shape + n)
        return total * math.exp(shape * math.log(y) - y - math.lgamma(shape + 1))

    return cdf


def lognormal_cdf(spread: float) -> Callable[[float], float]:
    sigma = math.sqrt(math.log(1 + spread**2))
    return lambda x: normal_cdf(math.log(x) / sigma + sigma / 2)


def assert_each_time_lies_in_its_part(times: NDArray[np.float32], cdf: Callable[[float], float]) -> None:
    """Check that time i of 65,536 lies between the quantiles i / 65,536 and (i + 1) / 65,536 of the distribution.

    Allows for 1% of such a part and for the rounding of float32, and counts times below 1e-20 of the mean as zero.
    """
    for i in (0, 1, 9, 1000, 20_000, 32_768, 50_000, 65_000, 65_533, 65_534, 65_535):
        time = float(times[i])
        about = f"time {i} is {time:g} (mean {times.mean():g}, standard deviation {times.std():g})"
        assert cdf(max(time * (1 + 1e-7), 1e-20)) * STRATA > i - 0.01, about
        assert time < 1e-20 or cdf(time * (1 - 1e-7)) * STRATA < i + 1.01, about


def test_gamma_times_lie_between_their_quantiles() -> None:
    for spread in (1e-3, 0.01, 0.3, 1.0, 2.0, 5.0):
        assert_each_time_lies_in_its_part(time_table("gamma", 1.0, spread), gamma_cdf(spread**-2))


def test_lognormal_times_lie_between_their_quantiles() -> None:
    for spread in (1e-3, 0.3, 1.0, 10.0):
        assert_each_time_lies_in_its_part(time_table("lognormal", 1.0, spread), lognormal_cdf(spread))


def cut_normal_cdf(location: float) -> Callable[[float], float]:
    """Return the distribution function of a normal with mean `location` and standard deviation 1, cut at zero."""
    return lambda x: 1 - normal_cdf(location - x) / normal_cdf(location)


def test_times_of_the_cut_normal_lie_between_their_quantiles() -> None:
    for location in (30.0, 3.0, 1.0, 0.0, -1.0, -2.5, -3.5, -6.0):
        hazard = math.exp(-(location**2) / 2) / math.sqrt(2 * math.pi) / normal_cdf(location)
        mean = location + hazard
        times = time_table("normal", mean, math.sqrt(1 - hazard * mean))
        assert_each_time_lies_in_its_part(times, cut_normal_cdf(location))


def test_exponential_times_are_the_conditional_means() -> None:
    """With mean 1, the partial mean below the quantile at u is u + (1 - u) log(1 - u)."""
    left = 1 - np.arange(STRATA) / STRATA
    partial = np.append(1 - left + left * np.log(left), 1.0)
    np.testing.assert_allclose(time_table("exponential", 3.0, 3.0), 3 * STRATA * np.diff(partial), rtol=1e-5, atol=1e-9)


def test_uniform_times_are_evenly_spaced() -> None:
    times = time_table("uniform", 2.0, 2 / math.sqrt(3))
    np.testing.assert_allclose(times, (np.arange(STRATA) + 0.5) * 4 / STRATA, rtol=1e-6)


def test_without_a_spread_each_time_is_the_mean() -> None:
    for distribution, mean_s in (("fixed", 2.0), ("gamma", 2.0), ("normal", 2.0), ("gamma", 0.0)):
        assert (time_table(distribution, mean_s, 0.0) == mean_s).all(), (distribution, mean_s)


def test_with_a_mean_of_0_every_time_is_0() -> None:
    for distribution in MOMENTS:
        durations_s, _ = fates(SenderSettings(mean_s=0.0, distribution=distribution)).draw(MANY[:1000], 1)
        assert not durations_s.any()


def test_max_time_caps_longer_times_and_leaves_the_others_alone() -> None:
    free = fates().draw(MANY, 1)[0]
    capped = fates(SenderSettings(max_time_s=0.6)).draw(MANY, 1)[0]
    assert free.max() > 0.6
    assert np.array_equal(capped, np.minimum(free, np.float32(0.6)))


def test_senders_with_equal_settings_share_one_read_only_table() -> None:
    times = time_table("gamma", 0.5, 0.15)
    assert times is time_table("gamma", 0.5, 0.15)
    with pytest.raises(ValueError, match="read-only"):
        times[0] = 1
