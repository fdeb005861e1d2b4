"""Looks for a planted bug: plays worlds in which it may show, until one goes wrong that goes well without it.

Knows plans and how to play them. Must not know what a bug changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
OFTEN_PER_S = 1.0
FAULTY_S = 20.0
FAILS_MIN = 0.5  # of small worlds: retries, which have to be kept too
EMPTY_RUN = "empty run"  # among faults: what brings a bug out is that there are no messages


@dataclass(frozen=True)
class Found:
    """A plan that shows a bug."""

    plan: Plan
    played: int  # plans, to find it
    failure: str  # what went wrong, in one line


def hunt(bug: Callable[[], AbstractContextManager[Any]], *faults: str, most: int | None = None) -> Found | None:
    """Return the first plan that shows the bug, of at most `most`; None if none does.

    `faults`: those that bring it out together, if it takes some. Raises SimulationError where a plan goes wrong without
    the bug, too, and where the bug fails by itself instead of being found: it does not fit the code any more.
    """
    for played, plan in enumerate(islice(plans_for(*faults), most), 1):
        try:
            with bug():
                play(plan)
        except SimulationError as error:
            if not isinstance(error.__cause__, AssertionError | SmssimError):
                raise
            play(plan)
            return Found(plan, played, str(error).partition("\n")[0])
    return None


def plans_for(*faults: str) -> Iterator[Plan]:
    """Yield the plans in which to look for a bug that these faults bring out, in turn one of each kind.

    Small ones that hardly any other fault strikes, and those of all seeds that all of them strike, as they are drawn.
    """
    if EMPTY_RUN in faults:
        return (replace(plan, total=0) for plan in map(draw_plan, BUG_SEEDS))
    drawn = (plan for plan in _drawn() if plan.faults.keys() >= set(faults))
    small = (focused(plan, faults) for plan in (_drawn() if faults else ()) if plan.total in SMALL)
    return (plan for pair in zip_longest(small, drawn) for plan in pair if plan is not None)


@cache
def _drawn() -> tuple[Plan, ...]:
    """The plans of all seeds, the small ones first."""
    return tuple(sorted(map(draw_plan, BUG_SEEDS), key=lambda plan: plan.total not in SMALL))


def focused(plan: Plan, faults: Iterable[str]) -> Plan:
    """Return the same plan, but that these faults strike often, and that others hardly hide what they bring out."""
    return replace(
        plan,
        faulty_s=FAULTY_S,
        max_attempts=max(3, plan.max_attempts),
        senders=tuple(replace(sender, fail=max(FAILS_MIN, sender.fail)) for sender in plan.senders),
        faults={"stream cut": FAULTS["stream cut"]} | {fault: max(OFTEN_PER_S, FAULTS[fault]) for fault in faults},
    )
