"""Bugs of logs on an engine that the simulation must find. Each replaces one method, as in `bugs`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any
from unittest import mock

from simulation.bugs import Bug
from simulation.hunt import ENGINE
from simulation.monitor import Monitor
from smssim.core.commits import GroupCommits
from smssim.core.log_record import Kind, Record
from smssim.core.log_store import Entry, UnclearError
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.core.producing import ProducerRun, _Phase
from smssim.core.replay import Replay
from smssim.core.replicated_log import ReplicatedLog, Tail, _Commit
from smssim.core.standby import Move, Standby, Step

_acknowledge = Monitor._acknowledge
_append = ReplicatedLog._append
_read_all = ReplicatedLog._read_all
_send_all = ReplicatedLog._send_all
_enqueue = ReplicatedLog._enqueue
_wrong = Replay._wrong
_read_part = Replay._read_part
_saw = Standby.saw
_must_write = GroupCommits.must_write


# ---- The owner of a log


def acknowledges_an_append_of_unknown_result() -> AbstractContextManager[Any]:
    """Acknowledge what may be lost, because the engine was only slow so far."""

    async def append(self: ReplicatedLog, commit: _Commit) -> Appended:
        result = await _append(self, commit)
        return Appended.OK if result is Appended.UNKNOWN else result

    return mock.patch.object(ReplicatedLog, "_append", append)


def takes_an_unknown_result_for_a_loss() -> AbstractContextManager[Any]:
    """Go on with the next commit, without the changes of the one whose result is unknown."""

    async def append(self: ReplicatedLog, commit: _Commit) -> Appended:
        result = await _append(self, commit)
        if result is not Appended.UNKNOWN:
            return result
        self._commit = None
        self._unsent.clear()
        return Appended.OK

    return mock.patch.object(ReplicatedLog, "_append", append)


def takes_a_conflict_for_success() -> AbstractContextManager[Any]:
    """Assume that the record that is there is its own."""

    async def sequence_of(self: ReplicatedLog, data: bytes) -> int | None:
        there = await self._store.read(self._replay.sequence)
        if there is None:
            raise UnclearError("the engine's answers are out of date")
        return there.sequence

    return mock.patch.object(ReplicatedLog, "_sequence_of", sequence_of)


def appends_without_a_condition_while_nobody_else_seems_to_own_the_log() -> AbstractContextManager[Any]:
    """Append after whatever is last, because it still believes that it is the owner."""

    async def sequence_of(self: ReplicatedLog, data: bytes) -> int | None:
        last = await self._store.last()
        sequence = await self._store.write(data, 0 if last is None else last.sequence)
        if sequence is None:
            raise UnclearError("another record came first")
        return sequence

    return mock.patch.object(ReplicatedLog, "_sequence_of", sequence_of)


def acknowledges_although_it_is_fenced_off() -> AbstractContextManager[Any]:
    """Acknowledge after another node has taken over."""

    async def append(self: ReplicatedLog, changes: Changes) -> Appended:
        await _append(self, _Commit(Kind.CHANGES, changes))
        return Appended.OK

    return mock.patch.object(ReplicatedLog, "append", append)


def acknowledges_a_commit_after_its_first_part() -> AbstractContextManager[Any]:
    """Append the other parts together with the next commit."""

    async def send_all(self: ReplicatedLog) -> Appended:
        later: list[tuple[Record, bytes]] = []
        while len(self._unsent) > 1 and self._unsent[-1][0].kind is Kind.CHANGES and not self._unsent[-1][0].is_first:
            later.insert(0, self._unsent.pop())
        result = await _send_all(self)
        self._unsent.extend(later)
        return result

    return mock.patch.object(ReplicatedLog, "_send_all", send_all)


def repeats_an_append_with_different_bytes() -> AbstractContextManager[Any]:
    """Cut a commit into other parts when it is repeated, and know its own records by their number."""

    async def append(self: ReplicatedLog, commit: _Commit) -> Appended:
        result = await _append(self, commit)
        if result is Appended.UNKNOWN and self._commit is not None and self._unsent:
            self._unsent.clear()
            limits, self._limits = self._limits, replace(self._limits, record_bytes_max=1 << 19)
            _enqueue(self, self._commit)
            self._limits = limits
        return result

    async def sequence_of(self: ReplicatedLog, data: bytes) -> int | None:
        there = await self._store.read(self._replay.sequence)
        if there is None:
            raise UnclearError("the engine's answers are out of date")
        found, own = Record.decoded(there.data), Record.decoded(data)
        return there.sequence if (found.writer, found.number) == (own.writer, own.number) else None

    return mock.patch.multiple(ReplicatedLog, _append=append, _sequence_of=sequence_of)


def purges_the_checkpoint_too() -> AbstractContextManager[Any]:
    """Delete everything except the last record, which the engine keeps."""

    async def purge(self: ReplicatedLog) -> None:
        with suppress(UnclearError):
            await self._store.purge(self._replay.sequence + 1)

    return mock.patch.object(ReplicatedLog, "_purge", purge)


def purges_before_the_checkpoint_is_complete() -> AbstractContextManager[Any]:
    """Delete what a checkpoint replaces when it begins, not when it ends."""

    async def trim(self: ReplicatedLog) -> Appended:
        if not self._unsent:
            if not self._is_long:
                return Appended.OK
            self._enqueue_state()
            self._state_at = self._replay.sequence + 1
            await self._purge()
        return await _send_all(self)

    return mock.patch.object(ReplicatedLog, "trim", trim)


def leaves_a_piece_out_of_checkpoints() -> AbstractContextManager[Any]:
    """Write checkpoints without one of the pieces."""

    def enqueue_state(self: ReplicatedLog) -> None:
        _enqueue(self, _Commit(Kind.STATE, dict(list(self._replay.pieces.items())[:-1])))

    return mock.patch.object(ReplicatedLog, "_enqueue_state", enqueue_state)


def hands_its_run_over_before_it_is_saved() -> AbstractContextManager[Any]:
    """Leave the run to another producer at once, without the last settlements."""

    def end(self: ProducerRun) -> None:
        if self._shared and self._stopped and not self.backlog.complete:
            self._phase = _Phase.LEFT
        else:
            _end(self)

    _end = ProducerRun._end
    return mock.patch.object(ProducerRun, "_end", end)


def shows_no_sign_of_life_without_changes() -> AbstractContextManager[Any]:
    """Append nothing while nothing changes, so that it is replaced again and again."""

    def must_write(self: GroupCommits[Any], changes: Changes) -> bool:
        return bool(changes) and _must_write(self, changes)

    return mock.patch.object(GroupCommits, "must_write", must_write)


# ---- The node that takes a log


def takes_a_log_without_a_condition() -> AbstractContextManager[Any]:
    """Append to the end as it is now, although it has read less."""

    async def take(self: ReplicatedLog) -> Taken | None:
        await self._read_all()
        self._writer, self._epoch, self._owned_since = self._new_id(), self._replay.epoch + 1, self._clock()
        self._enqueue(_Commit(Kind.TAKE, {}))
        record, data = self._unsent.pop()
        previous, last = self._replay.last, await self._store.last()
        sequence = await self._store.write(data, 0 if last is None else last.sequence)
        if sequence is None:
            return None
        self._replay.advance(record, Entry(sequence, data))
        return Taken(self._replay.pieces, "" if previous is None else previous.owner)

    return mock.patch.object(ReplicatedLog, "take", take)


def trusts_the_end_that_it_has_read() -> AbstractContextManager[Any]:
    """Own the log without appending a record that takes it."""

    async def take(self: ReplicatedLog) -> Taken | None:
        await self._read_all()
        self._writer, self._epoch, self._owned_since = self._new_id(), self._replay.epoch + 1, self._clock()
        return Taken(self._replay.pieces, "" if self._replay.last is None else self._replay.last.owner)

    return mock.patch.object(ReplicatedLog, "take", take)


def skips_missing_records() -> AbstractContextManager[Any]:
    """Read on after a gap."""

    def wrong(self: Replay, record: Record) -> str:
        return "" if record.number != self.number + 1 else _wrong(self, record)

    return mock.patch.object(Replay, "_wrong", wrong)


def reads_records_of_a_fenced_off_owner() -> AbstractContextManager[Any]:
    """Apply what a former owner appended after another one had taken the log."""

    def read(self: Replay, entry: Entry) -> None:
        record = Record.decoded(entry.data)
        self.advance(record, entry)
        self._read_part(record)

    return mock.patch.object(Replay, "read", read)


def keeps_the_parts_of_an_incomplete_commit() -> AbstractContextManager[Any]:
    """Put the parts that a killed owner left behind in front of the next commit."""

    def read_part(self: Replay, record: Record) -> None:
        if record.kind is not Kind.TAKE:
            _read_part(self, replace(record, is_first=record.is_first and not self._parts))

    return mock.patch.object(Replay, "_read_part", read_part)


def takes_answers_that_are_out_of_date_for_damage() -> AbstractContextManager[Any]:
    """Give a log up as soon as records are missing in what it reads."""

    async def read_all(self: ReplicatedLog) -> None:
        self._broken_since = -math.inf
        await _read_all(self)

    return mock.patch.object(ReplicatedLog, "_read_all", read_all)


# ---- Refusals


def refuses_a_report_without_proof_that_it_owns_the_run() -> AbstractContextManager[Any]:
    """Refuse a report at once, although another monitor may have taken over and expect it."""

    def acknowledge(self: Monitor, answer: Callable[[], None], *, proves: bool = False) -> None:
        if proves:
            answer()
        else:
            _acknowledge(self, answer)

    return mock.patch.object(Monitor, "_acknowledge", acknowledge)


# ---- Standing by


def never_replaces_a_silent_owner() -> AbstractContextManager[Any]:
    """Wait for a dead owner for ever."""

    def saw(self: Standby, tail: Tail | None, now: float) -> Step:
        self._silent_s = 0.0
        self._seen_at = None
        return _saw(self, tail, now)

    return mock.patch.object(Standby, "saw", saw)


def leaves_when_the_owner_hands_over() -> AbstractContextManager[Any]:
    """Take an owner that leaves for the end of the run."""

    def saw(self: Standby, tail: Tail | None, now: float) -> Step:
        step = _saw(self, tail, now)
        if tail is not None and tail.kind is Kind.RELEASED:
            self.ended = tail
            return Step(Move.LEAVE)
        return step

    return mock.patch.object(Standby, "saw", saw)


def stays_when_the_run_is_over() -> AbstractContextManager[Any]:
    """Wait for more after the end."""

    def saw(self: Standby, tail: Tail | None, now: float) -> Step:
        step = _saw(self, tail, now)
        return Step(Move.WAIT) if step.move is Move.LEAVE else step

    return mock.patch.object(Standby, "saw", saw)


# Each bug with the faults that must strike together to bring it out in the whole system.
ENGINE_BUGS: dict[Bug, tuple[str, ...]] = {
    acknowledges_an_append_of_unknown_result: (ENGINE, "engine away"),
    acknowledges_although_it_is_fenced_off: (ENGINE, "node cut off"),
    appends_without_a_condition_while_nobody_else_seems_to_own_the_log: (ENGINE, "node cut off"),
    takes_a_log_without_a_condition: (ENGINE, "node cut off"),
    hands_its_run_over_before_it_is_saved: (ENGINE, "node relieved"),
    shows_no_sign_of_life_without_changes: (ENGINE, "producer killed"),
    refuses_a_report_without_proof_that_it_owns_the_run: (ENGINE, "node cut off", "sender forged"),
    never_replaces_a_silent_owner: (ENGINE, "node lost"),
    leaves_when_the_owner_hands_over: (ENGINE, "node relieved"),
    stays_when_the_run_is_over: (ENGINE,),
}

# Each bug that a log by itself shows, and whether only in an engine that loses entries.
LOG_BUGS: dict[Bug, bool] = {
    acknowledges_an_append_of_unknown_result: False,
    takes_an_unknown_result_for_a_loss: False,
    takes_a_conflict_for_success: False,
    appends_without_a_condition_while_nobody_else_seems_to_own_the_log: False,
    acknowledges_although_it_is_fenced_off: False,
    acknowledges_a_commit_after_its_first_part: False,
    repeats_an_append_with_different_bytes: False,
    purges_the_checkpoint_too: False,
    purges_before_the_checkpoint_is_complete: False,
    leaves_a_piece_out_of_checkpoints: False,
    takes_a_log_without_a_condition: False,
    trusts_the_end_that_it_has_read: False,
    takes_answers_that_are_out_of_date_for_damage: False,
    keeps_the_parts_of_an_incomplete_commit: False,
    skips_missing_records: True,
    reads_records_of_a_fenced_off_owner: True,
}
