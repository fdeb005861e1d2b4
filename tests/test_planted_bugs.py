"""Bugs that are put in on purpose: the simulation finds each of them, and none where there is none."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

import pytest
from simulation.bugs import BUGS, Bug
from simulation.hunt import BUG_SEEDS, hunt, plans_for
from simulation.plan import draw_plan
from simulation.world import SimulationError

from smssim.core.sending import SenderProtocol
from smssim.core.stretches import STRETCH_SIZE


@pytest.mark.parametrize(("bug", "faults"), BUGS.items(), ids=[bug.__name__ for bug in BUGS])
def test_the_simulation_finds_a_system_that(bug: Bug, faults: tuple[str, ...]) -> None:
    assert hunt(bug, *faults) is not None


def test_a_hunt_looks_in_small_worlds_that_only_the_faults_of_its_bug_strike() -> None:
    small = next(plans_for("monitor killed"))
    assert set(small.faults) == {"monitor killed", "stream cut"}
    assert small.total < STRETCH_SIZE


def test_a_hunt_looks_in_all_worlds_that_the_faults_of_its_bug_strike() -> None:
    for faults in ((), ("monitor killed",), ("producer paused", "sender paused")):
        drawn = [seed for seed in BUG_SEEDS if draw_plan(seed).faults.keys() >= set(faults)]
        assert sorted(plan.seed for plan in plans_for(*faults) if plan == draw_plan(plan.seed)) == drawn


def test_a_hunt_finds_nothing_where_no_bug_is() -> None:
    assert hunt(nullcontext, "producer killed", most=5) is None


def test_a_bug_that_does_not_fit_the_code_is_not_taken_for_found() -> None:
    def raising(*_: object) -> None:
        raise TypeError("no such argument")

    def does_not_fit() -> AbstractContextManager[Any]:
        return mock.patch.object(SenderProtocol, "stream_up", raising)

    with pytest.raises(SimulationError, match="no such argument"):
        hunt(does_not_fit)
