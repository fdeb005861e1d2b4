"""When messages are sent that wait for lanes: the lanes are busy until no message is left to start.

Until then, lanes are independent renewal processes, whatever the order of the messages (Cox 1962). After that, what is
under way ends, and retries find an idle lane at once. Knows lanes, their laws and numbers of messages. Must not know
scenarios, faults or reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Final

import numpy as np

from smssim.plan.theory.ending import Ending, Part, Rules, Stop
from smssim.plan.theory.limited import LimitedLaw
from smssim.plan.theory.pool import Pool, crossing, merged
from smssim.plan.theory.renewal import Floats, Law
from smssim.plan.theory.retries import attempts_per_message, attempts_variance, reachable_under_way, retries_to_come

_STRETCHES_MAX: Final = 16  # between join times, when failure rates differ
_WAVES_MIN: Final = 0.002  # waves that matter less than this are left out
_SHARP_MAX: Final = 0.035  # squared spread of a wave, in mean times: a fifth of the gap between waves
_NORMAL: Final = [NormalDist().inv_cdf((i + 0.5) / 25) for i in range(25)]  # equally likely standard deviations


@dataclass(frozen=True, slots=True)
class _Group:
    """The pools with the same law, as columns of shape (n,)."""

    law: Law | LimitedLaw
    lanes: Floats
    sending: Floats  # lanes times the share of attempts that succeed
    joins_s: Floats

    @classmethod
    def of(cls, law: Law | LimitedLaw, pools: list[Pool]) -> _Group:
        columns = np.array([(pool.lanes, pool.lanes * (1 - pool.fail), pool.joins_s) for pool in pools])
        return cls(law, *columns.T)


class Backlog:
    """All `total` messages (at least 1) wait from the start, each for up to `attempts` attempts.

    A message that fails is ready for its next attempt `lag_s` later, and is then the next to start.
    """

    def __init__(
        self, pools: Sequence[Pool], total: int, attempts: int, lag_s: float, unreachable: float = 0.0
    ) -> None:
        self.pools = merged(pools)
        self.total = total
        self.first_s = min(pool.joins_s for pool in self.pools)
        laws = {id(pool.law): pool.law for pool in self.pools}.values()
        self._groups = [_Group.of(law, [pool for pool in self.pools if pool.law is law]) for law in laws]
        self._attempts = attempts
        self._lag_s = lag_s
        self._unreachable = unreachable

    # ---- Until no message is left to start

    def starts(self, t_s: float) -> float:
        """Return the expected attempts started by then, if messages suffice."""
        return sum(float(group.lanes @ group.law.starts(t_s - group.joins_s)) for group in self._groups)

    def ends(self, t_s: float) -> float:
        """Return the expected attempts finished by then, if messages suffice."""
        return sum(float(group.lanes @ group.law.renewals(t_s - group.joins_s)) for group in self._groups)

    def sent(self, t_s: float) -> float:
        """Return the expected messages sent by then, if messages suffice."""
        sent = sum(float(group.sending @ group.law.renewals(t_s - group.joins_s)) for group in self._groups)
        return sent * self._reachable_by(t_s) if self._unreachable else sent

    def _reachable_by(self, t_s: float) -> float:
        """Return which share of the attempts finished by then is at reachable messages.

        Only first attempts may be at others. A (k + 1)-th attempt begins about k (mean + lag) after a first one, so the
        share of first attempts falls from 1 to that of all attempts of a message.
        """
        rules, ends = (self.retried, self._attempts, self._unreachable), self.ends(t_s)
        takes_place = (1 - self._unreachable) * np.power(self.retried, np.arange(1.0, self._attempts))
        ahead = float(takes_place @ np.arange(1.0, self._attempts)) / attempts_per_message(*rules)
        firsts = (ends + self.speed_per_s * (self.mean_s + self._lag_s) * ahead) / attempts_per_message(*rules)
        return 1 - self._unreachable * min(1.0, firsts / ends) if ends > 0 else 1 - self._unreachable

    def _stretches(self, t_s: float) -> list[tuple[float, float]]:
        """Return the attempts started and the mean failure rate between join times up to `t_s`, in order."""
        edges = sorted({pool.joins_s for pool in self.pools if 0 < pool.joins_s < t_s})
        equal = len({pool.fail for pool in self.pools}) == 1
        edges = [] if equal else edges[:: 1 + len(edges) // _STRETCHES_MAX]
        found, before = [], np.zeros(len(self.pools))
        for edge_s in (*edges, t_s):
            now = np.array(
                [pool.lanes * float(pool.law.starts(np.array([edge_s - pool.joins_s]))[0]) for pool in self.pools]
            )
            started = now - before
            count = float(started.sum())
            fails = float(sum(pool.fail * n for pool, n in zip(self.pools, started, strict=True)))
            found.append((count, min(1.0, max(0.0, fails / count)) if count > 0 else 0.0))
            before = now
        return found

    def _served(self, t_s: float) -> float:
        """Return how many messages the attempts started by then make up, with all their retries."""
        return sum(count / self._each(fail) for count, fail in self._stretches(t_s))

    def _each(self, fail: float) -> float:
        """Return the attempts of a message."""
        return attempts_per_message(fail, self._attempts, self._unreachable)

    @cached_property
    def _need(self) -> tuple[float, float, float]:
        """The attempts of all messages, the messages sent in the end, and when lanes could start all of these."""
        _, high_s = crossing(self._served, self.total, self.first_s - 1e-6, self.first_s)
        stretches = self._stretches(high_s)
        served = sum(count / self._each(fail) for count, fail in stretches)
        count, fail = stretches[-1]
        # The attempts of lanes that start at the same moment may exceed what is needed.
        stretches[-1] = (max(0.0, count - (served - self.total) * self._each(fail)), fail)
        sent = sum(count * (1 - fail) * (1 - self._unreachable / self._each(fail)) for count, fail in stretches)
        return sum(count for count, _ in stretches), sent, high_s

    @property
    def attempts_per_message(self) -> float:
        """Expected attempts per message."""
        return self._need[0] / self.total

    @property
    def ceiling(self) -> float:
        """Expected share of all messages that is sent in the end."""
        return min(1.0, self._need[1] / self.total)

    @cached_property
    def fail(self) -> float:
        """Failure rate of an attempt, averaged over all attempts."""
        return min(1.0, max(0.0, 1 - self._need[1] / self._need[0]))

    @cached_property
    def retried(self) -> float:
        """Failure rate of an attempt at a reachable message, averaged over these attempts."""
        reachable = self._need[0] - self.total * self._unreachable
        return min(1.0, max(0.0, 1 - self._need[1] / reachable)) if self._unreachable < 1 else 0.0

    @cached_property
    def _there(self) -> list[Pool]:
        """The pools that join before all messages have been started."""
        return [pool for pool in self.pools if pool.joins_s <= self._need[2]] or self.pools

    @cached_property
    def speed_per_s(self) -> float:
        """Attempts per second of these pools."""
        return sum(pool.speed_per_s for pool in self._there)

    @property
    def mean_s(self) -> float:
        """Mean time of an attempt, averaged over all attempts."""
        return sum(pool.speed_per_s * pool.law.attempt_s for pool in self._there) / self.speed_per_s

    @cached_property
    def cv2(self) -> float:
        """Squared coefficient of variation of the times, averaged by speed."""
        return sum(pool.speed_per_s * pool.law.cv2 for pool in self._there) / self.speed_per_s

    @cached_property
    def stop(self) -> Stop:
        """When no message is left to start, and what is under way then.

        That moment and what is still to be retried after it depend on each other: found by repetition.
        """
        low_s, high_s = self._start_of(self.total)  # without retries
        shares, reachable, waiting, target = np.ones(1), 1 - self._unreachable, 0.0, float(self.total)
        for _ in range(4 if self._attempts > 1 and self.retried > 0 else 0):
            round_s = self.mean_s + self._lag_s
            rounds = 1 + int(max(0.0, high_s - self.first_s) / round_s * (1 + 1e-9))
            shares, reachable = reachable_under_way(self.retried, self._attempts, rounds, self._unreachable)
            waiting = reachable * self.retried * float(shares[: self._attempts - 1].sum())
            waiting *= self.ends(high_s) - self.ends(high_s - self._lag_s)
            target = max(1.0, self._need[0] - self._to_come(high_s, shares, reachable, waiting))
            low_s, high_s = self._start_of(target)
        before, after = self.starts(low_s), self.starts(high_s)
        share = min(1.0, max(0.0, (target - before) / (after - before))) if after > before else 1.0
        parts = []
        for pool in self.pools:
            left = pool.law.left(high_s - pool.joins_s)
            parts.append(Part(pool, left if share == 1 else pool.law.left(low_s - pool.joins_s), left, share))
        return Stop(high_s, tuple(parts), waiting, shares, reachable)

    def _start_of(self, count: float) -> tuple[float, float]:
        """Return a tiny interval with the mean time at which this many attempts have started."""
        return crossing(self.starts, count - (1 - self.cv2) / 2, self.first_s - 1e-6, self.first_s)

    def _to_come(self, stop_s: float, shares: Floats, reachable: float, waiting: float) -> float:
        """Return the expected attempts after `stop_s` if no message is left to start then."""
        further = retries_to_come(self.retried, self._attempts)
        lanes = (pool.lanes * pool.law.under_way for pool in self.pools if pool.joins_s <= stop_s)
        under_way = min(self.total, sum(lanes))
        to_come = under_way * reachable * float(shares @ further[: len(shares)])
        if waiting > 0:
            again = shares[: self._attempts - 1]
            to_come += waiting * (1 + float(again @ further[1 : len(again) + 1]) / float(again.sum()))
        return to_come

    @cached_property
    def _ending(self) -> Ending:
        rules = Rules(self.retried, self._attempts, self._lag_s)
        return Ending(self.stop, rules, self._need[1])

    @property
    def variance(self) -> float:
        """Variance of the messages sent by a time, per message: of a renewal process, thinned by failures."""
        return (1 - self.fail) * self.cv2 + self.fail

    def sent_s(self, count: int) -> float:
        """Return the mean time at which this many messages have been sent: at most those sent in the end.

        A process that counts reaches k on average when its mean is k - (1 - v) / 2, where v is its variance per mean.
        In waves, this is averaged over where the wave is by chance.
        """
        target = count - (1 - self.variance) / 2
        if self.is_late(count):
            return self.stop.at_s + self._ending.sent_s(count)
        if self.waves(count) < _WAVES_MIN:
            return self._sent_s(target)
        deviation = math.sqrt(self.variance * count)
        targets = [max(0.5, count - 0.5 + z * deviation) for z in _NORMAL]
        return sum(self._sent_s(target) for target in targets) / len(targets)

    def is_in_waves(self, count: int, share: float) -> bool:
        """Whether chance decides in which of several waves this many messages are sent, while messages are left.

        That is, times that differ by more than `share` are likely.
        """
        if self.is_late(count) or self.waves(count) < share:
            return False
        deviation = math.sqrt(self.variance * count)
        first_s, last_s = (self._sent_s(max(0.5, count - 0.5 + z * deviation)) for z in (-2.5, 2.5))
        return last_s - first_s > share * last_s + 6 * deviation / ((1 - self.fail) * self.speed_per_s)

    def ends_in_waves(self, share: float) -> bool:
        """Whether chance decides in which of several waves the last message is, and these are apart by that share."""
        if self.variance < 1e-9:
            return False
        end_s = max(self.mean_s, self.last_s)
        sharp = [pool for pool in self._there if pool.law.cv2 * end_s / pool.law.mean_s < _SHARP_MAX]
        return sum(pool.speed_per_s * pool.law.mean_s for pool in sharp) > share * end_s * self.speed_per_s

    def _sent_s(self, target: float) -> float:
        return crossing(self.sent, target, self.first_s - 1e-6, self.stop.at_s)[1]

    def is_late(self, count: int) -> bool:
        """Whether this many messages are sent only after no message is left to start."""
        return self.sent(self.stop.at_s) < count - (1 - self.variance) / 2

    def waves(self, count: int) -> float:
        """Return how much waves matter when this many messages are sent: the time between two, as a share of the time.

        The waves of a lane fade as exp(-2 pi^2 k cv^2) after k attempts. Without any chance, they don't matter.
        """
        if self.variance * count < 1e-9 or self.fail >= 1:
            return 0.0
        at_s = max(self.mean_s, count / (1 - self.fail) / self.speed_per_s)
        return sum(
            pool.speed_per_s
            / self.speed_per_s
            * math.exp(-2 * math.pi**2 * pool.law.cv2 * at_s / pool.law.mean_s)
            * min(1.0, pool.law.mean_s / at_s)
            for pool in self._there
        )

    @cached_property
    def last_s(self) -> float:
        """The median time at which the last message has been sent or has failed for good."""
        return self.stop.at_s + self._ending.last_s

    @cached_property
    def _stop_spread_s(self) -> float:
        """Standard deviation of when no message is left to start."""
        times = self._need[0] * self.cv2
        each = attempts_variance(self.retried, self._attempts, self._unreachable)
        return math.sqrt(times + self.total * each) / self.speed_per_s

    def spread_s(self, count: int) -> float:
        """Return about the standard deviation of the time at which this many messages have been sent.

        sd / t = sqrt((cv^2 + f / (1 - f)) / A) with A attempts by then; late in the run, see `Ending.spread_s`.
        """
        if self.is_late(count):
            return math.hypot(self._stop_spread_s, self._ending.spread_s(self._ending.sent_s(count)))
        return math.sqrt(self.variance * count) / ((1 - self.fail) * self.speed_per_s)

    @cached_property
    def last_spread_s(self) -> float:
        """About the standard deviation of the time of the last message: half of the middle 68%."""
        return math.hypot(self._stop_spread_s, (self._ending.last_by(0.84) - self._ending.last_by(0.16)) / 2)
