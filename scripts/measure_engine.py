"""Measures what an engine costs, and how long a takeover takes.

Three NATS servers that sync each write run on this machine, beside the nodes. For the throughput, one sender of 50,000
lanes of 10 ms sends as many messages as the machine allows, in turn without keeping the state, with journals, and with
the engine. For the takeovers, the owner of a run is killed, alone or together with the server that leads its log, and
the time until another node logs that it takes over is measured. Prints the medians.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from engine_demo import Node, Stage
from nats_cluster import Cluster

from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings

SENDER: Final = SenderSettings(mean_s=0.01, fail=0.1, concurrency=50_000)
CALM: Final = SenderSettings(mean_s=0.05, fail=0.1, concurrency=50, give_up_s=300.0)
KINDS: Final = ("monitor", "producer")


@dataclass(frozen=True)
class Measured:
    """One run at full speed."""

    rate_per_s: float
    commits_per_s: float = 0.0  # of both logs together
    bytes_per_message: float = 0.0  # that the nodes sent to the servers


class Quiet(Stage):
    """Nodes whose news are not printed."""

    def tell(self, text: str, who: str = "", style: str = "") -> None:
        """Print nothing."""


@contextmanager
def running(settings: dict[str, dict[str, Any]], count: int, copies: int = 1) -> Iterator[tuple[Stage, list[Node]]]:
    """Start monitors and producers, the first one of each as the owner; yield them in this order."""
    with Quiet() as stage:
        nodes: list[Node] = []
        for kind, made in (("monitor", MonitorSettings), ("producer", ProducerSettings)):
            more: dict[str, Any] = (
                {"json": True, "interval_s": 1.0} if kind == "monitor" else {"count": count, "seed": 7}
            )
            for number in range(copies):
                if kind == "producer":
                    more["monitor"] = ",".join(str(node.address) for node in nodes[:copies])
                node = stage.start(kind, str(number), made(listen=FREE_ADDRESS, **more, **settings[kind]))
                nodes.append(node)
                if "engine" in settings[kind]:
                    stage.until(lambda: node.owns_since or node.stands_by, f"{node.name} has its place")  # noqa: B023
        yield stage, nodes


def full_speed(count: int, settings: dict[str, dict[str, Any]], said: Callable[[], tuple[int, int]]) -> Measured:
    """Run at full speed. `said`: the entries and bytes that the servers have received."""
    entries, received = said()
    with running(settings, count) as (stage, (monitor, producer)):
        began_at = time.monotonic()
        sender = stage.start("sender", "", replace(SENDER, producer=str(producer.address)))
        stage.until(lambda: all(node.child.has_ended for node in (monitor, producer, sender)), "the run ends")
        took_s = time.monotonic() - began_at
        last = json.loads(monitor.output[-1])
        assert last["sent"] + last["failed"] == count, last
    more_entries, more_received = said()
    return Measured(last["rate_per_s"], (more_entries - entries) / took_s, (more_received - received) / count)


def said_by(cluster: Cluster) -> tuple[int, int]:
    """Return how many entries the logs have had, and how many bytes clients have sent to the servers."""
    details = [
        detail
        for account in (cluster.servers[0].says("/jsz?streams=true") or {}).get("account_details") or []
        for detail in account.get("stream_detail") or []
    ]
    clients = [
        client
        for server in cluster.servers
        for client in (server.says("/connz?state=any&limit=10000") or {}).get("connections") or []
    ]
    return sum(detail["state"]["last_seq"] for detail in details), sum(client["in_bytes"] for client in clients)


def of_both(**settings: Any) -> dict[str, dict[str, Any]]:
    """Return the same settings for monitors and producers."""
    return dict.fromkeys(KINDS, settings)


def takeover_s(cluster: Cluster, name: str, kind: str, with_leader: bool) -> float:
    """Kill the owner of a run and return the seconds until another node takes over."""
    settings = of_both(engine=cluster.urls, run_name=name)
    with running(settings, 10**6, copies=2) as (stage, nodes):
        addresses = ",".join(str(node.address) for node in nodes[2:])
        stage.start("sender", "", replace(CALM, producer=addresses))
        stage.until(lambda: any(json.loads(line)["sent"] > 500 for line in nodes[0].output), "messages are sent")
        owner, standby = nodes[:2] if kind == "monitor" else nodes[2:]
        server = cluster.leader_of(f"SMSSIM_{name}_{kind.upper()}") if with_leader else None
        owner.is_lost = True
        owner.child.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        if server is not None:
            server.kill()
        stage.until(lambda: standby.owns_since, f"{standby.name} takes over")
        assert standby.owns_since is not None
        return standby.owns_since - killed_at


def throughput(cluster: Cluster, folder: Path, count: int, rounds: int) -> None:
    """Print how fast runs are without keeping the state, with journals and with the engine."""
    found: dict[str, list[Measured]] = {"nothing kept": [], "journals": [], "engine": []}
    for number in range(rounds):
        kept: dict[str, dict[str, dict[str, Any]]] = {
            "nothing kept": of_both(),
            "journals": {kind: {"journal": str(folder / f"{kind}-{number}")} for kind in KINDS},
            "engine": of_both(engine=cluster.urls, run_name=f"speed-{number}"),
        }
        for name, settings in kept.items():
            found[name].append(full_speed(count, settings, lambda: said_by(cluster)))
    print(f"{count:,} messages, 50,000 lanes of 10 ms; medians of {rounds} rounds")
    base = statistics.median(one.rate_per_s for one in found["nothing kept"])
    for name, runs in found.items():
        rate = statistics.median(one.rate_per_s for one in runs)
        commits = statistics.median(one.commits_per_s for one in runs)
        size = statistics.median(one.bytes_per_message for one in runs)
        of_engine = f", {commits:.1f} commits/s in both logs, {size:.2f} bytes per message" if name == "engine" else ""
        print(f"  {name:<12} {rate:>12,.0f}/s  {rate / base:.2f} times{of_engine}", flush=True)


def takeovers(cluster: Cluster, rounds: int) -> None:
    """Print how long takeovers take."""
    for with_leader in (False, True):
        for kind in KINDS:
            name = f"takeover-{kind}-{with_leader:d}"
            times_s = []
            for number in range(rounds):
                times_s.append(takeover_s(cluster, f"{name}-{number}", kind, with_leader))
                cluster.repair()
            what = f"{kind} killed" + (" with the leader of its log" if with_leader else "")
            print(f"  {what:<45} {statistics.median(times_s):5.1f} s, at most {max(times_s):.1f} s", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=30_000_000, metavar="N", help="messages of a run (30 million)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="measurements of each kind (3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smssim-engine-") as folder, Cluster(Path(folder)) as cluster:
        throughput(cluster, Path(folder), given.count, given.rounds)
        print(f"Time from the kill to the takeover, {given.rounds} of each")
        takeovers(cluster, given.rounds)


if __name__ == "__main__":
    main()
