"""A replicated log on an engine that lies: nothing acknowledged is lost, and only the owner appends."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.clock import Clock, Process
from simulation.driving import Driven
from simulation.engine import EngineLog, SimStore, Temper
from simulation.log_play import play_log
from simulation.records import Records, Writing

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_record import Kind, Record, check_of, in_parts, packed
from smssim.core.log_store import Entry, UnclearError
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.core.replay import Replay
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


# ---- Owners


def test_the_next_owner_finds_all_that_was_appended() -> None:
    engine = Engine()
    owner = engine.owner("a")
    assert engine.wait(owner.append({"one": b"1", "two": b"2"})) is Appended.OK
    assert engine.wait(owner.append({"one": None, "three": b"3"})) is Appended.OK
    taken = engine.wait(engine.node("b").take())
    assert taken == Taken({"two": b"2", "three": b"3"}, "a")


def test_an_owner_that_was_replaced_appends_nothing_more() -> None:
    engine = Engine()
    first = engine.owner("a")
    second = engine.owner("b")
    assert engine.wait(first.append({"one": b"1"})) is Appended.FENCED
    assert engine.wait(second.append({"two": b"2"})) is Appended.OK
    assert engine.found() == {"two": b"2"}


def test_of_two_nodes_that_take_the_log_at_the_same_time_one_succeeds() -> None:
    engine = Engine()
    nodes = [engine.node("a"), engine.node("b")]
    results: list[Taken | None] = []
    for node in nodes:
        Driven(node.take(), results.append)
    while len(results) < 2:
        assert engine.clock.step()
    assert sum(taken is not None for taken in results) == 1


def test_a_node_does_not_replace_one_that_took_the_log_after_it_had_looked() -> None:
    engine = Engine()
    engine.owner("a")
    slow = engine.node("c")
    engine.wait(slow.tail())
    engine.owner("b")
    assert engine.wait(slow.take()) is None
    engine.wait(slow.tail())
    assert engine.wait(slow.take()) is not None


@pytest.mark.parametrize("lie", [Temper(unanswered=1.0), Temper(lost=1.0), Temper(late=1.0)], ids=str)
def test_an_append_of_unknown_result_is_repeated_and_counts_once(lie: Temper) -> None:
    engine = Engine()
    owner = engine.owner("a")
    engine.log.temper = lie
    assert engine.wait(owner.append({"one": b"1"})) is Appended.UNKNOWN
    assert owner.why
    engine.log.temper = Temper()
    assert engine.wait(owner.append({"one": b"1"})) is Appended.OK
    for _ in range(100):  # until all that was late has arrived
        engine.clock.step()
    assert engine.kinds == [Kind.TAKE, Kind.CHANGES]
    assert engine.found() == {"one": b"1"}


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


def test_an_owner_whose_acknowledged_records_have_vanished_writes_its_whole_state_again() -> None:
    engine = Engine(loses=True)
    owner = engine.owner("a")
    for number in range(6):
        assert engine.wait(owner.append({str(number): b"1"})) is Appended.OK
    engine.log.lose(2)
    results = [engine.wait(owner.append({"6": b"1"})) for _ in range(3)]
    assert results[0] is Appended.UNKNOWN
    assert results[-1] is Appended.OK
    assert engine.found().keys() == set("0123456")


def test_what_an_owner_leaves_behind_says_whether_the_run_goes_on() -> None:
    engine = Engine()
    assert engine.wait(engine.owner("a").leave()) is Appended.OK
    tail = engine.wait(engine.node("b").tail())
    assert tail is not None
    assert (tail.kind, tail.owner) == (Kind.RELEASED, "a")
    assert engine.wait(engine.owner("b").leave((0, "all is well"))) is Appended.OK
    tail = engine.wait(engine.node("c").tail())
    assert tail is not None
    assert (tail.kind, tail.code, tail.reason) == (Kind.ENDED, 0, "all is well")


# ---- Checkpoints and damage


def test_a_checkpoint_replaces_all_records_before_it() -> None:
    engine = Engine(replace(LIMITS, log_records_max=20, record_bytes_max=100))
    owner = engine.owner("a")
    for number in range(100):
        assert engine.wait(owner.append({str(number % 10): bytes([number] * 30)})) is Appended.OK
        assert engine.wait(owner.trim()) is Appended.OK
    assert len(engine.kinds) < 60
    assert engine.found() == {str(number % 10): bytes([number] * 30) for number in range(90, 100)}


def test_a_short_log_is_not_trimmed() -> None:
    engine = Engine()
    owner = engine.owner("a")
    engine.wait(owner.append({"one": b"1"}))
    assert engine.wait(owner.trim()) is Appended.OK
    assert engine.kinds == [Kind.TAKE, Kind.CHANGES]


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


# ---- Reading


def chain(*commits: tuple[Kind, int, Changes, int]) -> list[Record]:
    """Return the records of commits, each with its kind, epoch, changes and the number of its parts that are kept."""
    records: list[Record] = []
    for kind, epoch, changes, kept in commits:
        for part, is_first, left in list(in_parts(packed(changes), 20))[:kept]:
            before = check_of(records[-1].encoded()) if records else 0
            number = len(records) + 1
            records.append(Record(kind, "a", f"w{epoch}", epoch, number, before, 0.0, left, is_first, body=part))
    return records


def read(records: list[Record]) -> Replay:
    replay = Replay()
    for sequence, record in enumerate(records, 1):
        replay.read(Entry(sequence, record.encoded()))
    return replay


ALL = 1000
TAKE_1: tuple[Kind, int, Changes, int] = (Kind.TAKE, 1, {}, ALL)
TAKE_2: tuple[Kind, int, Changes, int] = (Kind.TAKE, 2, {}, ALL)
CHANGES = st.dictionaries(st.sampled_from("abcd"), st.none() | st.binary(max_size=60), max_size=4)


@given(st.lists(CHANGES, max_size=8), CHANGES, st.lists(CHANGES, max_size=4))
def test_a_commit_without_its_last_part_never_counts(
    before: list[Changes], torn: Changes, after: list[Changes]
) -> None:
    parts = len(list(in_parts(packed(torn), 20)))
    wanted: dict[str, bytes] = {}
    for changes in before + after:
        wanted = {name: piece for name, piece in (wanted | changes).items() if piece is not None}
    records = chain(
        TAKE_1,
        *((Kind.CHANGES, 1, changes, ALL) for changes in before),
        (Kind.CHANGES, 1, torn, parts - 1),
        TAKE_2,
        *((Kind.CHANGES, 2, changes, ALL) for changes in after),
    )
    replay = read(records)
    assert (replay.broken, replay.pieces) == ("", wanted)


def test_a_gap_breaks_the_state_until_a_checkpoint_replaces_it() -> None:
    records = chain(
        TAKE_1,
        (Kind.CHANGES, 1, {"a": b"1"}, ALL),
        (Kind.CHANGES, 1, {"b": b"2"}, ALL),
        (Kind.STATE, 1, {"c": b"3"}, ALL),
    )
    torn = [records[0], *records[2:]]
    assert "is missing" in read(torn[:2]).broken
    replay = read(torn)
    assert (replay.broken, replay.pieces) == ("", {"c": b"3"})


def test_a_record_of_an_owner_that_was_fenced_off_never_counts() -> None:
    records = chain(TAKE_1, (Kind.CHANGES, 1, {"a": b"1"}, ALL), TAKE_2)
    late = Record(
        Kind.CHANGES, "a", "w1", 1, len(records) + 1, check_of(records[-1].encoded()), 0.0, body=packed({"a": b"2"})
    )
    replay = read([*records, late])
    assert "did not own the log" in replay.broken
    assert replay.pieces == {"a": b"1"}


def test_a_record_with_changed_bytes_breaks_the_state() -> None:
    data = bytearray(chain(TAKE_1)[0].encoded())
    data[-2] ^= 1
    replay = Replay()
    replay.read(Entry(1, bytes(data)))
    assert "checksum" in replay.broken
