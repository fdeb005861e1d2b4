"""Machines cut off from each other during a run with an engine: each message is counted once all the same.

h1, h2 and h3 each run a NATS server, a producer and a monitor; h4 and h5 run senders. A fault strikes when part of the
run is done, and is healed when more of it is; the loss of an owner lasts at least as long as a takeover.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
from hosts_support import Host, Hosts
from nats_cluster import BINARY, configuration
from processes_support import Node, Nodes, assert_exact, eventually

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240)]

COUNT: Final = 30_000
RATE: Final = 1_000  # messages per second: the run lasts half a minute without faults
FAULT: Final = 0.13  # share of the run during which a fault lasts, or two or three times that

NATS_PORT, NATS_CLUSTER_PORT, NATS_PAGE_PORT = 4222, 6222, 8222
PRODUCER_PORT, MONITOR_PORT = 5051, 5052  # unlike 50051, none that systems give to outgoing connections

STANDS_BY: Final = r"Standing by: "
TAKES_OVER: Final = r"taking over run "


class Engine:
    """A NATS server on each of these hosts."""

    def __init__(self, hosts: Hosts, servers: list[Host], directory: Path) -> None:
        self._servers = servers
        routes = {server: f"{server.address}:{NATS_CLUSTER_PORT}" for server in servers}
        for server in servers:
            config = directory / f"{server.name}.conf"
            text = configuration(
                server.name,
                f"{server.address}:{NATS_PORT}",
                f"{server.address}:{NATS_PAGE_PORT}",
                routes[server],
                [*routes.values()],
                directory / server.name,
            )
            config.write_text(text, encoding="utf-8")
            hosts.popen(server, BINARY, "--config", config, "--log", directory / f"{server.name}.log")
        eventually(self._is_ready, "a leader of the servers")

    @property
    def urls(self) -> str:
        """The value of --engine."""
        return ",".join(f"nats://{server.address}:{NATS_PORT}" for server in self._servers)

    def server_of(self, client: Host) -> Host:
        """Return the host of the server that a client on this host is connected to."""

        def clients(server: Host) -> set[str]:
            return {one["ip"] for one in _page(server, "/connz").get("connections", [])}

        return next(server for server in self._servers if client.address in clients(server))

    def _is_ready(self) -> bool:
        pages = [(_page(server, "/healthz"), _page(server, "/jsz")) for server in self._servers]
        leaders = {jetstream.get("meta_cluster", {}).get("leader", "") for _, jetstream in pages}
        return all(health.get("status") == "ok" for health, _ in pages) and len(leaders) == 1 and leaders != {""}


def _page(server: Host, path: str) -> dict[str, Any]:
    """Return what a server says about itself; nothing if it does not answer."""
    connection = http.client.HTTPConnection(server.address, NATS_PAGE_PORT)
    connection.sock = server.socket()
    try:
        connection.sock.settimeout(5)
        connection.sock.connect((server.address, NATS_PAGE_PORT))
        connection.request("GET", path)
        said: dict[str, Any] = json.load(connection.getresponse())
        return said
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


class Cluster:
    """All nodes of a run, by host."""

    def __init__(self, hosts: Hosts, nodes: Nodes, engine: Engine, count: int) -> None:
        self.hosts = hosts
        self.count = count
        self.machines = list(hosts)
        servers, offices = self.machines[:3], self.machines[3:]
        monitors, producers = (
            ",".join(f"{server.address}:{port}" for server in servers) for port in (MONITOR_PORT, PRODUCER_PORT)
        )
        # Servers that were cut off find each other again only after 10 s or so, and the next cut has begun by then.
        log = (f"--engine={engine.urls}", "--run=drill", "--insecure", "--give-up=120")

        def monitor(host: Host) -> Node:
            listen = f"--listen={host.address}:{MONITOR_PORT}"
            return nodes.start("monitor", listen, "--interval=0.2", "--json", *log, before=host.before)

        def producer(host: Host) -> Node:
            of_run = (f"--count={count}", f"--rate={RATE}", "--seed=7", "--max-attempts=2", "--lease-timeout=3")
            listen = f"--listen={host.address}:{PRODUCER_PORT}"
            return nodes.start("producer", listen, f"--monitor={monitors}", *of_run, *log, before=host.before)

        def sender(host: Host) -> Node:
            speed = ("--mean=0.05", "--fail=0.1", "--concurrency=100", "--give-up=120")
            words = ("sender", f"--producer={producers}", f"--name={host.name}", "--insecure", *speed)
            return nodes.start(*words, before=host.before)

        self.monitors = {host: monitor(host) for host in servers}
        self.producers = {host: producer(host) for host in servers}
        _seen(self.monitors, lambda: len(_standbys(self.monitors)) == 2, "two monitors to stand by")
        _seen(self.producers, lambda: len(_standbys(self.producers)) == 2, "two producers to stand by")
        self.senders = {host: sender(host) for host in offices}

    def owner(self, kind: dict[Host, Node]) -> Host:
        """Wait until all nodes of this kind that stand by name the same owner, and return its host.

        A node that was cut off may still take itself for the owner, even until the run is over.
        """

        def named() -> list[Host]:
            standbys = _standbys(kind)
            owners = {_owner_named(kind[host]) for host in standbys}
            return [host for host in kind.keys() - standbys if owners == {host.address}]

        owners: list[Host] = _seen(kind, named, "one owner")
        return owners[0]

    def done(self, share: float) -> None:
        """Wait until this share of the messages is sent or failed, as far as any monitor shows."""

        def is_done() -> bool:
            latest = [json.loads(node.out[-1]) for node in self.monitors.values() if node.out]
            return max((one["sent"] + one["failed"] for one in latest), default=0) >= share * self.count

        eventually(is_done, f"{share:.0%} of the run")

    def ends_well(self) -> None:
        """Check the end of the run."""
        for host, node in self.senders.items():
            assert node.code() == 0, f"{host.name}: {node.story()}"
        for kind in self.monitors, self.producers:
            for node in kind.values():
                assert node.code() == 0, _stories(kind)
        final = [node for node in self.monitors.values() if any(one["final"] for one in node.figures())]
        assert len(final) == 1, [node.story() for node in self.monitors.values()]
        assert_exact(final[0], self.count)


def _seen(kind: dict[Host, Node], condition: Callable[[], Any], what: str) -> Any:
    """Poll a condition about these nodes until it is true; return what it yields, or fail with what they wrote."""
    try:
        return eventually(condition, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{_stories(kind)}") from error


def _stories(kind: dict[Host, Node]) -> str:
    return "\n".join(f"{host.name}: {node.story()}" for host, node in kind.items())


def _standbys(kind: dict[Host, Node]) -> set[Host]:
    def last(node: Node, words: str) -> int:
        return max((number for number, line in enumerate(node.err) if words in line), default=-1)

    return {host for host, node in kind.items() if last(node, STANDS_BY) > last(node, TAKES_OVER)}


def _owner_named(standby: Node) -> str:
    """Return the address of the owner that a node which stands by has named last."""
    line = next(line for line in reversed(standby.err) if STANDS_BY in line)
    return line.partition(STANDS_BY)[2].partition(":")[0]


@contextmanager
def started(directory: Path, count: int = COUNT) -> Iterator[Cluster]:
    with Hosts(5) as hosts, Nodes() as nodes:
        yield Cluster(hosts, nodes, Engine(hosts, list(hosts)[:3], directory), count)


def test_machines_that_are_cut_off_in_turn_and_come_back_cost_no_message(tmp_path: Path) -> None:
    with started(tmp_path) as cluster:
        for number, host in enumerate(cluster.machines):
            cluster.hosts.isolate(host)
            cluster.done(FAULT * (number + 1))
            cluster.hosts.heal(host)
        cluster.ends_well()


def test_owners_whose_packets_pass_only_one_way_cost_no_message(tmp_path: Path) -> None:
    """Those from the producer's machine vanish first, then those to the monitor's."""
    with started(tmp_path) as cluster:
        faults: tuple[tuple[dict[Host, Node], Any], ...] = ((cluster.producers, "from"), (cluster.monitors, "to"))
        for number, (kind, direction) in enumerate(faults):
            cluster.done(FAULT * (2 * number + 1))
            host = cluster.owner(kind)
            cluster.hosts.one_way_loss(host, direction)
            cluster.done(FAULT * (2 * number + 3))
            cluster.hosts.heal(host)
        cluster.ends_well()


def test_a_run_over_slow_and_lossy_links_is_exact(tmp_path: Path) -> None:
    with started(tmp_path, COUNT // 3) as cluster:
        for host in cluster.machines:
            cluster.hosts.delay(host, ms=100, jitter=50)
            cluster.hosts.loss(host, percent=0.5)
        cluster.ends_well()


def test_a_node_moves_away_from_a_server_that_is_cut_off_from_the_others(tmp_path: Path) -> None:
    """The node could reach all of them."""
    with Hosts(4) as hosts, Nodes() as nodes:
        *servers, office = hosts
        engine = Engine(hosts, servers, tmp_path)
        words = (f"--listen={office.address}:{MONITOR_PORT}", f"--engine={engine.urls}", "--run=drill", "--insecure")
        monitor = nodes.start("monitor", *words, before=office.before)
        monitor.says("Waiting for a sender")
        minority = engine.server_of(office)
        for server in servers:
            if server != minority:
                hosts.cut(minority, server)
        monitor.says("Lost engine")
        monitor.says("Reconnected to engine")
        assert engine.server_of(office) != minority


def test_the_majority_side_of_a_split_goes_on_and_the_minority_side_rejoins(tmp_path: Path) -> None:
    with started(tmp_path) as cluster:
        cluster.done(FAULT)
        minority = cluster.owner(cluster.monitors)
        sender = cluster.machines[3]
        cluster.hosts.isolate(minority, sender)  # they still reach each other
        cluster.done(4 * FAULT)
        cluster.hosts.heal()
        cluster.ends_well()


def test_cuts_between_servers_or_from_the_owner_of_the_monitor_stall_a_run_and_cost_no_message(tmp_path: Path) -> None:
    """First between all servers, so that none has a majority; then between one sender and the owner."""
    with started(tmp_path) as cluster:
        cluster.done(FAULT)
        for one, other in combinations(cluster.machines[:3], 2):
            cluster.hosts.cut(one, other)
        for node in cluster.senders.values():
            node.says("Lost")  # the owners refuse calls while they can't append
        cluster.hosts.heal()
        cluster.done(2 * FAULT)
        cluster.hosts.cut(cluster.owner(cluster.monitors), cluster.machines[3])
        cluster.done(4 * FAULT)
        cluster.hosts.heal()
        cluster.ends_well()
