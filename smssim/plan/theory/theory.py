"""Closed forms for a scenario: when shares of the messages are sent, how sure that is, and where no formula holds.

Stands beside the twin, and is checked against an exact simulation. Knows scenarios and formulas. Must not know how a
scenario is played. Sources are named where the formulas stand: `renewal`, `backlog`, `ending`, `flow`, `waiting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Milestones
from smssim.plan.scenario import PlannedSender, Scenario, ceiling_of
from smssim.plan.theory.backlog import Backlog
from smssim.plan.theory.ending import Rules
from smssim.plan.theory.flow import Answers, Flow, Load, filling
from smssim.plan.theory.limited import LimitedLaw, Short, limited_law, short_of
from smssim.plan.theory.pace import report_lag_s
from smssim.plan.theory.pool import Pool, crossing
from smssim.plan.theory.renewal import law_of
from smssim.plan.theory.waiting import Waiting

_SURE: Final = 0.99  # a share that is reached with a probability between 1 - this and this is a matter of chance
_WAVES_MAX: Final = 0.01  # of the time: a longer time between two waves makes the end a matter of chance
_QUEUE_MAX: Final = 0.02  # of the time: the mean of the queue is known only within about half of its spread
_UNEVEN_MAX: Final = 0.01  # of the time: how much chance may move the mean
_UNEQUAL_MAX: Final = 0.005  # of the time: how much the choice of a sender may matter
_SPREAD_MAX: Final = 0.1  # of the time: with more, the mean says little about any run ...
_SPREAD_LATE_MAX: Final = 0.04  # ... and late in a run, where means and medians differ
_LAG_MAX: Final = 0.2  # of the time: a longer wait for reports would have to be known exactly
_LAG_MIN_S: Final = 0.05  # a shorter one does not matter to people
_BURST_MAX: Final = 0.1  # of the time: until then, lanes may be what messages wait for that a full bucket lets start
_TOKEN_MAX: Final = 0.02  # of the time: with more between two tokens, messages of equal copies end in waves
_JOINS: Final = 16  # groups of lanes that get their first tokens at the same time
_TOTAL_MIN: Final = 50  # messages: with fewer, a run is a matter of chance


def _short_of(sender: PlannedSender) -> Short:
    """Return what a sender is short of while messages wait."""
    if sender.limit is None:
        return Short.LANES
    return short_of(law_of(sender.model), sender.limit, sender.concurrency)


def _pools_of(sender: PlannedSender) -> list[Pool]:
    """Return the lanes of a sender; of one that is short of tokens, its copies. With a limit, lanes join in turn."""
    law, fail, joins_s, limit = law_of(sender.model), sender.model.fail, max(0.0, sender.joins_s), sender.limit
    if limit is None:
        return [Pool(sender.lanes, law, fail, joins_s)]
    if limit.per_s * law.mean_s < sender.concurrency:
        return [Pool(sender.copies, limited_law(law, limit, sender.concurrency), fail, joins_s)]
    waits_s = limit.interval_s * max(0, sender.concurrency - limit.burst)  # until the last lane has its first message
    groups = min(_JOINS, sender.concurrency) if waits_s else 1
    return [Pool(sender.lanes / groups, law, fail, joins_s + waits_s * (i + 0.5) / groups) for i in range(groups)]


def share_reaching(total: int, ceiling: float, count: int) -> float:
    """Return the probability that at least `count` of `total` messages are sent, each with probability `ceiling`.

    The normal approximation of the binomial distribution, with the continuity correction.
    """
    deviation = math.sqrt(total * max(0.0, ceiling * (1 - ceiling)))
    surplus = total * ceiling - count + 0.5
    if deviation < 1e-9:
        return 1.0 if surplus > 0 else 0.0
    return 0.5 * math.erfc(-surplus / deviation / math.sqrt(2))


class Theory:
    """What formulas say about a scenario. Times are in seconds since the first message was delivered.

    They are those that the monitor records, so they include the mean wait for a report. `lag_s` replaces that wait.
    Where no formula holds, a time is None, and `why` or `why_not` says why in words.
    """

    def __init__(self, scenario: Scenario, limits: Limits = LIMITS, *, lag_s: float | None = None) -> None:
        self._scenario = scenario
        senders = sum(sender.copies for sender in scenario.senders)
        self._lag_s = report_lag_s(senders, limits) if lag_s is None else lag_s
        self._last_lag_s = report_lag_s(senders, limits, dry=True) if lag_s is None else lag_s
        self._times: dict[int, float] = {}
        self._pools = [pool for sender in scenario.senders if sender.lanes for pool in _pools_of(sender)]

    # ---- Validity

    @property
    def valid(self) -> bool:
        """Whether formulas hold for this scenario; single shares may still be a matter of chance (`why_not`)."""
        return not self.why

    @cached_property
    def why(self) -> str:
        """Why no formula holds, in words; empty if they hold."""
        if not self._scenario.total:
            return ""
        if 0 < self._scenario.total < _TOTAL_MIN and not self._unplayable:
            return f"fewer than {_TOTAL_MIN} messages: chance decides"
        if why := self._unplayable or self._unclear_limits or self._unclear_senders:
            return why
        if self._lag_s > _LAG_MAX * self._course.last_s and self._lag_s > _LAG_MIN_S:
            return "the run is over before senders have reported more than a few times"
        end_s = self._course.last_s + self._last_lag_s
        early = sorted((fault for fault in self._scenario.faults if fault.at_s < end_s), key=lambda one: one.at_s)
        if early:
            return f"faults ({early[0].kind} {early[0].target} at {early[0].at_s:g} s): only the twin plays them"
        return ""

    @property
    def _unplayable(self) -> str:
        """Why nothing can be computed; empty if something can."""
        if not self._pools:
            return "there is no sender"
        if self._scenario.rate_per_s is None and any(not sender.model.mean_s for sender in self._scenario.senders):
            return "a sender with mean 0 sends as fast as its machine can"
        return ""

    @property
    def _unclear_limits(self) -> str:
        """Why it is unclear what limits of senders do; empty if it isn't."""
        limited = [sender for sender in self._scenario.senders if sender.limit is not None]
        if limited and self._scenario.rate_per_s is not None:
            return f"messages are released at a rate, and {limited[0].name} has a limit: only the twin plays that"
        for sender in limited:
            short, law = _short_of(sender), _pools_of(sender)[0].law
            if short is Short.BOTH:
                return f"the limit of {sender.name} is close to what its lanes can send: chance decides when one waits"
            if not isinstance(law, LimitedLaw):
                continue
            if law.catches_up_s > _BURST_MAX * self._course.last_s:
                return f"a full bucket of {sender.name} lasts for much of the run: lanes and limit take turns"
            if law.mean_s > _TOKEN_MAX * self._course.last_s and sender.copies > 1:
                return f"copies of {sender.name} start few messages each, all at the same times: they end in waves"
        return ""

    @property
    def _unclear_senders(self) -> str:
        """Why it matters which of several senders gets a message, or when senders join; empty if it doesn't."""
        pools = self._pools
        unequal_fail = len({pool.fail for pool in pools}) > 1
        means_s = [pool.law.attempt_s for pool in pools]
        apart_s = max(means_s) - min(means_s)
        chance = "which of the unequal senders gets a message is a matter of chance while lanes are idle"
        if self._scenario.rate_per_s is not None and any(pool.joins_s > 0 for pool in pools):
            # Late lanes make no difference if the others suffice, and all are equal.
            late = all(pool.joins_s > 0 for pool in pools)
            if late or self._flow_load.share >= 0.9 or unequal_fail or apart_s:
                return "senders join while messages are released: what waits until then is not modelled"
            return ""
        idle = self._scenario.rate_per_s is not None or self._scenario.total < sum(
            sender.lanes for sender in self._scenario.senders
        )
        if isinstance(self._course, Backlog):
            stop_s = self._course.stop.at_s
            idle = idle or any(pool.joins_s > 0 and abs(stop_s - pool.joins_s) < max(means_s) for pool in pools)
        if not idle or (not unequal_fail and not apart_s):
            return ""
        half_s = self._sent_s(max(1, self._scenario.total // 2)) if self.ceiling > 0.5 else 0.0
        return chance if unequal_fail or apart_s > _UNEQUAL_MAX * half_s else ""

    def why_not(self, percent: int) -> str:
        """Return why there is no time at which this percentage is sent, in words; empty if there is one."""
        if self.why or not self._scenario.total:
            return self.why or "there are no messages"
        count, share = self._count(percent), self.share_reaching(percent)
        if share < 1 - _SURE:
            return f"only {100 * self.ceiling:.4g}% are sent in the end, so {percent}% never are"
        if share < _SURE:
            return f"{100 * self.ceiling:.4g}% are sent in the end: whether {percent}% are is a matter of chance"
        return self._unclear(percent, count)

    def _unclear(self, percent: int, count: int) -> str:
        """Return why chance decides when this percentage, which is so many messages, is sent; empty if it doesn't."""
        course = self._course
        if course.is_in_waves(count, _WAVES_MAX) or (course.is_late(count) and self._is_uneven(count)):
            return f"chance decides in which round of attempts {percent}% are sent"
        if self._queue_spread_s(count) > _QUEUE_MAX * self._sent_s(count):
            return "the rate is close to what lanes can send: how long messages wait is a matter of chance"
        spread_max = _SPREAD_LATE_MAX if course.is_late(count) else _SPREAD_MAX
        if course.spread_s(count) > spread_max * self._sent_s(count):
            return f"when {percent}% are sent differs too much from one run to the next"
        return ""

    def _queue_spread_s(self, count: int) -> float:
        """Return how much the wait for lanes, or for messages, differs from one run to the next at this count."""
        rate_per_s = self._scenario.rate_per_s
        return 0.0 if rate_per_s is None else self._flow_load.delay_spread_s(count / rate_per_s)

    def _is_uneven(self, count: int) -> bool:
        """Whether a few more failures or long attempts change the time of this count more than a few less.

        If z standard deviations change the time by up and by down, the mean differs by about (up - down) / (2 z^2).
        """
        deviation = math.sqrt(count * self._course.variance)
        most = math.floor(self._scenario.total * self.ceiling)
        at_s = self._sent_s(count)
        for z in (1, 2):
            less, more = max(1, round(count - z * deviation)), max(count, min(most, round(count + z * deviation)))
            change_s = self._sent_s(less) + self._sent_s(more) - 2 * at_s
            if abs(change_s) > 2 * z * z * _UNEVEN_MAX * at_s:
                return True
        return False

    # ---- Which formulas apply

    @cached_property
    def _rules(self) -> Rules:
        """How messages are tried again, with the failure rate averaged by speed."""
        speed = sum(pool.speed_per_s for pool in self._pools)
        fail = sum(pool.speed_per_s * pool.fail for pool in self._pools) / speed
        scenario = self._scenario
        return Rules(fail, scenario.max_attempts, self._lag_s + scenario.retry_delay_s, scenario.unreachable)

    @property
    def _there(self) -> list[Pool]:
        """The pools that are there from the start, or else all."""
        return [pool for pool in self._pools if pool.joins_s <= 0] or self._pools

    @cached_property
    def _flow_load(self) -> Load:
        assert self._scenario.rate_per_s is not None
        return Load(self._there, self._scenario.rate_per_s, self._rules)

    @cached_property
    def _course(self) -> Backlog | Flow:
        """The formulas: lanes limit the run, or the rate does."""
        total, rules, rate_per_s = self._scenario.total, self._rules, self._scenario.rate_per_s
        pools = self._pools
        if rate_per_s is not None:
            answers = Answers(self._there, total, rules)
            staggered, filled = filling(self._there, rate_per_s, answers)
            if self._flow_load.share < 1 or total <= filled:
                return Flow(total, rate_per_s, rules, self._flow_load, answers)
            pools = staggered + [pool for pool in pools if pool not in self._there]
        return Backlog(pools, total, rules.attempts, rules.lag_s, rules.unreachable)

    # ---- Shares

    @cached_property
    def ceiling(self) -> float:
        """Expected share of all messages that is sent in the end, without faults; 0 without a sender.

        Exact if all senders fail equally often (`ceiling_of`). Otherwise, each attempt goes to a sender by the speeds
        at that time, which is approximate with retries.
        """
        if not self._pools:
            return 0.0
        if not self._scenario.total or self._unplayable:
            return ceiling_of(self._rules.fail, self._rules.attempts, self._rules.unreachable)
        return self._course.ceiling

    @property
    def attempts_per_message(self) -> float:
        """Expected attempts per message, without faults: see `retries`; 0 without messages or senders."""
        return 0.0 if self._unplayable or not self._scenario.total else self._course.attempts_per_message

    def share_reaching(self, percent: int) -> float:
        """Return the probability that this percentage of the messages is ever sent."""
        return share_reaching(self._scenario.total, self.ceiling, self._count(percent)) if self._scenario.total else 0.0

    def _sent_s(self, count: int) -> float:
        """Return when this many messages have been sent, apart from reports; computed once."""
        if count not in self._times:
            self._times[count] = self._course.sent_s(count)
        return self._times[count]

    def _count(self, percent: int) -> int:
        return Milestones.needed(percent, self._scenario.total)

    # ---- Times

    def _idle_s(self, at_s: float) -> float:
        """Return the time that lanes have lost by then because no message was released in time."""
        fast = isinstance(self._course, Backlog) and self._scenario.rate_per_s is not None
        return self._flow_load.idle_s(at_s) if fast else 0.0

    def reached_s(self, percent: int) -> float | None:
        """Return the mean time at which this percentage of all messages was sent; None if there is none to give."""
        return None if self.why_not(percent) else self._recorded_s(self._count(percent))

    def reached_reachable_s(self, percent: int) -> float | None:
        """Return the same for this percentage of the messages that can be reached, as many as are expected."""
        reachable, unreachable = self._scenario.reachable, self._scenario.unreachable
        if not unreachable or not reachable or self.why:
            return None if unreachable else self.reached_s(percent)
        count = Milestones.needed(percent, reachable)
        is_sure = share_reaching(reachable, self.ceiling / (1 - unreachable), count) >= _SURE
        return self._recorded_s(count) if is_sure and not self._unclear(percent, count) else None

    def _recorded_s(self, count: int) -> float:
        """Return the mean time at which the monitor records that so many messages were sent."""
        at_s = self._sent_s(count)
        reached_s, complete_s = at_s + self._idle_s(at_s) + self._lag_s, self.complete_s
        # At the end, senders have nothing left to do and report at once.
        return reached_s if complete_s is None else min(reached_s, complete_s)

    @cached_property
    def complete_s(self) -> float | None:
        """The median time at which the last message has been sent or has failed for good.

        None if not valid, or if chance decides in which round of attempts that is.
        """
        if not self._scenario.total:
            return 0.0
        if self.why or self._course.ends_in_waves(_WAVES_MAX):
            return None
        return self._course.last_s + self._idle_s(self._course.last_s) + self._last_lag_s

    def spread_s(self, percent: int) -> float | None:
        """Return about the standard deviation of `reached_s` from one seed to the next."""
        return None if self.why_not(percent) else self._course.spread_s(self._count(percent))

    @cached_property
    def complete_spread_s(self) -> float | None:
        """About the standard deviation of `complete_s` from one seed to the next."""
        return None if self.why or not self._scenario.total else self._course.last_spread_s

    @cached_property
    def bounds_s(self) -> tuple[float, float] | None:
        """Bounds of the mean time of the last message; None if not valid, or if a limit decides when messages start.

        With equal lanes, Graham 1969, "Bounds on multiprocessing timing anomalies": W / L <= last <= W / L +
        (1 - 1 / L) longest + delays, where W is the time of all attempts, and longest and delays are those of a message
        with all its retries. With unequal lanes or joins, the last start is bounded by Lorden 1970, "On excess over
        the boundary": t / m - 1 <= E N(t) <= t / m + cv^2.
        """
        if self.why or not self._scenario.total or any(isinstance(pool.law, LimitedLaw) for pool in self._pools):
            return None
        pools, rules, rate_per_s = self._pools, self._rules, self._scenario.rate_per_s
        attempts = self._course.attempts_per_message * self._scenario.total
        longest_s, delays_s = rules.attempts * max(p.law.max_s for p in pools), (rules.attempts - 1) * rules.lag_s
        equal = len({(id(p.law), p.joins_s) for p in pools}) == 1
        lanes = sum(p.lanes for p in pools)

        def fluid(ahead: Callable[[Pool], float]) -> float:
            def started(t_s: float) -> float:
                return sum(p.lanes * ((t_s - p.joins_s) / p.law.mean_s + ahead(p)) for p in pools if p.joins_s <= t_s)

            return max(0.0, crossing(started, attempts, 0.0, 1.0)[1])

        high_s = fluid(lambda _: 0.0)
        low_s = high_s if equal else fluid(lambda pool: 1 + pool.law.cv2)
        high_s += longest_s * ((1 - 1 / lanes) if equal else 1.0) + delays_s
        if rate_per_s is not None:
            released_s = (self._scenario.total - 1) / rate_per_s
            low_s, high_s = max(low_s, released_s), released_s + high_s
        return low_s + self._last_lag_s, high_s + self._last_lag_s

    @cached_property
    def waiting(self) -> Waiting | None:
        """How long an attempt waits for a lane in the steady state; None without a rate, or above capacity."""
        if self._scenario.rate_per_s is None or self._unplayable or self._unclear_limits:
            return None
        load = self._flow_load
        return Waiting.of(load.attempts_per_s, load.lanes, load.mean_s, load.cv2)

    def fields(self) -> dict[str, object]:
        """Return the JSON object of the plan about the theory."""
        percents = Milestones.PERCENTS
        return {
            "reached_s": {str(percent): self.reached_s(percent) for percent in percents},
            "reached_reachable_s": {str(percent): self.reached_reachable_s(percent) for percent in percents},
            "complete_s": self.complete_s,
            "valid": self.valid,
            "why": self.why or None,
        }
