"""The monitor's truth: which messages have a final outcome, and which. The first one stands.

Knows ids and outcomes. Must not know senders, sessions, times or rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import Outcome
from smssim.core.saving import Changes, Pieces, numbered, pack, unpack
from smssim.core.stretches import STRETCH_BITS, STRETCH_SIZE, Ids, Rows, Stretches
from smssim.errors import TooLargeError

Outcomes = NDArray[np.uint8]

STRETCHES_MIN: Final = 4096  # that may always be open: 268 million messages
DENSITY_MIN: Final = 1024  # outcomes counted for each further one

_OFFSET = STRETCH_SIZE - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger made of a column of outcomes.

    `counts`: bool, shape (n,): which of them count. `duplicates`: how many were final outcomes of messages that
    already had one. `overruled_ids`, `overruled_outcomes`: messages whose outcome on record differs from the given
    one, and the one on record.
    """

    counts: NDArray[np.bool_]
    duplicates: int
    overruled_ids: Ids
    overruled_outcomes: Outcomes


class Ledger:
    """One byte for a message of an open stretch, one bit for a message of a finished one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.sent = 0
        self.failed = 0
        self.retried = 0
        self.duplicates = 0
        self._open = Stretches(total, outcome=np.uint8)
        self._failed_bits: dict[int, NDArray[np.uint8] | None] = {}  # of finished stretches; None if none failed

    @property
    def final(self) -> int:
        """Messages that have a final outcome."""
        return self.sent + self.failed

    def check_room(self, ids: Ids) -> None:
        """Raises TooLargeError if these ids would take memory out of proportion to what is counted.

        Messages go out in order, so that those of a true run lie close together.
        """
        news = self._open.unopened(ids)
        if news and self._open.opened + news > STRETCHES_MIN + (self.final + self.retried) // DENSITY_MIN:
            raise TooLargeError("message_ids: they lie too far apart")

    def record(self, ids: Ids, outcomes: Outcomes) -> Verdict:
        """Takes in what became of some attempts; columns of shape (n,), ids below the total.

        An id may occur more than once. Its retries are then taken in before its final outcomes, and those in order.
        """
        rows = self._open.open(ids)
        on_record = self._on_record(ids, rows)
        final = outcomes != Outcome.RETRY
        counts = on_record == 0
        first = self._open.first_of_each(rows, counts & final)
        if not isinstance(first, slice):
            counts &= ~final
            counts[first] = True
        self._enter(rows[first], outcomes[first])
        self.retried += int(np.count_nonzero(counts & ~final))
        if counts.all():
            return Verdict(counts, 0, ids[:0], outcomes[:0])
        on_record = self._on_record(ids, self._open.open(ids))
        duplicates = int(np.count_nonzero(final & ~counts))
        self.duplicates += duplicates
        overruled = ~counts & (on_record != outcomes)
        return Verdict(counts, duplicates, ids[overruled], on_record[overruled])

    def overruled(self, ids: Ids, outcomes: Outcomes) -> tuple[Ids, Outcomes]:
        """Of attempts that were taken in before: messages with another final outcome on record, and that outcome."""
        on_record = self._on_record(ids, self._open.open(ids))
        differs = (on_record != 0) & (on_record != outcomes)
        return ids[differs], on_record[differs]

    def _enter(self, rows: Rows, outcomes: Outcomes) -> None:
        """Records the final outcomes of distinct messages that had none."""
        column = self._open.column["outcome"]
        column[rows] = outcomes
        sent = int(np.count_nonzero(outcomes == Outcome.SENT))
        self.sent += sent
        self.failed += len(outcomes) - sent
        for number, stretch in self._open.done(rows):
            failed = column[stretch] == Outcome.FAILED
            self._failed_bits[number] = np.packbits(failed) if failed.any() else None
            self._open.close(number)

    def _on_record(self, ids: Ids, rows: Rows) -> Outcomes:
        """The final outcome of each message, 0 where there is none; shape (n,)."""
        on_record = self._open.column["outcome"][rows]
        finished = rows < 0
        if finished.any():
            where = np.flatnonzero(finished)
            on_record[where] = self._recall(ids[where])
        return on_record

    def _recall(self, ids: Ids) -> Outcomes:
        """The final outcomes of messages of finished stretches; shape (n,)."""
        recalled = np.full(len(ids), Outcome.SENT, np.uint8)
        stretch = ids >> STRETCH_BITS
        for number in np.unique(stretch):
            bits = self._failed_bits[int(number)]
            if bits is not None:
                where = np.flatnonzero(stretch == number)
                offset = ids[where] & _OFFSET
                failed = (bits[offset >> 3] >> (7 - (offset & 7)).astype(np.uint8)) & 1
                recalled[where[failed == 1]] = Outcome.FAILED
        return recalled

    def not_sent(self) -> Iterator[tuple[Ids, NDArray[np.bool_]]]:
        """Messages that were not sent, ascending, a stretch at a time: their ids, and which have failed for good."""
        for number in range(-(-self.total >> STRETCH_BITS)):
            first = number << STRETCH_BITS
            ids = np.arange(first, min(first + STRETCH_SIZE, self.total), dtype=np.int64)
            if number in self._failed_bits:
                bits = self._failed_bits[number]
                failed = np.zeros(0, bool) if bits is None else np.unpackbits(bits, count=len(ids)) == 1
                ids = ids[np.flatnonzero(failed)]
                yield ids, np.ones(len(ids), bool)
            else:
                outcomes = self._open.peek(number, "outcome")
                missing = outcomes != Outcome.SENT
                yield ids[missing], outcomes[missing] == Outcome.FAILED

    # -- saved and restored

    def changes(self) -> Changes:
        """What is to be written since the last call: two bits a message of a stretch touched, one when it is done."""
        column = self._open.column["outcome"]
        changes: Changes = {}
        for number, rows in self._open.take_touched():
            outcome = column[rows]
            sent, failed = np.packbits(outcome == Outcome.SENT), np.packbits(outcome == Outcome.FAILED)
            changes[f"open/{number}"] = pack(sent=sent, failed=failed)
        for number in self._open.take_closed():
            bits = self._failed_bits[number]
            changes[f"open/{number}"] = None
            changes[f"done/{number}"] = b"" if bits is None else bits.tobytes()
        figures = {"sent": self.sent, "failed": self.failed, "retried": self.retried, "duplicates": self.duplicates}
        return changes | {"figures": pack(figures)}

    def restore(self, pieces: Pieces) -> None:
        """Takes in what was written, into a ledger that is new; raises DAMAGE, also where it does not add up."""
        figures, _ = unpack(pieces["figures"])
        self.sent, self.failed = figures["sent"], figures["failed"]
        self.retried, self.duplicates = figures["retried"], figures["duplicates"]
        done = np.zeros(-(-self.total >> STRETCH_BITS), bool)
        failed = 0
        for number, piece in numbered("done", pieces).items():
            bits = np.frombuffer(piece, np.uint8) if piece else None
            if bits is not None and len(bits) != STRETCH_SIZE // 8:
                raise ValueError(f"{len(bits)} bytes of bits for stretch {number}")
            done[number] = True
            failed += 0 if bits is None else _ones(bits)
            self._failed_bits[number] = bits
        final = self._open.restore_closed(done)
        for number, piece in numbered("open", pieces).items():
            final_here, failed_here = self._restore_open(number, piece)
            final += final_here
            failed += failed_here
        if (final, failed) != (self.final, self.failed):
            raise ValueError(f"{final} final, {failed} of them failed, where {self.final} and {self.failed} should be")

    def _restore_open(self, number: int, piece: bytes) -> tuple[int, int]:
        """How many messages of this stretch have an outcome, and how many of those failed."""
        _, bits = unpack(piece)
        done = _ones(bits["sent"] | bits["failed"])
        rows = self._open.restore(number, done)
        column, size = self._open.column["outcome"], rows.stop - rows.start
        column[rows][np.unpackbits(bits["sent"], count=size) == 1] = Outcome.SENT
        column[rows][np.unpackbits(bits["failed"], count=size) == 1] = Outcome.FAILED
        return done, _ones(bits["failed"])


def _ones(bits: NDArray[np.generic]) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))
