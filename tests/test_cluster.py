"""`smssim run`: a whole run in child processes. However it ends, none of them outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGTERM, SIGTSTP, Signals
from typing import Any

import pytest
from nodes_support import Stage, codes, play, until
from processes_support import Figures, Node, Nodes, assert_conserved, assert_exact, assert_quiet, eventually

from smssim.errors import ExitCode, SmssimError
from smssim.launch.cluster import Cluster
from smssim.launch.limits import LaunchLimits
from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, RunSettings, SenderSettings, flags_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")

BUSY = "mean=0.1,concurrency=10"  # a sender of 100 messages a second
FOREVER = "--count=1e6"


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


def a_run(nodes: Nodes, *words: str) -> Node:
    return nodes.start("run", "--interval=0.1", "--seed=7", *words)


def node_of(nodes: Nodes, kind: str) -> int | None:
    """Return the process id of a node of this kind, if there is one."""
    for pid in nodes.left():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if words[1:4] == ["-m", "smssim", kind]:
            return pid
    return None


def kill(nodes: Nodes, kind: str) -> None:
    """Kill a node of this kind, as soon as there is one."""
    os.kill(eventually(lambda: node_of(nodes, kind), f"a {kind}"), SIGKILL)


def at_work(run: Node) -> Figures:
    """Wait for the first figures with sent messages; return them."""
    return run.shows(lambda f: f["sent"] > 10, "messages sent")


def assert_nothing_left(nodes: Nodes) -> None:
    eventually(lambda: not nodes.left(), "the end of all processes")


# -- to the end


def test_equal_runs_exit_with_0_and_equal_counts_and_leave_no_process(nodes: Nodes) -> None:
    copies = "--sender=mean=0.05,fail=0.3,limit=38,concurrency=9,copies=2"  # each has a bucket of its own
    fleet = (copies, "--sender=mean=0.05,fail=0.3,limit=40,concurrency=9,name=other")
    ends = []
    for run in [a_run(nodes, "--json", "--count=250", "--max-attempts=2", *fleet) for _ in range(2)]:
        assert run.code() == ExitCode.OK
        last = assert_exact(run, 250)
        assert_conserved(run.figures())
        assert (last["senders_seen"], last["duplicates"]) == (3, 0)
        run.says(r"run: Sending 250 messages with 2 senders, seed 7$")
        assert_quiet(run)
        assert last["attempts"] <= 3 + (2 * 38 + 40) * last["elapsed_s"]
        ends.append([last[name] for name in ("sent", "failed", "retried")])
    assert ends[0] == ends[1]
    assert nodes.left() == []


@pytest.fixture(scope="module")
def missed() -> Iterator[Node]:
    """Yield a run that has ended and missed its thresholds."""
    with Nodes() as nodes:
        thresholds = ("--threshold=failed<5%", "--threshold=failed<0.05")
        run = a_run(nodes, "--json", "--count=20", "--sender=mean=0.01,fail=1", *thresholds)
        assert run.code() == ExitCode.THRESHOLD
        yield run


def test_with_json_a_missed_threshold_is_logged_on_stderr_with_its_value(missed: Node) -> None:
    missed.says(r"run: Monitor exited with code 5$")
    missed.says(r"monitor: Threshold missed: failed<5% was 100%$")


WARNING = r"--threshold failed<0.05: failed is a number of messages; for a share of all, write failed<5%$"


def test_a_threshold_that_confuses_a_count_with_a_share_causes_one_warning(missed: Node) -> None:
    assert sum(re.search(WARNING, line) is not None for line in missed.err) == 1


@pytest.fixture(scope="module")
def debugged() -> Iterator[Node]:
    """Yield a run at level debug that has ended, with variables for its own count and for those of single nodes."""
    with Nodes() as nodes:
        run = nodes.start(
            *("run", "--json", "--sender=mean=0.01,fail=0", "--threshold=failed<0.05", "--log-level=debug"),
            SMSSIM_RUN_COUNT="5",
            SMSSIM_SENDER_FAIL="7",
            SMSSIM_MONITOR_LINGER="true",
            SMSSIM_PRODUCER_COUNT="99",
        )
        assert run.code() == ExitCode.OK
        yield run


def test_at_level_debug_a_warning_of_a_node_still_appears_only_once(debugged: Node) -> None:
    assert sum(re.search(WARNING, line) is not None for line in debugged.err) == 1


def test_nodes_of_a_run_ignore_the_variables_for_single_nodes(debugged: Node) -> None:
    assert_exact(debugged, 5)


def test_a_run_ends_with_a_summary_that_adds_up(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=50", "--sender=mean=0.01,fail=0.2,concurrency=5")
    assert run.code() == ExitCode.OK
    said = "\n".join(run.out)
    assert re.search(r"^run [0-9a-f-]{36}: complete after ", said, re.MULTILINE)
    sent, failed = map(int, re.search(r"50 = (\d+) sent \+ (\d+) failed \+ 0 in flight \+ 0 waiting", said).groups())  # type: ignore[union-attr]
    assert sent + failed == 50
    assert "the producer and the monitor agree" in said


def test_a_run_of_0_messages_ends_in_order_even_if_senders_are_late(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=0", "--json", *["--sender=mean=0.1"] * 2)
    assert run.code() == ExitCode.OK
    assert nodes.left() == []
    assert assert_exact(run, 0)["attempts"] == 0
    assert not any("Killing" in line or "exited" in line for line in run.err)
    assert_quiet(run)


def test_a_run_logs_how_to_watch_it(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=100", "--json", f"--sender={BUSY}")
    watcher = nodes.start("watch", run.says(r"To watch from another terminal, run: smssim watch (\S+)$")[1], "--json")
    assert (run.code(), watcher.code()) == (ExitCode.OK, ExitCode.OK)
    assert watcher.figures()[-1] == run.figures()[-1]


def test_a_short_run_beside_a_busy_process_exits_with_0_and_logs_nothing() -> None:
    """Run `scripts/repeat_runs.py`."""
    script = Path(__file__).parent.parent / "scripts" / "repeat_runs.py"
    words = [sys.executable, str(script), "--runs=1", "--busy=1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 of 1 runs passed" in done.stdout


# -- interrupted


def test_an_interrupted_run_drains_and_exits_with_3(nodes: Nodes) -> None:
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY}", "--sender=mean=3600")
    at_work(run)
    run.signal(SIGINT)
    assert run.code() == ExitCode.INCOMPLETE
    assert nodes.left() == []
    last = run.figures()[-1]
    assert (last["final"], last["complete"], last["in_flight"]) == (True, False, 0)
    assert_conserved(run.figures())
    assert_quiet(run)


@pytest.mark.parametrize(("kind", "number"), [("monitor", SIGINT), ("producer", SIGTERM), ("sender", SIGTERM)])
def test_a_run_that_is_interrupted_while_it_starts_leaves_no_process(nodes: Nodes, kind: str, number: Signals) -> None:
    run = a_run(nodes, FOREVER, f"--sender={BUSY}")
    eventually(lambda: node_of(nodes, kind), f"a {kind}")
    run.signal(number)
    assert run.code() == ExitCode.INCOMPLETE
    assert nodes.left() == []
    assert_quiet(run)


def test_a_run_that_is_stopped_while_a_node_hangs_at_its_start_exits_with_3(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The monitor hangs because it reads its token from a pipe that has no writer."""
    token = tmp_path / "token"
    os.mkfifo(token)
    access: dict[str, Any] = {"listen": FREE_ADDRESS, "token_file": str(token)}
    settings = RunSettings(ProducerSettings(**access), MonitorSettings(**access, json=True), (SenderSettings(),))

    async def scene() -> int:
        stop = asyncio.Event()
        run = asyncio.create_task(Cluster(settings, LaunchLimits(left_over_s=0.3)).serve(stop))
        while (writing := opened(token)) is None:  # noqa: ASYNC110 - no event announces a reader
            await asyncio.sleep(0.01)
        stop.set()
        code = await run
        os.close(writing)
        return code

    assert play(scene()) == ExitCode.INCOMPLETE
    assert "run: Killing monitor: it did not exit within 0.3 s" in caplog.messages


