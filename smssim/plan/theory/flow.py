"""When messages are sent that are released at a rate: lanes wait for messages, or messages soon wait for lanes.

Knows lanes, their laws, a rate and numbers of messages. Must not know scenarios, faults or reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from smssim.plan.theory.ending import Rules
from smssim.plan.theory.pool import Pool, crossing
from smssim.plan.theory.renewal import split
from smssim.plan.theory.retries import (
    NODES,
    Retries,
    UnderWay,
    attempts_per_message,
    attempts_variance,
    generations,
    margin,
    retries,
)
from smssim.plan.theory.waiting import erlang_c, excess

_FILLING: Final = 32  # groups of lanes that get their first message at the same time


class Load:
    """What a rate of releases asks of lanes.

    The queue of messages is a Brownian motion reflected at zero: its drift is the rate minus what the lanes can send,
    its variance is that of the times, and of the number of attempts of a message.
    """

    def __init__(self, pools: Sequence[Pool], rate_per_s: float, rules: Rules) -> None:
        speed = sum(pool.speed_per_s for pool in pools)
        self.lanes = sum(pool.lanes for pool in pools)
        self.cv2 = sum(pool.speed_per_s * pool.law.cv2 for pool in pools) / speed
        self.mean_s = self.lanes / speed  # of an attempt
        self.attempts_per_s = rate_per_s * attempts_per_message(rules.fail, rules.attempts, rules.unreachable)
        self.share = self.attempts_per_s / speed  # of lane time that the messages take; 1 and more is too much
        attempts = attempts_per_message(rules.fail, rules.attempts, rules.unreachable)
        self._rate_per_s = rate_per_s
        self._capacity_per_s = speed / attempts  # messages
        variance = attempts_variance(rules.fail, rules.attempts, rules.unreachable)
        self._variance_per_s = (speed * self.cv2 + rate_per_s * variance) / attempts**2
        self._waits = erlang_c(math.ceil(self.lanes), min(1.0, self.share))
        # Lanes are idle until as many attempts are under way as in the long run: after the mean age of an attempt, and
        # the time that retries take.
        self._warm_s = self.mean_s * (1 + self.cv2) / 2 + (attempts - 1) * (self.mean_s + rules.lag_s)

    def delay_s(self, t_s: float) -> float:
        """Return the mean wait for a lane of a message that is released now, below capacity; 0 above it.

        What the Brownian motion gives is multiplied by the probability that a message waits at all (Erlang C). In the
        steady state, that is the Allen-Cunneen formula. Above capacity, see `filling`.
        """
        if self.share >= 1:
            return 0.0
        return self._waits * self._excess(t_s - self._warm_s) / self._capacity_per_s

    def delay_spread_s(self, t_s: float) -> float:
        """Return about the standard deviation of that wait, which is almost exponential.

        Above capacity, of the time that lanes lose.
        """
        if self.share >= 1:
            return self.idle_s(t_s)
        return self._waits * self._excess(t_s) / self._capacity_per_s

    def idle_s(self, t_s: float) -> float:
        """Return the mean time that lanes have lost by chance until now, although messages are released too fast."""
        surplus = (self._rate_per_s - self._capacity_per_s) * t_s
        return max(0.0, self._excess(t_s) - max(0.0, surplus)) / self._capacity_per_s

    def _excess(self, t_s: float) -> float:
        return excess(self._rate_per_s - self._capacity_per_s, self._variance_per_s, t_s)


class Answers:
    """What happens to a message since its release if no attempt waits for a lane; on a grid of times."""

    def __init__(self, pools: Sequence[Pool], total: int, rules: Rules) -> None:
        """`total`: how many messages there are; what happens to very few of these is left out."""
        speed = sum(pool.speed_per_s for pool in pools)
        count = generations(total, rules.fail, rules.attempts)
        longest_s = max(pool.law.max_s for pool in pools)
        self.step_s = (longest_s + count * (longest_s + rules.lag_s)) / margin(count)
        self.time = sum(
            (pool.speed_per_s / speed * split(pool.law.times_s, self.step_s, NODES) for pool in pools), np.zeros(NODES)
        )
        start = UnderWay((1 - rules.unreachable) * rules.fail * self.time, np.zeros(NODES), np.ones(1))
        lag = split(np.array([rules.lag_s]), self.step_s, NODES)
        self.retries: Retries = retries(start, self.time, lag, rules.fail, rules.attempts)


def filling(pools: Sequence[Pool], rate_per_s: float, answers: Answers) -> tuple[list[Pool], float]:
    """Return the pools with each lane joining when it gets its first message, and how many messages that takes.

    Until all lanes are busy, each attempt starts at once. So lanes are used for the first time at a rate of
    `rate_per_s` times the probability that a message is in an attempt, by the time since its release. If that never
    uses all lanes, the number of messages is infinite.
    """
    lanes = sum(pool.lanes for pool in pools)
    ends = answers.time + answers.retries.ended - answers.retries.started
    busy = 1 - np.cumsum(ends) + ends / 2
    at_s = np.arange(NODES) * answers.step_s
    used = np.append(0.0, np.cumsum((busy[1:] + busy[:-1]) / 2 * rate_per_s * answers.step_s))
    full = min(lanes, float(used.max()))
    filled_s = float(np.interp(full, used, at_s))
    groups = min(_FILLING, math.ceil(lanes))
    joins_s = np.interp(((np.arange(groups) + 0.5) * lanes / groups - 0.5) * full / lanes, used, at_s)
    staggered = [
        Pool(pool.lanes / groups, pool.law, pool.fail, max(pool.joins_s, float(join_s)))
        for pool in pools
        for join_s in joins_s
    ]
    return staggered, rate_per_s * filled_s if used.max() >= lanes * (1 - 1e-3) else math.inf


class Flow:
    """`total` messages (at least 1), released at equal gaps, the first one at 0; lanes suffice for that rate."""

    def __init__(self, total: int, rate_per_s: float, rules: Rules, load: Load, answers: Answers) -> None:
        self._total = total
        self._rate_per_s = rate_per_s
        self._load = load
        gone = rules.unreachable
        self.ceiling = (1 - gone) * (1 - rules.fail**rules.attempts)
        self.attempts_per_message = attempts_per_message(rules.fail, rules.attempts, gone)
        self.variance = load.cv2 + 1 - (1 - gone) * (1 - rules.fail)  # of those sent, per message, late in the run
        self.released_s = (total - 1) / rate_per_s  # when the last message is released
        self._step_s = answers.step_s
        sent = (1 - rules.fail) * ((1 - gone) * answers.time + answers.retries.ended)
        # The integral of a distribution with masses at the nodes is linear between them. Element i is at i + 1 steps.
        self._sent = np.cumsum(np.cumsum(sent)) * answers.step_s
        self._final = np.cumsum(np.cumsum(sent + gone * answers.time + answers.retries.lost)) * answers.step_s

    def _integral(self, x_s: float, *, final: bool) -> float:
        """Return the integral up to `x_s` of the share of messages that are sent (or final) since their release."""
        values, most = (self._final, 1.0) if final else (self._sent, self.ceiling)
        end_s = NODES * self._step_s
        if x_s <= 0:
            return 0.0
        if x_s >= end_s:
            return float(values[-1]) + most * (x_s - end_s)
        node = min(NODES - 1, int(x_s / self._step_s))
        before, after = float(values[node - 1]) if node else 0.0, float(values[node])
        return before + (x_s / self._step_s - node) * (after - before)

    def _done(self, t_s: float, *, final: bool) -> float:
        """Return the expected messages sent (or final) by then if none waits for a lane."""
        half_s = 0.5 / self._rate_per_s
        first, last = t_s + half_s, t_s - self.released_s - half_s
        return self._rate_per_s * (self._integral(first, final=final) - self._integral(last, final=final))

    def sent_s(self, count: int) -> float:
        """Return the mean time at which this many messages have been sent: at most those sent in the end."""
        rank = max(0.0, self._total * self.ceiling - count)
        target = min(count - 0.5, self._total * self.ceiling - 0.7 * min(1.0, rank + 0.5))
        at_s = self._crossing(target, final=False)
        return at_s + self._load.delay_s(min(at_s - self._load.mean_s, self.released_s))

    @cached_property
    def last_s(self) -> float:
        """The median time at which the last message has been sent or has failed for good."""
        return self.last_by(0.5)

    def last_by(self, probability: float) -> float:
        """Return the time by which all messages have a final outcome with this probability."""
        under_way = max(1.0, min(self._total, self._load.attempts_per_s * self._load.mean_s))
        still = under_way * (1 - probability ** (1 / under_way))
        return self._crossing(self._total - still, final=True) + self._load.delay_s(self.released_s)

    def _crossing(self, target: float, *, final: bool) -> float:
        def done(t_s: float) -> float:
            return self._done(t_s, final=final)

        return crossing(done, target, -1.0 / self._rate_per_s, self.released_s)[1]

    def is_late(self, count: int) -> bool:
        """Whether this many messages are sent only after the last one has been released."""
        return self.sent_s(count) > self.released_s

    def is_in_waves(self, count: int, share: float) -> bool:
        """Whether chance decides in which of several waves this many messages are sent: releases make no waves."""
        return False

    def ends_in_waves(self, share: float) -> bool:
        """Whether chance decides in which of several waves the last message is."""
        return False

    def spread_s(self, count: int) -> float:
        """Return about the standard deviation of the time at which this many messages have been sent.

        Of the messages that it takes until as many do not fail for good, of those under way, and of the queue, whose
        length is exponential.
        """
        kept = max(1e-9, self.ceiling)
        lost = count * (1 - kept) / kept**2
        under_way = min(count, self._load.attempts_per_s * self._load.mean_s) * self._load.cv2 / (1 + self._load.cv2)
        queue_s = self._load.delay_spread_s(count / self._rate_per_s)
        return math.hypot(math.sqrt(lost + under_way) / self._rate_per_s, queue_s)

    @cached_property
    def last_spread_s(self) -> float:
        """About the standard deviation of the time of the last message: half of the middle 68%."""
        return math.hypot((self.last_by(0.84) - self.last_by(0.16)) / 2, self._load.delay_spread_s(self.released_s))
