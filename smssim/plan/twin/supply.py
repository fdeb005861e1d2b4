"""The supply of the twin: messages that lanes may take, now or later.

Knows messages and time. Must not know lanes or senders.
"""

from __future__ import annotations

import heapq
import math
from itertools import count

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Ids
from smssim.core.pace import released
from smssim.plan.twin.lots import SPARE, Lot, LotQueue

Times = NDArray[np.float64]


class Supply:
    """All messages that no lane has: fresh ones, those that are ready again, and retries that become ready later."""

    def __init__(self, total: int, rate_per_s: float | None = None, round_s: float = 0.0) -> None:
        """Start with fresh messages only.

        `round_s`: between two rounds in which the producer delivers released messages; 0 if it does so at once.
        """
        self.total = total
        self.ready = LotQueue()
        self.next_fresh = 0
        self._returned = LotQueue()  # fresh ones that were taken but not started: they wait behind those in `ready`
        self.rate_per_s = rate_per_s
        self.round_s = round_s
        self._wait_s = round_s / 2
        self._later: list[tuple[float, int, Times, Ids, int]] = []  # a heap by the first time
        self._order = count()

    @property
    def fresh(self) -> int:
        """Messages that were never started."""
        return self._returned.count + self.total - self.next_fresh

    def available(self, now: float) -> int:
        """Return how many messages may be taken now."""
        return self.ready.count + self._returned.count + self._released(now) - self.next_fresh

    def _released(self, now: float) -> int:
        return max(self.next_fresh, min(1, self.total), released(self.total, self.rate_per_s, now - self._wait_s))

    @property
    def any_ready(self) -> bool:
        """Whether messages that were taken before may be taken again now."""
        return self.ready.count + self._returned.count > 0

    def next_s(self) -> float:
        """Return when the next message becomes available; infinity if none ever does."""
        if self.any_ready:
            return -math.inf
        fresh_s = self.release_s(self.next_fresh) if self.fresh else math.inf
        return min(fresh_s, self._later[0][0] if self._later else math.inf)

    def put_later(self, ids: Ids, tag: int, times_s: Times) -> None:
        """Put in messages that become available at these times; columns of shape (n,)."""
        order = np.argsort(times_s, kind="stable")
        heapq.heappush(self._later, (float(times_s[order[0]]), next(self._order), times_s[order], ids[order], tag))

    def promote(self, now: float) -> None:
        """Make the messages available whose time has come."""
        due: dict[int, list[Ids]] = {}
        while self._later and self._later[0][0] <= now:
            _, order, times_s, ids, tag = heapq.heappop(self._later)
            upto = int(np.searchsorted(times_s, now, side="right"))
            due.setdefault(tag, []).append(ids[:upto])
            if upto < len(ids):
                heapq.heappush(self._later, (float(times_s[upto]), order, times_s[upto:], ids[upto:], tag))
        self.ready.put_last(Lot(np.concatenate(parts), tag) for tag, parts in sorted(due.items()))

    def take(self, wanted: int, now: float) -> list[Lot]:
        """Take the next messages that are available now, at most `wanted`."""
        lots = self.ready.take(wanted)
        wanted -= sum(map(len, lots))
        returned = self._returned.take(wanted)
        lots += returned
        wanted -= sum(map(len, returned))
        upto = min(self.next_fresh + wanted, self._released(now))
        if upto > self.next_fresh:
            lots.append(Lot(np.arange(self.next_fresh, upto), 1))
            self.next_fresh = upto
        return lots

    def put_back(self, lots: list[Lot]) -> None:
        """Put back messages that were taken but not started."""
        self.ready.put_first([lot for lot in lots if lot.tag > 1])
        self._returned.put_first([lot for lot in lots if lot.tag == 1])

    def take_ready(self) -> list[Lot]:
        """Take the messages that are ready again, and fresh ones that were taken but not started."""
        return self.ready.drop() + self._returned.drop()

    def count_before(self, until_s: float) -> int:
        """Return how many messages become available before `until_s`."""
        return self.available(until_s) + sum(
            int(np.searchsorted(times_s, until_s)) for at_s, _, times_s, _, _ in self._later if at_s < until_s
        )

    def take_before(self, until_s: float) -> list[tuple[Lot, Times]]:
        """Take all messages that become available before `until_s`, with their times."""
        taken = [(lot, np.full(len(lot), -math.inf)) for lot in self.take_ready()]
        upto = self._released(until_s)
        if upto > self.next_fresh:
            ids = np.arange(self.next_fresh, upto)
            taken.append((Lot(ids, 1), self._releases_s(ids)))
            self.next_fresh = upto
        while self._later and self._later[0][0] < until_s:
            _, order, times_s, ids, tag = heapq.heappop(self._later)
            some = int(np.searchsorted(times_s, until_s))
            taken.append((Lot(ids[:some], tag), times_s[:some]))
            if some < len(ids):
                heapq.heappush(self._later, (float(times_s[some]), order, times_s[some:], ids[some:], tag))
        return taken

    def take_later(self) -> list[tuple[Times, Lot]]:
        """Take the messages that become available later, with their times."""
        taken = [(times_s, Lot(ids, tag)) for _, _, times_s, ids, tag in self._later]
        self._later.clear()
        return taken

    def withdraw(self, ids: Ids) -> Ids:
        """Take out those of these messages that wait here, now or until later, and are not spare; return them."""
        found, later = [self.ready.remove(ids), self._returned.remove(ids)], []
        for at_s, order, times_s, some, tag in self._later:
            which = np.isin(some, ids) if tag < SPARE else np.zeros(len(some), bool)
            found.append(some[which])
            if not which.any():
                later.append((at_s, order, times_s, some, tag))
            elif not which.all():
                later.append((float(times_s[~which][0]), order, times_s[~which], some[~which], tag))
        heapq.heapify(later)
        self._later = later
        return np.concatenate(found)

    def release_s(self, number: int) -> float:
        """Return when the fresh message with this number may be taken: the first one at once."""
        return number / self.rate_per_s + self._wait_s if self.rate_per_s is not None and number else 0.0

    def _releases_s(self, numbers: Ids) -> Times:
        """Return the same for several: a column of shape (n,)."""
        if self.rate_per_s is None:
            return np.zeros(len(numbers))
        return np.where(numbers > 0, numbers / self.rate_per_s + self._wait_s, 0.0)

    def multiply(self, times: int, more: int) -> None:
        """Put in `times` messages for each one, with ids of their own, and `more` fresh ones."""
        self.ready.multiply(times)
        self._returned.multiply(times)
        self.next_fresh *= times
        self.total = self.total * times + more
        if self.rate_per_s is not None:
            self.rate_per_s *= times
        self._later = [
            (at_s, order, np.repeat(times_s, times), (ids[:, None] * times + np.arange(times)).ravel(), tag)
            for at_s, order, times_s, ids, tag in self._later
        ]
