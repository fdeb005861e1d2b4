"""The state that the records of a log add up to, read one by one and checked against each other.

Knows records. Must not know who reads them, or how they are fetched.
"""

from __future__ import annotations

from dataclasses import dataclass

from smssim.core.log_record import Kind, Record, check_of, unpacked
from smssim.core.log_store import Entry
from smssim.core.pieces import Changes
from smssim.errors import DamagedLogError


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a log: an entry, or the beginning."""

    sequence: int = 0
    last: Record | None = None  # the record that counts last
    check: int = 0  # its checksum


class Replay:
    """The state of a log up to the last record that was read, and what the next record must look like.

    Each record must follow the one before: with the next number and its checksum, and in the same epoch unless it takes
    the log. If one does not, the state is `broken` until a checkpoint replaces it. A record of an earlier epoch never
    counts, because its writer was fenced off. Incomplete commits never count.
    """

    def __init__(self) -> None:
        self.pieces: dict[str, bytes] = {}
        self.broken = ""  # why the state is not complete; empty if it is
        self.sequence = 0  # of the last entry that was read
        self.last: Record | None = None  # that counts
        self.check = 0  # the checksum of that record
        self.records = 0  # since the last checkpoint
        self.bytes = 0  # of these
        self._parts: list[bytes] | None = None  # of the commit that is being read

    @property
    def epoch(self) -> int:
        """How many times the log was taken, up to the last record; 0 if it is empty."""
        return 0 if self.last is None else self.last.epoch

    @property
    def number(self) -> int:
        """The number of the last record; 0 if there is none."""
        return 0 if self.last is None else self.last.number

    @property
    def place(self) -> Place:
        """Where the reading is."""
        return Place(self.sequence, self.last, self.check)

    def move_to(self, place: Place) -> None:
        """Move to another place, with the state as it is."""
        self.sequence, self.last, self.check = place.sequence, place.last, place.check

    def read(self, entry: Entry) -> None:
        """Read the next entry."""
        self.sequence = entry.sequence
        try:
            record = Record.decoded(entry.data)
            wrong = self._wrong(record)
            if wrong:
                self._parts, self.broken = None, self.broken or wrong
            if record.epoch < self.epoch:
                return
            self.advance(record, entry)
            self._read_part(record)
        except DamagedLogError as error:
            self._parts, self.broken = None, self.broken or str(error)

    def advance(self, record: Record, entry: Entry) -> None:
        """Move to this record, which counts, without its changes."""
        self.sequence, self.last, self.check = entry.sequence, record, check_of(entry.data)
        self.records += 1
        self.bytes += len(entry.data)

    def fold(self, changes: Changes) -> None:
        """Apply the changes of a commit to the state."""
        for name, piece in changes.items():
            if piece is None:
                self.pieces.pop(name, None)
            else:
                self.pieces[name] = piece

    def restart(self, pieces: dict[str, bytes]) -> None:
        """Replace the state by that of a checkpoint, which is complete."""
        self.pieces, self.broken = pieces, ""
        self.records = self.bytes = 0

    def _wrong(self, record: Record) -> str:
        """Return why this record does not follow the last one; empty if it does."""
        if record.number != self.number + 1:
            return f"record {self.number + 1} is missing: record {record.number} follows"
        if record.before != self.check:
            return f"record {record.number} does not follow the record before it"
        takes = record.kind is Kind.TAKE
        same = self.last is not None and record.epoch == self.epoch and record.writer == self.last.writer
        if not (record.epoch == self.epoch + 1 if takes else same):
            return f"record {record.number} was written by a node that did not own the log"
        return ""

    def _read_part(self, record: Record) -> None:
        if record.kind not in (Kind.CHANGES, Kind.STATE):
            self._parts = None
            return
        if record.is_first:
            self._parts = []
        if self._parts is None:
            return
        self._parts.append(record.body)
        if record.parts_left:
            return
        changes, self._parts = unpacked(b"".join(self._parts)), None
        if record.kind is Kind.STATE:
            self.restart({name: piece for name, piece in changes.items() if piece is not None})
        elif not self.broken:
            self.fold(changes)
