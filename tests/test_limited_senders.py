"""Senders with limits in whole runs: how fast they are, what they get, and what they leave to others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from virtual_support import DELAY_S, World

from smssim.core.lanes import Finished
from smssim.settings import SenderSettings

QUICK = SenderSettings(mean_s=0.1, distribution="fixed", fail=0.0, concurrency=1000)
NEAR = 1e-3  # of a rate


class Starts:
    """When the messages of a sender started, in seconds of the run, by what it finished."""

    def __init__(self, world: World, number: int = 0) -> None:
        self._s: list[float] = []
        world.clients[number].sending.on_finished = self._note

    def _note(self, finished: Finished, _: float) -> None:
        self._s += (finished.latencies_s.astype(np.float64) - finished.durations_s).tolist()

    @property
    def sorted_s(self) -> NDArray[np.float64]:
        return np.sort(np.array(self._s))


@pytest.mark.parametrize(
    ("count", "limit_per_s", "burst", "lanes"),
    [(2000, 500.0, 1, 1000), (2000, 500.0, 400, 1000), (12, 0.5, 1, 1000), (12, 0.05, 3, 10), (6000, 5e3, 1, 1000)],
)
def test_a_sender_starts_as_many_messages_as_its_limit_allows_from_the_first_to_the_last(
    count: int, limit_per_s: float, burst: int, lanes: int
) -> None:
    world = World(count, replace(QUICK, limit_per_s=limit_per_s, burst=burst, concurrency=lanes))
    starts = Starts(world)
    world.play()
    since = starts.sorted_s - starts.sorted_s[0]
    allowed = np.maximum(0, np.arange(count) - burst + 1) / limit_per_s
    assert world.tally.ledger.final == count
    assert (since >= allowed - NEAR / limit_per_s - 1e-5).all()
    assert (since <= allowed * (1 + NEAR) + 5 * DELAY_S).all()


def test_limits_alone_decide_about_the_shares_of_senders() -> None:
    world = World(
        1200, replace(QUICK, limit_per_s=300.0, concurrency=50), replace(QUICK, limit_per_s=100.0, concurrency=900)
    )
    one, other = Starts(world, 0), Starts(world, 1)
    world.play()
    assert len(one.sorted_s) == pytest.approx(150 + 0.75 * 1050, rel=0.02)  # it starts half a second earlier
    assert one.sorted_s[-1] == pytest.approx(other.sorted_s[-1], rel=0.02)


def test_each_copy_has_a_bucket_of_its_own() -> None:
    world = World(300, replace(QUICK, limit_per_s=20.0, burst=10), copies=3)
    each = [Starts(world, number) for number in range(3)]
    world.play()
    for starts in each:
        assert len(starts.sorted_s) == pytest.approx(100, abs=10)
        assert (np.diff(starts.sorted_s, n=1)[20:] >= 1 / 20 - 1e-5).all()


def test_a_slow_sender_with_many_lanes_hoards_no_messages_and_keeps_its_rate() -> None:
    world = World(20_000, replace(QUICK, limit_per_s=3.0), replace(QUICK, concurrency=200))
    slow, most = Starts(world), 0
    holder = world.clients[0].stream.holder
    for at_s in np.arange(0.1, 20.0, 0.1).tolist():
        world.play(at_s)
        most = max(most, holder.leased)
    world.play()
    assert 0 < most <= 8
    assert (np.diff(slow.sorted_s) <= 1 / 3 + 0.01).all()
    assert world.tally.ledger.final == 20_000


def test_the_leases_of_a_sender_with_minutes_between_two_messages_do_not_expire() -> None:
    world = World(4, replace(QUICK, limit_per_s=0.002, concurrency=5))
    world.play()
    assert (world.tally.ledger.final, world.backlog.redelivered) == (4, 0)
    assert world.now > 1500
