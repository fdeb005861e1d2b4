"""Real processes, mostly at full speed: killed, paused, cut off, with a full disk. The count stays exact."""

from __future__ import annotations

import re
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest
from faults_support import LANES, MEAN_S, Rehearsal, Wire, await_connections
from processes_support import Node, Nodes, assert_conserved, assert_exact, assert_quiet, eventually

from smssim.core.limits import LIMITS
from smssim.errors import ExitCode

COUNT = 700_000  # two seconds without faults
SATURATING_LANES = 50_000  # of each of two senders, at 10 ms: more than any machine can serve


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


# -- killed and restarted with the same journal


@pytest.mark.parametrize("draw", range(3))
def test_the_count_is_exact_after_nodes_are_killed_and_restarted_at_random_moments(
    nodes: Nodes, tmp_path: Path, random: Random, draw: int
) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT, "--max-attempts=2")
    run.start()
    rounds = [["producer"], ["monitor"], ["a"], random.sample(["producer", "monitor", "a", "b"], 2 + draw)]
    random.shuffle(rounds)
    for moment, them in zip(run.moments(random, len(rounds)), rounds, strict=True):
        run.until(moment)
        run.kill(*them)
        for who in random.sample(them, len(them)):
            run.launch(who)
    last = run.assert_ends_exactly()
    assert last["retried"] > 0
    assert run.current["producer"].record("ready")["resumed"]
    assert run.current["producer"].record("ready")["elapsed_s"] > 0
    assert run.current["monitor"].record("ready")["resumed"]


def test_the_count_is_exact_after_kills_with_more_lanes_than_the_machine_can_serve(
    nodes: Nodes, tmp_path: Path, random: Random
) -> None:
    """As many messages a second as the machine allows, with frames, reports and commits of maximum size."""
    run = Rehearsal(nodes, tmp_path, 6_000_000, lanes=SATURATING_LANES)
    run.start()
    victims = random.sample(["a", "producer", "monitor"], 3)
    for moment, who in zip(run.moments(random, 3), victims, strict=True):
        run.until(moment)
        run.kill(who)
        if who == "a":  # the other sender finishes the run, perhaps before a third one can start
            del run.current["a"]
        else:
            run.launch(who)
    run.assert_ends_exactly()


