"""The monitor's record of which messages have a final outcome, and which one. The first outcome stands.

Knows ids and outcomes. Must not know senders, sessions, times or rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, Outcome, Outcomes
from smssim.core.pieces import Changes, Pieces, numbered, pack, unpack
from smssim.core.stretches import STRETCH_BITS, STRETCH_SIZE, Rows, Stretches, in_parts
from smssim.errors import LaterError, TooLargeError

_GROUP_BITS: Final = STRETCH_BITS + 4  # of an id within its group; the failures of a group take 8 KiB
_GROUP_SIZE: Final = 1 << _GROUP_BITS
_STRETCHES: Final = _GROUP_SIZE // STRETCH_SIZE  # in a group
_BYTES: Final = STRETCH_SIZE // 8  # one bit for each message of a stretch


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of recording a column of outcomes.

    `counts`: which outcomes count: bool, shape (n,). `duplicates`: how many were final outcomes of messages that
    already had one. `overruled_ids`, `overruled_outcomes`: messages whose outcome on record differs from the reported
    one, and the outcome on record.
    """

    counts: NDArray[np.bool_]
    duplicates: int
    overruled_ids: Ids
    overruled_outcomes: Outcomes


class Ledger:
    """All final outcomes of a run: one byte per message of an open stretch, one bit per message of a closed one."""

    def __init__(self, total: int, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self.total = total
        self.sent = 0
        self.failed = 0
        self.retried = 0
        self.duplicates = 0
        self._open = Stretches(total, outcome=np.uint8)
        self._failed_bits: dict[int, NDArray[np.uint8]] = {}  # of closed stretches, by group, if any failed
        self._failed_changed: set[int] = set()  # groups, since the last `changes`

    @property
    def final(self) -> int:
        """Messages that have a final outcome."""
        return self.sent + self.failed

    @property
    def memory(self) -> int:
        """Bytes for the messages of open stretches that have no final outcome, and for finding them."""
        pending = self._open.pending
        return pending and pending + 8 * self._open.stretches

    def check_room(self, ids: Ids, others: int = 0) -> None:
        """Raise TooLargeError or LaterError if these ids need memory out of proportion to the counted outcomes.

        `others`: the sum of `memory` over the ledgers of other runs.
        """
        if not len(ids):
            return
        pending, stretches = self._open.pending, self._open.stretches
        own_room = self._limits.pending_max + self.retried - pending
        room = min(own_room, self._limits.pending_bytes_max - others - pending - 8 * stretches)
        if min(len(ids), stretches) << STRETCH_BITS <= room:
            return
        wanted = self._open.unopened(ids) << STRETCH_BITS
        if not wanted:
            return
        if wanted > own_room:
            raise TooLargeError("message_ids: the ids are too far apart")
        if wanted > room:
            raise LaterError("message_ids: the ids are too far apart while this monitor follows other runs")

    def record(self, ids: Ids, outcomes: Outcomes) -> Verdict:
        """Record the outcomes of some attempts; columns of shape (n,), ids below the total.

        An id may occur more than once. Its retries are then recorded before its final outcomes, of which the first one
        counts.
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
        """Return which messages have a final outcome on record that differs from the given one, and that outcome.

        Assumes that these attempts were recorded before.
        """
        on_record = self._on_record(ids, self._open.open(ids))
        differs = (on_record != 0) & (on_record != outcomes)
        return ids[differs], on_record[differs]

    def _enter(self, rows: Rows, outcomes: Outcomes) -> None:
        """Record the final outcomes of distinct messages that had none."""
        column = self._open.column["outcome"]
        column[rows] = outcomes
        sent = int(np.count_nonzero(outcomes == Outcome.SENT))
        self.sent += sent
        self.failed += len(outcomes) - sent
        closing = self._open.done(rows)
        if not closing.size:
            return
        failed = self._open.blocks("outcome", closing) == Outcome.FAILED
        some = failed.any(axis=1)
        for number, bits in zip(closing[some].tolist(), np.packbits(failed[some], axis=1), strict=True):
            group, at = divmod(number, _STRETCHES)
            if group not in self._failed_bits:
                self._failed_bits[group] = np.zeros((_STRETCHES, _BYTES), np.uint8)
            self._failed_bits[group][at] = bits
            self._failed_changed.add(group)
        self._open.close(closing)

    def _on_record(self, ids: Ids, rows: Rows) -> Outcomes:
        """Return the final outcome of each message, 0 if it has none; shape (n,)."""
        on_record = self._open.column["outcome"][rows]
        finished = rows < 0
        if finished.any():
            where = np.flatnonzero(finished)
            on_record[where] = self._recall(ids[where])
        return on_record

    def _recall(self, ids: Ids) -> Outcomes:
        """Return the final outcomes of messages of closed stretches; shape (n,)."""
        recalled = np.full(len(ids), Outcome.SENT, np.uint8)
        groups = ids >> _GROUP_BITS
        for group in np.unique(groups):
            bits = self._failed_bits.get(int(group))
            if bits is not None:
                where = np.flatnonzero(groups == group)
                offset = ids[where] & (_GROUP_SIZE - 1)
                failed = (bits.reshape(-1)[offset >> 3] >> (7 - (offset & 7)).astype(np.uint8)) & 1
                recalled[where[failed == 1]] = Outcome.FAILED
        return recalled

    def not_sent(self) -> Iterator[tuple[Ids, NDArray[np.bool_]]]:
        """Yield the messages that were not sent, ascending, in parts: their ids, and which of them failed."""
        for first in range(0, self.total, _GROUP_SIZE):
            ids = np.arange(first, min(first + _GROUP_SIZE, self.total), dtype=np.int64)
            outcomes = self._on_record(ids, self._open.find(ids))
            missing = outcomes != Outcome.SENT
            yield ids[missing], outcomes[missing] == Outcome.FAILED

    # -- saved and restored

    def changes(self) -> Changes:
        """Return the changes since the last call: two bits per message of a stretch, one bit once it is closed."""
        changes: Changes = {}
        for numbers in in_parts(self._open.take_touched()):
            outcomes = self._open.blocks("outcome", numbers)
            bits = [np.packbits(outcomes == outcome, axis=1) for outcome in (Outcome.SENT, Outcome.FAILED)]
            pieces = np.concatenate(bits, axis=1).tobytes()
            for at, number in enumerate(numbers.tolist()):
                changes[f"open/{number}"] = pieces[2 * _BYTES * at : 2 * _BYTES * (at + 1)]
        closed, closed_pieces = self._open.take_closed()
        changes |= closed_pieces
        changes |= dict.fromkeys([f"open/{number}" for number in closed.tolist()])
        changes |= {f"failed/{group}": self._failed_bits[group].tobytes() for group in self._failed_changed}
        self._failed_changed.clear()
        figures = {"sent": self.sent, "failed": self.failed, "retried": self.retried, "duplicates": self.duplicates}
        return changes | {"figures": pack(figures)}

    def restore(self, pieces: Pieces) -> None:
        """Restore saved state into a new ledger; raises DAMAGE, also if the numbers don't add up."""
        figures, _ = unpack(pieces["figures"])
        self.sent, self.failed = figures["sent"], figures["failed"]
        self.retried, self.duplicates = figures["retried"], figures["duplicates"]
        final, failed = self._open.restore_closed(pieces), 0
        for group, piece in numbered("failed", pieces).items():
            bits = np.frombuffer(piece, np.uint8).reshape(_STRETCHES, _BYTES).copy()
            failed += _ones(bits)
            self._failed_bits[group] = bits
        written = numbered("open", pieces)
        for numbers in in_parts(np.fromiter(written, np.int64, len(written))):
            bits = np.frombuffer(b"".join(written[number] for number in numbers.tolist()), np.uint8)
            final_here, failed_here = self._restore_open(numbers, bits.reshape(len(numbers), 2, _BYTES))
            final += final_here
            failed += failed_here
        if (final, failed) != (self.final, self.failed):
            raise ValueError(f"{final} outcomes are final, {failed} failed; expected {self.final} and {self.failed}")

    def _restore_open(self, numbers: Ids, bits: NDArray[np.uint8]) -> tuple[int, int]:
        """Restore stretches, and return how many of their messages have an outcome and how many of those failed."""
        if (bits[:, 0] & bits[:, 1]).any():
            raise ValueError("a message is both sent and failed")
        sent, failed = np.unpackbits(bits[:, 0], axis=1), np.unpackbits(bits[:, 1], axis=1)
        outcomes = sent * np.uint8(Outcome.SENT) + failed * np.uint8(Outcome.FAILED)
        self._open.restore("outcome", numbers, outcomes, np.bitwise_count(bits).sum(axis=(1, 2), dtype=np.int64))
        return _ones(bits), _ones(bits[:, 1])


def _ones(bits: NDArray[np.generic]) -> int:
    """Return how many bits are set."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))
