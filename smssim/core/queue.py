"""Messages that were handed out before and are to go out again: some now, some after the delay of a retry.

What one event costs follows the messages that it puts in or takes out, whatever else waits. Knows ids, attempts and
the clock that it is given. Must not know the state of a message: what it holds may be out of date, and whoever takes
messages out says which of them still wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Attempts, Ids

BATCH_ROWS_MAX: Final = 65_536  # messages of a batch: what is left of one keeps no more memory than that

Waits = Callable[[Ids, int], NDArray[np.bool_]]  # which of these messages, at this attempt, still wait; shape (n,)


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages handed out together: ascending ids of shape (n,), all at the same attempt."""

    ids: Ids
    attempt: int
    lost: bool = False  # by the sender that had them before


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages that were taken out of the queue."""

    batch: Batch
    lost: int  # how many of them were lost by the sender that had them before


class Queue:
    """Batches in the order in which they are to go out."""

    def __init__(self, retry_delay_s: float, batch_rows_max: int = BATCH_ROWS_MAX) -> None:
        self.delayed = 0  # ids whose delay is not over
        self.readied = 0  # batches that have ever become ready
        self._retry_delay_s = retry_delay_s
        self._rows_max = batch_rows_max
        self._ready: deque[Batch] = deque()
        self._later: deque[tuple[float, Batch]] = deque()  # from a time on; in order of that time

    def __bool__(self) -> bool:
        """Whether something is ready to go out."""
        return bool(self._ready)

    def put_first(self, ids: Ids, attempts: Attempts, lost: bool) -> None:
        """To go out before all else, in order of id; the next attempt of each, columns of shape (n,)."""
        batches = list(self._by_attempt(ids, attempts, lost))
        self._ready.extendleft(reversed(batches))
        self.readied += len(batches)

    def put_last(self, ids: Ids, attempts: Attempts, lost: bool) -> None:
        """To go out after all that is ready."""
        batches = list(self._by_attempt(ids, attempts, lost))
        self._ready.extend(batches)
        self.readied += len(batches)

    def put_later(self, ids: Ids, attempts: Attempts, now: float) -> None:
        """To go out after the delay of a retry."""
        self._later.extend((now + self._retry_delay_s, batch) for batch in self._by_attempt(ids, attempts))
        self.delayed += len(ids)

    def promote(self, now: float) -> None:
        """Makes ready what has waited for its delay; what is at one attempt goes out together."""
        due: dict[int, list[Ids]] = {}
        while self._later and self._later[0][0] <= now:
            batch = self._later.popleft()[1]
            self.delayed -= len(batch.ids)
            due.setdefault(batch.attempt, []).append(batch.ids)
        for attempt, parts in due.items():
            batches = list(self._pieces(_merged(parts), attempt, lost=False))
            self._ready.extend(batches)
            self.readied += len(batches)

    def next_due(self) -> float:
        """When the first delay is over; infinity if there is none."""
        return self._later[0][0] if self._later else math.inf

    def take(self, wanted: int, waits: Waits) -> Taken:
        """Takes out up to `wanted` of the messages that are to go out next, all of them at one attempt.

        Throws away what does not wait any more, so that there may be none. Looks at no more messages than are wanted
        and twice those that it throws away. Assumes that something is ready, and `wanted` above 0.
        """
        attempt = self._ready[0].attempt
        parts: list[Ids] = []
        lost = stale = 0
        while wanted and self._ready and self._ready[0].attempt == attempt:
            batch = self._ready.popleft()
            look = max(wanted, stale)
            seen = batch.ids[:look]
            good = seen[waits(seen, attempt)]  # a copy: what goes out keeps nothing else in memory
            self._put_back(batch, batch.ids[look:])
            self._put_back(batch, good[wanted:])
            stale += len(seen) - len(good)
            good = good[:wanted]
            wanted -= len(good)
            lost += len(good) * batch.lost
            parts.append(good)
        return Taken(Batch(_merged(parts), attempt), lost)

    def _put_back(self, batch: Batch, rest: Ids) -> None:
        """Puts back, at the front, what is left of a batch."""
        if not len(rest):
            return
        if rest.base is not None and 2 * len(rest) <= len(rest.base):
            rest = rest.copy()  # or a few of them would keep all in memory
        self._ready.appendleft(Batch(rest, batch.attempt, batch.lost))

    def _by_attempt(self, ids: Ids, attempts: Attempts, lost: bool = False) -> Iterator[Batch]:
        """The ids, apart by attempt and ascending, in batches of bounded size."""
        counts = np.bincount(attempts)
        for attempt in np.flatnonzero(counts).tolist():
            of_it = ids if counts[attempt] == len(ids) else ids[attempts == attempt]
            yield from self._pieces(np.sort(of_it, kind="stable"), attempt, lost)

    def _pieces(self, ids: Ids, attempt: int, lost: bool) -> Iterator[Batch]:
        """Ascending ids as batches of bounded size, none of which keeps another in memory."""
        for first in range(0, len(ids), self._rows_max):
            piece = ids[first : first + self._rows_max]
            yield Batch(piece if len(piece) == len(ids) else piece.copy(), attempt, lost)


def _merged(parts: list[Ids]) -> Ids:
    """The ids of all parts, ascending; at least one part, each of them ascending."""
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts), kind="stable")
