"""State of the messages that are not done, kept in stretches of consecutive ids.

A run may have hundreds of millions of messages, of which some thousands are in flight. A stretch is opened when the
first of its messages is touched, and closed when the last one is done; its state is then discarded. So memory depends
on what is open, and the lookup of the state of a column of ids is one array index. Stretches are short because a peer
may report messages that lie far apart: each of them then costs a stretch.

Knows ids and rows. Must not know what the state means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from smssim.core.model import Ids
from smssim.core.pieces import Changes, Pieces, numbered

STRETCH_BITS: Final = 12
STRETCH_SIZE: Final = 1 << STRETCH_BITS
_OFFSET: Final = STRETCH_SIZE - 1

_CLOSED: Final = -STRETCH_SIZE  # so that this plus any offset is below 0
_AT_ONCE: Final = 256  # stretches whose state is packed or unpacked together
_PART: Final = 1 << 15  # stretches in a piece that records which are closed: 4 KiB

Rows = NDArray[np.int64]
Where = slice | NDArray[np.int64]

_marks: Final = np.empty(1 << 20, np.int32)  # scratch of `first_of_each`, shared by all tables: valid during one call


def stretches_of(ids: Ids) -> Iterable[int]:
    """Return the stretches of ascending ids, and possibly others between them, but no more than there are ids."""
    first, last = int(ids[0]) >> STRETCH_BITS, int(ids[-1]) >> STRETCH_BITS
    return range(first, last + 1) if last - first < len(ids) else set((ids >> STRETCH_BITS).tolist())


class Stretches:
    """A table with one row per message of the open stretches; its columns start as zeros.

    Rows don't move while their stretch is open, but `column` arrays are replaced when the table grows: fetch them again
    after `open`. The table consists of slots, each as long as a stretch. Slot 0 holds no stretch: its rows stand for
    the messages of all stretches that were never opened, and stay zero.
    """

    def __init__(self, total: int, **columns: DTypeLike) -> None:
        self.total = total
        self.pending = 0  # messages of open stretches that are not done
        self._base_of = np.zeros((total + _OFFSET) >> STRETCH_BITS, np.int64)  # first row, 0 if unopened, or _CLOSED
        self._stretch_at = np.zeros(1, np.int64)  # the stretch that each slot holds
        self._remaining = np.zeros(1, np.int64)  # how many messages of that stretch are not done
        self._touched = np.zeros(1, np.bool_)  # slots, since `take_touched`
        self._closed = np.zeros(len(self._base_of), np.bool_)  # stretches, since `take_closed`
        self._used = 1  # slots that hold or have held a stretch, and slot 0
        self._free: list[int] = []  # slots that no longer hold a stretch
        self.column = {name: np.zeros(STRETCH_SIZE, dtype) for name, dtype in columns.items()}

    def find(self, ids: Ids) -> Rows:
        """Return the row of each id, shape (n,): below STRETCH_SIZE if its stretch was never opened, below 0 if closed.

        Assumes 0 <= ids < total.
        """
        rows: Rows = self._base_of.take(ids >> STRETCH_BITS)
        rows += ids & _OFFSET
        return rows

    def open(self, ids: Ids) -> Rows:
        """Return the row of each id, shape (n,), -1 if its stretch is closed; open stretches that were never opened."""
        rows = self.find(ids)
        if not rows.size or rows.min() >= STRETCH_SIZE:
            return rows
        numbers = self._unopened(ids)
        if numbers.size:
            self._open(numbers)
            rows = self.find(ids)
        return np.maximum(rows, -1, out=rows)

    def open_range(self, first: int, end: int) -> None:
        """Open the stretches of ids first..end-1, faster than `open` does."""
        numbers = np.arange(first >> STRETCH_BITS, (end + _OFFSET) >> STRETCH_BITS if end > first else 0)
        numbers = numbers[self._base_of[numbers] == 0]
        if numbers.size:
            self._open(numbers)

    def first_of_each(self, rows: Rows, among: NDArray[np.bool_]) -> Where:
        """Return where each of the rows chosen by `among` occurs for the first time, in order.

        `among`: bool, shape (n,). Assumes that chosen rows are open. Returns slice(None) if all rows qualify, so that
        nothing must be copied. Each row writes its position to a place in the scratch and finds it there again, unless
        another row shares the place: 4 ns per row, while sorting takes 40 ns. Only rows that share a place are sorted.
        """
        where: Where = slice(None) if among.all() else np.flatnonzero(among)
        chosen = rows[where]
        places = chosen & (len(_marks) - 1) if self._used << STRETCH_BITS > len(_marks) else chosen
        numbers = np.arange(len(chosen), dtype=np.int32)
        _marks[places] = numbers
        found = _marks.take(places)
        lost = found != numbers
        if not lost.any():
            return where
        lost = np.flatnonzero(lost)
        sharing = np.unique(np.concatenate([lost, found[lost]]))
        order = np.argsort(chosen[sharing], kind="stable")
        by_row = chosen[sharing[order]]
        again = sharing[order[1:][by_row[1:] == by_row[:-1]]]
        if not again.size:
            return where
        firsts = np.delete(np.arange(len(chosen)), again)
        return firsts if isinstance(where, slice) else where[firsts]

    def unopened(self, ids: Ids) -> int:
        """Return how many stretches `open` would open."""
        return len(self._unopened(ids))

    def open_rows(self, numbers: Iterable[int]) -> dict[int, slice]:
        """Return the rows of those of the given stretches that are open, by number in ascending order.

        Assumes that each of them is or was open.
        """
        known = np.array(sorted(numbers), np.int64)
        bases = self._base_of[known]
        still = bases > 0
        return {
            number: slice(base, base + STRETCH_SIZE)
            for number, base in zip(known[still].tolist(), bases[still].tolist(), strict=True)
        }

    @property
    def opened(self) -> int:
        """How many stretches are open."""
        return self._used - 1 - len(self._free)

    @property
    def stretches(self) -> int:
        """How many stretches there are, open or not."""
        return len(self._base_of)

    def ids(self, rows: Rows) -> Ids:
        """Return the ids of open rows, shape (n,)."""
        stretch: Ids = self._stretch_at[rows >> STRETCH_BITS]
        return (stretch << STRETCH_BITS) | (rows & _OFFSET)

    def done(self, rows: Rows) -> Ids:
        """Count these distinct rows as done, and return the stretches that have none left, for `close`."""
        slots = rows >> STRETCH_BITS
        self.pending -= len(rows)
        if len(rows) < self._used >> 4:  # few in a large table
            np.subtract.at(self._remaining, slots, 1)
            self._touched[slots] = True
            full = np.unique(slots[self._remaining[slots] == 0])
        else:
            count = np.bincount(slots, minlength=self._used)
            remaining = self._remaining[: self._used]
            remaining -= count
            self._touched[: self._used] |= count > 0
            full = np.flatnonzero((remaining == 0) & (count > 0))
        numbers: Ids = self._stretch_at[full]
        return numbers

    def close(self, numbers: Ids) -> None:
        """Discard the state of stretches."""
        if not numbers.size:
            return
        slots = self._slots(numbers)
        self._touched[slots] = False
        self._closed[numbers] = True
        self._free += slots.tolist()
        self._base_of[numbers] = _CLOSED

    def blocks(self, name: str, numbers: Ids) -> NDArray[Any]:
        """Return a copy of a column of open stretches, shape (n, STRETCH_SIZE); zeros beyond the end of the run."""
        blocks: NDArray[Any] = self.column[name].reshape(-1, STRETCH_SIZE)[self._slots(numbers)]
        return blocks

    @property
    def rows_held(self) -> int:
        """Rows in memory, in use or not."""
        return (self._used - 1) << STRETCH_BITS

    # -- saved and restored

    def touch(self, rows: Rows) -> None:
        """Record that the state of these rows has changed; `done` does so by itself."""
        self._touched[rows >> STRETCH_BITS] = True

    def take_touched(self) -> Ids:
        """Return the numbers of the open stretches whose state has changed since the last call."""
        slots = np.flatnonzero(self._touched[: self._used])
        self._touched[slots] = False
        return self._stretch_at[slots]

    def take_closed(self) -> tuple[Ids, Changes]:
        """Return the numbers of the stretches closed since the last call, and pieces that record which are closed."""
        numbers = np.flatnonzero(self._closed)
        self._closed[numbers] = False
        changes: Changes = {}
        for part in np.unique(numbers // _PART).tolist():
            changes[f"closed/{part}"] = np.packbits(self._base_of[part * _PART : (part + 1) * _PART] < 0).tobytes()
        return numbers, changes

    def closed(self) -> NDArray[np.bool_]:
        """Return which stretches are closed: bool, one element per stretch."""
        closed: NDArray[np.bool_] = self._base_of < 0
        return closed

    def restore(self, name: str, numbers: Ids, blocks: NDArray[Any], done: NDArray[np.int64]) -> None:
        """Open stretches, each with the number of messages that are done, and fill a column.

        Raises ValueError if a stretch doesn't exist, was opened before, or has no message left.
        """
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.stretches or self._base_of[numbers].any()):
            raise ValueError("a stretch does not exist or was restored before")
        self._open(numbers)
        if (done >= self._sizes(numbers)).any():
            raise ValueError("an open stretch has no unfinished message")
        self._remaining[self._slots(numbers)] -= done
        self.pending -= int(done.sum())
        self.fill(name, numbers, blocks)

    def fill(self, name: str, numbers: Ids, blocks: NDArray[Any]) -> None:
        """Set a column of open stretches; `blocks` has the shape (n, STRETCH_SIZE)."""
        self.column[name].reshape(-1, STRETCH_SIZE)[self._slots(numbers)] = blocks

    def restore_closed(self, pieces: Pieces) -> int:
        """Close the stretches that the pieces record as closed, and return how many messages they have.

        Assumes that no stretch is open. Raises ValueError if a piece doesn't fit the run.
        """
        for part, piece in numbered("closed", pieces).items():
            part_of = self._base_of[part * _PART : (part + 1) * _PART]
            if part < 0 or not part_of.size or len(piece) != -(-len(part_of) // 8):
                raise ValueError(f"closed/{part} does not fit this run")
            part_of[np.unpackbits(np.frombuffer(piece, np.uint8), count=len(part_of)) == 1] = _CLOSED
        return int(self._sizes(np.flatnonzero(self._base_of)).sum())

    # -- slots

    def _unopened(self, ids: Ids) -> Ids:
        """Return the numbers of the stretches of these ids that were never opened, ascending."""
        numbers = ids >> STRETCH_BITS
        first, last = int(numbers.min()), int(numbers.max())
        if last - first < 4 * len(numbers):  # as with messages that were delivered in order
            named = np.zeros(last - first + 1, np.bool_)
            named[numbers - first] = True
            return np.flatnonzero(named & (self._base_of[first : last + 1] == 0)) + first
        return np.unique(numbers[self._base_of.take(numbers) == 0])

    def _slots(self, numbers: Ids) -> Rows:
        """Return the slots of open stretches."""
        slots: Rows = self._base_of[numbers] >> STRETCH_BITS
        return slots

    def _sizes(self, numbers: Ids) -> Ids:
        """Return how many messages each stretch has; the last one of the run may be short."""
        sizes: Ids = np.minimum(STRETCH_SIZE, self.total - (numbers << STRETCH_BITS))
        return sizes

    def _open(self, numbers: Ids) -> None:
        """Open distinct stretches that were never opened."""
        again = self._free[-len(numbers) :] if len(numbers) else []
        del self._free[len(self._free) - len(again) :]
        first, self._used = self._used, self._used + len(numbers) - len(again)
        if self._used > len(self._remaining):
            self._grow(max(self._used, 2 * len(self._remaining)))
        slots = np.array([*again, *range(first, self._used)], np.int64)
        for column in self.column.values():
            column.reshape(-1, STRETCH_SIZE)[slots] = 0
        sizes = self._sizes(numbers)
        self._base_of[numbers] = slots << STRETCH_BITS
        self._stretch_at[slots] = numbers
        self._remaining[slots] = sizes
        self.pending += int(sizes.sum())

    def _grow(self, slots: int) -> None:
        """Make room for this many slots."""
        self._stretch_at = _longer(self._stretch_at, slots)
        self._remaining = _longer(self._remaining, slots)
        self._touched = _longer(self._touched, slots)
        for name, column in self.column.items():
            self.column[name] = _longer(column, slots << STRETCH_BITS)


def in_parts(numbers: Ids) -> Iterator[Ids]:
    """Return the numbers in parts of bounded size, in order: the state of all of them may take a hundred megabytes."""
    return (numbers[first : first + _AT_ONCE] for first in range(0, len(numbers), _AT_ONCE))


def _longer(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Return the array extended with zeros, which take no memory until they are written to."""
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer
