"""When a run will have sent 80, 95 and 99 percent of its messages, and when it will be complete: a forecast during it.

The forecast goes on from the course so far, so it holds whether or not the run follows its plan. Until the waiting
messages are used up, the course is a straight line (`trend`): its rate since the last change, combined with what the
senders declare as long as they have hardly begun. After that, lanes run dry (`drain`). What is sent in the end follows
from the failures so far.

The band holds the true time in about 80% of the cases. Its parts, which add up as variances do:
- the noise of the rate, from the deviations that the run itself has shown, and from what is usual for attempts
- how badly the worst of the forecasts would have missed that the run allowed at earlier moments
- waves, in which attempts end that have started together
- the last messages: which of them takes long is chance, and so is how many fail; how much times vary is estimated
- the pace of reports, and errors of this model; `scripts/calibrate_expected.py` has calibrated the sum

Half way to the time when 95% were sent, it held that time in 83% of 352 runs on which nothing was tuned, and in 76% of
127 that the real core played; it held the time of the end in 80% and 66%, and was widened there since. The band is too
narrow in some classes of runs: after a sender has changed its speed (half of the bands hold), and soon after a pause or
a loss. It is too wide for runs at a rate.

What has not happened yet can't be foreseen: senders that will join, be lost, return, slow down or recover. Nor is it
known here how long retries are delayed, so the end of a run with a long delay is expected too early. Attempts that vary
by more than twice their mean are not modelled.

Decides from figures alone. Must not know plans, or how a forecast is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.crew import Crew, crew_of
from smssim.core.drain import drained, shares_of_retries
from smssim.core.fleet import Others, SenderRow
from smssim.core.history import Samples
from smssim.core.pace import sender_wait_s
from smssim.core.progress import Figures, Milestones
from smssim.core.trend import Z80, Guess, Smooth, Trend, trend

Floats = NDArray[np.float64]

COMPLETE: Final = 100  # the mark of a complete run, in place of a percentage
MOMENTS_MIN: Final = 20  # before that, nothing is said
MINOR: Final = 0.02  # share of the attempts: a sender with fewer that joins changes nothing
EARLY: Final = 0.05  # of the run: a sender that joined before was there from the start
SENT_LEAST: Final = 0.05  # of the final outcomes: with fewer, all outcomes are followed instead
ATTEMPTS_GUESSED: Final = (2, 20)  # bounds of the guess at the maximum, if it is unknown
FOREVER_S: Final = 1e12  # a time that is later is unknown

# The calibration: shares of the time left and of an attempt's time that the model may be off, and factors of the width.
MODEL_ERROR: Final = 0.003
WAVE_ERROR: Final = 0.3  # by the number of waves so far, and 1
WIDER: Final = 1.1
WIDER_AT_THE_END: Final = 1.5


@dataclass(frozen=True, slots=True)
class Expected:
    """When something happens, in seconds of the run: with a probability of 80%, from `low_s` to `high_s`.

    A time of None is never, or unknown: a bound as well if more messages may fail than the mark allows.
    """

    low_s: float | None = None
    median_s: float | None = None
    high_s: float | None = None


UNKNOWN: Final = Expected()


def expected(
    samples: Samples,
    figures: Figures,
    rows: Sequence[SenderRow],
    others: Others,
    max_attempts: int | None = None,
    unreachable: float | None = None,
) -> Mapping[int, Expected] | None:
    """Return when each percentage that is not reached so far will be sent, and under `COMPLETE`, when all is done.

    Returns None before 20 moments, and an empty mapping once the run is complete. `figures`, `rows` and `others` are
    those of the last sample. `max_attempts`, and `unreachable` (the share of the messages), are guessed if None.
    """
    if len(samples.elapsed_s) < MOMENTS_MIN:
        return None
    if figures.done >= figures.total:
        return {}
    needed = {percent: Milestones.needed(percent, figures.total) for percent in Milestones.PERCENTS}
    marks = {percent: count for percent, count in needed.items() if count > figures.sent}
    crew = crew_of(rows, others, figures)
    if crew is None:
        return dict.fromkeys([*marks, COMPLETE], UNKNOWN)
    if unreachable is None:
        unreachable = figures.unreachable / figures.done if figures.done else 0.0
    outlook = _outlook(samples, figures, crew, _attempts_max(figures, max_attempts), unreachable)
    if outlook is None:
        return dict.fromkeys([*marks, COMPLETE], UNKNOWN)
    times = {percent: outlook.sent(count) if outlook.counts_sent else UNKNOWN for percent, count in marks.items()}
    return {**times, COMPLETE: outlook.complete()}


def _attempts_max(figures: Figures, known: int | None) -> int:
    """Return the maximum number of attempts of a message; if it is unknown, the one that explains the failures."""
    if known is not None:
        return max(1, known)
    if not figures.retried:
        return 1
    fail = 1 - figures.sent / max(1, figures.attempts - figures.unreachable)
    failed = figures.failed_reachable / max(1, figures.done - figures.unreachable)
    least, most = ATTEMPTS_GUESSED
    if not (0 < fail < 1 and failed > 0):
        return most
    return min(most, max(least, round(math.log(failed) / math.log(fail))))


@dataclass(frozen=True, slots=True)
class _Outlook:
    """How a run goes on. Messages are those that are sent or, if hardly any are, all with a final outcome."""

    counts_sent: bool
    now_s: float
    counted: int  # messages so far
    total: float  # messages in the end, expected ...
    total_error: float  # ... and the standard deviation
    in_flight: float  # messages in lanes when they begin to run dry
    to_come: float  # of these, those that will be counted
    trend: Trend
    times_s: Floats  # after lanes begin to run dry
    curves: Floats  # shares left at these times; a row each: with the expected spread of times, with less, with more
    constant_s: float  # standard deviation of the times for other reasons

    @property
    def _dry_s(self) -> float:
        """When no message waits any more."""
        return self.now_s + max(0.0, self.total - self.to_come - self.trend.level) / self.trend.per_s

    def sent(self, count: int) -> Expected:
        """Return when this many messages are counted."""
        left = self.total - count  # messages that are counted later
        spread = math.sqrt(max(0.0, 1 - max(0.0, left) / max(self.to_come, 1e-9)))

        def at(deviates: float, curve: Floats) -> float | None:
            if left + deviates * self.total_error < -0.5:
                return None
            some = _messages(max(0.0, left), deviates * spread) if spread else left
            return self._left_s(max(1e-3, some + deviates * self.total_error), self.to_come, curve)

        ahead = min(self.total - self.to_come, count) - self.counted
        return self._band([at(z, self.curves[0]) for z in (Z80, 0.0, -Z80)], [at(0.0, c) for c in self.curves], ahead)

    def complete(self) -> Expected:
        """Return when all messages have a final outcome."""

        def at(deviates: float, curve: Floats) -> float:
            return self._left_s(_messages(0.0, deviates), max(self.in_flight, 1e-9), curve)

        ahead, some = self.total - self.to_come - self.counted, [at(z, self.curves[0]) for z in (Z80, 0.0, -Z80)]
        return self._band(some, [at(0.0, curve) for curve in self.curves], ahead, WIDER_AT_THE_END)

    def _left_s(self, left: float, dry: float, curve: Floats) -> float:
        """Return when so many messages are still to come; `dry`: how many those are when lanes begin to run dry."""
        if left >= dry:
            return self.now_s + max(0.0, self.total - left - self.trend.level) / self.trend.per_s
        return self._dry_s + float(np.interp(-left / dry, -curve, self.times_s))

    def _band(
        self, times_s: Sequence[float | None], by_curve_s: Sequence[float | None], ahead: float, wider: float = WIDER
    ) -> Expected:
        """Return the band: the early, the middle and the late time, with all other uncertainty added.

        `by_curve_s`: the middle time for each of the curves. `ahead`: messages until then, or until lanes run dry.
        """
        early_s, middle_s, late_s = times_s
        ahead, per_s = max(1.0, ahead), self.trend.per_s
        chance = math.sqrt((ahead * self.trend.rate_error) ** 2 + self.trend.noise * ahead + self.trend.wave**2) / per_s
        other_s = Z80 * math.hypot(chance, self.constant_s, MODEL_ERROR * ahead / per_s)
        if early_s is None:
            return UNKNOWN
        if middle_s is None:
            return Expected(self._time_s(early_s - wider * other_s))
        others_s = [time - middle_s for time in by_curve_s if time is not None]
        low_s = middle_s - wider * math.hypot(middle_s - early_s, other_s, min(0.0, *others_s, 0.0))
        if late_s is None:
            return Expected(self._time_s(low_s), self._time_s(middle_s))
        high_s = middle_s + wider * math.hypot(late_s - middle_s, other_s, max(0.0, *others_s, 0.0))
        return Expected(self._time_s(low_s), self._time_s(middle_s), self._time_s(high_s))

    def _time_s(self, time_s: float) -> float | None:
        return max(self.now_s, time_s) if time_s < FOREVER_S else None


def _messages(expected: float, deviates: float) -> float:
    """Return how many messages must be expected to be left so that at most so many are, at this quantile.

    Those that are left are about Poisson distributed, so it is a quantile of the gamma distribution (Wilson, Hilferty).
    """
    shape = expected + 1
    return shape * max(0.05, 1 - 1 / (9 * shape) + deviates / (3 * math.sqrt(shape))) ** 3


def _outlook(samples: Samples, figures: Figures, crew: Crew, max_attempts: int, unreachable: float) -> _Outlook | None:
    """Return how the run goes on; None if it doesn't."""
    counts_sent = figures.sent >= SENT_LEAST * figures.done and figures.sent > 0
    flow = crew.flow / crew.flow.sum()
    fail, wave_s = float(flow @ crew.fail), crew.wave_s()
    missing = figures.total - figures.done
    lately = samples.in_flight[np.searchsorted(samples.elapsed_s, samples.elapsed_s[-1] - wave_s) :]
    crew = crew.filled(min(missing, float(lately.mean())))
    in_flight = min(float(missing), float(crew.in_flight.sum()))
    if counts_sent:
        fails = float(flow @ crew.fail**max_attempts)
        total, total_error = _sent_in_the_end(figures, fails, fail, max_attempts, unreachable)
        retries, counted = (1 - crew.gone) * shares_of_retries(fail, max_attempts), figures.sent
        per_s = crew.sent_per_s
    else:
        total, total_error, retries, counted = float(figures.total), 0.0, np.ones(1), figures.done
        tries = unreachable + (1 - unreachable) * sum(fail**k for k in range(max_attempts))
        per_s = float((crew.in_flight / crew.mean_s).sum()) / tries
    to_come = min(in_flight * float(retries.sum()), total - counted)
    smooth = _smooth(samples, counts_sent, wave_s)
    wait_s = sender_wait_s(figures.senders_seen)
    now_s, last = float(smooth.times_s[-1]), float(smooth.counts[-1])
    level = float(smooth.at(smooth.times_s[-1:])[0]) + per_s * smooth.over_s / 2
    square, square_error = crew.spread(level / last - 1 if last else 0.0, wait_s / 2)
    sends = (1 - crew.gone) * (1 - fail)
    noise = square * sends + (1 - sends) + 0.02
    line = trend(smooth, Guess(per_s, noise, wave_s, _joined_s(crew, flow, now_s, wave_s), crew.has_lost))
    if line.per_s <= 0:
        return None
    spreads = [math.sqrt(max(0.0, square + z * square_error)) for z in (0.0, -Z80, Z80)]
    times_s, curves = drained(spreads, retries, crew.in_flight, crew.mean_s)
    waves = figures.attempts / float(crew.lanes.sum())
    constant_s = math.hypot(wait_s / math.sqrt(12), MODEL_ERROR * wave_s, WAVE_ERROR * wave_s / (1 + waves))
    return _Outlook(
        counts_sent=counts_sent,
        now_s=max(now_s, figures.elapsed_s),
        counted=counted,
        total=total,
        total_error=total_error,
        in_flight=in_flight,
        to_come=to_come,
        trend=line,
        times_s=times_s,
        curves=curves,
        constant_s=constant_s,
    )


