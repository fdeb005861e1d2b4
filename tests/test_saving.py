"""The core resumes from the changes that it returned: restored at any moment, its state is the same."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from smssim.core.backlog import Backlog
from smssim.core.exchange import Report, RunEnd
from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.limits import LIMITS
from smssim.core.model import Ids, Outcome, RunFacts, SenderFacts
from smssim.core.pieces import DAMAGE, Changes, Columns, pack, unpack
from smssim.core.stretches import STRETCH_SIZE
from smssim.core.tally import Tally
from smssim.errors import ExitCode, PeerError

SENT, FAILED, RETRY = Outcome.SENT, Outcome.FAILED, Outcome.RETRY
WIDE = 3 * STRETCH_SIZE + 11
WALKS = 20


class Disk:
    """The pieces that were written."""

    def __init__(self) -> None:
        self.pieces: dict[str, bytes] = {}
        self.bytes = 0  # size of the last write

    def write(self, changes: Changes) -> None:
        self.bytes = sum(len(value or b"") for value in changes.values())
        for name, value in changes.items():
            if value is None:
                self.pieces.pop(name, None)
            else:
                self.pieces[name] = value


def some_ids(random: Random, total: int) -> Ids:
    """Return some consecutive ids, sometimes many, shuffled and with repeats."""
    first = random.randrange(total)
    ids = np.arange(first, min(total, first + random.choice([1, 5, 1000, 50_000, 150_000])), dtype=np.int64)
    generator = np.random.default_rng(random.randrange(2**32))
    return generator.permutation(np.concatenate([ids, ids[: len(ids) // 3]]))


def outcomes(random: Random, ids: Ids, retry: bool = True) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return outcomes for these ids; sometimes all are sent."""
    if random.random() < 0.3:
        return np.full(len(ids), SENT, np.uint8)
    generator = np.random.default_rng(random.randrange(2**32))
    return generator.choice(np.array([SENT, SENT, FAILED, RETRY if retry else SENT], np.uint8), len(ids))


def test_a_piece_is_unpacked_as_it_was_packed() -> None:
    columns: Columns = {"a": np.arange(5, dtype=np.int64), "b": np.empty(0, np.uint8), "c": np.array([0.5], np.float32)}
    facts, read = unpack(pack({"x": None, "y": [1, "zwei"]}, **columns))
    assert facts == {"x": None, "y": [1, "zwei"]}
    assert {name: (column.dtype, column.tolist()) for name, column in read.items()} == {
        name: (column.dtype, column.tolist()) for name, column in columns.items()
    }


def test_a_malformed_piece_is_damage() -> None:
    for piece in (b"", b"\n", b"7\n", b"{}\n", pack(a=np.arange(4))[:-1], b"\xff\xfe"):
        with pytest.raises(DAMAGE):
            unpack(piece)


# -- the ledger


def test_a_restored_ledger_gives_the_same_verdicts_as_the_written_one(subtests: pytest.Subtests) -> None:
    for seed in range(WALKS):
        with subtests.test(seed=seed):
            write_and_restore_a_ledger(seed)


def write_and_restore_a_ledger(seed: int) -> None:
    random, disk = Random(seed), Disk()
    ledger = Ledger(random.choice([1, 700, WIDE]))
    for _ in range(12):
        ids = some_ids(random, ledger.total)
        ledger.record(ids, outcomes(random, ids))
        if random.random() < 0.4:
            disk.write(ledger.changes())
    disk.write(ledger.changes())
    restored = Ledger(ledger.total)
    restored.restore(disk.pieces)
    for _ in range(6):
        ids = some_ids(random, ledger.total)
        told = outcomes(random, ids)
        expected, got = ledger.record(ids, told), restored.record(ids, told)
        for one, other in zip(expected.counts, got.counts, strict=True):
            assert one == other
        assert expected.duplicates == got.duplicates
        assert expected.overruled_ids.tolist() == got.overruled_ids.tolist()
        assert expected.overruled_outcomes.tolist() == got.overruled_outcomes.tolist()
    for figure in ("sent", "failed", "retried", "duplicates", "final"):
        assert getattr(ledger, figure) == getattr(restored, figure)


def test_finished_stretches_are_written_once() -> None:
    """A group of 16 stretches takes a bit per message if one of them failed; an open stretch takes two."""
    ledger, disk = Ledger(1600 * STRETCH_SIZE), Disk()
    ids = np.arange(1599 * STRETCH_SIZE, dtype=np.int64)
    for some in np.split(ids, 1599):
        ledger.record(some, np.where(some % 7, SENT, FAILED).astype(np.uint8))
    disk.write(ledger.changes())
    assert disk.bytes < 1600 * STRETCH_SIZE // 8 + 1000
    ledger.record(ids[-1:] + 1, np.array([SENT], np.uint8))
    disk.write(ledger.changes())
    assert disk.bytes < STRETCH_SIZE // 4 + 500


