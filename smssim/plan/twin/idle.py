"""Messages that find more idle lanes than there are messages: all of them start at once, in columns.

Does for many lanes what `scarce` does for few. Knows pools and the supply. Must not know faults.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smssim.plan.twin.lots import Lot
from smssim.plan.twin.member import Member
from smssim.plan.twin.pool import Pool, Times
from smssim.plan.twin.supply import Supply

Timed = list[tuple[Lot, Times]]  # messages, each with the time from which it may start


def start_all(members: Sequence[Member], supply: Supply, now: float, until_s: float) -> bool:
    """Start all messages that become available before `until_s` on lanes that are idle now, if there are enough.

    Returns whether there are. A sender's own retries go to itself, the others to the senders with the smallest share of
    busy lanes.
    """
    pools = [member.pool for member in members if member.pool is not None]
    idle = [np.flatnonzero(pool.outcomes == 0) for pool in pools]
    own = [member.retries.count_before(until_s) for member in members if member.pool is not None]
    number = supply.count_before(until_s)
    if any(its > len(lanes) for its, lanes in zip(own, idle, strict=True)) or sum(own) + number > sum(map(len, idle)):
        return False
    for i, member in enumerate(member for member in members if member.pool is not None):
        idle[i] = _start(pools[i], idle[i], member.retries.take_before(until_s), now)
    shares = [
        (pool.lanes - len(lanes) + np.arange(len(lanes))) / pool.lanes for pool, lanes in zip(pools, idle, strict=True)
    ]
    places = np.repeat(np.arange(len(pools)), [len(lanes) for lanes in idle])
    turns = places[np.argsort(np.concatenate(shares), kind="stable")]
    timed, first = supply.take_before(until_s), 0
    for lot, times_s in timed:
        whose = turns[first : first + len(lot)]
        first += len(lot)
        for place, pool in enumerate(pools):
            its = whose == place
            idle[place] = _start(pool, idle[place], [(Lot(lot.ids[its], lot.tag), times_s[its])], now)
    return True


def _start(
    pool: Pool, idle: np.ndarray[tuple[int], np.dtype[np.int64]], timed: Timed, now: float
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Start messages on these idle lanes of a pool, and return the lanes that stay idle."""
    for lot, times_s in timed:
        if len(lot):
            tags = np.full(len(lot), lot.tag, np.int16)
            durations_s, outcomes = pool.draw(lot.ids, tags)
            pool.start(idle[: len(lot)], np.maximum(times_s, now), durations_s, outcomes, lot.ids, tags)
            idle = idle[len(lot) :]
    return idle