def _smooth(samples: Samples, counts_sent: bool, wave_s: float) -> Smooth:
    done = samples.sent if counts_sent else samples.sent + samples.failed
    times_s, counts = samples.elapsed_s, np.maximum.accumulate(done.astype(np.float64))
    if times_s[0] > 0:
        times_s, counts = np.append(0.0, times_s), np.append(0.0, counts)
    return Smooth(times_s, counts, wave_s)


def _sent_in_the_end(
    figures: Figures, fails: float, fail: float, max_attempts: int, unreachable: float
) -> tuple[float, float]:
    """Return how many messages are sent in the end, and the standard deviation.

    `fails`: the probability that a message fails finally although it can be reached. `fail`: that an attempt at it
    does.
    """
    missing = figures.total - figures.done
    gone = missing * unreachable
    others = missing - gone
    more = others * fails
    if max_attempts > 1:  # those that fail finally do so late
        more = min(others, max(0.0, figures.total * (1 - unreachable) * fails - figures.failed_reachable))
    share = (gone + more) / missing
    of_share = max_attempts * fail ** (max_attempts - 1) * math.sqrt(fail * (1 - fail) / (figures.attempts + 20))
    return figures.total - figures.failed - gone - more, math.hypot(
        math.sqrt(missing * share * (1 - share)), missing * of_share
    )


def _joined_s(crew: Crew, flow: Floats, now_s: float, wave_s: float) -> float:
    """Return when the last sender of some weight joined, and its first attempts had ended; 0 if all were there."""
    joined_s = np.where(crew.there_s > 0, now_s - crew.there_s, 0.0)[flow > MINOR]
    last_s = float(joined_s.max()) if len(joined_s) else 0.0
    return last_s + wave_s if last_s > EARLY * now_s else 0.0
