"""Bounds on the cost of a message: frames, requests, reports, bytes and Python calls.

Costs are counted, not timed, so they don't depend on how busy the machine is. The first half drives the core and the
wire format under a simulated clock, where each count is the same every time. The second half runs the real nodes in
this process. A bound is at most 1.5 times what was measured when it was written; the bound on bytes leaves less room
than another column of four bytes takes.
"""

from __future__ import annotations

import contextlib
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from nodes_support import Stage, assert_exact, codes, play
from virtual_support import World, counted_calls

from smssim.core.backlog import Backlog
from smssim.core.exchange import Request
from smssim.core.leaseholder import LeaseHolder
from smssim.core.producer_stream import ProducerStream
from smssim.core.queue import BATCH_ROWS_MAX
from smssim.core.stretches import Stretches
from smssim.settings import SenderSettings

SATURATING = SenderSettings(mean_s=0.01, concurrency=50_000)
SMALL = SenderSettings(mean_s=0.5, concurrency=10)


@pytest.fixture(scope="module")
def saturated() -> dict[str, float]:
    """Return the costs per message of one sender with 50,000 lanes of 10 ms.

    It sends two million messages, many times what it asks for ahead.
    """
    world = World(2_000_000, SATURATING)
    costs = world.cost()
    assert (world.tally.ledger.final, world.backlog.settled) == (2_000_000, 2_000_000)
    return costs


@pytest.fixture(scope="module")
def scattered() -> dict[str, float]:
    """Return the costs per message of 1,000 senders with 10 lanes of 0.5 s, over two seconds during their run."""
    world = World(200_000, SMALL, copies=1000)
    costs = world.cost(4.0, 6.0)
    assert world.tally.ledger.final > 80_000
    return costs


@pytest.mark.parametrize(
    ("what", "bound"),
    [("frames", 0.000_1), ("requests", 0.000_023), ("reports", 0.000_018), ("bytes", 106), ("calls", 0.0155)],
)
def test_the_cost_per_message_of_a_large_sender_is_within_its_bound(
    saturated: dict[str, float], what: str, bound: float
) -> None:
    assert 0 < saturated[what] <= bound


@pytest.mark.parametrize(
    ("what", "bound"),
    [("frames", 0.055), ("requests", 0.055), ("reports", 0.03), ("bytes", 102), ("calls", 14), ("wake-ups", 0.11)],
)
def test_the_cost_per_message_of_many_small_senders_is_within_its_bound(
    scattered: dict[str, float], what: str, bound: float
) -> None:
    assert 0 < scattered[what] <= bound


# -- waiting messages cost nothing

LOST: dict[str, int] = {"few": 5_000, "a million": 1_000_000}  # how many messages the lost sender held
HOW = ["in a row", "every other one", "half of them settled since", "handed back"]


def with_returned(count: int, how: str) -> Backlog:
    """Return a backlog in which `count` messages of a large sender wait to be delivered again, as in `how`."""
    backlog = Backlog(2 * count + 1_000_000)
    spread = 2 * count if how in ("every other one", "half of them settled since") else count
    large = holder_of(backlog, "large", spread)
    other = np.arange(1, spread, 2)
    final = np.ones(len(other), np.uint8)
    if how == "every other one":
        backlog.settle(other, final, final, 0.0)
    if how == "handed back":
        backlog.hand_back(large, np.arange(count), 0.0)
    backlog.lose(large)
    assert backlog.waiting == backlog.total - backlog.settled
    if how == "half of them settled since":
        backlog.settle(other, final, final, 0.0)
    return backlog


def holder_of(backlog: Backlog, name: str, count: int) -> LeaseHolder:
    """Add a sender and lease `count` messages to it."""
    holder = backlog.join(name, 1.0, count, 0.0)
    holder.ask(count, count, 0)
    backlog.grant(holder, 0.0)
    assert holder.leased == count
    return holder


@contextlib.contextmanager
def counted_work(counts: Counter[str]) -> Iterator[None]:
    """Count the messages whose state is looked up, the calls of smssim's functions and the peak of memory in bytes."""
    look_up = Stretches.open

    def noted(self: Stretches, ids: Any) -> Any:
        counts["looked up"] += len(ids)
        return look_up(self, ids)

    tracemalloc.start()
    try:
        with mock.patch.object(Stretches, "open", noted), counted_calls(counts, "/smssim/"):
            yield
        counts["bytes"] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", LOST)
@pytest.mark.parametrize("how", HOW)
def test_the_cost_of_a_grant_depends_on_its_size_and_not_on_how_many_messages_await_redelivery(
    how: str, size: str
) -> None:
    backlog = with_returned(LOST[size], how)
    small = [backlog.join(f"small-{i}", 0.1, 10, 0.0) for i in range(100)]
    costs, granted = Counter[str](), 0
    with counted_work(costs):
        for holder in small:
            holder.ask(20, 10, 0)
            granted += sum(len(batch.ids) for batch in backlog.grant(holder, 0.0))
    assert granted == 20 * len(small)
    assert costs["looked up"] <= 5 * granted
    assert costs["calls"] <= 45 * len(small)
    assert costs["bytes"] <= 10 * BATCH_ROWS_MAX


@pytest.mark.parametrize("size", LOST)
def test_the_cost_of_a_request_does_not_depend_on_how_many_messages_await_redelivery(size: str) -> None:
    backlog = with_returned(LOST[size], "in a row")
    holder = backlog.join("small", 0.1, 10, 0.0)
    serving = ProducerStream(backlog, holder)
    costs = Counter[str]()
    with counted_work(costs):
        serving.apply(Request(), 0.0)
        assert serving.lease(0.0) == []
        assert not serving.concerns_others(0.0)
        assert serving.response(None) is None
    assert costs["looked up"] == 0
    assert costs["calls"] <= 30
    assert costs["bytes"] <= 5_000


@pytest.mark.parametrize("size", LOST)
def test_the_cost_of_losing_a_small_sender_does_not_depend_on_what_a_large_one_holds(size: str) -> None:
    backlog = Backlog(10_000_000)
    holder_of(backlog, "large", LOST[size])
    small = [holder_of(backlog, f"small-{i}", 20) for i in range(100)]
    costs = Counter[str]()
    with counted_work(costs):
        for holder in small:
            backlog.lose(holder)
            backlog.readied  # noqa: B018 - queues its messages again
    assert backlog.leased == LOST[size]
    assert costs["calls"] <= 50 * len(small)
    assert costs["bytes"] <= 2 * BATCH_ROWS_MAX


def test_the_live_nodes_and_grpc_make_far_fewer_python_calls_than_there_are_messages() -> None:
    total, counts = 300_000, Counter[str]()

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(total, monitor=monitor.address)
            sender = stage.sender(producer.address, mean_s=SATURATING.mean_s, concurrency=SATURATING.concurrency)
            with counted_calls(counts):
                await codes(producer, monitor, sender)
            assert_exact(producer, monitor)

    play(scene())
    assert 0 < counts["calls"] <= 0.2 * total
