"""Takeovers on three real NATS servers: nodes and servers are killed, paused and replaced; the count stays exact."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from engine_support import Cluster
from failover_support import KINDS, Fleet
from processes_support import Nodes, eventually

from smssim.errors import ExitCode

COUNT = 12_000  # six seconds without faults
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("engine")) as started:
        yield started


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Nodes]:
    with Nodes() as started:
        yield started
    cluster.repair()
    asyncio.run(cluster.delete_streams())


def fleet(nodes: Nodes, cluster: Cluster, count: int = COUNT, each: int = 2, *more: str) -> Fleet:
    made = Fleet(nodes, cluster, f"drill-{uuid.uuid4().hex[:8]}", count, each, *more)
    made.start()
    return made


def takeovers(final: dict[str, object]) -> list[str]:
    """Return which nodes took over, in order, by the events of a run's last figures."""
    events = final["events"]
    assert isinstance(events, list)
    return [event["target"] for event in events if event["kind"] == "taken over"]


# -- nodes


def test_owners_that_are_killed_with_their_machine_are_replaced(nodes: Nodes, cluster: Cluster) -> None:
    """The producer's owner first, then the monitor's; each says what it found, and the gap is an event of the run."""
    run = fleet(nodes, cluster)
    dead = []
    for kind, share in (("producer", 0.2), ("monitor", 0.6)):
        run.until(int(share * COUNT))
        dead.append(run.owner(kind))
        run.kill(dead[-1])
        heir = next(machine for machine in run.all[kind] if machine is not dead[-1])
        heir.node.says(rf"No sign of {dead[-1].address} for \d+\.\d s: taking over run {run.name}")
        heir.node.says("Resumed")
    final = run.ends_exactly(*dead)
    assert takeovers(final) == ["producer", "monitor"]
    assert re.search(rf"taken over from {dead[0].address} after \d+\.\d s", str(final["events"]))
    for sender in run.senders:
        for number, kind in enumerate(KINDS):
            sender.says(f"Lost {kind} {dead[number].address}: trying ")
            sender.says(f"Reconnected to {kind} ")