def test_messages_that_are_far_apart_take_a_piece_of_1_kib_each() -> None:
    ledger, disk = Ledger(10**9), Disk()
    ledger.record(np.arange(4096) << 16, np.full(4096, SENT, np.uint8))
    disk.write(ledger.changes())
    assert len(disk.pieces) == 4096 + 1
    assert disk.bytes < 4096 * 1024 + 500


def test_a_ledger_whose_pieces_do_not_add_up_is_damage() -> None:
    ledger, disk = Ledger(WIDE), Disk()
    ids = np.arange(STRETCH_SIZE + 5, dtype=np.int64)
    ledger.record(ids, np.full(len(ids), FAILED, np.uint8))
    disk.write(ledger.changes())
    for name in disk.pieces:
        pieces = {other: piece for other, piece in disk.pieces.items() if other != name}
        with pytest.raises(DAMAGE):
            Ledger(WIDE).restore(pieces)


# -- the backlog


def check(backlog: Backlog, settled: dict[int, Outcome], tries: dict[int, int], now: float) -> None:
    """Check that each unsettled message is delivered once, at its next attempt, and that nothing is left then."""
    assert (backlog.settled, backlog.leased) == (len(settled), 0)
    assert backlog.waiting == backlog.total - len(settled)
    holder = backlog.join("all", 1.0, 1, now)
    holder.ask(backlog.total, backlog.total, 0)
    got = {}
    for batch in backlog.grant(holder, now):
        for number in batch.ids.tolist():
            assert number not in got
            got[number] = batch.attempt
    assert got.keys() == set(range(backlog.total)) - settled.keys()
    assert all(attempt == tries.get(number, 0) + 1 for number, attempt in got.items())
    ids = np.fromiter(got, np.int64)
    backlog.settle(ids, np.full(len(ids), SENT, np.uint8), np.ones(len(ids), np.uint8), now)
    assert backlog.complete


def test_a_restored_backlog_delivers_the_unsettled_messages_and_no_others(subtests: pytest.Subtests) -> None:
    for seed in range(WALKS):
        with subtests.test(seed=seed):
            write_and_restore_a_backlog(seed)


def write_and_restore_a_backlog(seed: int) -> None:
    random, disk, settled, tries = Random(seed), Disk(), dict[int, Outcome](), dict[int, int]()
    backlog = Backlog(random.choice([1, 700, WIDE]), max_attempts=9)
    disk.write(backlog.changes(0.0))
    holder = backlog.join("a", 1.0, 1, 0.0)
    for _ in range(8):
        holder.ask(random.choice([1, 300, STRETCH_SIZE]), 10**9, holder.delivered)
        for batch in backlog.grant(holder, 0.0):
            told = outcomes(random, batch.ids)
            some = np.random.default_rng(seed).permutation(len(batch.ids))[: random.randint(0, len(batch.ids))]
            backlog.settle(batch.ids[some], told[some], np.full(len(some), batch.attempt, np.uint8), 0.0)
            for number, outcome in zip(batch.ids[some].tolist(), told[some].tolist(), strict=True):
                if outcome == RETRY:
                    tries[number] = tries.get(number, 0) + 1
                else:
                    settled[number] = Outcome(outcome)
        if random.random() < 0.5:
            disk.write(backlog.changes(0.0))
    disk.write(backlog.changes(5.0))
    assert backlog.changes(6.0) == {}
    restored = Backlog(backlog.total, max_attempts=9)
    restored.restore(disk.pieces, 100.0)
    assert (restored.sent, restored.failed) == (backlog.sent, backlog.failed)
    assert restored.elapsed_s(101.0) in (1.0, 6.0)  # as of the last change
    check(restored, settled, tries, 101.0)


def test_messages_delivered_after_the_last_save_can_be_settled_after_a_restart() -> None:
    backlog, disk = Backlog(WIDE), Disk()
    disk.write(backlog.changes(0.0))
    restored = Backlog(WIDE)
    restored.restore(disk.pieces, 1.0)
    ids = np.array([STRETCH_SIZE + 3, 7])
    restored.settle(ids, np.array([SENT, FAILED], np.uint8), np.ones(2, np.uint8), 1.0)
    check(restored, {STRETCH_SIZE + 3: SENT, 7: FAILED}, {}, 1.0)


