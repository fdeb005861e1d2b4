"""Unreachable messages and costs at the monitor: exact, the same after a restart, and the same for watchers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smssim.core import reach
from smssim.core.ending import Ending
from smssim.core.exchange import Report
from smssim.core.lanes import Finished
from smssim.core.model import Outcome, RunFacts, SenderFacts
from smssim.core.pieces import pack, unpack
from smssim.core.progress import Milestones
from smssim.core.reach import Reach, Reachable
from smssim.core.snapshot import Snapshot
from smssim.core.tally import Tally
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode
from smssim.net import watching
from smssim.net.watching import snapshot_from_proto, snapshot_to_proto

RUN_ID = "00000000-0000-4000-8000-000000000001"
CHEAP = SenderFacts("a", "cheap", price=0.1, price_failed=0.03)
DEAR = SenderFacts("b", "dear", price=0.7)
FREE = SenderFacts("c", "free")


def run_of(total: int, unreachable: float, segments: int = 1) -> RunFacts:
    return RunFacts(RUN_ID, 7, total, 2, unreachable, segments)


def missing(run: RunFacts) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return Reach(run.seed, run.unreachable).missing(np.arange(run.total, dtype=np.uint64))


def tell(
    tally: Tally, sender: SenderFacts, sequence: int, ids: Sequence[int], outcomes: Sequence[int], at: float
) -> None:
    some = np.full(len(ids), 0.5, np.float32)
    finished = Finished(
        np.array(ids, np.int64), np.ones(len(ids), np.uint8), np.array(outcomes, np.uint8), some, 2 * some
    )
    tally.report(tally.run, sender, Report(sequence, finished, 0, 0, at, False, None), at)


def outcomes_of(run: RunFacts, ids: Sequence[int], failing: Sequence[bool]) -> list[int]:
    """Return final outcomes: an unreachable message fails, and so do others that are to fail."""
    gone = missing(run)
    return [Outcome.FAILED if gone[i] or fails else Outcome.SENT for i, fails in zip(ids, failing, strict=True)]


def restarted(tally: Tally, saved: dict[str, bytes], at: float) -> Tally:
    """Return the tally that a restarted monitor has, after its changes went to what is `saved`."""
    for name, piece in tally.changes(at).items():
        saved.pop(name, None)
        saved |= {} if piece is None else {name: piece}
    return Tally.restored(saved, at)


@settings(max_examples=40, deadline=None)
@given(
    total=st.integers(1, 300),
    share=st.sampled_from([0.01, 0.3, 0.9, 1.0]),
    failing=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
    parts=st.integers(1, 12),
    restarts=st.sets(st.integers(0, 11), max_size=3),
)
def test_the_milestones_of_the_reachable_are_those_of_a_replay(
    total: int, share: float, failing: float, seed: int, parts: int, restarts: set[int]
) -> None:
    run, random = run_of(total, share), np.random.default_rng(seed)
    tally, sent = Tally(run, 0.0), 0
    saved: dict[str, bytes] = {}
    reachable = total - int(missing(run).sum())
    wanted: dict[int, float] = {}
    for number, ids in enumerate(np.array_split(random.permutation(total), parts)):
        at = float(number + 1)
        outcomes = outcomes_of(run, ids.tolist(), (random.random(len(ids)) < failing).tolist())
        tell(tally, FREE, number + 1, ids.tolist(), outcomes, at)
        sent += outcomes.count(Outcome.SENT)
        for percent in Milestones.PERCENTS:
            if reachable and sent >= Milestones.needed(percent, reachable):
                wanted.setdefault(percent, at)
        if number in restarts:
            tally = restarted(tally, saved, at)
        assert tally.reached_reachable_s == wanted
    figures = tally.figures(float(parts))
    assert figures.complete
    assert figures.unreachable == missing(run).sum()
    assert figures.failed_reachable == total - sent - figures.unreachable


def test_only_failures_that_count_are_unreachable_messages() -> None:
    run = run_of(100, 0.3)
    gone = np.flatnonzero(missing(run)).tolist()
    tally = Tally(run, 0.0)
    tell(tally, FREE, 1, gone[:5], [Outcome.FAILED] * 5, 1.0)
    tell(tally, DEAR, 1, gone[:7], [Outcome.FAILED] * 7, 2.0)  # five of them are duplicates
    tell(tally, DEAR, 2, gone[7:9], [Outcome.RETRY] * 2, 3.0)  # from a sender that does not know
    assert tally.figures(3.0).unreachable == 7


def test_a_run_without_unreachable_messages_has_the_same_milestones_of_both_kinds_and_saves_nothing_new() -> None:
    tally = Tally(run_of(4, 0.0), 0.0)
    tell(tally, FREE, 1, [0, 1, 2], [Outcome.SENT, Outcome.SENT, Outcome.FAILED], 1.0)
    assert tally.recipients is None
    assert tally.reached_reachable_s == tally.milestones.reached_s == {50: 1.0}
    assert "recipients" not in unpack(tally.changes(1.0)["figures"] or b"")[0]


def test_a_journal_without_shares_segments_or_prices_is_restored() -> None:
    tally = Tally(run_of(4, 0.0), 0.0)
    tell(tally, FREE, 1, [0, 1, 2], [Outcome.SENT, Outcome.SENT, Outcome.FAILED], 1.0)
    pieces = {name: piece for name, piece in tally.changes(1.0).items() if piece is not None}
    run, session = unpack(pieces["run"])[0], unpack(pieces["session/c"])
    for name in ("unreachable", "segments"):
        del run[name]
    for name in ("limit_per_s", "burst", "price", "price_failed"):
        del session[0]["facts"][name]
    restored = Tally.restored({**pieces, "run": pack(run), "session/c": pack(session[0], **session[1])}, 1.0)
    assert restored.figures(1.0) == replace(tally.figures(1.0), senders=1)
    assert (restored.run, restored.figures(1.0).cost) == (tally.run, 0.0)


def test_counting_the_reachable_never_takes_longer_than_the_messages_sent_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "CHUNK", 64)
    run = run_of(100_000, 0.25)
    tally, sent = Tally(run, 0.0), 0
    there = np.flatnonzero(~missing(run))
    for number, ids in enumerate(np.array_split(there[:3000], 30), 1):
        tell(tally, FREE, number, ids.tolist(), [Outcome.SENT] * len(ids), float(number))
        sent += len(ids)
        assert tally.recipients is not None
        looked_at, found = tally.recipients._reachable.looked_at
        assert found <= 2 * sent + 64
        assert looked_at < 4 * sent
    assert Reachable(7, 1.0, 10**10).looked_at == (10**10, 0)  # without looking at any


# ---- Costs


def test_the_cost_is_the_price_of_each_segment_also_after_a_restart() -> None:
    tally = Tally(run_of(1000, 0.0, segments=3), 0.0)
    saved: dict[str, bytes] = {}
    ids = np.arange(1000)
    for number, some in enumerate(np.array_split(ids, 10), 1):
        sender = CHEAP if number % 2 else DEAR
        sequence = (number + 1) // 2
        retried = [Outcome.RETRY] * 7 + [Outcome.SENT] * (len(some) - 10) + [Outcome.FAILED] * 3
        tell(tally, sender, sequence, some.tolist(), retried, float(number))
        if number == 6:
            tally = restarted(tally, saved, 6.0)
    rows = {row.name: row for row in tally.snapshot(tally.figures(10.0), 10.0).fleet.rows}
    assert {name: (row.sent, row.attempts) for name, row in rows.items()} == {"cheap": (450, 500), "dear": (450, 500)}
    assert rows["cheap"].cost == 3 * (0.1 * 450 + 0.03 * 50)
    assert rows["dear"].cost == 3 * (0.7 * 450)
    assert tally.figures(10.0).cost == math.fsum(row.cost for row in rows.values())


def test_duplicates_cost_nothing_and_neither_do_senders_without_a_price() -> None:
    tally = Tally(run_of(10, 0.0), 0.0)
    tell(tally, FREE, 1, [0, 1], [Outcome.SENT, Outcome.FAILED], 1.0)
    assert tally.figures(1.0).cost == 0
    tell(tally, DEAR, 1, [0, 1, 2], [Outcome.SENT, Outcome.SENT, Outcome.SENT], 2.0)
    assert tally.figures(2.0).cost == 0.7


# ---- Who sees them


def ended(thresholds: Sequence[str]) -> Snapshot:
    run = run_of(200, 0.25, segments=2)
    tally = Tally(run, 0.0)
    tell(tally, CHEAP, 1, range(200), outcomes_of(run, range(200), [False] * 199 + [True]), 5.0)
    figures = tally.figures(5.0, final=True)
    summary = tally.summary(figures, Ending(ExitCode.OK, "done"), [Threshold.parse(one) for one in thresholds])
    return replace(tally.snapshot(figures, 5.0), summary=summary)


def test_a_watcher_sees_the_unreachable_messages_and_the_cost_as_the_monitor_does() -> None:
    made = ended(["unreachable<40%", "cost<1e3", "failed_reachable<1%", "t95_reachable<6s", "t99<1h"])
    seen = snapshot_from_proto(snapshot_to_proto(made))
    assert (seen.as_dict(), seen.reached_reachable_s) == (made.as_dict(), made.reached_reachable_s)
    got = seen.as_dict()
    assert got["unreachable"] == missing(run_of(200, 0.25)).sum() > 30
    assert (got["reached_s"]["95"], got["reached_reachable_s"]["95"]) == (None, 5.0)
    assert got["cost"] == got["sender_rows"][0]["cost"] > 0
    assert [one["passed"] for one in got["thresholds"]] == [True, True, True, True, False]
    assert watching.response_from_proto(snapshot_to_proto(made))[0].figures == made.figures


def test_a_goal_for_the_reachable_is_of_those_alone() -> None:
    assert made_value("failed_reachable<0.6%") == (1, False)  # 1 of about 150, not of 200
    assert made_value("failed_reachable<1")[1] is False


def made_value(text: str) -> tuple[float | None, bool]:
    summary = ended([text]).summary
    assert summary is not None
    return summary.thresholds[0].value, summary.thresholds[0].passed
