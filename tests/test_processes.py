"""Nodes as real processes: killed, paused, drained, late, left alone, interrupted. The count stays exact."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import cycle
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM

import pytest
from nodes_support import free_address
from processes_support import Node, Nodes, assert_conserved, assert_exact, assert_quiet

from smssim.core.progress import Figures
from smssim.errors import ExitCode

ENDINGS = (SIGINT, SIGTERM, SIGHUP)  # the signals that end a node in order


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


def codes(*nodes: Node) -> list[int]:
    return [node.code() for node in nodes]


def logged(lines: list[str]) -> int:
    """Return how many messages are in these lines of a sender's log with -v."""
    return sum(": Message " in line for line in lines)


def done(monitor: Node, at_least: int) -> int:
    """Wait until a monitor has counted at least this many messages; return how many it has."""
    monitor.shows(lambda f: f["sent"] + f["failed"] >= at_least, f"{at_least} messages done")
    last = monitor.figures()[-1]
    return int(last["sent"] + last["failed"])


# -- from start to end


def test_separately_started_nodes_find_each_other_and_all_exit_with_0(nodes: Nodes) -> None:
    """In the least convenient order, each node waits for one that starts later, and logs that."""
    there, monitor_address = free_address(), free_address()
    sender = nodes.start("sender", "--mean=0.01", f"--producer={there}", "--name=first")
    sender.says(rf"Waiting for producer {re.escape(there)}")
    producer = nodes.start("producer", "--count=20", f"--listen={there}", f"--monitor={monitor_address}")
    sender.says(rf"Waiting for monitor {re.escape(monitor_address)}")
    monitor = nodes.start("monitor", f"--listen={monitor_address}", "--json", "--interval=0.1")
    assert codes(sender, producer, monitor) == [0, 0, 0]
    assert_exact(monitor, 20)
    assert_quiet(sender, producer, monitor)


def test_json_lines_have_exactly_the_documented_fields_and_the_last_one_is_final(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 300, "--max-attempts=3", "--retry-delay=0.05")
    sender = nodes.sender(producer, "one", "--mean=0.02", "--fail=0.4", "--concurrency=20")
    assert codes(sender, producer, monitor) == [0, 0, 0]
    figures = monitor.figures()
    names = [field.name for field in fields(Figures)]
    last = [*names, "events", "plan_reached_s", "reached_reachable_s"]
    assert [list(one) for one in figures] == [names] * (len(figures) - 1) + [last]
    assert [one["final"] for one in figures] == [False] * (len(figures) - 1) + [True]
    assert figures[0]["avg_time_s"] is None
    assert_conserved(figures)
    assert assert_exact(monitor, 300)["retried"] > 0


def test_a_monitor_keeps_counting_after_the_reader_of_its_output_has_left(nodes: Nodes) -> None:
    reading, writing = os.pipe()
    monitor = nodes.start("monitor", "--listen=127.0.0.1:0", "--interval=0.1", "--json", stdout=writing)
    os.close(writing)
    producer = nodes.producer(monitor, 200)
    sender = nodes.sender(producer, "one", "--mean=0.05", "--concurrency=10")
    with open(reading, encoding="utf-8") as figures:
        assert json.loads(figures.readline())["total"] == 200
    assert codes(sender, producer, monitor) == [0, 0, 0]
    assert_quiet(sender, producer, monitor)


# -- senders that die, pause, leave and join


def test_killing_one_of_three_senders_in_the_middle_of_a_run_loses_nothing(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 1500)
    a, b, c = (nodes.sender(producer, name, "--mean=0.05", "--concurrency=10") for name in "abc")
    monitor.shows(lambda f: f["senders"] == 3 and f["sent"] > 200, "three senders at work")
    b.signal(SIGKILL)
    lost = producer.says(r"Sender b left: (\d+) messages? to redeliver")
    assert int(lost[1]) >= 1
    assert codes(a, b, c, producer, monitor) == [0, -SIGKILL, 0, 0, 0]
    last = assert_exact(monitor, 1500)
    assert last["senders_seen"] == 3
    assert last["duplicates"] <= int(lost[1])  # those that it had reported but not settled
    assert_conserved(monitor.figures())
    assert_quiet(a, c, producer, monitor)


