"""A log with one owner at a time, on an engine that may lie about what it has done: `OwnedLog` on a `LogStore`.

Ownership, fencing and durability are one operation. Each record is appended on the condition that the record before it
is the one that the owner knows. So a node that takes the log, by appending a record to its end, fences off all others:
their next append fails. No clock and no lease decides who owns the log.

An append whose result is unknown is repeated with the same bytes, so it can't count twice. If the condition fails, the
log decides what that means: the same bytes are there already (it succeeded before), a record of a later epoch is there
(this node is fenced off), or acknowledged records have vanished, and the owner writes its whole state again. Reads may
be out of date; only a conditional append proves where the end of the log is. Knows records and one store. Must not know
what the state means, when to append, or how long to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_record import Kind, Record, check_of, in_parts, packed
from smssim.core.log_store import Entry, LogStore, UnclearError
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.core.replay import Place, Replay
from smssim.errors import DamagedLogError

_OUT_OF_DATE: Final = "the engine's answers are out of date"


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log, as a node that does not own it sees it."""

    sequence: int
    owner: str = "an unknown node"
    epoch: int = 0
    owned_s: float = 0.0  # for how long the owner has owned the log
    kind: Kind = Kind.CHANGES
    about: str = ""  # what the owner says about its run
    code: int = 0  # if the run has ended
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Commit:
    """What a caller wants to append, before it is cut into records."""

    kind: Kind
    changes: Changes
    code: int = 0
    reason: str = ""


