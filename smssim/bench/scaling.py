"""The scaling study: smssim and the baseline from one lane to two million.

Knows which points are measured, and how. Must not know how they are drawn.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from smssim.bench import measure as reckon
from smssim.bench.cases import EVERYONE, FAIL, steady_rate
from smssim.bench.runs import Stage, baseline_of, run_of
from smssim.settings import SenderSettings

SMSSIM: Final = "smssim"
BASELINE: Final = "baseline"


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings of one point of the study."""

    program: str  # SMSSIM or BASELINE
    mean_s: float
    lanes: int
    count: int  # messages

    def in_words(self) -> str:
        """Return the setting as text."""
        return f"{self.program}: {self.lanes:,} {'lane' if self.lanes == 1 else 'lanes'} of {self.mean_s:g} s"


@dataclass(frozen=True, slots=True)
class Sample:
    """The measurements at one point."""

    setting: Setting
    rate_per_s: float  # messages per second
    share: float  # the rate divided by lanes / mean

    @property
    def everyone_s(self) -> float:
        """The seconds that messages to everyone in the US take at this rate."""
        return EVERYONE / self.rate_per_s

    def as_dict(self) -> dict[str, Any]:
        """Return the sample as a JSON object."""
        figures = {"rate_per_s": self.rate_per_s, "share": self.share, "everyone_s": self.everyone_s}
        return asdict(self.setting) | figures

    def in_words(self) -> str:
        """Return the sample as text."""
        return f"{self.setting.in_words():<36} {self.rate_per_s:>13,.1f}/s {self.share:>8.2%} of lanes / mean"


def plan(quick: bool) -> list[Setting]:
    """Return the points of the study; in each series, those with the fewest lanes first."""
    few = (1, 1000, 1_000_000)
    ours_1s = few if quick else (1, 10, 100, 1000, 10_000, 100_000, 300_000, 1_000_000, 2_000_000)
    ours_10ms = few if quick else (1, 10, 100, 1000, 10_000, 20_000, 50_000, 100_000, 300_000, 1_000_000, 2_000_000)
    theirs_1s = (1, 1000) if quick else (1, 10, 100, 1000, 10_000, 50_000, 100_000)
    theirs_10ms = (1, 1000) if quick else (1, 10, 100, 300, 1000, 3000, 10_000, 100_000)
    return [
        *(Setting(SMSSIM, 1.0, lanes, lanes * _means(lanes, quick)) for lanes in ours_1s),
        *(Setting(SMSSIM, 0.01, lanes, max(5 * lanes, min(300 * lanes, 9_000_000))) for lanes in ours_10ms),
        *(Setting(BASELINE, 1.0, lanes, lanes * min(_means(lanes, quick), 600_000 // lanes)) for lanes in theirs_1s),
        *(Setting(BASELINE, 0.01, lanes, max(8 * lanes, min(300 * lanes, 150_000))) for lanes in theirs_10ms),
    ]


def _means(lanes: int, quick: bool) -> int:
    """Return the number of messages per lane. Ten lanes need more of them for chance to even out."""
    return 24 if lanes == 10 and not quick else 12


def measure(setting: Setting, stage: Stage) -> Sample:
    """Measure one point. Raises BenchError or TooShortError.

    A single lane is measured over the whole run, more lanes over the steady part.
    """
    lanes, mean_s = setting.lanes, setting.mean_s
    if setting.program == BASELINE:
        theirs = baseline_of(stage, lanes, setting.count, mean_s, FAIL, queue_max=0)
        if lanes == 1:
            share = theirs.points[-1].work_s / theirs.elapsed_s
            return Sample(setting, theirs.rate_per_s, share)
        rate = steady_rate(theirs, lanes, mean_s)
        return Sample(setting, rate, rate * mean_s / lanes)
    run = run_of(stage, setting.count, SenderSettings(mean_s=mean_s, fail=FAIL, concurrency=lanes))
    if lanes == 1:
        return Sample(setting, run.rate_per_s, run.efficiency)
    part = reckon.steady(run.points, lanes, mean_s)
    return Sample(setting, part.rate_per_s, part.busy_lanes / lanes)
