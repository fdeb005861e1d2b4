"""The backlog conserves messages in any order of events and leases them by credit, share, rate and delay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from smssim.core.backlog import Backlog
from smssim.core.leaseholder import LeaseHolder
from smssim.core.limits import LIMITS
from smssim.core.model import Ids, Outcome
from smssim.core.queue import Batch
from smssim.core.stretches import STRETCH_SIZE
from smssim.errors import PeerError, TooLargeError

SENT, FAILED, RETRY = Outcome.SENT, Outcome.FAILED, Outcome.RETRY


def column(ids: Sequence[int]) -> Ids:
    return np.array(ids, np.int64)


def settle(backlog: Backlog, rows: Sequence[tuple[int, Outcome, int]], now: float = 0.0) -> None:
    """Settle these rows of id, outcome and attempt."""
    ids, outcomes, attempts = zip(*rows, strict=True) if rows else ((), (), ())
    backlog.settle(column(ids), np.array(outcomes, np.uint8), np.array(attempts, np.uint8), now)


def joined(
    backlog: Backlog, name: str = "a", mean_s: float = 1.0, concurrency: int = 1, now: float = 0.0
) -> LeaseHolder:
    return backlog.join(name, mean_s, concurrency, now)


def take(backlog: Backlog, holder: LeaseHolder, count: int, now: float = 0.0) -> list[Batch]:
    """Ask for `count` messages, with as many idle lanes, and return what the sender gets."""
    holder.ask(count - holder.credit, idle_lanes=count, received=holder.delivered)
    return backlog.grant(holder, now)


def ids_of(batches: list[Batch]) -> list[int]:
    return [i for batch in batches for i in batch.ids.tolist()]


# -- any order of events


class Message:
    """The expected state of one message."""

    def __init__(self) -> None:
        self.tries = 0  # finished attempts
        self.holder: LeaseHolder | None = None
        self.outcome: Outcome | None = None
        self.touched = False  # leased at least once
        self.due = 0.0  # when it may be delivered, if it is waiting


numbers = st.integers(0, 11)  # of a message or a sender, modulo how many there are
outcomes = st.sampled_from([RETRY, SENT, FAILED])


class AnyOrder(RuleBasedStateMachine):
    """A backlog and its model, a dict of messages: whatever senders do, both agree and everything can be settled."""

    @initialize(
        total=st.integers(0, 12).map(lambda n: 12 - n),
        wide=st.booleans(),
        max_attempts=st.sampled_from([3, 1, 2]),
        retry_delay_s=st.sampled_from([2.0, 0.0]),
        rate_per_s=st.sampled_from([None, 1.0, 10.0]),
    )
    def start(self, total: int, wide: bool, max_attempts: int, retry_delay_s: float, rate_per_s: float | None) -> None:
        """Start with fresh messages or, if `wide`, with a dozen returned ones.

        Those are spread over three stretches in which all other messages are settled.
        """
        self.now = 0.0
        self.retry_delay_s, self.rate_per_s = retry_delay_s, None if wide else rate_per_s
        self.holders: list[LeaseHolder] = []  # all that ever joined
        self.open: list[LeaseHolder] = []
        self.moved_at: dict[int, float] = {}  # by holder number, as `LeaseHolder.moved_at`
        self.sent = 0  # not counting those in `messages`
        if wide:
            total = 2 * STRETCH_SIZE + 20
        self.backlog = Backlog(total, max_attempts, retry_delay_s, 10.0, self.rate_per_s)
        self.messages = {i: Message() for i in range(total)} if not wide else {}
        if wide:
            self.spread(total)
        self.join("a", 0.1, 3)
        self.join("b", 1.0, 2)

    def spread(self, total: int) -> None:
        chosen = [stretch * STRETCH_SIZE + offset for stretch in range(3) for offset in (0, 3, 4, 19)]
        first = joined(self.backlog, "first")
        take(self.backlog, first, total)
        rest = np.delete(np.arange(total), chosen)
        self.backlog.settle(rest, np.full(len(rest), SENT, np.uint8), np.ones(len(rest), np.uint8), self.now)
        self.backlog.lose(first)
        self.sent = len(rest)
        self.messages = {i: Message() for i in chosen}
        for message in self.messages.values():
            message.touched = True

    # -- events

    @rule(name=st.sampled_from("abc"), mean_s=st.sampled_from([0.0, 0.1, 1.0]), lanes=st.integers(1, 5))
    def join(self, name: str, mean_s: float, lanes: int) -> None:
        for other in [h for h in self.open if h.session_id == name]:
            self.end_leases(other)
        self.holders.append(joined(self.backlog, name, mean_s, lanes, self.now))
        self.open.append(self.holders[-1])

    @rule(
        which=numbers,
        seconds=st.sampled_from([0.0, 0.1, 2.0]),
        credit=st.sampled_from([5, 1, 0, 9]),
        idle=st.integers(0, 5),
        behind=st.integers(0, 3),
        then=st.lists(outcomes, max_size=4),
    )
    def ask(self, which: int, seconds: float, credit: int, idle: int, behind: int, then: list[Outcome]) -> None:
        """Let a sender ask, and check that it gets each message once and as many as credit, lanes and share allow.

        With `then`, it settles all that it holds at once, with these outcomes in turn.
        """
        self.wait(seconds)
        holder = self.holders[-1 - which % len(self.holders)]
        if holder in self.open:
            holder.last_request_at = self.now
            holder.ask(credit, idle, max(0, holder.delivered - behind))
        most, least = self.allowed(holder)
        before = holder.credit
        had_none = not any(m.holder is holder for m in self.messages.values())
        batches = self.backlog.grant(holder, self.now)
        granted = ids_of(batches)
        if granted and had_none:
            self.moved_at[holder.number] = self.now
        assert least <= len(granted) <= most
        assert holder.credit == before - len(granted)
        for batch in batches:
            assert batch.ids.tolist() == sorted(batch.ids.tolist())
            for i in batch.ids.tolist():
                message = self.messages[i]
                assert message.outcome is None
                assert message.holder is None
                assert message.due <= self.now
                assert batch.attempt == message.tries + 1
                message.holder, message.touched = holder, True
        held = [i for i, message in self.messages.items() if message.holder is holder] if then else []
        self.settle([(i, then[n % len(then)], self.messages[i].tries + 1) for n, i in enumerate(held)])

    @rule(
        rows=st.lists(st.tuples(numbers, outcomes, st.sampled_from([0, -1, 1])), min_size=1, max_size=6),
        twice=st.booleans(),
    )
    def say_anything(self, rows: list[tuple[int, Outcome, int]], twice: bool) -> None:
        """Settle messages that were delivered before, in time or late."""
        touched = [i for i, message in self.messages.items() if message.touched]
        if touched:
            chosen = [(touched[number % len(touched)], outcome, late) for number, outcome, late in rows]
            done = [(i, outcome, max(1, self.messages[i].tries + 1 + late)) for i, outcome, late in chosen]
            self.settle(done * 2 if twice else done)

    def settle(self, rows: list[tuple[int, Outcome, int]]) -> None:
        last = self.backlog.max_attempts
        rows = [(i, FAILED if o is RETRY and attempt >= last else o, min(last, attempt)) for i, o, attempt in rows]
        settle(self.backlog, rows, self.now)
        current = {i: self.messages[i].tries + 1 for i, _, _ in rows}  # before these rows: none makes another one valid
        for i, outcome, attempt in sorted(rows, key=lambda row: row[1] is RETRY):  # final ones first
            message = self.messages[i]
            if message.outcome is not None:
                continue
            if (outcome is not RETRY or attempt == current[i]) and message.holder is not None:
                self.moved_at[message.holder.number] = self.now
            if outcome is not RETRY:
                message.outcome, message.holder = outcome, None
            elif attempt == current[i]:
                message.tries, message.holder, message.due = attempt, None, self.now + self.retry_delay_s

    @rule(which=numbers, positions=st.sets(numbers, max_size=4), twice=st.booleans())
    def hand_back(self, which: int, positions: set[int], twice: bool) -> None:
        """Hand back messages, including some that the sender doesn't hold."""
        holder = self.holders[-1 - which % len(self.holders)]
        ids = [i for position, i in enumerate(sorted(self.messages)) if position in positions]
        self.backlog.hand_back(holder, column(ids * 2 if twice else ids), self.now)
        if any(self.messages[i].holder is holder for i in ids):
            self.moved_at[holder.number] = self.now
        self.end_leases(holder, set(ids))

    @rule(which=numbers, how=st.sampled_from(["leave", "lose", "lose"]))
    def end(self, which: int, how: str) -> None:
        holder = self.holders[-1 - which % len(self.holders)]
        if how == "lose":
            self.backlog.lose(holder)
            self.end_leases(holder)
        elif holder in self.open:
            self.backlog.holders.leave(holder)

    @rule(seconds=st.sampled_from([1.0, 4.0, 9.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        late = self.backlog.expire(self.now)
        assert late == [h for h in self.open if self.now - h.last_request_at > 10.0 or self.is_stuck(h)]
        for holder in late:
            self.end_leases(holder)

    # -- invariants

    def is_stuck(self, holder: LeaseHolder) -> bool:
        """Return whether a sender has held messages for too long without settling any or handing any back."""
        has_some = any(m.holder is holder for m in self.messages.values())
        return has_some and self.now - self.moved_at[holder.number] > LIMITS.stuck_after_s

    def end_leases(self, holder: LeaseHolder, ids: set[int] | None = None) -> None:
        for i, message in self.messages.items():
            if message.holder is holder and (ids is None or i in ids):
                message.holder, message.due = None, self.now
        if ids is None and holder in self.open:
            self.open.remove(holder)

    def waiting(self) -> list[Message]:
        return [m for m in self.messages.values() if m.outcome is None and m.holder is None]

    def ready(self) -> list[Message]:
        return [m for m in self.waiting() if m.touched and m.due <= self.now]

    def released(self) -> int:
        """Return how many fresh messages may be delivered."""
        fresh = sum(not m.touched for m in self.messages.values())
        if self.rate_per_s is None:
            return fresh
        started = self.now if self.backlog.started_at is None else self.backlog.started_at
        gone = len(self.messages) - fresh
        return max(0, min(fresh, math.floor((self.now - started) * self.rate_per_s + 1e-6) + 1 - gone))

    def allowed(self, holder: LeaseHolder) -> tuple[int, int]:
        """Return how many messages a sender may get at most and must get at least."""
        if holder not in self.open:
            return 0, 0
        ready = len(self.ready()) + self.released()
        leased = sum(m.holder is holder for m in self.messages.values())
        idle = max((holder.idle_lanes or 0) - (holder.delivered - holder.received), holder.concurrency - leased)
        speeds = sum(h.speed for h in self.open if not h.leaving)
        share = ready * holder.speed / speeds / 2 if not holder.leaving else 0
        ahead = max(0, leased - holder.concurrency)
        most = min(holder.credit, ready, max(idle, int(share + 1e-9) - ahead))
        return max(0, most), max(0, min(holder.credit, ready, idle))

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "backlog"):
            return
        messages = self.messages.values()
        outcomes = [m.outcome for m in messages]
        assert self.backlog.sent == self.sent + outcomes.count(SENT)
        assert self.backlog.failed == outcomes.count(FAILED)
        assert self.backlog.waiting == len(self.waiting())
        assert self.backlog.leased == sum(m.holder is not None for m in messages)
        assert self.backlog.complete == (None not in outcomes)
        for holder in self.open:
            assert holder.leased == sum(m.holder is holder for m in messages)

    def teardown(self) -> None:
        """Check that one more sender can settle all the rest, and that it gets nothing twice."""
        if not hasattr(self, "backlog"):
            return
        for holder in list(self.open):
            self.backlog.lose(holder)
            self.end_leases(holder)
        last = joined(self.backlog, "last", now=self.now)
        for _ in range(3 * len(self.messages) + 10):
            for batch in take(self.backlog, last, 5, self.now):
                settle(self.backlog, [(i, SENT, batch.attempt) for i in batch.ids.tolist()], self.now)
            self.now = max(self.now + 0.01, min(self.now + 2, self.backlog.wake_at(self.now)))
        assert self.backlog.complete
        assert self.backlog.waiting == self.backlog.leased == last.leased == 0
        assert self.backlog._open.rows_held <= 4 * STRETCH_SIZE


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=120, stateful_step_count=30)


# -- single cases


def test_a_run_without_messages_is_complete_at_once() -> None:
    backlog = Backlog(0)
    assert backlog.complete
    assert take(backlog, joined(backlog), 5) == []
    assert backlog.started_at is None


def test_the_run_starts_when_the_first_message_is_delivered() -> None:
    backlog = Backlog(5)
    holder = joined(backlog, now=10.0)
    assert backlog.grant(holder, 20.0) == []
    assert (backlog.started_at, backlog.elapsed_s(25.0)) == (None, 0.0)
    take(backlog, holder, 1, 30.0)
    assert (backlog.started_at, backlog.elapsed_s(30.5)) == (30.0, 0.5)


def test_returned_messages_are_delivered_before_fresh_ones_and_in_order_of_id() -> None:
    backlog = Backlog(10)
    a, b = joined(backlog, "a"), joined(backlog, "b")
    take(backlog, a, 2)
    take(backlog, b, 2)
    take(backlog, a, 2)
    backlog.hand_back(a, column([5, 1, 4, 0]), 0.0)
    assert ids_of(take(backlog, b, 6)) == [0, 1, 4, 5, 6, 7]


def test_messages_of_several_lost_senders_are_redelivered_in_order_of_id() -> None:
    backlog = Backlog(10)
    lost = [joined(backlog, name) for name in "ab"]
    for holder in lost * 2:
        take(backlog, holder, 2)
    for holder in lost:
        backlog.lose(holder)
    assert ids_of(take(backlog, joined(backlog, "c"), 9)) == list(range(9))


def test_a_second_stream_of_a_session_ends_the_first() -> None:
    backlog = Backlog(3)
    first = joined(backlog, "same")
    take(backlog, first, 3)
    second = joined(backlog, "same")
    assert first.lost
    assert ids_of(take(backlog, second, 3)) == [0, 1, 2]
    assert take(backlog, first, 3) == []


def test_only_streams_that_are_silent_for_the_lease_timeout_expire() -> None:
    backlog = Backlog(4, lease_timeout_s=10.0)
    silent, talking = joined(backlog, "silent"), joined(backlog, "talking")
    take(backlog, silent, 2)
    talking.last_request_at = 5.0
    assert backlog.expire(10.0) == []
    assert backlog.expire(10.1) == [silent]
    assert (backlog.leased, backlog.waiting) == (0, 4)


def test_a_pause_of_the_producer_does_not_count_as_silence_of_a_sender() -> None:
    backlog = Backlog(4, lease_timeout_s=10.0)
    silent, talking = joined(backlog, "silent"), joined(backlog, "talking")
    take(backlog, silent, 2)
    talking.last_request_at = 29.0
    backlog.holders.forgive_pause(20.0, 30.0)
    assert talking.last_request_at == 30.0  # not later than now
    assert backlog.expire(30.0) == []
    assert backlog.expire(30.1) == [silent]


def test_a_retry_waits_for_the_retry_delay() -> None:
    backlog = Backlog(1, max_attempts=3, retry_delay_s=2.0)
    holder = joined(backlog)
    take(backlog, holder, 1)
    settle(backlog, [(0, RETRY, 1)], now=5.0)
    assert backlog.wake_at(5.0) == 7.0
    assert take(backlog, holder, 1, 6.9) == []
    (batch,) = take(backlog, holder, 1, 7.0)
    assert (batch.ids.tolist(), batch.attempt) == ([0], 2)


def test_retries_that_are_due_are_delivered_before_fresh_messages() -> None:
    backlog = Backlog(9, max_attempts=2)
    holder = joined(backlog)
    take(backlog, holder, 3)
    settle(backlog, [(2, RETRY, 1), (0, RETRY, 1)])
    settle(backlog, [(1, RETRY, 1)])
    batches = take(backlog, holder, 5)
    assert [(batch.ids.tolist(), batch.attempt) for batch in batches] == [([0, 1, 2], 2), ([3, 4], 1)]


def test_a_late_retry_of_an_earlier_attempt_changes_nothing() -> None:
    backlog = Backlog(1, max_attempts=3)
    holder = joined(backlog)
    take(backlog, holder, 1)
    settle(backlog, [(0, RETRY, 1), (0, RETRY, 1)])
    settle(backlog, [(0, RETRY, 1)])
    (batch,) = take(backlog, holder, 9)
    assert (batch.ids.tolist(), batch.attempt) == ([0], 2)
    settle(backlog, [(0, RETRY, 1)])
    assert backlog.leased == 1


def test_a_retry_of_a_message_that_awaits_redelivery_queues_the_next_attempt() -> None:
    """The redelivery of its old attempt is dropped: the message is delivered once, after the retry delay."""
    backlog = Backlog(1, max_attempts=3, retry_delay_s=2.0)
    lost = joined(backlog, "lost")
    take(backlog, lost, 1)
    backlog.lose(lost)
    settle(backlog, [(0, RETRY, 1)], now=1.0)
    other = joined(backlog, "other")
    assert take(backlog, other, 1, now=2.9) == []
    (batch,) = take(backlog, other, 9, now=3.0)
    assert (batch.ids.tolist(), batch.attempt) == ([0], 2)


def test_a_retry_of_an_attempt_that_was_not_made_changes_nothing() -> None:
    backlog = Backlog(1, max_attempts=3)
    take(backlog, joined(backlog), 1)
    settle(backlog, [(0, RETRY, 2)])
    assert backlog.leased == 1


def test_a_late_final_outcome_ends_the_lease_of_another_sender() -> None:
    backlog = Backlog(2)
    paused = joined(backlog, "paused")
    take(backlog, paused, 1)
    backlog.lose(paused)
    other = joined(backlog, "other")
    take(backlog, other, 1)
    settle(backlog, [(0, FAILED, 1)])
    assert (backlog.failed, other.leased) == (1, 0)
    assert ids_of(take(backlog, other, 5)) == [1]


def test_messages_that_are_settled_while_they_wait_do_not_block_others() -> None:
    backlog = Backlog(5)
    lost = joined(backlog, "lost")
    take(backlog, lost, 2)
    backlog.lose(lost)
    assert backlog.readied == 1
    settle(backlog, [(0, SENT, 1), (1, SENT, 1)])
    assert ids_of(take(backlog, joined(backlog, "other"), 3)) == [2, 3, 4]


def test_the_first_final_outcome_stands() -> None:
    backlog = Backlog(2)
    take(backlog, joined(backlog), 2)
    settle(backlog, [(0, SENT, 1), (0, FAILED, 1)])
    settle(backlog, [(0, FAILED, 1)])
    assert (backlog.sent, backlog.failed) == (1, 0)


def test_an_invalid_settlement_is_rejected_as_a_whole() -> None:
    """It names a message that was never delivered, or a retry of the last attempt."""
    backlog = Backlog(5, max_attempts=2)
    holder = joined(backlog)
    take(backlog, holder, 3)
    for bad in ((3, SENT, 1), (0, RETRY, 2)):
        with pytest.raises(PeerError):
            settle(backlog, [(1, SENT, 1), bad])
        assert (backlog.settled, backlog.leased, holder.leased) == (0, 3, 3)


def test_a_sender_may_not_ask_for_more_than_the_bound() -> None:
    backlog = Backlog(10)
    holder = joined(backlog)
    take(backlog, holder, 4)
    holder.ask(6, None, 0)
    most = holder.concurrency + LIMITS.credit_ahead_max
    holder.check_ask(most - 10, 0)
    with pytest.raises(TooLargeError):
        holder.check_ask(most - 9, 0)


def test_all_senders_together_hold_no_more_than_the_bound() -> None:
    backlog = Backlog(100, limits=replace(LIMITS, leased_max=10))
    holders = [joined(backlog, name, concurrency=8) for name in ("a", "b")]
    for holder in holders:
        take(backlog, holder, 8)
    assert (backlog.leased, backlog.waiting) == (10, 90)
    backlog.lose(holders[0])
    assert len(ids_of(take(backlog, holders[1], 8))) == 8
    assert backlog.leased == 10


def test_the_sum_of_speeds_stays_exact_when_senders_come_and_go() -> None:
    backlog = Backlog(1000)
    slow = backlog.join("slow", 1e7, 1, 0.0)
    for mean_s in (1e-9, 3.7, 0.1, 1e-6, 12345.6):
        backlog.lose(backlog.join("other", mean_s, 10_000_000, 0.0))
        backlog.holders.leave(backlog.join("other", mean_s, 3, 0.0))
    assert backlog.holders._weight == slow.weight > 0


def test_a_sender_that_reports_more_received_than_delivered_is_refused() -> None:
    backlog = Backlog(10)
    holder = joined(backlog)
    take(backlog, holder, 4)
    holder.check_ask(0, 4)
    with pytest.raises(PeerError):
        holder.check_ask(0, 5)


def test_a_leaving_sender_gets_nothing_more() -> None:
    backlog = Backlog(10)
    holder = joined(backlog)
    holder.ask(3, 1, 0)
    backlog.holders.leave(holder)
    holder.ask(3, 1, 0)
    assert backlog.grant(holder, 0.0) == []
    assert backlog.holders.with_credit() == []


def test_senders_with_the_smallest_share_of_busy_lanes_come_first() -> None:
    backlog = Backlog(7)
    busy, half, idle, sated = (joined(backlog, name, concurrency=4) for name in ("busy", "half", "idle", "sated"))
    for holder, count in ((busy, 4), (half, 2), (idle, 0), (sated, 1)):
        take(backlog, holder, count)
    for holder in (busy, half, idle):
        holder.ask(10, None, 0)
        assert backlog.grant(holder, 0.0) == []
    assert backlog.holders.with_credit() == [idle, half, busy]


# -- the share


def ask_for(backlog: Backlog, holder: LeaseHolder, credit: int, idle: int) -> int:
    """Return how many messages a sender gets; it has received all earlier ones."""
    holder.ask(credit, idle, holder.delivered)
    return len(ids_of(backlog.grant(holder, 0.0)))


def test_beyond_its_idle_lanes_a_sender_gets_half_its_fair_share() -> None:
    """Of 1,000 messages, a sender that is three times faster gets half of three quarters, however often it asks."""
    backlog = Backlog(1000)
    fast = joined(backlog, "fast", mean_s=1.0, concurrency=3)
    slow = joined(backlog, "slow", mean_s=3.0, concurrency=3)
    assert ask_for(backlog, fast, 10_000, idle=3) == 375
    assert ask_for(backlog, fast, 10_000, idle=0) == 0
    assert ask_for(backlog, slow, 10_000, idle=3) == 625 // 8


def test_idle_lanes_are_served_whatever_the_share() -> None:
    backlog = Backlog(12)
    joined(backlog, "fast", mean_s=1e-6, concurrency=1000)
    slow = joined(backlog, "slow", mean_s=100.0, concurrency=10)
    assert ask_for(backlog, slow, 100, idle=10) == 10


def test_messages_on_the_way_count_as_started() -> None:
    """Messages that a sender had not received when it counted its idle lanes use up some of these."""
    backlog = Backlog(100)
    joined(backlog, "fast", mean_s=1e-6, concurrency=1000)
    slow = joined(backlog, "slow", mean_s=100.0, concurrency=10)
    ask_for(backlog, slow, 10, idle=10)
    slow.ask(10, idle_lanes=10, received=4)
    assert len(ids_of(backlog.grant(slow, 0.0))) == 4


def test_finished_but_unsettled_messages_do_not_keep_lanes_idle() -> None:
    backlog = Backlog(100)
    joined(backlog, "fast", mean_s=1e-6, concurrency=1000)
    slow = joined(backlog, "slow", mean_s=100.0, concurrency=10)
    ask_for(backlog, slow, 10, idle=10)
    assert ask_for(backlog, slow, 100, idle=7) == 7


def test_finished_but_unsettled_messages_do_not_count_as_held_if_the_sender_reports_held() -> None:
    backlog = Backlog(1000)
    holder = joined(backlog, concurrency=10)
    assert ask_for(backlog, holder, 10_000, idle=10) == 500
    assert ask_for(backlog, holder, 0, idle=0) == 0  # it may hold 490 of them
    holder.ask(0, idle_lanes=0, received=400, held=40)  # 100 more are on the way
    assert len(ids_of(backlog.grant(holder, 0.0))) == 250 - 140


def test_a_sender_gets_no_more_than_its_credit() -> None:
    backlog = Backlog(1000)
    holder = joined(backlog, concurrency=100)
    assert ask_for(backlog, holder, 7, idle=100) == 7
    assert ask_for(backlog, holder, 0, idle=93) == 0


def test_senders_that_left_have_no_share() -> None:
    backlog = Backlog(1000)
    first, second, third = (joined(backlog, name) for name in "abc")
    backlog.holders.leave(second)
    backlog.lose(third)
    assert ask_for(backlog, first, 10_000, idle=1) == 500


def test_a_single_sender_gets_all_messages_in_the_end() -> None:
    backlog = Backlog(1000)
    holder = joined(backlog, concurrency=10)
    grants = []
    while not backlog.complete:
        holder.ask(1000 - holder.credit, 10, holder.delivered)
        batches = backlog.grant(holder, 0.0)
        grants.append(len(ids_of(batches)))
        for batch in batches:
            settle(backlog, [(i, SENT, 1) for i in batch.ids.tolist()])
    assert grants[:3] == [500, 250, 125]
    assert min(grants[:-1]) >= 10  # its number of lanes


# -- the rate


def test_messages_are_released_at_the_rate() -> None:
    """Message 0 is released at the start, message k after k / rate seconds; asking early loses none."""
    backlog = Backlog(100, rate_per_s=10.0)
    holder = joined(backlog, now=50.0)
    released = [len(ids_of(take(backlog, holder, 100, 50.0 + t))) for t in (0.0, 0.05, 0.1, 0.4, 1000.0)]
    assert released == [1, 0, 1, 3, 95]


def test_the_backlog_wakes_for_the_next_release() -> None:
    backlog = Backlog(2, rate_per_s=4.0)
    assert backlog.wake_at(1.0) == math.inf
    holder = joined(backlog)
    take(backlog, holder, 5, 1.0)
    assert backlog.wake_at(1.0) == 1.25
    assert backlog.wake_at(9.0) == 9.0
    take(backlog, holder, 5, 9.0)
    assert backlog.wake_at(9.0) == math.inf


def test_the_rate_does_not_delay_returned_messages() -> None:
    backlog = Backlog(100, rate_per_s=1.0)
    lost = joined(backlog, "lost")
    take(backlog, lost, 1, 0.0)
    take(backlog, lost, 100, 4.0)
    backlog.lose(lost)
    assert ids_of(take(backlog, joined(backlog, "other"), 100, 4.0)) == [0, 1, 2, 3, 4]


def test_no_message_is_queued_in_the_future() -> None:
    for rate in (3.0, 7.0, 1e3 / 3, 1e9, 1e12):
        backlog = Backlog(3 * STRETCH_SIZE, rate_per_s=rate)
        holder = joined(backlog, now=1000.1)
        now = 1000.1
        for _ in range(20):
            for batch in take(backlog, holder, 10_000, now):
                queued_s = backlog.queued_s(batch.ids, now)
                assert queued_s.dtype == np.float32
                assert queued_s.min() >= 0
            now = backlog.wake_at(now) if backlog.wake_at(now) < math.inf else now + 1 / rate


def test_messages_are_queued_since_the_start_or_since_their_release() -> None:
    for rate, seconds in ((None, [3.0, 3.0, 3.0]), (2.0, [3.0, 2.5, 1.0])):
        backlog = Backlog(5, rate_per_s=rate)
        take(backlog, joined(backlog), 1, 7.0)
        assert backlog.queued_s(column([0, 1, 4]), 10.0).tolist() == seconds


# -- memory


def test_finished_stretches_take_no_memory() -> None:
    total = 100 * STRETCH_SIZE
    backlog = Backlog(total)
    holder = joined(backlog, concurrency=STRETCH_SIZE)
    while not backlog.complete:
        for batch in take(backlog, holder, STRETCH_SIZE):
            count = len(batch.ids)
            backlog.settle(batch.ids, np.full(count, SENT, np.uint8), np.ones(count, np.uint8), 0.0)
    assert backlog.sent == total
    assert backlog._open.rows_held <= 2 * STRETCH_SIZE


def test_handing_back_undelivered_messages_changes_nothing_and_takes_no_memory() -> None:
    """A misbehaving sender may hand back anything; it holds none of these."""
    backlog = Backlog(10**9)
    backlog.hand_back(joined(backlog), np.arange(0, 10**9, 10**6), 0.0)
    assert (backlog.waiting, backlog._open.rows_held) == (10**9, 0)
