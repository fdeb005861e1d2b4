"""Messages whose recipients can't be reached: which ones, and how many.

Whether a message is unreachable is a pure function of the run's seed and the message's id. It depends on neither
senders nor attempts. Knows ids. Must not know outcomes, senders or times.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.splitmix import stream, words

STREAM: Final = 0  # of the seed; those of attempts are counted from 1
CHUNK: Final = 1 << 18  # messages that are counted at once: in about a millisecond

_32: Final = np.uint64(32)


class Reach:
    """Which messages of a run are unreachable: each with this probability, rounded down to a multiple of 2^-32."""

    def __init__(self, seed: int, unreachable: float) -> None:
        self.seed = seed
        self._below = np.uint64(math.floor(unreachable * 2**32))

    def missing(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of these messages are unreachable; shape (n,)."""
        word, bits = words(ids, stream(self.seed, STREAM))
        np.right_shift(word, _32, bits)
        missing: NDArray[np.bool_] = bits < self._below
        return missing


class Reachable:
    """How many messages of a run can be reached, counted no further than a question needs."""

    def __init__(self, seed: int, unreachable: float, total: int) -> None:
        self._reach = Reach(seed, unreachable)
        self._total = total
        self._counted = 0  # messages that were looked at: the first ones
        self._count = 0  # of them that can be reached
        if unreachable in (0.0, 1.0):
            self._counted, self._count = total, (0 if unreachable else total)

    @property
    def looked_at(self) -> tuple[int, int]:
        """How many messages were counted so far, the first ones, and how many of them can be reached; to be saved."""
        return self._counted, self._count

    @looked_at.setter
    def looked_at(self, both: tuple[int, int]) -> None:
        self._counted, self._count = both

    def is_known(self, below: int) -> bool:
        """Count until the number of reachable messages is known, or exceeds `below`; return whether it is known.

        So if `below` grows with the messages of a run, counting takes no longer than a few nanoseconds for each.
        """
        while self._counted < self._total and self._count <= below:
            some = np.arange(self._counted, min(self._counted + CHUNK, self._total), dtype=np.uint64)
            self._count += len(some) - int(np.count_nonzero(self._reach.missing(some)))
            self._counted += len(some)
        return self._counted == self._total

    @property
    def count(self) -> int:
        """The messages that can be reached. The first use takes about 4 ns for each message of the run."""
        self.is_known(self._total)
        return self._count