def opened(pipe: Path) -> int | None:
    """Return a descriptor for writing to this pipe, or None while it has no reader."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_run_that_is_interrupted_twice_exits_at_once_with_130(nodes: Nodes) -> None:
    run = a_run(nodes, FOREVER, "--json", "--sender=mean=8,distribution=fixed")
    run.shows(lambda f: f["in_flight"] > 0, "a message in flight")
    run.signal(SIGINT)
    run.says("Stopping")
    run.signal(SIGINT)
    assert run.code() == ExitCode.INTERRUPTED
    assert_nothing_left(nodes)


def state_of(pid: int) -> str:
    """Return the state of a process as ps shows it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_z_stops_the_nodes_of_a_run_too_and_loses_nothing() -> None:
    """The run has its own process group but is in our session, like a job of a shell, so that it can be continued."""
    words = [sys.executable, "-m", "smssim", "run", "--count=150", "--json", "--interval=0.1", f"--sender={BUSY}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as run:
        assert run.stdout is not None
        while json.loads(run.stdout.readline())["sent"] < 10:
            pass
        nodes = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        processes = [run.pid, *map(int, nodes)]
        assert len(processes) == 4
        run.send_signal(SIGTSTP)
        eventually(lambda: {state_of(pid) for pid in processes} == {"T"}, "a stop of all processes")
        run.send_signal(SIGCONT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == ExitCode.OK, err
    last = json.loads(out.splitlines()[-1])
    assert (last["complete"], last["sent"] + last["failed"], last["duplicates"]) == (True, 150, 0)


def test_the_nodes_of_a_killed_run_end_too(nodes: Nodes) -> None:
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY}")
    at_work(run)
    assert len(nodes.left()) == 4
    run.signal(SIGKILL)
    assert run.code() == -SIGKILL
    assert_nothing_left(nodes)


# -- what is done beside a run


async def failing(error: Exception) -> None:
    raise error


def test_an_error_of_what_is_done_beside_a_run_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        cluster = Cluster(RunSettings(ProducerSettings(), MonitorSettings()))
        async with cluster._beside(failing(SmssimError("lost the monitor"))):
            await until(lambda: "run: lost the monitor" in caplog.messages)

    play(scene())


def test_a_bug_in_what_is_done_beside_a_run_is_raised_after_the_run() -> None:
    async def scene() -> None:
        cluster = Cluster(RunSettings(ProducerSettings(), MonitorSettings()))
        async with cluster._beside(failing(TypeError("a planted bug"))):
            done.append("the run")

    done: list[str] = []
    with pytest.raises(TypeError, match="a planted bug"):
        play(scene())
    assert done == ["the run"]


# -- a node that dies

DEATHS = {
    "monitor": (ExitCode.INTERNAL, r"Monitor was terminated by SIGKILL"),
    "producer": (ExitCode.INTERNAL, r"Producer was terminated by SIGKILL"),
    "sender": (ExitCode.INCOMPLETE, r"Sender alone was terminated by SIGKILL"),
}


@pytest.mark.parametrize("moment", ["start", "middle"])
@pytest.mark.parametrize("kind", DEATHS)
def test_a_run_ends_with_a_reason_when_its_only_node_of_a_kind_dies(nodes: Nodes, kind: str, moment: str) -> None:
    code, told = DEATHS[kind]
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY},name=alone")
    if moment == "middle":
        at_work(run)
    kill(nodes, kind)
    assert run.code() == code
    assert nodes.left() == []
    run.says(told)
    assert_quiet(run)