def test_a_standby_serves_no_page_until_it_owns_the_run(nodes: Nodes, cluster: Cluster) -> None:
    run = Fleet(nodes, cluster, f"drill-{uuid.uuid4().hex[:8]}", COUNT)
    run.of_monitors.append("--web=0")
    run.start()
    run.until(COUNT // 5)
    owner = run.owner("monitor")
    (heir,) = (machine for machine in run.all["monitor"] if machine is not owner)
    owner.node.says("Page at ")
    assert not any("Page at" in line for line in heir.node.err)
    run.kill(owner)
    url = heir.node.says(r"Page at (\S+)")[1]

    def shown() -> Any:
        with urllib.request.urlopen(f"{url}api/state", timeout=30) as answer:
            state = json.load(answer)
        return state if "monitor taken over" in str(state["events"]) and state["gaps"] else None

    state = eventually(shown, "the run on the page of the heir")
    assert state["history"]["elapsed_s"][0] < state["gaps"][0]["from_s"]  # the curve of the owner before
    run.ends_exactly(owner)


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_that_was_paused_is_fenced_off_and_stands_by(nodes: Nodes, cluster: Cluster, kind: str) -> None:
    run = fleet(nodes, cluster)
    run.until(COUNT // 5)
    paused = run.owner(kind)
    run.pause(paused)
    heir = run.owner(kind)
    run.until(COUNT // 2)
    run.go_on(paused)
    paused.node.says(f"run {run.name}: another node has taken over: standing by")
    paused.node.says(f"Standing by: {heir.address} has owned run {run.name} for ")
    final = run.ends_exactly()
    assert takeovers(final) == [kind]
    assert heir.owns
    paused.node.says(f"Run {run.name} is over: ")


def test_owners_that_are_stopped_leave_the_run_to_others_at_once(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster)
    left = []
    for kind in KINDS:
        run.until(COUNT // (4 if kind == "producer" else 2))
        left.append(run.owner(kind))
        left[-1].node.signal(signal.SIGTERM)
        assert left[-1].node.code() == ExitCode.INCOMPLETE
        left[-1].node.says("Left the run to another node")
        heir = run.owner(kind)
        heir.node.says(f"Taking over run {run.name}: {left[-1].address} has left it")
    final = run.ends_exactly(*left)
    assert final["duplicates"] == 0


def test_a_standby_that_is_killed_or_comes_late_changes_nothing(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster, COUNT, 2, "--rate=1000")
    run.until(COUNT // 5)
    for kind in KINDS:
        (standby,) = run.standbys(kind)
        run.kill(standby)
        run.launch(standby).says(r"Standing by: \S+ has owned run \S+ for \d+ s")
    other = nodes.start("producer", "--listen=127.0.0.1:0", f"--count={COUNT + 1}", *run.of_both)
    assert other.code() == ExitCode.USAGE
    other.says(f"--count: got {COUNT + 1}; expected {COUNT}, the value in run {run.name}")
    final = run.ends_exactly()
    assert (final["duplicates"], takeovers(final)) == (0, [])


def test_a_watcher_follows_the_owner(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster)
    watch = nodes.start("watch", run.addresses("monitor"), "--interval=0.2", "--json")
    run.until(COUNT // 5)
    watch.shows(lambda figures: figures["sent"] > 0, "progress")
    dead = run.owner("monitor")
    run.kill(dead)
    watch.says(f"Lost monitor {dead.address}: trying ")
    final = run.ends_exactly(dead)
    assert watch.code() == ExitCode.OK
    assert watch.figures()[-1]["run_id"] == final["run_id"]
    assert (watch.figures()[-1]["sent"], watch.figures()[-1]["final"]) == (final["sent"], True)


def test_a_run_that_is_over_is_not_run_again(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster, 10, 1)
    run.ends_exactly()
    for kind in KINDS:
        (machine,) = run.all[kind]
        again = run.launch(machine)
        again.says(f"Run {run.name} is over: ")
        assert again.code() == ExitCode.OK


# -- servers


def test_each_server_in_turn_is_killed_and_loses_its_disk(tmp_path: Path) -> None:
    """One comes back with its disk, one with an empty one, and one is replaced by a server with another name."""
    with Cluster(tmp_path) as cluster, Nodes() as nodes:
        run = fleet(nodes, cluster, COUNT, 2, "--rate=1000")
        streams = [f"SMSSIM_{run.name}_{kind.upper()}" for kind in KINDS]
        for number, server in enumerate(list(cluster.servers)):
            run.until(1 + COUNT * number // 5)
            if number == 0:
                server.restart()
            elif number == 1:
                server.wipe()
                server.start()
            else:
                cluster.replace(number)
                asyncio.run(cluster.remove(server.name))
            for stream in streams:
                cluster.leader_of(stream)
                cluster.up_to_date(stream)
        run.ends_exactly()


def test_the_owner_of_the_run_and_the_leader_of_its_log_are_lost_together(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster)
    run.until(COUNT // 4)
    dead = run.owner("monitor")
    server = cluster.leader_of(f"SMSSIM_{run.name}_MONITOR")
    server.wipe()
    run.kill(dead)
    assert takeovers(run.ends_exactly(dead)) == ["monitor"]


def test_the_leader_of_the_logs_is_paused(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster)
    run.until(COUNT // 4)
    server = cluster.leader_of(f"SMSSIM_{run.name}_MONITOR")
    server.pause()
    run.owner("monitor").node.says("Lost engine")
    eventually(lambda: cluster.leader_of(f"SMSSIM_{run.name}_MONITOR") is not server, "another leader")
    run.until(COUNT // 2)
    server.resume()
    run.ends_exactly()


def test_without_most_of_the_servers_all_wait_and_then_go_on(nodes: Nodes, cluster: Cluster) -> None:
    run = fleet(nodes, cluster)
    run.until(COUNT // 4)
    for server in cluster.servers[:2]:
        server.kill()
    for kind in KINDS:
        for machine in run.all[kind]:
            machine.node.says("Lost engine .*: retrying")
    for sender in run.senders:
        sender.says("Waiting for monitor ")
    cluster.repair()
    run.ends_exactly()


def test_without_most_of_the_servers_nodes_give_up_and_the_run_can_be_continued(nodes: Nodes, cluster: Cluster) -> None:
    run = Fleet(nodes, cluster, f"drill-{uuid.uuid4().hex[:8]}", COUNT, 1, "--give-up=1")
    run.start()
    run.until(COUNT // 4)
    (producer,) = run.all["producer"]
    for server in cluster.servers[:2]:
        server.kill()
    assert producer.node.code() == ExitCode.INCOMPLETE
    producer.node.says(r"engine \S+ has been unreachable for \d+ s \(.*\); start this node again to continue the run")
    cluster.repair()
    run.launch(producer)
    run.ends_exactly()


# -- at random


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play as many schedules as `--schedules` says."""
    if "schedule" in metafunc.fixturenames:
        metafunc.parametrize("schedule", range(metafunc.config.getoption("--schedules")))


def test_the_count_is_exact_in_a_random_schedule_of_faults(
    nodes: Nodes, cluster: Cluster, random: Random, schedule: int
) -> None:
    """Any number of nodes are killed or paused at once, and one server with them; then they come back."""
    run = fleet(nodes, cluster, COUNT, 3, "--rate=1000")
    for moment in sorted(random.sample(range(COUNT // 10, 7 * COUNT // 10), 3)):
        run.until(moment)
        strike(run, cluster, random)
    run.ends_exactly()


def strike(run: Fleet, cluster: Cluster, random: Random) -> None:
    """Kill and pause nodes, lose a server, and bring them all back."""
    machines = [machine for kind in KINDS for machine in run.all[kind]]
    victims = [*random.sample(machines, random.randint(0, 3)), run.owner(random.choice(KINDS))]
    server = random.choice(cluster.servers) if random.random() < 0.6 else None
    acts = {machine.address: random.choice([run.kill, run.pause]) for machine in victims}
    print("strikes", {address: act.__name__ for address, act in acts.items()}, server and server.name)
    for machine in {machine.address: machine for machine in victims}.values():
        acts[machine.address](machine)
    if random.random() < 0.3:
        run.replace_sender(random.randrange(2))
    if server is not None:
        random.choice([server.kill, server.wipe, server.pause])()
        cluster.leader_of(f"SMSSIM_{run.name}_{random.choice(KINDS).upper()}")
    for machine in machines:
        if machine.address in acts and not machine.is_paused:
            run.launch(machine)
    cluster.repair()
    for kind in KINDS:
        cluster.up_to_date(f"SMSSIM_{run.name}_{kind.upper()}")
        if random.random() < 0.5 and not all(machine.is_paused for machine in run.all[kind]):
            run.has_owner(kind)
    for machine in machines:
        if machine.is_paused:
            run.go_on(machine)
