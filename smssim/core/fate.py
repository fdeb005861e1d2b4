"""How long an attempt takes, and whether it fails.

Both are pure functions of the run's seed, the message's id, the attempt and the sender's settings. There is no random
generator with a state, so it makes no difference how messages are batched. Must not know lanes, batches or the wire.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import AttemptModel, Attempts, Outcome, Outcomes
from smssim.core.reach import Reach
from smssim.core.splitmix import stream, words

STRATA: Final = 2**16  # equally likely times; another number changes every fate

Floats = NDArray[np.float64]


class Fates:
    """The fates of one sender's attempts in one run.

    `seed` is 0 to 2^64 - 1. An attempt that fails is FAILED if it is attempt `max_attempts`, and RETRY before that. The
    first attempt at one of the `unreachable` messages takes its time and is FAILED, so there is never a second one.
    """

    def __init__(self, seed: int, max_attempts: int, model: AttemptModel, unreachable: float = 0.0) -> None:
        self._seed = seed
        self._reach = Reach(seed, unreachable) if unreachable else None
        self._max_attempts = max_attempts
        self._times = time_table(model.distribution, model.mean_s, model.std_s, model.max_time_s)
        self._fail = np.uint64(math.floor(model.fail * 2**32))

    def draw(self, ids: NDArray[np.uint64], attempt: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return the durations in seconds and the outcomes of one attempt of each of these messages; shapes (n,).

        Attempts are counted from 1. Each message has a random word (`splitmix`) in the stream of this seed and attempt.
        Its low 16 bits choose the time, and its high 32 bits decide whether the attempt fails, so the two are
        independent.
        The chance of failing is `fail` rounded down to a multiple of 2^-32. Outcomes are the same on every machine;
        times may differ in the last bit of float32 if exp() differs.
        """
        word, bits = words(ids, stream(self._seed, attempt))
        np.bitwise_and(word, _LOW, bits)
        durations_s = self._times.take(bits.view(np.int64))
        np.right_shift(word, _32, bits)
        outcomes = (bits < self._fail).view(np.uint8)
        outcomes *= np.uint8((Outcome.RETRY if attempt < self._max_attempts else Outcome.FAILED) - Outcome.SENT)
        outcomes += np.uint8(Outcome.SENT)
        if self._reach is not None and attempt == 1:
            outcomes[self._reach.missing(ids)] = Outcome.FAILED
        return durations_s, outcomes

    def draw_mixed(
        self, ids: NDArray[np.int64] | NDArray[np.uint64], attempts: Attempts | NDArray[np.int16]
    ) -> tuple[NDArray[np.float32], Outcomes]:
        """Return the durations and the outcomes of attempts with different numbers; all columns of shape (n,)."""
        words, first = ids.view(np.uint64), int(attempts[0]) if len(attempts) else 1
        if (attempts == first).all():
            return self.draw(words, first)
        durations_s, outcomes = np.empty(len(ids), np.float32), np.empty(len(ids), np.uint8)
        for number in np.unique(attempts).tolist():
            which = np.flatnonzero(attempts == number)
            durations_s[which], outcomes[which] = self.draw(words[which], number)
        return durations_s, outcomes


_32 = np.uint64(32)
_LOW = np.uint64(STRATA - 1)


@lru_cache(32)
def time_table(distribution: str, mean_s: float, std_s: float, max_time_s: float | None = None) -> NDArray[np.float32]:
    """Return equally likely times in seconds, shape (STRATA,), read-only; senders with equal settings share a table.

    Each entry is the conditional mean of one of STRATA equally likely parts of the distribution, so the mean of the
    table is `mean_s`. The table doesn't show the spread within a part, which is largest in the last one. So no attempt
    takes longer than the mean of the longest 1 in 65,536, and the standard deviation falls short of `std_s`: by less
    than 0.1% if `std_s` is at most the mean, and by less than 1% if it is at most `spread.STD_MEANS_MAX` means, the
    most that settings allow. The standard deviation of the table never exceeds 256 means.

    gamma, lognormal, uniform and normal (cut at zero) have this mean and standard deviation. For exponential, `std_s`
    must be the mean. With fixed, or a standard deviation of 0, each time is the mean. `max_time_s` caps each time,
    which lowers the mean and the standard deviation.
    """
    spread = std_s / mean_s if mean_s > 0 else 0.0
    if distribution == "fixed" or spread < _SPREAD_MIN:
        shape = np.ones(STRATA)
    elif distribution == "uniform":
        shape = 1 + math.sqrt(3) * spread * ((2 * np.arange(STRATA) + 1) / STRATA - 1)
    else:
        shape = _SHAPES[distribution](min(spread, _SPREAD_MAX))
    scale = mean_s / float(shape.mean())
    times: NDArray[np.float32] = (shape * scale).astype(np.float32)
    if max_time_s is not None:
        np.minimum(times, np.float32(max_time_s), out=times)
    times.setflags(write=False)
    return times


