"""What a plan forecasts for a scenario, and how live runs compare with it.

Pure: knows figures. Must not know how plans are played, or how runs are started.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

NEAR: Final = 0.01  # difference of means, relative to the plan's, that counts as equal
ERRORS: Final = 2.0  # standard errors of the difference of means that do, too
INSIDE_SHARE: Final = 0.9  # of all runs whose last message has to be inside the interval of 95%
LAST: Final = "complete_s"  # the figure of the last message

Value = float | None  # None: never reached


@dataclass(frozen=True, slots=True)
class FigureForecast:
    """One figure of a scenario, as forecast before any run. Times are in seconds."""

    name: str  # t50, t80, t95, t99, complete_s, sent, failed or retried
    values: tuple[Value, ...]  # of the seeds 1, 2, 3 and so on
    low: Value  # the middle 95% of the seeds is from here ...
    median: Value
    high: Value  # ... to here
    tolerance: float  # by which the mean of the live runs may differ from the plan's
    theory: Value = None
    is_exact: bool = False  # whether each run has to have the value of its seed

    @classmethod
    def of(
        cls,
        name: str,
        values: Sequence[Value],
        interval: tuple[Value, Value, Value],
        runs: int,
        *,
        theory: Value = None,
        is_exact: bool = False,
    ) -> FigureForecast:
        """Return the forecast from the values of some seeds, for a comparison with this many live runs.

        The standard error is that of the difference between the mean of the runs and that of the seeds, both with the
        spread of the seeds: so the tolerance is known before the first run.
        """
        known = [value for value in values if value is not None]
        spread = statistics.stdev(known) if len(known) > 1 else 0.0
        error = spread * math.sqrt(1 / runs + 1 / max(1, len(known)))
        tolerance = 0.0 if is_exact else max(NEAR * abs(_mean(known) or 0.0), ERRORS * error)
        return cls(name, tuple(values), *interval, tolerance, theory, is_exact)

    @property
    def mean(self) -> Value:
        """The mean over the seeds that reach it; None if none does."""
        return _mean([value for value in self.values if value is not None])

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "plan": {"mean": self.mean, "median": self.median, "low": self.low, "high": self.high},
            "theory": self.theory,
            "tolerance": self.tolerance,
            "exact": self.is_exact,
        }


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What a live run found."""

    seed: int
    figures: Mapping[str, Value]  # by the names of forecasts
    joined_s: tuple[float, ...] | None = None  # of each sender, in seconds since the first one; None: not known
    cpu_share: float = 0.0  # of all cores of the machine, by all processes of the run, over its whole length


@dataclass(frozen=True, slots=True)
class Comparison:
    """A forecast and what live runs found."""

    forecast: FigureForecast
    live: tuple[Value, ...]
    seeds: tuple[int, ...]
    hindsight: tuple[Value, ...]  # plays with the seeds of the live runs, and senders that join when they did there

    @property
    def live_mean(self) -> Value:
        """The mean of the live runs; None if one of them never got there."""
        return _mean_of_all(self.live)

    @property
    def difference(self) -> Value:
        """How much larger the mean of the live runs is than that of the plan, as a share of it."""
        return _relative(self.live_mean, self.forecast.mean)

    @property
    def difference_in_hindsight(self) -> Value:
        """The same, from the mean of the plays in hindsight."""
        return _relative(self.live_mean, _mean_of_all(self.hindsight))

    @property
    def inside(self) -> int:
        """How many runs are inside the interval of 95%."""
        low, high = self.forecast.low, self.forecast.high
        if low is None:
            return sum(value is None for value in self.live)
        return sum(value is not None and low <= value <= (math.inf if high is None else high) for value in self.live)

    @property
    def is_within(self) -> bool:
        """Whether plan and live runs agree."""
        if self.forecast.is_exact:
            return self.live == tuple(self.forecast.values[seed - 1] for seed in self.seeds)
        live, plan = self.live_mean, self.forecast.mean
        if plan is None:
            return all(value is None for value in self.live)
        return live is not None and abs(live - plan) <= self.forecast.tolerance

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        known = [value for value in self.live if value is not None]
        live = {
            "mean": self.live_mean,
            "min": min(known, default=None),
            "max": max(known, default=None),
            "values": self.live,
        }
        return self.forecast.as_dict() | {
            "live": live,
            "difference": self.difference,
            "difference_in_hindsight": self.difference_in_hindsight,
            "inside": self.inside,
            "within": self.is_within,
        }


def compare(
    forecasts: Sequence[FigureForecast], runs: Sequence[LiveRun], hindsight: Sequence[Mapping[str, Value]]
) -> list[Comparison]:
    """Return each forecast beside what the runs found; `hindsight`: the figures of a play for each run."""
    seeds = tuple(run.seed for run in runs)
    return [
        Comparison(
            one,
            tuple(run.figures[one.name] for run in runs),
            seeds,
            tuple(figures[one.name] for figures in hindsight),
        )
        for one in forecasts
    ]


def _mean(values: Sequence[float]) -> Value:
    return statistics.fmean(values) if values else None


def _mean_of_all(values: Sequence[Value]) -> Value:
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None


def _relative(live: Value, plan: Value) -> Value:
    return None if live is None or not plan else live / plan - 1
