"""Messages that are released at a rate to one sender alone: played in columns, because it is clear who gets each.

Does for one sender what `scarce` does for several. If each message of a batch finds an idle lane, it starts when it
becomes available. If not, a heap of the lanes tells when. Knows one sender and the supply. Must not know others, or
faults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Ids, Outcome
from smssim.plan.twin.lots import SPARE, Done, Tags, columns_of, lots_in_order
from smssim.plan.twin.member import Member
from smssim.plan.twin.pool import LaneNumbers, Outcomes, Pool, Times
from smssim.plan.twin.scarce import Count
from smssim.plan.twin.supply import Supply

BATCH: Final = 8192  # messages that are released meanwhile: their columns fit into the cache
RETRY: Final = int(Outcome.RETRY)

Flags = NDArray[np.bool_]


@dataclass(slots=True)
class _Attempts:
    """Attempts that may matter: columns of shape (n,). First those under way, then messages, then their retries.

    `starts_s` and `done_s` are as early as possible: as if no message waited for a lane.
    """

    starts_s: Times  # -infinity for those under way
    done_s: Times
    outcomes: Outcomes
    ids: Ids
    tags: Tags
    dry: Flags  # whether it leaves a copy of the sender without any message
    delays_s: Times  # from its end until its message becomes available again
    next: LaneNumbers  # place of the next attempt of its message; -1 if there is none, or it comes too late to matter

    def extend(self, other: _Attempts) -> None:
        """Add others behind."""
        for column in self.__slots__:
            setattr(self, column, np.concatenate([getattr(self, column), getattr(other, column)]))


class Alone:
    """Plays a sender to which messages are released alone."""

    def __init__(self, member: Member, supply: Supply, count: Count, random: np.random.Generator) -> None:
        self._member, self._supply, self._count, self._random = member, supply, count, random

    def play(self, now: float, limit_s: float, retry_s: float) -> float:
        """Play about as many messages as belong into a batch, at most until `limit_s`, and return until when.

        `retry_s`: from the record of an attempt to the next one of its message. Assumes that messages are released at
        a rate.
        """
        pool, rate_per_s = self._pool, self._supply.rate_per_s
        assert rate_per_s is not None
        until_s = min(limit_s, now + BATCH / rate_per_s)
        pool.wake(now)
        under_way = pool.under_way()
        timed = self._supply.take_before(until_s)
        ids, tags = columns_of([lot for lot, _ in timed])
        since_s = np.concatenate([np.empty(0), *(times_s for _, times_s in timed)])
        order = np.argsort(since_s, kind="stable")
        ids, tags, since_s = ids[order], tags[order], since_s[order]

        attempts = self._drawn(under_way, np.maximum(since_s, now), ids, tags, until_s, retry_s)
        if self._any_waits(attempts, len(under_way)):
            self._queue(attempts, len(under_way), len(ids), now, until_s)
        started = attempts.starts_s < until_s
        waits = ~started[len(under_way) :][: len(ids)]
        self._give_back(ids[waits], tags[waits], since_s[waits])
        self._finish(attempts, started, len(under_way), now, until_s)
        return until_s

    @property
    def _pool(self) -> Pool:
        assert self._member.pool is not None
        return self._member.pool

    # -- fates

    def _drawn(
        self, under_way: Done, starts_s: Times, ids: Ids, tags: Tags, until_s: float, retry_s: float
    ) -> _Attempts:
        """Return what is under way, these messages, and those of their retries that may start before `until_s`."""
        found = self._attempts(np.full(len(under_way), -math.inf), under_way, retry_s)
        found.extend(self._begun(starts_s, ids, tags, retry_s))
        first = 0
        while first < len(found.ids):
            again = first + np.flatnonzero(_is_retried(found.outcomes[first:], found.tags[first:]))
            again_s = found.done_s[again] + found.delays_s[again]
            again, again_s = again[again_s < until_s], again_s[again_s < until_s]
            first = len(found.ids)
            found.next[again] = first + np.arange(len(again))
            found.extend(self._begun(again_s, found.ids[again], found.tags[again] + 1, retry_s))
        return found

    def _begun(self, starts_s: Times, ids: Ids, tags: Tags, retry_s: float) -> _Attempts:
        """Return attempts that start at these times; columns of shape (n,)."""
        durations_s, outcomes = self._pool.draw(ids, tags)
        return self._attempts(starts_s, Done(starts_s + durations_s, outcomes, ids, tags), retry_s)

    def _attempts(self, starts_s: Times, done: Done, retry_s: float) -> _Attempts:
        """Return attempts that start and end at these times; columns of shape (n,)."""
        done = replace(done, dry=self._random.random(len(done)) < self._dry_share)
        assert done.dry is not None
        delays_s = np.full(len(done), retry_s) + self._member.lags_s(done)
        nothing = np.full(len(done), -1)
        return _Attempts(starts_s, done.times_s, done.outcomes, done.ids, done.tags, done.dry, delays_s, nothing)

    @property
    def _dry_share(self) -> float:
        """How often an attempt leaves a copy of the sender without any message: if its other lanes are idle."""
        pool, rate_per_s = self._pool, self._supply.rate_per_s or 0.0
        idle = max(0.0, 1 - rate_per_s * pool.mean_s / pool.lanes)
        return float(idle ** (pool.lanes / pool.senders - 1))

    # -- starts

    def _any_waits(self, attempts: _Attempts, under_way: int) -> bool:
        """Return whether a message finds no idle lane when it becomes available."""
        starts_s = np.sort(attempts.starts_s[under_way:])
        busy = under_way + np.arange(len(starts_s)) - np.searchsorted(np.sort(attempts.done_s), starts_s, side="right")
        return bool((busy >= self._pool.lanes).any())

    def _queue(self, attempts: _Attempts, under_way: int, messages: int, now: float, until_s: float) -> None:
        """Start each message on the lane that is free first; those that start after `until_s` get infinity."""
        last, place = under_way + messages, under_way
        durations_s = (attempts.done_s - attempts.starts_s).tolist()
        since_s, following, delays_s = attempts.starts_s.tolist(), attempts.next.tolist(), attempts.delays_s.tolist()
        starts_s, done_s = [math.inf] * len(since_s), [math.inf] * len(since_s)
        starts_s[:under_way], done_s[:under_way] = since_s[:under_way], attempts.done_s[:under_way].tolist()
        free_s = done_s[:under_way] + [now] * (self._pool.lanes - under_way)
        heapify(free_s)
        later = [(done_s[i] + delays_s[i], following[i]) for i in range(under_way) if following[i] >= 0]
        heapify(later)
        while True:
            is_retry = bool(later) and (place == last or later[0][0] <= since_s[place])
            if not is_retry and place == last:
                break
            available_s, which = later[0] if is_retry else (since_s[place], place)
            start_s = max(available_s, free_s[0])
            if start_s >= until_s:
                break
            if is_retry:
                heappop(later)
            else:
                place += 1
            end_s = start_s + durations_s[which]
            starts_s[which], done_s[which] = start_s, end_s
            heapreplace(free_s, end_s)
            if following[which] >= 0:
                heappush(later, (end_s + delays_s[which], following[which]))
        attempts.starts_s, attempts.done_s = np.array(starts_s), np.array(done_s)

    # -- the end

    def _give_back(self, ids: Ids, tags: Tags, since_s: Times) -> None:
        """Put back messages that have not started; `since_s`: when they became available. Columns of shape (n,)."""
        supply, was_ready = self._supply, since_s == -math.inf
        supply.ready.put_first(lots_in_order(ids[was_ready], tags[was_ready]))
        is_fresh = ~was_ready & (tags == 1)
        supply.next_fresh -= int(np.count_nonzero(is_fresh))
        for tag in np.unique(tags[~was_ready & ~is_fresh]).tolist():
            which = ~was_ready & (tags == tag)
            supply.put_later(ids[which], tag, since_s[which])

    def _finish(self, attempts: _Attempts, started: Flags, under_way: int, now: float, until_s: float) -> None:
        """Record what has ended by `until_s`, and leave the others in the lanes."""
        pool = self._pool
        begins_s = np.maximum(attempts.starts_s, now)[started]
        busy_s = float((np.minimum(attempts.done_s[started], until_s) - begins_s).sum())
        pool.idle_s += pool.lanes * (until_s - now) - busy_s
        pool.finished_by(until_s)
        new = started & (attempts.done_s > until_s)
        new[:under_way] = False
        pool.go_on(attempts.done_s[new], attempts.outcomes[new], attempts.ids[new], attempts.tags[new], until_s)
        ended = started & (attempts.done_s <= until_s)
        if ended.any():
            goes_on = (attempts.next >= 0) & started[attempts.next]
            done = Done(attempts.done_s, attempts.outcomes, attempts.ids, attempts.tags, attempts.dry)
            self._count(self._member, done.pick(ended), ~goes_on[ended])


def _is_retried(outcomes: Outcomes, tags: Tags) -> Flags:
    retried: Flags = (outcomes == RETRY) & (tags < SPARE)
    return retried
