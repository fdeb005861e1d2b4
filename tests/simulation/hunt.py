"""The search for a planted bug: it plays plans that may show the bug until one fails that passes without it.

Knows plans and how to play them. Must not know what a bug changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice, zip_longest
from typing import Any

from simulation.log_play import play_log
from simulation.plan import RATES, Plan, draw_plan
from simulation.world import SimulationError, play
from smssim.errors import SmssimError

BUG_SEEDS = range(1000)  # some bugs show in only one plan of a hundred
SMALL = range(7, 401)  # messages: quick to play, with enough that can go wrong
OFTEN_PER_S = 1.0
FAULTY_S = 20.0
FAILS_MIN = 0.5  # failure rate of small plans, for retries, which must be saved too
EMPTY_RUN = "empty run"  # named like a fault: the bug shows only in a run without messages
ENGINE = "engine"  # likewise: only with an engine
LOSING = "entries lost"
UNREACHABLE = "unreachable messages"  # likewise: small plans have some only if the bug needs them


@dataclass(frozen=True)
class Found:
    """A plan that shows a bug."""

    plan: Plan
    played: int  # plans until this one was found
    failure: str  # what went wrong, in one line


def hunt(
    bug: Callable[[], AbstractContextManager[Any]], *faults: str, most: int | None = None, skipped: int = 0
) -> Found | None:
    """Return the first plan that shows the bug, of at most `most` plans; None if none does.

    `faults` are those that must strike together to bring the bug out, if any. The first `skipped` plans are played
    last. Raises SimulationError if a plan fails without the bug too, or if the bug raises an error of its own: then it
    no longer fits the code.
    """
    plans = chain(islice(plans_for(*faults), skipped, most), islice(plans_for(*faults), skipped))
    for played, plan in enumerate(plans, 1):
        try:
            with bug():
                play(plan)
        except SimulationError as error:
            if not isinstance(error.__cause__, AssertionError | SmssimError):
                raise
            play(plan)
            return Found(plan, played, str(error).partition("\n")[0])
    return None


def hunt_log(bug: Callable[[], AbstractContextManager[Any]], *, loses: bool, most: int = 300) -> int | None:
    """Return the first seed of a log by itself that shows the bug, of at most `most`; None if none does."""
    for seed in range(most):
        try:
            with bug():
                play_log(seed, loses=loses)
        except AssertionError as error:
            if not isinstance(error.__cause__, AssertionError | SmssimError):
                raise
            play_log(seed, loses=loses)
            return seed
    return None


def plans_for(*faults: str) -> Iterator[Plan]:
    """Yield the plans to search for a bug that these faults bring out, alternating between two kinds.

    Plans of the first kind are small and have hardly any other faults. The second kind are all plans that have these
    faults, as they are drawn.
    """
    if EMPTY_RUN in faults:
        return (replace(plan, total=0) for plan in map(draw_plan, BUG_SEEDS))
    named = [fault for fault in faults if fault not in (ENGINE, UNREACHABLE)]
    plans = [plan for plan in _drawn() if (plan.engine is not None) == (ENGINE in faults)]
    plans = [plan for plan in plans if (LOSING in plan.faults) == (LOSING in faults)]
    drawn = (plan for plan in plans if plan.faults.keys() >= set(named))
    share = 0.4 if UNREACHABLE in faults else 0.0
    small = (focused(plan, named, share) for plan in (plans if faults else ()) if plan.total in SMALL)
    return (plan for pair in zip_longest(small, drawn) for plan in pair if plan is not None)


@cache
def _drawn() -> tuple[Plan, ...]:
    """Return the plans of all seeds, small ones first."""
    return tuple(sorted(map(draw_plan, BUG_SEEDS), key=lambda plan: plan.total not in SMALL))


def focused(plan: Plan, faults: Iterable[str], unreachable: float = 0.0) -> Plan:
    """Return the plan changed so that these faults strike often and others can hardly hide their effects."""
    return replace(
        plan,
        faulty_s=FAULTY_S,
        max_attempts=max(3, plan.max_attempts),
        unreachable=unreachable,
        senders=tuple(replace(sender, fail=max(FAILS_MIN, sender.fail)) for sender in plan.senders),
        faults={"stream cut": RATES["stream cut"]} | {fault: max(OFTEN_PER_S, RATES[fault]) for fault in faults},
    )
