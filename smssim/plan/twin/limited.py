"""A pool of lanes whose senders have a limit: each copy has a token bucket, and a free lane waits for its copy's token.

Where tokens are what is short, messages start when these come, whatever lane takes them: whole columns are computed,
and checked afterwards. Where a check finds that no lane was free, the copy is played lane by lane. The rule itself is
that of `core.bucket`.

Knows lanes, messages and buckets. Must not know where messages come from, other pools, or faults.
"""

from __future__ import annotations

import math
from heapq import heapify, heapreplace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.bucket import Bucket, schedule
from smssim.core.fate import Fates
from smssim.core.model import StartLimit
from smssim.plan.twin.lots import Done, Lot, columns_of, lots_in_order
from smssim.plan.twin.pool import CHUNK, GiveBack, LaneNumbers, Pool, Record, Take, Times

TOKENS_SHORT: Final = 0.95  # of what the lanes can send: with a limit below, tokens are likely to be what is short
TURN: Final = 50  # messages that are worth a pass over the pool, as a multiple of what `WINDOW_MEANS` asks for

Flags = NDArray[np.bool_]


class LimitedPool(Pool):
    """The lanes of one sender with a limit, or of several equal ones: lane l is one of copy l % senders."""

    def __init__(
        self,
        number: int,
        lanes: int,
        senders: int,
        joined_s: float,
        fates: Fates,
        mean_s: float,
        cv: float,
        limit: StartLimit,
    ) -> None:
        super().__init__(number, lanes, senders, joined_s, fates, mean_s, cv)
        self.limit = limit  # of each copy
        self.full_at = np.full(senders, -math.inf)  # when the bucket of each copy is full again; shape (senders,)

    # -- figures

    @property
    def per_s(self) -> float:
        """Messages per second that it can start: as many as its lanes, or as its limits allow."""
        return min(super().per_s, self.senders * self.limit.per_s)

    @property
    def used_lanes(self) -> float:
        """Lanes that its limits can feed; at least one of each copy."""
        return min(self.lanes, max(self.senders, self.per_s * self.mean_s))

    @property
    def turn_s(self) -> float:
        """A time in which it starts a number of messages that is worth a pass."""
        return max(self.mean_s, TURN / self.per_s)

    def demand(self, until_s: float) -> float:
        """Return about how many messages it starts before `until_s`, rather too many than too few."""
        return min(super().demand(until_s), float(self._tokens(until_s, self._first_free_s()).sum()))

    def _first_free_s(self) -> Times:
        """Return when the first lane of each copy is free: shape (senders,)."""
        first_s: Times = self._by_copy(self.free_s).min(axis=1)
        return first_s

    def _by_copy(self, of_lanes: Times) -> Times:
        """Return a figure of each lane by copy, shape (senders, most lanes of a copy); infinity where there is none."""
        most = -(-self.lanes // self.senders)
        filled = np.full(most * self.senders, math.inf)
        filled[: self.lanes] = of_lanes
        return np.ascontiguousarray(filled.reshape(most, self.senders).T)

    def _tokens(self, until_s: float, since_s: Times) -> Times:
        """Return how many messages each copy may start before `until_s`, if lanes are free since then."""
        spare_s = until_s + self.limit.slack_s - np.maximum(self.full_at, since_s)
        return np.where(since_s < until_s, np.maximum(np.ceil(spare_s / self.limit.interval_s), 0.0), 0.0)

    def buckets(self) -> list[Bucket]:
        """Return the bucket of each copy."""
        found = [Bucket(self.limit) for _ in range(self.senders)]
        for bucket, full_at in zip(found, self.full_at.tolist(), strict=True):
            bucket.full_at = full_at
        return found

    # -- while messages suffice

    def advance(
        self, until_s: float, take: Take, give_back: GiveBack, record: Record, *, sparing: bool = False
    ) -> None:
        """Start messages on all lanes that are free before `until_s`, as their limits allow; see `Pool.advance`."""
        width_s = CHUNK / self.per_s
        begin_s = float(self.free_s.min())
        while begin_s < until_s:
            end_s = min(until_s, begin_s + width_s)
            while (self.free_s < end_s).any():
                if not self._advance_to(end_s, take, give_back, record):
                    return
            begin_s = end_s

    def _advance_to(self, until_s: float, take: Take, give_back: GiveBack, record: Record) -> bool:
        """Start messages until then, or on some copies less far; return whether messages suffice."""
        self.harvest(np.flatnonzero(self.free_s < until_s), record)
        free_s = self._by_copy(np.where(self.free_s < until_s, self.free_s, math.inf))
        first_s = free_s.min(axis=1)
        counts = self._tokens(until_s, first_s)
        is_short = self.senders * self.limit.per_s < TOKENS_SHORT * super().per_s
        if not is_short:
            time_s = np.where(np.isfinite(free_s), until_s - free_s, 0.0).sum(axis=1)
            counts = np.minimum(counts, self._clump * np.isfinite(free_s).sum(axis=1) + np.ceil(time_s / self.mean_s))
        rows = int(counts.max())
        starts_s, full_at = schedule(self.limit, self.full_at, np.broadcast_to(first_s, (rows, self.senders)))
        wanted = (starts_s < until_s) & (np.arange(rows)[:, None] < counts)
        ids, tags = columns_of(take(int(np.count_nonzero(wanted))))
        suffices = len(ids) == int(np.count_nonzero(wanted))
        if not suffices:  # the earliest starts get what there is
            places = np.flatnonzero(wanted)
            wanted.ravel()[places[np.argsort(starts_s.ravel()[places], kind="stable")[len(ids) :]]] = False
        durations_s, outcomes = self.draw(ids, tags)
        takes_s = np.zeros(wanted.shape)
        takes_s[wanted] = durations_s
        done_s = np.where(wanted, starts_s + takes_s, math.inf)
        ends_s = np.full(self.senders, until_s)
        fits = np.zeros(self.senders, np.bool_)
        if is_short:
            fits |= self._all_fit(free_s, starts_s, done_s, wanted)
        given = wanted.copy()
        started = wanted.sum(axis=0)
        moved = fits & (started > 0)
        self.full_at[moved] = full_at[started[moved] - 1, np.flatnonzero(moved)]
        for copy in np.flatnonzero(~fits & (started > 0)).tolist():
            rows_of = np.flatnonzero(wanted[:, copy])
            its_s, next_s = self._one_by_one(copy, free_s[copy], takes_s[rows_of, copy].tolist(), until_s)
            starts_s[rows_of[: len(its_s)], copy] = its_s
            done_s[:, copy] = starts_s[:, copy] + takes_s[:, copy]
            wanted[rows_of[len(its_s) :], copy] = False
            if suffices and next_s < until_s:  # it could start more than it was given: it goes on from there
                ends_s[copy] = next_s
        used = wanted[given]
        if not used.all():
            give_back(lots_in_order(ids[~used], tags[~used]))
        done = Done(done_s[wanted], outcomes[used], ids[used], tags[used])
        self._settle(starts_s[wanted], done, np.nonzero(wanted)[1], ends_s, record)
        return suffices

    def _all_fit(self, free_s: Times, starts_s: Times, done_s: Times, wanted: Flags) -> Flags:
        """Return which copies have a free lane whenever a token comes, if each message starts with its token.

        The j-th message to start finds one if the j-th lane to be free is free by then. Messages that start later are
        done later, so they make no difference.
        """
        free = np.sort(np.concatenate([free_s, done_s.T], axis=1), axis=1)[:, : len(starts_s)]
        on_time: Flags = (free <= starts_s.T) | ~wanted.T
        return np.array(on_time.all(axis=1))

    def _one_by_one(
        self, copy: int, free_s: Times, durations_s: list[float], until_s: float
    ) -> tuple[list[float], float]:
        """Start messages of these durations on the lane of a copy that is free first, each with a token.

        Returns the starts before `until_s`, and when the next message could start.
        """
        bucket = Bucket(self.limit)
        bucket.full_at = float(self.full_at[copy])
        lanes = free_s[free_s < math.inf].tolist()
        heapify(lanes)
        starts_s: list[float] = []
        for duration_s in durations_s:
            before = bucket.full_at
            start_s = bucket.start(lanes[0])
            if start_s >= until_s:
                bucket.full_at = before
                break
            starts_s.append(start_s)
            heapreplace(lanes, start_s + duration_s)
        self.full_at[copy] = bucket.full_at
        return starts_s, bucket.next_at(lanes[0])

    def _settle(self, starts_s: Times, done: Done, copies: LaneNumbers, ends_s: Times, record: Record) -> None:
        """Record what is done before the end of its copy, and put the rest into lanes; the others are idle from then.

        `starts_s`, `copies`: of each message, shape (n,). `ends_s`: until when each copy has started messages.
        """
        lanes = np.flatnonzero((self.outcomes == 0) & (self.free_s < ends_s[np.arange(self.lanes) % self.senders]))
        lanes = lanes[np.argsort(self.sender_of(lanes), kind="stable")]
        of_lanes = self.sender_of(lanes)
        until_s = ends_s[copies]
        self.idle_s += float((ends_s[of_lanes] - self.free_s[lanes]).sum())
        self.idle_s -= float((np.minimum(done.times_s, until_s) - starts_s).sum())
        self.free_s[lanes] = ends_s[of_lanes]
        goes_on = np.flatnonzero(done.times_s >= until_s)
        goes_on = goes_on[np.argsort(copies[goes_on], kind="stable")]
        whose = copies[goes_on]
        turn = np.arange(len(whose)) - np.searchsorted(whose, whose)
        target = lanes[np.searchsorted(of_lanes, whose) + turn]
        under_way = done.pick(goes_on)
        self._place(target, under_way.times_s, under_way.outcomes, under_way.ids, under_way.tags)
        ended = done.times_s < until_s
        if ended.any():
            record(self, done.pick(ended))

    # -- a scaled play

    def multiply(self, times: int, lanes: int, senders: int) -> list[Lot]:
        """Let each lane stand for itself; see `Pool.multiply`. The bucket of each copy is that of a scaled one.

        The limit of each copy is the caller's to set. A bucket is full at the same time: what is missing is as much.
        """
        self.full_at = self.full_at[np.arange(senders) % self.senders]
        return super().multiply(times, lanes, senders)
