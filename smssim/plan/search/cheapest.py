"""Search for the cheapest mix of senders with which all goals are met surely enough.

What a mix costs is the median cost of its plays: senders are paid for the messages that they send there. Costs that are
about equal are decided by the number of copies. `mixes` estimates which mixes are worth a play, and plays correct the
estimates. From the best mix, the search goes on to its neighbours. Fresh seeds confirm the answer. Each mix that is
confirmed or not takes half of the error that is left, so that the error of all is 5% at most. Knows scenarios, goals
and plays. Must not know processes, nor how a scenario is played.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from statistics import median
from typing import Final

from smssim.core.threshold import Threshold
from smssim.plan.forecast import SURE
from smssim.plan.scenario import Scenario
from smssim.plan.search.cheapest_answer import CheapestAnswer, Fewer
from smssim.plan.search.confidence import Look, clopper_pearson_low
from smssim.plan.search.mixes import EQUAL, Kind, Mix, Mixes
from smssim.plan.search.obstacle import obstacle
from smssim.plan.search.trial import BATCH, FEW, SEARCH_SEEDS, Plays, Trial, Trials, goals_to_meet

_ERROR: Final = 0.05  # the probability of an answer that is not enough
_FIRST_LOOK: Final = 0.7  # part of a mix's error that its first look takes (Bonferroni)
_SECOND_LOOK: Final = 3.5  # times as many plays
_CLOSE_MAX: Final = 5  # mixes that are confirmed or not before the estimates become stricter
_STEPS_MAX: Final = 6  # times that they become stricter, with a mix each ...
_STEP: Final = 0.98  # ... first by this factor, then by its square, and so on
_BEST: Final = 5  # estimated mixes that are played at once
_ENOUGH: Final = 2  # of these that pass
_ROUNDS: Final = 4  # of estimates, each corrected by plays
_SLACK: Final = 0.97  # of the time: if plays are earlier, less work is estimated
_STRICTER: Final = 0.93  # how much less often attempts may fail if too few messages are sent in the end
_DESCENTS_MAX: Final = 40  # steps to a better neighbour
_HOPELESS: Final = 0.3  # share of misses that leaves no doubt
_DOUBTS: Final = 2  # misses of all search seeds with which a mix may still be enough


class Cheapest:
    """One search. Assumes that the scenario has these kinds. Raises UsageError if there is no goal."""

    def __init__(
        self,
        scenario: Scenario,
        kinds: Sequence[Kind],
        goals: Sequence[Threshold],
        plays: Plays,
        *,
        first_seed: int = 0,
        full: bool = False,
    ) -> None:
        """`full`: confirm with every message, however long it takes."""
        self._scenario = scenario
        self._goals = goals_to_meet(goals, "--cheapest")
        self._mixes = Mixes(scenario, kinds, self._goals)
        self._trials = Trials(plays, self._goals, first_seed=first_seed, full=full)
        self._tested: dict[Mix, float] = {}  # with the median cost
        self._work = self._fail = 1.0  # corrections of the estimates; see `Mixes.candidates`

    def answer(self) -> CheapestAnswer:
        """Search, and return what was found."""
        if not any(self._mixes.is_possible(mix) for mix in (self._mixes.fastest, self._mixes.calmest)):
            return self._no("no sender is there from the start")
        if why := obstacle(self._mixes.scenario(self._mixes.fastest), self._goals):
            return self._no(why)
        self._estimate()
        if self._passing():
            self._descend()
        for number, mix in enumerate(self._to_confirm(), 1):
            error = _ERROR / 2**number
            trial = self._confirmed(mix, error)
            if trial is not None:
                return self._found(mix, trial, error)
        return self._no(self._why_not())

    # ---- Plays

    def _trial(self, mix: Mix, seeds: int, is_fresh: bool) -> Trial:
        return self._trials.of(mix, lambda: self._mixes.scenario(mix), seeds, is_fresh)

    def _test(self, mix: Mix) -> Trial:
        """Return the trial of a mix: of a few seeds, or of all that search if hardly one of the few misses."""
        trial = self._trial(mix, FEW, False)
        if trial.misses < _DOUBTS:
            trial = self._trial(mix, SEARCH_SEEDS, False)
        self._tested[mix] = _cost(trial)
        return trial

    def _confirmed(self, mix: Mix, error: float) -> Trial | None:
        """Return the fresh trial that shows that a mix is enough; None if none does. It errs with this probability."""
        looks = _looks(error)
        most = looks[-1].misses
        for look in looks:
            trial = self._trial(mix, BATCH, True)
            while trial.misses <= most and len(trial) < look.plays:
                trial = self._trial(mix, min(look.plays, len(trial) + 2 * BATCH), True)
            if trial.misses > most:
                return None
            if trial.misses <= look.misses:
                return trial
        return None

    # ---- The search

    def _estimate(self) -> None:
        """Play the mixes that seem to be the cheapest, and correct the estimates by how late these are."""
        for _ in range(_ROUNDS):
            trials: list[Trial] = []
            passing: list[float] = []
            for mix in self._candidates():
                trials.append(self._test(mix))
                passing += [trials[-1].late()] * (not trials[-1].misses)
                if len(passing) == _ENOUGH:
                    break
            late = passing[0] if passing else min(trial.late() for trial in trials)
            if passing and not 0 < late < _SLACK:
                return
            if math.isinf(late):
                self._fail *= _STRICTER
            elif passing or late > 1:
                self._work *= late
        if not self._passing():
            for mix in self._extremes():
                self._test(mix)

    def _candidates(self) -> list[Mix]:
        """Return the mixes that seem to be the best ones; if none seems to be enough, those that come close."""
        return list(islice(self._mixes.candidates(self._work, self._fail), _BEST)) or self._extremes()

    def _to_confirm(self) -> Iterator[Mix]:
        """Yield the best mixes that seem to be enough; after a few that are not, ones that have more and more to spare.

        Many mixes cost about as much and meet the goals about as surely, so those might all be too close to call.
        """
        asked = self._promising()[:_CLOSE_MAX]
        yield from asked
        for step in range(1, _STEPS_MAX + 1 if asked else 0):
            if math.isinf(self._trial(asked[-1], 0, True).late()):
                self._fail *= _STEP**step
            else:
                self._work /= _STEP**step
            some = self._candidates()
            for mix in some:
                self._test(mix)
            new = [mix for mix in self._promising() if mix in some and mix not in asked][:1]
            asked += new
            yield from new

    def _extremes(self) -> list[Mix]:
        """Return the mixes that are the fastest, or fail least often."""
        some = dict.fromkeys((self._mixes.fastest, self._mixes.calmest))
        return [mix for mix in some if self._mixes.is_possible(mix)]

    def _descend(self) -> None:
        """Play neighbours of the best mix while that finds a better one."""
        for _ in range(_DESCENTS_MAX):
            best = self._passing()[0]
            near = [mix for mix in self._neighbours(best) if mix not in self._tested]
            for mix in near:
                self._test(mix)
            if self._passing()[0] == best:
                return

    def _neighbours(self, mix: Mix) -> Iterator[Mix]:
        """Yield mixes with one copy fewer, or with one of another kind instead if that seems to be no dearer."""
        cost = (1 + EQUAL) * self._mixes.cost(mix)
        for fewer in range(len(mix)):
            for more in range(len(mix)):
                changes = {fewer: -1} if more == fewer else {fewer: -1, more: 1}
                near = tuple(number + changes.get(place, 0) for place, number in enumerate(mix))
                if self._mixes.is_possible(near) and (more == fewer or self._mixes.cost(near) <= cost):
                    yield near

    def _passing(self) -> list[Mix]:
        """Return the mixes whose plays all meet all goals, the best first."""
        return self._ranked(mix for mix in self._tested if not self._trial(mix, 0, False).misses)

    def _promising(self) -> list[Mix]:
        """Return the mixes of which hardly a play misses a goal, the best first."""
        tried = {mix: self._trial(mix, 0, False) for mix in self._tested}
        some = [mix for mix, one in tried.items() if len(one) >= SEARCH_SEEDS and one.misses <= _DOUBTS]
        return self._ranked(some)

    def _ranked(self, mixes: Iterable[Mix]) -> list[Mix]:
        """Return mixes by cost, and of those that cost about as much as the cheapest, those with fewer copies first."""
        left, ranked = sorted(mixes, key=lambda mix: (self._tested[mix], sum(mix))), []
        while left:
            most = (1 + EQUAL) * self._tested[left[0]]
            best = min(
                (mix for mix in left if self._tested[mix] <= most), key=lambda mix: (sum(mix), self._tested[mix])
            )
            ranked.append(best)
            left.remove(best)
        return ranked

    # ---- What is said

    def _no(self, why: str) -> CheapestAnswer:
        return CheapestAnswer(self._goals, self._trials.played, why=why)

    def _found(self, mix: Mix, trial: Trial, error: float) -> CheapestAnswer:
        met = len(trial) - trial.misses
        return CheapestAnswer(
            *(self._goals, self._trials.played),
            copies=self._mixes.copies(mix),
            cost=_cost(trial),
            probability=met / len(trial),
            at_least=clopper_pearson_low(met, len(trial), 1 - error),
            seeds=len(trial),
            scale=trial.scale.messages,
            fewer=tuple(self._fewer(mix)),
        )

    def _fewer(self, mix: Mix) -> Iterator[Fewer]:
        """Yield what happens with one copy of each kind fewer, where that is in the ranges."""
        for place, kind in enumerate(self._mixes.kinds):
            near = tuple(number - (place == other) for other, number in enumerate(mix))
            if self._mixes.is_possible(near):
                trial = self._trial(near, BATCH, True)
                if trial.misses < _HOPELESS * len(trial):
                    trial = self._trial(near, _looks(_ERROR / 2)[0].plays, True)
                yield Fewer(kind.name, near[place], 1 - trial.misses / len(trial), _cost(trial))

    def _why_not(self) -> str:
        """Return why the mix that comes closest is not enough, as a clause."""
        tried = {mix: self._trial(mix, 0, False) for mix in self._tested}
        best = min(tried, key=lambda mix: (tried[mix].misses / len(tried[mix]), tried[mix].late(), -sum(mix)))
        copies = {name: number for name, number in self._mixes.copies(best).items() if number}
        said = " and ".join(f"{number:,} of {name}" for name, number in copies.items()) or "only the other senders"
        fresh = self._trial(best, SEARCH_SEEDS, True)
        trial = fresh if fresh.misses else self._trial(best, SEARCH_SEEDS, False)  # which missed: hence this answer
        return trial.why(self._goals, f"{said},")


def _cost(trial: Trial) -> float:
    return median(figures["cost"] or 0.0 for figures in trial.figures)


def _looks(error: float) -> tuple[Look, Look]:
    """Return two looks that err with this probability together: the first one allows no miss."""
    first, second = _FIRST_LOOK * error, (1 - _FIRST_LOOK) * error
    plays = math.ceil(math.log(first) / math.log(SURE))
    return Look.at(plays, SURE, first), Look.at(round(_SECOND_LOOK * plays), SURE, second)