def test_a_restored_backlog_knows_up_to_where_messages_may_have_been_delivered() -> None:
    few = replace(LIMITS, unsaved_max=100)
    backlog, disk = Backlog(1000, limits=few), Disk()
    disk.write(backlog.changes(0.0))
    holder = backlog.join("a", 1.0, 1, 0.0)
    holder.ask(1000, 1000, 0)
    assert sum(len(batch.ids) for batch in backlog.grant(holder, 0.0)) == 100
    assert backlog.awaits_commit
    disk.write(backlog.changes(0.0))  # with 100 as delivered; not known to be on disk yet
    assert not backlog.grant(holder, 0.0)
    restored = Backlog(1000, limits=few)
    restored.restore(disk.pieces, 0.0)
    disk.write(backlog.changes(0.0))
    assert [batch.ids[-1] for batch in backlog.grant(holder, 0.0)] == [199]
    one = np.ones(1, np.uint8)
    restored.settle(np.array([199]), one, one, 0.0)
    with pytest.raises(PeerError, match="message 200 was never delivered"):
        restored.settle(np.array([200]), one, one, 0.0)


def test_a_backlog_whose_pieces_do_not_add_up_is_damage() -> None:
    backlog, disk = Backlog(WIDE), Disk()
    holder = backlog.join("a", 1.0, 1, 0.0)
    holder.ask(STRETCH_SIZE + 5, STRETCH_SIZE + 5, 0)
    backlog.grant(holder, 0.0)
    ids = np.arange(STRETCH_SIZE + 5, dtype=np.int64)
    backlog.settle(ids, np.full(len(ids), FAILED, np.uint8), np.ones(len(ids), np.uint8), 0.0)
    disk.write(backlog.changes(0.0))
    assert set(disk.pieces) == {"figures", "closed/0", "open/1"}
    for name in disk.pieces:
        pieces = {other: piece for other, piece in disk.pieces.items() if other != name}
        with pytest.raises(DAMAGE):
            Backlog(WIDE).restore(pieces, 0.0)


# -- the tally


RUN = RunFacts("a run", 7, 100, 3)


def report(sequence: int, rows: list[tuple[int, Outcome]], elapsed_s: float = 1.0, end: RunEnd | None = None) -> Report:
    ids = np.array([number for number, _ in rows], np.int64)
    told = np.array([outcome for _, outcome in rows], np.uint8)
    ones = np.ones(len(rows), np.uint8)
    finished = Finished(ids, ones, told, np.full(len(rows), 0.5, np.float32), np.full(len(rows), 2, np.float32))
    return Report(sequence, finished, in_flight=3, held=4, elapsed_s=elapsed_s, goodbye=end is not None, end=end)


def test_a_restored_tally_answers_a_repeated_report_as_before() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0, b"a secret")
    tally.report(RUN, SenderFacts("a", "a"), report(1, [(1, SENT), (2, FAILED), (3, RETRY)]), 1.0)
    answer = tally.report(RUN, SenderFacts("b", "b"), report(1, [(1, FAILED), (2, SENT), (4, SENT)]), 1.0)
    disk.write(tally.changes(1.0))
    restored = Tally.restored(disk.pieces, 500.0)
    again = restored.report(RUN, SenderFacts("b", "b"), report(1, [(1, FAILED), (2, SENT), (4, SENT)]), 500.0)
    assert (again.accepted, again.duplicates, again.wait_s) == (answer.accepted, answer.duplicates, answer.wait_s)
    assert dict(zip(again.overruled_ids, again.overruled_outcomes, strict=True)) == {1: SENT, 2: FAILED}
    assert restored.figures(500.0) == tally.figures(1.0)
    with pytest.raises(PeerError, match="expected the next report"):
        restored.report(RUN, SenderFacts("a", "a"), report(3, []), 500.0)
    assert restored.missed == []


def test_a_restored_tally_distinguishes_a_repeated_report_from_another_one() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0, b"a secret")
    tally.report(RUN, SenderFacts("a", "a"), report(1, [(1, SENT)]), 1.0)
    disk.write(tally.changes(1.0))
    restored = Tally.restored(disk.pieces, 500.0)
    with pytest.raises(PeerError, match="expected the next report"):
        restored.report(RUN, SenderFacts("a", "a"), report(1, [(2, SENT)]), 500.0)
    assert restored.report(RUN, SenderFacts("a", "a"), report(1, [(1, SENT)]), 500.0).accepted == 1


def test_senders_that_were_forgotten_are_not_restored() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0, limits=replace(LIMITS, sessions_max=2))
    tally.report(RUN, SenderFacts("a", "a"), report(1, [(1, SENT)]), 0.0)
    tally.report(RUN, SenderFacts("b", "b"), report(1, []), 0.0)
    disk.write(tally.changes(0.0))
    tally.report(RUN, SenderFacts("c", "c"), report(1, []), 10.0)
    disk.write(tally.changes(10.0))
    assert {name for name in disk.pieces if name.startswith("session/")} == {"session/a", "session/c"}
    assert Tally.restored(disk.pieces, 500.0).figures(500.0).senders_seen == 3


