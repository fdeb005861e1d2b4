"""The ledger compared with a dict: a message's first final outcome stands, whatever is reported later."""

from __future__ import annotations

import tracemalloc
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.backlog import Backlog
from smssim.core.ledger import Ledger, Verdict
from smssim.core.limits import LIMITS
from smssim.core.model import Outcome
from smssim.core.stretches import STRETCH_BITS, STRETCH_SIZE
from smssim.errors import LaterError, TooLargeError

SENT, FAILED, RETRY = Outcome.SENT, Outcome.FAILED, Outcome.RETRY

Rows = list[tuple[int, Outcome]]


def record(ledger: Ledger, rows: Rows) -> Verdict:
    return ledger.record(np.array([i for i, _ in rows], np.int64), np.array([o for _, o in rows], np.uint8))


@dataclass
class Book:
    """The expected state and answers of a ledger."""

    final: dict[int, Outcome] = field(default_factory=dict)
    retried: int = 0
    duplicates: int = 0

    def record(self, rows: Rows) -> tuple[list[bool], list[tuple[int, Outcome]]]:
        """Record rows, retries first; return which rows count and which messages are overruled, with their outcomes."""
        counts = [False] * len(rows)
        for i, (message, outcome) in enumerate(rows):
            if outcome is RETRY and message not in self.final:
                counts[i] = True
                self.retried += 1
        for i, (message, outcome) in enumerate(rows):
            if outcome is not RETRY:
                counts[i] = message not in self.final
                self.final.setdefault(message, outcome)
                self.duplicates += not counts[i]
        overruled = [
            (message, self.final[message])
            for (message, outcome), counted in zip(rows, counts, strict=True)
            if not counted and self.final[message] != outcome
        ]
        return counts, overruled


WIDE = 2 * STRETCH_SIZE + 3
OPEN = [0, 1, STRETCH_SIZE - 1, STRETCH_SIZE, STRETCH_SIZE + 9, 2 * STRETCH_SIZE - 1, 2 * STRETCH_SIZE, WIDE - 1]
RECORDED = [2, 3, 4, 5, 6, 7, 8, 9, STRETCH_SIZE + 8, 2 * STRETCH_SIZE - 2, 2 * STRETCH_SIZE + 1]


