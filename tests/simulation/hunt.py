"""Looks for a planted bug: plays worlds in which it may show, until one goes wrong that goes well without it.

Knows plans and how to play them. Must not know what a bug changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, zip_longest
from typing import Any

from simulation.plan import FAULTS, Plan, draw_plan
from simulation.world import SimulationError, play
from smssim.errors import SmssimError

BUG_SEEDS = range(1000)  # some bugs show in one plan of a hundred only
SMALL = range(7, 401)  # messages: quickly played, and yet with something to go wrong
OFTEN_PER_S = 0.5
EMPTY_RUN = "empty run"  # in place of a fault: what brings a bug out is that there are no messages


@dataclass(frozen=True)
class Found:
    """A plan that shows a bug."""

    plan: Plan
    played: int  # plans, to find it
    told: str  # what went wrong


def hunt(bug: Callable[[], AbstractContextManager[Any]], fault: str, most: int | None = None) -> Found | None:
    """Return the first plan that shows the bug, of at most `most`; None if none does.

    `fault`: the one that brings it out, if there is one alone. Raises SimulationError where a plan goes wrong without
    the bug, too, and where the bug fails by itself instead of being found: it does not fit the code any more.
    """
    for played, plan in enumerate(islice(plans_for(fault), most), 1):
        try:
            with bug():
                play(plan)
        except SimulationError as error:
            if not isinstance(error.__cause__, AssertionError | SmssimError):
                raise
            play(plan)
            return Found(plan, played, str(error).partition("\n")[0])
    return None


def plans_for(fault: str) -> Iterator[Plan]:
    """Yield the plans in which to look for a bug that this fault brings out, in turn one of each kind.

    Small ones that hardly any other fault strikes, and those of all seeds that the fault strikes, as they are drawn.
    """
    if fault == EMPTY_RUN:
        return (replace(plan, total=0) for plan in map(draw_plan, BUG_SEEDS))
    drawn = (plan for plan in _drawn() if not fault or fault in plan.faults)
    small = (focused(plan, fault) for plan in (_drawn() if fault else ()) if plan.total in SMALL)
    return (plan for pair in zip_longest(small, drawn) for plan in pair if plan is not None)


@cache
def _drawn() -> tuple[Plan, ...]:
    """The plans of all seeds, the small ones first."""
    return tuple(sorted(map(draw_plan, BUG_SEEDS), key=lambda plan: plan.total not in SMALL))


def focused(plan: Plan, fault: str) -> Plan:
    """Return the same plan, but that this fault strikes often, and that others hardly hide what it brings out."""
    fails = 0.9 if fault == "producer killed" else 0.0  # retries are what it has to write down
    return replace(
        plan,
        journals=plan.journals or fault.endswith("killed"),  # without one, nothing is restored wrongly
        max_attempts=max(3, plan.max_attempts),
        senders=tuple(replace(sender, fail=max(fails, sender.fail)) for sender in plan.senders),
        faults={"stream cut": FAULTS["stream cut"], fault: max(OFTEN_PER_S, FAULTS[fault])},
    )
