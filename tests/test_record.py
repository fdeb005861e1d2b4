"""Files about single messages: the record of all outcomes, the trace of one message, the list of undelivered ones."""

from __future__ import annotations

import asyncio
import builtins
import csv
import errno
import logging
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from nodes_support import Stage, assert_exact, codes, play
from processes_support import Nodes
from processes_support import assert_exact as assert_run_exact

from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.limits import LIMITS, Limits
from smssim.core.message import Phones, Writer
from smssim.core.model import Outcome, RunFacts
from smssim.core.reach import Reach
from smssim.errors import UsageError
from smssim.outputs import trace, undelivered
from smssim.outputs.record import COLUMNS, Recorder, place
from smssim.settings import TraceSettings

RUN = RunFacts("7d3f1a52-94a3-4b8e-9c53-8a3f1e0a6d11", 7, 1_000_000, 3)
LOG = logging.LoggerAdapter(logging.getLogger("smssim"))


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


def finished(ids: Any, outcome: Outcome = Outcome.SENT, attempt: int = 1) -> Finished:
    """Return attempts of these messages, all with this outcome."""
    ids = np.asarray(ids, np.int64)
    times = np.full(len(ids), 0.5, np.float32)
    return Finished(ids, np.full(len(ids), attempt, np.uint8), np.full(len(ids), outcome, np.uint8), times, 2 * times)


def recording(path: Path, limits: Limits = LIMITS) -> Recorder:
    """Return a recorder that is open."""
    recorder = Recorder(str(path), LOG, limits=limits)
    recorder.open()
    return recorder


def groups_of(rows: int) -> Limits:
    """Return limits with row groups of this many rows."""
    return replace(LIMITS, record_group_rows=rows)


def written(
    path: Path, *reports: tuple[Finished, Any], run: RunFacts = RUN, sender: str = "one", limits: Limits = LIMITS
) -> None:
    """Write a record of these reports; each comes with which of its outcomes count."""

    async def write() -> None:
        recorder = recording(path, limits)
        for second, (some, counts) in enumerate(reports):
            await recorder.ready()
            recorder.outcomes(run, sender, some, np.broadcast_to(np.asarray(counts, bool), len(some)), float(second))
        assert await recorder.close()

    asyncio.run(write())