def test_a_run_survives_the_death_of_one_of_two_senders(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=120", "--json", f"--sender={BUSY}", f"--sender={BUSY}")
    at_work(run)
    kill(nodes, "sender")
    assert run.code() == ExitCode.OK
    assert nodes.left() == []
    assert_exact(run, 120)
    run.says(r"Sender sender-[12] was terminated by SIGKILL")


# -- full disks


def test_a_run_that_can_not_write_its_journals_logs_why_and_exits_with_3(nodes: Nodes, tmp_path: Path) -> None:
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY}", f"--journal={tmp_path}")
    at_work(run)
    monitor = node_of(nodes, "monitor")
    assert monitor is not None
    resource.prlimit(monitor, resource.RLIMIT_FSIZE, (4096, 4096))
    assert run.code() == ExitCode.INCOMPLETE
    run.says(r"monitor.journal: .*; fix this and restart to resume")
    assert nodes.left() == []


FILES = ("csv", "summary_json", "failed", "record")


@pytest.mark.parametrize("file", FILES)
def test_a_monitor_that_can_not_write_a_file_exits_with_3_after_a_complete_run(file: str) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(json=True, **{file: "/dev/full"})
            producer = await stage.producer(20, monitor=monitor.address)
            sender = stage.sender(producer.address)
            assert await codes(sender, producer, monitor) == [0, 0, ExitCode.INCOMPLETE]
            assert monitor.final(producer.run.run_id).complete

    play(scene())