# Densities are computed at _NODES points, out to where they fall below e^-_DEPTH of their peak. The spread is the
# standard deviation divided by the mean. Below _SPREAD_MIN, float32 can't distinguish the times from the mean; above
# _SPREAD_MAX, it can't distinguish any time from zero except the last one.
_DEPTH = 45.0
_NODES = 2**15
_SPREAD_MIN, _SPREAD_MAX = 1e-7, 1e9
_CUT_MAX = 100.0  # a normal distribution that is cut here has a spread of 0.9999


def _gamma(spread: float) -> Floats:
    """Return the strata of a gamma distribution, up to a common factor.

    Its shape is k = 1 / spread^2. Over z = log(x / mean), the density is proportional to exp(k (z - e^z)).
    """
    k = spread**-2
    # z - expm1(z) <= -y^2 / (2 + 2y) both at z = -y and at z = log(1 + y).
    reach = _DEPTH / k + math.sqrt((_DEPTH / k) ** 2 + 2 * _DEPTH / k)
    z = np.linspace(-min(reach, 60.0), math.log1p(reach), _NODES)
    density = np.exp(k * (z - np.expm1(z)))
    # Below z[0], e^z vanishes and the density is exponential; for k < 1, most of the mass may lie there.
    below = density[0] / (-k * math.expm1(z[0]))
    return _stratify(np.exp(z), density, below / (z[1] - z[0]))


def _lognormal(spread: float) -> Floats:
    """Return the strata of a lognormal distribution, up to a common factor.

    Over z = log(x / mean), the density is normal with variance log(1 + spread^2) and mean -variance / 2.
    """
    variance = math.log1p(spread**2)
    reach = math.sqrt(2 * _DEPTH * variance)
    # x times the density, whose integral is the mean, peaks at +variance / 2.
    z = np.linspace(-variance / 2 - reach, variance / 2 + reach, _NODES)
    return _stratify(np.exp(z), np.exp(-((z + variance / 2) ** 2) / (2 * variance)))


def _normal(spread: float) -> Floats:
    """Return the strata of a normal distribution cut at zero, up to a common factor.

    Its location is -cut (in standard deviations), chosen so that the spread after the cut is right.
    """
    cut = _solve_cut(spread)
    reach = math.sqrt(2 * _DEPTH)
    if cut > 0:  # only the upper tail is left: exp(-cut t - t^2 / 2)
        t = np.linspace(0, 2 * _DEPTH / (math.sqrt(cut**2 + 2 * _DEPTH) + cut), _NODES)
        return _stratify(t, np.exp(-t * (cut + t / 2)))
    t = np.linspace(max(cut, -reach), reach, _NODES)
    return _stratify(t - cut, np.exp(-(t**2) / 2))


_SHAPES = {"gamma": _gamma, "exponential": _gamma, "lognormal": _lognormal, "normal": _normal}


def _stratify(x: Floats, density: Floats, below: float = 0.0) -> Floats:
    """Return the conditional means of STRATA equally likely parts, ascending, up to a common factor.

    The nodes `x` (ascending, >= 0) are at equal steps of a variable that has this `density`. `below` is the mass
    between zero and x[0], in units of density times a step. F(x) is the mass up to x, and H(x) is the integral of x dF,
    both by the trapezoidal rule. The mean of a part is the difference of H at its ends, divided by the difference of F.
    """
    mass = np.concatenate(([0.0, below], (density[1:] + density[:-1]) / 2))
    mass /= mass.sum()
    x = np.concatenate(([0.0], x))
    f = np.cumsum(mass)
    f[-1] = 1.0
    h = np.concatenate(([0.0], np.cumsum(mass[1:] * (x[1:] + x[:-1]) / 2)))
    edges = np.arange(STRATA + 1) / STRATA
    node = np.searchsorted(f, edges, side="right") - 1
    at_edges: Floats = h[node] + (edges - f[node]) * (x[node] + np.interp(edges, f, x)) / 2
    return (at_edges[1:] - at_edges[:-1]) * STRATA


def _solve_cut(spread: float) -> float:
    """Return where to cut a standard normal so that the excess of the rest over the cut has this spread.

    Found by bisection: the spread grows with the cut, from 1 / -cut for a cut far below 0 towards 1, the spread of an
    exponential distribution.
    """
    low, high = -1 / spread, _CUT_MAX
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _excess_spread(middle) < spread else (low, middle)
    return (low + high) / 2


def _excess_spread(cut: float) -> float:
    """Return the spread of the excess of a standard normal over `cut`, given that it exceeds `cut`.

    With h = density / tail, the mean is h - cut and the variance is 1 - h mean. For a cut of 3 or more, these
    differences lose precision. The ratios r(n) = I(n) / I(n - 1) of the repeated integrals of the tail are used
    instead: n I(n) = I(n - 2) - cut I(n - 1) gives r(n) = 1 / (cut + (n + 1) r(n + 1)), Laplace's continued fraction.
    The mean is r(1), and the mean square is 2 r(1) r(2).
    """
    if cut < 3:
        h = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi) / (math.erfc(cut / math.sqrt(2)) / 2)
        return math.sqrt(1 - h * (h - cut)) / (h - cut)
    second = cut
    for n in range(80, 2, -1):
        second = cut + n / second
    second = 1 / second
    first = 1 / (cut + 2 * second)
    return math.sqrt(2 * second / first - 1)
