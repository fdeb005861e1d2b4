"""Runs on which forecasts are judged, played by the real core: the second opinion.

The moments are those that the real monitor has recorded. Knows the oracle. Must not know how a forecast is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from expected_support import KINDS, SAMPLES_MAX, Moment, draw
from oracle.core_engine import COMMIT_S, PLAYED_MAX_S, CalmWorld
from oracle.draw import about_s

from smssim.core.expected import COMPLETE
from smssim.core.fleet import SenderRow
from smssim.core.history import History
from smssim.core.limits import LIMITS
from smssim.core.progress import Figures
from smssim.plan.scenario import Scenario

MOMENTS: Final = 200  # of a run, about
COUNT_MAX: Final = 3000
TIME_MAX_S: Final = 60.0  # a play takes a few seconds


class _WatchedWorld(CalmWorld):
    """A world whose monitor is looked at, at a pace."""

    def __init__(self, scenario: Scenario, seed: int, pace_s: float) -> None:
        super().__init__(scenario, seed, delay_s=0.0003, start_s=0.0, commit_s=COMMIT_S)
        self._pace_s = pace_s
        self.seen: list[tuple[Figures, tuple[SenderRow, ...]]] = []
        self.clock.after(pace_s, None, self._look)

    def _look(self) -> None:
        if self.clock.now < PLAYED_MAX_S:
            self.clock.after(self._pace_s, None, self._look)
        if self.monitor is None or self.producer is None:
            return
        followed = self.monitor.runs.followed.get(self.producer.run.run_id)
        if followed is None or followed.tally.complete:
            return
        now, before = self.clock.now, self.seen[-1][0] if self.seen else None
        figures = followed.tally.figures(now, before)
        if figures.elapsed_s > 0:
            self.seen.append((figures, tuple(map(self._declared, followed.tally.snapshot(figures, now).fleet.rows))))

    def _declared(self, row: SenderRow) -> SenderRow:
        """Return a row with what the sender declares, which simulated senders don't report."""
        sender = self.scenario.senders[self.sender_of[row.name]]
        model = sender.model
        return replace(row, mean_s=model.mean_s, failure_rate=model.fail, concurrency=sender.concurrency)


def moments(seed: int, asked: Sequence[tuple[int, float]], kinds: Sequence[str] = KINDS) -> list[Moment]:
    """Return the moments of the run of a seed, see `expected_support.moments`; none if the run would take long."""
    kind, scenario = draw(seed, COUNT_MAX, kinds)
    if about_s(scenario) > TIME_MAX_S:
        return []
    world = _WatchedWorld(scenario, seed, about_s(scenario) / MOMENTS)
    played = world.play_scenario()
    reached_s = {**played.reached_s, COMPLETE: played.complete_s}
    found = []
    for mark, share in asked:
        time_s = reached_s[mark]
        if time_s is not None:
            found += _moment_at(world, (mark, share), share * time_s, reached_s, kind)
    return found


def _moment_at(
    world: _WatchedWorld, asked: tuple[int, float], at_s: float, reached_s: dict[int, float | None], kind: str
) -> list[Moment]:
    history = History(replace(LIMITS, history_samples_max=SAMPLES_MAX))
    last = None
    for figures, rows in world.seen:
        if figures.elapsed_s > at_s:
            break
        history.add(figures)
        last = figures, rows
    return [] if last is None else [Moment(world.scenario, kind, asked, history.samples(), *last, reached_s)]
