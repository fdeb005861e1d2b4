"""A repeat of a report has the same digest; any other report has another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from smssim.core.digest import Digester
from smssim.core.exchange import Report, RunEnd
from smssim.core.lanes import Finished

SIZES = [1, 7, 999, 1000, 4096, 10_001]  # rows: below 1,000, they are hashed directly, else summed in blocks
KEY = b"a secret"
EMPTY = Report(3, Finished(*(np.empty(0, kind) for kind in ("i8", "u1", "u1", "f4", "f4"))), 5, 6, elapsed_s=1.5)


def a_report(rows: int) -> Report:
    random = np.random.default_rng(rows)
    ids = random.integers(0, 10**10, rows)
    outcomes, attempts = (random.integers(1, 4, rows, np.uint8) for _ in range(2))
    return replace(EMPTY, finished=Finished(ids, attempts, outcomes, *(np.ones(rows, np.float32),) * 2))


def altered(report: Report, name: str, at: int, bit: int) -> Report:
    """Return the report with one bit of one element of a column flipped."""
    column = getattr(report.finished, name).copy()
    column[at] ^= 1 << bit
    return replace(report, finished=replace(report.finished, **{name: column}))


def test_a_repeat_has_the_same_digest() -> None:
    for rows in SIZES:
        assert Digester(KEY).of(a_report(rows)) == Digester(KEY).of(a_report(rows)), f"{rows} rows"


def test_any_bit_of_a_row_changes_the_digest() -> None:
    for rows in SIZES:
        digester, report = Digester(KEY), a_report(rows)
        for name, bit in (("ids", 0), ("ids", 33), ("outcomes", 0), ("outcomes", 1), ("attempts", 7)):
            digests = {digester.of(altered(report, name, at, bit)) for at in {0, rows // 2, rows - 1}}
            assert digester.of(report) not in digests, f"{rows} rows, {name}, bit {bit}"
            assert len(digests) == len({0, rows // 2, rows - 1})


def test_the_order_of_rows_changes_the_digest() -> None:
    report = a_report(5000)
    finished = report.finished
    turned = replace(finished, ids=finished.ids[::-1].copy())
    assert Digester(KEY).of(replace(report, finished=turned)) != Digester(KEY).of(report)


def test_each_field_beside_the_rows_changes_the_digest() -> None:
    others: tuple[dict[str, Any], ...] = (
        *({"sequence": 4}, {"in_flight": 0}, {"held": 0}, {"elapsed_s": None}, {"cut_off": True}, {"goodbye": True}),
        {"goodbye": True, "end": RunEnd(True, 1, 2)},
    )
    for other in others:
        assert Digester(KEY).of(replace(EMPTY, **other)) != Digester(KEY).of(EMPTY), other


def test_the_digest_depends_on_the_key() -> None:
    for rows in (0, *SIZES):
        report = a_report(rows)
        assert Digester(KEY).of(report) != Digester(b"another").of(report), f"{rows} rows"
