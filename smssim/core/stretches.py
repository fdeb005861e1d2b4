"""State of the messages that are still open, a stretch of consecutive ids at a time.

A run may have hundreds of millions of messages of which some thousands are under way. A stretch is opened when the
first of its messages is touched and closed when the last of them is done; what it held is then given up. So memory
follows what is open, while looking up the state of a column of ids stays one array index.

Knows ids and rows. Must not know what the state means.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

STRETCH_BITS: Final = 16
STRETCH_SIZE: Final = 1 << STRETCH_BITS
_OFFSET: Final = STRETCH_SIZE - 1

_UNOPENED: Final = -(2**62)  # so that an id plus this is below 0
_CLOSED: Final = -(2**61)

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Where = slice | NDArray[np.int64]


def stretches_of(ids: Ids) -> Iterable[int]:
    """The stretches that ascending ids are in, and perhaps others between them, but no more than there are ids."""
    first, last = int(ids[0]) >> STRETCH_BITS, int(ids[-1]) >> STRETCH_BITS
    return range(first, last + 1) if last - first < len(ids) else set((ids >> STRETCH_BITS).tolist())


class Stretches:
    """A table with one row per message of the open stretches; its columns start out as zeros.

    Rows move to no other place while their stretch is open, but `column` arrays are replaced when the table grows:
    fetch them anew after `open`.
    """

    def __init__(self, total: int, **columns: DTypeLike) -> None:
        self.total = total
        self._shift_of = np.full((total + _OFFSET) >> STRETCH_BITS, _UNOPENED, np.int64)  # row less id, of a stretch
        self._stretch_at = np.zeros(1, np.int64)  # which stretch a slot holds
        self._remaining = np.zeros(1, np.int64)  # how many of its messages are not done
        self._touched = np.zeros(1, bool)  # since `take_touched`
        self._closed: list[int] = []  # since `take_closed`
        self._free = [0]
        self.column = {name: np.zeros(STRETCH_SIZE, dtype) for name, dtype in columns.items()}
        self._marks = np.empty(STRETCH_SIZE, np.int32)  # for `first_of_each`

    def open(self, ids: Ids) -> Rows:
        """The row of each id, shape (n,); -1 where its stretch is closed. Opens stretches that were not.

        Assumes 0 <= ids < total.
        """
        stretch = ids >> STRETCH_BITS
        rows: Rows = self._shift_of.take(stretch)
        rows += ids
        if not rows.size or rows.min() >= 0:
            return rows
        self._open_all(stretch[self._shift_of[stretch] == _UNOPENED])
        np.maximum(self._shift_of[stretch] + ids, -1, out=rows)
        return rows

    def first_of_each(self, rows: Rows, among: NDArray[np.bool_]) -> Where:
        """Where each of the rows that are `among` these, shape (n,), occurs for the first time, in order.

        Rows that are among them are open. slice(None) if that is everywhere, so that nothing need be copied.
        """
        where: Where = slice(None) if among.all() else np.flatnonzero(among)
        chosen = rows[where]
        numbers = np.arange(len(chosen), dtype=np.int32)
        self._marks[chosen] = numbers  # each finds its own number again unless another has the same row: 4 ns a row ...
        if (self._marks.take(chosen) == numbers).all():
            return where
        firsts = np.sort(np.unique(chosen, return_index=True)[1])  # ... where sorting takes 40
        return firsts if isinstance(where, slice) else where[firsts]

    def unopened(self, ids: Ids) -> int:
        """How many stretches `open` would open."""
        stretch = ids >> STRETCH_BITS
        news = stretch[self._shift_of.take(stretch) == _UNOPENED]
        return len(np.unique(news)) if news.size else 0

    def open_rows(self, numbers: Iterable[int]) -> dict[int, slice]:
        """Of these stretches, which are or were open, those that are: their rows, by number and ascending."""
        known = np.array(sorted(numbers), np.int64)
        return {number: self._rows(self._slot(number)) for number in known[self._shift_of[known] > _CLOSED].tolist()}

    @property
    def opened(self) -> int:
        """How many stretches are open."""
        return len(self._remaining) - len(self._free)

    def ids(self, rows: Rows) -> Ids:
        """The ids of open rows, shape (n,)."""
        stretch: Ids = self._stretch_at[rows >> STRETCH_BITS]
        return (stretch << STRETCH_BITS) | (rows & _OFFSET)

    def done(self, rows: Rows) -> list[tuple[int, slice]]:
        """Counts these distinct rows as done. Each stretch that has none left, as its number and its rows.

        The caller saves what it needs of those and then calls `close` for each.
        """
        if not rows.size:
            return []
        count = np.bincount(rows >> STRETCH_BITS, minlength=len(self._remaining))
        self._remaining -= count
        self._touched |= count > 0
        full = np.flatnonzero((self._remaining == 0) & (count > 0))
        return [(int(self._stretch_at[s]), slice(s << STRETCH_BITS, (s + 1) << STRETCH_BITS)) for s in full.tolist()]

    def close(self, number: int) -> None:
        """Gives up the state of a stretch."""
        slot = self._slot(number)
        self._touched[slot] = False
        self._closed.append(number)
        self._free.append(slot)
        self._shift_of[number] = _CLOSED

    def peek(self, number: int, name: str) -> NDArray[Any]:
        """A column of a stretch that is not closed, zeros if it was never opened; not to be written to."""
        if self._shift_of[number] == _UNOPENED:
            size = min(STRETCH_SIZE, self.total - (number << STRETCH_BITS))
            return np.zeros(size, self.column[name].dtype)
        return self.column[name][self._rows(self._slot(number))]

    @property
    def rows_held(self) -> int:
        """Rows in memory, in use or not."""
        return len(self._remaining) << STRETCH_BITS

    # -- saved and restored

    def touch(self, rows: Rows) -> None:
        """Notes that the state of these rows has changed; `done` does so by itself."""
        self._touched |= np.bincount(rows >> STRETCH_BITS, minlength=len(self._touched)) > 0

    def take_touched(self) -> list[tuple[int, slice]]:
        """Open stretches whose state has changed since the last call: number and rows."""
        slots = np.flatnonzero(self._touched).tolist()
        self._touched[:] = False
        return [(int(self._stretch_at[slot]), self._rows(slot)) for slot in slots]

    def take_closed(self) -> list[int]:
        """Stretches that were closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def closed(self) -> NDArray[np.bool_]:
        """Which stretches are closed, one element a stretch."""
        closed: NDArray[np.bool_] = self._shift_of == _CLOSED
        return closed

    def restore(self, number: int, done: int) -> slice:
        """Opens a stretch of which so many messages are done; its rows, for the caller to fill.

        Raises ValueError if there is no such stretch, or nothing of it open.
        """
        if not 0 <= number < len(self._shift_of) or self._shift_of[number] != _UNOPENED:
            raise ValueError(f"stretch {number} is not one that can be restored")
        self._open(number)
        slot = self._slot(number)
        rows = self._rows(slot)
        if done >= rows.stop - rows.start:
            raise ValueError(f"stretch {number} has no message open")
        self._remaining[slot] -= done
        return rows

    def restore_closed(self, closed: NDArray[np.bool_]) -> int:
        """Closes these stretches, one element a stretch, none of them open; how many messages they have."""
        self._shift_of[closed[: len(self._shift_of)]] = _CLOSED
        count = int(np.count_nonzero(self._shift_of == _CLOSED)) << STRETCH_BITS
        short = -self.total & _OFFSET  # what the last stretch lacks
        return count - short if self.total and self._shift_of[-1] == _CLOSED else count

    def _slot(self, number: int) -> int:
        """Where an open stretch is."""
        return (int(self._shift_of[number]) >> STRETCH_BITS) + number

    def _rows(self, slot: int) -> slice:
        """The rows of a slot that stand for messages: the last stretch may be short."""
        first = slot << STRETCH_BITS
        size = min(STRETCH_SIZE, self.total - (int(self._stretch_at[slot]) << STRETCH_BITS))
        return slice(first, first + size)

    def _open_all(self, numbers: NDArray[np.int64]) -> None:
        """Opens these stretches, which may be named many times over, mostly in a row."""
        if numbers.size:
            changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
            for number in sorted({int(numbers[0]), *numbers[changes].tolist()}):
                self._open(number)

    def _open(self, number: int) -> None:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        rows = slice(slot << STRETCH_BITS, (slot + 1) << STRETCH_BITS)
        for column in self.column.values():
            column[rows] = 0
        self._shift_of[number] = (slot - number) << STRETCH_BITS
        self._stretch_at[slot] = number
        self._remaining[slot] = min(STRETCH_SIZE, self.total - (number << STRETCH_BITS))

    def _grow(self) -> None:
        """Doubles the table."""
        slots = len(self._remaining)
        self._stretch_at = np.concatenate([self._stretch_at, np.zeros(slots, np.int64)])
        self._remaining = np.concatenate([self._remaining, np.zeros(slots, np.int64)])
        self._touched = np.concatenate([self._touched, np.zeros(slots, bool)])
        for name, column in self.column.items():
            self.column[name] = np.concatenate([column, np.zeros_like(column)])
        self._marks = np.empty(2 * len(self._marks), np.int32)
        self._free = list(range(2 * slots - 1, slots - 1, -1))
