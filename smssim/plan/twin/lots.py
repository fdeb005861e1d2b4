"""Messages that wait in the twin: lots, each with ids and one attempt, and queues of lots.

Knows ids. Must not know time, lanes or senders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Ids

Tags = NDArray[np.int16]  # of messages: the number of the attempt, plus SPARE for spare messages
SPARE = 256  # marks a message whose final outcome is, or will be, counted elsewhere: it takes a lane's time, no more


@dataclass(frozen=True, slots=True)
class Lot:
    """Messages at the same attempt; ids of shape (n,), in the order in which to send them."""

    ids: Ids
    tag: int

    def __len__(self) -> int:
        return len(self.ids)


def lots_in_order(ids: Ids, tags: Tags) -> list[Lot]:
    """Return messages as lots without changing their order; columns of shape (n,)."""
    if not len(ids):
        return []
    edges = [0, *(np.flatnonzero(np.diff(tags)) + 1).tolist(), len(ids)]
    return [Lot(ids[a:b], int(tags[a])) for a, b in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Done:
    """Finished attempts: columns of shape (n,)."""

    times_s: NDArray[np.float64]  # when each ended
    outcomes: NDArray[np.uint8]
    ids: Ids
    tags: Tags
    dry: NDArray[np.bool_] | None = None  # which left their sender without any message; None for none of them

    def __len__(self) -> int:
        return len(self.ids)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Done:
        """Return some of them."""
        dry = None if self.dry is None else self.dry[which]
        return Done(self.times_s[which], self.outcomes[which], self.ids[which], self.tags[which], dry)

    def at(self, times_s: NDArray[np.float64]) -> Done:
        """Return the same attempts with other times."""
        return Done(times_s, self.outcomes, self.ids, self.tags, self.dry)


def columns_of(lots: list[Lot]) -> tuple[Ids, Tags]:
    """Return the ids and the tags of some lots: columns of shape (n,)."""
    if len(lots) == 1:
        return lots[0].ids, np.full(len(lots[0]), lots[0].tag, np.int16)
    if not lots:
        return np.empty(0, np.int64), np.empty(0, np.int16)
    ids = np.concatenate([lot.ids for lot in lots])
    return ids, np.repeat(np.array([lot.tag for lot in lots], np.int16), [len(lot) for lot in lots])


class LotQueue:
    """Lots in the order in which to send them."""

    def __init__(self) -> None:
        self.count = 0  # messages
        self._lots: deque[Lot] = deque()

    def put_first(self, lots: list[Lot]) -> None:
        """Put lots in front of all others, in this order."""
        self._lots.extendleft(reversed(lots))
        self.count += sum(map(len, lots))

    def put_last(self, lots: Iterable[Lot]) -> None:
        """Put lots behind all others."""
        for lot in lots:
            self._lots.append(lot)
            self.count += len(lot)

    def take(self, count: int) -> list[Lot]:
        """Take the next messages, at most `count`."""
        taken = []
        while count and self._lots:
            lot = self._lots.popleft()
            if len(lot) > count:
                self._lots.appendleft(Lot(lot.ids[count:], lot.tag))
                lot = Lot(lot.ids[:count], lot.tag)
            taken.append(lot)
            count -= len(lot)
            self.count -= len(lot)
        return taken

    def drop(self) -> list[Lot]:
        """Take all messages."""
        return self.take(self.count)

    def make_spare(self, ids: Ids) -> Ids:
        """Mark those of these messages that wait here as spare, and return them."""
        found = [np.empty(0, np.int64)]
        for _ in range(len(self._lots)):
            lot = self._lots.popleft()
            which = np.isin(lot.ids, ids) if lot.tag < SPARE else np.zeros(len(lot), bool)
            found.append(lot.ids[which])
            parts = (Lot(lot.ids[which], lot.tag | SPARE), Lot(lot.ids[~which], lot.tag))
            self._lots.extend(part for part in parts if len(part))
        return np.concatenate(found)

    def remove(self, ids: Ids) -> Ids:
        """Take out those of these messages that wait here and are not spare, and return them."""
        found = [np.empty(0, np.int64)]
        for _ in range(len(self._lots)):
            lot = self._lots.popleft()
            which = np.isin(lot.ids, ids) if lot.tag < SPARE else np.zeros(len(lot), bool)
            found.append(lot.ids[which])
            if not which.all():
                self._lots.append(Lot(lot.ids[~which], lot.tag))
        self.count -= sum(map(len, found))
        return np.concatenate(found)

    def multiply(self, times: int) -> None:
        """Put in `times` messages for each one, with ids of their own."""
        for _ in range(len(self._lots)):
            lot = self._lots.popleft()
            self._lots.append(Lot((lot.ids[:, None] * times + np.arange(times)).ravel(), lot.tag))
        self.count *= times