class ReplicatedLog:
    """One node's use of one log: before it owns the log, while it does, and until it is fenced off or leaves.

    To own the log again after that, make another one.
    """

    def __init__(
        self,
        store: LogStore,
        name: str,
        owner: str,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        limits: Limits = LIMITS,
    ) -> None:
        """`name`: of the log. `owner`: the name of this node. `new_id`: returns another unique id with each call."""
        self.name = name
        self.why = ""
        self.about = ""
        self._store = store
        self._owner = owner
        self._new_id = new_id
        self._clock = clock
        self._limits = limits
        self._replay = Replay()
        self._broken_since: float | None = None  # since when records have been missing, each time the log was read ...
        self._broken_at = 0  # ... up to here
        self._tail_at: int | None = None  # the sequence of the end of the log that `tail` returned
        self._writer = ""  # of the current ownership, or of the take in progress
        self._epoch = 0  # likewise
        self._owned_since = 0.0
        self._commit: _Commit | None = None  # not known to be appended
        self._unsent: deque[tuple[Record, bytes]] = deque()  # its records that are not, after those of a checkpoint
        # Before acknowledged records seemed to have vanished: the unsent ones, and the end of the log.
        self._before_rescue: tuple[deque[tuple[Record, bytes]], Place] | None = None
        self._state_at = 0  # the sequence at which the last checkpoint begins

    # -- before it owns the log

    async def tail(self) -> Tail | None:
        """Return the end of the log, as far as the engine knows; None if it is empty. Raises UnclearError."""
        entry = await self._store.last()
        self._tail_at = 0 if entry is None else entry.sequence
        if entry is None:
            return None
        try:
            last = Record.decoded(entry.data)
        except DamagedLogError:
            return Tail(entry.sequence)
        facts = (last.owner, last.epoch, last.owned_s, last.kind, last.about, last.code, last.reason)
        return Tail(entry.sequence, *facts)

    async def take(self) -> Taken | None:
        """Become the owner and return what is on record; None if another node has appended a record since `tail`.

        Raises UnclearError: take it again. Raises DamagedLogError if acknowledged records are missing.
        """
        if not self._unsent:
            await self._read_all()
            if self._has_moved:
                return None
            self._writer, self._epoch, self._owned_since = self._new_id(), self._replay.epoch + 1, self._clock()
            self.about = "" if self._replay.last is None else self._replay.last.about
            self._enqueue(_Commit(Kind.TAKE, {}))
        record, data = self._unsent[0]
        previous = self._replay.last
        sequence = await self._store.write(data, self._replay.sequence)
        if sequence is None:
            there = await self._store.read(self._replay.sequence)
            if there is None:
                await self._check_end()
                raise UnclearError(_OUT_OF_DATE)
            if there.data != data:
                self._unsent.clear()
                return None
            sequence = there.sequence
        self._unsent.clear()
        self._replay.advance(record, Entry(sequence, data))
        return Taken(self._replay.pieces, "" if previous is None else previous.owner)

    @property
    def _has_moved(self) -> bool:
        """Whether another node has appended a record since `tail`, so that the reason to take the log is gone."""
        last = self._replay.last
        grown = self._tail_at is not None and self._replay.sequence > self._tail_at
        return grown and last is not None and last.writer != self._writer

    async def _read_all(self) -> None:
        """Read the rest of the log. Raises UnclearError, or DamagedLogError if records have been missing for long."""
        before = self._replay.sequence
        while (entry := await self._store.read(self._replay.sequence)) is not None:
            self._replay.read(entry)
        broken = self._replay.broken
        if not broken:
            self._broken_since = None
            return
        now, end = self._clock(), self._replay.sequence
        if self._broken_since is None or end > self._broken_at:  # a log that grows has an owner, who may mend it
            self._broken_since, self._broken_at = now, end
        if now - self._broken_since >= self._limits.broken_for_s:
            raise self.damaged(DamagedLogError(broken))
        if end == before:  # no checkpoint follows: read all again
            self._replay = Replay()
        raise UnclearError(broken)  # answers that are out of date look the same

    async def _check_end(self) -> None:
        """Forget what was read if the log has become shorter, so that it is read from its beginning."""
        last = await self._store.last()
        if last is None or last.sequence < self._replay.sequence:
            self._unsent.clear()
            self._replay = Replay()

    def damaged(self, error: Exception) -> DamagedLogError:
        """Return the error that says that the state on record can't be restored."""
        return DamagedLogError(f"{self.name}: the state on record is damaged ({error}): begin a run with another name")

    async def close(self) -> None:
        """Do nothing: the store belongs to the caller."""

    # -- while it owns the log

    async def append(self, changes: Changes) -> Appended:
        """Append all of these changes or none; without changes, show that the owner is alive. See `OwnedLog`."""
        return await self._append(_Commit(Kind.CHANGES, changes))

    async def leave(self, ended: tuple[int, str] | None = None) -> Appended:
        """Append the owner's last record. See `OwnedLog`."""
        if ended is None:
            return await self._append(_Commit(Kind.RELEASED, {}))
        return await self._append(_Commit(Kind.ENDED, {}, *ended))

    async def trim(self) -> Appended:
        """Write a checkpoint and delete everything before it, if the log is long. See `OwnedLog`."""
        if not self._unsent:
            if not self._is_long:
                return Appended.OK
            self._enqueue_state()
        result = await self._send_all()
        if result is Appended.OK:
            await self._purge()
        return result

    @property
    def _is_long(self) -> bool:
        """Whether it takes much longer to read the log than to read a checkpoint."""
        replay, limits = self._replay, self._limits
        if replay.records > limits.log_records_max:
            return True
        if replay.bytes <= limits.log_bytes_max:  # asked after each commit; the state can have many pieces
            return False
        return replay.bytes > limits.log_states_max * sum(map(len, replay.pieces.values()))

    async def _append(self, commit: _Commit) -> Appended:
        if self._commit is not None and self._commit.kind is not commit.kind:  # its caller has stopped waiting for it
            result = await self._finish(self._commit)
            if result is not Appended.OK:
                return result
        if self._commit is None:
            self._commit = commit
            self._enqueue(commit)
        return await self._finish(self._commit)

    async def _finish(self, commit: _Commit) -> Appended:
        result = await self._send_all()
        if result is Appended.OK:
            self._replay.fold(commit.changes)
            self._commit = None
        return result

    async def _purge(self) -> None:
        """Delete what the last checkpoint replaces. If that fails, the next one does it."""
        with suppress(UnclearError):
            await self._store.purge(self._state_at)

    def _enqueue(self, commit: _Commit) -> None:
        """Make the records of a commit."""
        last, check = self._unsent[-1] if self._unsent else (self._replay.last, b"")
        number = 0 if last is None else last.number
        before = check_of(check) if check else self._replay.check
        for part, is_first, parts_left in in_parts(packed(commit.changes), self._limits.record_bytes_max):
            number += 1
            record = Record(
                commit.kind,
                self._owner,
                self._writer,
                self._epoch,
                number,
                before,
                owned_s=self._clock() - self._owned_since,
                parts_left=parts_left,
                is_first=is_first,
                about=self.about,
                code=commit.code,
                reason=commit.reason,
                body=part,
            )
            data = record.encoded()
            before = check_of(data)
            self._unsent.append((record, data))

    def _enqueue_state(self) -> None:
        self._enqueue(_Commit(Kind.STATE, dict(self._replay.pieces)))

    async def _send_all(self) -> Appended:
        """Send the records that are not sent yet, in order."""
        try:
            while self._unsent:
                data = self._unsent[0][1]
                sequence = await self._store.write(data, self._replay.sequence)
                if sequence is None:
                    sequence = await self._sequence_of(data)
                if sequence is None:
                    return Appended.FENCED
                self._sent(sequence)
        except UnclearError as error:
            self.why = str(error)
            return Appended.UNKNOWN
        return Appended.OK

    def _sent(self, sequence: int) -> None:
        """Record that the first of the unsent records is in the log, with this sequence."""
        record, data = self._unsent.popleft()
        self._before_rescue = None
        if record.kind is Kind.STATE and record.is_first:
            self._state_at = sequence
        self._replay.advance(record, Entry(sequence, data))
        if record.kind is Kind.STATE and not record.parts_left:
            self._replay.restart(self._replay.pieces)

    async def _sequence_of(self, data: bytes) -> int | None:
        """Return the sequence of a record whose append was refused, from an earlier try; None if this node is fenced.

        Raises UnclearError if the append must be repeated.
        """
        there = await self._store.read(self._replay.sequence)
        if there is not None and there.data == data:
            return there.sequence
        if self._before_rescue is not None:
            self._go_back()
            raise UnclearError(_OUT_OF_DATE)
        end = await self._store.last() if there is None else there
        if end is not None and there is None and end.sequence >= self._replay.sequence:
            raise UnclearError(_OUT_OF_DATE)
        entry = end
        while entry is not None:
            if entry.data == data:  # only the first answer was out of date
                return entry.sequence
            if self._is_of_another_owner(entry):
                return None
            end, entry = entry, await self._store.read(entry.sequence)
        self._rescue(end)
        raise UnclearError("the log does not end with this node's last record: writing its whole state again")

    def _rescue(self, end: Entry | None) -> None:
        """Continue the log after this entry with the whole state, because acknowledged records seem to have vanished.

        The first append decides: it is accepted only if this is the end of the log. `end`: None if the log is empty.
        """
        before = self._replay.place
        self._before_rescue, self._unsent = (self._unsent, before), deque()
        self._replay.move_to(self._place_of(end))
        self._enqueue_state()
        if self._commit is not None:
            self._enqueue(self._commit)

    def _place_of(self, end: Entry | None) -> Place:
        """Return the place of the entry with which the log ends; the beginning if it is empty."""
        if end is None:
            return Place()
        try:
            last: Record | None = Record.decoded(end.data)
        except DamagedLogError:
            last = self._replay.last  # the records are numbered as before; the state replaces all of them
        return Place(end.sequence, last, check_of(end.data))

    def _go_back(self) -> None:
        """Continue as before the rescue: nothing has vanished, the answers were out of date."""
        assert self._before_rescue is not None
        self._unsent, place = self._before_rescue
        self._before_rescue = None
        self._replay.move_to(place)

    def _is_of_another_owner(self, entry: Entry) -> bool:
        """Return whether a record was written by a node that took the log later than this node."""
        try:
            record = Record.decoded(entry.data)
        except DamagedLogError:
            return False  # the state replaces it
        return record.epoch > self._epoch or (record.epoch == self._epoch and record.writer != self._writer)