def test_a_run_logs_each_file_that_can_not_be_written(nodes: Nodes) -> None:
    flags = [flags_of(MonitorSettings)[file].name for file in FILES]
    run = a_run(nodes, "--json", "--count=20", "--sender=mean=0.01", *(f"{flag}=/dev/full" for flag in flags))
    assert run.code() == ExitCode.INCOMPLETE
    assert_exact(run, 20)
    for flag in flags:
        run.says(rf"monitor: {flag}: stopped writing to /dev/full.*[Nn]o space left on device")
    assert_quiet(run)


def test_a_refused_run_leaves_no_record_that_would_block_the_next_one(nodes: Nodes, tmp_path: Path) -> None:
    journal, record = tmp_path / "journal", tmp_path / "outcomes.parquet"
    journal.mkdir()
    (journal / "producer.journal").write_text("something else")
    run = a_run(nodes, "--count=20", f"--journal={journal}", f"--record={record}")
    assert run.code() == ExitCode.USAGE
    assert not record.exists()
    run.says("producer.journal: not a journal of smssim")


def test_a_resumed_run_keeps_the_contents_of_its_files(nodes: Nodes, tmp_path: Path) -> None:
    """After SIGKILL, the CSV gets more rows, the record continues in a new file, and the list is written again."""
    csv, record, failed = tmp_path / "figures.csv", tmp_path / "outcomes.parquet", tmp_path / "failed.csv"
    failed.write_text("of an earlier run")
    words = ("--count=200", "--json", f"--sender={BUSY}", f"--journal={tmp_path / 'journal'}")
    files = (f"--csv={csv}", f"--record={record}", f"--failed={failed}")
    first = a_run(nodes, *words, *files)
    at_work(first)
    assert failed.read_text() == ""
    first.signal(SIGKILL)
    first.code()
    assert_nothing_left(nodes)
    record.write_bytes(b"PAR1 and no more")
    with csv.open("a") as torn:
        torn.write("half a r")
    before = csv.read_text().rpartition("\n")[0]
    second = a_run(nodes, *words, *files)
    assert second.code() == ExitCode.OK
    assert_exact(second, 200)
    rows = csv.read_text()
    assert rows.startswith(before + "\n")
    assert {line.count(",") for line in rows.splitlines()} == {before.splitlines()[0].count(",")}
    assert rows.count("run_id") == 1
    assert record.read_bytes() == b"PAR1 and no more"
    assert (tmp_path / "outcomes.2.parquet").stat().st_size > 100
    assert failed.read_text().startswith("message_id,")
