"""The twin: plays a scenario in virtual time, message by message, far faster than a live run.

While messages suffice, each pool of lanes advances alone to a common horizon. Once they are short (near the end, or
with a rate), `scarce` gives the next message to the lane that is free first. Faults are in `trouble`. Not played are
the network, CPU time, and the queues ahead of senders that send as fast as they declare.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fault import FaultKind
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Outcome
from smssim.core.pace import sender_wait_s
from smssim.core.reach import Reach
from smssim.plan.scale import FULL, Scale, moments, speed_per_s
from smssim.plan.scenario import Scenario, attempts_each
from smssim.plan.twin.alone import Alone
from smssim.plan.twin.course import Course
from smssim.plan.twin.idle import start_all
from smssim.plan.twin.lots import SPARE, Done, Lot, LotQueue
from smssim.plan.twin.member import HOP_S, Member
from smssim.plan.twin.pool import GiveBack, Pool, Take
from smssim.plan.twin.retries import deal, keep_own
from smssim.plan.twin.scarce import Scarcity
from smssim.plan.twin.supply import Supply
from smssim.plan.twin.tokens import LimitedScarcity
from smssim.plan.twin.trouble import Trouble
from smssim.plan.twin.turns import in_turn, starts_s

WINDOW_MEANS: Final = 0.2  # a horizon shorter than this, in means, is not worth a pass over each pool
STARTS_MAX: Final = 50_000_000  # in one horizon: bounds the retries that are kept
SENT, FAILED, RETRY = (int(one) for one in (Outcome.SENT, Outcome.FAILED, Outcome.RETRY))  # faster than an enum
SESSION: Final = 5000  # messages that are given to lanes one by one before the columns are looked at again
LANES_MANY: Final = 5000  # with more, messages are given to idle lanes all at once where that is possible
KEEPING: Final = 15  # horizons of a play in which each sender keeps its retries: with 400, times differ by 0.1%
TAIL: Final = 4  # messages a lane that are left when a scaled play goes on in full


class Twin:
    """One play of a scenario."""

    def __init__(
        self, scenario: Scenario, seed: int, scale: Scale = FULL, start_s: float = 0.0, limits: Limits = LIMITS
    ) -> None:
        """Prepare the play.

        `start_s`: from when a process is started, late or again, to when it takes part.
        """
        self.scenario, self.limits, self.start_s = scenario, limits, start_s
        self.now = 0.0
        self.weight = scale.messages  # how many messages each played one stands for
        self._scale = scale
        self._reach = Reach(seed, scenario.unreachable) if scenario.unreachable else None
        self.random = np.random.default_rng([seed, 0x7717])  # for what is luck in a live run: when a fault strikes
        self.members = [
            Member(
                *(number, sender, scenario.faults_of(sender.name), seed),
                *(scenario.max_attempts, scenario.unreachable, scale, limits),
            )
            for number, sender in enumerate(scenario.senders)
        ]
        rate = None if scenario.rate_per_s is None else scenario.rate_per_s / self.weight
        round_s = limits.release_s if (scenario.rate_per_s or 0.0) * limits.release_s > 1 else 0.0
        self.supply = Supply(scenario.total // self.weight, rate, round_s)
        self._time_s = self._expected_s()
        self.course = Course(self._time_s)
        self.final = 0  # messages with their final outcome, each as many as it stands for
        self.total = scenario.total // self.weight * self.weight
        self.wait_s = limits.report_wait_min_s  # between two reports of a sender
        self.has_spare = False  # whether messages are under way that are counted elsewhere
        self.joined = 0  # sessions so far, which set the pace of reports
        # Whether it matters for the outcome of a retry which sender gets it. Then horizons are short.
        is_uneven = scenario.fail is None or any(fault.kind is FaultKind.SLOW for fault in scenario.faults)
        is_unlike = is_uneven or len({sender.model.mean_s for sender in scenario.senders}) > 1  # matters for its time
        self._keeps_retries = is_unlike and scenario.max_attempts > 1 and not scenario.retry_delay_s
        self._is_limited = any(sender.limit is not None for sender in scenario.senders)
        self._alone = [Alone(member, self.supply, self._record_of, self.random) for member in self.members]
        self._horizon_s = math.inf
        if scenario.max_attempts > 1 and (is_uneven or scenario.retry_delay_s or scenario.unreachable):
            # Retries are never at unreachable messages, so it also matters when they come, if there are many of both.
            weight = 100 * scenario.unreachable * max((sender.model.fail for sender in scenario.senders), default=0.0)
            number = KEEPING * min(3.0, max(weight, 1.0 if is_uneven or scenario.retry_delay_s else 0.3))
            self._horizon_s = max(limits.ahead_s / 4, self._time_s / number)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        trouble = Trouble(self)
        joins_s = starts_s(scenario.senders, start_s, self.random, exact=not self._keeps_retries)
        for member, its_s in zip(self.members, joins_s, strict=True):
            self.at(its_s, partial(trouble.join, member))
            for edge_s in member.edges_s:
                self.at(edge_s, partial(self.change, member))
        trouble.schedule()

    def at(self, time_s: float, happen: Callable[[], None]) -> None:
        """Let something happen at this time."""
        heapq.heappush(self._events, (time_s, next(self._order), happen))

    def play(self) -> Course:
        """Play to the end: until all messages have their final outcome, or nothing more can happen."""
        while self.final < self.total:
            limit_s = self._events[0][0] if self._events else math.inf
            if self.now >= limit_s:
                heapq.heappop(self._events)[2]()
            elif not self._step(limit_s):
                break
        end_s = self.course.last_s
        for member in self.members:
            if member.pool is not None:
                member.account(end_s)
        return self.course

    # -- members

    def join(self, member: Member) -> None:
        """Let a sender take part from now on."""
        member.join(self.now)
        member.held, member.is_cut_off = (LotQueue() if member.is_slow else None), False
        self.joined += member.sender.copies
        self.set_pace()

    def change(self, member: Member) -> None:
        """Apply the faults of a sender that begin or end now."""
        member.change(self.now)
        member.set_pace(self.wait_s)
        if member.is_slow and member.takes_directly:
            self.fetch(member)

    def waiting(self) -> float:
        """Return how many messages wait at the producer.

        Senders without a queue ahead here have one in a live run: of as many messages as they ask for ahead or, if
        that is less, of half their share of those that wait.
        """
        direct = [member for member in self.members if member.takes_directly]
        available = self.supply.available(self.now)
        ahead = sum(member.ahead(self.wait_s) for member in direct)
        share = sum(member.declared_per_s for member in direct) / self.declared_per_s if direct else 0.0
        return max(available - ahead, available / (1 + share / 2))

    def _share(self, member: Member) -> float:
        """Return a sender's share of the messages, by the speed that it declares."""
        return member.declared_per_s / self.declared_per_s

    def set_pace(self) -> None:
        """Set the delays that depend on how often senders report."""
        self.wait_s = sender_wait_s(self.joined, self.limits)
        # A settlement travels with the next request: at once if no message waits at the sender, as when they are short.
        self.retry_s = 3 * HOP_S + self.scenario.retry_delay_s  # from the record to the next attempt
        for member in self.members:
            member.set_pace(self.wait_s)

    @property
    def declared_per_s(self) -> float:
        """The speed of all senders that take part, as they declare."""
        return sum(member.declared_per_s for member in self.members if member.pool is not None)

    # -- time

    def _step(self, limit_s: float) -> bool:
        """Go on, at most until `limit_s`; return whether anything can still happen."""
        self.supply.promote(self.now)
        if self._keeps_retries:
            keep_own(self.members, self.supply, self.waiting(), self.now, self.wait_s)
        if self.weight > 1 and self._is_tail():
            self._play_in_full()
        direct = [member for member in self.members if member.takes_directly]
        held = [member for member in self.members if member.takes_held]
        most_s = min([limit_s, *(self._guided_s(one) for one in held)])
        until_s = self._horizon([*direct, *(one for one in held if not one.is_cut_off)], most_s)
        if until_s > self.now:
            turns = in_turn(direct, self._time_s) if self._keeps_retries else []
            for member in turns:
                take = partial(self._take_after, member.retries.ready)
                self._advance_pool(member, math.nextafter(self.now, math.inf), take, self.supply.put_back)
                until_s = min(until_s, member.next_turn_s())
            self._advance([one for one in direct if one not in turns], held, until_s)
            return True
        most_s = min([limit_s, *(self._on_its_own_s(member) for member in held)])
        until_s = self._play_scarce(direct, most_s)
        if until_s == math.inf:
            return False
        self._fetch(held)
        for member in held:
            assert member.held is not None
            self._advance_pool(member, until_s, member.held.take, member.held.put_first)
        self.now = max(self.now, until_s)
        return True

    def _guided_s(self, member: Member) -> float:
        """Return when to fill a queue ahead again: soon, if it holds less and less as fewer messages wait."""
        if member.is_cut_off or self._share(member) * self.waiting() / 2 >= member.ahead(self.wait_s):
            return math.inf
        return self.now + max(self.wait_s, self.limits.ahead_s / 20)

    def _play_scarce(self, members: list[Member], limit_s: float) -> float:
        """Play these senders while messages are short, at most until `limit_s`, and return until when.

        Returns `limit_s` if nothing happens before, which may be infinity.
        """
        pools = [member.pool for member in members if member.pool is not None]
        next_s = min([self.supply.next_s(), *(member.retries.next_s() for member in members)])
        done_s = min((pool.next_done_s() for pool in pools), default=math.inf)
        if not pools or min(next_s, done_s) == math.inf:
            return limit_s
        lanes = sum(pool.lanes for pool in pools)
        again_s = self.retry_s + min(member.dry_lag_s for member in members)  # from an attempt's end to the next one
        soon_s = min(limit_s, max(self.now, min(next_s, done_s)) + again_s)
        if next_s == math.inf or (
            lanes > LANES_MANY and not self._is_limited and start_all(members, self.supply, self.now, soon_s)
        ):
            until_s = soon_s if self.scenario.max_attempts > 1 or next_s < math.inf else limit_s
            for pool in pools:
                self.record(pool, pool.finished_by(until_s))
            return until_s
        if self._is_alone(members[0]):
            return self._alone[members[0].number].play(self.now, limit_s, self.retry_s)
        if not self.now and self.start_s:  # chance decides which process is there first
            members = [members[number] for number in self.random.permutation(len(members))]
        begin_s = max(self.now, min(next_s, done_s))
        pace_per_s = min(sum(pool.per_s for pool in pools), 3 * (self.supply.rate_per_s or math.inf))
        until_s = min(limit_s, begin_s + SESSION / pace_per_s)
        kind = LimitedScarcity if self._is_limited else Scarcity
        scarcity = kind(members, self.supply, self._record_of, self.random, self.wait_s, self.limits, until_s)
        return scarcity.play(self.now, self.retry_s, keeps_retries=self._keeps_retries)

    def _is_alone(self, member: Member) -> bool:
        """Return whether messages are released to this sender alone, and no fault is near."""
        calm = member.unsettled_s == member.hidden_s[0] == math.inf and not (self.has_spare or self._keeps_retries)
        there = [other for other in self.members if other.pool is not None]
        return calm and not self._is_limited and there == [member] and self.supply.rate_per_s is not None

    def _on_its_own_s(self, member: Member) -> float:
        """Return until when a sender with a queue ahead goes on without the supply, and without affecting others."""
        assert member.pool is not None
        assert member.held is not None
        if not member.is_cut_off and self.supply.available(self.now):
            return self.now + self.wait_s
        if member.held.count:
            return self.now + max(self.wait_s, member.pool.mean_s)
        next_s = member.pool.next_done_s() + self.retry_s
        if not member.is_cut_off:
            next_s = min(next_s, self.supply.next_s(), member.retries.next_s())
        return max(self.now + self.wait_s, next_s)

    def _horizon(self, members: list[Member], limit_s: float) -> float:
        """Return how far messages surely suffice for all lanes; now if that is not worth a pass."""
        pools = [member.pool for member in members if member.pool is not None]
        if not pools:
            return self.now
        available = self.supply.available(self.now)
        left_s = min(self._horizon_s, min(0.8 * available, STARTS_MAX) / sum(pool.per_s for pool in pools))
        least_s = WINDOW_MEANS * min(pool.turn_s for pool in pools)
        spread = 6 * max(1.0, *(pool.cv for pool in pools), 1.0)
        while left_s > least_s:
            until_s = min(limit_s, self.now + left_s)
            wanted = sum(
                max(0.0, pool.demand(until_s) - member.retries.ready.count)
                for member, pool in zip(members, pools, strict=True)
            )
            if wanted + spread * math.sqrt(wanted) <= available:
                return until_s
            left_s *= 0.6
        return self.now

    def _advance(self, direct: list[Member], held: list[Member], until_s: float) -> None:
        """Advance all lanes to a horizon until which messages suffice."""
        is_shared = not self._keeps_retries or any(member.asks_early for member in self.members)
        there = [*direct, *(member for member in held if not member.is_cut_off)] if is_shared else []
        shared = [member for member in there if not (self._keeps_retries and member.is_in_waves)]  # it takes them then
        deal(shared, self.supply, self.random)
        for member in direct:
            take = partial(self._take_after, member.retries.ready)
            self._advance_pool(member, until_s, take, self.supply.put_back)
            if member in shared:
                self.supply.ready.put_last(member.retries.ready.drop())
        for member in held:
            queue = member.held
            assert queue is not None
            take = partial(self._take_after, queue)
            self._advance_pool(member, until_s, queue.take if member.is_cut_off else take, queue.put_first)
        self.now = until_s
        self._fetch(held)

    def _advance_pool(self, member: Member, until_s: float, take: Take, give_back: GiveBack) -> None:
        pool = member.pool
        assert pool is not None
        pool.wake(self.now)
        pool.advance(until_s, take, give_back, self.record, sparing=member.held is not None)

    def _take_after(self, queue: LotQueue, wanted: int) -> list[Lot]:
        """Take from a queue ahead first, and then from the supply."""
        lots = queue.take(wanted)
        return lots + self.supply.take(wanted - sum(map(len, lots)), self.now)

    def _fetch(self, held: list[Member]) -> None:
        """Fill the queues ahead of the senders that have one."""
        for member in held:
            if not member.is_cut_off:
                self.fetch(member)

    def windows(self, members: list[Member]) -> list[int]:
        """Return how many messages each of these senders takes from now on if the monitor answers no more."""
        available, total = self.supply.available(self.now), sum(map(self._share, members))
        return [min(member.room(self.wait_s), math.ceil(self._share(member) / total * available)) for member in members]

    def fetch(self, member: Member) -> None:
        """Fill the queue ahead of one sender; see `Member.wants`."""
        wanted = member.wants(self._share(member) * self.waiting(), self.wait_s)
        member.held = member.held or LotQueue()
        member.held.put_last(self.supply.take(wanted, self.now))

    # -- finished attempts

    def record(self, pool: Pool, done: Done) -> None:
        """Count what lanes have finished as the monitor records it."""
        if len(done):
            self._record_of(self.members[pool.number], done, None)

    def _record_of(self, member: Member, done: Done, again: NDArray[np.bool_] | None) -> None:
        """Count what a sender has finished; `again`: which to retry, None for all."""
        if float(done.times_s.max()) > member.unsettled_s:
            reported, settled = member.keep_back(done)
            settled = settled if again is None else settled & again
            done, again = done.pick(reported), settled[reported]
        self.count(member, done.at(done.times_s + member.lags_s(done)), again)

    def count(self, member: Member, done: Done, again: NDArray[np.bool_] | None = None) -> None:
        """Count attempts that are recorded at these times, and queue retries; `again`: which to retry, None for all."""
        if member.hidden_s[0] < math.inf:
            hidden = (done.times_s > member.hidden_s[0]) & (done.times_s < member.hidden_s[1])
            done = done.at(np.where(hidden, member.hidden_s[1], done.times_s))
            if member.hidden_s[1] == math.inf:  # never recorded
                done, again = done.pick(~hidden), None if again is None else again[~hidden]
        if self.has_spare and (spare := done.tags >= SPARE).any():
            self.course.duplicates += self.weight * int(np.count_nonzero(done.outcomes[spare] != RETRY))
            done, again = done.pick(~spare), None if again is None else again[~spare]
        if not len(done):
            return
        final = self.course.add(done.times_s, done.outcomes, self.weight)
        self.final += self.weight * final
        if self._reach is not None:
            failed = done.ids[(done.outcomes == FAILED) & (done.tags == 1)]
            self.course.unreachable += self.weight * int(np.count_nonzero(self._reach.missing(failed.view(np.uint64))))
        member.attempts += self.weight * len(done)
        member.failed += self.weight * int(np.count_nonzero(done.outcomes == FAILED))
        member.sent += self.weight * int(np.count_nonzero(done.outcomes == SENT))
        if final < len(done):
            retry = done.outcomes == RETRY
            self._retry(member, done.pick(retry if again is None else retry & again))

    def _retry(self, member: Member, done: Done) -> None:
        """Queue the next attempts of messages."""
        queue = member.retries if self._keeps_retries and member.pool is not None else self.supply
        for tag in np.unique(done.tags).tolist():
            which = done.tags == tag
            queue.put_later(done.ids[which], tag + 1, done.times_s[which] + self.retry_s)

    def give_again(self, lots: list[Lot]) -> None:
        """Put messages in front, to be delivered again."""
        self.has_spare |= any(lot.tag >= SPARE for lot in lots)
        self.supply.ready.put_first([lot for lot in lots if len(lot)])

    # -- a scaled play

    def _is_tail(self) -> bool:
        """Return whether so few messages are left that the rest is played in full, if that is possible."""
        lanes = sum(member.pool.lanes for member in self.members if member.pool is not None)
        return self._scale.each == 1 and self.supply.fresh <= TAIL * lanes

    def _play_in_full(self) -> None:
        """Let each lane and each message that is left stand for itself from now on."""
        times, self.weight = self.weight, 1
        self.course.tail_s = self.now
        self.supply.multiply(times, self.scenario.total - self.total)
        self.total = self.scenario.total
        for member in self.members:
            self.supply.ready.put_first(member.play_in_full(times))
        self.set_pace()

    def _expected_s(self) -> float:
        """Return about how long the play takes."""
        scenario = self.scenario
        speed = sum(speed_per_s(sender) for sender in scenario.senders)
        fail = min((sender.model.fail for sender in scenario.senders), default=0.0)
        attempts = scenario.total * attempts_each(fail, scenario.max_attempts, scenario.unreachable)
        longest_s = max((moments(sender.model)[0] for sender in scenario.senders), default=1.0)
        released_s = 0.0 if scenario.rate_per_s is None else scenario.total / scenario.rate_per_s
        return max(attempts / speed if speed else 0.0, released_s) + 5 * longest_s + 0.1
