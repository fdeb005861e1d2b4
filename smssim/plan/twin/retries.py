"""Who gets the messages that are ready again: the sender that settled them, or all senders by speed.

Without a retry delay, the producer leases a retry to the sender that settles it, whose request asks for messages too.
After a delay, any sender's request may come first. Knows senders and the supply. Must not know lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from smssim.plan.twin.lots import Lot
from smssim.plan.twin.member import Member
from smssim.plan.twin.supply import Supply


def keep_own(members: Sequence[Member], supply: Supply, waiting: float, now: float, wait_s: float) -> None:
    """Let senders keep as many of their retries as the producer would lease to them; the others are for all.

    `waiting`: messages at the producer. `wait_s`: between two reports of a sender.
    """
    there = [member for member in members if member.pool is not None]
    declared_per_s = sum(member.declared_per_s for member in there)
    taken = _taken(there)
    for member in members:
        retries = member.retries
        retries.promote(now)
        if not retries.ready.count:
            continue
        keeps = 0
        if member.pool is not None and not member.is_cut_off:
            keeps, share = retries.ready.count, member.declared_per_s / declared_per_s
            is_short = waiting / 2 * share < member.ahead(wait_s)  # so it gets less than it asks for
            if member.asks_early:  # it may still get half its share of what it settles, if it wants more than it has
                keeps = round(keeps * share / 2) if is_short else 0
            elif is_short:
                keeps = round(keeps * taken / max(taken, member.retried))
            keeps = max(math.ceil(member.pool.used_lanes) - member.pool.busy, keeps)
        kept = retries.ready.take(keeps)
        supply.ready.put_last(retries.ready.drop())
        (retries.ready if member.held is None else member.held).put_last(kept)


def _taken(members: Sequence[Member]) -> float:
    """Return how many messages a sender takes for each one that it finishes, while the queues ahead shrink.

    With n finished, r n retries among all n, and k taken by all, each queue shrinks by half its share of k - r n. So
    k = n - (k - r n) / 2, or k = n (2 + r) / 3.
    """
    if not members:
        return 1.0
    failed_per_s = sum(member.declared_per_s * member.retried for member in members)
    return (2 + failed_per_s / sum(member.declared_per_s for member in members)) / 3


def deal(members: Sequence[Member], supply: Supply, random: np.random.Generator) -> None:
    """Deal the messages that are ready again out to these senders, by chance and by how fast they really send."""
    if len(members) < 2 or not supply.ready.count:
        return
    speeds_per_s = np.array([member.pool.per_s for member in members if member.pool is not None])
    for lot in supply.ready.drop():
        counts = random.multinomial(len(lot), speeds_per_s / speeds_per_s.sum())
        for member, ids in zip(members, np.split(lot.ids, np.cumsum(counts)[:-1]), strict=True):
            queue = member.retries.ready if member.held is None else member.held
            queue.put_last([Lot(ids, lot.tag)] if len(ids) else [])