def test_a_sender_paused_beyond_the_lease_timeout_adds_only_duplicates(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 800, "--lease-timeout=1.5")
    sleepy = nodes.sender(producer, "sleepy", "--mean=0.3", "--distribution=fixed", "--concurrency=5")
    monitor.shows(lambda f: f["in_flight"] >= 5, "all lanes busy")
    awake = nodes.sender(producer, "awake", "--mean=0.2", "--concurrency=20")
    monitor.shows(lambda f: f["senders"] == 2 and f["in_flight"] >= 25, "all lanes of both busy")
    sleepy.signal(SIGSTOP)
    lost = int(producer.says(r"Sender sleepy left: (\d+) messages? to redeliver")[1])
    # What was lost goes out first, after what `awake` has: 20 in its lanes and a second of its work ahead.
    done(monitor, at_least=done(monitor, at_least=0) + lost + 150)
    sleepy.signal(SIGCONT)
    assert codes(sleepy, awake, producer, monitor) == [0, 0, 0, 0]
    assert "no request for 1.5 s" in "\n".join(producer.err)
    last = assert_exact(monitor, 800)
    assert last["duplicates"] >= 1
    assert last["attempts"] == 800
    assert_quiet(sleepy, awake, producer, monitor)


def test_a_producer_paused_beyond_the_lease_timeout_does_not_expire_leases_of_live_senders(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 240, "--lease-timeout=1.5")
    sender = nodes.sender(producer, "awake", "--mean=0.2", "--concurrency=20")
    paused_at = monitor.shows(lambda f: f["sent"] > 10, "messages sent")["elapsed_s"]
    producer.signal(SIGSTOP)
    monitor.shows(lambda f: f["elapsed_s"] > paused_at + 2.5, "a pause")
    producer.signal(SIGCONT)
    assert codes(sender, producer, monitor) == [0, 0, 0]
    assert assert_exact(monitor, 240)["duplicates"] == 0
    assert_quiet(sender, producer, monitor)
    assert not any("lost the producer" in line for line in sender.err)


def test_a_drained_sender_hands_back_messages_that_would_take_an_hour(nodes: Nodes) -> None:
    """It exits at once with 0, and another sender sends its messages, none of them twice."""
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 6)
    slow = nodes.sender(producer, "slow", "--mean=3600", "--concurrency=3")
    monitor.shows(lambda f: f["in_flight"] == 3, "three messages in flight")
    slow.signal(SIGINT)
    assert slow.code() == ExitCode.OK
    slow.says("Draining: 0 messages to finish, [3-6] handed back")
    assert producer.says("slow left").string.endswith("slow left")  # with nothing
    quick = nodes.sender(producer, "quick", "--mean=0.01", "--concurrency=3")
    assert codes(quick, producer, monitor) == [0, 0, 0]
    assert assert_exact(monitor, 6)["duplicates"] == 0
    assert_quiet(slow, quick, producer, monitor)


def test_a_drained_sender_finishes_and_reports_what_it_has_started(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 50)
    leaver = nodes.sender(producer, "leaver", "--mean=1", "--distribution=fixed", "--concurrency=5", "-v")
    monitor.shows(lambda f: f["in_flight"] == 5, "five messages in flight")
    leaver.signal(SIGTERM)
    assert leaver.code() == ExitCode.OK
    draining = leaver.says(r"Draining: ([1-5]) messages? to finish, \d+ handed back")
    assert logged(leaver.err[leaver.err.index(draining.string) :]) == int(draining[1])
    assert done(monitor, at_least=logged(leaver.err)) == logged(leaver.err)
    other = nodes.sender(producer, "other", "--mean=0.01", "--concurrency=10")
    assert codes(other, producer, monitor) == [0, 0, 0]
    assert assert_exact(monitor, 50)["duplicates"] == 0


def test_a_sender_that_joins_late_gets_its_share(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 600)
    first = nodes.sender(producer, "first", "--mean=0.1", "--concurrency=2", "-v")
    done(monitor, at_least=5)
    late = nodes.sender(producer, "late", "--mean=0.1", "--concurrency=50", "-v")
    assert codes(first, late, producer, monitor) == [0, 0, 0, 0]
    last = assert_exact(monitor, 600)
    assert (last["senders_seen"], last["duplicates"]) == (2, 0)
    assert logged(first.err) + logged(late.err) == 600  # each message is logged once, when it is sent
    assert logged(late.err) > 50
    assert_quiet(first, late, producer, monitor)


