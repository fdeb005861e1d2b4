"""The plays of a candidate, such as a value of a setting, and which of them meet the goals.

All candidates are played with the same seeds. Knows plays and goals. Must not know what candidates are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import median
from typing import Final

from smssim.core.threshold import REACHED_REACHABLE, TIMES, Threshold
from smssim.errors import UsageError
from smssim.plan.forecast import SURE
from smssim.plan.scale import FULL, Scale, scale_for
from smssim.plan.scenario import Scenario
from smssim.plan.search.answer import percent
from smssim.plan.search.deadlines import MILESTONES, lateness
from smssim.plan.seeds import Play, seeds_from, unscaled

Plays = Callable[[Scenario, Sequence[int], Scale], list[Play]]  # plays a scenario with each of these seeds, in order

SEARCH_MESSAGES: Final = 50_000  # that are played at most to find about the right candidate ...
CONFIRM_MESSAGES: Final = 500_000  # ... and to confirm it
SEARCH_SEEDS: Final = 20
FEW: Final = 5  # seeds that often show that a candidate is not enough
BATCH: Final = 22  # seeds that are played together


def goals_to_meet(goals: Sequence[Threshold], flag: str) -> tuple[Threshold, ...]:
    """Return the goals of the search that this flag asks for, each once and in order; raises UsageError without any."""
    if not goals:
        raise UsageError(f"{flag}: no goal to meet; add one, such as --goal 't95<60s', or goals in the scenario")
    return tuple(sorted(dict.fromkeys(goals), key=lambda goal: goal.text))


class Trial:
    """A candidate's plays so far."""

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

    def why(self, goals: Sequence[Threshold], candidate: str) -> str:
        """Return why a candidate is not enough, as a clause."""
        met, _, goal = min((self.met([goal]), goal.text, goal) for goal in goals)
        if met / len(self) >= SURE:
            all_met = f"only {self.met(goals)} of {len(self)} plays meet the goals"
            return f"even with {candidate} {all_met}, too few to be sure of {SURE:.0%}"
        why = f"even with {candidate} {goal} is met with a probability of only {percent(met / len(self))}"
        known = [figure for one in self.figures if (figure := one.get(goal.name)) is not None]
        if goal.name in MILESTONES and len(known) < SURE * len(self):
            whole = "reachable" if goal.name in REACHED_REACHABLE else "total"
            of = sum(one[whole] or 0 for one in self.figures)
            share = sum(one["sent"] or 0 for one in self.figures) / of if of else 0.0
            which = " that can be reached" if whole == "reachable" else ""
            return f"{why}: {share:.1%} of the messages{which} are sent in the end"
        unit = " s" if goal.name in TIMES else ""
        return f"{why}: {goal.name} is about {median(known):,.4g}{unit}" if known else why

    def _lateness(self, figures: dict[str, float | None]) -> float:
        times = [late for goal in self._goals if (late := lateness(goal, figures.get(goal.name))) is not None]
        late = max(times, default=0.0)
        if all(goal.judge(figures).passed for goal in self._goals):
            return min(1.0, late)
        return late if late > 1 else math.inf


class Trials:
    """The trials of all candidates, played with the same seeds: some to search with, and fresh ones to confirm."""

    def __init__(self, plays: Plays, goals: Sequence[Threshold], *, first_seed: int, full: bool) -> None:
        """`full`: confirm with every message, however long it takes."""
        self.played = 0  # plays in all
        self._plays = plays
        self._goals = goals
        self._first_seed = first_seed
        self._full = full
        self._trials: dict[tuple[bool, Hashable], Trial] = {}

    def of(self, key: Hashable, scenario: Callable[[], Scenario], seeds: int, is_fresh: bool) -> Trial:
        """Return the trial of a candidate, with at least this many seeds; fresh ones confirm what others found."""
        trial = self._trials.get((is_fresh, key))
        if trial is None:
            played = scenario()
            most = CONFIRM_MESSAGES if is_fresh else SEARCH_MESSAGES
            scale = FULL if is_fresh and self._full else scale_for(played, most)
            trial = self._trials[is_fresh, key] = Trial(played, scale, self._goals)
        first = self._first_seed + (SEARCH_SEEDS if is_fresh else 0)
        numbers = seeds_from(first, seeds)[len(trial) :]
        if numbers:
            trial.add(self._plays(trial.scenario, numbers, trial.scale))
            self.played += len(numbers)
        return trial

    def found(self, key: Hashable, is_fresh: bool) -> Trial | None:
        """Return the trial of a candidate as it is; None if there is none."""
        return self._trials.get((is_fresh, key))
