"""A sender in the twin, with all its copies: its pool of lanes, its queue ahead, and what it has not reported yet.

Knows one sender. Must not know others, or when faults strike.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import Fates
from smssim.core.fault import Fault, changes_s, model_at
from smssim.core.leaseholder import LeaseHolder
from smssim.core.limits import MEAN_MIN_S, Limits
from smssim.core.model import Outcome, declared_speed
from smssim.core.pace import asked_at_least, messages_ahead, window
from smssim.plan.scale import FULL, Scale, moments, speed_per_s
from smssim.plan.scenario import PlannedSender
from smssim.plan.twin.limited import LimitedPool
from smssim.plan.twin.lots import SPARE, Done, Lot, LotQueue, lots_in_order
from smssim.plan.twin.pool import Pool
from smssim.plan.twin.steady import scaled_limit
from smssim.plan.twin.supply import Supply

HOP_S: Final = 0.0005  # one way between two nodes, with what they do about a message on the way


class Member:
    """One sender of the scenario. It takes part while it has a pool."""

    def __init__(
        self,
        number: int,
        sender: PlannedSender,
        faults: tuple[Fault, ...],
        seed: int,
        max_attempts: int,
        unreachable: float,
        scale: Scale,
        limits: Limits,
    ) -> None:
        self.number = number
        self.sender = sender
        self.faults = faults
        self.edges_s = changes_s(faults)
        self.pool: Pool | None = None
        self.is_paused = self.has_expired = False  # the latter: whether its leases have expired in its last pause
        # Its queue ahead. Without one, it takes messages from the supply as its lanes need them, which makes no
        # difference as long as it sends as fast as it declares.
        self.held: LotQueue | None = None
        # Its retries, unless they are delayed. The producer leases them to the sender that settles them, whose request
        # asks for messages too, so others get them only if it has no lane for them.
        self.retries = Supply(0)
        self.is_cut_off = False  # the producer gives it nothing more ...
        self.back_s = 0.0  # ... until then
        # Whether it asks for messages as soon as attempts end, so it asks for no more when it settles them. Then the
        # next sender that asks gets its retries.
        self.asks_early = False
        self.is_slow = False  # slower than it declares, now or before: it keeps a queue ahead
        # What it finishes after these times is recorded but not settled, or not even reported, when a fault strikes.
        self.unsettled_s = self.unreported_s = math.inf
        self.unsettled: list[Lot] = []
        self.unreported: list[Done] = []
        self.lag_s = self.dry_lag_s = HOP_S  # from the end of an attempt to its record; if nothing else is left
        self.hidden_s = (math.inf, math.inf)  # between these times, nothing is recorded
        self.attempts = self.sent = self.failed = 0
        self.used_s = self.lane_s = 0.0  # of its lanes: with a message, and since they joined
        self._scale = scale
        self.declared_per_s = sender.declared_per_s / scale.messages  # of its lanes in this play
        self._seed, self._max_attempts, self._limits = seed, max_attempts, limits
        self._unreachable = unreachable

    def join(self, now: float) -> None:
        """Start to take part."""
        lanes = self._scale.lanes_of(self.sender.lanes)
        self.forget()  # a fault of others may have been foreseen before
        copies = self._scale.copies_of(self.sender.copies)
        if self.sender.limit is None:
            self.pool = Pool(self.number, lanes, copies, now, *self._law(now))
        else:
            limit = scaled_limit(self.sender, self._scale)
            self.pool = LimitedPool(self.number, lanes, copies, now, *self._law(now), limit)

    def change(self, now: float) -> None:
        """Let attempts that start from now on go as the faults say."""
        if self.pool is not None:
            self.pool.change(*self._law(now))

    def _law(self, now: float) -> tuple[Fates, float, float]:
        """Return the fates of attempts that start now, their mean time in seconds, and its coefficient of variation."""
        model = model_at(self.sender.model, self.faults, now)
        sender = self.sender
        usual_per_s = declared_speed(sender.concurrency, sender.model.mean_s, sender.limit)
        self.is_slow |= declared_speed(sender.concurrency, model.mean_s, sender.limit) < usual_per_s
        if model.mean_s < MEAN_MIN_S:  # time must pass, or the order of starts would be undefined
            model = replace(model, mean_s=MEAN_MIN_S, std_s=0.0, distribution="fixed", max_time_s=None)
        model = self._scale.model_of(model, self.sender.lanes)
        return Fates(self._seed, self._max_attempts, model, self._unreachable), *moments(model)

    def play_in_full(self, times: int) -> list[Lot]:
        """Let each lane and each message stand for itself from now on; return messages for which there is no lane."""
        self._scale = FULL
        self.declared_per_s = self.sender.declared_per_s
        self.retries.multiply(times, 0)
        if self.held is not None:
            self.held.multiply(times)
        if self.pool is None:
            return []
        if isinstance(self.pool, LimitedPool) and self.sender.limit is not None:
            self.pool.limit = self.sender.limit
        lots = self.pool.multiply(times, self.sender.lanes, self.sender.copies)
        if self._unreachable:  # which messages are unreachable depends on their ids, and these have changed
            self.pool.draw_again()
        return lots

    @property
    def retried(self) -> float:
        """The share of its attempts after which there is a retry, while attempts are left: f (1 - u) / (1 - u f).

        Of attempts, u times those that are first ones are at unreachable messages.
        """
        fail = self.sender.model.fail
        return fail * (1 - self._unreachable) / (1 - self._unreachable * fail) if fail < 1 else 1.0

    def set_pace(self, wait_s: float) -> None:
        """Set how long an outcome waits for its report, on average, if there is one report in `wait_s` at most.

        An outcome is reported at once if the last report is that old. If outcomes come at random, r of them in
        `wait_s`, there are r + e^-r of them between two reports, and r of these wait half of `wait_s`. A sender that
        has nothing else left reports `Limits.dry_hurry` times sooner after its last report, which may be at once.
        """
        if self.pool is not None:
            sender = self.sender
            each_per_s = declared_speed(sender.concurrency, sender.model.mean_s, sender.limit)
            together = sender.concurrency if self.is_in_waves else 1  # attempts that end at the same time
            ahead = messages_ahead(each_per_s, wait_s, self._limits)
            self.asks_early = asked_at_least(ahead) <= together <= ahead  # with more, it asks for idle lanes again
            look_s = wait_s / self._limits.looks_per_report
            each = min(1e6, wait_s * speed_per_s(self.sender) / self.sender.copies)
            waiting = each / (each + math.exp(-each))  # share of the attempts
            self.lag_s = waiting * (wait_s + look_s) / 2 + HOP_S
            self.dry_lag_s = waiting * (wait_s / self._limits.dry_hurry**2 + look_s) / 2 + HOP_S

    def lags_s(self, done: Done) -> NDArray[np.float64] | float:
        """Return how long after their ends the monitor records these attempts."""
        return self.lag_s if done.dry is None else np.where(done.dry, self.dry_lag_s, self.lag_s)

    def recorded_s(self, done_s: float, *, dry: bool) -> float:
        """Return when the monitor records an attempt that ended at this time; `dry`: and was its sender's last one."""
        at_s = done_s + (self.dry_lag_s if dry else self.lag_s)
        return self.hidden_s[1] if self.hidden_s[0] < at_s < self.hidden_s[1] else at_s

    def leave(self, now: float) -> list[Lot]:
        """Take part no more, and return the messages in its lanes."""
        assert self.pool is not None
        self.account(now)
        lots = self.pool.drop()
        self.pool = None
        self.is_paused, self.back_s = False, 0.0
        return lots

    def account(self, now: float) -> None:
        """Add the lane time of its pool until now, for all lanes that it stands for."""
        assert self.pool is not None
        pool, each = self.pool, self._scale.lanes
        lane_s = pool.lanes * max(0.0, now - pool.joined_s)
        idle_s = pool.idle_s + float(np.maximum(0.0, now - pool.free_s).sum())
        self.lane_s += each * lane_s
        self.used_s += each * max(0.0, lane_s - idle_s)

    # -- messages

    @property
    def is_in_waves(self) -> bool:
        """Whether its lanes start and finish together: all attempts take the same time, and no limit delays them."""
        return self.sender.limit is None and self.pool is not None and self.pool.cv == 0

    def next_turn_s(self) -> float:
        """Return when it asks next, or when some of its retries are ready if that is before."""
        assert self.pool is not None
        again_s = self.retries.next_s()
        return min(self.pool.next_free_s(), again_s if again_s > -math.inf else math.inf)

    def requests_per_s(self, pause_s: float, busy: int) -> float:
        """Return how often all its copies make requests with this many busy lanes, at most once in `pause_s` each.

        A copy makes one when its idle lanes have changed since the last one: it has received or finished a message.
        """
        assert self.pool is not None
        copies = self.sender.copies
        changes_per_s = 2 * busy * self._scale.lanes / self.pool.mean_s / copies
        return copies / (pause_s + 1 / changes_per_s) if changes_per_s else 0.0

    @property
    def takes_directly(self) -> bool:
        """Whether its lanes take messages from the supply."""
        return self.pool is not None and not self.is_paused and self.held is None

    @property
    def takes_held(self) -> bool:
        """Whether its lanes take messages from its queue ahead."""
        return self.pool is not None and not self.is_paused and self.held is not None

    def ahead(self, wait_s: float) -> int:
        """Return how many messages beyond its lanes it asks for."""
        return messages_ahead(self.declared_per_s, wait_s, self._limits)

    def room(self, wait_s: float) -> int:
        """Return how many more messages it takes before its window is full."""
        assert self.pool is not None
        held = 0 if self.held is None else self.held.count
        return max(0, window(self.pool.lanes, self.ahead(wait_s), self._limits) - self.pool.busy - held)

    def wants(self, fair_share: float, wait_s: float) -> int:
        """Return how many messages the producer leases to it now, for its queue ahead and its idle lanes.

        `fair_share`: of the messages that wait, by the speed that it declares.
        """
        assert self.pool is not None
        lanes, busy, held = math.ceil(self.pool.used_lanes), self.pool.busy, 0 if self.held is None else self.held.count
        holder = LeaseHolder(0, "", self.declared_per_s, lanes, lanes, 0.0, limits=self._limits)
        holder.idle_lanes, holder.held = max(0, lanes - busy), held
        holder.leased = holder.delivered = holder.received = busy + held
        holder.credit = max(0, holder.idle_lanes + self.ahead(wait_s) - held)
        return holder.allowance(fair_share)

    def keep_back(self, done: Done) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which of these attempts are reported, and which of them are settled; keep the others in mind."""
        reported, settled = done.times_s <= self.unreported_s, done.times_s <= self.unsettled_s
        self.unreported.append(done.pick(~reported))
        between = done.pick(reported & ~settled)
        is_retry = between.outcomes == Outcome.RETRY
        self.unsettled += lots_in_order(between.ids, np.where(is_retry, between.tags, between.tags | SPARE))
        return reported, settled

    def open_lots(self) -> list[Lot]:
        """Return what it has finished but not settled."""
        return self.unsettled + [lot for done in self.unreported for lot in lots_in_order(done.ids, done.tags)]

    def lost_lots(self) -> list[Lot]:
        """Return what it has finished but not settled, to be delivered again, and forget it."""
        lots = self.open_lots()
        self.forget()
        return lots

    def forget(self) -> None:
        """Forget what it has finished but not settled."""
        self.unsettled.clear()
        self.unreported.clear()
        self.unsettled_s = self.unreported_s = math.inf
