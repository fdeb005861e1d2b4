"""The producer's truth: which messages wait, which are leased and to whom, which are settled.

It hands out messages by credit, takes them back when a lease ends, queues failed ones again, and knows when all is
done. Knows ids, attempts and the clock that it is given. Must not know what a message contains or how it travels.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.leaseholder import LeaseHolder, LeaseHolders
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Attempts, Ids, Outcome, Outcomes
from smssim.core.pieces import Changes, Pieces, numbered, pack, unpack
from smssim.core.queue import Batch, Queue
from smssim.core.stretches import STRETCH_BITS, STRETCH_SIZE, Rows, Stretches, in_parts
from smssim.core.unsettled import Flags, Tries, pack_stretches, unpack_stretches
from smssim.errors import PeerError

# State of a message of an open stretch.
_FRESH: Final = 0  # never handed out
_QUEUED: Final = 1  # handed out before: in `_queue`
_LEASED: Final = 2  # with a sender
_SETTLED: Final = 3  # has its final outcome

_NOBODY: Final = -1
STRETCHES_SPARE: Final = 16  # stretches that a holder may name besides twice those that are open
_TOGETHER: Final = 16  # stretches whose messages are queued together after a restart


class Backlog:
    """All messages of a run. `total = settled + leased + waiting` holds at any moment."""

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
        """`give_up_s`: how long senders wait for a monitor that is away, during which they settle nothing."""
        self.total = total
        self.max_attempts = max_attempts
        self.sent = 0
        self.failed = 0
        self.redelivered = 0  # messages handed out again because a lease was lost
        self.started_at: float | None = None
        self.holders = LeaseHolders(lease_timeout_s, give_up_s, limits)
        self._limits = limits
        self._rate_per_s = rate_per_s
        # `tries`: attempts of the message that are over. `holder`: number of the stream that has it.
        self._open = Stretches(total, state=np.uint8, tries=np.uint8, holder=np.int32)
        self._next_fresh = 0  # ids from here on were never handed out
        self._fresh_limit = total  # they are not handed out from here on, until what was is written
        self._fresh_written = 0  # `_next_fresh` as of the last `changes`
        self._unsure_below = 0  # ids from `_next_fresh` to here may have been handed out before a restart
        self._figures: tuple[int, ...] = ()  # as of the last `changes`
        self._queue = Queue(retry_delay_s)  # handed out before and to go out again; may name messages that are not
        self._queued = 0  # messages in state _QUEUED
        self._leased = 0
        self._lost: list[LeaseHolder] = []  # streams whose leases are still to be taken back

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
        """Messages that are with a sender."""
        self._reclaim()
        return self._leased

    @property
    def waiting(self) -> int:
        """Messages that are neither with a sender nor settled."""
        return self.total - self.settled - self.leased

    def elapsed_s(self, now: float) -> float:
        """Seconds since the first message was handed out; 0 before."""
        return 0.0 if self.started_at is None else now - self.started_at

    def queued_s(self, ids: Ids, now: float) -> NDArray[np.float32]:
        """Seconds since each message was queued for the first time, f32 of shape (n,)."""
        if self._rate_per_s is None:
            return np.full(len(ids), self.elapsed_s(now), np.float32)
        return np.maximum(self.elapsed_s(now) - ids / self._rate_per_s, 0.0).astype(np.float32)  # rounding may go below

    # -- streams

    def join(self, session_id: str, mean_s: float, concurrency: int, now: float, longest_s: float = 0.0) -> LeaseHolder:
        """A sender has opened a stream. A stream that its session still had open is thereby lost.

        `longest_s`: how long one of its attempts takes at most, as it declares.
        """
        before = self.holders.of(session_id)
        if before is not None:
            self.lose(before)
        return self.holders.add(session_id, mean_s, concurrency, longest_s, now)

    def lose(self, holder: LeaseHolder) -> None:
        """The stream has ended: what it held goes back to the front of the queue."""
        if self.holders.remove(holder) and holder.leased:
            self._lost.append(holder)

    def expire(self, now: float) -> list[LeaseHolder]:
        """Loses the streams on which nothing has come for too long, and names them; `expired` says why."""
        late = self.holders.late(now)
        for holder in late:
            self.lose(holder)
        return late

    # -- handing out

    def grant(self, holder: LeaseHolder, now: float) -> list[Batch]:
        """Leases to a sender what it may have now: batches in the order in which they are to be sent."""
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
            if len(batch.ids):  # or all that was looked at was out of date
                self._lease(batch, holder, now)
                batches.append(batch)
                wanted -= len(batch.ids)
        return batches

    @property
    def awaits_commit(self) -> bool:
        """Whether nothing fresh goes out until `changes` is called again, which says that the last ones are written."""
        return self._fresh_limit < self.total and self._next_fresh >= self._fresh_limit

    def wake_at(self, now: float) -> float:
        """When messages become ready that are not so now; infinity if only a sender can change that."""
        due = self._queue.next_due()
        if self._rate_per_s is not None and self.started_at is not None and self._next_fresh < self.total:
            due = min(due, self.started_at + self._next_fresh / self._rate_per_s)
        return max(now, due)

    @property
    def readied(self) -> int:
        """Grows whenever messages that were out before become ready to go out again."""
        self._reclaim()
        return self._queue.readied

    @property
    def has_ready(self) -> bool:
        """Whether messages that were out before are ready to go out again."""
        return bool(self._queue)

    def _ready_count(self, now: float) -> int:
        """Messages that could go out now."""
        return self._queued - self._queue.delayed + self._released(now) - self._next_fresh

    def _released(self, now: float) -> int:
        """How many messages have been released so far; the first one is when the run starts."""
        if self._rate_per_s is None:
            return self.total
        return min(self.total, math.floor(self.elapsed_s(now) * self._rate_per_s + 1e-9) + 1)

    def _take_ready(self, wanted: int) -> Batch:
        taken = self._queue.take(wanted, self._waits)
        self._queued -= len(taken.batch.ids)
        self.redelivered += taken.lost
        return taken.batch

    def _waits(self, ids: Ids, attempt: int) -> NDArray[np.bool_]:
        """Which of these messages, queued for this attempt, still wait for it; shape (n,)."""
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

    # -- taking back

    def settle(self, ids: Ids, outcomes: Outcomes, attempts: Attempts, now: float) -> None:
        """Takes in outcomes that the monitor has on record, columns of shape (n,); raises PeerError.

        A final outcome is a fact about the message, whoever has it now. A retry counts only for the attempt that
        the message is at, for a late one would queue it twice.
        """
        if not len(ids):
            return
        if ids.max() >= max(self._next_fresh, self._unsure_below):
            raise PeerError(f"message {ids.max()} was never handed out")
        retry = outcomes == Outcome.RETRY
        if retry.any() and attempts[retry].max() >= self.max_attempts:
            raise PeerError(f"a retry of an attempt beyond {self.max_attempts - 1}, when {self.max_attempts} are made")
        self._reclaim()
        if ids.max() >= self._next_fresh:
            self._queue_unsure(int(ids.max()) + 1)
        if not retry.any():
            self._settle_final(ids, outcomes, now)
            return
        self._settle_final(ids[~retry], outcomes[~retry], now)
        self._settle_retry(ids[retry], attempts[retry], now)

    def hand_back(self, holder: LeaseHolder, ids: Ids, now: float) -> None:
        """The sender won't send these: those of them that it holds go back to the front of the queue."""
        if not len(ids):
            return
        rows = self._open.find(ids)  # opens nothing: they may be any
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
        """Ends what these distinct, unsettled messages were in: a lease or the queue."""
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
        """Puts what lost streams held back to the front of the queue, in order of id.

        One scan for all of them, and only of the stretches in which they were given messages: what a large sender
        holds adds nothing to the cost of losing a small one.
        """
        if not self._lost:
            return
        lost = [holder.number for holder in self._lost]
        where = set().union(*(holder.stretches for holder in self._lost))
        self._lost.clear()
        state, holders = self._open.column["state"], self._open.column["holder"]
        for rows in reversed(self._open.open_rows(where).values()):  # the last of them comes first
            theirs = np.flatnonzero(np.isin(holders[rows], lost))
            theirs += rows.start
            self._requeue(theirs[state[theirs] == _LEASED], lost=True)

    def _requeue(self, rows: Rows, lost: bool) -> None:
        """Ends the lease of these messages; they go to the front of the queue, in order of id."""
        self._open.column["state"][rows] = _QUEUED
        self._open.column["holder"][rows] = _NOBODY
        self._leased -= len(rows)
        self._queued += len(rows)
        self._queue.put_first(self._open.ids(rows), self._open.column["tries"][rows] + 1, lost)

    # -- saved and restored

    def changes(self, now: float) -> Changes:
        """What is to be written since the last call, all of which is written by now; nothing if nothing has changed.

        Leases are not: after a restart all that was handed out and is not settled is queued again.
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

    def restore(self, pieces: Pieces, now: float) -> None:
        """Takes in what was written, into a backlog that is new; raises DAMAGE, also where it does not add up.

        Senders may have been handed more since then: what they settle of it is taken at their word.
        """
        facts, _ = unpack(pieces["figures"])
        self._next_fresh, self.sent, self.failed, self.redelivered = facts["figures"]
        self._fresh_written = self._next_fresh
        self._unsure_below = self._fresh_limit = min(self.total, self._next_fresh + self._limits.unsaved_max)
        self.started_at = None if facts["elapsed_s"] is None else now - facts["elapsed_s"]
        settled = self._open.restore_closed(pieces)
        written = numbered("open", pieces)
        for numbers in in_parts(np.fromiter(written, np.int64, len(written))):
            settled += self._restore_open(numbers, *unpack_stretches([written[number] for number in numbers.tolist()]))
        if settled != self.settled:
            raise ValueError(f"{settled} messages settled, where {self.settled} should be")
        self._queue_all(now)

    def _restore_open(self, numbers: Ids, settled: Flags, tries: Tries) -> int:
        """How many messages of these stretches are settled; `settled`, `tries`: of shape (n, STRETCH_SIZE)."""
        done = np.count_nonzero(settled, axis=1)
        self._open.restore("state", numbers, settled * np.uint8(_SETTLED), done)
        self._open.fill("tries", numbers, tries)
        return int(done.sum())

    def _queue_all(self, now: float) -> None:
        """Queues all that is neither settled nor fresh; what was tried before, after the delay of a retry."""
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
        """Queues the ids up to here: they were handed out before a restart, and that was not yet written."""
        while self._next_fresh < end:
            first, self._next_fresh = self._next_fresh, min(end, self._next_fresh + _TOGETHER * STRETCH_SIZE)
            ids = np.arange(first, self._next_fresh, dtype=np.int64)
            rows = self._open.open(ids)
            self._open.column["state"][rows] = _QUEUED
            self._queued += len(ids)
            self._queue.put_last(ids, np.ones(len(ids), np.uint8), lost=True)
