"""How fast a run counts messages, how much chance there is in that, and since when it goes like this.

Reads it off the course of the run so far. Knows times and counts. Must not know senders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z80: Final = 1.2816  # standard deviations on each side of the middle 80% of a normal distribution
BLOCKS: Final = 32  # of equal length into which a course is divided
CHANGES_MAX: Final = 4  # that are looked for
CHANGE: Final = 3.5  # standard deviations between the rates before and after a change
USUAL: Final = 2.0  # the largest such difference that is usual if nothing has changed
DULL: Final = 0.6  # of the median: a block with less shows that the run was held up
RATE_ERROR: Final = 0.01  # of a rate: smaller changes don't matter
GUESS_ERROR: Final = 0.03  # of a guess from what senders say
GUESS_BLOCKS: Final = 2  # that a guess counts for if it is newer than the course
GUESS_WAVES: Final = 0.5  # of the attempts in lanes that a guess counts for at first ...
GUESS_LASTS: Final = 6.0  # ... and after so many waves, it counts no more
NOISE_BLOCKS: Final = 4.0  # that the usual noise counts for
_POINTS: Final = 24  # at which a course is compared with its trend


@dataclass(frozen=True, slots=True)
class Guess:
    """What senders let expect."""

    per_s: float  # messages counted per second
    noise: float  # variance of a count, by its mean
    wave_s: float  # the mean time of an attempt
    since_s: float  # when the last sender joined
    is_newer: bool  # whether the course is known to be out of date: senders were lost


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through a course, and how reliable it is."""

    per_s: float  # messages counted per second, at least 0
    level: float  # messages counted now, without the waves in which attempts end
    rate_error: float  # standard deviation of the rate, as a share of it
    noise: float  # variance of a count, by its mean
    wave: float  # standard deviation of the course from the line, in messages


class Smooth:
    """A course as the mean over the time of one attempt: lanes that are in step make no waves in it."""

    def __init__(self, times_s: Floats, counts: Floats, wave_s: float) -> None:
        """`times_s` and `counts`: shape (n,) with at least two times, ascending."""
        self.times_s, self.counts = times_s, counts
        self.over_s = min(wave_s, float(times_s[-1] - times_s[0]) / 3)
        steps = np.diff(times_s)
        self._slopes = np.diff(counts) / steps
        self._sums = np.append(0.0, np.cumsum((counts[1:] + counts[:-1]) / 2 * steps))

    def at(self, times_s: Floats) -> Floats:
        """Return the mean count over the time before each of these times."""
        upto = self._sum(np.append(times_s, times_s - self.over_s))
        means: Floats = (upto[: len(times_s)] - upto[len(times_s) :]) / self.over_s
        return means

    def _sum(self, times_s: Floats) -> Floats:
        """Return the area under the course up to these times."""
        i = np.searchsorted(self.times_s[1:-1], times_s, "right")
        after_s = times_s - self.times_s[i]
        area: Floats = self._sums[i] + self.counts[i] * after_s + self._slopes[i] * after_s**2 / 2
        return area


def trend(smooth: Smooth, guess: Guess) -> Trend:
    """Return the trend of a course.

    The rate is that since the last change (found by binary segmentation), together with the guess as long as only few
    attempts of each lane have ended. How much chance there is in it follows from the differences between neighbouring
    blocks (the Allan variance), together with the noise that is usual for attempts that are renewals. A division of the
    course in two parts is a forecast of the later part made from the earlier one. If the worst of these forecasts has
    missed by more than is usual, the rate is less certain.
    """
    now_s, counts, block_s = float(smooth.times_s[-1]), *_blocks(smooth, guess)
    is_newer = guess.per_s > 0 and (guess.is_newer or _was_dull(counts))
    used, surprise = _since_change(counts, guess.per_s * block_s if is_newer else None, guess.noise)
    recent = counts[: max(1, used)]
    noise, deviates = _noise(recent, guess.noise)
    if used:
        # The guess, as a number of messages that were counted in some time.
        waves = len(recent) * block_s / guess.wave_s
        guessed = GUESS_WAVES * max(0.0, 1 - waves / GUESS_LASTS) * guess.per_s * guess.wave_s
        seen, over_s = guessed + float(recent.sum()), len(recent) * block_s
        per_s = seen / (over_s + (guessed / guess.per_s if guess.per_s > 0 else 0.0))
    else:
        seen, per_s = guess.per_s * block_s, guess.per_s
    rate_error = math.sqrt(noise / max(1.0, seen)) * deviates * max(1.0, surprise / USUAL)
    level = float(smooth.at(np.array([now_s]))[0]) + per_s * smooth.over_s / 2
    times_s = np.linspace(max(now_s - 2 * smooth.over_s, (smooth.times_s[0] + now_s) / 2), now_s, _POINTS)
    off = np.interp(times_s, smooth.times_s, smooth.counts) - (level + per_s * (times_s - now_s))
    return Trend(per_s, level, rate_error, noise * deviates**2, float(np.sqrt((off**2).mean())))