def test_killing_the_producer_costs_only_duplicates_of_leased_or_unsaved_messages(nodes: Nodes, tmp_path: Path) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT)
    run.start()
    run.until(COUNT // 3)
    run.kill("producer")
    run.launch("producer")
    a_second = 2 * LANES / MEAN_S  # of both senders
    # In lanes, requested ahead, settled but not saved.
    under_way = 2 * LANES + (LIMITS.ahead_s + LIMITS.save_s) * a_second
    assert 0 < run.assert_ends_exactly()["duplicates"] <= under_way


def test_a_killed_run_command_finishes_its_run_when_it_is_started_again(nodes: Nodes, tmp_path: Path) -> None:
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


def test_a_monitor_that_restarts_without_a_journal_exits_with_3_instead_of_a_wrong_total(
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
    run.current["monitor"].says(r"Missed the first reports of sender [ab]\d")
    run.current["monitor"].says(r"the monitor missed the first reports of .* \(monitor minus producer: ")


# -- paused


def test_a_sender_paused_beyond_the_lease_timeout_at_full_speed_costs_only_duplicates(
    nodes: Nodes, tmp_path: Path, random: Random
) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT, "--lease-timeout=1.5")
    run.start("monitor", "producer", "a")
    (moment,) = run.moments(random, 1)
    run.until(moment)
    run.pause("a")
    run.launch("b")
    run.current["producer"].says("a1: no request for 1.5 s")
    run.go_on("a")
    assert run.assert_ends_exactly()["duplicates"] > 0
    run.current["a"].says("Reconnected to producer .* after")


def test_pauses_beyond_every_timeout_cost_only_duplicates_of_what_a_paused_sender_had(
    nodes: Nodes, tmp_path: Path, random: Random
) -> None:
    """Each pause is about 20 s: twice the report timeout, many times the lease timeout. They run at the same time."""
    runs: dict[str, Rehearsal] = {}
    for who in ("producer", "monitor", "a"):
        (tmp_path / who).mkdir()
        run = runs[who] = Rehearsal(nodes, tmp_path / who, 700, "--lease-timeout=1.5")
        run.words |= {
            "a": ["--mean=2", "--concurrency=100"],
            "b": ["--mean=0.5", "--concurrency=5"],
            "monitor": ["--interval=1"],
        }
        run.start()
    for who, run in runs.items():
        run.until(random.randrange(30, 150))
        run.pause(who)
    runs["a"].current["producer"].says("a1: no request for 1.5 s")
    for sender in ("a", "b"):
        runs["monitor"].current[sender].says("Still waiting for monitor .*Deadline Exceeded")
    for who, run in runs.items():
        run.go_on(who)
    ends = {who: run.assert_ends_exactly() for who, run in runs.items()}

    assert ends["a"]["duplicates"] > 0  # the other sender got its messages
    runs["a"].current["a"].says("Reconnected to producer .* after")
    assert ends["monitor"]["duplicates"] == 0  # the same reports are sent again until they are answered
    for sender in ("a", "b"):
        runs["monitor"].current[sender].says("Reconnected to monitor .* after")
    assert ends["producer"]["duplicates"] == 0  # it does not mistake its own pause for silence of senders
    assert not any("no request for" in line for line in runs["producer"].current["producer"].err)


# -- cut off


def test_the_count_is_exact_after_connections_are_cut_and_slowed_at_random_moments(
    nodes: Nodes, wire: Wire, tmp_path: Path, random: Random
) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT)
    to_producer, to_monitor = wire.to(run.producer_at), wire.to(run.monitor_at)
    run.producer_for_senders, run.monitor_for_senders = to_producer.address, to_monitor.address
    run.start()
    cuts = [[to_producer], [to_monitor], [to_producer, to_monitor], []]
    random.shuffle(cuts)
    for moment, ways in zip(run.moments(random, len(cuts)), cuts, strict=True):
        run.until(moment)
        for way in ways:
            before = way.connections
            wire.do(way.cut)
            await_connections(way, before + 2)  # each sender has reconnected
        if not ways:
            to_producer.delay_s = to_monitor.delay_s = 0.003
            eventually(lambda: to_producer.delayed and to_monitor.delayed, "a slow connection")
    run.assert_ends_exactly()


def test_senders_stalled_beyond_the_lease_timeout_lose_their_messages_and_reconnect(
    nodes: Nodes, wire: Wire, tmp_path: Path, random: Random
) -> None:
    run = Rehearsal(nodes, tmp_path, 10_000, "--lease-timeout=1.5", lanes=10)
    way = wire.to(run.producer_at)
    run.producer_for_senders = way.address
    run.start()
    for times, moment in enumerate(run.moments(random, 2), 1):
        run.until(moment)
        eventually(lambda: all(map(run.has_joined, ("a1", "b2"))), "streams of both senders")
        wire.do(way.stall)
        for sender in ("a1", "b2"):
            run.current["producer"].says(f"{sender}: no request for 1.5 s", times)
            run.current["producer"].says(f"{sender} left", times)
        wire.do(way.flow)
    run.assert_ends_exactly()
    for sender in ("a", "b"):
        run.current[sender].says("Reconnected to producer .* after", 2)


