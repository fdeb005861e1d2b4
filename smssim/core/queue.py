"""Messages that were delivered before and wait to be delivered again: some now, some after the retry delay.

The cost of a call depends on the messages that it puts in or takes out, not on how many others wait. Knows ids,
attempts and the time that it is given. Must not know the state of a message: entries may be out of date, so the caller
that takes messages out checks which of them still wait.
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

BATCH_ROWS_MAX: Final = 65_536  # messages of a batch: bounds the memory that the rest of a batch keeps

Waits = Callable[[Ids, int], NDArray[np.bool_]]  # whether each message still waits for this attempt; shape (n,)


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages delivered together: ascending ids of shape (n,), all at the same attempt."""

    ids: Ids
    attempt: int
    lost: bool = False  # whether their previous lease was lost


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages taken out of the queue."""

    batch: Batch
    lost: int  # how many of them had a previous lease that was lost


class Queue:
    """Batches in the order in which to deliver them."""

    def __init__(self, retry_delay_s: float, batch_rows_max: int = BATCH_ROWS_MAX) -> None:
        self.delayed = 0  # ids whose delay is not over
        self.readied = 0  # batches that have become ready so far
        self._retry_delay_s = retry_delay_s
        self._rows_max = batch_rows_max
        self._ready: deque[Batch] = deque()
        self._later: deque[tuple[float, Batch]] = deque()  # with the time at which each becomes ready; in order of time

    def __bool__(self) -> bool:
        """Return whether messages are ready."""
        return bool(self._ready)

    def put_first(self, ids: Ids, attempts: Attempts, lost: bool) -> None:
        """Put messages in front of all others, in order of id.

        `attempts`: the next attempt of each; columns of shape (n,).
        """
        batches = list(self._by_attempt(ids, attempts, lost))
        self._ready.extendleft(reversed(batches))
        self.readied += len(batches)

    def put_last(self, ids: Ids, attempts: Attempts, lost: bool) -> None:
        """Put messages behind all that are ready."""
        batches = list(self._by_attempt(ids, attempts, lost))
        self._ready.extend(batches)
        self.readied += len(batches)

    def put_later(self, ids: Ids, attempts: Attempts, now: float) -> None:
        """Put in messages that become ready after the retry delay."""
        self._later.extend((now + self._retry_delay_s, batch) for batch in self._by_attempt(ids, attempts))
        self.delayed += len(ids)

    def promote(self, now: float) -> None:
        """Make messages ready if their delay is over; those at the same attempt are merged."""
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
        """Return when the first delayed message is ready again; infinity if no message is delayed."""
        return self._later[0][0] if self._later else math.inf

    def take(self, wanted: int, waits: Waits) -> Taken:
        """Take out up to `wanted` of the next messages, all of them at one attempt.

        Discards messages that no longer wait, so the result may be empty. Checks at most `wanted` messages plus twice
        the number that it discards. Assumes that messages are ready and that `wanted` is above 0.
        """
        attempt = self._ready[0].attempt
        parts: list[Ids] = []
        lost = stale = 0
        while wanted and self._ready and self._ready[0].attempt == attempt:
            batch = self._ready.popleft()
            look = max(wanted, stale)
            seen = batch.ids[:look]
            good = seen[waits(seen, attempt)]  # a copy, which does not keep the whole batch in memory
            self._put_back(batch, batch.ids[look:])
            self._put_back(batch, good[wanted:])
            stale += len(seen) - len(good)
            good = good[:wanted]
            wanted -= len(good)
            lost += len(good) * batch.lost
            parts.append(good)
        return Taken(Batch(_merged(parts), attempt), lost)

    def _put_back(self, batch: Batch, rest: Ids) -> None:
        """Put the rest of a batch back at the front."""
        if not len(rest):
            return
        if rest.base is not None and 2 * len(rest) <= len(rest.base):
            rest = rest.copy()  # otherwise a few ids would keep the whole array in memory
        self._ready.appendleft(Batch(rest, batch.attempt, batch.lost))

    def _by_attempt(self, ids: Ids, attempts: Attempts, lost: bool = False) -> Iterator[Batch]:
        """Yield the ids grouped by attempt and ascending, in batches of bounded size."""
        counts = np.bincount(attempts)
        for attempt in np.flatnonzero(counts).tolist():
            of_it = ids if counts[attempt] == len(ids) else ids[attempts == attempt]
            yield from self._pieces(np.sort(of_it, kind="stable"), attempt, lost)

    def _pieces(self, ids: Ids, attempt: int, lost: bool) -> Iterator[Batch]:
        """Yield ascending ids as batches of bounded size; no batch keeps another one in memory."""
        for first in range(0, len(ids), self._rows_max):
            piece = ids[first : first + self._rows_max]
            yield Batch(piece if len(piece) == len(ids) else piece.copy(), attempt, lost)


def _merged(parts: list[Ids]) -> Ids:
    """Return the ids of all parts, ascending. Assumes at least one part, and that each part ascends."""
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts), kind="stable")
