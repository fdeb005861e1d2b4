"""What nodes expose to Prometheus: names by the rules, figures that are true, and all that the dashboard asks for."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes_support import Node, Nodes, eventually
from prometheus_client.parser import text_string_to_metric_families

from smssim.core.backlog import Backlog
from smssim.metrics import LATENCY_BUCKETS_S, Metric, of_monitor, of_producer, of_senders

ROOT = Path(__file__).parent.parent
UNITS = ("seconds", "messages", "lanes", "copies", "senders")

Samples = dict[tuple[str, str], float]  # by name and labels


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


def promised() -> list[Metric]:
    return [*of_monitor([], 0.0), *of_producer(Backlog(1), 0), *of_senders([], 0)]


def scraped(node: Node) -> str:
    where = node.says(r"metrics at (http://\S+)$")[1]
    with urllib.request.urlopen(where, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def samples(node: Node) -> Samples:
    return {
        (sample.name, ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scraped(node))
        for sample in family.samples
    }


def test_each_metric_follows_the_naming_rules() -> None:
    """As `promtool check metrics` has them: base units, a help text, _total for counters alone."""
    metrics = promised()
    assert len({metric.name for metric in metrics}) == len(metrics) > 15
    for metric in metrics:
        assert re.fullmatch(r"smssim(_[a-z]+)+", metric.name)
        assert metric.says
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_ms", "_milliseconds"))
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert set(metric.by_outcome) <= {"sent", "failed"}


def test_the_dashboard_asks_only_for_what_is_exposed() -> None:
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    exposed = {metric.name + suffix for metric in promised() for suffix in suffixes[metric.kind]}
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for expression in asked for name in re.findall(r"smssim_[a-z_]+", expression)}
    assert len(named) > 10
    assert named <= exposed
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_all_nodes_of_a_run_expose_what_is_promised_and_true(nodes: Nodes) -> None:
    monitor = nodes.monitor("--metrics-port=0", "--linger")
    producer = nodes.producer(monitor, 300, "--metrics-port=0", "--linger")
    words = ("--mean=0.02", "--concurrency=10", "--copies=3", "--fail=0.3", "--metrics-port=0", "--linger")
    sender = nodes.sender(producer, "many", *words)
    last = monitor.shows(lambda f: f["final"] or f["complete"], "all messages done")
    counted = samples(monitor)
    assert counted["smssim_messages_total", "outcome=sent"] == last["sent"]
    assert counted["smssim_messages_total", "outcome=failed"] == last["failed"]
    assert counted["smssim_attempts_total", ""] == counted["smssim_latency_seconds_count", ""] == 300
    assert counted["smssim_latency_seconds_bucket", "le=+Inf"] == 300
    buckets = [counted["smssim_latency_seconds_bucket", f"le={float(bound)}"] for bound in LATENCY_BUCKETS_S]
    assert buckets == sorted(buckets)
    assert 0 < counted["smssim_latency_seconds_sum", ""] < 300 * 30
    eventually(lambda: samples(producer)["smssim_producer_settled_messages_total", "outcome=sent"] == last["sent"], "")
    lanes = samples(sender)
    assert (lanes["smssim_sender_copies", ""], lanes["smssim_sender_lanes", ""]) == (3, 30)
    assert lanes["smssim_sender_reports_total", ""] > 0
    families = {
        line.split()[2]
        for node in (monitor, producer, sender)
        for line in scraped(node).splitlines()
        if line[:6] == "# TYPE"
    }
    expected = {metric.name + ("_total" if metric.kind == "counter" else "") for metric in promised()}
    assert families == expected


def test_a_busy_port_is_refused_in_one_line(nodes: Nodes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words in (("monitor", "--listen=127.0.0.1:0"), ("producer", "--listen=127.0.0.1:0"), ("sender",)):
            node = nodes.start(*words, f"--metrics-port={port}")
            assert node.code() == 2
            why = "which can't be had on 127.0.0.1 (address already in use)"
            assert node.err == [f"smssim {words[0]}: --metrics-port: got {port}, {why}"]


def test_a_node_that_serves_metrics_ends_as_others_do(nodes: Nodes) -> None:
    run = nodes.start("run", "--count=50", "--sender=mean=0.01", "--metrics-port=0", "--json")
    assert run.code() == 0