def test_reports_with_lost_answers_are_repeated_and_counted_once(
    nodes: Nodes, wire: Wire, tmp_path: Path, random: Random
) -> None:
    """The monitor recognises a report that it has on record and answers it again, so there are no duplicates.

    Reports are small, so that they arrive whole although no bytes come back to open the flow-control window.
    """
    run = Rehearsal(nodes, tmp_path, 60_000, lanes=100, mean_s=0.02)
    way = wire.to(run.monitor_at)
    run.monitor_for_senders = way.address
    for who in ("monitor", "a", "b"):
        run.words[who].append("--log-level=debug")
    run.start()

    def arrived(sender: str) -> list[int]:
        return numbers(run.current["monitor"], rf"report (\d+) of sender {sender}\d ")

    def lose_answers(times: int) -> None:
        wire.do(way.stall_answers)
        run.await_figures(2)  # time to process the answers that have passed
        eventually(lambda: all(has_unanswered(sender) for sender in "ab"), "reports on record without an answer")
        wire.do(way.cut)
        wire.do(way.flow)
        eventually(lambda: all(repeats(sender) >= times for sender in "ab"), "the same reports again")

    def has_unanswered(sender: str) -> bool:
        answered = numbers(run.current[sender], r"Report (\d+) recorded")
        return max(arrived(sender), default=0) > max(answered, default=0)

    def repeats(sender: str) -> int:
        return len(arrived(sender)) - len(set(arrived(sender)))

    for times, moment in enumerate(run.moments(random, 3), 1):
        run.until(moment)
        lose_answers(times)
    assert run.assert_ends_exactly()["duplicates"] == 0


def numbers(node: Node, pattern: str) -> list[int]:
    """Return the numbers in the lines of a node's log that match."""
    return [int(match[1]) for line in node.err if (match := re.search(pattern, line))]


# -- a full disk


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set with prlimit")
@pytest.mark.parametrize("who", ["monitor", "producer"])
def test_a_node_with_a_full_disk_exits_with_3_and_loses_nothing(nodes: Nodes, tmp_path: Path, who: str) -> None:
    run = Rehearsal(nodes, tmp_path, COUNT)
    run.start()
    run.until(COUNT // 4)
    full = run.current[who]
    if sys.platform == "linux":
        resource.prlimit(full.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    assert full.code() == ExitCode.INCOMPLETE
    refused = [line for line in full.err if re.search(r"smssim \w+: journal \S+: can't be written: the disk", line)]
    assert refused == full.err[-1:]
    run.launch(who)  # the same command, without the limit
    run.assert_ends_exactly()


# -- refused


def test_an_unusable_journal_is_refused_in_one_line_with_exit_code_2(nodes: Nodes, tmp_path: Path) -> None:
    there = f"--journal={tmp_path / 'a.journal'}"
    first = nodes.start("producer", "--listen=127.0.0.1:0", "--count=50", "--seed=7", there)
    run_id = first.record("ready")["run_id"]
    wrong = {
        "in use by another process": nodes.start("producer", "--listen=127.0.0.1:0", "--count=50", there),
        "got the journal of a producer": nodes.start("monitor", "--listen=127.0.0.1:0", there),
    }
    for said, node in wrong.items():
        assert node.code() == ExitCode.USAGE
        assert len(node.err) == 1
        assert said in node.err[0]
    first.signal(SIGKILL)
    first.wait()
    others = {
        "--count: got 60; expected 50, the value in journal": ["--count=60"],
        "--seed: got 8; expected 7, the value in journal": ["--count=50", "--seed=8"],
        "--max-attempts: got 2; expected 1, the value in journal": ["--count=50", "--max-attempts=2"],
    }
    for said, words in others.items():
        node = nodes.start("producer", "--listen=127.0.0.1:0", there, *words)
        assert node.code() == ExitCode.USAGE
        assert len(node.err) == 1
        assert said in node.err[0]
    again = nodes.start("producer", "--listen=127.0.0.1:0", "--count=50", there)
    resumed = again.record("ready")
    assert [resumed[name] for name in ("run_id", "seed", "total", "resumed")] == [run_id, 7, 50, True]
    again.says("Resumed: 0 settled")  # for people
    again.signal(signal.SIGTERM)
    assert again.code() == ExitCode.INCOMPLETE
    assert_quiet(again)
