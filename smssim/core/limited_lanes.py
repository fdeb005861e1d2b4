"""Lanes behind a token bucket: many simultaneous sends whose starts a limit spaces.

Messages start in order, each in the lane that is free first, once the lane, the message and a token are there. So the
times of starts follow from these three alone, and are the same however often `advance` is called. A lane is idle until
its message starts.

Knows lanes and a limit, and the time that it is given. Must not know nodes or the wire.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heapreplace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.bucket import Bucket, schedule
from smssim.core.lanes import Finished, LaneNumbers, Lanes, Times, Work, pick
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, StartLimit

FEW: Final = 32  # messages: a round that starts fewer costs more than starting them one by one
ONE_BY_ONE: Final = 1024  # messages that are started one by one before another round

Pool = tuple[LaneNumbers, Times]  # free lanes, and since when, ascending


class LimitedLanes(Lanes):
    """Lanes that start no more messages than a limit allows."""

    def __init__(self, concurrency: int, limit: StartLimit, limits: Limits = LIMITS) -> None:
        super().__init__(concurrency, limits)
        self.bucket = Bucket(limit)
        self._ask_ahead_s = limits.token_ahead_s
        self._advanced_to = -math.inf
        self._arrivals: deque[tuple[int, float]] = deque()  # of the held messages: how many arrived when

    def startable(self, now: float, soon_s: float) -> int:
        """Return how many messages could start within `soon_s` if none was held and many arrived now."""
        return min(self.idle, self.bucket.starts_by(now + soon_s, now))

    def vacant(self, now: float, soon_s: float) -> int:
        """Return how many messages could start within `soon_s` if they arrived now, after the held ones."""
        return max(0, self.startable(now, soon_s) - self.held)

    def next_done_at(self) -> float:
        """Return when the next lane finishes, or when the limit matters to an idle lane if that is sooner.

        That is when the limit allows the next held message to start. If none is held, it is a while before that, so
        that another message can be there in time; and nothing if a message could start already.
        """
        done_at = super().next_done_at()
        if not self.idle:
            return done_at
        starts_at = self.bucket.next_at(-math.inf)
        if self.held:
            return min(done_at, starts_at)
        ask_at = starts_at - self._ask_ahead_s
        return min(done_at, ask_at) if ask_at > self._advanced_to else done_at

    def put(self, work: Work, now: float) -> None:
        """Queue messages that arrive now. If none was held before, start those for which there are lanes and tokens.

        Otherwise, the next `advance` starts them, at the time at which they could start.

        If fates depend on when an attempt starts (`changes`), assumes that `advance` was called with the same `now`.
        """
        if not len(work):
            return
        was_empty = not self.held
        self._held.append(work)
        self.held += len(work)
        self._arrivals.append((len(work), now))
        count = min(self.held, self.startable(now, 0.0)) if was_empty else 0
        if not count:
            return
        starts, full_at = schedule(self.bucket.limit, self.bucket.full_at, np.full(count, now))
        count = int(np.searchsorted(starts, now, "right"))
        if count:
            lanes = self._pool(count)[0]
            started = self._next_drawn(count)[1]
            self._begun(count, float(full_at[count - 1]))
            self.busy += count
            self._occupy(lanes, started, starts[:count] + started.durations_s)

    def advance(self, now: float, earliest: float | None = None) -> list[Finished]:
        """Advance the lanes to `now`, and return what they have finished; see `Lanes.advance`."""
        if earliest is None:
            earliest = now - self._late_max_s
            if self._conditions is not None:
                return self._advance_in_parts(now, earliest)
        self._advanced_to = now
        lanes = np.flatnonzero(self._done_at[: self.used] <= now)
        free_at = self._done_at[lanes]
        finished = [self._finish(lanes, free_at)] if len(lanes) else []
        count = self._most(now, earliest)
        if count <= self.idle:  # enough lanes were free before: it makes no difference which have finished since
            pool = self._pool(count)
            self._retire(lanes)
        else:
            order = np.argsort(free_at)
            idle, since = self._pool(self.idle)
            pool = np.concatenate([idle, lanes[order]]), np.concatenate([since, free_at[order]])
            self._done_at[lanes] = math.inf
            self.busy -= len(lanes)
        while count and len(pool[0]):
            count = min(count, len(pool[0]))
            pool, started, is_cut = self._round(pool, count, now, earliest, finished)
            if started < count and not is_cut:
                break  # the limit, or the messages have only just arrived
            count = self._most(now, earliest)
            if started < FEW and count and len(pool[0]):
                pool, started = self._one_by_one(pool, min(count, ONE_BY_ONE), now, earliest, finished)
                count = self._most(now, earliest)
            count = min(count, 2 * started)
        if len(pool[0]):
            self._idle.append(pool[0])
        return finished

    def drop_held(self) -> Ids:
        """Drop the messages that no lane has started, and return their ids."""
        self._arrivals.clear()
        return super().drop_held()

    def _most(self, now: float, earliest: float) -> int:
        """Return an upper bound on how many of the held messages start by now."""
        if not self.held or self.bucket.next_at(-math.inf) > now:
            return 0
        return min(self.held, self.bucket.starts_by(now, earliest) + 1)

    def _pool(self, count: int) -> Pool:
        """Take this many idle lanes. Since when they are idle makes no difference: a long time, as far as known."""
        parts = [np.empty(0, np.int64)]
        left = count
        while left:
            parts.append(self._idle_lanes(left))
            left -= len(parts[-1])
        return np.concatenate(parts), np.full(count, -math.inf)

    def _round(
        self, pool: Pool, count: int, now: float, earliest: float, finished: list[Finished]
    ) -> tuple[Pool, int, bool]:
        """Start at most this many messages, each in a lane of its own, and append what they finish to `finished`.

        Returns the lanes that are free then, the number of messages, and whether it is lower because a lane that is
        used again would be free before the next one of the pool.
        """
        lanes, free_at = pool[0][:count], pool[1][:count]
        ready_at = np.maximum(free_at, np.maximum(self._arrived_at_each(count), earliest))
        starts, full_at = schedule(self.bucket.limit, self.bucket.full_at, ready_at)
        most = count = int(np.searchsorted(starts, now, "right"))
        if not count:
            return pool, 0, False
        held, work = self._next_drawn(count)
        ends = starts[:count] + work.durations_s
        # Lanes that are free by the time at which limit or arrival let a message start are as good as each other.
        beaten = (free_at[1:count] > np.minimum.accumulate(ends)[:-1]) & (free_at[1:count] >= starts[1:count])
        if beaten.any():
            count = 1 + int(beaten.argmax())
            self._put_back(pick(held, slice(count, None)))
            work, ends = pick(work, slice(count)), ends[:count]
        self._begun(count, float(full_at[count - 1]))
        done = self._under_way(lanes[:count], ends, work, now, finished)
        rest = pool[0][count:], pool[1][count:]
        return _merged(rest, lanes[:count][done], ends[done]), count, count < most

    def _one_by_one(
        self, pool: Pool, most: int, now: float, earliest: float, finished: list[Finished]
    ) -> tuple[Pool, int]:
        """Start messages like `_round`, but use lanes again; return the lanes that are free then, and the number."""
        held, work = self._next_drawn(most)
        lanes, free_at = pool
        free = list(zip(free_at[: len(held)].tolist(), lanes[: len(held)].tolist(), strict=True))  # a heap: ascending
        bucket = self.bucket
        arrived_at = np.broadcast_to(self._arrived_at_each(len(held)), len(held))
        used: list[int] = []
        ends: list[float] = []
        for arrived, duration_s in zip(arrived_at.tolist(), work.durations_s.tolist(), strict=True):
            if not free:
                break
            since, lane = free[0]
            ready_at = max(since, arrived, earliest)
            if bucket.next_at(ready_at) > now:
                break
            used.append(lane)
            ends.append(bucket.start(ready_at) + duration_s)
            if ends[-1] <= now:
                heapreplace(free, (ends[-1], lane))
            else:
                heappop(free)
        count = len(ends)
        if count < len(held):
            self._put_back(pick(held, slice(count, None)))
        self._begun(count, bucket.full_at)
        self._under_way(np.array(used, np.int64), np.array(ends), pick(work, slice(count)), now, finished)
        since_each, lanes_left = zip(*sorted(free), strict=True) if free else ((), ())
        rest = lanes[len(held) :], free_at[len(held) :]
        return _merged(rest, np.array(lanes_left, np.int64), np.array(since_each)), count

    def _next_drawn(self, count: int) -> tuple[Work, Work]:
        """Take the next held messages: as they were put, and with the fates that they have if they start now."""
        held = self._take(count)
        return held, held if self._conditions is None else self._drawn(held, self._conditions)

    def _put_back(self, work: Work) -> None:
        """Hold messages again that were taken and have not started."""
        self._held.appendleft(work)
        self.held += len(work)

    def _arrived_at_each(self, count: int) -> Times | float:
        """Return when each of the next messages arrived, shape (count,); one time if it is the same."""
        if self._arrivals[0][0] >= count:
            return self._arrivals[0][1]
        counts, times, known = [], [], 0
        for some, at in self._arrivals:
            counts.append(min(some, count - known))
            times.append(at)
            known += some
            if known >= count:
                break
        return np.repeat(times, counts)

    def _begun(self, count: int, full_at: float) -> None:
        """Record that the next messages have started, and when the bucket is full again."""
        self.bucket.full_at = full_at
        while count:
            some, at = self._arrivals.popleft()
            if some > count:
                self._arrivals.appendleft((some - count, at))
            count -= min(some, count)

    def _under_way(
        self, lanes: LaneNumbers, ends: Times, work: Work, now: float, finished: list[Finished]
    ) -> NDArray[np.bool_]:
        """Record messages that have started: in their lanes, or in `finished`. Return which of them have ended."""
        done = ends <= now
        some = ~done
        if some.any():
            self._occupy(lanes[some], pick(work, some), ends[some])
            self.busy += int(np.count_nonzero(some))
        if done.any():
            part, at = pick(work, done), ends[done]
            latencies_s = (at - part.queued_at).astype(np.float32)
            finished.append(Finished(part.ids, part.attempts, part.outcomes, part.durations_s, latencies_s))
        return done


def _merged(pool: Pool, lanes: LaneNumbers, free_at: Times) -> Pool:
    """Return the pool with more free lanes."""
    if not len(lanes):
        return pool
    order = np.argsort(free_at, kind="stable")
    at = np.searchsorted(pool[1], free_at[order], "right")
    return np.insert(pool[0], at, lanes[order]), np.insert(pool[1], at, free_at[order])
