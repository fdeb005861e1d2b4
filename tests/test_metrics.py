"""Metrics for Prometheus: names follow the rules, values are correct, and the HTTP server is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pytest
from nodes_support import play
from processes_support import Node, Nodes, eventually
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from smssim.core.backlog import Backlog
from smssim.core.limits import LIMITS, Limits
from smssim.net.access import Access
from smssim.net.http import Desk
from smssim.outputs import metrics as metrics_module
from smssim.outputs.metrics import LATENCY_BUCKETS_S, Metric, exposed, of_monitor, of_producer, of_senders
from smssim.process.logs import node_log
from smssim.settings import AccessSettings

ROOT = Path(__file__).parent.parent
TOKEN: Final = "open-sesame-1001"
UNITS = ("seconds", "messages", "lanes", "copies", "senders")

Samples = dict[tuple[str, str], float]  # by name and labels


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


def promised() -> list[Metric]:
    return [*of_monitor([], 0.0), *of_producer(Backlog(1), 0), *of_senders([], 0)]


def scraped(node: Node) -> str:
    with urllib.request.urlopen(node.record("metrics")["url"], timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def samples(node: Node) -> Samples:
    return {
        (sample.name, ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scraped(node))
        for sample in family.samples
    }


def test_each_metric_follows_the_naming_rules() -> None:
    """The rules of `promtool check metrics`: base units, a help text, and _total only for counters."""
    metrics = promised()
    assert len({metric.name for metric in metrics}) == len(metrics) > 15
    for metric in metrics:
        assert re.fullmatch(r"smssim(_[a-z]+)+", metric.name)
        assert metric.meaning
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_ms", "_milliseconds"))
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert set(metric.by_outcome) <= {"sent", "failed"}


def test_the_dashboard_queries_only_exposed_metrics() -> None:
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    exposed = {metric.name + suffix for metric in promised() for suffix in suffixes[metric.kind]}
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for expression in asked for name in re.findall(r"smssim_[a-z_]+", expression)}
    assert len(named) > 10
    assert named <= exposed
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_nodes_of_a_run_expose_all_declared_metrics_with_correct_values(nodes: Nodes) -> None:
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
            why = "expected an available port on 127.0.0.1 (address already in use)"
            assert node.err == [f"smssim {words[0]}: --metrics-port: got {port}; {why}"]


def test_a_run_that_serves_metrics_ends_normally(nodes: Nodes) -> None:
    run = nodes.start("run", "--count=50", "--sender=mean=0.01", "--metrics-port=0", "--json")
    assert run.code() == 0


# -- which requests are answered, and limits on stalled clients


def asks(target: str = "/metrics", method: str = "GET", version: str = "HTTP/1.1", **headers: str) -> bytes:
    """Return a request to this machine with these headers; an empty one is left out."""
    lines = [f"{name}: {value}" for name, value in {"Host": "localhost:9464", **headers}.items() if value]
    return "\r\n".join([f"{method} {target} {version}", *lines, "", ""]).encode()


def desk(only_here: bool = True, token: str | None = None) -> Desk:
    admits = Access(AccessSettings(), token=token.encode() if token else None).admits
    return Desk("/metrics", lambda accept: (f"for {accept}", b"the page"), admits, only_here)


ANSWERS: Final[list[tuple[bytes, HTTPStatus]]] = [
    (asks(), HTTPStatus.OK),
    (asks("/"), HTTPStatus.OK),
    (asks("/metrics?name[]=up"), HTTPStatus.OK),
    (asks("http://localhost:9464/metrics"), HTTPStatus.OK),
    (asks(version="HTTP/1.0"), HTTPStatus.OK),
    (asks("/favicon.ico"), HTTPStatus.NOT_FOUND),
    (asks("http://[/metrics"), HTTPStatus.NOT_FOUND),
    (asks(method="POST"), HTTPStatus.METHOD_NOT_ALLOWED),
    (asks(method="HEAD"), HTTPStatus.METHOD_NOT_ALLOWED),
    (asks(Host=""), HTTPStatus.BAD_REQUEST),
    (asks(host="localhost"), HTTPStatus.BAD_REQUEST),  # a second Host header
    (asks(version="HTTP/2"), HTTPStatus.BAD_REQUEST),
    (b"\r\n\r\n", HTTPStatus.BAD_REQUEST),
    (b"\xff\xfe\r\n\r\n", HTTPStatus.BAD_REQUEST),
    (b"GET /metrics\r\n\r\n", HTTPStatus.BAD_REQUEST),
]


def test_each_request_gets_the_right_status() -> None:
    for request_, status in ANSWERS:
        answer = desk().answer(request_)
        assert answer.status == status, request_
        assert (answer.body == b"the page") == (status == HTTPStatus.OK), request_
        assert answer.encoded().startswith(f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode())


def test_on_loopback_a_request_for_another_host_name_is_forbidden() -> None:
    """Otherwise a web page could read the metrics through a name that resolves to loopback."""
    here = ("localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9464", "[::1]", "[::1]:9464")
    elsewhere = (
        *("evil.example", "evil.example:9464", "10.0.0.5", "[2001:db8::1]:9464"),
        *("localhost.evil.example", "127.0.0.1.evil.example", "localhost:", "a b", "::1"),
    )
    for host in here + elsewhere:
        status = HTTPStatus.OK if host in here else HTTPStatus.FORBIDDEN
        assert desk().answer(asks(Host=host)).status == status, host
        assert desk(only_here=False).answer(asks(Host=host)).status == HTTPStatus.OK, host


def test_if_a_token_is_required_a_scrape_must_send_it() -> None:
    guarded = desk(only_here=False, token=TOKEN)
    for shown in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}1", "Bearer \xff"):
        answer = guarded.answer(asks(Authorization=shown))
        assert answer.status == HTTPStatus.UNAUTHORIZED
        assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer.encoded()
    assert guarded.answer(asks(Authorization=f"Bearer {TOKEN}")).status == HTTPStatus.OK


@contextlib.asynccontextmanager
async def serving(listen: str = "127.0.0.1:0", token: str | None = None, limits: Limits = LIMITS) -> AsyncIterator[int]:
    """Serve the metrics of a monitor without a run; yield the port."""
    said: list[str] = []
    log = node_log("monitor")
    access = Access(AccessSettings(), token=token.encode() if token else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "info", lambda text, *args: said.append(text % args))
        async with exposed(0, listen, lambda: of_monitor([], 0.0), log, access, limits):
            (line,) = said
            yield int(line.rpartition(":")[2].partition("/")[0])


async def asked(port: int, request_: bytes) -> bytes:
    """Send a request and return the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request_)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
