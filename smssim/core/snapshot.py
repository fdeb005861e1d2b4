"""Everything that can be shown of a run at one moment.

Holds figures. Must not know how they are computed or shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from smssim.core.event import Event
from smssim.core.fleet import EMPTY_FLEET, ROWS_MAX, Fleet
from smssim.core.folding import FoldedFleet, fold, in_rows
from smssim.core.model import RunFacts
from smssim.core.planned import PlannedCourse
from smssim.core.progress import Figures, LatencyShape, Milestones
from smssim.core.stall import Stall
from smssim.core.threshold import Judged
from smssim.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run, in addition to its last figures."""

    exit_code: ExitCode
    reason: str  # one line for people
    reached_s: Mapping[str, float | None]  # by percent of all messages: seconds until that many were sent
    percentiles: Mapping[str, float | None]  # of the latency, by percent, in seconds
    redelivered: int | None  # messages redelivered because a lease was lost; None if the producer's totals are missing
    thresholds: tuple[Judged, ...] = ()
    segments: int = 1  # of each message
    reached_reachable_s: Mapping[str, float | None] = field(default_factory=dict)  # the same, of the reachable messages


@dataclass(frozen=True, slots=True)
class Detail:
    """What only pages and reports show of a run."""

    run: RunFacts
    latency: LatencyShape


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment."""

    figures: Figures
    fleet: Fleet = EMPTY_FLEET
    stall: Stall | None = None
    summary: Summary | None = None  # only with the last figures
    events: tuple[Event, ...] = ()  # of the run so far, in order of time
    reached_s: Mapping[int, float] = field(default_factory=dict)  # so far: when percentages of all messages were sent
    plan: PlannedCourse | None = None
    behind_s: float | None = None  # the plan, by more than chance explains; see `PlannedCourse.behind_s`
    detail: Detail | None = None
    folded: FoldedFleet | None = None  # the senders with copies in one row, if `fleet` alone does not determine them
    reached_reachable_s: Mapping[int, float] = field(default_factory=dict)  # so far: of the reachable messages

    @property
    def senders(self) -> FoldedFleet:
        """The senders as tables show them: with copies in one row."""
        return fold(self.fleet) if self.folded is None else self.folded

    def limited(self, rows_max: int) -> Snapshot:
        """Return the same with at most this many rows of senders."""
        fleet, folded = in_rows(self.fleet, rows_max)
        return replace(self, fleet=fleet, folded=folded if self.folded is None else self.folded.limited(rows_max))

    def last_object(self) -> dict[str, Any]:
        """Return the figures, the events and the plan, for the last object of --json."""
        return {
            **self.figures.as_dict(),
            "events": [event.as_dict() for event in self.events],
            "plan_reached_s": None if self.plan is None else self.plan.as_reached_s(),
            "reached_reachable_s": {str(p): self.reached_reachable_s.get(p) for p in Milestones.PERCENTS},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and the summary, for --summary-json."""
        summary = self.summary
        if summary is None:
            return self.figures.as_dict()
        fleet = self.fleet.limited(ROWS_MAX)
        run = None if self.detail is None else self.detail.run
        return {
            **self.last_object(),
            "seed": None if run is None else run.seed,
            "max_attempts": None if run is None else run.max_attempts,
            "unreachable_share": None if run is None else run.unreachable,
            "segments": summary.segments,
            "exit_code": int(summary.exit_code),
            "reason": summary.reason,
            "reached_s": dict(summary.reached_s),
            "percentiles": dict(summary.percentiles),
            "redelivered": summary.redelivered,
            "sender_rows": [row.as_dict() for row in fleet.rows],
            "senders_not_in_rows": fleet.others.senders,
            "thresholds": [{"threshold": t.text, "value": t.value, "passed": t.passed} for t in summary.thresholds],
        }
