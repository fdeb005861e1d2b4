"""The ledger against a dict: the first final outcome of a message stands, whatever is reported after it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.fate import Outcome
from smssim.core.ledger import Ledger, Verdict
from smssim.core.stretches import STRETCH_BITS, STRETCH_SIZE

SENT, FAILED, RETRY = Outcome.SENT, Outcome.FAILED, Outcome.RETRY

Rows = list[tuple[int, Outcome]]


def record(ledger: Ledger, rows: Rows) -> Verdict:
    return ledger.record(np.array([i for i, _ in rows], np.int64), np.array([o for _, o in rows], np.uint8))


@dataclass
class Book:
    """What a ledger should hold, and what it should answer."""

    final: dict[int, Outcome] = field(default_factory=dict)
    retried: int = 0
    duplicates: int = 0

    def record(self, rows: Rows) -> tuple[list[bool], list[tuple[int, Outcome]]]:
        """Which rows count, and what is overruled. Retries are taken in first."""
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
    """In the second stretch none fails."""
    return np.where((ids % 3 == 0) & (ids >> STRETCH_BITS != 1), FAILED, SENT).astype(np.uint8)


@cache
def wide() -> Ledger:
    """Three stretches of which only the messages in `OPEN` have no final outcome."""
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
def test_any_reports_leave_what_a_dict_would_hold(reports: list[Rows]) -> None:
    """Few messages, so that all are soon final and their only stretch is finished."""
    assert_same(Ledger(4), Book(), reports)


@given(rows_of(OPEN + RECORDED))
def test_any_reports_over_several_stretches_leave_what_a_dict_would_hold(reports: list[Rows]) -> None:
    recorded = {i: Outcome(o) for i, o in zip(RECORDED, outcomes_of(np.array(RECORDED)).tolist(), strict=True)}
    assert_same(deepcopy(wide()), Book(recorded), reports)


def test_the_bits_of_finished_stretches_tell_every_outcome() -> None:
    ledger = deepcopy(wide())
    record(ledger, [(i, SENT) for i in OPEN])
    assert ledger.final == WIDE
    everyone = np.arange(WIDE)
    verdict = ledger.record(everyone, np.full(WIDE, RETRY, np.uint8))
    on_record = outcomes_of(everyone)
    on_record[OPEN] = SENT
    assert np.array_equal(verdict.overruled_ids, everyone)
    assert np.array_equal(verdict.overruled_outcomes, on_record)


@pytest.mark.parametrize("reversed_", [False, True])
def test_rows_are_answered_in_the_order_of_the_report(reversed_: bool) -> None:
    ledger = Ledger(10)
    record(ledger, [(i, SENT) for i in range(10)])
    rows = [(i, FAILED) for i in range(10)]
    verdict = record(ledger, rows[::-1] if reversed_ else rows)
    assert verdict.overruled_ids.tolist() == (list(range(9, -1, -1)) if reversed_ else list(range(10)))


def test_an_empty_report_changes_nothing() -> None:
    ledger = Ledger(3)
    verdict = record(ledger, [])
    assert (len(verdict.counts), verdict.duplicates, ledger.final) == (0, 0, 0)


def test_of_a_finished_stretch_one_bit_a_message_is_kept() -> None:
    ledger = Ledger(20 * STRETCH_SIZE)
    for first in range(0, 20 * STRETCH_SIZE, STRETCH_SIZE):
        ledger.record(np.arange(first, first + STRETCH_SIZE), np.full(STRETCH_SIZE, FAILED, np.uint8))
    kept = sum(bits.nbytes for bits in ledger._failed_bits.values() if bits is not None)
    assert kept == 20 * STRETCH_SIZE // 8
    assert ledger._open.rows_held == STRETCH_SIZE
