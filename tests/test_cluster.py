"""`smssim run`: a whole run in processes of its own, whatever ends it; none of them outlives it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

import pytest
from processes_support import Figures, Node, Nodes, assert_conserved, assert_exact, assert_quiet, eventually

from smssim.errors import ExitCode

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
    """The process of one node of this kind, if there is one."""
    for pid in nodes.left():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if words[1:4] == ["-m", "smssim", kind]:
            return pid
    return None


def kill(nodes: Nodes, kind: str) -> None:
    """Kills a node of this kind, as soon as there is one."""
    os.kill(eventually(lambda: node_of(nodes, kind), f"a {kind}"), SIGKILL)


def at_work(run: Node) -> Figures:
    """The first figures with messages done."""
    return run.shows(lambda f: f["sent"] > 10, "messages sent")


def assert_nothing_left(nodes: Nodes) -> None:
    eventually(lambda: not nodes.left(), "the end of all processes")


# -- to the end


def test_equal_runs_end_with_0_and_equal_counts_and_leave_nothing(nodes: Nodes) -> None:
    def one_run() -> tuple[int, int, int]:
        fleet = ("--sender=mean=0.05,fail=0.3,copies=3", "--sender=mean=0.05,fail=0.3,name=other")
        run = a_run(nodes, "--json", "--count=200", "--max-attempts=2", *fleet)
        assert run.code() == ExitCode.OK
        assert nodes.left() == []
        last = assert_exact(run, 200)
        assert_conserved(run.figures())
        assert (last["senders_seen"], last["duplicates"]) == (4, 0)
        run.says(r"run: 200 messages, seed 7, 2 senders$")
        assert_quiet(run)
        return last["sent"], last["failed"], last["retried"]

    assert one_run() == one_run()


def test_with_json_a_missed_threshold_is_said_on_stderr_with_its_value(nodes: Nodes) -> None:
    run = a_run(nodes, "--json", "--count=20", "--sender=mean=0.01,fail=1", "--threshold=failed<5%")
    assert run.code() == ExitCode.THRESHOLD
    run.says(r"run: the monitor ended with exit code 5$")
    run.says(r"monitor: threshold missed: failed<5% was 100%$")


@pytest.mark.parametrize("log_level", ["info", "debug"])
def test_a_threshold_that_takes_a_count_for_a_share_is_warned_of_once(nodes: Nodes, log_level: str) -> None:
    run = a_run(
        nodes, "--json", "--count=5", "--sender=mean=0.01,fail=0", "--threshold=failed<0.05", f"--log-level={log_level}"
    )
    assert run.code() == ExitCode.OK
    run.says(r"--threshold failed<0.05: failed is a number of messages; for a share of all, write failed<5%$")
    assert sum("is a number of messages" in line for line in run.err) == 1


def test_a_run_ends_with_a_summary_that_adds_up(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=50", "--sender=mean=0.01,fail=0.2,concurrency=5")
    assert run.code() == ExitCode.OK
    said = "\n".join(run.out)
    assert re.search(r"^run [0-9a-f-]{36}: complete after ", said, re.MULTILINE)
    sent, failed = map(int, re.search(r"50 = (\d+) sent \+ (\d+) failed \+ 0 in flight \+ 0 waiting", said).groups())  # type: ignore[union-attr]
    assert sent + failed == 50
    assert "the producer's book and the monitor's ledger agree" in said


def test_a_run_of_nothing_ends_in_order_whoever_comes_too_late(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=0", "--json", *["--sender=mean=0.1"] * 3)
    assert run.code() == ExitCode.OK
    assert nodes.left() == []
    assert assert_exact(run, 0)["attempts"] == 0
    assert len(run.err) == 1  # nobody had to be killed
    assert_quiet(run)


def test_variables_for_nodes_are_not_for_those_of_a_run(nodes: Nodes) -> None:
    others = {"SMSSIM_SENDER_FAIL": "7", "SMSSIM_MONITOR_LINGER": "true", "SMSSIM_PRODUCER_COUNT": "99"}
    run = nodes.start("run", "--json", "--sender=mean=0.01", SMSSIM_RUN_COUNT="5", **others)
    assert run.code() == ExitCode.OK
    assert_exact(run, 5)


# -- interrupted


@pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=lambda number: Signals(number).name)
def test_a_run_that_is_interrupted_winds_up_and_ends_with_3(nodes: Nodes, number: Signals) -> None:
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY}", "--sender=mean=3600")
    at_work(run)
    run.signal(number)
    assert run.code() == ExitCode.INCOMPLETE
    assert nodes.left() == []
    last = run.figures()[-1]
    assert (last["final"], last["complete"], last["in_flight"]) == (True, False, 0)
    assert_conserved(run.figures())
    assert_quiet(run)


@pytest.mark.parametrize("kind", ["monitor", "producer", "sender"])
def test_a_run_that_is_interrupted_while_it_starts_leaves_nothing(nodes: Nodes, kind: str) -> None:
    run = a_run(nodes, FOREVER, f"--sender={BUSY}")
    eventually(lambda: node_of(nodes, kind), f"a {kind}")
    run.signal(SIGINT)
    assert run.code() == ExitCode.INCOMPLETE
    assert nodes.left() == []
    assert_quiet(run)


def test_a_run_that_is_interrupted_twice_ends_at_once_with_130(nodes: Nodes) -> None:
    run = a_run(nodes, FOREVER, "--json", "--sender=mean=8,distribution=fixed")
    run.shows(lambda f: f["in_flight"] > 0, "a message in flight")
    run.signal(SIGINT)
    run.says("stopping")
    run.signal(SIGINT)
    assert run.code() == ExitCode.INTERRUPTED
    assert_nothing_left(nodes)


def test_a_run_that_is_killed_takes_its_nodes_along(nodes: Nodes) -> None:
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY}")
    at_work(run)
    assert len(nodes.left()) == 4
    run.signal(SIGKILL)
    assert run.code() == -SIGKILL
    assert_nothing_left(nodes)


# -- a node that dies

DEATHS = {
    "monitor": (ExitCode.INTERNAL, r"the monitor was ended by SIGKILL"),
    "producer": (ExitCode.INTERNAL, r"the producer was ended by SIGKILL"),
    "sender": (ExitCode.INCOMPLETE, r"alone was ended by SIGKILL"),
}


@pytest.mark.parametrize("moment", ["start", "middle"])
@pytest.mark.parametrize("kind", DEATHS)
def test_the_death_of_a_node_ends_the_run_and_is_told(nodes: Nodes, kind: str, moment: str) -> None:
    code, told = DEATHS[kind]
    run = a_run(nodes, FOREVER, "--json", f"--sender={BUSY},name=alone")
    if moment == "middle":
        at_work(run)
    kill(nodes, kind)
    assert run.code() == code
    assert nodes.left() == []
    run.says(told)
    assert_quiet(run)


def test_one_sender_of_two_may_die(nodes: Nodes) -> None:
    run = a_run(nodes, "--count=200", "--json", f"--sender={BUSY}", f"--sender={BUSY}")
    at_work(run)
    kill(nodes, "sender")
    assert run.code() == ExitCode.OK
    assert nodes.left() == []
    assert_exact(run, 200)
    run.says(r"sender-[12] was ended by SIGKILL")
