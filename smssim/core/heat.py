"""Senders by time: what each sender did in each step of a run, in bounded memory.

Knows rows of senders and times. Must not know how they are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fleet import SenderRow
from smssim.core.limits import LIMITS, Limits
from smssim.core.session import State
from smssim.core.steps import Steps, even, last_of

Cells = NDArray[np.uint8]
Key = tuple[str, int]  # a sender's name, and how many senders before it have the same name

# What a cell says, in the order of importance: where steps are merged, the highest stands. A cell of a sender that is
# sending is SENDING plus a level from 0 to 9: the tenth of its declared rate (`SenderRow.speed`) at which it sends.
UNKNOWN: Final = 0  # it has not joined, or the monitor was away
LEFT: Final = 1
WAITING: Final = 2
SENDING: Final = 3
LEVELS: Final = 10
LOST: Final = SENDING + LEVELS
LETTERS: Final = "-ew0123456789x"  # a character for each value of a cell

_BY_STATE: Final = {State.SENDING: SENDING, State.WAITING: WAITING, State.LOST: LOST, State.LEFT: LEFT}
_LETTERS: Final = np.frombuffer(LETTERS.encode(), np.uint8)


@dataclass(frozen=True, slots=True)
class HeatTable:
    """Senders by time, as it is shown."""

    from_s: float  # when the first step begins
    times_s: tuple[float, ...]  # the end of each step
    rows: tuple[str, ...]  # of each sender: a character of `LETTERS` for each step


@dataclass(frozen=True, slots=True)
class HeatState:
    """Senders by time, as it is kept."""

    from_s: float  # when the first step begins
    step_s: float  # the length of a step; 0: one step per moment
    ends_s: NDArray[np.float64]  # the end of each step, shape (m,)
    senders: list[Key]  # n of them
    cells: Cells  # shape (n, m)


class Heat:
    """What each sender did in each step. Senders beyond the first `Limits.heat_rows_max` are left out."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._steps = Steps(limits.heat_steps_max)
        self._cells: Cells = np.zeros((0, limits.heat_steps_max), np.uint8)
        self._from_s = 0.0
        self._newest: tuple[Sequence[SenderRow], Cells] = (), np.zeros(0, np.uint8)  # what was added last
        self._places: dict[Key, int] = {}  # the row of each sender

    def add(self, elapsed_s: float, rows: Sequence[SenderRow]) -> None:
        """Add a moment, unless no time has passed since the last one."""
        if self._steps.count and elapsed_s <= self._steps.last_s:
            return
        if not self._steps.count:
            self._from_s = elapsed_s
        first = self._steps.merge_before(elapsed_s)
        if first is not None:
            self._cells[:, : len(first)] = np.maximum.reduceat(self._cells, first, axis=1)
            self._cells[:, len(first) :] = UNKNOWN
        self._steps.add(elapsed_s)
        places = [self._place(key) for key in keys(rows)]
        self._make_room()
        at = np.array(places, np.intp)
        known = at >= 0
        column = self._cells[:, self._steps.count - 1]
        newest = cells(rows)
        self._newest = rows, newest
        column[at[known]] = np.maximum(column[at[known]], newest[known])

    def newest(self, rows: Sequence[SenderRow]) -> str:
        """Return what these senders do now, as `letters` does; without looking at them if they are the last added."""
        added, newest = self._newest
        return _LETTERS[newest].tobytes().decode() if added is rows else letters(rows)

    def table(self, rows: Sequence[SenderRow], cells_max: int) -> HeatTable:
        """Return these senders by time, with at most about `cells_max` cells: neighbouring steps are merged."""
        count = self._steps.count
        if not count:
            return HeatTable(0.0, (), ("",) * len(rows))
        first = even(count, max(1, cells_max // max(1, len(rows))))
        ends_s = self._steps.ends_s[last_of(first, count)]
        merged = np.maximum.reduceat(self._cells[:, :count], first, axis=1) if len(self._cells) else self._cells
        letters = _LETTERS[merged]
        none = "-" * len(first)
        shown = (self._places.get(key, -1) for key in keys(rows))
        return HeatTable(
            self._from_s,
            tuple(ends_s.tolist()),
            tuple(none if place < 0 else letters[place].tobytes().decode() for place in shown),
        )

    # -- sent to a watcher

    def state(self) -> HeatState:
        """Return everything, for `load`."""
        count = self._steps.count
        cells_ = self._cells[: len(self._places), :count]
        return HeatState(self._from_s, self._steps.length_s, self._steps.ends_s.copy(), list(self._places), cells_)

    def load(self, state: HeatState) -> None:
        """Fill a new object with the state of another one; raises ValueError."""
        fits = len(state.senders) <= self._limits.heat_rows_max
        if not fits or len(set(state.senders)) < len(state.senders) or state.cells.max(initial=0) > LOST:
            raise ValueError("heat: expected different senders, no more than there is room for, and known cells")
        self._steps.restore(state.ends_s, state.step_s)
        self._from_s = state.from_s
        self._places = {key: place for place, key in enumerate(state.senders)}
        self._make_room()
        self._cells[: len(state.senders), : len(state.ends_s)] = state.cells

    def _place(self, key: Key) -> int:
        """Return the row of a sender, a new one if there is room, or else -1."""
        if key not in self._places and len(self._places) < self._limits.heat_rows_max:
            self._places[key] = len(self._places)
        return self._places.get(key, -1)

    def _make_room(self) -> None:
        if len(self._places) > len(self._cells):
            more = max(len(self._places), min(2 * len(self._cells), self._limits.heat_rows_max)) - len(self._cells)
            self._cells = np.concatenate([self._cells, np.zeros((more, self._cells.shape[1]), np.uint8)])


def keys(rows: Iterable[SenderRow]) -> list[Key]:
    """Return a key for each sender. Senders may have the same name: their order tells them apart."""
    names = [row.name for row in rows]
    if len(set(names)) == len(names):  # in most runs
        return [(name, 0) for name in names]
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        found.append((name, seen[name]))
        seen[name] += 1
    return found


def cells(rows: Sequence[SenderRow]) -> Cells:
    """Return what each sender does now, shape (n,)."""
    states = [row.state for row in rows]
    rates = np.array([row.recent_rate_per_s for row in rows])
    speeds = np.array([row.speed for row in rows])
    levels = np.minimum(LEVELS - 1, LEVELS * rates / speeds).astype(np.uint8)  # a watched rate may be infinite
    of_states = np.array([_BY_STATE[state] for state in states], np.uint8)
    return of_states + np.where(of_states == SENDING, levels, 0).astype(np.uint8)


def letters(rows: Sequence[SenderRow]) -> str:
    """Return what each sender does now, as a character of `LETTERS` for each."""
    return _LETTERS[cells(rows)].tobytes().decode()