# -- lost peers and interruptions


def test_after_the_producer_is_killed_its_sender_and_the_monitor_exit_with_3(nodes: Nodes) -> None:
    monitor = nodes.monitor("--give-up=1")
    producer = nodes.producer(monitor, 1000)
    sender = nodes.sender(producer, "one", "--mean=0.05", "--concurrency=5", "--give-up=1")
    done(monitor, at_least=10)
    producer.signal(SIGKILL)
    assert codes(sender, monitor) == [ExitCode.INCOMPLETE, ExitCode.INCOMPLETE]
    sender.says(r"producer \S+ has been unreachable for \d+ s")
    last = monitor.figures()[-1]
    assert (last["final"], last["complete"], last["in_flight"]) == (True, False, 0)
    assert_conserved(monitor.figures())
    assert_quiet(sender, monitor)


def test_after_the_monitor_is_killed_the_sender_and_the_producer_exit_with_3(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 1000, "--give-up=1")
    sender = nodes.sender(producer, "one", "--mean=0.05", "--concurrency=5", "--give-up=1")
    done(monitor, at_least=10)
    monitor.signal(SIGKILL)
    assert codes(sender, producer) == [ExitCode.INCOMPLETE, ExitCode.INCOMPLETE]
    sender.says(r"monitor \S+ has been unreachable for \d+ s")
    producer.says(r"No sender for \d+ s: giving up")
    assert_quiet(sender, producer)


def test_each_node_ends_on_a_signal_while_it_waits_for_the_others(nodes: Nodes) -> None:
    """A run that has not started is incomplete; a sender and a lingering monitor have lost nothing.

    All of the signals have the same effect: see test_signals.
    """
    nowhere = free_address()
    waiting = {
        nodes.start("producer", "--listen=127.0.0.1:0"): ("Waiting for a sender", ExitCode.INCOMPLETE),
        nodes.start("monitor", "--listen=127.0.0.1:0"): ("Waiting for a sender", ExitCode.INCOMPLETE),
        nodes.start("monitor", "--listen=127.0.0.1:0", "--linger"): ("Waiting for a sender", ExitCode.OK),
        nodes.start("sender", f"--producer={nowhere}"): ("Waiting for producer", ExitCode.OK),
    }
    for number, (node, (said, _)) in zip(cycle(ENDINGS), waiting.items(), strict=False):
        node.says(said)
        node.signal(number)
    assert codes(*waiting) == [code for _, code in waiting.values()]
    assert_quiet(*waiting)


def test_stopping_the_producer_in_the_middle_of_a_run_ends_all_nodes_with_3(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 1000)
    sender = nodes.sender(producer, "one", "--mean=0.05", "--concurrency=5")
    done(monitor, at_least=10)
    producer.signal(SIGTERM)
    assert codes(producer, sender, monitor) == [ExitCode.INCOMPLETE] * 3
    sender.says("The producer ended the run early")
    summary = producer.says(r"Run ended: (\d+) of 1,000 messages settled \((\d+) sent, (\d+) failed\)")
    settled, sent, failed = map(int, summary.groups())
    last = monitor.figures()[-1]
    assert (settled, sent, failed) == (sent + failed, last["sent"], last["failed"])
    assert (last["final"], last["complete"]) == (True, False)
    assert_quiet(producer, sender, monitor)


def test_a_node_exits_at_once_with_130_on_a_second_signal(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 1000)
    sender = nodes.sender(producer, "one", "--mean=8", "--distribution=fixed", "--concurrency=5")
    monitor.shows(lambda f: f["in_flight"] == 5, "five messages in flight")
    for node in (producer, sender):
        node.signal(SIGINT)
        node.says("Draining")
        node.signal(SIGINT)
    assert codes(producer, sender) == [ExitCode.INTERRUPTED] * 2


def test_a_port_in_use_is_refused_in_one_line_that_names_it(nodes: Nodes) -> None:
    there = nodes.monitor().address()
    for refused in (nodes.start(command, f"--listen={there}") for command in ("producer", "monitor")):
        assert refused.code() == ExitCode.USAGE
        assert len(refused.err) == 1
        assert there in refused.err[0]
        assert refused.out == []
