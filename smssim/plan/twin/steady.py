"""How fast a sender with a limit really is: lanes that are busy at times leave tokens unused, above all if few.

A scaled play has fewer lanes, or longer and more regular attempts, so it would leave more or fewer of them unused.
Here, its limit is adjusted until it is as fast as the sender that it stands for. Knows one copy of a sender.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import Fates, time_table
from smssim.core.limits import MEAN_MIN_S
from smssim.core.model import AttemptModel, Ids, Outcome, StartLimit
from smssim.plan.scale import Scale, moments
from smssim.plan.scenario import PlannedSender
from smssim.plan.twin.limited import LimitedPool
from smssim.plan.twin.lots import Lot, Tags
from smssim.plan.twin.pool import Outcomes

STARTS: Final = 16_384  # that are played, after as long as a fifth of them takes
LANES_MAX: Final = 2000  # that are played: with more, chance hardly matters
NEAR: Final = 0.0005  # how close the speed of a scaled play is to that of the sender
TRIES: Final = 8


def scaled_limit(sender: PlannedSender, scale: Scale) -> StartLimit:
    """Return the limit of each played copy, with which it is as fast as what it stands for. The sender has a limit."""
    assert sender.limit is not None
    limit = scale.limit_of(sender.limit, sender.copies)
    if scale.messages == 1 or sender.model.mean_s < MEAN_MIN_S:
        return limit
    copies = scale.copies_of(sender.copies)
    lanes = max(1, round(scale.lanes_of(sender.lanes) / copies))
    model = scale.model_of(sender.model, sender.lanes)
    goal_per_s = sender.copies * steady_per_s(sender.concurrency, sender.model, sender.limit)
    goal_per_s /= scale.messages * copies
    for _ in range(TRIES):
        ratio = steady_per_s(lanes, model, limit) / goal_per_s
        if abs(ratio - 1) < NEAR:
            break
        limit = StartLimit(limit.interval_s * ratio, limit.slack_s * ratio)
    return limit


class _Even(LimitedPool):
    """One copy of a sender whose attempts take equally likely times in a random order: with the right mean."""

    def __init__(self, lanes: int, model: AttemptModel, limit: StartLimit) -> None:
        super().__init__(0, lanes, 1, 0.0, Fates(0, 1, replace(model, fail=0.0)), *moments(model), limit)
        table = time_table(model.distribution, model.mean_s, model.std_s, model.max_time_s)
        self._times_s = np.random.default_rng(0).permutation(table[len(table) // STARTS // 2 :: len(table) // STARTS])
        self.full_at = np.array([limit.slack_s + limit.interval_s])

    def draw(self, ids: Ids, tags: Tags) -> tuple[NDArray[np.float32], Outcomes]:
        return self._times_s[ids % len(self._times_s)], np.full(len(ids), Outcome.SENT, np.uint8)


@lru_cache(1000)
def steady_per_s(lanes: int, model: AttemptModel, limit: StartLimit) -> float:
    """Return how many messages per second these lanes start in the long run, from an empty bucket on."""
    if lanes > LANES_MAX:
        each = lanes / LANES_MAX
        return each * steady_per_s(LANES_MAX, model, StartLimit(limit.interval_s * each, limit.slack_s))
    pool = _Even(lanes, model, limit)
    counts = []
    taken = returned = 0

    def take(wanted: int) -> list[Lot]:
        nonlocal taken
        taken += wanted
        return [Lot(np.arange(taken - wanted, taken), 1)]

    def give_back(lots: list[Lot]) -> None:
        nonlocal returned
        returned += sum(map(len, lots))

    time_s = STARTS / pool.per_s
    ends_s = (0.2 * time_s, 1.2 * time_s)
    for end_s in ends_s:
        pool.advance(end_s, take, give_back, lambda *_: None)
        counts.append(taken - returned)
    return (counts[1] - counts[0]) / (ends_s[1] - ends_s[0])
