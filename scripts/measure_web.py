#!/usr/bin/env python3
"""Measures what the live page costs, and prints a table: each figure, its target, and whether it is reached.

Some figures come from a page in this process with made-up runs, the others from real nodes on this machine. Nothing
else should run meanwhile. `--only NAME` measures one group; `--quick` takes a minute instead of about ten. What the
page costs a browser is for measure_page.py.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import statistics
import time
from asyncio.events import Handle
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from figure_table import Figure, asked, show
from web_nodes import Cluster, Node, request, viewing

from smssim.core.course import Course
from smssim.core.fleet import Fleet, SenderRow
from smssim.core.model import RunFacts
from smssim.core.progress import Figures, Latencies
from smssim.core.session import State
from smssim.core.snapshot import Detail, Snapshot
from smssim.outputs.document import About
from smssim.outputs.of_course import Seen
from smssim.process import ready
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings
from smssim.web import app, assets
from smssim.web.frames import Static, encoded, frame, message
from smssim.web.page import Page

RUN_ID: Final = "3f2a9c1e-0000-4000-8000-000000000001"
KB: Final = 1000
HISTORY_S: Final = 5_000  # longer than a history has samples
SATURATING: Final = ("--mean=0.01", "--fail=0.1", "--concurrency=50000")
THOUSAND: Final = ("--mean=0.5", "--concurrency=10", "--copies=1000")


# ---- A page in this process


def realistic(senders: int, elapsed_s: float = 500.0) -> Snapshot:
    """Return a run with figures of as many digits as real ones have."""
    random = np.random.default_rng(int(elapsed_s))
    rates, times = random.gamma(9.0, 1.0, senders).tolist(), random.gamma(16.0, 0.03, senders).tolist()
    states = random.choice([State.SENDING, State.SENDING, State.SENDING, State.WAITING], senders).tolist()
    sent = (elapsed_s * random.uniform(7.0, 9.0, senders)).astype(int).tolist()
    rows = tuple(
        SenderRow(f"sender-{i}", 0.5, 0.02, 4, State(state), n, n // 50, n, time_s, rate, rate, 4, 9)
        for i, (state, n, time_s, rate) in enumerate(zip(states, sent, times, rates, strict=True), 1)
    )
    done, total = sum(sent), 10**6 if senders < 100 else 10**8
    latencies = Latencies()
    latencies.add(random.uniform(0.1, elapsed_s + 1, 10**5).astype(np.float32))
    shape = latencies.shape()
    figures = Figures(
        run_id=RUN_ID,
        total=total,
        elapsed_s=elapsed_s * 1.0000123,
        sent=done,
        failed=done // 50,
        retried=done // 7,
        attempts=done,
        duplicates=12,
        in_flight=4 * senders,
        waiting=total - done - done // 50 - 4 * senders,
        avg_time_s=0.5012345,
        avg_sent_time_s=0.5012345,
        rate_per_s=done / (elapsed_s + 1),
        recent_rate_per_s=done / (elapsed_s + 1),
        latency_p50_s=elapsed_s / 2.123,
        latency_p95_s=elapsed_s / 1.123,
        latency_p99_s=elapsed_s / 1.0123,
        senders=senders,
        senders_seen=senders,
        complete=False,
        final=False,
    )
    reached = {50: 123.456789, 80: 234.567891}
    return Snapshot(figures, Fleet(rows), detail=Detail(RunFacts(RUN_ID, 7, total, 3), shape), reached_s=reached)


def long_run(senders: int) -> Seen:
    """Return a run so long that its history and its senders by time are full."""
    course, some = Course(), [realistic(senders, float(second)) for second in range(8)]
    for second in range(HISTORY_S):
        one = some[second % len(some)]
        course.note(replace(one, figures=replace(one.figures, elapsed_s=second * 1.0000123)))
    last = realistic(senders, float(HISTORY_S))
    course.note(last)
    return Seen(last, course, About(title="bad-day", command="smssim run bad-day.yaml --seed 7"))


def median_ms(what: Callable[[], object], repeat: int = 50) -> float:
    """Return the median processor time of something, in milliseconds."""
    times = []
    for _ in range(repeat):
        started = time.thread_time()
        what()
        times.append(time.thread_time() - started)
    return 1000 * statistics.median(times)


def page_files(_: bool) -> list[Figure]:
    """Measure the files of the page."""
    files = assets.load().values()
    packed = sum(len(file.packed or file.body) for file in files)
    return [
        Figure("page: bytes of all files", sum(len(file.body) for file in files) / KB, "KB", 120),
        Figure("page: the same with gzip", packed / KB, "KB", 45),
    ]


def frames(_: bool) -> list[Figure]:
    """Measure frames and states."""
    figures: list[Figure] = []
    runs = {senders: long_run(senders) for senders in (20, 1000)}
    for senders, most in ((20, 2.0), (1000, 24.0)):
        seen = runs[senders]
        static = Static.of(seen.snapshot)

        def make(seen: Seen = seen, static: Static = static) -> bytes:
            return message("frame", frame(seen, Static.of(seen.snapshot, static).version))

        figures.append(Figure(f"frame at {senders:,} senders", len(make()) / 1024, "KiB", most))
        figures.append(Figure(f"frame at {senders:,} senders: to make", median_ms(make), "ms", 2.0))
    seen = runs[1000]
    state = encoded(seen.document())
    return [
        *figures,
        Figure("state at 1,000 senders with a full history", len(state) / KB, "KB"),
        Figure("the same with gzip", len(gzip.compress(state, app.LEVEL)) / KB, "KB", 150),
        Figure("the same: to make the document", median_ms(seen.document, 20), "ms", 10),
        Figure("the same: to compress, in a thread", median_ms(lambda: gzip.compress(state, app.LEVEL), 20), "ms"),
    ]


def callbacks(quick: bool) -> list[Figure]:
    """Measure the longest callback on the event loop of a page with 1,000 senders and ten viewers."""
    longest: list[float] = []
    run = Handle._run  # noqa: SLF001 - there is no other way to see each callback

    def timed(handle: Handle) -> None:
        started = time.thread_time()
        run(handle)
        longest.append(time.thread_time() - started)

    async def scene() -> float:
        urls: list[str] = []
        ready.announce = lambda event, url, **more: urls.append(url)
        page, seen = Page(MonitorSettings(web=0, log_level="error"), node_log("monitor")), long_run(1000)
        page.open()
        page.noted(seen.snapshot, seen.course)
        port = int(urls[0].rpartition(":")[2].strip("/"))
        viewers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        for _, writer in viewers:
            writer.write(request("/api/events"))
        readers = [asyncio.create_task(reader.read(-1)) for reader, _ in viewers]
        await asyncio.sleep(0.5)
        longest.clear()
        Handle._run = timed  # type: ignore[assignment,method-assign] # noqa: SLF001
        busy = 0.0
        for second in range(1, 4 if quick else 11):
            one = realistic(1000, HISTORY_S + float(second))
            before = len(longest)
            page.noted(one, seen.course)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("/api/state"))
            await reader.read()
            await asyncio.sleep(1.1)
            busy = max(busy, sum(longest[before:]))
        Handle._run = run  # type: ignore[method-assign] # noqa: SLF001
        await page.close()
        await asyncio.gather(*readers)
        return busy

    busy = asyncio.run(scene())
    return [
        Figure("longest callback: 1,000 senders, 10 viewers, a state each second", 1000 * max(longest), "ms", 10),
        Figure("all callbacks of one second of that", 1000 * busy, "ms"),
    ]


# ---- Real nodes


def share(quick: bool) -> list[Figure]:
    """Measure what ten viewers of a run with 1,000 senders cost the monitor, in turns with and without them."""
    window_s, turns = (5.0, 2) if quick else (10.0, 10)

    def used(node: Node) -> float:
        before, since = node.cpu_s(), time.monotonic()
        time.sleep(window_s)
        return (node.cpu_s() - before) / (time.monotonic() - since)

    alone, seen = [], []
    with Cluster(10**9, THOUSAND) as cluster:
        cluster.until(lambda figures: figures["senders"] == 1000 and figures["elapsed_s"] > 8)
        for _ in range(turns):
            alone.append(100 * used(cluster.monitor))
            with viewing(cluster.port, 10):
                seen.append(100 * used(cluster.monitor))
    more = statistics.median(b - a for a, b in zip(alone, seen, strict=True))
    return [
        Figure("monitor with 1,000 senders and no viewer", statistics.median(alone), "% core"),
        Figure("what 10 viewers add", more, "% core", 1.5),
    ]


def throughput(quick: bool) -> list[Figure]:
    """Measure the throughput with and without a viewer, in alternating pairs."""
    count, pairs = (4_000_000, 2) if quick else (20_000_000, 5)

    def rate(viewers: int) -> float:
        with Cluster(count, SATURATING, page=bool(viewers)) as cluster, viewing(cluster.port, viewers):
            return float(cluster.until(lambda figures: figures["final"])["rate_per_s"])

    ratios = []
    for number in range(pairs):
        with_viewer, without = (rate(1), rate(0)) if number % 2 else reversed((rate(0), rate(1)))
        ratios.append(with_viewer / without)
    spread = max(ratios) - min(ratios)
    return [
        Figure(
            "throughput with a page and a viewer, of that without a page", statistics.median(ratios), "", 0.98, True
        ),
        Figure("the same: largest less smallest of the pairs", spread, ""),
    ]


def ending(_: bool) -> list[Figure]:
    """Measure how long a monitor with twenty open tabs takes to exit after the last frame."""
    with Cluster(2000, ("--mean=0.02", "--concurrency=20")) as cluster, viewing(cluster.port, 20) as viewers:
        cluster.monitor.process.wait()
        ended_at = time.monotonic()
        for viewer in viewers:
            viewer.join()
        final_at = max(viewer.final_at for viewer in viewers)
        told = sum(bool(viewer.final_at and viewer.over_at) for viewer in viewers)
    return [
        Figure("viewers of 20 that got the last frame and the end", told, "", 20, True),
        Figure("exit after the last frame, with 20 viewers", ended_at - final_at, "s", 1.0),
    ]


def stalled(quick: bool) -> list[Figure]:
    """Measure the memory that 64 viewers take that never read, and whether reports are answered meanwhile."""
    for_s = 20.0 if quick else 60.0

    def stall(port: int) -> socket.socket:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", port))
        one.sendall(request("/api/events"))
        return one

    with Cluster(10**9, THOUSAND) as cluster:
        cluster.until(lambda figures: figures["senders"] == 1000 and figures["elapsed_s"] > 15)
        with viewing(cluster.port, 1):
            started = cluster.monitor.figures()[-1]
            time.sleep(for_s / 4)
        before, done = cluster.monitor.rss(), cluster.monitor.figures()[-1]
        most, since = before, time.monotonic()
        sockets = [stall(cluster.port) for _ in range(64)]
        opened = len(sockets)
        while time.monotonic() < since + for_s:
            time.sleep(0.5)
            most = max(most, cluster.monitor.rss())
            for number, one in enumerate(sockets):
                if is_closed(one):
                    one.close()
                    sockets[number] = stall(cluster.port)
                    opened += 1
        after, now = cluster.monitor.rss(), cluster.monitor.figures()[-1]
        for one in sockets:
            one.close()
    usual, rate = pace(started, done), pace(done, now)
    return [
        Figure(f"64 stalled viewers for {for_s:g} s: most memory added", (most - before) / 1e6, "MB", 20),
        Figure("the same: added at the end", (after - before) / 1e6, "MB"),
        Figure("the same: connections that were opened, as stuck ones are closed", opened, ""),
        Figure("the same: attempts counted per second, of those before", rate / usual, "", 0.98, True),
    ]


def pace(first: dict[str, Any], last: dict[str, Any]) -> float:
    """Return the attempts per second between two objects of a monitor."""
    return float((last["attempts"] - first["attempts"]) / (last["elapsed_s"] - first["elapsed_s"]))


def is_closed(one: socket.socket) -> bool:
    """Return whether the other side has reset a connection; reads nothing."""
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) or tcp_state(one) != ESTABLISHED


ESTABLISHED: Final = 1  # linux/tcp.h


def tcp_state(one: socket.socket) -> int:
    """Return the state of a TCP connection (Linux)."""
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


GROUPS: Final[dict[str, Callable[[bool], list[Figure]]]] = {
    "files": page_files,
    "frames": frames,
    "callbacks": callbacks,
    "share": share,
    "throughput": throughput,
    "end": ending,
    "stalled": stalled,
}


def main() -> None:
    """Measure and print."""
    names, quick = asked(__doc__, GROUPS, "measure for a shorter time")
    show(figure for name in names for figure in GROUPS[name](quick))


if __name__ == "__main__":
    main()