def rows(path: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return listed


def one_line(error: UsageError) -> str:
    assert str(error).isprintable()
    return str(error)


# -- the record


def test_a_row_has_every_detail_of_an_outcome(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    written(path, (finished([5], Outcome.RETRY), True), (finished([5], attempt=2), True), sender="a\u00e9")
    phone = Writer(RUN.seed, RUN.total).stretch(5, 6).phone_numbers.decode()
    common = {"run_id": RUN.run_id, "message_id": 5, "phone_number": phone, "sender": "a\u00e9"}
    times = {"duration_s": 0.5, "latency_s": 1.0}
    assert rows(path) == [
        {**common, "attempt": 1, "outcome": "retry", **times, "at_s": 0.0},
        {**common, "attempt": 2, "outcome": "sent", **times, "at_s": 1.0},
    ]
    assert tuple(pq.read_schema(path).names) == COLUMNS


def test_a_duplicate_is_marked_and_a_late_retry_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    written(
        path,
        (finished([1, 2, 3]), True),
        (finished([3, 4], Outcome.FAILED), [False, True]),
        (finished([1, 5], Outcome.RETRY), [False, True]),
    )
    assert [(row["message_id"], row["outcome"]) for row in rows(path)] == [
        *((1, "sent"), (2, "sent"), (3, "sent"), (3, "duplicate"), (4, "failed"), (5, "retry")),
    ]


def test_row_groups_are_written_during_the_run(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    written(path, *((finished(np.arange(400 * i, 400 * (i + 1))), True) for i in range(10)), limits=groups_of(1000))
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [1200, 1200, 1200, 400]


def test_reports_wait_while_the_queue_of_the_recorder_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.parquet"

    async def write() -> None:
        recorder = recording(path, replace(groups_of(100), record_queued_max=500))
        go_on = asyncio.Event()
        loop = asyncio.get_running_loop()
        write_group = recorder._write_group

        def slow(writer: Any, group: Any) -> None:
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            write_group(writer, group)

        monkeypatch.setattr(recorder, "_write_group", slow)
        recorder.outcomes(RUN, "one", finished(np.arange(501)), np.ones(501, bool), 0.0)
        waiting = asyncio.create_task(recorder.ready())
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        go_on.set()
        await waiting
        assert await recorder.close()

    asyncio.run(write())
    assert len(rows(path)) == 501


def test_several_runs_fit_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    other = RunFacts("2d0d84a8-2f1a-4a52-8b67-3cf1f9d3a7f4", 8, 10, 1)

    async def write() -> None:
        recorder = recording(path)
        for run in (RUN, other):
            recorder.outcomes(run, "one", finished([3]), np.ones(1, bool), 0.0)
        assert await recorder.close()

    asyncio.run(write())
    phones = [Writer(run.seed, run.total).stretch(3, 4).phone_numbers.decode() for run in (RUN, other)]
    assert [(row["run_id"], row["phone_number"]) for row in rows(path)] == list(
        zip((RUN.run_id, other.run_id), phones, strict=True)
    )


def test_a_record_without_outcomes_leaves_no_file(tmp_path: Path) -> None:
    written(tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


def test_a_run_that_continues_is_recorded_in_the_next_free_file(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("r.parquet", "r.2.parquet", "r.3.parquet"))
    assert place(str(first), resumes=True) == str(first)
    first.write_bytes(b"PAR1")
    second.touch()  # empty: nothing is lost if it is overwritten
    assert place(str(first), resumes=True) == str(second)
    second.write_bytes(b"PAR1")
    assert place(str(first), resumes=True) == str(third)
    assert place(str(first), resumes=False) == str(first)
    Recorder(str(first), LOG, resumes=True).check()
    assert not third.exists()
    with pytest.raises(UsageError, match="a file that does not exist yet"):
        Recorder(str(first), LOG, resumes=False).check()


def test_an_empty_file_may_become_a_record(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    path.touch()
    Recorder(str(path), LOG).check()
    assert path.exists()
    written(path, (finished([1, 2]), True))
    assert len(rows(path)) == 2


def test_a_full_disk_is_logged_and_ends_only_the_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Recorder, writer: Any, group: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Recorder, "_write_group", full)

    async def write() -> bool:
        recorder = recording(tmp_path / "out.parquet", groups_of(10))
        for _ in range(3):
            recorder.outcomes(RUN, "one", finished(np.arange(20)), np.ones(20, bool), 0.0)
            await recorder.ready()
        return await recorder.close()

    assert asyncio.run(write()) is False
    assert caplog.text.count("which is incomplete: No space left on device") == 1


def test_a_file_that_cannot_be_created_is_refused_in_one_line(tmp_path: Path) -> None:
    there = tmp_path / "out.parquet"
    there.write_text("precious")
    for path in (there, tmp_path, tmp_path / "none" / "out.parquet"):
        assert_refused(path)
    assert list(tmp_path.iterdir()) == [there]
    assert there.read_text() == "precious"


def assert_refused(path: Path) -> None:
    for use in (Recorder(str(path), LOG).check, Recorder(str(path), LOG).open):
        with pytest.raises(UsageError) as caught:
            use()
        assert one_line(caught.value).startswith("--record: got ")


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return find(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for flag, use in (("--record", Recorder(str(tmp_path / "x"), LOG).check), ("trace", lambda: trace.find("x", 1))):
        with pytest.raises(UsageError) as caught:
            use()
        assert one_line(caught.value) == (f"{flag}: pyarrow is not installed: run pip install 'smssim[record]'")
    assert not list(tmp_path.iterdir())


# -- one message


def test_a_trace_shows_each_attempt_of_a_message_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.parquet"
    written(path, (finished([4, 5], Outcome.RETRY), True), (finished([5, 6], attempt=2), True))
    assert trace.serve(TraceSettings(str(path), 5)) == 0
    phone = Writer(RUN.seed, RUN.total).stretch(5, 6).phone_numbers.decode()
    assert capsys.readouterr().out.splitlines() == [
        f"message 5 to {phone}, run {RUN.run_id}",
        "  attempt 1 by one: failed after 500 ms, will be retried; 1.00 s after it was queued, 0.0 s into the run",
        "  attempt 2 by one: sent after 500 ms; 1.00 s after it was queued, 1.0 s into the run",
        "  read 1 of 1 row group",
    ]


def test_a_trace_reads_only_the_row_groups_that_may_contain_the_message(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    retried = (finished([4500], Outcome.RETRY), True)
    groups = ((finished(np.arange(1000 * i, 1000 * (i + 1))), True) for i in range(3))
    written(path, *groups, retried, limits=groups_of(1000))
    found = trace.find(str(path), 1500)
    assert (len(found.rows), found.groups_read, found.groups) == (1, 1, 4)
    assert trace.find(str(path), 4500).groups_read == 1
    assert trace.find(str(path), 999_999).groups_read == 0


def test_a_message_or_file_that_cannot_be_traced_is_refused_in_one_line(tmp_path: Path) -> None:
    good, foreign, text, cut = (tmp_path / name for name in ("good", "foreign", "text", "cut"))
    written(good, (finished([5]), True))
    pq.write_table(pq.read_table(good).drop_columns(["attempt"]), foreign)
    text.write_text("a,b\n1,2\n")
    cut.write_bytes(good.read_bytes()[:-20])
    refused = {}
    for path, message_id in ((good, 6), (foreign, 5), (text, 5), (cut, 5), (tmp_path, 5), (tmp_path / "none", 5)):
        with pytest.raises(UsageError) as caught:
            trace.serve(TraceSettings(str(path), message_id))
        refused[path.name] = one_line(caught.value)
    assert refused["good"] == f"MESSAGE_ID: got 6; expected a message with an outcome in {good}"
    assert "with the columns run_id, message_id" in refused["foreign"]
    assert "expected a file that --record has written" in refused["text"]
    assert "expected a file that --record has written" in refused["cut"]
    assert refused["none"].endswith("No such file or directory")


# -- undelivered messages


def listed(run: RunFacts, ledger: Ledger) -> list[list[str]]:
    header, *lines = csv.reader("".join(undelivered.pieces(run, ledger, LIMITS.lines_at_once)).splitlines())
    assert header == ["message_id", "phone_number", "attempts"]
    return lines


@pytest.mark.parametrize("total", [1, 99_999, 200_000])
def test_the_list_has_the_messages_that_failed_or_have_no_outcome(total: int) -> None:
    """Covers finished, open and untouched stretches, and a list in several pieces."""
    run = RunFacts(RUN.run_id, 7, total, 12)
    ledger, draw = Ledger(total), np.random.default_rng(total)
    outcomes = draw.integers(0, 3, total).astype(np.uint8)  # 0: none
    outcomes[:66_000] = draw.integers(1, 3, min(total, 66_000))  # the first stretches are finished
    outcomes[140_000:] = 0  # and the last ones untouched
    for some in np.array_split(draw.permutation(np.flatnonzero(outcomes)), 7):
        ledger.record(some, outcomes[some])
    text = Writer(7, total).stretch(0, total).phone_numbers.decode()
    assert listed(run, ledger) == [
        [str(i), text[12 * i : 12 * i + 12], "12" if outcomes[i] == Outcome.FAILED else ""]
        for i in np.flatnonzero(outcomes != Outcome.SENT).tolist()
    ]


def test_an_unreachable_message_was_attempted_once_however_many_attempts_are_allowed() -> None:
    run, ledger = RunFacts(RUN.run_id, 7, 1000, 4, 0.3), Ledger(1000)
    ledger.record(np.arange(900), np.full(900, Outcome.FAILED, np.uint8))
    missing = Reach(7, 0.3).missing(np.arange(1000, dtype=np.uint64))
    once = np.where(missing, "1", "4").tolist()
    assert [line[2] for line in listed(run, ledger)] == once[:900] + [""] * 100


def test_an_empty_list_has_only_its_header() -> None:
    ledger = Ledger(3)
    ledger.record(np.arange(3), np.full(3, Outcome.SENT, np.uint8))
    assert listed(RunFacts(RUN.run_id, 7, 3, 1), ledger) == []
    assert listed(RunFacts(RUN.run_id, 7, 0, 1), Ledger(0)) == []


def test_phone_numbers_generated_without_texts_are_those_of_the_messages() -> None:
    draw = np.random.default_rng(3)
    for ids in ([], [0], [4095, 4096, 4095], [10**10 - 1, 5], draw.integers(0, 3_000_000, 5000)):
        column = np.asarray(ids, np.int64)
        expected = Writer(7, 10**10).content(column.view(np.uint64)).phone_numbers
        assert Phones(7).column(column).tobytes() == expected


# -- live


def test_the_record_of_a_run_is_complete_and_agrees_with_its_figures(tmp_path: Path) -> None:
    path, failed = tmp_path / "out.parquet", tmp_path / "failed.csv"

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(record=str(path), failed=str(failed))
            producer = await stage.producer(3000, monitor=monitor.address, max_attempts=3)
            senders = [stage.sender(producer.address, name, fail=0.4, concurrency=40) for name in ("one", "two")]
            assert await codes(producer, monitor, *senders) == [0] * 4
            figures = assert_exact(producer, monitor)
            outcomes = [row["outcome"] for row in rows(path)]
            counted = {name: outcomes.count(name) for name in ("sent", "failed", "retry", "duplicate")}
            assert list(counted.values()) == [figures.sent, figures.failed, figures.retried, figures.duplicates]
            assert figures.failed > 0
            ids = {row["message_id"] for row in rows(path) if row["outcome"] == "failed"}
            lines = failed.read_text().splitlines()[1:]
            assert lines == [
                f"{row['message_id']},{row['phone_number']},3"
                for row in sorted(rows(path), key=lambda row: int(row["message_id"]))
                if row["outcome"] == "failed"
            ]
            assert len(ids) == len(lines)
            # A message that failed for good has used each of its attempts exactly once.
            tried = [(row["message_id"], row["attempt"]) for row in rows(path) if row["message_id"] in ids]
            assert sorted(tried) == [(i, attempt) for i in sorted(ids) for attempt in (1, 2, 3)]

    play(scene())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_a_readable_record_and_a_complete_list(
    nodes: Nodes, tmp_path: Path, number: signal.Signals
) -> None:
    path, failed = tmp_path / "out.parquet", tmp_path / "failed.csv"
    run = nodes.start(
        *("run", "--count=100000", "--sender=mean=0.05,concurrency=20", "--json", "--interval=0.1"),
        *(f"--record={path}", f"--failed={failed}"),
    )
    run.shows(lambda f: f["sent"] > 50, "some messages sent")
    run.signal(number)
    assert run.code() == 3
    last = run.figures()[-1]
    outcomes = [row["outcome"] for row in rows(path)]
    assert (outcomes.count("sent"), outcomes.count("failed")) == (last["sent"], last["failed"])
    lines = failed.read_text().splitlines()[1:]
    assert len(lines) == last["total"] - last["sent"]
    assert sum(line.endswith(",1") for line in lines) == last["failed"]


def test_a_monitor_refuses_a_file_that_cannot_be_written_when_it_starts(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    for flag in (f"--record={tmp_path}/there", f"--record={tmp_path}/none/x", f"--failed={tmp_path}"):
        node = nodes.start("monitor", "--listen=127.0.0.1:0", flag)
        assert node.code() == 2
        assert len(node.err) == 1
        assert node.err[0].startswith(f"smssim monitor: {flag.split('=')[0]}: got /")
    assert (tmp_path / "there").read_text() == "precious"


def test_a_run_passes_both_files_to_its_monitor(nodes: Nodes, tmp_path: Path) -> None:
    run = nodes.start(
        *("run", "--count=200", "--sender=mean=0.01,concurrency=20", "--json"),
        *(f"--record={tmp_path}/out.parquet", f"--failed={tmp_path}/failed.csv"),
    )
    assert run.code() == 0
    last = assert_run_exact(run, 200)
    assert len(rows(tmp_path / "out.parquet")) == 200
    assert len((tmp_path / "failed.csv").read_text().splitlines()) == last["failed"] + 1
