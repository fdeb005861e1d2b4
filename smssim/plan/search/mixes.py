"""Mixes of senders: how many copies of each kind. Estimates which ones meet the goals, and what they cost.

A linear program: the least cost, if a copy costs what it sends in the time, such that the copies send enough by each
deadline, and do not fail too often on average. At its best vertex, all kinds but as many as there are binding rows are
at an end of their range; mixes of whole numbers are looked for around the vertices. Small ranges are looked through
completely. Knows speeds, prices and goals. Must not know how a scenario is played.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.threshold import Threshold
from smssim.plan.scale import moments
from smssim.plan.scenario import PlannedSender, Scenario, ceiling_of, sent_each
from smssim.plan.search.deadlines import DEVIATIONS, Deadline, attempts_by, sent_by
from smssim.plan.search.obstacle import fail_max
from smssim.plan.theory.pace import report_lag_s

Mix = tuple[int, ...]  # copies of each kind
Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

EQUAL: Final = 0.001  # costs that differ by a smaller share count as equal
GRID_MAX: Final = 200_000  # mixes that are looked through completely
_AROUND: Final = (-1, 0, 1, 2)  # whole numbers around a vertex, from the next lower one


@dataclass(frozen=True, slots=True)
class Kind:
    """A sender whose number of copies is sought."""

    name: str
    low: int
    high: int


def with_mix(scenario: Scenario, copies: Mapping[str, int]) -> Scenario:
    """Return the scenario with so many copies of senders; without those that have none, and without their faults."""
    gone = {name for name, number in copies.items() if not number}
    return replace(
        scenario,
        senders=tuple(
            replace(sender, copies=copies.get(sender.name, sender.copies))
            for sender in scenario.senders
            if sender.name not in gone
        ),
        faults=tuple(fault for fault in scenario.faults if fault.target not in gone),
    )


class Mixes:
    """The mixes of some kinds of senders; the other senders of the scenario are in each of them."""

    def __init__(self, scenario: Scenario, kinds: Sequence[Kind], goals: Iterable[Threshold]) -> None:
        self._scenario = scenario
        self.kinds = tuple(kinds)
        self._by_name = {sender.name: replace(sender, copies=1) for sender in scenario.senders}
        names = {kind.name for kind in kinds}
        self._copies = [self._by_name[kind.name] for kind in kinds]  # one copy of each kind
        self._fixed = [sender for sender in scenario.senders if sender.name not in names]
        goals = tuple(goals)
        found = (Deadline.of(goal, scenario.total, scenario.reachable) for goal in goals)
        self._deadlines = [one for one in found if one is not None and one.count]
        self._fail_max = min((fail_max(scenario, goal) for goal in goals), default=1.0)
        self._time_s = max((one.time_s for one in self._deadlines), default=math.inf)

    @property
    def fastest(self) -> Mix:
        """All copies that there may be."""
        return tuple(kind.high for kind in self.kinds)

    @property
    def calmest(self) -> Mix:
        """All copies of the kinds that fail least often, and as few as possible of the others."""
        least = min(sender.model.fail for sender in self._copies)
        kinds = zip(self.kinds, self._copies, strict=True)
        return tuple(kind.high if sender.model.fail == least else kind.low for kind, sender in kinds)

    def copies(self, mix: Mix) -> dict[str, int]:
        """Return the copies of each kind by name."""
        return {kind.name: number for kind, number in zip(self.kinds, mix, strict=True)}

    def scenario(self, mix: Mix) -> Scenario:
        """Return the scenario with this mix."""
        return with_mix(self._scenario, self.copies(mix))

    def is_possible(self, mix: Mix) -> bool:
        """Return whether a mix is in the ranges, and one of its senders is there from the start."""
        in_range = all(kind.low <= number <= kind.high for kind, number in zip(self.kinds, mix, strict=True))
        there = [sender.joins_s <= 0 for sender, number in zip(self._copies, mix, strict=True) if number]
        return in_range and any([*there, *(sender.joins_s <= 0 for sender in self._fixed)])

    def candidates(self, work: float = 1.0, fail: float = 1.0) -> Iterator[Mix]:
        """Yield mixes that seem to be enough, the cheapest first: of about equal ones, those with the fewest copies.

        `work`: how many times as much there is to do until each deadline as estimated. `fail`: how many times as often
        as estimated attempts may fail.
        """
        at_least, needed = self._rows(work, fail)
        sizes = [kind.high - kind.low + 1 for kind in self.kinds]
        if math.prod(sizes) <= GRID_MAX:
            lows = np.array([kind.low for kind in self.kinds])
            mixes = np.indices(sizes).reshape(len(sizes), -1).T + lows
        else:
            mixes = self._around_vertices(at_least, needed)
        mixes = mixes[(mixes @ at_least.T >= needed - 1e-9 * np.abs(needed)).all(axis=1)]
        for number in self._order(mixes).tolist():
            mix = tuple(mixes[number].tolist())
            if self.is_possible(mix):
                yield mix

    def cost(self, mix: Mix) -> float:
        """Return about what a run with this mix costs."""
        return float(self._costs(np.array([mix]))[0])

    # ---- Rows of the linear program

    def _rows(self, work: float, fail: float) -> tuple[Floats, Floats]:
        """Return what each copy adds to each row, shape (rows, kinds), and how much is needed, shape (rows,)."""
        scenario = self._scenario
        rows: list[list[float]] = []
        needed: list[float] = []
        for deadline in self._deadlines:
            time_s = self._usable_s(deadline)
            least_fail = min((sender.model.fail for sender in self._by_name.values()), default=0.0)
            share = 1.0 if deadline.is_sent else ceiling_of(least_fail, scenario.max_attempts, scenario.unreachable)
            rows.append([sent_by(scenario, sender, time_s) for sender in self._copies])
            fixed = sum(sent_by(scenario, sender, time_s) for sender in self._fixed)
            needed.append(work * deadline.count * share - fixed)
        if self._fail_max < 1:
            most = self._fail_max * fail
            rows.append([sender.declared_per_s * (most - sender.model.fail) for sender in self._copies])
            needed.append(sum(sender.declared_per_s * (sender.model.fail - most) for sender in self._fixed))
        return np.array(rows).reshape(-1, len(self.kinds)), np.array(needed)

    def _usable_s(self, deadline: Deadline) -> float:
        """Return the time until which the mean has to be early enough, so that most runs are; see `first_guess`."""
        scenario = self._scenario
        senders = self._by_name.values()
        success = min(sent_each(one.model.fail, scenario.max_attempts, scenario.unreachable) for one in senders)
        chance = max(moments(one.model)[1] for one in senders) ** 2 + (1 - success) / max(1e-9, success)
        return deadline.time_s / (1 + DEVIATIONS * math.sqrt(chance / deadline.count)) - report_lag_s(1)

    # ---- Costs

    def _weight(self, sender: PlannedSender) -> float:
        """Return about which part of all attempts a sender makes, in any unit."""
        if math.isinf(self._time_s):
            return sender.declared_per_s
        return attempts_by(self._scenario, sender, self._time_s)

    def _costs(self, mixes: Whole) -> Floats:
        """Return about what runs with these mixes cost: shape (n,), for mixes of shape (n, kinds).

        Each sender makes attempts by its speed, or as many as it can until the last deadline.
        """
        scenario = self._scenario
        rules = scenario.max_attempts, scenario.unreachable
        senders = [*self._copies, *self._fixed]
        weights = np.array([self._weight(sender) for sender in senders])
        fails = np.array([sender.model.fail for sender in senders])
        success = np.array([sent_each(sender.model.fail, *rules) for sender in senders])
        prices = np.array([sender.price for sender in senders]) * success
        prices += np.array([sender.price_failed for sender in senders]) * (1 - success)
        copies = np.hstack([mixes, np.ones((len(mixes), len(self._fixed)))])
        speed = np.maximum(copies @ weights, 1e-12)
        fail = copies @ (weights * fails) / speed
        geometric = (1 - fail**scenario.max_attempts) / np.maximum(1e-12, 1 - fail)
        each = scenario.unreachable + (1 - scenario.unreachable) * np.where(fail < 1, geometric, scenario.max_attempts)
        costs: Floats = scenario.segments * scenario.total * each * (copies @ (weights * prices)) / speed
        return costs

    def _order(self, mixes: Whole) -> Whole:
        """Return the order of these mixes: by cost; about equal ones by copies, and then by cost again."""
        costs = self._costs(mixes)
        about = np.floor(np.log(np.maximum(costs, 1e-300)) / EQUAL)
        return np.lexsort([costs, mixes.sum(axis=1), about])

    # ---- Vertices

    def _around_vertices(self, at_least: Floats, needed: Floats) -> Whole:
        """Return whole numbers around the vertices of the linear program: shape (n, kinds)."""
        low, high = (np.array([getattr(kind, end) for kind in self.kinds]) for end in ("low", "high"))
        found: set[Mix] = set()
        for free in self._free_sets(len(needed)):
            others = [number for number in range(len(self.kinds)) if number not in free]
            for ends in product((0, 1), repeat=len(others)):
                vertex = low.astype(np.float64)
                for number, end in zip(others, ends, strict=True):
                    vertex[number] = (low, high)[end][number]
                for rows in combinations(range(len(needed)), len(free)):
                    solved = _solved(at_least, needed, vertex, free, rows)
                    if solved is not None and (solved >= low - 1).all() and (solved <= high + 1).all():
                        found.update(_near(solved, free, low, high))
        return np.array(sorted(found)).reshape(-1, len(self.kinds))

    def _free_sets(self, rows: int) -> Iterator[tuple[int, ...]]:
        for number in range(min(2, rows, len(self.kinds)) + 1):
            yield from combinations(range(len(self.kinds)), number)


def _solved(
    at_least: Floats, needed: Floats, vertex: Floats, free: Sequence[int], rows: Sequence[int]
) -> Floats | None:
    """Return the vertex with the free kinds changed such that these rows are just met; None if that is impossible."""
    if not free:
        return vertex
    part = at_least[np.ix_(rows, free)]
    if abs(np.linalg.det(part)) < 1e-12 * max(1e-300, float(np.abs(part).max())) ** len(free):
        return None
    solved = vertex.copy()
    solved[list(free)] = 0
    solved[list(free)] = np.linalg.solve(part, needed[list(rows)] - at_least[list(rows)] @ solved)
    return solved


def _near(vertex: Floats, free: Sequence[int], low: Whole, high: Whole) -> Iterator[Mix]:
    """Yield the mixes around a vertex; kinds that are not free stay as they are."""
    steps = [_AROUND if number in free else (0,) for number in range(len(vertex))]
    floor = np.floor(vertex + 1e-9).astype(np.int64)
    for change in product(*steps):
        yield tuple(np.clip(floor + np.array(change), low, high).tolist())
