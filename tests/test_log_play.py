"""A replicated log by itself on a simulated engine that lies, in simulated time."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from simulation.clock import Clock, Process
from simulation.driving import Driven
from simulation.engine import EngineLog, SimStore, Temper
from simulation.log_play import play_log
from simulation.records import Records, Writing

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_record import Kind, Record
from smssim.core.log_store import UnclearError
from smssim.core.owned_log import Appended
from smssim.core.replicated_log import ReplicatedLog
from smssim.errors import DamagedLogError

Result = TypeVar("Result")

SEEDS = range(150)
SEEDS_LOSING = range(60)
OFTEN = 20  # times, in all seeds together
HAPPENINGS = (
    *("append unanswered", "append lost", "append late", "read out of date", "engine slow", "node killed"),
    *("node paused", "fenced off", "checkpoint", "log purged", "commit in parts", "commit incomplete"),
)


class Engine:
    """An engine that tells the truth unless it is made to lie, and the nodes that use it."""

    def __init__(self, limits: Limits = LIMITS, *, loses: bool = False) -> None:
        self.clock = Clock(1)
        self.log = EngineLog(self.clock, "log", Temper(loses=loses), Records(keeps_all=True))
        self.limits = limits
        self._ids = 0

    def _id(self) -> str:
        self._ids += 1
        return f"id {self._ids}"

    def node(self, name: str) -> ReplicatedLog:
        store = SimStore(self.log, Process(), self.clock, Writing())
        return ReplicatedLog(store, "log", name, self._id, lambda: self.clock.now, self.limits)

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end in simulated time."""
        results: list[Result] = []
        Driven(coroutine, results.append)
        while not results:
            assert self.clock.step(), "it waits for ever"
        return results[0]

    def owner(self, name: str) -> ReplicatedLog:
        """Return a node that has taken the log."""
        node = self.node(name)
        assert self.wait(node.take()) is not None
        return node

    def found(self, name: str = "last") -> dict[str, bytes]:
        """Return what another node finds that takes the log."""
        taken = self.wait(self.node(name).take())
        assert taken is not None
        return dict(taken.pieces)

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of the records that are in the log now."""
        return [Record.decoded(stored.entry.data).kind for stored in self.log.view(self.clock.now)]


# ---- Any course of events


@pytest.mark.parametrize("first", SEEDS[::10])
def test_nothing_acknowledged_is_lost_whatever_the_engine_says(first: int) -> None:
    for seed in range(first, first + 10):
        play_log(seed)


def test_with_an_engine_that_loses_entries_a_node_finds_a_state_that_once_was_committed_or_damage() -> None:
    assert sum(play_log(seed, loses=True).get("entries vanished", 0) for seed in SEEDS_LOSING) >= OFTEN


def test_every_lie_is_told() -> None:
    struck = [play_log(seed) for seed in SEEDS[:60]]
    counts = {what: sum(some.get(what, 0) for some in struck) for what in HAPPENINGS}
    assert {what: times for what, times in counts.items() if times < OFTEN} == {}


# ---- Time


def test_an_answer_that_is_out_of_date_is_no_loss() -> None:
    engine = Engine()
    owner = engine.owner("a")
    for number in range(5):
        engine.wait(owner.append({str(number): b""}))
    engine.log.temper = Temper(unanswered=1.0)
    assert engine.wait(owner.append({"last": b"1"})) is Appended.UNKNOWN
    engine.log.temper = Temper(stale=1.0, stale_s=5.0)
    for _ in range(20):
        if engine.wait(owner.append({"last": b"1"})) is Appended.OK:
            break
    engine.log.temper = Temper()
    assert engine.wait(owner.append({"last": b"1"})) is Appended.OK
    assert Kind.STATE not in engine.kinds
    assert "last" in engine.found()


def test_records_that_are_missing_for_long_are_damage_and_those_that_are_missing_for_a_moment_are_not() -> None:
    engine = Engine(loses=True)
    owner = engine.owner("a")
    for number in range(6):
        engine.wait(owner.append({str(number): b"1"}))
    del engine.log.view(engine.clock.now)[2]
    node, began = engine.node("b"), engine.clock.now

    async def take() -> str:
        try:
            await node.take()
        except UnclearError:
            return ""
        except DamagedLogError as error:
            return str(error)
        return "taken"

    said = ""
    while not said:
        engine.clock.now += 1.0
        said = engine.wait(take())
    assert "record 3 is missing" in said
    assert engine.clock.now - began >= engine.limits.broken_for_s
