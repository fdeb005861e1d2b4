"""Messages that were handed out before and are to go out again: some now, some after the delay of a retry.

Knows ids, attempts and the clock that it is given. Must not know the state of a message: what it holds may be out of
date, and whoever takes it out has to look.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smssim.core.stretches import Ids

Attempts = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lot:
    """Messages handed out together: ascending ids of shape (n,), all at the same attempt."""

    ids: Ids
    attempt: int
    lost: bool = False  # by the sender that had them before


class Queue:
    """Lots in the order in which they are to go out."""

    def __init__(self, retry_delay_s: float) -> None:
        self.delayed = 0  # ids whose delay is not over
        self._retry_delay_s = retry_delay_s
        self._ready: deque[Lot] = deque()
        self._later: deque[tuple[float, Lot]] = deque()  # from a time on; in order of that time

    def __bool__(self) -> bool:
        """Whether something is ready to go out."""
        return bool(self._ready)

    def put_first(self, ids: Ids, attempts: Attempts, lost: bool) -> None:
        """To go out before all else, in order of id; the next attempt of each, columns of shape (n,)."""
        self._ready.extendleft(reversed(list(_by_attempt(ids, attempts, lost))))

    def put_last(self, ids: Ids, attempts: Attempts, lost: bool) -> None:
        """To go out after all that is ready."""
        self._ready.extend(_by_attempt(ids, attempts, lost))

    def put_later(self, ids: Ids, attempts: Attempts, now: float) -> None:
        """To go out after the delay of a retry."""
        self._later.extend((now + self._retry_delay_s, lot) for lot in _by_attempt(ids, attempts))
        self.delayed += len(ids)

    def promote(self, now: float) -> None:
        """Makes ready what has waited for its delay; what is at one attempt goes out together."""
        due: dict[int, list[Ids]] = {}
        while self._later and self._later[0][0] <= now:
            lot = self._later.popleft()[1]
            self.delayed -= len(lot.ids)
            due.setdefault(lot.attempt, []).append(lot.ids)
        for attempt, parts in due.items():
            self._ready.append(Lot(np.sort(np.concatenate(parts)), attempt))

    def next_due(self) -> float:
        """When the first delay is over; infinity if there is none."""
        return self._later[0][0] if self._later else math.inf

    def pop(self) -> Lot:
        """Takes out what is to go out next."""
        return self._ready.popleft()

    def put_back(self, lot: Lot) -> None:
        """What was left of a lot that was taken out."""
        self._ready.appendleft(lot)


def _by_attempt(ids: Ids, attempts: Attempts, lost: bool = False) -> Iterator[Lot]:
    """The ids, apart by attempt and ascending."""
    for attempt in np.unique(attempts):
        yield Lot(np.sort(ids[attempts == attempt]), int(attempt), lost)
