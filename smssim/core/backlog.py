"""The producer's record of which messages wait, are leased (and to which sender) or are settled.

It leases messages by credit, queues them again when a lease is lost or an attempt fails, and counts the settled ones.
Knows ids, attempts and the time that it is given. Must not know what a message contains or how it is sent.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.leaseholder import LeaseHolder, LeaseHolders
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Attempts, Ids, Outcome, Outcomes, StartLimit
from smssim.core.pace import released
from smssim.core.pieces import Changes, Pieces, numbered, pack, unpack
from smssim.core.queue import Batch, Queue
from smssim.core.stretches import STRETCH_BITS, STRETCH_SIZE, Rows, Stretches, in_parts
from smssim.core.unsettled import Flags, Tries, pack_stretches, unpack_stretches
from smssim.errors import PeerError

# State of a message of an open stretch.
_FRESH: Final = 0  # never leased
_QUEUED: Final = 1  # leased before, now in `_queue`
_LEASED: Final = 2  # with a sender
_SETTLED: Final = 3  # has its final outcome

_NO_HOLDER: Final = -1
STRETCHES_SPARE: Final = 16  # how far `LeaseHolder.stretches` may exceed twice the open stretches
_TOGETHER: Final = 16  # stretches whose messages are queued together after a restart


class Backlog:
    """All messages of a run. At any moment, `total = settled + leased + waiting`."""

    def __init__(
        self,
        total: int,
        max_attempts: int = 1,
        retry_delay_s: float = 0.0,
        lease_timeout_s: float = 10.0,
        rate_per_s: float | None = None,
        give_up_s: float = 60.0,
        limits: Limits = LIMITS,
    ) -> None:
        """`give_up_s`: how long senders wait for an unreachable monitor, during which they settle nothing."""
        self.total = total
        self.max_attempts = max_attempts
        self.sent = 0
        self.failed = 0
        self.redelivered = 0  # messages leased again because a lease was lost
        self.started_at: float | None = None
        self.holders = LeaseHolders(lease_timeout_s, give_up_s, limits)
        self._limits = limits
        self._rate_per_s = rate_per_s
        # `tries`: finished attempts of the message. `holder`: number of the stream to which it is leased.
        self._open = Stretches(total, state=np.uint8, tries=np.uint8, holder=np.int32)
        self._next_fresh = 0  # ids from here on were never leased
        self._fresh_limit = total  # ids from here on wait for the next `changes`, which bounds the unsaved leases
        self._fresh_written = 0  # `_next_fresh` at the last `changes`
        self._unsure_below = 0  # ids from `_next_fresh` to here may have been leased before a restart
        self._figures: tuple[int, ...] = ()  # at the last `changes`
        self._queue = Queue(retry_delay_s)  # leased before; may contain messages that no longer wait
        self._queued = 0  # messages in state _QUEUED
        self._leased = 0
        self._lost: list[LeaseHolder] = []  # lost streams whose messages are not queued again yet

    # -- figures

    @property
    def settled(self) -> int:
        """Messages with a final outcome."""
        return self.sent + self.failed

    @property
    def complete(self) -> bool:
        """Whether every message is settled."""
        return self.settled == self.total

    @property
    def leased(self) -> int:
        """Messages that are leased to a sender."""
        self._reclaim()
        return self._leased

    @property
    def waiting(self) -> int:
        """Messages that are neither leased nor settled."""
        return self.total - self.settled - self.leased

    def elapsed_s(self, now: float) -> float:
        """Return the seconds since the first message was leased; 0 before that."""
        return 0.0 if self.started_at is None else now - self.started_at

    def queued_s(self, ids: Ids, now: float) -> NDArray[np.float32]:
        """Return the seconds since each message was queued for the first time: f32, shape (n,)."""
        if self._rate_per_s is None:
            return np.full(len(ids), self.elapsed_s(now), np.float32)
        return np.maximum(self.elapsed_s(now) - ids / self._rate_per_s, 0.0).astype(np.float32)  # clips rounding errors

    # -- streams

    def join(
        self,
        session_id: str,
        mean_s: float,
        concurrency: int,
        now: float,
        longest_s: float = 0.0,
        limit: StartLimit | None = None,
    ) -> LeaseHolder:
        """Return the lease holder of a stream that a sender has opened; a stream that its session had open is lost.

        `longest_s`: the longest time of one of its attempts, by the settings that it declares. `limit`: its limit, if
        it has one, for messages of this run.
        """
        before = self.holders.of(session_id)
        if before is not None:
            self.lose(before)
        return self.holders.add(session_id, mean_s, concurrency, longest_s, now, limit)

    def lose(self, holder: LeaseHolder) -> None:
        """Remove a stream that has ended. Its leased messages go to the front of the queue."""
        if self.holders.remove(holder) and holder.leased:
            self._lost.append(holder)

    def expire(self, now: float) -> list[LeaseHolder]:
        """Expire the streams that are overdue, and return them; `LeaseHolder.expired` holds the reasons."""
        overdue = self.holders.overdue(now)
        for holder in overdue:
            self.lose(holder)
        return overdue

    # -- leasing

    def grant(self, holder: LeaseHolder, now: float) -> list[Batch]:
        """Lease to a sender the messages that it may have now, and return them as batches in order of delivery."""
        batches = self._grant(holder, now) if holder.credit and not holder.lost else []
        self.holders.note_credit(holder)
        return batches

    def _grant(self, holder: LeaseHolder, now: float) -> list[Batch]:
        self._reclaim()
        self._queue.promote(now)
        if self.started_at is None and self.total:
            self.started_at = now
        batches = []
        share = self.holders.share(holder)
        wanted = min(holder.allowance(share * self._ready_count(now)), self._limits.leased_max - self._leased)
        while wanted > 0:
            batch = self._take_ready(wanted) if self._queue else self._take_fresh(wanted, now)
            if batch is None:
                break
            if len(batch.ids):  # empty if all checked entries were out of date
                self._lease(batch, holder, now)
                batches.append(batch)
                wanted -= len(batch.ids)
        return batches

    @property
    def awaits_commit(self) -> bool:
        """Whether no fresh message is leased before the next `changes`, which shows that the last ones are on disk."""
        return self._fresh_limit < self.total and self._next_fresh >= self._fresh_limit

    def wake_at(self, now: float) -> float:
        """Return when more messages become ready; infinity if only a sender can change that."""
        due = self._queue.next_due()
        if self._rate_per_s is not None and self.started_at is not None and self._next_fresh < self.total:
            due = min(due, self.started_at + self._next_fresh / self._rate_per_s)
        return max(now, due)

    @property
    def readied(self) -> int:
        """A counter that grows whenever messages that were leased before become ready again."""
        self._reclaim()
        return self._queue.readied

    @property
    def has_ready(self) -> bool:
        """Whether messages that were leased before are ready again."""
        return bool(self._queue)

    def _ready_count(self, now: float) -> int:
        """Return how many messages could be leased now."""
        return self._queued - self._queue.delayed + self._released(now) - self._next_fresh

    def _released(self, now: float) -> int:
        """Return how many messages have been released so far; the first one is released when the run starts."""
        return released(self.total, self._rate_per_s, self.elapsed_s(now))

    def _take_ready(self, wanted: int) -> Batch:
        taken = self._queue.take(wanted, self._waits)
        self._queued -= len(taken.batch.ids)
        self.redelivered += taken.lost
        return taken.batch

    def _waits(self, ids: Ids, attempt: int) -> NDArray[np.bool_]:
        """Return which of these messages are still queued for this attempt: bool, shape (n,)."""
        rows = self._open.open(ids)
        waits: NDArray[np.bool_] = (rows >= 0) & (self._open.column["state"][rows] == _QUEUED)
        waits &= self._open.column["tries"][rows] == attempt - 1
        return waits

    def _take_fresh(self, wanted: int, now: float) -> Batch | None:
        first = self._next_fresh
        self._next_fresh = max(first, min(first + wanted, self._released(now), self._fresh_limit))
        ids = np.arange(first, self._next_fresh, dtype=np.int64)
        self._open.open_range(first, self._next_fresh)
        return Batch(ids, attempt=1) if len(ids) else None

    def _lease(self, batch: Batch, holder: LeaseHolder, now: float) -> None:
        rows = self._open.open(batch.ids)
        self._open.column["state"][rows] = _LEASED
        self._open.column["holder"][rows] = holder.number
        holder.take(batch.ids, now)
        if len(holder.stretches) > 2 * self._open.opened + STRETCHES_SPARE:
            holder.stretches = set(self._open.open_rows(holder.stretches))
        self._leased += len(rows)

    # -- settling and handing back

    def settle(self, ids: Ids, outcomes: Outcomes, attempts: Attempts, now: float) -> None:
        """Apply outcomes that the monitor has on record; columns of shape (n,).

        A final outcome settles the message, whichever sender has it now. A retry counts only for the current attempt of
        the message, because one of an earlier attempt would queue it twice. Raises PeerError, and applies nothing, if
        a message was never leased, or if a retry follows the last attempt.
        """
        if not len(ids):
            return
        if ids.max() >= max(self._next_fresh, self._unsure_below):
            raise PeerError(f"message {ids.max()} was never delivered")
        retry = outcomes == Outcome.RETRY
        if retry.any() and attempts[retry].max() >= self.max_attempts:
            raise PeerError(
                f"retry after attempt {self.max_attempts} or later: a message has at most {self.max_attempts} attempts"
            )
        self._reclaim()
        if ids.max() >= self._next_fresh:
            self._queue_unsure(int(ids.max()) + 1)
        if not retry.any():
            self._settle_final(ids, outcomes, now)
            return
        self._settle_final(ids[~retry], outcomes[~retry], now)
        self._settle_retry(ids[retry], attempts[retry], now)

    def hand_back(self, holder: LeaseHolder, ids: Ids, now: float) -> None:
        """Put the messages that a sender hands back at the front of the queue; ignore those not leased to it."""
        if not len(ids):
            return
        rows = self._open.find(ids)  # opens no stretch: a peer may send any ids
        held = (rows >= 0) & (self._open.column["state"][rows] == _LEASED)
        held &= self._open.column["holder"][rows] == holder.number
        rows = rows[self._open.first_of_each(rows, held)]
        if len(rows):
            holder.release(len(rows), now)
            self._requeue(rows, lost=False)

    def _settle_final(self, ids: Ids, outcomes: Outcomes, now: float) -> None:
        rows = self._open.open(ids)
        first = self._open.first_of_each(rows, (rows >= 0) & (self._open.column["state"][rows] != _SETTLED))
        rows = rows[first]
        self._release(rows, now)
        self._open.column["state"][rows] = _SETTLED
        sent = int(np.count_nonzero(outcomes[first] == Outcome.SENT))
        self.sent += sent
        self.failed += len(rows) - sent
        self._open.close(self._open.done(rows))

    def _settle_retry(self, ids: Ids, attempts: Attempts, now: float) -> None:
        rows = self._open.open(ids)
        tries = self._open.column["tries"]
        current = (rows >= 0) & (self._open.column["state"][rows] != _SETTLED) & (tries[rows] == attempts - 1)
        first = self._open.first_of_each(rows, current)
        rows = rows[first]
        self._release(rows, now)
        self._open.column["state"][rows] = _QUEUED
        tries[rows] += 1
        self._open.touch(rows)
        self._queued += len(rows)
        self._queue.put_later(ids[first], tries[rows] + 1, now)

    def _release(self, rows: Rows, now: float) -> None:
        """Remove these distinct, unsettled messages from the counts of their leases or of the queue."""
        is_leased = self._open.column["state"][rows] == _LEASED
        leased = rows if is_leased.all() else rows[is_leased]
        self._queued -= len(rows) - len(leased)
        self._leased -= len(leased)
        numbers = self._open.column["holder"][leased]
        while len(numbers):
            of_one = numbers == numbers[0]
            self.holders[int(numbers[0])].release(int(np.count_nonzero(of_one)), now)
            numbers = numbers[~of_one]

    def _reclaim(self) -> None:
        """Put the messages of lost streams back at the front of the queue, in order of id.

        One scan serves all lost streams, and covers only the stretches from which they got messages, so the messages of
        a large sender add nothing to the cost of losing a small one.
        """
        if not self._lost:
            return
        lost = [holder.number for holder in self._lost]
        where = set().union(*(holder.stretches for holder in self._lost))
        self._lost.clear()
        state, holders = self._open.column["state"], self._open.column["holder"]
        for rows in reversed(self._open.open_rows(where).values()):  # backwards, because each goes to the front
            theirs = np.flatnonzero(np.isin(holders[rows], lost))
            theirs += rows.start
            self._requeue(theirs[state[theirs] == _LEASED], lost=True)

    def _requeue(self, rows: Rows, lost: bool) -> None:
        """End the leases of these messages and put them at the front of the queue, in order of id."""
        self._open.column["state"][rows] = _QUEUED
        self._open.column["holder"][rows] = _NO_HOLDER
        self._leased -= len(rows)
        self._queued += len(rows)
        self._queue.put_first(self._open.ids(rows), self._open.column["tries"][rows] + 1, lost)

    # -- saved and restored

    def changes(self, now: float) -> Changes:
        """Return the changes since the last call; empty if nothing changed.

        Assumes that what the last call returned is on disk by now. Leases are not saved: after a restart, all messages
        that were leased and not settled are queued again.
        """
        self._fresh_limit = min(self.total, self._fresh_written + self._limits.unsaved_max)
        self._fresh_written = self._next_fresh
        changes: Changes = {}
        for numbers in in_parts(self._open.take_touched()):
            settled = self._open.blocks("state", numbers) == _SETTLED
            pieces = pack_stretches(settled, self._open.blocks("tries", numbers))
            changes |= zip([f"open/{number}" for number in numbers.tolist()], pieces, strict=True)
        closed, closed_pieces = self._open.take_closed()
        changes |= closed_pieces
        changes |= dict.fromkeys([f"open/{number}" for number in closed.tolist()])
        figures = (self._next_fresh, self.sent, self.failed, self.redelivered)
        if changes or figures != self._figures:
            self._figures = figures
            elapsed_s = None if self.started_at is None else self.elapsed_s(now)
            changes["figures"] = pack({"figures": figures, "elapsed_s": elapsed_s})
        return changes

    def restore(self, pieces: Pieces, now: float, away_s: float = 0.0) -> None:
        """Restore state that was saved `away_s` ago into a new backlog.

        Raises DAMAGE, also if the numbers don't add up.

        More messages may have been leased after the last commit. Settlements of those are accepted without a check.
        """
        facts, _ = unpack(pieces["figures"])
        self._next_fresh, self.sent, self.failed, self.redelivered = facts["figures"]
        self._fresh_written = self._next_fresh
        self._unsure_below = self._fresh_limit = min(self.total, self._next_fresh + self._limits.unsaved_max)
        self.started_at = None if facts["elapsed_s"] is None else now - away_s - facts["elapsed_s"]
        settled = self._open.restore_closed(pieces)
        written = numbered("open", pieces)
        for numbers in in_parts(np.fromiter(written, np.int64, len(written))):
            settled += self._restore_open(numbers, *unpack_stretches([written[number] for number in numbers.tolist()]))
        if settled != self.settled:
            raise ValueError(f"{settled} messages are settled; expected {self.settled}")
        self._queue_all(now)

    def _restore_open(self, numbers: Ids, settled: Flags, tries: Tries) -> int:
        """Restore stretches, and return how many of their messages are settled; columns of shape (n, STRETCH_SIZE)."""
        done = np.count_nonzero(settled, axis=1)
        self._open.restore("state", numbers, settled * np.uint8(_SETTLED), done)
        self._open.fill("tries", numbers, tries)
        return int(done.sum())

    def _queue_all(self, now: float) -> None:
        """Queue all messages that are neither settled nor fresh; those tried before wait for the retry delay."""
        unfinished = ~self._open.closed()[: -(-self._next_fresh >> STRETCH_BITS)]
        for first in np.unique(np.flatnonzero(unfinished) // _TOGETHER * _TOGETHER << STRETCH_BITS).tolist():
            ids = np.arange(first, min(first + _TOGETHER * STRETCH_SIZE, self._next_fresh), dtype=np.int64)
            rows = self._open.open(ids)
            ids = ids[(rows >= 0) & (self._open.column["state"][rows] != _SETTLED)]
            rows = self._open.open(ids)
            self._open.column["state"][rows] = _QUEUED
            self._queued += len(rows)
            tries = self._open.column["tries"][rows]
            self._queue.put_last(ids[tries == 0], tries[tries == 0] + 1, lost=True)
            self._queue.put_later(ids[tries > 0], tries[tries > 0] + 1, now)

    def _queue_unsure(self, end: int) -> None:
        """Queue the ids below `end`, which were leased before a restart but after the last commit."""
        while self._next_fresh < end:
            first, self._next_fresh = self._next_fresh, min(end, self._next_fresh + _TOGETHER * STRETCH_SIZE)
            ids = np.arange(first, self._next_fresh, dtype=np.int64)
            rows = self._open.open(ids)
            self._open.column["state"][rows] = _QUEUED
            self._queued += len(ids)
            self._queue.put_last(ids, np.ones(len(ids), np.uint8), lost=True)
