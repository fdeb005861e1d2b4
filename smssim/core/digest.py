"""A digest of a report, which distinguishes a repeat from another report with the same sequence.

Knows what a report holds. Must not know sessions, nor what a digest decides.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.exchange import Report

KEY_BYTES: Final = 16

_BLOCK: Final = 4096  # words summed under one set of factors: 32 KiB
_FEW: Final = 1000  # rows that are hashed as they are


class Digester:
    """Gives equal reports equal digests, and different ones different digests.

    The columns are summed up block by block, each word times a random factor (multilinear hashing: Carter and Wegman,
    1979), which takes about 1 ns a row; BLAKE2b takes ten times as long, and gets only the sums. For whoever does not
    know the key, the chance that two different reports have the same digest is below 2^-30. Durations and latencies
    are left out: they decide no outcome.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._factors = np.random.PCG64(int.from_bytes(key, "big")).random_raw(_BLOCK)

    def of(self, report: Report) -> str:
        """The digest of a report, in hexadecimal digits."""
        finished = report.finished
        said = (report.sequence, len(finished), report.in_flight, report.held, report.elapsed_s)
        digest = blake2b(
            repr((*said, report.cut_off, report.goodbye, report.end)).encode(), key=self.key, digest_size=16
        )
        if len(finished) < _FEW:
            digest.update(b"".join(column.tobytes() for column in (finished.ids, finished.outcomes, finished.attempts)))
        else:
            digest.update(self._sums(finished.ids.view(np.uint64)))
            digest.update(self._sums(_words(finished.outcomes)))
            digest.update(self._sums(_words(finished.attempts)))
        return digest.hexdigest()

    def _sums(self, words: NDArray[np.uint64]) -> bytes:
        """One sum a block, modulo 2^64. Words below 2^34 differ in a bit low enough to reach most bits of a sum."""
        whole = len(words) // _BLOCK * _BLOCK
        sums = words[:whole].reshape(-1, _BLOCK) @ self._factors
        return np.append(sums, words[whole:] @ self._factors[: len(words) - whole]).tobytes()


def _words(column: NDArray[Any]) -> NDArray[np.uint64]:
    """The bytes of a column, four in a word; the last word is filled up with zeros."""
    padded = np.zeros(-(-len(column) // 4) * 4, np.uint8)
    padded[: len(column)] = column
    return padded.view("<u4").astype(np.uint64)
