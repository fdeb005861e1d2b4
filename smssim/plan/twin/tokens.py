"""Scarce messages for senders of which some have a limit: their idle lanes get a message when their copy has a token.

Knows pools and buckets. Must not know faults.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Final

import numpy as np

from smssim.core.bucket import Bucket
from smssim.plan.twin.limited import LimitedPool
from smssim.plan.twin.scarce import Block, Message, Scarcity

TOKEN: Final = 0  # stands for an outcome: of an event at which a copy has a token again
NOTHING: Final[Message] = (Block(np.empty(0, np.int64)), 0, 0)


class Gate:
    """The copies of a limited sender: which of them have a token, and their other idle lanes."""

    def __init__(self, pool: LimitedPool, idle: list[int]) -> None:
        self.pool = pool
        self.buckets: list[Bucket] = pool.buckets()
        self.waits = [True] * pool.senders  # for a token
        self.offers = [False] * pool.senders  # one of its idle lanes
        self.idle: list[list[int]] = [[] for _ in self.buckets]
        for lane in idle:
            self.idle[lane % pool.senders].append(lane)


class LimitedScarcity(Scarcity):
    """A time in which messages are scarce. Of a limited sender, `_idle` has one lane of each copy with a token."""

    _gates: list[Gate | None]

    def play(self, now: float, retry_s: float, *, keeps_retries: bool) -> float:
        """Play as `Scarcity.play` does."""
        self._gates = []
        for place, pool in enumerate(self._pools):
            gate = None
            if isinstance(pool, LimitedPool):
                gate = Gate(pool, self._idle[place])
                self._idle_lanes -= len(self._idle[place])
                self._idle[place] = []
            self._gates.append(gate)
            for copy in range(0 if gate is None else pool.senders):
                self._open_later(place, copy)
        return super().play(now, retry_s, keeps_retries=keeps_retries)

    def _open_later(self, place: int, copy: int) -> None:
        """Let a copy take messages from when it has a token."""
        gate = self._gates[place]
        assert gate is not None
        gate.waits[copy] = True
        heappush(self._under, (gate.buckets[copy].next_at(-math.inf), place, copy, TOKEN, NOTHING))

    def _offer(self, place: int, copy: int) -> None:
        """Offer an idle lane of a copy, if it has one and a token."""
        gate = self._gates[place]
        assert gate is not None
        if gate.idle[copy] and not (gate.waits[copy] or gate.offers[copy]):
            gate.offers[copy] = True
            self._idle[place].insert(0, gate.idle[copy].pop())  # copies take turns
            self._idle_lanes += 1

    def _put(self, place: int, message: Message, now: float) -> None:
        gate, lane = self._gates[place], self._idle[place][-1]
        super()._put(place, message, now)
        if gate is not None:
            copy = lane % gate.pool.senders
            gate.buckets[copy].start(now)
            gate.offers[copy] = False
            if gate.buckets[copy].next_at(now) > now:
                self._open_later(place, copy)
            else:
                self._offer(place, copy)

    def _finish(self, retry_s: float, keeps_retries: bool) -> None:
        _, place, number, outcome, _ = self._under[0]
        gate = self._gates[place]
        if gate is None:
            super()._finish(retry_s, keeps_retries)
            return
        if outcome == TOKEN:
            heappop(self._under)
            gate.waits[number] = False
            self._offer(place, number)
            return
        super()._finish(retry_s, keeps_retries)
        copy, lane = number % gate.pool.senders, self._idle[place].pop()
        self._idle_lanes -= 1
        gate.idle[copy].append(lane)
        self._offer(place, copy)

    def _give_back(self) -> None:
        self._under = [one for one in self._under if one[3] != TOKEN]
        for gate in self._gates:
            if gate is not None:
                gate.pool.full_at[:] = [bucket.full_at for bucket in gate.buckets]
        super()._give_back()
