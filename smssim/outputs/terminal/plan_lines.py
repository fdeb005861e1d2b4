"""A run beside its plan, as text.

Knows snapshots. Must not decide whether a run is as planned.
"""

from __future__ import annotations

from typing import Final

from smssim.core.planned import PlannedCourse
from smssim.core.progress import Milestones
from smssim.core.snapshot import Snapshot
from smssim.words import clock

CHANCE: Final = "more than chance explains"
_HEAD: Final = 8  # width of the words "plan" and "actual"
_GAP: Final = "   "


def pace(behind_s: float) -> str:
    """Return how a run compares with its plan."""
    if not behind_s:
        return "as planned"
    return f"{'behind' if behind_s > 0 else 'ahead of'} the plan by {clock(abs(behind_s))}"


def planned(plan: PlannedCourse, percent: int) -> str:
    """Return when a percentage of all messages is sent, according to the plan."""
    time_s = plan.median_s(percent)
    return "never" if time_s is None else clock(time_s)


def beside(snapshot: Snapshot, width: int) -> list[tuple[str, str]]:
    """Return a line with the plan and one with what happened, each as its head and its text; none without a plan.

    They show when the usual percentages of all messages are sent: as many of these as fit into the width. If some are
    unreachable, a third line shows the times of the others.
    """
    plan = snapshot.plan
    if plan is None:
        return []
    cells = []
    for percent in Milestones.PERCENTS:
        times_s = snapshot.reached_s.get(percent), snapshot.reached_reachable_s.get(percent)
        actual, reachable = ("-" if time_s is None else clock(time_s) for time_s in times_s)
        cells.append((f"{percent}%", planned(plan, percent), actual, reachable))
    heads = ["plan", "actual", *(["reachable"] if snapshot.figures.unreachable else [])]
    head_wide = max(_HEAD, len(heads[-1]) + 2)
    wide = max(len(text) for cell in cells for text in cell[1:])
    fit = (width - head_wide + len(_GAP)) // (len("50%  ") + wide + len(_GAP))
    return [
        (head.ljust(head_wide), _GAP.join(f"{cell[0]}  {cell[row]:>{wide}}" for cell in cells[: max(1, fit)]))
        for row, head in enumerate(heads, 1)
    ]
