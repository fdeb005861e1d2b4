"""The plays of one value, and which of them meet the goals.

Knows plays and goals. Must not know what other values do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from smssim.core.threshold import Threshold
from smssim.plan.scale import Scale
from smssim.plan.scenario import Scenario
from smssim.plan.search.deadlines import lateness
from smssim.plan.seeds import Play, unscaled


class Trial:
    """A value's plays so far."""

    def __init__(self, scenario: Scenario, scale: Scale, goals: Sequence[Threshold]) -> None:
        self.scenario = scenario
        self.scale = scale
        self.plays: list[Play] = []
        self.figures: list[dict[str, float | None]] = []  # of each play
        self._goals = goals
        self._late: list[float] = []  # of each play, the latest first

    def __len__(self) -> int:
        return len(self.plays)

    def add(self, plays: Sequence[Play]) -> None:
        """Add plays of further seeds."""
        self.plays += plays
        self.figures = [play.figures(self.scenario.total) for play in unscaled(self.plays, self.scale, self.scenario)]
        self._late = sorted(map(self._lateness, self.figures), reverse=True)

    def met(self, goals: Sequence[Threshold]) -> int:
        """Return how many plays meet all of these goals."""
        return sum(all(goal.judge(figures).passed for goal in goals) for figures in self.figures)

    @property
    def misses(self) -> int:
        """How many plays don't meet all goals of the trial."""
        return sum(late > 1 for late in self._late)

    def late(self, share: float = 0.0) -> float:
        """Return how late the latest play is, in multiples of what is allowed, apart from a share of later ones.

        At most 1 if it meets the goals. 0 and infinity say nothing about how far off it is.
        """
        return self._late[int(share * len(self._late))]

    def _lateness(self, figures: dict[str, float | None]) -> float:
        times = [late for goal in self._goals if (late := lateness(goal, figures.get(goal.name))) is not None]
        late = max(times, default=0.0)
        if all(goal.judge(figures).passed for goal in self._goals):
            return min(1.0, late)
        return late if late > 1 else math.inf