def outcomes_of(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return an outcome for each message; none fails in the second stretch."""
    return np.where((ids % 3 == 0) & (ids >> STRETCH_BITS != 1), FAILED, SENT).astype(np.uint8)


@cache
def wide() -> Ledger:
    """Return a ledger of three stretches in which only the messages in `OPEN` have no final outcome."""
    ledger = Ledger(WIDE)
    ids = np.delete(np.arange(WIDE), OPEN)
    ledger.record(ids, outcomes_of(ids))
    return ledger


def rows_of(ids: list[int]) -> st.SearchStrategy[list[Rows]]:
    row = st.tuples(st.sampled_from(ids), st.sampled_from([SENT, FAILED, RETRY]))
    return st.lists(st.lists(row, max_size=8), max_size=12)


def assert_same(ledger: Ledger, book: Book, reports: list[Rows]) -> None:
    before = len(book.final)
    sent, failed = ledger.sent, ledger.failed
    for rows in reports:
        verdict = record(ledger, rows)
        counts, overruled = book.record(rows)
        assert verdict.counts.tolist() == counts
        outcomes = verdict.overruled_outcomes.tolist()
        assert list(zip(verdict.overruled_ids.tolist(), outcomes, strict=True)) == overruled
        assert verdict.duplicates == sum(o is not RETRY for (_, o), c in zip(rows, counts, strict=True) if not c)
        new = list(book.final.values())[before:]
        assert (ledger.sent, ledger.failed) == (sent + new.count(SENT), failed + new.count(FAILED))
        assert (ledger.retried, ledger.duplicates) == (book.retried, book.duplicates)


@given(rows_of(list(range(4))))
def test_after_any_reports_a_ledger_agrees_with_a_dict(reports: list[Rows]) -> None:
    """There are few messages, so that their only stretch is soon finished."""
    assert_same(Ledger(4), Book(), reports)


@given(rows_of(OPEN + RECORDED))
def test_after_any_reports_over_several_stretches_a_ledger_agrees_with_a_dict(reports: list[Rows]) -> None:
    recorded = {i: Outcome(o) for i, o in zip(RECORDED, outcomes_of(np.array(RECORDED)).tolist(), strict=True)}
    assert_same(deepcopy(wide()), Book(recorded), reports)


def test_every_outcome_of_finished_stretches_is_kept() -> None:
    ledger = deepcopy(wide())
    record(ledger, [(i, SENT) for i in OPEN])
    assert ledger.final == WIDE
    everyone = np.arange(WIDE)
    verdict = ledger.record(everyone, np.full(WIDE, RETRY, np.uint8))
    on_record = outcomes_of(everyone)
    on_record[OPEN] = SENT
    assert np.array_equal(verdict.overruled_ids, everyone)
    assert np.array_equal(verdict.overruled_outcomes, on_record)


def test_rows_are_answered_in_the_order_of_the_report() -> None:
    ledger = Ledger(10)
    record(ledger, [(i, SENT) for i in range(10)])
    for order in (list(range(10)), list(range(9, -1, -1))):
        assert record(ledger, [(i, FAILED) for i in order]).overruled_ids.tolist() == order


def test_an_empty_report_changes_nothing() -> None:
    ledger = Ledger(3)
    verdict = record(ledger, [])
    assert (len(verdict.counts), verdict.duplicates, ledger.final) == (0, 0, 0)


def test_a_finished_stretch_takes_one_bit_per_message() -> None:
    """The bound of 1.1 bits includes the overhead of Python and numpy."""
    ledger = Ledger(1600 * STRETCH_SIZE)
    outcomes = np.full(STRETCH_SIZE, FAILED, np.uint8)
    tracemalloc.start()
    try:
        for first in range(0, ledger.total, STRETCH_SIZE):
            ledger.record(np.arange(first, first + STRETCH_SIZE), outcomes)
        ledger.changes()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ledger.failed == ledger.total
    assert ledger.total // 8 <= kept < 1.1 * ledger.total // 8
    assert ledger._open.rows_held == STRETCH_SIZE


def test_all_messages_that_were_not_sent_are_listed() -> None:
    """They are in finished stretches, in open ones and in those without any outcome."""
    ledger = Ledger(40 * STRETCH_SIZE + 3)
    ids = np.arange(20 * STRETCH_SIZE + 5)
    outcomes = outcomes_of(ids)
    ledger.record(ids, outcomes)
    listed = list(ledger.not_sent())
    missing = np.arange(len(ids), ledger.total)
    failed = ids[outcomes == FAILED]
    assert np.array_equal(np.concatenate([some for some, _ in listed]), np.append(failed, missing))
    assert np.array_equal(
        np.concatenate([which for _, which in listed]), np.arange(len(failed) + len(missing)) < len(failed)
    )


# -- the bound on open messages

TOGETHER = 40 * STRETCH_SIZE  # messages that senders may have at once in these tests


FEW = replace(LIMITS, leased_max=TOGETHER, pending_max=2 * TOGETHER)


def test_outcomes_of_delivered_messages_stay_within_the_bound_in_any_order() -> None:
    """As many messages as possible are leased; one of each stretch is reported at once, the others late."""
    for seed in range(2):
        play_in_another_order(seed)


def play_in_another_order(seed: int) -> None:
    """Play a whole run; raises TooLargeError if the ledger has no room."""
    random = np.random.default_rng(seed)
    ledger, backlog = Ledger(120 * STRETCH_SIZE, FEW), Backlog(120 * STRETCH_SIZE, max_attempts=2, limits=FEW)
    holder = backlog.join("a", 1.0, 10**7, 0.0)
    out: dict[int, int] = {}  # leased messages and their attempts
    while not backlog.complete:
        holder.ask(TOGETHER - holder.leased - holder.credit, TOGETHER, holder.delivered)
        for batch in backlog.grant(holder, 0.0):
            out |= dict.fromkeys(batch.ids.tolist(), batch.attempt)
        ids = np.fromiter(out, np.int64)
        eager = ids[(ids & (STRETCH_SIZE - 1) == 7 * seed) | (random.random(len(ids)) < 0.1)]
        ids = random.permutation(eager if len(eager) else ids)
        attempts = np.array([out.pop(i) for i in ids.tolist()], np.uint8)
        outcomes = np.where((attempts == 1) & (random.random(len(ids)) < 0.5), RETRY, SENT).astype(np.uint8)
        ledger.check_room(ids)
        ledger.record(ids, outcomes)
        backlog.settle(ids, outcomes, attempts, 0.0)
    assert ledger.final == ledger.total


def test_messages_too_far_apart_for_any_producer_are_refused_and_open_nothing() -> None:
    ledger = Ledger(10**9, FEW)
    apart = np.arange(0, 80 * STRETCH_SIZE, STRETCH_SIZE)
    ledger.check_room(apart)
    ledger.record(apart, np.full(80, SENT, np.uint8))
    assert ledger._open.pending == 80 * (STRETCH_SIZE - 1)
    with pytest.raises(TooLargeError, match=r"^message_ids: the ids are too far apart$"):
        ledger.check_room(apart + 500 * STRETCH_SIZE)
    assert ledger.memory == 80 * (STRETCH_SIZE - 1) + 8 * -(-(10**9) // STRETCH_SIZE)
    ledger.check_room(apart + 1)
    one_more = np.array([10**8])
    with pytest.raises(TooLargeError):
        ledger.check_room(one_more)
    ledger.record(np.arange(1, STRETCH_SIZE), np.full(STRETCH_SIZE - 1, RETRY, np.uint8))
    ledger.check_room(one_more)  # more room, because each of those messages may wait for another attempt


def test_all_runs_of_a_monitor_are_bounded_together() -> None:
    """There may be room later; a report that opens no stretch needs none."""
    ledger = Ledger(10**9)
    ledger.record(np.arange(5), np.full(5, SENT, np.uint8))
    with pytest.raises(LaterError, match="while this monitor follows other runs"):
        ledger.check_room(np.array([10**8]), others=LIMITS.pending_bytes_max - ledger.memory)
    ledger.check_room(np.array([7]), others=LIMITS.pending_bytes_max)
    ledger.check_room(np.array([10**8]), others=LIMITS.pending_bytes_max - ledger.memory - STRETCH_SIZE)
    assert Ledger(10**10).memory == 0