def test_the_token_is_required_only_if_other_machines_can_reach_the_metrics(listen: str) -> None:
    async def scene() -> None:
        async with serving(listen, TOKEN) as port:
            shown = await asked(port, asks(Authorization=f"Bearer {TOKEN}"))
            hidden = await asked(port, asks())
        assert shown.startswith(b"HTTP/1.1 200 OK\r\n")
        assert hidden.startswith(b"HTTP/1.1 200" if listen.startswith("127") else b"HTTP/1.1 401")
        assert (b"smssim_" in hidden) == listen.startswith("127")

    play(scene())


def test_a_format_of_an_unknown_version_is_answered_too() -> None:
    async def scene() -> None:
        async with serving() as port:
            for version in ("a.b.c;escaping=underscores", "abc;escaping", ""):
                for kind in ("text/plain", "application/openmetrics-text"):
                    answer = await asked(port, asks(Accept=f"{kind};version={version}"))
                    assert answer.startswith(b"HTTP/1.1 200"), (version, kind)

    play(scene())


def test_the_response_has_the_requested_format() -> None:
    async def scene() -> None:
        async with serving() as port:
            plain, other = [
                await asked(port, asks(Accept=accept)) for accept in ("", "application/openmetrics-text; version=1.0.0")
            ]
        assert b"\r\nContent-Type: text/plain; version=" in plain
        assert b"\r\nContent-Type: application/openmetrics-text; version=" in other
        assert other.endswith(b"# EOF\n")
        head, _, body = plain.partition(b"\r\n\r\n")
        assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head + b"\r\n"

    play(scene())


def test_a_scrape_is_answered_while_many_connections_stall_and_they_use_no_threads() -> None:
    async def scene() -> None:
        async with serving(limits=replace(LIMITS, http_connection_s=1000.0)) as port:
            threads = threading.active_count()
            stalled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            for i, (_, writer) in enumerate(stalled):
                writer.write((b"", b"GET /metrics HTTP/1.1\r\nHost: local", b"\r\n")[i % 3])
            assert b"smssim_messages_total" in await asked(port, asks())
            assert threading.active_count() <= threads
            for reader, _ in stalled[: 200 - LIMITS.http_connections_max]:  # one too many closes the oldest
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            for _, writer in stalled:
                writer.close()

    play(scene())


def test_a_connection_that_stalls_times_out() -> None:
    async def scene() -> None:
        async with serving(limits=replace(LIMITS, http_connection_s=0.1)) as port:
            assert await asked(port, b"GET /metrics HTTP/1.1\r\n") == b""

    play(scene())


def test_the_metrics_server_ends_with_its_node_even_if_clients_are_connected() -> None:
    async def scene() -> None:
        async with serving() as port:
            stalled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            await asked(port, asks())  # by now all of them are accepted
        for reader, writer in stalled:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        assert len(asyncio.all_tasks()) == 1

    play(scene())


def test_a_request_that_is_too_long_is_refused() -> None:
    async def scene() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * LIMITS.http_head_bytes_max)
            assert (await reader.read(12)) == b"HTTP/1.1 431"
            writer.close()

    play(scene())


def test_scrapes_at_about_the_same_time_share_one_reading() -> None:
    read = 0

    def figures() -> list[Metric]:
        nonlocal read
        read += 1
        return of_monitor([], 0.0)

    async def scene() -> None:
        registry = CollectorRegistry()
        registry.register(metrics_module._Collector(figures))
        exposition = metrics_module._Exposition(registry, replace(LIMITS, scrape_shared_s=1000.0))
        assert len({exposition.page("*/*") for _ in range(5)}) == 1
        assert read == 1

    play(scene())
