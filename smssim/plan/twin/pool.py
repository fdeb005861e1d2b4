"""A pool: the lanes of equal senders as arrays, advanced together.

While messages suffice, each lane is a renewal process of its own, so it makes no difference in law which lane takes
which message, and a pool advances to a horizon without looking at others. Knows lanes and messages. Must not know where
messages come from, other pools, or faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import Fates
from smssim.core.model import Ids
from smssim.plan.twin.lots import SPARE, Done, Lot, Tags, columns_of, lots_in_order

CHUNK: Final = 16_384  # messages drawn at once: their columns fit into the cache
LANES: Final = 2048  # of a pool that advance together: several messages in a row cost less than one for each lane
FILLED: Final = 0.85  # share of a horizon that lanes fill with several messages in a row, without looking at each start
LANES_FEW: Final = (
    256  # of a pool: with fewer, messages given back cost less than further passes: all are drawn in the first one
)

LaneNumbers = NDArray[np.int64]
Times = NDArray[np.float64]
Outcomes = NDArray[np.uint8]
Take = Callable[[int], list[Lot]]  # takes messages, at most so many
GiveBack = Callable[[list[Lot]], None]  # puts messages back in front
Record = Callable[["Pool", Done], None]  # gets finished attempts


class Pool:
    """The lanes of one sender or of several equal ones. A lane without a message has been idle since `free_s`."""

    def __init__(
        self, number: int, lanes: int, senders: int, joined_s: float, fates: Fates, mean_s: float, cv: float
    ) -> None:
        self.number = number  # of its sender
        self.lanes = lanes
        self.senders = senders
        self.change(fates, mean_s, cv)
        self.free_s = np.full(lanes, joined_s)
        self.outcomes = np.zeros(lanes, np.uint8)  # of the message in the lane; 0 without one
        self.ids = np.zeros(lanes, np.int64)
        self.tags = np.zeros(lanes, np.int16)
        self.joined_s = joined_s
        self.idle_s = 0.0  # of all lanes together
        self._is_sparing = True

    def change(self, fates: Fates, mean_s: float, cv: float) -> None:
        """Let the attempts that start from now on have these fates, with this mean and coefficient of variation."""
        self.fates = fates
        self.mean_s = mean_s
        self.cv = cv
        self._clump = max(1.0, (1 + cv**2) / 2)  # messages that a free lane starts at once, at most (Lorden 1970)

    # -- figures

    @property
    def busy(self) -> int:
        """Lanes with a message."""
        return int(np.count_nonzero(self.outcomes))

    def sender_of(self, lanes: LaneNumbers) -> LaneNumbers:
        """Return which of the equal senders has each of these lanes."""
        return lanes % self.senders

    @property
    def per_s(self) -> float:
        """Messages per second that its lanes can start."""
        return self.lanes / self.mean_s if self.mean_s else float("inf")

    @property
    def used_lanes(self) -> float:
        """Lanes that are busy at the same time, on average and at most."""
        return self.lanes

    @property
    def turn_s(self) -> float:
        """The time in which each of its lanes starts about one message."""
        return self.mean_s

    def next_done_s(self) -> float:
        """Return when the next lane finishes; infinity if none has a message."""
        busy = self.outcomes > 0
        return float(self.free_s[busy].min()) if busy.any() else float("inf")

    def next_free_s(self) -> float:
        """Return when the next lane is free, or since when."""
        return float(self.free_s.min())

    def demand(self, until_s: float) -> float:
        """Return about how many messages its lanes start before `until_s`, rather too many than too few."""
        left = until_s - self.free_s
        np.maximum(left, 0.0, out=left)
        return self._clump * int(np.count_nonzero(left)) + float(left.sum()) / self.mean_s

    def wake(self, now: float) -> None:
        """Let idle lanes start their next messages no earlier than now."""
        idle = np.flatnonzero((self.outcomes == 0) & (self.free_s < now))
        if len(idle):
            self.idle_s += float((now - self.free_s[idle]).sum())
            self.free_s[idle] = now

    # -- while messages suffice

    def advance(
        self, until_s: float, take: Take, give_back: GiveBack, record: Record, *, sparing: bool = False
    ) -> None:
        """Start messages on all lanes that are free before `until_s`. A lane for which none is left stays idle.

        `sparing`: take hardly more messages than lanes start.
        """
        self._is_sparing = sparing or self.lanes > LANES_FEW
        for first in range(0, self.lanes, LANES):
            lanes = np.arange(first, min(first + LANES, self.lanes))
            self._advance_some(lanes[self.free_s[lanes] < until_s], until_s, take, give_back, record)

    def _advance_some(
        self, lanes: LaneNumbers, until_s: float, take: Take, give_back: GiveBack, record: Record
    ) -> None:
        while len(lanes):
            self.harvest(lanes, record)
            free_s = self.free_s[lanes]
            rounds = self._rounds(len(lanes), until_s - float(free_s.mean()))
            lots = take(rounds * len(lanes))
            ids, tags = columns_of(lots)
            if len(ids) < rounds * len(lanes):
                rounds = max(1, len(ids) // len(lanes))
                if len(ids) < len(lanes):
                    lanes = lanes[np.argsort(free_s, kind="stable")[: len(ids)]]
                    if not len(lanes):
                        return
                    free_s = self.free_s[lanes]
                give_back(lots_in_order(ids[rounds * len(lanes) :], tags[rounds * len(lanes) :]))
                ids, tags = ids[: rounds * len(lanes)], tags[: rounds * len(lanes)]
            durations_s, outcomes = self.draw(ids, tags)
            if rounds == 1:
                self.start(lanes, free_s, durations_s, outcomes, ids, tags)
            else:
                self._start_rows(lanes, free_s, durations_s, outcomes, ids, tags, until_s, give_back, record)
            lanes = lanes[self.free_s[lanes] < until_s]

    def _rounds(self, lanes: int, time_s: float) -> int:
        """Return how many messages in a row to draw for each of this many lanes, which may start them in this time."""
        expected = max(0.0, time_s / self.mean_s)
        rounds = FILLED * expected if self._is_sparing else 1 + expected + 2 * self.cv * math.sqrt(expected)
        return max(1, min(CHUNK // lanes, int(rounds)))

    def _start_rows(
        self,
        lanes: LaneNumbers,
        free_s: Times,
        durations_s: NDArray[np.float32],
        outcomes: Outcomes,
        ids: Ids,
        tags: Tags,
        until_s: float,
        give_back: GiveBack,
        record: Record,
    ) -> None:
        """Start several messages in a row on each lane: those that would start after `until_s` are given back."""
        columns = len(lanes)
        rows = len(ids) // columns
        done_s = np.empty((rows, columns))
        for row, its_s in enumerate(durations_s.reshape(rows, columns)):  # np.cumsum takes four times as long
            free_s = np.add(free_s, its_s, out=done_s[row])
        if float(done_s[-2].max()) >= until_s:
            counts = 1 + np.count_nonzero(done_s[:-1] < until_s, axis=0)
            late = np.arange(rows)[:, None] >= counts
            give_back(lots_in_order(ids[late.ravel()], tags[late.ravel()]))
            last = (counts - 1) * columns + np.arange(columns)
            before = (np.arange(rows)[:, None] < counts - 1).ravel()
            self._place(lanes, done_s.ravel()[last], outcomes[last], ids[last], tags[last])
            record(self, Done(done_s.ravel()[before], outcomes[before], ids[before], tags[before]))
            return
        cut = (rows - 1) * columns
        self._place(lanes, done_s[-1], outcomes[cut:], ids[cut:], tags[cut:])
        record(self, Done(done_s[:-1].ravel(), outcomes[:cut], ids[:cut], tags[:cut]))

    # -- one message a lane

    def harvest(self, lanes: LaneNumbers, record: Record) -> None:
        """Record what these lanes have finished, and make them idle."""
        outcomes = self.outcomes[lanes]
        done = lanes if outcomes.all() else lanes[outcomes > 0]
        if len(done):
            record(self, self._done(done))
            self.outcomes[done] = 0

    def finished_by(self, until_s: float) -> Done:
        """Return what the lanes have finished by then, and make these lanes idle. Assumes that they get no others."""
        busy = np.flatnonzero(self.outcomes)
        busy = busy[np.argsort(self.free_s[busy], kind="stable")]
        last = np.zeros(self.senders, np.int64)  # lane of each sender that finishes last
        last[self.sender_of(busy)] = busy
        lanes = busy[: int(np.searchsorted(self.free_s[busy], until_s, "right"))]
        done = Done(*self._columns(lanes), dry=last[self.sender_of(lanes)] == lanes)
        self.outcomes[lanes] = 0
        return done

    def go_on(self, done_s: Times, outcomes: Outcomes, ids: Ids, tags: Tags, idle_since_s: float) -> None:
        """Let idle lanes be under way with these messages, and the others be idle since then; columns of shape (n,).

        Does not account for idle time.
        """
        idle = np.flatnonzero(self.outcomes == 0)
        self.free_s[idle] = idle_since_s
        self._place(idle[: len(ids)], done_s, outcomes, ids, tags)

    def under_way(self) -> Done:
        """Return what the lanes are going to finish."""
        return self._done(np.flatnonzero(self.outcomes))

    def _done(self, lanes: LaneNumbers) -> Done:
        return Done(*self._columns(lanes))

    def _columns(self, lanes: LaneNumbers) -> tuple[Times, Outcomes, Ids, Tags]:
        return self.free_s[lanes], self.outcomes[lanes], self.ids[lanes], self.tags[lanes]

    def start(
        self,
        lanes: LaneNumbers,
        starts_s: Times,
        durations_s: NDArray[np.float32],
        outcomes: Outcomes,
        ids: Ids,
        tags: Tags,
    ) -> None:
        """Start one message on each of these idle lanes; columns of shape (n,)."""
        self.idle_s += float((starts_s - self.free_s[lanes]).sum())
        self._place(lanes, starts_s + durations_s, outcomes, ids, tags)

    def _place(self, lanes: LaneNumbers, done_s: Times, outcomes: Outcomes, ids: Ids, tags: Tags) -> None:
        self.free_s[lanes] = done_s
        self.outcomes[lanes] = outcomes
        self.ids[lanes] = ids
        self.tags[lanes] = tags

    def draw(self, ids: Ids, tags: Tags) -> tuple[NDArray[np.float32], Outcomes]:
        """Return the durations in seconds and the outcomes of these attempts; columns of shape (n,)."""
        return self.fates.draw_mixed(ids, tags % SPARE)

    def draw_again(self) -> None:
        """Draw the outcomes of the messages in all lanes anew, but not their times: the two are independent."""
        busy = np.flatnonzero(self.outcomes)
        self.outcomes[busy] = self.draw(self.ids[busy], self.tags[busy])[1]

    def drop(self) -> list[Lot]:
        """Take the messages out of all lanes."""
        lots = self.lots()
        self.outcomes[:] = 0
        return lots

    def lots(self) -> list[Lot]:
        """Return the messages in all lanes."""
        busy = np.flatnonzero(self.outcomes)
        return lots_in_order(self.ids[busy], self.tags[busy])

    def make_spare(self, ids: Ids) -> Ids:
        """Mark those of these messages that lanes send as spare, and return them."""
        which = (self.outcomes > 0) & (self.tags < SPARE) & np.isin(self.ids, ids)
        self.tags[which] |= SPARE
        return self.ids[which]

    def multiply(self, times: int, lanes: int, senders: int) -> list[Lot]:
        """Let each lane stand for itself: make `lanes` of them, about `times` as many, with messages of their own.

        `senders`: how many have these lanes. Returns the messages for which there is no lane.
        """
        places = np.arange(max(lanes, times * self.lanes))
        which, turn = places % self.lanes, places // self.lanes
        self.free_s, self.outcomes, self.tags = self.free_s[which], self.outcomes[which], self.tags[which]
        self.ids = self.ids[which] * times + turn
        self.outcomes[turn >= times] = 0
        left = lanes + np.flatnonzero(self.outcomes[lanes:])
        lots = lots_in_order(self.ids[left], self.tags[left])
        self.free_s, self.outcomes, self.tags = self.free_s[:lanes], self.outcomes[:lanes], self.tags[:lanes]
        self.ids = self.ids[:lanes]
        self.idle_s *= lanes / self.lanes
        self.lanes, self.senders = lanes, senders
        return lots
