"""The answer of a search: the value that is enough, or why none is. Holds values, and says them in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smssim.core.threshold import Threshold
from smssim.plan.forecast import SURE
from smssim.plan.search.steps import Sought


@dataclass(frozen=True, slots=True)
class Odds:
    """A value, and the share of plays in which it meets all goals."""

    value: float
    probability: float

    def as_dict(self) -> dict[str, float]:
        """Return it for JSON."""
        return {"value": self.value, "probability": self.probability}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found."""

    sought: Sought
    goals: Sequence[Threshold]
    played: int  # plays in all
    found: Odds | None = None  # the first value that is enough; None if none is
    why: str = ""  # why none is, as a clause
    at_least: float = 0.0  # a lower bound of its probability, with 95% confidence
    seeds: int = 0  # that confirm it
    scale: int = 1  # how many messages one played message stands for in them
    below: Odds | None = None  # the next value that is not enough; None if the first value of the range is enough
    above: Odds | None = None  # the next faster value, if that is surprisingly not enough

    @property
    def setting(self) -> str:
        """What was sought, such as city.copies."""
        return f"{self.sought.name}.{self.sought.key}"

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for JSON."""
        if self.found is None:
            return {"setting": self.setting, "value": None, "why": self.why}
        below = None if self.below is None else self.below.as_dict()
        return {"setting": self.setting, **self.found.as_dict(), "below": below}

    def __str__(self) -> str:
        """Return the answer in a few plain sentences."""
        if self.found is None:
            low, high = self.sought.low, self.sought.high
            return f"No value of {self.setting} from {low:g} to {high:g} will do, because {self.why}."
        goals = self.goals[0].text if len(self.goals) == 1 else f"all {len(self.goals)} goals"
        met = round(self.found.probability * self.seeds)
        plays = f"all {self.seeds} plays" if met == self.seeds else f"{met} of {self.seeds} plays"
        shown = f"the probability is at least {SURE:.0%}, with 95% confidence"
        said = [f"{self._named(self.found.value)} enough: {plays} meet {goals}, so {shown}.", self._slower()]
        if self.above is not None:
            more = f"{self.above.value:g}, although faster,"
            said.append(f"With {more} it is only {percent(self.above.probability)}: here, more does not always help.")
        if self.scale > 1:
            said.append(f"One played message stands for {self.scale:,}.")
        return " ".join(said)

    def _named(self, value: float) -> str:
        """Return a value with its verb."""
        name, key = self.sought.name, self.sought.key
        if key == "copies":
            return f"1 copy of {name} is" if value == 1 else f"{value:,} copies of {name} are"
        if key == "limit":
            return f"A limit of {value:,g} per second for {name} is"
        return f"A mean of {value:g} s for {name} is short" if key == "mean" else f"{value:,} lanes for {name} are"

    def _slower(self) -> str:
        if self.below is None:
            value = self.sought.high if self.sought.key == "mean" else self.sought.low
            end = "largest" if self.sought.key == "mean" else "smallest"
            return f"{value:g} is the {end} value of the range."
        unsure = "" if self.below.probability < SURE else ", which is not shown to be enough"
        return f"With {self.below.value:g}, it is about {percent(self.below.probability)}{unsure}."


def percent(share: float) -> str:
    """Format a share like 42%, truncated; only 0 is 0%."""
    return f"{math.floor(100 * share + 1e-9)}%" if share >= 0.01 or not share else "<1%"