def test_an_erased_run_leaves_no_pieces() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0)
    tally.report(RUN, SenderFacts("a", "a"), report(1, []), 0.0)
    disk.write(tally.changes(0.0))
    tally.report(RUN, SenderFacts("b", "b"), report(1, []), 0.0)
    disk.write(tally.erased(0.0))
    assert disk.pieces == {}


def test_a_restored_tally_waits_for_its_senders_and_keeps_the_elapsed_time() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0)
    tally.report(RUN, SenderFacts("a", "a"), report(1, [(n, SENT) for n in range(100)], elapsed_s=1.0), 1.0)
    tally.report(RUN, SenderFacts("b", "b"), report(1, [], elapsed_s=1.0), 1.0)
    tally.report(RUN, SenderFacts("b", "b"), report(2, [], end=RunEnd(True, 100, 0)), 1.0)
    disk.write(tally.changes(1.0))
    restored = Tally.restored(disk.pieces, 500.0)
    assert [session.facts.name for session in restored.present(504.0)] == ["a"]
    assert restored.ending(504.0, give_up_s=60.0) is None
    ending = restored.ending(506.0, give_up_s=60.0)
    assert ending is not None
    assert ending.exit_code == ExitCode.OK
    assert restored.elapsed_s(506.0) == tally.elapsed_s(1.0) == 1.0


def test_a_restored_tally_shows_its_senders_with_their_rates_and_no_late_ones() -> None:
    """Starting a monitor with the journal of a finished run shows its result again, any number of times."""
    disk, tally = Disk(), Tally(RUN, 0.0)
    tally.report(RUN, SenderFacts("a", "a"), report(1, []), 1.0)
    tally.report(RUN, SenderFacts("b", "b"), report(1, []), 1.0)
    tally.report(RUN, SenderFacts("b", "b"), report(2, [(n, SENT) for n in range(40)]), 3.0)  # then it is killed
    rest = [(n, FAILED) for n in range(40, 100)]
    tally.report(RUN, SenderFacts("a", "a"), report(2, rest, end=RunEnd(True, 40, 60)), 6.0)
    for now in (100.0, 200.0):
        disk.write(tally.changes(now))
        tally = Tally.restored(disk.pieces, now)
        late = SenderFacts(f"late {now}", "late")
        tally.report(RUN, late, report(1, []), now + 1.0)
        tally.report(RUN, late, report(2, [], end=RunEnd(True, 40, 60)), now + 2.0)
        figures = tally.figures(now + 2.0)
        rows = tally.snapshot(figures, now + 2.0).fleet.rows
        assert [(row.name, row.sent, row.failed, row.rate_per_s) for row in rows] == [
            ("a", 0, 60, 12.0),
            ("b", 40, 0, 20.0),
        ]
        assert figures.senders_seen == 2


def test_a_sender_that_joins_while_messages_are_missing_does_not_count_as_late() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0)
    tally.report(RUN, SenderFacts("a", "a"), report(1, [(n, SENT) for n in range(99)]), 1.0)
    disk.write(tally.changes(1.0))
    restored = Tally.restored(disk.pieces, 100.0)
    restored.report(RUN, SenderFacts("b", "b"), report(1, []), 101.0)
    figures = restored.figures(101.0)
    assert [row.name for row in restored.snapshot(figures, 101.0).fleet.rows] == ["a", "b"]
    assert figures.senders_seen == 2


def test_elapsed_time_includes_an_outage_of_the_monitor_if_senders_report_it() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0)
    tally.report(RUN, SenderFacts("a", "a"), report(1, [], elapsed_s=1.0), 1.0)
    disk.write(tally.changes(3.0))
    restored = Tally.restored(disk.pieces, 500.0)
    assert restored.elapsed_s(501.0) == 4.0
    restored.report(RUN, SenderFacts("a", "a"), report(2, [], elapsed_s=30.0), 501.0)
    assert restored.elapsed_s(502.0) == 31.0


def test_a_run_that_the_producer_ended_early_may_continue_after_a_restart() -> None:
    disk, tally = Disk(), Tally(RUN, 0.0)
    tally.report(RUN, SenderFacts("a", "a"), report(1, [(1, SENT)], end=RunEnd(False, 1, 0)), 1.0)
    assert tally.ending(1.0, give_up_s=60.0) is not None
    disk.write(tally.changes(1.0))
    assert Tally.restored(disk.pieces, 1.0).ending(2.0, give_up_s=60.0) is None
