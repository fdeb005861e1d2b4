"""The faults of a scenario, as they strike the twin.

What a live run loses, delivers again or counts twice depends on how long ago a sender last reported and settled: that
is drawn. Knows the twin. Slow and fail faults are in `member`, for they change only how attempts go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.core.model import Outcome
from smssim.core.reconnect import Kind, Loss, Reconnector, Retry
from smssim.plan.twin.lots import SPARE, Done, Lot, LotQueue
from smssim.plan.twin.member import Member
from smssim.plan.twin.pool import Pool

if TYPE_CHECKING:
    from smssim.plan.twin.twin import Twin


class Trouble:
    """All kill and pause faults of one play."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._limits = twin.limits
        self._back_s = 0.0  # when the producer and the monitor are back
        self._backs_off = False  # whether senders that start meanwhile find that out after a backoff

    def schedule(self) -> None:
        """Let each fault strike when it is due."""
        twin = self._twin
        strike = {
            (PRODUCER, FaultKind.KILL): self._producer_killed,
            (PRODUCER, FaultKind.PAUSE): self._producer_paused,
            (MONITOR, FaultKind.KILL): self._monitor_away,
            (MONITOR, FaultKind.PAUSE): self._monitor_away,
        }
        for target in (PRODUCER, MONITOR):
            for fault in _striking(twin.scenario.faults_of(target), twin.start_s):
                if target == PRODUCER and fault.kind is FaultKind.KILL:
                    twin.at(max(0.0, fault.at_s - self._foresight_s), partial(self._foresee_restart, fault))
                twin.at(fault.at_s, partial(strike[target, fault.kind], fault))
        for member in twin.members:
            for fault in _striking(member.faults, twin.start_s):
                self._schedule(member, fault)

    def _schedule(self, member: Member, fault: Fault) -> None:
        """Schedule a fault of a sender. Shortly before, what it finishes is not settled, or not reported, any more."""
        twin = self._twin
        strike = self._killed if fault.kind is FaultKind.KILL else self._paused
        twin.at(max(0.0, fault.at_s - self._foresight_s), partial(self._foresee, member, fault))
        twin.at(fault.at_s, partial(strike, member, fault))

    def _foresee(self, member: Member, fault: Fault) -> None:
        """Draw when this sender last reports and settles before the fault, unless another fault comes before."""
        twin = self._twin
        if twin.now < member.unsettled_s < math.inf:
            return
        since_s = twin.wait_s * twin.random.random()
        member.unreported_s = fault.at_s - since_s
        member.unsettled_s = member.unreported_s - (twin.wait_s if since_s < twin.wait_s / 4 else 0.0)

    @property
    def _foresight_s(self) -> float:
        """How long before a fault it is drawn what is lost by it: longer than between two reports and two commits."""
        return 2 * self._limits.report_wait_max_s + self._limits.save_s

    def _foresee_restart(self, fault: Fault) -> None:
        """Let all that senders finish after the last commit be settled in vain."""
        twin = self._twin
        for member in twin.members:
            unsaved_s = self._limits.save_s * twin.random.random()
            member.unsettled_s = min(member.unsettled_s, fault.at_s - unsaved_s - twin.wait_s / 2)

    # -- senders

    def _killed(self, member: Member, fault: Fault) -> None:
        """Kill a sender: its messages go to others at once."""
        twin = self._twin
        if member.pool is not None:
            self._harvest(member)
            others_have_them = member.is_paused and member.has_expired
            lots = [*member.leave(twin.now), *member.lost_lots(), *self._held(member)]
            if not others_have_them:
                twin.give_again(lots)
            if fault.for_s is not None:
                twin.at(fault.until_s + twin.start_s, partial(self._again, member))
        member.forget()

    def _again(self, member: Member) -> None:
        if member.pool is None:
            self.join(member)

    def join(self, member: Member) -> None:
        """Let a sender take part once it finds its peers."""
        twin = self._twin
        if twin.now < self._back_s:
            found_s = twin.now + self._away_s(member, twin.now, self._back_s) if self._backs_off else self._back_s
            twin.at(found_s, partial(self._again, member))
        else:
            twin.join(member)

    def _paused(self, member: Member, fault: Fault) -> None:
        """Pause a sender: it keeps its messages until it goes on, or until its leases expire."""
        twin, limits = self._twin, self._limits
        if member.pool is None:
            member.forget()
            return
        self._harvest(member)
        self._hold(member)
        member.is_paused, member.has_expired = True, False
        # Its last request is as old as its last report, or as a heartbeat.
        old_s = min(twin.wait_s, limits.heartbeat_s) / 2
        expires_s = fault.at_s + twin.scenario.lease_timeout_s + limits.lease_check_s / 2 - old_s
        if expires_s < fault.until_s:
            twin.at(expires_s, partial(self._expired, member, member.pool))
        if fault.for_s is not None:
            twin.at(fault.until_s, partial(self._resumed, member, member.pool))

    def _expired(self, member: Member, pool: Pool) -> None:
        """Deliver the messages of a paused sender to others, although it may still send some of them."""
        held = member.held
        if member.pool is not pool or member.has_expired:
            return
        member.has_expired = True
        assert held is not None
        lots = held.drop()
        held.put_last(lots)
        self._twin.give_again([*lots, *member.open_lots(), *pool.lots()])

    def _resumed(self, member: Member, pool: Pool) -> None:
        """Let a paused sender go on: it reports what it has finished, and has sent some of what it held."""
        twin, held, has_expired = self._twin, member.held, member.has_expired
        if member.pool is not pool:
            return
        assert held is not None
        member.is_paused = False
        finished = [*member.unreported, pool.finished_by(twin.now)]
        if not has_expired:
            self._settle_retries(member)
        member.forget()
        np.maximum(pool.free_s, twin.now - self._limits.late_max_s, out=pool.free_s)
        pool.advance(twin.now, held.take, held.put_first, lambda _, done: finished.append(done))
        for one in finished:
            done = one.at(np.maximum(one.times_s, twin.now) + member.lag_s)
            twin.count(member, self._late(member, done) if has_expired else done)
        if has_expired:
            pool.tags[pool.outcomes > 0] = self._late(member, pool.under_way()).tags
            self._cut_off(member)
            self._reconnect(member, twin.now + self._away_s(member, twin.now, max(twin.now, member.back_s)))
        else:
            self._reconnected(member, pool)

    def _settle_retries(self, member: Member) -> None:
        """Queue the retries that a sender has reported but not settled."""
        twin = self._twin
        for lot in member.unsettled:
            if lot.tag < SPARE:
                twin.supply.put_later(lot.ids, lot.tag + 1, np.full(len(lot), twin.now + twin.retry_s))

    def _late(self, member: Member, done: Done) -> Done:
        """Return attempts that a sender reports after others got the same messages, some of them marked as spare.

        A message that others have finished is spare here. One that they have not finished is counted here, if this
        attempt is final, and is spare there. If it still waits at the producer, nobody gets it.
        """
        twin = self._twin
        twin.has_spare = True
        final = done.ids[(done.outcomes != Outcome.RETRY) & (done.tags < SPARE)]
        others = [other for other in twin.members if other is not member and other.pool is not None]
        taken = LotQueue()  # in a live run, others have these in their queues ahead
        ahead = sum(other.ahead(twin.wait_s) for other in others if other.held is None)
        taken.put_last(twin.supply.ready.take(ahead))
        unfinished = [taken.make_spare(final), twin.supply.withdraw(final), member.retries.withdraw(final)]
        twin.supply.ready.put_first(taken.drop())
        for other in others:
            assert other.pool is not None
            unfinished += [other.pool.make_spare(final), other.retries.withdraw(final)]
            if other.held is not None:
                unfinished.append(other.held.make_spare(final))
        counted = np.isin(done.ids, np.concatenate(unfinished))
        return Done(done.times_s, done.outcomes, done.ids, np.where(counted, done.tags, done.tags | SPARE))

    # -- the producer

    def _producer_killed(self, fault: Fault) -> None:
        """Cut all senders off. What they have not settled is delivered again once the first of them is back.

        They have sent it, too, but ask for messages before they have settled it all.
        """
        twin = self._twin
        back_s = fault.until_s + twin.start_s
        self._back_s, self._backs_off = max(self._back_s, back_s), True
        returns: list[float] = []
        again: list[Lot] = []
        for member in twin.members:
            if member.pool is None:
                member.forget()
            elif member.is_paused:
                self._expired(member, member.pool)
                member.back_s = max(member.back_s, back_s)
            else:
                self._harvest(member)
                again += [Lot(lot.ids, lot.tag | SPARE) for lot in member.pool.lots()]
                again += [lot if lot.tag >= SPARE else Lot(lot.ids, lot.tag + 1) for lot in member.lost_lots()]
                twin.give_again(self._held(member))
                self._cut_off(member)
                returns.append(twin.now + self._away_s(member, twin.now, back_s))
                self._reconnect(member, returns[-1])
        if returns:
            twin.at(min(returns), partial(twin.give_again, again))

    def _producer_paused(self, fault: Fault) -> None:
        """Let senders go on with what they have."""
        self._back_s = max(self._back_s, fault.until_s)
        for member in self._twin.members:
            if member.pool is not None:
                if not member.is_paused:
                    self._hold(member)
                self._reconnect(member, fault.until_s)

    # -- the monitor

    def _monitor_away(self, fault: Fault) -> None:
        """Record what is finished later, when the monitor is back. Senders go on until their windows are full."""
        twin = self._twin
        back_s = fault.until_s + (twin.start_s if fault.kind is FaultKind.KILL else 0.0)
        self._back_s = max(self._back_s, back_s)
        self._backs_off |= fault.kind is FaultKind.KILL
        members = [member for member in twin.members if member.pool is not None]
        rooms = twin.windows(members)
        for member, room in zip(members, rooms, strict=True):
            wait_s = self._away_s(member, twin.now, back_s) if fault.kind is FaultKind.KILL else back_s - twin.now
            self._harvest(member)
            begin_s, end_s = member.hidden_s
            if not begin_s <= twin.now < end_s:
                begin_s = end_s = twin.now
            member.hidden_s = begin_s, max(end_s, twin.now + wait_s)
            if not (member.is_paused or member.is_cut_off):
                member.held = member.held or LotQueue()
                member.held.put_last(twin.supply.take(room, twin.now))
                member.is_cut_off = True
            self._reconnect(member, twin.now + wait_s + twin.wait_s / 4)

    # -- what several have in common

    def _harvest(self, member: Member) -> None:
        """Record what a sender has finished so far."""
        pool = member.pool
        assert pool is not None
        pool.harvest(np.flatnonzero(pool.free_s <= self._twin.now), self._twin.record)

    def _hold(self, member: Member) -> None:
        """Give a sender what it has ahead, and then nothing more."""
        twin = self._twin
        if member.is_cut_off:
            member.held = member.held or LotQueue()
        else:
            twin.fetch(member)
        member.is_cut_off = True

    def _cut_off(self, member: Member) -> None:
        member.held = LotQueue()
        member.is_cut_off = True

    def _held(self, member: Member) -> list[Lot]:
        """Take the messages out of a sender's queue ahead."""
        return [] if member.held is None else member.held.drop()

    def _reconnect(self, member: Member, at_s: float) -> None:
        """Let a sender take messages again at this time, unless another fault keeps it from them for longer."""
        assert member.pool is not None
        member.back_s = max(member.back_s, at_s)
        self._twin.at(member.back_s, partial(self._reconnected, member, member.pool))

    def _reconnected(self, member: Member, pool: Pool) -> None:
        """Let a sender take messages again, unless it is another one by now, or something else keeps it from them."""
        if member.pool is not pool or member.is_paused or self._twin.now < member.back_s:
            return
        member.is_cut_off = False
        if not member.is_slow:
            self._twin.give_again(self._held(member))
            member.held = None

    def _away_s(self, member: Member, lost_s: float, back_s: float) -> float:
        """Return how long after it was lost a peer is found that is back at `back_s`: the mean over some copies."""
        waits = [self._found_s(lost_s, back_s) - lost_s for _ in range(min(member.sender.copies, 10))]
        return sum(waits) / len(waits)

    def _found_s(self, lost_s: float, back_s: float) -> float:
        """Return when one sender finds its peer again."""
        twin = self._twin
        uniform = twin.random.uniform
        peer = Reconnector(
            "the peer", twin.scenario.give_up_s, lambda a, b: float(uniform(a, b)), self._limits, met=True
        )
        now = lost_s
        while True:
            step = peer.lost(Loss(Kind.MAY_PASS, ""), now)
            if not isinstance(step, Retry):
                return math.inf
            now += step.wait_s
            if now >= back_s:
                return now


def _striking(faults: Iterable[Fault], start_s: float) -> Iterator[Fault]:
    """Yield the kill and pause faults of a node that find it there, and not paused already if they pause it.

    `faults` are in order of time; `start_s`: from when it is started again to when it is there.
    """
    gone_s = paused_s = 0.0  # until then
    for fault in faults:
        if fault.at_s < gone_s or (fault.kind is FaultKind.PAUSE and fault.at_s < paused_s):
            continue
        if fault.kind is FaultKind.KILL:
            gone_s, paused_s = fault.until_s + start_s, 0.0
            yield fault
        elif fault.kind is FaultKind.PAUSE:
            paused_s = fault.until_s
            yield fault
