"""Many simultaneous sends as flat arrays: one element per lane, no timer and no object per message.

Simulated time has no tick error. A lane that finishes at t takes its next message at t, even if `advance` is called
later, and an idle lane starts when a message arrives. So throughput is concurrency / mean, and the pace of `advance`
only decides how soon outcomes are seen.

Knows lanes, the messages that wait for one, the conditions under which they start, and the time that it is given. Must
not know nodes or the wire.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smssim.core.conditions import Conditions
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids

LaneNumbers = NDArray[np.int64]
Times = NDArray[np.float64]
Columns = TypeVar("Columns", "Work", "Finished")


@dataclass(frozen=True, slots=True)
class Work:
    """Messages to send, with the fate of each: columns of shape (n,)."""

    ids: Ids
    attempts: NDArray[np.uint8]
    outcomes: NDArray[np.uint8]
    durations_s: NDArray[np.float32]
    queued_at: Times  # on the local clock

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Finished:
    """Finished attempts: columns of shape (n,)."""

    ids: Ids
    attempts: NDArray[np.uint8]
    outcomes: NDArray[np.uint8]
    durations_s: NDArray[np.float32]
    latencies_s: NDArray[np.float32]  # from queued to the end of the attempt

    def __len__(self) -> int:
        return len(self.ids)


def pick(columns: Columns, which: slice | NDArray[np.bool_]) -> Columns:
    """Return some elements of every column: views for a slice, copies for a mask."""
    return type(columns)(*[getattr(columns, name)[which] for name in columns.__match_args__])


def join(parts: list[Columns]) -> Columns:
    """Concatenate the columns of all parts. Assumes at least one part."""
    if len(parts) == 1:
        return parts[0]
    kind = type(parts[0])
    return kind(*[np.concatenate([getattr(part, name) for part in parts]) for name in kind.__match_args__])


class Lanes:
    """`concurrency` lanes, and the queue of messages that wait for one.

    A process that was stopped or starved for a long time must not claim that it sent messages during that time. So no
    message starts more than `Limits.late_max_s` before the `advance` that starts it.
    """

    def __init__(self, concurrency: int, limits: Limits = LIMITS) -> None:
        self.concurrency = concurrency
        self.busy = 0
        self.held = 0  # messages that no lane has started
        self.used = 0  # lanes from here on never had a message, so scans skip them
        self.changes = False  # whether fates depend on when an attempt starts
        self._late_max_s = limits.late_max_s
        self._held: deque[Work] = deque()
        self._arrived_at = -math.inf  # when the last of those arrived
        self._seen = 0  # how many of those were already held at the last `advance`
        self._idle: list[LaneNumbers] = []  # idle lanes below `used`
        self._done_at = np.full(concurrency, math.inf)
        self._ids = np.empty(concurrency, np.int64)
        self._attempts = np.empty(concurrency, np.uint8)
        self._outcomes = np.empty(concurrency, np.uint8)
        self._durations_s = np.empty(concurrency, np.float32)
        self._queued_at = np.empty(concurrency, np.float64)
        self._conditions: Conditions | None = None  # if they change during the run
        self._edges: list[float] = []  # when they change, on the local clock
        self._segment = 0  # of the run, in which messages start now; see `Conditions`

    def change_with(self, conditions: Conditions, run_at: float) -> None:
        """Let the fate of each attempt depend on when it starts. Assumes that no message was put yet.

        `run_at`: when the run started, on the local clock. Messages are put with their usual fates; an attempt that
        starts in another segment gets its fate then.
        """
        if conditions.edges_s:
            self._conditions, self.changes = conditions, True
            self._edges = [run_at + edge_s for edge_s in conditions.edges_s]

    @property
    def idle(self) -> int:
        """Lanes without a message."""
        return self.concurrency - self.busy

    def startable(self, now: float, soon_s: float) -> int:
        """Return how many messages could start within `soon_s` if none was held and many arrived now."""
        return self.concurrency - self.busy

    def vacant(self, now: float, soon_s: float) -> int:
        """Return how many messages could start within `soon_s` if they arrived now, after the held ones."""
        return self.concurrency - self.busy  # no message is held while a lane is idle

    def put(self, work: Work, now: float) -> None:
        """Queue messages that arrive now, and start as many as there are idle lanes.

        If a lane has finished since the last `advance`, the next `advance` gives it a message, which then starts at the
        time when both the lane and the message were available.

        If fates depend on when an attempt starts (`changes`), assumes that `advance` was called with the same `now`.
        """
        if len(work):
            self._held.append(work)
            self.held += len(work)
            self._arrived_at = now
        while self.held and self.idle:
            lanes = self._idle_lanes(self.held)
            started = self._take(len(lanes))
            if self._conditions is not None:
                started = self._drawn(started, self._conditions)
            self.busy += len(lanes)
            self._occupy(lanes, started, now + started.durations_s.astype(np.float64))

    def advance(self, now: float, earliest: float | None = None) -> list[Finished]:
        """Advance the lanes to `now`, and return what they have finished. A lane may finish several messages.

        No message starts before `earliest`, which is `Limits.late_max_s` ago unless given.
        """
        if earliest is None:
            earliest = now - self._late_max_s
            if self._conditions is not None:
                return self._advance_in_parts(now, earliest)
        lanes = np.flatnonzero(self._done_at[: self.used] <= now)
        if not len(lanes):
            self._seen = self.held
            return []
        free_at = self._done_at[lanes]
        finished = [self._finish(lanes, free_at)]
        while len(lanes):
            if self.held < len(lanes):
                first, rest = _earliest(free_at, self.held)  # the lanes that were free first take what is left
                self._retire(lanes[rest])
                lanes, free_at = lanes[first], free_at[first]
            if len(lanes):
                lanes, free_at = self._send(lanes, np.maximum(free_at, earliest), now, finished)
        self._seen = self.held
        return finished

    def _advance_in_parts(self, now: float, earliest: float) -> list[Finished]:
        """Advance the lanes to each change of the conditions: all messages of a part start in the same segment."""
        finished: list[Finished] = []
        for segment, edge in enumerate(self._edges):
            if earliest < edge <= now:
                self._segment = segment
                finished += self.advance(math.nextafter(edge, -math.inf), earliest)
        self._segment = bisect_right(self._edges, now)
        return finished + self.advance(now, earliest)

    def next_done_at(self) -> float:
        """Return when the next lane finishes; infinity if none is busy."""
        return float(self._done_at[: self.used].min()) if self.busy else math.inf

    def drop_held(self) -> Ids:
        """Drop the messages that no lane has started, and return their ids."""
        ids = [work.ids for work in self._held]
        self._held.clear()
        self.held = self._seen = 0
        return np.concatenate(ids) if ids else np.empty(0, np.int64)

    def drop_busy(self, done_after: float = -math.inf) -> Ids:
        """Drop the messages that lanes finish later than `done_after`, and return their ids."""
        done_at = self._done_at[: self.used]
        lanes = np.flatnonzero((done_at > done_after) & (done_at < math.inf))
        ids = self._ids[lanes]
        self._retire(lanes)
        return ids

    def _send(
        self, lanes: LaneNumbers, free_at: Times, now: float, finished: list[Finished]
    ) -> tuple[LaneNumbers, Times]:
        """Start the next messages on these free lanes; a lane gets several in a row if enough time has passed.

        Appends what they finish by `now` to `finished`. Returns the lanes that are free again by then, and since when.
        Assumes at least one held message for each lane.
        """
        rounds = self._rounds(len(lanes), now - float(free_at.min()))
        if self._seen < rounds * len(lanes):  # no message starts before it arrives
            free_at = np.maximum(free_at, self._arrived_at)
        held = self._take(rounds * len(lanes))
        work = held if self._conditions is None else self._drawn(held, self._conditions)
        if rounds == 1:  # half the work of the general case, and usual with few lanes
            done_at = free_at + work.durations_s
            self._occupy(lanes, work, done_at)
            done = done_at <= now
            lanes, free_at = lanes[done], done_at[done]
            if len(lanes):
                finished.append(self._finish(lanes, free_at))
            return lanes, free_at
        done_at = free_at + np.cumsum(work.durations_s.reshape(rounds, -1), axis=0, dtype=np.float64)
        done = done_at <= now
        if done.any():
            some, at = pick(work, done.ravel()), done_at[done]
            latencies = (at - some.queued_at).astype(np.float32)
            finished.append(Finished(some.ids, some.attempts, some.outcomes, some.durations_s, latencies))
        started = np.ones_like(done)
        started[1:] = done[:-1]
        if not started.all():
            self._held.appendleft(pick(held, ~started.ravel()))
            self.held += len(self._held[0])
        busy = started & ~done  # at most one per lane
        self._occupy(np.broadcast_to(lanes, busy.shape)[busy], pick(work, busy.ravel()), done_at[busy])
        return lanes[done[-1]], done_at[-1][done[-1]]

    def _rounds(self, lanes: int, time_s: float) -> int:
        """Return about how many of the held messages each of this many lanes can send in a row in this time."""
        expected = float(self._held[0].durations_s[:1000].mean())
        if self._conditions is not None:
            expected *= self._conditions.slowdown_in(self._segment)
        most = self.held // lanes
        return most if expected * most <= time_s else max(1, int(time_s / expected))

    def _drawn(self, work: Work, conditions: Conditions) -> Work:
        """Return messages with the fates that they have if they start in the current segment."""
        fates = conditions.fates_in(self._segment)
        if fates is conditions.usual:
            return work
        durations_s, outcomes = fates.draw_mixed(work.ids, work.attempts)
        return replace(work, durations_s=durations_s, outcomes=outcomes)

    def _take(self, count: int) -> Work:
        """Remove the next held messages and return them. Assumes that enough are held."""
        parts, missing = [], count
        while missing:
            work = self._held.popleft()
            if len(work) > missing:
                self._held.appendleft(pick(work, slice(missing, None)))
                work = pick(work, slice(missing))
            parts.append(work)
            missing -= len(work)
        self.held -= count
        self._seen = max(0, self._seen - count)
        return join(parts)

    def _idle_lanes(self, wanted: int) -> LaneNumbers:
        """Take at least one and at most `wanted` idle lanes. Assumes that one is idle."""
        if not self._idle:
            first, self.used = self.used, min(self.used + wanted, self.concurrency)
            return np.arange(first, self.used)
        lanes = self._idle.pop()
        if len(lanes) > wanted:
            self._idle.append(lanes[wanted:])
        return lanes[:wanted]

    def _occupy(self, lanes: LaneNumbers, work: Work, done_at: Times) -> None:
        """Put a message into each of these lanes, to finish at these times."""
        self._ids[lanes] = work.ids
        self._attempts[lanes] = work.attempts
        self._outcomes[lanes] = work.outcomes
        self._durations_s[lanes] = work.durations_s
        self._queued_at[lanes] = work.queued_at
        self._done_at[lanes] = done_at

    def _finish(self, lanes: LaneNumbers, done_at: Times) -> Finished:
        return Finished(
            self._ids[lanes],
            self._attempts[lanes],
            self._outcomes[lanes],
            self._durations_s[lanes],
            (done_at - self._queued_at[lanes]).astype(np.float32),
        )

    def _retire(self, lanes: LaneNumbers) -> None:
        """Make these lanes idle."""
        if len(lanes):
            self._done_at[lanes] = math.inf
            self._idle.append(lanes)
            self.busy -= len(lanes)


def _earliest(at: Times, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of the `count` smallest times, and those of the rest. Assumes that there is a rest."""
    order = np.argpartition(at, count) if count else np.arange(len(at))
    return order[:count], order[count:]
