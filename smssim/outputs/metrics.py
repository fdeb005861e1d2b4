"""Metrics for Prometheus: what a node exposes, and the page that shows it.

Metrics are read from the core on each scrape, on the node's own event loop, and cost nothing otherwise. They are not
an `Output`, because nothing is written to them, and because producers and senders have them too. This module defines
their names and kinds. Labels have few values, never a name or an id. Knows prometheus-client, which it imports only
if metrics are requested.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Latencies
from smssim.errors import UsageError
from smssim.net import http
from smssim.net.access import OPEN, Access
from smssim.net.http import Desk, HttpServer
from smssim.process import ready
from smssim.process.logs import Log
from smssim.settings import is_loopback, split_address

if TYPE_CHECKING:  # a node needs only what it is itself, and starts faster without the others
    from smssim.core.backlog import Backlog
    from smssim.core.sending import SenderProtocol
    from smssim.core.tally import Tally

LATENCY_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, a gauge or a histogram with one value, or with one value per outcome."""

    name: str  # a counter's name without _total
    meaning: str  # its help text
    kind: str  # counter, gauge or histogram
    value: float | Latencies = 0.0
    by_outcome: dict[str, float] = field(default_factory=dict)


def _counter(name: str, meaning: str, value: float = 0.0, **by_outcome: float) -> Metric:
    return Metric(name, meaning, "counter", value, by_outcome)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return Metric(name, meaning, "gauge", value)


# ---- What each node exposes


def of_monitor(tallies: Sequence[Tally], now: float) -> list[Metric]:
    """Return the metrics of a monitor, summed over the runs in memory. A dropped run takes its counts with it."""
    figures = [tally.figures(now) for tally in tallies]
    sums = {
        name: sum(getattr(one, name) for one in figures)
        for name in (
            *("total", "sent", "failed", "retried", "attempts", "duplicates", "in_flight", "waiting", "senders"),
            *("unreachable", "cost"),
        )
    }
    reports = sum(session.sequence for tally in tallies for session in tally.sessions.values())
    latencies = Latencies()
    for tally in tallies:
        latencies.merge(tally.progress.latencies)
    return [
        _counter("smssim_messages", "Messages with a final outcome", sent=sums["sent"], failed=sums["failed"]),
        _counter("smssim_attempts", "Attempts, not counting duplicates", sums["attempts"]),
        _counter("smssim_retries", "Failed attempts that are followed by a retry", sums["retried"]),
        _counter("smssim_duplicates", "Final outcomes of messages that already had one", sums["duplicates"]),
        _counter("smssim_unreachable", "Messages that failed because nobody can deliver them", sums["unreachable"]),
        _counter("smssim_cost", "Cost of all attempts, at the prices of the senders", sums["cost"]),
        _counter("smssim_reports", "Reports recorded", reports),
        _gauge("smssim_run_messages", "Messages of the followed runs", sums["total"]),
        _gauge("smssim_in_flight_messages", "Messages being sent, or sent and not yet reported", sums["in_flight"]),
        _gauge("smssim_waiting_messages", "Messages waiting to be sent", sums["waiting"]),
        _gauge("smssim_senders", "Senders that are reporting", sums["senders"]),
        Metric("smssim_latency_seconds", "Time from queued to final outcome", "histogram", latencies),
    ]


def of_owner(owns: bool) -> list[Metric]:
    """Return the metric of a node that others can replace: whether it owns its run."""
    return [_gauge("smssim_owner", "1 if this node owns its run, 0 if it stands by", float(owns))]


def of_producer(backlog: Backlog, senders: int) -> list[Metric]:
    """Return the metrics of a producer, for its only run."""
    return [
        _counter("smssim_producer_settled_messages", "Messages settled", sent=backlog.sent, failed=backlog.failed),
        _counter(
            "smssim_producer_redelivered_messages",
            "Messages redelivered after their lease was lost",
            backlog.redelivered,
        ),
        _gauge("smssim_producer_leased_messages", "Messages leased to senders", backlog.leased),
        _gauge("smssim_producer_waiting_messages", "Messages waiting to be delivered", backlog.waiting),
        _gauge("smssim_producer_senders", "Senders with an open stream", senders),
        _gauge(
            "smssim_producer_credit_messages",
            "Messages that senders are ready to receive",
            sum(h.credit for h in backlog.holders),
        ),
    ]


