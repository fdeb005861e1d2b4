"""A lease lasts as long as requests arrive and the sender's attempts can explain why nothing is settled."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import replace

import numpy as np
import pytest
from nodes_support import LOOK_S, Fetching, Stage, a_sender, assert_exact, codes, hello, play

from smssim.core.backlog import Backlog
from smssim.core.conditions import Conditions
from smssim.core.exchange import Request
from smssim.core.fate import time_table
from smssim.core.fault import Fault, FaultKind
from smssim.core.leaseholder import LeaseHolder, longest_attempt_s
from smssim.core.limits import LIMITS
from smssim.core.model import Outcome, RunFacts, StartLimit
from smssim.core.producing import ProducerRun
from smssim.net import wire
from smssim.settings import SenderSettings
from smssim.v1 import producer_pb2

pytestmark = pytest.mark.usefixtures("quiet")

LONGEST_S = 2.0
MOST_S = LIMITS.slower_max * LONGEST_S + LIMITS.stuck_after_s


def holding(backlog: Backlog, count: int, now: float = 0.0) -> LeaseHolder:
    """Add a sender and lease `count` messages to it."""
    holder = backlog.join("a", 1.0, 1, now, LONGEST_S)
    holder.ask(count, count, 0)
    assert sum(len(batch.ids) for batch in backlog.grant(holder, now)) == count
    return holder


def expired(backlog: Backlog, now: float) -> list[LeaseHolder]:
    """Let all senders send a heartbeat and return the streams that expire all the same."""
    for holder in backlog.holders:
        holder.last_request_at = now
    return backlog.expire(now)


def settle(backlog: Backlog, number: int, outcome: Outcome, now: float) -> None:
    backlog.settle(np.array([number]), np.array([outcome], np.uint8), np.ones(1, np.uint8), now)


def test_heartbeats_alone_keep_leases_only_as_long_as_attempts_can_take() -> None:
    backlog = Backlog(5)
    holder = holding(backlog, 3)
    assert expired(backlog, MOST_S) == []
    assert expired(backlog, MOST_S + 0.1) == [holder]
    assert (backlog.leased, backlog.waiting) == (0, 5)
    assert holder.expired == (
        "none of 3 leased messages was settled or handed back for 80 s, although an attempt takes at most 2 s"
    )


def test_each_message_that_is_settled_or_handed_back_restarts_the_time_for_the_others() -> None:
    for outcome in (Outcome.SENT, Outcome.FAILED, Outcome.RETRY, None):
        backlog = Backlog(5, max_attempts=2)
        holder = holding(backlog, 3)
        if outcome is None:
            backlog.hand_back(holder, np.array([1]), MOST_S)
        else:
            settle(backlog, 1, outcome, MOST_S)
        assert expired(backlog, 2 * MOST_S) == []
        assert expired(backlog, 2 * MOST_S + 0.1) == [holder]


def test_settling_or_handing_back_messages_of_others_gives_a_sender_no_more_time() -> None:
    backlog = Backlog(5)
    other = backlog.join("b", 1.0, 1, 0.0)
    other.ask(1, 1, 0)
    backlog.grant(other, 0.0)
    holder = holding(backlog, 3)
    settle(backlog, 0, Outcome.SENT, 50.0)
    settle(backlog, 0, Outcome.SENT, MOST_S)
    backlog.hand_back(holder, np.array([0]), MOST_S)
    assert expired(backlog, MOST_S + 0.1) == [holder]


def test_the_time_starts_when_a_sender_without_messages_gets_some() -> None:
    backlog = Backlog(5)
    holder = backlog.join("a", 1.0, 1, 0.0, LONGEST_S)
    assert expired(backlog, 1000.0) == []
    holder.ask(1, 1, 0)
    backlog.grant(holder, 1000.0)
    assert expired(backlog, 1000.0 + MOST_S) == []
    settle(backlog, 0, Outcome.SENT, 1000.0 + MOST_S)
    assert expired(backlog, 9000.0) == []


def test_a_pause_of_the_producer_does_not_count() -> None:
    backlog = Backlog(5)
    holder = holding(backlog, 3)
    backlog.holders.forgive_pause(500.0, 500.0)
    assert expired(backlog, 500.0 + MOST_S) == []
    assert expired(backlog, 500.1 + MOST_S) == [holder]


def test_leases_without_progress_last_at_least_the_lease_timeout_and_the_give_up_timeout() -> None:
    for lease_timeout_s, give_up_s in ((300.0, 1.0), (10.0, 300.0)):
        backlog = Backlog(5, lease_timeout_s=lease_timeout_s, give_up_s=give_up_s)
        holder = holding(backlog, 3)
        assert expired(backlog, LIMITS.slower_max * LONGEST_S + 300.0) == []
        assert expired(backlog, LIMITS.slower_max * LONGEST_S + 300.1) == [holder]


def test_no_attempt_takes_longer_than_the_bound_for_its_distribution() -> None:
    shares = (0.0, 0.3, 0.57, 1.0, 10.0, 1000.0)
    wide = itertools.product(("gamma", "lognormal", "normal"), shares)
    for name, share in (*wide, *itertools.product(("uniform",), shares[:3]), ("exponential", 1.0), ("fixed", 0.0)):
        longest_s = float(time_table(name, 2.0, 2.0 * share)[-1])
        assert 2.0 <= longest_s <= longest_attempt_s(name, 2.0, 2.0 * share) * (1 + 1e-6), (name, share)


def test_a_slowed_sender_keeps_its_leases_for_as_long_as_its_slowed_attempts_take() -> None:
    """Even with attempts that all take the mean, which leaves the producer the least room."""
    settings = SenderSettings(mean_s=10.0, distribution="fixed", faults=(Fault(0.0, FaultKind.SLOW, "", factor=100.0),))
    sender = wire.sender_from_proto(wire.sender_to_proto(str(uuid.UUID(int=1)), "slow", settings))
    producer = ProducerRun(RunFacts(str(uuid.UUID(int=2)), 1, 5, 1), 0.0)
    stream, _ = producer.join(sender, settings.distribution, 0.0, 0.0)
    producer.apply(stream, Request(credit=1, idle_lanes=1), 0.0)
    assert stream.holder.leased == 1
    assert stream.holder.speed == 0.1  # as declared: fair shares don't follow the fault
    conditions = Conditions(1, 1, settings.attempt_model, settings.faults)
    (slowed_s,), _ = conditions.fates_in(1).draw(np.zeros(1, np.uint64), 1)
    assert slowed_s == 1000.0
    assert expired(producer.backlog, 2 * slowed_s) == []
    assert expired(producer.backlog, 100 * slowed_s) == [stream.holder]


def test_a_limited_sender_has_the_time_between_two_starts_on_top() -> None:
    backlog = Backlog(5)
    limit = StartLimit(500.0, 0.0)
    holder = backlog.join("a", 1.0, 9, 0.0, LONGEST_S, limit)
    holder.ask(3, 3, 0)
    backlog.grant(holder, 0.0)
    assert expired(backlog, MOST_S + limit.interval_s) == []
    assert expired(backlog, MOST_S + limit.interval_s + 0.1) == [holder]


def test_a_limited_sender_gets_what_it_says_it_can_start_and_its_share_by_its_limit() -> None:
    backlog = Backlog(1000)
    fast = backlog.join("a", 1.0, 90, 0.0)
    slow = backlog.join("b", 1.0, 500, 0.0, limit=StartLimit(0.1, 0.0))
    assert (backlog.holders.share(fast), backlog.holders.share(slow)) == (0.9, 0.1)
    for idle, share, wanted in ((0, 0.0, 0), (4, 0.0, 4), (0, 100.0, 50), (60, 100.0, 60)):
        slow.ask(500 - slow.credit, idle, 0, 0)
        assert slow.allowance(share) == wanted


def test_a_limited_sender_that_never_says_what_it_can_start_still_gets_the_last_message() -> None:
    backlog = Backlog(2)
    holder = backlog.join("a", 1.0, 500, 0.0, limit=StartLimit(0.1, 0.0))
    holder.ask(500, None, 0)
    for number in range(2):
        assert [len(batch.ids) for batch in backlog.grant(holder, 0.0)] == [1]
        assert backlog.grant(holder, 0.0) == []
        settle(backlog, number, Outcome.SENT, 0.0)


def test_the_std_of_an_unknown_distribution_counts_as_at_least_its_mean() -> None:
    assert longest_attempt_s("zipf", 2.0, 0.0) == longest_attempt_s("exponential", 2.0, 2.0)
    assert longest_attempt_s("zipf", 2.0, 5.0) == longest_attempt_s("gamma", 2.0, 5.0)


async def heartbeats(stream: Fetching) -> None:
    while True:
        await stream.say(producer_pb2.FetchMessageRequest())
        await asyncio.sleep(LOOK_S)


def test_a_client_that_only_sends_heartbeats_loses_its_messages(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage(replace(LIMITS, stuck_after_s=0.0)) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(20, monitor=monitor.address, lease_timeout_s=1.5, give_up_s=1.5)
            stranger = a_sender(mean_s=0.0, std_s=0.0, distribution="of my own")
            async with Fetching(stage.channel(producer.address)) as stream:
                await stream.say(hello(stranger, credit=20, idle_lanes=20))
                beating = asyncio.create_task(heartbeats(stream))
                await stream.status()  # any status: gRPC may lose it if a write meets the end of the call
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
            sender = stage.sender(producer.address)
            assert await codes(producer, monitor, sender) == [0] * 3
            assert assert_exact(producer, monitor).senders_seen == 1

    play(scene())
    assert "stranger: none of 20 leased messages was settled or handed back for 2 s, although an attempt" in caplog.text
