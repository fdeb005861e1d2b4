"""A digest of a report, which distinguishes a repeat from another report with the same sequence.

Knows what a report holds. Must not know sessions, or what a digest is used for.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.exchange import Report

KEY_BYTES: Final = 16

_BLOCK: Final = 4096  # words that are summed with one set of factors: 32 KiB
_FEW: Final = 1000  # a report with fewer rows is hashed without sums


class Digester:
    """A keyed hash of reports: equal reports have equal digests, and different reports have different ones.

    The columns are summed block by block, each word times a random factor (multilinear hashing: Carter and Wegman,
    1979). This takes about 1 ns per row; BLAKE2b takes ten times as long, and hashes only the sums. For anyone who
    doesn't know the key, the chance that two different reports have the same digest is below 2^-30. Durations and
    latencies are left out because they decide no outcome.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._factors = np.random.PCG64(int.from_bytes(key, "big")).random_raw(_BLOCK)

    def of(self, report: Report) -> str:
        """Return the digest of a report, in hexadecimal digits."""
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
        """Return one sum per block, modulo 2^64.

        Assumes words below 2^34: two different ones differ in a bit that is low enough to affect most bits of a sum.
        """
        whole = len(words) // _BLOCK * _BLOCK
        sums = words[:whole].reshape(-1, _BLOCK) @ self._factors
        return np.append(sums, words[whole:] @ self._factors[: len(words) - whole]).tobytes()


def _words(column: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the bytes of a column, four per word; the last word is padded with zeros."""
    padded = np.zeros(-(-len(column) // 4) * 4, np.uint8)
    padded[: len(column)] = column
    return padded.view("<u4").astype(np.uint64)
