"""A lane that is never idle, as a renewal process: how many attempts it has finished, and what is left when it stops.

Knows the table of times of `core.fate`. Must not know scenarios, senders or retries.

Sources: Cox 1962, "Renewal Theory": the renewal function, its asymptote and the residual time. The renewal function is
the sum of all convolution powers of the distribution, here 1 / (1 - F) in the Fourier domain; an exponential damping
keeps what lies beyond the grid from wrapping around (Abate and Whitt 1992, "The Fourier-series method for inverting
transforms of probability distributions").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import STRATA, time_table
from smssim.core.limits import MEAN_MIN_S
from smssim.core.model import AttemptModel

Floats = NDArray[np.float64]
Left = Callable[[Floats], Floats]  # expected unfinished attempts per lane, by seconds since the last start

_CV_WAVES: Final = 0.01  # with a smaller coefficient of variation, waves are treated as normal
_NODES_MAX: Final = 2**16
_ALIAS: Final = 1e-8  # how much of what lies beyond the grid wraps around
_Z: Final = np.linspace(-6.0, 6.0, 4001)
_PHI: Final = np.array([0.5 + 0.5 * math.erf(z / math.sqrt(2)) for z in _Z])


def split(times_s: Floats, step_s: float, nodes: int) -> Floats:
    """Return the distribution of equally likely times on the grid 0, step_s, ...; shape (nodes,).

    Each time is split between the two nodes around it so that the mean is kept. What lies beyond the grid is left out.
    """
    at = times_s / step_s
    low = np.minimum(at.astype(np.int64), nodes)
    share = np.where(low < nodes, at - low, 0.0)
    masses = np.bincount(low, 1 - share, nodes + 1)[:nodes] + np.bincount(low + 1, share, nodes + 2)[:nodes]
    found: Floats = masses / len(times_s)
    return found


class Law:
    """The renewal process of a lane whose attempts take times of this table. All times are in seconds."""

    def __init__(self, times_s: Floats) -> None:
        """`times_s`: equally likely times, ascending and positive."""
        self.times_s = times_s
        self.mean_s = float(times_s.mean())
        self.attempt_s, self.under_way = self.mean_s, 1.0  # of an attempt; attempts, as long as messages wait
        self.max_s = float(times_s[-1])
        self.cv2 = float(times_s.var()) / self.mean_s**2
        self._tail_s = np.append(np.cumsum(times_s[::-1])[::-1], 0.0)  # sum of the times from here on
        cv = math.sqrt(self.cv2)
        self._waves = cv < _CV_WAVES
        if self._waves:
            return
        # The waves have faded after 1 / cv^2 means, and the longest time no longer matters after itself.
        self._span_s = self.mean_s * (4 + 1 / self.cv2) + self.max_s
        finest_s = self.mean_s * min(cv / 16, 1 / 128)
        self._step_s = min(max(self._span_s / _NODES_MAX, finest_s), self.mean_s * min(cv / 8, 1 / 8))
        nodes = min(math.ceil(self._span_s / self._step_s), _NODES_MAX)
        self._span_s = (nodes - 1) * self._step_s
        damping = _ALIAS ** (np.arange(nodes) / nodes)
        density = np.fft.rfft(split(times_s, self._step_s, nodes) * damping)
        self._starts = np.fft.irfft(1 / (1 - density), nodes) / damping  # on the grid, the first start included
        self._renewals = np.cumsum(self._starts) - 1 - self._starts / 2
        self._renewals[0] = 0.0
        self._nodes = np.arange(nodes)

    def survival(self, x_s: Floats) -> Floats:
        """Return the probability that an attempt takes longer."""
        longer: Floats = 1 - np.searchsorted(self.times_s, x_s, side="right") / STRATA
        return longer

    def residual(self, x_s: Floats) -> Floats:
        """Return the probability that an attempt that is under way at a late moment takes at least this much longer."""
        at = np.searchsorted(self.times_s, x_s, side="right")
        left: Floats = (self._tail_s[at] - np.maximum(x_s, 0.0) * (STRATA - at)) / STRATA / self.mean_s
        return left

    def renewals(self, t_s: Floats) -> Floats:
        """Return the expected number of attempts that a lane finishes in this time; 0 if it is negative.

        Up to the end of the grid from the renewal function, and beyond it t / m - (1 - cv^2) / 2. With almost equal
        times, from the normal distribution of the end of each attempt.
        """
        late = np.maximum(t_s / self.mean_s - (1 - self.cv2) / 2, 0.0)
        if self._waves:
            return np.where((t_s >= 0) & (self.cv2 * t_s < self.mean_s), self._wave_renewals(t_s), late)
        steps = np.maximum(t_s, 0.0) / self._step_s
        near = np.interp(steps, self._nodes, self._renewals)
        return np.where(t_s < self._span_s, near, late)

    def starts(self, t_s: Floats) -> Floats:
        """Return the expected number of attempts that a lane has started by then; 0 before 0."""
        return np.where(t_s >= 0, 1 + self.renewals(t_s), 0.0)

    def left(self, stop_s: float) -> Left:
        """Return what a lane that starts nothing after `stop_s` still has to finish, by the seconds since then."""
        if stop_s < 0:
            return np.zeros_like
        if self._waves:
            return self._left_of_waves(stop_s) if self._has_waves(stop_s) else self.residual
        return self._left_on_grid(stop_s) if stop_s < self._span_s - self._step_s else self.residual

    def _left_on_grid(self, stop_s: float) -> Left:
        """Return `left` as the convolution of the starts up to `stop_s` with the survival function."""
        step_s, last = self._step_s, int(stop_s / self._step_s)
        starts = self._starts[: last + 1].copy()
        starts[last] += float(self.starts(np.array([stop_s]))[0]) - starts.sum()
        beyond = min(math.ceil(self.max_s / step_s) + 2, _NODES_MAX)
        masses = split(self.times_s, step_s, beyond)
        ended = np.cumsum(masses) - masses / 2
        ended[0] = 0.0
        starts = starts[max(0, last + 1 - beyond) :]
        size = 1 << (len(starts) + beyond).bit_length()
        open_ = np.fft.irfft(np.fft.rfft(starts, size) * np.fft.rfft(1 - ended, size), size)
        values = np.maximum(np.append(open_[len(starts) - 1 : len(starts) - 1 + beyond], 0.0), 0.0)
        at_s = np.arange(len(values)) * step_s - (stop_s - last * step_s)
        values /= float(np.interp(0.0, at_s, values))

        def left(x_s: Floats) -> Floats:
            found: Floats = np.interp(x_s, at_s, values)
            return found

        return left

    def _has_waves(self, t_s: float) -> bool:
        """Whether the lanes still finish in waves: the end of an attempt spreads by less than a mean."""
        return self.cv2 * t_s < self.mean_s

    def _ended(self, count: Floats, t_s: Floats) -> Floats:
        """Return the probability that a lane has finished this many attempts (at least 1) in this time."""
        if self.cv2 < 1e-12:
            return (count * self.mean_s <= t_s * (1 + 1e-9)).astype(np.float64)
        z = (t_s - count * self.mean_s) / (self.mean_s * np.sqrt(self.cv2 * count))
        ended: Floats = np.interp(z, _Z, _PHI, 0.0, 1.0)
        return ended

    def _counts(self, t_s: float) -> Floats:
        """Return which attempts of a lane may or may not have ended by then: numbers from 1."""
        most = t_s / self.mean_s
        reach = 7 * math.sqrt(self.cv2 * (most + 1)) + 2
        return np.arange(max(1, math.floor(most - reach)), math.ceil(most + reach) + 1, dtype=np.float64)

    def _wave_renewals(self, t_s: Floats) -> Floats:
        """Return the expected number of attempts that have ended, while there are waves."""
        middle = np.floor(np.maximum(t_s, 0.0) / self.mean_s)
        longest_s = min(float(t_s.max()), self.mean_s / self.cv2 if self.cv2 > 0 else math.inf)
        reach = math.ceil(7 * math.sqrt(self.cv2 * max(0.0, longest_s / self.mean_s + 1))) + 1
        counts = middle[:, np.newaxis] + np.arange(-reach, reach + 1)
        ended = np.where(counts > 0, self._ended(np.maximum(counts, 1.0), t_s[:, np.newaxis]), 0.0)
        renewals: Floats = np.maximum(middle - reach - 1, 0.0) + ended.sum(axis=1)
        return renewals

    def _left_of_waves(self, stop_s: float) -> Left:
        """Return `left` with each attempt ending a mean after its start, up to the spread of the end.

        An attempt is unfinished if it has started and not ended. The probability of that is the difference of the two,
        because almost equal times keep their order.
        """
        counts = self._counts(stop_s)
        if counts[0] == 1:
            counts = np.append(0.0, counts)
        started = np.where(counts == 0, 1.0, self._ended(np.maximum(counts, 1.0), np.array(stop_s)))

        def left(x_s: Floats) -> Floats:
            ended = self._ended(counts + 1, np.asarray(x_s)[..., np.newaxis] + stop_s)
            total: Floats = np.maximum(started - ended, 0.0).sum(axis=-1)
            return total

        return left


@lru_cache(64)
def _law(distribution: str, mean_s: float, std_s: float, max_time_s: float | None) -> Law:
    times_s = time_table(distribution, mean_s, std_s, max_time_s).astype(np.float64)
    return Law(np.maximum(times_s, 0.0) if times_s.mean() >= MEAN_MIN_S else np.full(STRATA, MEAN_MIN_S))


def law_of(model: AttemptModel) -> Law:
    """Return the law of a lane of a sender. A mean below `MEAN_MIN_S` counts as that."""
    return _law(model.distribution, model.mean_s, model.std_s, model.max_time_s)