def of_senders(sendings: Sequence[SenderProtocol], reconnects: int) -> list[Metric]:
    """Return the metrics of a sender process: the sums over all copies that take part in a run."""
    return [
        _gauge("smssim_sender_copies", "Senders taking part in a run", len(sendings)),
        _gauge(
            "smssim_sender_lanes",
            "Messages that can be sent at the same time",
            sum(s.lanes.concurrency for s in sendings),
        ),
        _gauge("smssim_sender_busy_lanes", "Messages being sent", sum(s.lanes.busy for s in sendings)),
        _gauge(
            "smssim_sender_held_messages", "Messages received and not yet started", sum(s.lanes.held for s in sendings)
        ),
        _gauge(
            "smssim_sender_connected_copies",
            "Senders with a stream to the producer",
            sum(s.connected for s in sendings),
        ),
        _counter("smssim_sender_reports", "Reports sent in the current run", sum(s.reports for s in sendings)),
        _counter("smssim_sender_reconnects", "Reconnections to a lost peer", reconnects),
    ]


# ---- Exposing


@contextlib.asynccontextmanager
async def exposed(
    port: int | None,
    listen: str,
    read: Callable[[], list[Metric]],
    log: Log,
    access: Access = OPEN,
    limits: Limits = LIMITS,
) -> AsyncIterator[None]:
    """Serve the metrics that `read` returns over HTTP while the context is open; do nothing if `port` is None.

    The server listens on the host of the address `listen`. If that is not a loopback address and a token is set, each
    scrape must send the token. Raises UsageError if the port is not available or prometheus-client is not installed.
    """
    if port is None:
        yield
        return
    try:
        import prometheus_client
    except ImportError as error:
        needs = "prometheus-client is not installed: run pip install 'smssim[metrics]'"
        raise UsageError(f"--metrics-port: {needs}") from error
    host, _ = split_address("--listen", listen)
    registry = prometheus_client.CollectorRegistry()
    registry.register(_Collector(read))
    only_here = is_loopback(listen)
    desk = Desk("/metrics", _Exposition(registry, limits).page, OPEN.admits if only_here else access.admits, only_here)
    server = HttpServer(desk, limits)
    await server.start(http.listen("--metrics-port", host, port))
    url = f"http://{http.shown(host)}:{server.port}/metrics"
    log.info("Serving metrics at %s", url)
    ready.announce("metrics", url=url)
    try:
        yield
    finally:
        await server.close()


class _Exposition:
    """The page that is scraped. It is read from the core at most once every `scrape_shared_s` seconds."""

    def __init__(self, registry: Any, limits: Limits = LIMITS) -> None:
        self._registry = registry
        self._shared_s = limits.scrape_shared_s
        self._clock = asyncio.get_running_loop().time
        self._made_at = -math.inf
        self._made: dict[str, bytes] = {}  # by content type

    def page(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the text of the page, in the format that the Accept header asks for."""
        from prometheus_client.exposition import choose_encoder

        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a malformed version
            encode, content_type = choose_encoder("")
        if self._clock() >= self._made_at + self._shared_s:
            self._made_at = self._clock()
            self._made.clear()
        if content_type not in self._made:
            self._made[content_type] = encode(self._registry)
        return content_type, self._made[content_type]


class _Collector:
    """The collector that prometheus-client calls on each scrape."""

    def __init__(self, read: Callable[[], list[Metric]]) -> None:
        self._read = read

    def collect(self) -> list[Any]:
        """Return the metrics of this moment."""
        return [_family(metric) for metric in self._read()]

    def describe(self) -> list[Any]:
        """Return nothing: the metrics are only known on a scrape."""
        return []


def _family(metric: Metric) -> Any:
    from prometheus_client import core

    if isinstance(metric.value, Latencies):
        return core.HistogramMetricFamily(metric.name, metric.meaning, *_buckets(metric.value))
    kind = core.CounterMetricFamily if metric.kind == "counter" else core.GaugeMetricFamily
    if not metric.by_outcome:
        return kind(metric.name, metric.meaning, value=metric.value)
    family = kind(metric.name, metric.meaning, labels=["outcome"])
    for outcome, value in metric.by_outcome.items():
        family.add_metric([outcome], value)
    return family


def _buckets(latencies: Latencies) -> tuple[list[tuple[str, float]], float]:
    """Return the count of latencies up to each bound, and the sum of all latencies, accurate to 0.4%."""
    counts = latencies.up_to(LATENCY_BUCKETS_S)
    bounds = [f"{bound:g}" if bound % 1 else f"{bound:.1f}" for bound in LATENCY_BUCKETS_S]
    return [*zip(bounds, counts, strict=True), ("+Inf", latencies.count)], latencies.total_s
