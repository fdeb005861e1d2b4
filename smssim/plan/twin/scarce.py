"""Scarce messages, given to lanes one by one: near the end of a run, or while they are released at a rate.

A loop over events in order of time: a lane finishes, a message becomes available, a lane starts. Knows pools, the
supply and who is given a message first. Must not know faults.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import Limits
from smssim.core.model import Ids, Outcome
from smssim.plan.twin.lots import SPARE, Done, Lot, lots_in_order
from smssim.plan.twin.member import Member
from smssim.plan.twin.pool import Pool
from smssim.plan.twin.supply import Supply

BLOCK: Final = 512  # fresh messages whose fates are drawn together
KEPT: Final = 8192  # finished attempts that are counted together
WEIGH: Final = 32  # starts between two looks at how often senders make requests
PLENTY: Final = 1.5  # messages for each lane: with more, they are no longer scarce
RETRY: Final = int(Outcome.RETRY)

Message = tuple["Block", int, int]  # the block, the place in it, and the tag
Count = Callable[[Member, Done, NDArray[np.bool_] | None], None]  # counts attempts; the mask says which to retry


class Block:
    """Some messages, whose fates are drawn together when the first of them needs one."""

    __slots__ = ("_fates", "ids")

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._fates: dict[tuple[int, int], tuple[list[float], list[int]]] = {}

    def fates(self, pool: Pool, tag: int) -> tuple[list[float], list[int]]:
        """Return the durations in seconds and the outcomes of these messages in the lanes of a pool."""
        fates = self._fates.get((pool.number, tag))
        if fates is None:
            durations_s, outcomes = pool.fates.draw(self.ids.view(np.uint64), tag % SPARE)
            fates = self._fates[pool.number, tag] = (durations_s.tolist(), outcomes.tolist())
        return fates


class Later:
    """Messages that become available later, the first one first."""

    def __init__(self, supply: Supply) -> None:
        """Take them from a supply."""
        self._supply = supply
        self._order = 0
        self.heap: list[tuple[float, int, Message]] = []
        for times_s, lot in supply.take_later():
            self.put_all(times_s, lot)

    def put_all(self, times_s: NDArray[np.float64], lot: Lot) -> None:
        """Put in messages that become available at these times, of shape (n,)."""
        block = Block(lot.ids)
        for i, time_s in enumerate(times_s.tolist()):
            self.put(time_s, (block, i, lot.tag))

    def put(self, time_s: float, message: Message) -> None:
        """Put one in."""
        self._order += 1
        heappush(self.heap, (time_s, self._order, message))

    def next_s(self) -> float:
        """Return when the first one becomes available; infinity if there is none."""
        return self.heap[0][0] if self.heap else math.inf

    def give_back(self) -> None:
        """Put them back into the supply."""
        ids, tags = _columns([message for _, _, message in self.heap])
        times_s = np.array([time_s for time_s, _, _ in self.heap])
        for tag in np.unique(tags).tolist():
            self._supply.put_later(ids[tags == tag], tag, times_s[tags == tag])


class Scarcity:
    """A time in which messages are scarce. The columns of pools and supply are lists meanwhile."""

    def __init__(
        self,
        members: Sequence[Member],
        supply: Supply,
        count: Count,
        random: np.random.Generator,
        wait_s: float,
        limits: Limits,
        until_s: float,
    ) -> None:
        """Take the messages out of the supply, and out of the lanes that finish before `until_s`.

        `wait_s`: between two reports of a sender.
        """
        self._members = [member for member in members if member.pool is not None]
        self._pools = [member.pool for member in members if member.pool is not None]
        self._supply, self._count, self._limits, self._wait_s = supply, count, limits, wait_s
        self._random = random
        self._luck: list[float] = []
        self._until_s = until_s
        self._idle = [np.flatnonzero(pool.outcomes == 0).tolist()[::-1] for pool in self._pools]
        self._idle_lanes = sum(map(len, self._idle))
        self._used_lanes = [pool.used_lanes for pool in self._pools]
        self._busy = [pool.lanes - len(idle) for pool, idle in zip(self._pools, self._idle, strict=True)]
        # Messages of each copy of a sender, by pool: a copy that has none left reports sooner.
        self._held = [
            np.bincount(pool.sender_of(np.flatnonzero(pool.outcomes)), minlength=pool.senders).tolist()
            for pool in self._pools
        ]
        self._under = self._messages_in_lanes()  # a heap: done when, place of the pool, lane, outcome, message
        self._ready: deque[Message] = deque()
        for lot in supply.take_ready():
            block = Block(lot.ids)
            self._ready.extend((block, i, lot.tag) for i in range(len(lot)))
        self._later = Later(supply)
        self._own = [Later(member.retries) for member in self._members]
        for own, member in zip(self._own, self._members, strict=True):
            for lot in member.retries.ready.drop():
                own.put_all(np.zeros(len(lot)), lot)
        self._block, self._begin = Block(np.empty(0, np.int64)), 0  # of fresh messages
        self._done: list[list[tuple[float, int, Message, bool]]] = [[] for _ in self._pools]
        self._kept = 0
        self._shares: list[float] = []  # of requests, summed up pool by pool
        self._each = 0.0  # requests between two rounds
        self._starts = 0

    def _messages_in_lanes(self) -> list[tuple[float, int, int, int, Message]]:
        under = []
        for place, pool in enumerate(self._pools):
            lanes = np.flatnonzero((pool.outcomes > 0) & (pool.free_s < self._until_s))
            block = Block(pool.ids[lanes])
            columns = (pool.free_s[lanes], lanes, pool.outcomes[lanes], pool.tags[lanes])
            rows = zip(*(column.tolist() for column in columns), strict=True)
            under += [(done_s, place, lane, out, (block, i, tag)) for i, (done_s, lane, out, tag) in enumerate(rows)]
            pool.outcomes[lanes] = 0
        heapify(under)
        return under

    # -- the loop

    def play(self, now: float, retry_s: float, *, keeps_retries: bool) -> float:
        """Play until the time is over, messages are plenty, or nothing is left to happen; return until when.

        `retry_s`: from the record of an attempt to the next one of its message. `keeps_retries`: whether a sender gets
        its own retries first.
        """
        under, ready, later, own = self._under, self._ready, self._later.heap, self._own
        plenty = PLENTY * sum(pool.lanes for pool in self._pools)
        fresh_s, limit_s = self._fresh_s(), self._until_s
        starts = 0
        while True:
            done_s = under[0][0] if under else math.inf
            if self._idle_lanes:
                next_s = now if ready else min(fresh_s, later[0][0]) if later else fresh_s
                if keeps_retries and (own_s := min(one.next_s() for one in own)) <= min(done_s, next_s):
                    now = max(now, own_s)
                    if now >= limit_s:
                        break
                    self._start_own(now)
                    continue
                if next_s <= done_s:
                    now = max(now, next_s)
                    starts += 1
                    if now >= limit_s or (starts % WEIGH == 0 and self._supply.available(now) + len(ready) > plenty):
                        break
                    while later and later[0][0] <= now:
                        ready.append(heappop(later)[2])
                    if ready:
                        message = ready.popleft()
                    else:
                        message = self._fresh()
                        fresh_s = self._fresh_s()
                    self._put(self._whose(now), message, now)
                    continue
            if done_s >= limit_s:
                now = limit_s
                break
            now = max(now, done_s)
            self._finish(retry_s, keeps_retries)
        self._give_back()
        return min(now, limit_s)

    def _fresh_s(self) -> float:
        """Return when the next fresh message may be taken; infinity if there is none."""
        return (
            self._supply.release_s(self._supply.next_fresh)
            if self._supply.next_fresh < self._supply.total
            else math.inf
        )

    def _fresh(self) -> Message:
        """Take the next fresh message."""
        number = self._supply.next_fresh
        if number >= self._begin + len(self._block.ids):
            self._block, self._begin = Block(np.arange(number, min(number + BLOCK, self._supply.total))), number
        self._supply.next_fresh += 1
        return (self._block, number - self._begin, 1)

    def _start_own(self, now: float) -> None:
        """Let senders start their own retries that are due; one without an idle lane leaves them to all."""
        for place, own in enumerate(self._own):
            while own.next_s() <= now:
                message = heappop(own.heap)[2]
                if self._idle[place]:
                    self._put(place, message, now)
                else:
                    self._ready.append(message)

    def _put(self, place: int, message: Message, now: float) -> None:
        """Put a message into an idle lane."""
        block, i, tag = message
        pool, lane = self._pools[place], self._idle[place].pop()
        durations_s, outcomes = block.fates(pool, tag)
        pool.idle_s += now - pool.free_s.item(lane)
        done_s = now + durations_s[i]
        self._idle_lanes -= 1
        self._busy[place] += 1
        self._held[place][lane % pool.senders] += 1
        heappush(self._under, (done_s, place, lane, outcomes[i], message))

    def _finish(self, retry_s: float, keeps_retries: bool) -> None:
        """Let the next lane finish, and queue its message again if it is to be retried."""
        done_s, place, lane, outcome, message = heappop(self._under)
        pool, held = self._pools[place], self._held[place]
        pool.free_s[lane] = done_s
        self._idle[place].append(lane)
        self._idle_lanes += 1
        self._busy[place] -= 1
        copy = lane % pool.senders
        held[copy] -= 1
        dry = not held[copy]
        self._done[place].append((done_s, outcome, message, dry))
        self._kept += 1
        if outcome == RETRY and message[2] < SPARE:
            member = self._members[place]
            if done_s <= member.unsettled_s:
                at_s = member.recorded_s(done_s, dry=dry) + retry_s
                (self._own[place] if keeps_retries else self._later).put(at_s, (message[0], message[1], message[2] + 1))
        if self._kept >= KEPT:
            self._flush()

    # -- who gets a message

    def _whose(self, now: float) -> int:
        """Return the place of the pool that gets the next message. Assumes that one has an idle lane.

        The producer gives it to the sender whose request comes first, or else, in its next round, to the one with the
        smallest share of busy lanes. At the start of a run, to the one that joined first. Chance decides
        between equals.
        """
        if len(self._pools) == 1:
            return 0
        places = [place for place, idle in enumerate(self._idle) if idle]
        if len(places) == 1 or not now:
            return places[0]
        if self._supply.round_s:
            asked = self._asked()
            if asked is not None and self._idle[asked]:
                return asked
        shares = [self._busy[place] / self._used_lanes[place] for place in places]
        least = min(shares)
        tied = [place for place, share in zip(places, shares, strict=True) if share == least]
        return tied[0] if len(tied) == 1 else tied[int(self._lucky() * len(tied))]

    def _asked(self) -> int | None:
        """Draw whose request comes next; None if a round of the producer comes before."""
        if self._starts % WEIGH == 0:
            pause_s = max(self._limits.starved_s, self._wait_s / self._limits.looks_per_report)
            per_s = [one.requests_per_s(pause_s, busy) for one, busy in zip(self._members, self._busy, strict=True)]
            total = sum(per_s)
            self._each = self._supply.round_s * total
            self._shares = np.cumsum(per_s).tolist()
        self._starts += 1
        if not self._shares[-1]:
            return None
        # A round comes `round_s` after the last round or request, if there is no request before.
        if self._lucky() < self._each / math.expm1(self._each):
            return None
        at = self._lucky() * self._shares[-1]
        return next(place for place, share in enumerate(self._shares) if at <= share)

    def _lucky(self) -> float:
        """Draw a number from 0 to 1."""
        if not self._luck:
            self._luck = self._random.random(1000).tolist()
        return self._luck.pop()

    # -- the end

    def _flush(self) -> None:
        """Count what was finished. Retries are queued already, except those that are not settled."""
        for member, done in zip(self._members, self._done, strict=True):
            if done:
                ids, tags = _columns([message for _, _, message, _ in done])
                times_s = np.array([time_s for time_s, _, _, _ in done])
                outcomes = np.array([outcome for _, outcome, _, _ in done], np.uint8)
                dry = np.array([dry for _, _, _, dry in done])
                self._count(member, Done(times_s, outcomes, ids, tags, dry), times_s > member.unsettled_s)
                done.clear()
        self._kept = 0

    def _give_back(self) -> None:
        """Put all columns back into the pools and the supply."""
        for place, pool in enumerate(self._pools):
            under = [one for one in self._under if one[1] == place]
            lanes = np.array([lane for _, _, lane, _, _ in under], np.int64)
            pool.free_s[lanes] = [done_s for done_s, *_ in under]
            pool.outcomes[lanes] = [outcome for _, _, _, outcome, _ in under]
            pool.ids[lanes], pool.tags[lanes] = _columns([message for *_, message in under])
        self._supply.ready.put_first(lots_in_order(*_columns(self._ready)))
        for later in (self._later, *self._own):
            later.give_back()
        self._flush()


def _columns(messages: Sequence[Message]) -> tuple[Ids, NDArray[np.int16]]:
    """Return the ids and tags of messages; columns of shape (n,)."""
    ids = np.fromiter((block.ids[i] for block, i, _ in messages), np.int64, len(messages))
    return ids, np.fromiter((tag for _, _, tag in messages), np.int16, len(messages))
