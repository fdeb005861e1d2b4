"""Real processes at full speed: killed, paused, cut off, out of disk, and started again. The end is exact each time."""

from __future__ import annotations

import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
from faults_support import Rehearsal, Wire
from processes_support import Nodes, assert_conserved, assert_exact, assert_quiet

from smssim.errors import ExitCode

COUNT = 700_000  # two seconds, if nothing is in the way


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


# -- killed, and started again with the same journal


@pytest.mark.parametrize("seed", [1])
def test_each_node_killed_at_random_moments_and_restarted_ends_exactly(nodes: Nodes, tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    run = Rehearsal(nodes, tmp_path, COUNT, "--max-attempts=2")
    run.start()
    rounds = [("producer",), ("monitor",), ("a",), ("monitor", "producer"), ("producer", "monitor", "a", "b")]
    random.shuffle(rounds)
    for moment, them in zip(run.moments(random, len(rounds)), rounds, strict=True):
        run.until(moment)
        run.kill(*them)
        for who in random.sample(them, len(them)):
            run.launch(who)
    last = run.assert_ends_exactly()
    assert last["retried"] > 0
    assert run.current["producer"].record("ready")["resumed"]
    assert run.current["monitor"].record("ready")["resumed"]


def test_a_producer_killed_costs_duplicates_and_no_more_than_were_under_way(nodes: Nodes, tmp_path: Path) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT)
    run.start()
    run.until(COUNT // 3)
    run.kill("producer")
    run.launch("producer")
    assert run.assert_ends_exactly()["duplicates"] < COUNT // 3


def test_a_run_command_that_is_killed_finishes_the_run_when_it_is_run_again(nodes: Nodes, tmp_path: Path) -> None:
    total = 200_000
    words = ["run", f"--count={total}", "--json", "--interval=0.1", f"--journal={tmp_path / 'made' / 'here'}"]
    words += ["--sender=mean=0.01,concurrency=1000", "--sender=mean=0.02,concurrency=1000"]
    first = nodes.start(*words)
    run_id = first.shows(lambda f: f["sent"] + f["failed"] >= total // 6, "a sixth done")["run_id"]
    first.signal(SIGKILL)
    first.wait()
    again = nodes.start(*words)
    assert again.code() == 0
    last = assert_exact(again, total)
    assert last["run_id"] == run_id
    assert_conserved(again.figures())
    finished = nodes.start(*words)
    assert finished.code() == 0
    names = ("run_id", "sent", "failed", "attempts", "duplicates", "elapsed_s", "final")
    assert [finished.figures()[-1][name] for name in names] == [last[name] for name in names]


def test_a_monitor_without_a_journal_that_restarts_ends_with_3_instead_of_a_wrong_total(
    nodes: Nodes, tmp_path: Path
) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT)
    run.journaled = False
    run.start()
    run.until(COUNT // 4)
    run.kill("monitor")
    run.launch("monitor")
    assert [run.current[who].code() for who in ("a", "b", "producer")] == [0, 0, 0]
    assert run.current["monitor"].code() == ExitCode.INCOMPLETE
    run.current["monitor"].says(r"missed the first reports of [ab]\d")
    run.current["monitor"].says(r"the monitor missed the first reports of .*: against the producer's book")


# -- paused


def test_each_node_paused_at_random_moments_ends_exactly(nodes: Nodes, tmp_path: Path) -> None:
    """A sender for longer than its lease; what a producer or a monitor misses meanwhile is said again."""
    random = Random(3)
    run = Rehearsal(nodes, tmp_path, COUNT, "--lease-timeout=1.5")
    run.start()
    for moment, who in zip(run.moments(random, 3), random.sample(["producer", "monitor", "a"], 3), strict=True):
        run.until(moment)
        run.current[who].signal(SIGSTOP)
        if who == "a":
            run.current["producer"].says("a1 left")
        else:
            time.sleep(random.uniform(0.3, 1.0))  # the fault itself
        run.current[who].signal(SIGCONT)
    run.assert_ends_exactly()


# -- cut off


@pytest.mark.parametrize("seed", [4])
def test_connections_cut_stalled_and_delayed_at_random_moments_end_exactly(
    nodes: Nodes, wire: Wire, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    run = Rehearsal(nodes, tmp_path, COUNT)
    ways = [wire.to(run.producer_at), wire.to(run.monitor_at)]
    run.producer_for_senders, run.monitor_for_senders = (way.address for way in ways)
    run.start()
    faults = ["cut", "cut", "stall", "delay", "both"]
    random.shuffle(faults)
    for moment, fault in zip(run.moments(random, len(faults)), faults, strict=True):
        run.until(moment)
        way = random.choice(ways)
        if fault in ("stall", "both"):
            wire.do(way.stall)
            time.sleep(random.uniform(0.1, 0.7))  # the fault itself
            wire.do(way.cut if fault == "both" else way.flow)
            wire.do(way.flow)
        elif fault == "delay":
            way.delay_s = 0.003
        else:
            wire.do(way.cut)
    run.assert_ends_exactly()
    assert all(way.connections > 1 for way in ways) or ways[0].connections + ways[1].connections > 3


# -- a disk that takes no more


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set with prlimit")
@pytest.mark.parametrize("who", ["monitor", "producer"])
def test_a_full_disk_ends_a_node_with_3_and_loses_nothing(nodes: Nodes, tmp_path: Path, who: str) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT)
    run.start()
    run.until(COUNT // 4)
    full = run.current[who]
    if sys.platform == "linux":
        resource.prlimit(full.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    assert full.code() == ExitCode.INCOMPLETE
    refused = [line for line in full.err if re.search(r"smssim \w+: journal \S+: can't be written, the disk", line)]
    assert refused == full.err[-1:]
    run.launch(who)  # the same command, with room again
    run.assert_ends_exactly()


# -- refused


def test_a_journal_that_can_not_be_used_is_refused_in_one_line_with_2(nodes: Nodes, tmp_path: Path) -> None:
    there = f"--journal={tmp_path / 'a.journal'}"
    first = nodes.start("producer", "--listen=127.0.0.1:0", "--count=50", "--seed=7", there)
    run_id = first.record("ready")["run_id"]
    wrong = {
        "in use by another process": nodes.start("producer", "--listen=127.0.0.1:0", "--count=50", there),
        "it is that of a producer": nodes.start("monitor", "--listen=127.0.0.1:0", there),
    }
    for said, node in wrong.items():
        assert node.code() == ExitCode.USAGE
        assert len(node.err) == 1
        assert said in node.err[0]
    first.signal(SIGKILL)
    first.wait()
    others = {
        "--count: got 60; takes 50, as the run in the journal": ["--count=60"],
        "--seed: got 8; takes 7, as the run in the journal": ["--count=50", "--seed=8"],
        "--max-attempts: got 2; takes 1, as the run in the journal": ["--count=50", "--max-attempts=2"],
    }
    for said, words in others.items():
        node = nodes.start("producer", "--listen=127.0.0.1:0", there, *words)
        assert node.code() == ExitCode.USAGE
        assert len(node.err) == 1
        assert said in node.err[0]
    again = nodes.start("producer", "--listen=127.0.0.1:0", "--count=50", there)
    resumed = again.record("ready")
    assert [resumed[name] for name in ("run_id", "seed", "total", "resumed")] == [run_id, 7, 50, True]
    again.says("resumed: 0 settled")  # for people
    again.signal(signal.SIGTERM)
    assert again.code() == ExitCode.INCOMPLETE
    assert_quiet(again)
