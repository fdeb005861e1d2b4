"""The time axis of something that is kept of a run: a bounded number of steps that cover it evenly, however long it is.

Decides which moments are in the same step, and which steps are merged when there are too many. Must not know what is
kept of a step.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Steps:
    """The ends of the steps so far, in seconds, ascending. Each step begins where the previous one ends.

    There is one step per moment until there are `most`. Then neighbours are merged, so that about half of them are
    left, and a later moment belongs to the last step if it is within the same length of time.
    """

    def __init__(self, most: int) -> None:
        self.count = 0  # steps so far
        self.length_s = 0.0  # of a step; 0: one step per moment
        self._ends_s = np.zeros(most)

    @property
    def ends_s(self) -> Floats:
        """The end of each step, shape (count,)."""
        return self._ends_s[: self.count]

    @property
    def last_s(self) -> float:
        """The end of the last step. Assumes that there is one."""
        return float(self._ends_s[self.count - 1])

    def merge_before(self, elapsed_s: float) -> Indices | None:
        """Make room for a later moment. Return the first of the steps that become each new one, or None if none do.

        Then the caller merges what it keeps: the new step i is made of the old ones from element i to element i + 1.
        """
        if self.count < len(self._ends_s) or self.is_in_last(elapsed_s):
            return None
        passed_s = self.ends_s - self._ends_s[0]
        self.length_s = max(2 * self.length_s, float(passed_s[-1]) / (len(self._ends_s) // 2))
        first = np.flatnonzero(np.diff(np.ceil(passed_s / self.length_s), prepend=-1))
        merged = self._ends_s[last_of(first, self.count)]
        self.count = len(merged)
        self._ends_s[: self.count] = merged
        return first

    def add(self, elapsed_s: float) -> bool:
        """Add a later moment, and return whether a step begins with it. Assumes that `merge_before` was called."""
        begins = not self.is_in_last(elapsed_s)
        self.count += begins
        self._ends_s[self.count - 1] = elapsed_s
        return begins

    def is_in_last(self, elapsed_s: float) -> bool:
        """Return whether a later moment is in the last step. The start is alone in its step."""
        if not (self.length_s and self.count):
            return False
        start_s = float(self._ends_s[0])
        return ceil((elapsed_s - start_s) / self.length_s) == ceil((self.last_s - start_s) / self.length_s)

    def restore(self, ends_s: Floats, length_s: float) -> None:
        """Restore saved steps into a new axis; raises ValueError."""
        if not (len(ends_s) <= len(self._ends_s) and (np.diff(ends_s) > 0).all() and length_s >= 0):
            raise ValueError("steps: expected ascending ends, and no more than there is room for")
        self.count, self.length_s = len(ends_s), length_s
        self._ends_s[: self.count] = ends_s


def last_of(first: Indices, count: int) -> Indices:
    """Return the last of the steps that become each new one, from the first of each."""
    return np.append(first[1:], count) - 1


def even(count: int, most: int) -> Indices:
    """Return the first of the steps that become each new one, so that `count` steps become `most`, evenly."""
    return np.arange(min(count, most)) * count // min(count, most)
