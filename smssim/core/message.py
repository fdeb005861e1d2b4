"""The phone numbers and texts of a run's messages, regenerated whenever they are needed.

A message's content is a pure function of the run's seed, the message's id and the bounds of the text length. It does
not depend on how messages are batched. Nothing is stored except the blocks generated last. Must not know leases,
attempts or the wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import TEXT_LENGTH_MAX

PHONE_BYTES: Final = 12
BLOCK: Final = 4096  # messages that share a random stream; another value changes the content of every message
BLOCKS_KEPT: Final = 4  # at most half a megabyte each
_BLOCKS_AT_ONCE: Final = 256  # blocks whose phone numbers are generated together: 12 MiB

_WARM_UP = 12  # outputs to discard after seeding an SFC64, as numpy does


def _u64(value: int) -> NDArray[np.uint64]:
    """Return a constant for operations on u64 columns: a 0-d array, which costs half as much as a numpy scalar."""
    return np.array(value, np.uint64)


# A random number of 50 bits is used as a binary fraction. Multiplied by n, its integer part is a number in 0..n-1 and
# its fractional part is the fraction for the next number (Lemire, 2019, "Fast random integer generation in an
# interval", without the rejection: each value's probability is off by at most 2^-50).
_FRACTION_BITS = _u64(50)
_FRACTION = _u64(2**50 - 1)
_SPARE_BITS = _u64(64 - 50)
_THOUSAND, _TEN_THOUSAND = _u64(10**3), _u64(10**4)

_AREAS = np.frombuffer(b"".join(b"%03d-" % i for i in range(10**3)), "<u4")
_LINES = np.frombuffer(b"".join(b"%04d" % i for i in range(10**4)), "<u4")

# DEC's sixbit code: the 64 ASCII characters from the space to "_", all of which an SMS can carry (GSM 03.38). Eight
# random characters take one mask and one addition on a random word: 2 ns per message; bytearray.translate takes 20 ns.
_SIX_BITS, _SPACES = _u64(0x3F3F3F3F3F3F3F3F), _u64(0x2020202020202020)


@dataclass(frozen=True, slots=True)
class Content:
    """Columns of n messages, in the form in which they are sent."""

    phone_numbers: bytes  # PHONE_BYTES of ASCII each: ddd-ddd-dddd
    text_lengths: bytes  # u8 each, in characters; empty if the offer has the text
    texts: bytes  # ASCII from 0x20 to 0x5F, one text after another; empty as well


@dataclass(frozen=True, slots=True)
class _Block:
    """The content of BLOCK messages."""

    phones: NDArray[np.uint32]  # (BLOCK, 3), little-endian: four characters each
    lengths: NDArray[np.uint8]  # (BLOCK,)
    starts: NDArray[np.int64]  # (BLOCK + 1,): where in texts each text starts, and where the last one ends
    texts: NDArray[np.uint8]  # length at least starts[-1]

    def columns(self, first: int, last: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the phones, lengths and texts of messages first..last-1 of this block, without copying them."""
        return self.phones[first:last], self.lengths[first:last], self.texts[self.starts[first] : self.starts[last]]

    def picked(self, which: NDArray[np.intp]) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the phones, lengths and texts of these messages of this block."""
        lengths = self.lengths[which]
        return self.phones[which], lengths, _gather(self.texts, self.starts[which], lengths)


class Phones:
    """The phone numbers of one run, without the texts: a quarter of the cost of whole messages. Not thread-safe."""

    def __init__(self, seed: int) -> None:
        self._words = _Words(seed)
        self._block = lru_cache(BLOCKS_KEPT)(lambda number: _phones(self._words.fractions(number)))

    def stretch(self, first: int, last: int) -> bytes:
        """Return the phone numbers of messages first..last-1, one after another."""
        blocks = range(first // BLOCK, -(-last // BLOCK))
        return b"".join(
            self._block(block)[max(first - block * BLOCK, 0) : last - block * BLOCK].data for block in blocks
        )

    def column(self, ids: NDArray[np.int64]) -> NDArray[np.void]:
        """Return the phone number of each message: PHONE_BYTES of ASCII each, V12 of shape (n,).

        `ids` may be in any order and may repeat. Generates each block once, in about 40 us; ids from few blocks cost
        about 20 ns each.
        """
        phones = np.empty(ids.size, f"V{PHONE_BYTES}")
        if not ids.size:
            return phones
        blocks = ids // BLOCK
        low = blocks.min()
        blocks -= low
        there = np.flatnonzero(np.bincount(blocks))
        slot_of = np.zeros(int(there[-1]) + 1, np.int64)
        slot_of[there] = np.arange(there.size)
        slots = slot_of[blocks]
        for first in range(0, there.size, _BLOCKS_AT_ONCE):
            some = there[first : first + _BLOCKS_AT_ONCE]
            made = np.concatenate([self._block(int(low + number)) for number in some])
            within = (slots - first) * BLOCK + ids % BLOCK
            where = np.flatnonzero((slots >= first) & (slots < first + some.size))
            phones[where] = made.view(phones.dtype).reshape(-1).take(within[where])
        return phones


class Writer:
    """Generates the messages of one run. Not thread-safe.

    `seed` is 0 to 2^64 - 1 and `total` is the number of messages. Texts have `min_length` to `max_length` characters;
    all lengths and all characters are equally likely. Content doesn't depend on `total`. Without `has_texts`, it has
    only phone numbers, the same ones: the offer of the run has the text of all messages.
    """

    def __init__(
        self, seed: int, total: int, min_length: int = 1, max_length: int = TEXT_LENGTH_MAX, has_texts: bool = True
    ) -> None:
        if not 1 <= min_length <= max_length <= TEXT_LENGTH_MAX:
            raise ValueError(f"got texts of {min_length} to {max_length} characters; expected 1 to {TEXT_LENGTH_MAX}")
        self._total = total
        self._min_length = _u64(min_length)
        self._lengths = _u64(max_length - min_length + 1)
        self._words = _Words(seed)
        self._phones = None if has_texts else Phones(seed)
        self._block = lru_cache(BLOCKS_KEPT)(self._write_block)

    def stretch(self, first: int, last: int) -> Content:
        """Return the content of messages first..last-1; empty if `first` equals `last`.

        Raises IndexError unless 0 <= first <= last <= total.
        """
        if not 0 <= first <= last <= self._total:
            raise IndexError(f"messages {first} to {last} are out of range: the run has {self._total}")
        if first == last:
            return Content(b"", b"", b"")
        if self._phones is not None:
            return Content(self._phones.stretch(first, last), b"", b"")
        pieces = [
            self._block(block).columns(max(first - block * BLOCK, 0), min(last - block * BLOCK, BLOCK))
            for block in range(first // BLOCK, (last - 1) // BLOCK + 1)
        ]
        phones, lengths, texts = zip(*pieces, strict=True)
        return Content(b"".join(phones), b"".join(lengths), b"".join(texts))

    def content(self, ids: NDArray[np.uint64]) -> Content:
        """Return the content of any messages, in the order of `ids`, which may repeat; fastest if they ascend.

        Generates each block once, so messages that lie far apart cost the most: a block each, about 0.15 ms.
        Raises IndexError unless each id is in 0..total-1.
        """
        if not ids.size:
            return Content(b"", b"", b"")
        if ids.max() >= self._total:
            raise IndexError(f"message {ids.max()} is out of range: the run has {self._total}")
        if np.array_equal(ids, np.arange(ids.size, dtype=np.uint64) + ids[0]):
            return self.stretch(int(ids[0]), int(ids[0]) + ids.size)
        if self._phones is not None:
            return Content(self._phones.column(ids.view(np.int64)).tobytes(), b"", b"")
        order = np.argsort(ids, kind="stable")
        pieces = [self._block(number).picked(within) for number, within in _by_block(ids[order])]
        phones, lengths, texts = (np.concatenate(column) for column in zip(*pieces, strict=True))
        if np.any(order[1:] < order[:-1]):
            back = np.argsort(order)
            starts = np.cumsum(lengths, dtype=np.int64) - lengths
            phones, lengths, texts = phones[back], lengths[back], _gather(texts, starts[back], lengths[back])
        return Content(phones.tobytes(), lengths.tobytes(), texts.tobytes())

    def _write_block(self, number: int) -> _Block:
        """Generate block `number`."""
        fraction = self._words.fractions(number)
        phones = _phones(fraction)
        lengths = _cut(fraction, self._lengths)
        lengths += self._min_length.view(np.int64)
        starts = np.zeros(BLOCK + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        texts = self._words.more((int(starts[-1]) + 7) // 8)
        np.bitwise_and(texts, _SIX_BITS, texts)
        np.add(texts, _SPACES, texts)
        return _Block(phones, lengths.astype(np.uint8), starts, texts.astype("<u8", copy=False).view(np.uint8))


class _Words:
    """Random words for each block of a run: SFC64 (Doty-Humphrey), seeded with a key and the block's number.

    The key follows from the run's seed. The state is set and warmed up as numpy does it, but without a SeedSequence
    for each block, which takes 13 us. Only raw output is used, which numpy keeps the same across versions (NEP 19).
    """

    def __init__(self, seed: int) -> None:
        self._stream = np.random.SFC64(0)
        self._key = [int(word) for word in np.random.SeedSequence(seed).generate_state(2, np.uint64)]

    def fractions(self, number: int) -> NDArray[np.uint64]:
        """Return the first words of block `number`, one for each message, as fractions."""
        words = np.array([*self._key, number, 1], np.uint64)
        self._stream.state = {"bit_generator": "SFC64", "state": {"state": words}, "has_uint32": 0, "uinteger": 0}
        fraction = self._stream.random_raw(BLOCK + _WARM_UP)[_WARM_UP:]
        return np.right_shift(fraction, _SPARE_BITS, fraction)

    def more(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` words of the block that was last passed to `fractions`."""
        return self._stream.random_raw(count)


