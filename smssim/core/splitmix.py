"""Random words that are pure functions of a seed, a stream and a message.

A word is the output of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") at
position `id` of a stream. Knows numbers only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_GAMMA, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)


def words(ids: NDArray[np.uint64], stream: np.uint64) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the word of each message, shape (n,), and a column to reuse, whose content means nothing."""
    word = ids * _GAMMA
    word += stream
    bits = word >> _30
    word ^= bits
    word *= _MIX_1
    np.right_shift(word, _27, bits)
    word ^= bits
    word *= _MIX_2
    np.right_shift(word, _31, bits)
    word ^= bits
    return word, bits


@lru_cache(256)
def stream(seed: int, number: int) -> np.uint64:
    """Return where a stream of a seed starts: SplitMix64 keyed by the seed, and then by the number of the stream."""
    return np.uint64(_split_mix(_split_mix(seed) + number))


def _split_mix(state: int) -> int:
    """Return the SplitMix64 output that follows this state."""
    z = (state + int(_GAMMA)) % 2**64
    z = (z ^ z >> 30) * int(_MIX_1) % 2**64
    z = (z ^ z >> 27) * int(_MIX_2) % 2**64
    return z ^ z >> 31