def _blocks(smooth: Smooth, guess: Guess) -> tuple[Floats, float]:
    """Return the messages counted in blocks of equal length, the latest first, and their length in seconds.

    The blocks leave out the beginning, in which the first attempts are under way, and what was before the last sender
    joined.
    """
    times_s, counts, over_s = smooth.times_s, smooth.counts, smooth.over_s
    now_s, span_s = float(times_s[-1]), float(times_s[-1] - times_s[0])
    first_s = float(times_s[np.argmax(counts > 0)]) if counts[-1] > 0 else now_s
    begin_s = max(
        float(times_s[0]) + over_s + min(0.5 * guess.wave_s, span_s / 3),
        min(first_s + over_s, now_s - 0.1 * span_s),
        min(guess.since_s, now_s - min(over_s, 0.1 * span_s)),
    )
    number = int(np.clip((now_s - begin_s) / over_s, 1, BLOCKS))
    levels = smooth.at(np.linspace(now_s, begin_s, number + 1))
    return np.maximum(0.0, levels[:-1] - levels[1:]), (now_s - begin_s) / number


def _was_dull(counts: Floats) -> bool:
    """Return whether the run was held up lately."""
    return len(counts) > 3 and bool(counts[: len(counts) // 3].min() < DULL * np.median(counts))


def _since_change(counts: Floats, guess: float | None, usual: float) -> tuple[int, float]:
    """Return how many of the latest blocks have passed since the last change, and the worst miss of a forecast.

    `guess`: messages of a block that is expected from now on. If it is given, it counts like latest blocks, and the
    last change may be now.
    """
    ahead = 0 if guess is None else GUESS_BLOCKS
    series = counts if guess is None else np.append(np.full(GUESS_BLOCKS, guess), counts)
    used, surprise = len(series), 0.0
    for _ in range(CHANGES_MAX):
        if used < 3:
            break
        some, later = series[:used], np.arange(1, used)
        mean = max(float(some.mean()), 1.0)
        # The median of squared normal deviates is 0.455; a difference of two blocks has twice their variance.
        seen = float(np.median(np.diff(some) ** 2)) / (2 * 0.455) / mean
        noise = max((seen * (used - 1) + NOISE_BLOCKS * usual) / (used - 1 + NOISE_BLOCKS), 0.02)
        sums = np.cumsum(some)
        apart = np.abs(sums[:-1] / later - (sums[-1] - sums[:-1]) / (used - later))
        off = apart / np.sqrt(noise * mean * (1 / later + 1 / (used - later)) + (RATE_ERROR * mean) ** 2)
        if ahead:
            off[: ahead - 1] = 0.0
            off[ahead - 1] = apart[ahead - 1] / math.sqrt(noise * mean / (used - ahead) + (GUESS_ERROR * mean) ** 2)
        worst = int(np.argmax(off))
        surprise = float(off[worst])
        if surprise < CHANGE:
            break
        used = worst + 1
    return max(0, used - ahead), surprise


def _noise(counts: Floats, usual: float) -> tuple[float, float]:
    """Return the variance of a count by its mean, and how much wider than normal its errors are, being estimated.

    The latter is the ratio of the quantiles of Student's t and the normal distribution (Cornish and Fisher).
    """
    known = len(counts) - 1
    seen = float((np.diff(counts) ** 2).sum()) / 2 / max(float(counts.mean()), 1.0)
    noise = (seen + NOISE_BLOCKS * usual) / (known + NOISE_BLOCKS)
    return noise, 1 + (Z80**2 + 1) / (4 * (0.67 * known + NOISE_BLOCKS))