def _phones(fraction: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the phone numbers of a block, shape (BLOCK, 3), drawn from `fraction`, which changes in place."""
    phones = np.empty((BLOCK, 3), "<u4")
    phones[:, 0] = _AREAS.take(_cut(fraction, _THOUSAND))
    phones[:, 1] = _AREAS.take(_cut(fraction, _THOUSAND))
    phones[:, 2] = _LINES.take(_cut(fraction, _TEN_THOUSAND))
    return phones


def _cut(fraction: NDArray[np.uint64], n: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return random numbers in 0..n-1 drawn from `fraction`, and leave in it the fractions for the next ones."""
    np.multiply(fraction, n, fraction)
    whole = np.right_shift(fraction, _FRACTION_BITS).view(np.int64)
    np.bitwise_and(fraction, _FRACTION, fraction)
    return whole


def _by_block(ids: NDArray[np.uint64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each block that contains some of the ascending ids, and the positions of those ids in the block."""
    blocks = (ids // BLOCK).view(np.intp)
    within = (ids % BLOCK).view(np.intp)
    cuts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), ids.size]
    for first, last in pairwise(cuts):
        yield int(blocks[first]), within[first:last]


def _gather(texts: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the texts that start at `starts`, one after another."""
    ends = np.cumsum(lengths, dtype=np.int64)
    characters = np.repeat(starts - (ends - lengths), lengths)
    characters += np.arange(characters.size)
    return texts.take(characters)
