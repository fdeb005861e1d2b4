"""Search for a setting of a sender with which all goals are met: the fewest copies or lanes, or the longest mean time.

A value is enough if plays of fresh seeds show, at 95% confidence, that all goals are met together with a probability of
95%. All values are played with the same seeds. So, where a faster value is never worse with a seed, it does not matter
how many values are tried: the search can err only at the largest value that is not enough, so its error is that of one
test. Knows scenarios, goals and plays. Must not know processes, nor how a scenario is played.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from smssim.core.threshold import Threshold
from smssim.plan.forecast import SURE
from smssim.plan.scenario import Scenario
from smssim.plan.search.answer import Answer, Odds
from smssim.plan.search.confidence import Look, clopper_pearson_low
from smssim.plan.search.deadlines import Deadline, first_guess, wants_less
from smssim.plan.search.obstacle import obstacle
from smssim.plan.search.steps import Sought, Steps
from smssim.plan.search.trial import BATCH, FEW, SEARCH_SEEDS, Plays, Trial, Trials, goals_to_meet

_ERRORS: Final = (0.035, 0.015)  # of the two looks at a value: 5% in all (Bonferroni)
LOOKS: Final = (Look.at(66, SURE, _ERRORS[0]), Look.at(246, SURE, _ERRORS[1]))
_CHEAP: Final = 2_000_000  # messages: about a second; as few are worth a second look in any case
_COARSE: Final = 0.02  # between values that differ by more, it is worth a second look whether the slower one is enough
_SECANTS_MAX: Final = 8  # steps by interpolation; after them, the range is halved
_PARTS: Final = 8  # of the range, where more is not always faster ...
_ROUNDS: Final = 4  # ... and how often the part around the best value is halved

Probe = Callable[[int], tuple[bool, float]]  # whether a step is enough, and how late it is: see `Trial.late`


class Search:
    """One search. Assumes that the scenario has the sender. Raises UsageError if there is no goal."""

    def __init__(
        self,
        scenario: Scenario,
        sought: Sought,
        goals: Sequence[Threshold],
        plays: Plays,
        *,
        first_seed: int = 0,
        full: bool = False,
    ) -> None:
        """`full`: confirm with every message, however long it takes."""
        self._scenario = scenario
        self._steps = Steps(sought)
        self._goals = goals_to_meet(goals, "--find")
        self._searched = tuple(goal for goal in self._goals if not wants_less(goal))  # that need fast senders
        self._trials = Trials(plays, self._searched, first_seed=first_seed, full=full)

    def answer(self) -> Answer:
        """Search, and return what was found."""
        steps = self._steps
        if why := obstacle(steps.scenario(self._scenario, steps.last), self._goals):
            return self._no(why)
        total, reachable = self._scenario.total, self._scenario.reachable
        deadlines = (Deadline.of(goal, total, reachable) for goal in self._searched)
        start = first_guess(self._scenario, steps, [one for one in deadlines if one is not None])
        last = steps.last
        _, about = self._between(self._seems_enough, start, last)
        if about > last:
            about = last = self._best()
            if last < steps.last and self._seems_enough(last)[0]:
                _, about = self._between(self._seems_enough, about, last)
        below, step = self._between(self._is_enough, about, last)
        if step > last:
            return self._no(self._why_not(last))
        trial = self._trial(step, 0, True)
        misses = len(trial) - trial.met(self._goals)
        number = 0 if len(trial) <= LOOKS[0].plays else 1
        if misses > LOOKS[number].misses:
            return self._no(self._torn(step))
        return Answer(
            *(steps.sought, self._goals),
            found=self._odds(trial, step),
            at_least=clopper_pearson_low(len(trial) - misses, len(trial), 1 - _ERRORS[number]),
            seeds=len(trial),
            scale=trial.scale.messages,
            below=self._below(below) if below >= steps.first else None,
            above=self._above(step + 1, last),
            played=self._trials.played,
        )

    def _no(self, why: str) -> Answer:
        return Answer(self._steps.sought, self._goals, why=why, played=self._trials.played)

    # ---- Plays

    def _trial(self, step: int, seeds: int, is_fresh: bool) -> Trial:
        """Return the trial of a step, with at least this many seeds; fresh ones confirm what others found."""
        return self._trials.of(step, lambda: self._steps.scenario(self._scenario, step), seeds, is_fresh)

    def _seems_enough(self, step: int) -> tuple[bool, float]:
        """Return whether a step meets all goals with each of a few seeds."""
        trial = self._trial(step, FEW, False)
        if not trial.misses:
            trial = self._trial(step, SEARCH_SEEDS, False)
        return not trial.misses, trial.late()

    def _is_enough(self, step: int) -> tuple[bool, float]:
        """Return whether fresh seeds show that a step meets all goals surely enough."""
        is_cheap = LOOKS[-1].plays * self._scenario.total <= _CHEAP
        looks = LOOKS if is_cheap or self._steps.is_coarse(step, _COARSE) else LOOKS[:1]
        most = looks[-1].misses
        trial = self._trial(step, BATCH, True)
        for look in looks:
            while trial.misses <= most and len(trial) < look.plays:
                trial = self._trial(step, min(look.plays, len(trial) + 2 * BATCH), True)
            if trial.misses <= look.misses or trial.misses > most:
                break
        return trial.misses <= look.misses, trial.late(most / looks[-1].plays)

    def _may_be_enough(self, step: int) -> tuple[bool, float]:
        """Return whether a step meets all goals with a large enough share of the fresh seeds."""
        trial = self._estimate(step)
        return trial.misses <= (1 - SURE) * len(trial), trial.late(1 - SURE)

    def _estimate(self, step: int) -> Trial:
        """Return the trial of a step with enough fresh seeds to tell its probability: few if all of them miss."""
        trial = self._trial(step, BATCH, True)
        return trial if trial.misses == len(trial) else self._trial(step, LOOKS[0].plays, True)

    # ---- Steps

    def _between(self, probe: Probe, start: int, last: int) -> tuple[int, int]:
        """Return a step that is not enough, and the next one, which is.

        The former is before the range if all steps are enough, and the latter is after `last` if none is. A time is
        about proportional to the setting or to its inverse, so interpolation between logarithms gives the next step.
        """
        steps = self._steps
        slow, fast = steps.first - 1, last + 1
        points: list[tuple[float, float]] = []
        step = start
        for number in range(fast - slow):
            step = min(max(step, slow + 1), fast - 1)
            enough, late = probe(step)
            slow, fast = (slow, step) if enough else (step, fast)
            if fast - slow <= 1:
                break
            if 0 < late < math.inf and number < _SECANTS_MAX:
                points.append((math.log(steps.value(step)), math.log(late)))
                step = steps.step(math.exp(_crossing(points, 1.0 if steps.is_mean else -1.0)))
            else:
                step = last if fast > last else steps.middle(slow, fast)
        return slow, fast

    def _best(self) -> int:
        """Return the step that is least late, where the fastest one is not enough.

        With more copies, each reports less often, and a further slow sender may get the last message: so more is not
        always faster. The search assumes that there is one best step.
        """
        steps = self._steps
        if steps.sought.key != "copies" and not self._is_mixed:
            return steps.last
        ends = [steps.value(steps.first), steps.value(steps.last)]
        grid = {steps.step(ends[0] * (ends[1] / ends[0]) ** (part / _PARTS)) for part in range(_PARTS)}
        late = {step: self._seems_enough(step)[1] for step in sorted({*grid, steps.last})}
        for _ in range(_ROUNDS):
            best = _least(late)
            near = [
                max((one for one in late if one < best), default=best),
                min((one for one in late if one > best), default=best),
            ]
            new = {steps.middle(*sorted((best, one))) for one in near if abs(best - one) > 1}
            if late[best] <= 1 or not new:
                break
            late |= {step: self._seems_enough(step)[1] for step in new}
        return _least(late)

    @property
    def _is_mixed(self) -> bool:
        """Whether senders differ in speed or in what happens to them."""
        scenario = self._scenario
        return len({(one.model, one.joins_s, scenario.faults_of(one.name)) for one in scenario.senders}) > 1

    # ---- What is said about values

    def _odds(self, trial: Trial, step: int) -> Odds:
        return Odds(self._steps.value(step), trial.met(self._goals) / len(trial))

    def _below(self, step: int) -> Odds:
        """Return the next value from a step on that is not enough: with which too few seeds meet all goals."""
        if self._may_be_enough(step)[0]:
            slow, _ = self._between(self._may_be_enough, step - 1, step - 1)
            step = max(slow, self._steps.first)
        return self._odds(self._estimate(step), step)

    def _above(self, step: int, last: int) -> Odds | None:
        """Return a faster value that is not enough, if there is one."""
        if last < self._steps.last:
            return self._odds(self._estimate(self._steps.last), self._steps.last)
        if not self._is_mixed or step > last or self._seems_enough(step)[0] or self._may_be_enough(step)[0]:
            return None
        return self._odds(self._estimate(step), step)

    def _why_not(self, step: int) -> str:
        """Return why the best value is not enough, as a clause."""
        value = f"{self._steps.value(step):g}{', the best value found' if step < self._steps.last else ''},"
        return self._estimate(step).why(self._searched, value)

    def _torn(self, step: int) -> str:
        """Return why no value meets both the goals that need fast senders and those that need slow ones."""
        trial = self._trial(step, 0, True)
        met = f"with {self._steps.value(step):g}, only {trial.met(self._goals)} of {len(trial)} plays meet all goals"
        if not self._searched or step == self._steps.first:
            return f"{met}, and faster senders are no help"
        reached = " and ".join(goal.text for goal in self._searched)
        return f"{met}, and slower senders do not meet {reached} surely enough"


def _least(late: Mapping[int, float]) -> int:
    """Return the step that is least late; of several, the fastest one."""
    return min(late, key=lambda step: (late[step], -step))


def _crossing(points: Sequence[tuple[float, float]], usual: float) -> float:
    """Return where a line through the last two points crosses 0; with one point, that with the usual slope."""
    x, y = points[-1]
    slope = usual
    if len(points) > 1 and (apart := x - points[-2][0]):
        slope = (y - points[-2][1]) / apart
    slope = usual * min(max(usual * slope, 0.1), 10.0)
    return min(max(x - y / slope, -20.0), 20.0)
