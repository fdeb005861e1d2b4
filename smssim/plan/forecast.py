"""The forecast for a scenario: the figures of many plays, each with its spread, and which goals are met how surely.

Knows plays and goals. Must not know how a scenario is played, nor how a forecast is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Any, Final

import numpy as np

from smssim.core.progress import Milestones
from smssim.core.threshold import Threshold
from smssim.plan.scale import Scale
from smssim.plan.scenario import Scenario, ceiling_of
from smssim.plan.seeds import COUNTS, ENDS, Floats, Play, Spread, shrink, unscaled
from smssim.plan.theory.theory import Theory

SURE: Final = 0.95  # the probability with which a goal must be met
SENDER_FIGURES: Final = ("attempts", "sent", "failed", "busy", "cost")


@dataclass(frozen=True, slots=True)
class GoalForecast:
    """How surely a goal is met."""

    goal: Threshold
    probability: float  # the share of the seeds that meet it

    @property
    def passed(self) -> bool:
        """Whether it is met surely enough."""
        return self.probability >= SURE


@dataclass(frozen=True, slots=True)
class SenderForecast:
    """What a sender does, with all its copies: medians over the seeds."""

    name: str
    attempts: float
    sent: float
    failed: float
    busy: float  # share of its lane time in use
    cost: float


class Forecast:
    """What plays of a scenario found. Assumes at least one play."""

    def __init__(
        self,
        scenario: Scenario,
        plays: Sequence[Play],
        scale: Scale,
        goals: Sequence[Threshold] = (),
        calm: Sequence[Play] = (),
    ) -> None:
        """`calm`: plays of the same scenario without its faults, to see what these cost."""
        self.scenario = scenario
        self.scale = scale
        self.plays = unscaled(plays, scale, scenario)
        self.goals = [GoalForecast(goal, self.probability(goal)) for goal in goals]
        self.calm = unscaled(calm, scale, replace(scenario, faults=()))
        self.theory = Theory(scenario)

    def probability(self, goal: Threshold) -> float:
        """Return the share of the seeds that meet a goal."""
        return sum(goal.judge(play.figures(self.scenario.total)).passed for play in self.plays) / len(self.plays)

    @property
    def passed(self) -> bool:
        """Whether every goal is met surely enough."""
        return all(goal.passed for goal in self.goals)

    def count(self, name: str) -> Spread:
        """Return the spread of one of `COUNTS`."""
        return Spread.of([getattr(play, name) for play in self.plays])

    @cached_property
    def reached_s(self) -> dict[int, Spread]:
        """The spread of the time until each percentage of all messages was sent, by percent."""
        return {percent: Spread.of([play.reached_s[percent] for play in self.plays]) for percent in Milestones.PERCENTS}

    @cached_property
    def reached_reachable_s(self) -> dict[int, Spread]:
        """The same for each percentage of the messages that can be reached."""
        times = {percent: [play.reached_reachable_s[percent] for play in self.plays] for percent in Milestones.PERCENTS}
        return {percent: Spread.of(times_s) for percent, times_s in times.items()}

    @cached_property
    def cost(self) -> Spread:
        """The spread of what all senders cost together."""
        return Spread.of([play.cost for play in self.plays])

    @cached_property
    def complete_s(self) -> Spread:
        """The spread of the time until the last message has its final outcome."""
        return Spread.of([play.complete_s for play in self.plays])

    @cached_property
    def rate_per_s(self) -> Spread:
        """The spread of the messages with a final outcome per second, over the whole run."""
        return Spread.of([play.figures(self.scenario.total)["rate_per_s"] for play in self.plays])

    @cached_property
    def ceiling(self) -> float:
        """The share of all messages that is sent in the end, expected."""
        scenario = self.scenario
        if scenario.fail is not None and self.complete_s.share == 1:
            return ceiling_of(scenario.fail, scenario.max_attempts, scenario.unreachable)
        return sum(play.sent for play in self.plays) / len(self.plays) / scenario.total if scenario.total else 0.0

    @cached_property
    def senders(self) -> list[SenderForecast]:
        """What each sender does."""
        return [
            SenderForecast(
                sender.name,
                *(median(getattr(play.senders[number], name) for play in self.plays) for name in SENDER_FIGURES),
            )
            for number, sender in enumerate(self.scenario.senders)
        ]

    @cached_property
    def calm_complete_s(self) -> float | None:
        """The median time until the last message has its final outcome if there are no faults; None if unknown."""
        return Spread.of([play.complete_s for play in self.calm]).median if self.calm else self.complete_s.median

    @property
    def end_s(self) -> float:
        """When the last play ends."""
        return max(float(play.times_s[-1]) for play in self.plays)

    def course(self, points: int) -> tuple[Floats, Floats]:
        """Return the course over time: seconds, shape (n,), and messages, shape (n, 2, 3).

        These are sent and failed, each as the median, low and high over the seeds. The course ends when all plays do.
        """
        times_s = np.linspace(0.0, self.end_s, points)
        courses = np.array(
            [[np.interp(times_s, play.times_s, play.course[:, kind]) for kind in (0, 1)] for play in self.plays]
        )
        mean = courses.mean(axis=0)
        courses = mean + (courses - mean) * shrink(self.scale, len(self.plays))
        return times_s, np.quantile(courses, [0.5, *ENDS], axis=0).transpose(2, 1, 0)

    def as_dict(
        self,
        find: Mapping[str, Any] | None = None,
        cheapest: Mapping[str, Any] | None = None,
        encoding: str | None = None,
    ) -> dict[str, Any]:
        """Return the forecast for JSON.

        `find` and `cheapest` are what was found, if something was asked for; `encoding` is that of the text, if it is
        given.
        """
        return {
            "total": self.scenario.total,
            "segments": self.scenario.segments,
            "encoding": encoding,
            "seeds": len(self.plays),
            "scale": self.scale.messages,
            **{name: self.count(name).as_dict() for name in COUNTS},
            "reached_s": {str(percent): spread.as_dict(with_share=True) for percent, spread in self.reached_s.items()},
            "reached_reachable_s": {
                str(percent): spread.as_dict(with_share=True) for percent, spread in self.reached_reachable_s.items()
            },
            "complete_s": self.complete_s.as_dict(),
            "rate_per_s": self.rate_per_s.as_dict(),
            "cost": self.cost.as_dict(),
            "ceiling": self.ceiling,
            "goals": [
                {"goal": one.goal.text, "probability": one.probability, "passed": one.passed} for one in self.goals
            ],
            "senders": [{name: getattr(sender, name) for name in ("name", *SENDER_FIGURES)} for sender in self.senders],
            "theory": self.theory.fields(),
            "find": find,
            "cheapest": cheapest,
        }
