"""A log on an engine: it has one owner at a time, and unclear answers never make it wrong."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_record import Kind, Record
from smssim.core.log_store import Entry, UnclearError
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.core.replicated_log import ReplicatedLog
from smssim.errors import DamagedLogError

SMALL = replace(LIMITS, record_bytes_max=64)
SHORT = replace(LIMITS, log_records_max=5)

TRIES: Final = 5  # more than any of these stores needs

T = TypeVar("T")


class Store:
    """A log in memory. The next answers to writes can be lost, before or after the entry is appended."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.written: list[bytes] = []  # each try
        self.losses: list[str] = []  # "request" or "answer", of the next writes
        self.purges: list[int] = []
        self.stale = 0  # how many of the last entries reads don't show
        self._sequences = itertools.count(1)

    async def write(self, data: bytes, after: int) -> int | None:
        self.written.append(data)
        loss = self.losses.pop(0) if self.losses else ""
        if loss == "request":
            raise UnclearError("lost")
        if after != (self.entries[-1].sequence if self.entries else 0):
            return None
        self.entries.append(Entry(next(self._sequences), data))
        if loss == "answer":
            raise UnclearError("lost")
        return self.entries[-1].sequence

    async def read(self, after: int) -> Entry | None:
        return next((entry for entry in self._shown() if entry.sequence > after), None)

    async def last(self) -> Entry | None:
        return next(reversed(self._shown()), None)

    async def purge(self, before: int) -> None:
        self.purges.append(before)
        self.entries = [entry for entry in self.entries[:-1] if entry.sequence >= before] + self.entries[-1:]

    def lose(self, count: int) -> None:
        """Lose the last entries, although they were acknowledged."""
        del self.entries[len(self.entries) - count :]

    def kinds(self) -> list[Kind]:
        return [Record.decoded(entry.data).kind for entry in self.entries]

    def _shown(self) -> list[Entry]:
        return self.entries[: len(self.entries) - self.stale]


class Node:
    """A node that uses the log; each call is awaited at once."""

    ids = itertools.count(1)

    def __init__(self, store: Store, name: str = "alpha", limits: Limits = LIMITS) -> None:
        self.log = ReplicatedLog(store, "run flood", name, lambda: f"id {next(self.ids)}", lambda: 0.0, limits)

    def take(self) -> Taken | None:
        now(self.log.tail())
        return now(self.log.take())

    def owns(self) -> Taken:
        """Take the log, which must succeed."""
        taken = self.take()
        assert taken is not None
        return taken

    def append(self, **pieces: bytes | None) -> Appended:
        return now(self.log.append(dict(pieces)))

    def surely(self, **pieces: bytes | None) -> list[Appended]:
        """Append until the result is known; return all results."""
        results = [self.append(**pieces)]
        while results[-1] is Appended.UNKNOWN and len(results) < TRIES:
            results.append(self.append(**pieces))
        return results


def now(wanted: Awaitable[T]) -> T:
    async def wait() -> T:
        return await wanted

    return asyncio.run(wait())


def state(store: Store) -> dict[str, bytes]:
    """Return what a node finds that takes the log now."""
    return dict(Node(store, "reader").owns().pieces)


OK, UNKNOWN, FENCED = Appended.OK, Appended.UNKNOWN, Appended.FENCED


def test_the_next_owner_finds_the_sum_of_all_commits() -> None:
    store, alpha = Store(), Node(Store())
    alpha = Node(store)
    assert alpha.owns() == Taken({}, "")
    assert [alpha.append(a=b"1", b=b"2"), alpha.append(a=None, c=b"3"), alpha.append()] == [OK] * 3
    assert Node(store, "beta").owns() == Taken({"b": b"2", "c": b"3"}, "alpha")


def test_taking_the_log_fences_off_its_owner() -> None:
    store = Store()
    alpha, beta = Node(store), Node(store, "beta")
    alpha.owns()
    alpha.append(a=b"1")
    beta.owns()
    assert [alpha.append(a=b"2"), alpha.append(a=b"2")] == [FENCED, FENCED]
    assert (beta.append(b=b"3"), state(store)) == (OK, {"a": b"1", "b": b"3"})


def test_a_log_to_which_its_owner_has_appended_meanwhile_is_not_taken() -> None:
    store = Store()
    alpha, beta = Node(store), Node(store, "beta")
    alpha.owns()
    tail = now(beta.log.tail())
    assert tail is not None
    assert (tail.owner, tail.epoch, tail.kind) == ("alpha", 1, Kind.TAKE)
    alpha.append(a=b"1")
    assert now(beta.log.take()) is None
    assert alpha.append(a=b"2") is OK


@pytest.mark.parametrize("losses", [["request"], ["answer"], ["request", "answer"], ["answer", "request", "request"]])
def test_an_append_of_unknown_result_is_repeated_with_the_same_bytes_and_counts_once(losses: list[str]) -> None:
    store = Store()
    alpha = Node(store)
    alpha.owns()
    store.losses, store.written = list(losses), []
    assert alpha.surely(a=b"1") == [UNKNOWN] * len(losses) + [OK]
    assert len(set(store.written)) == 1
    assert store.kinds() == [Kind.TAKE, Kind.CHANGES]
    assert alpha.append(b=b"2") is OK
    assert state(store) == {"a": b"1", "b": b"2"}


def test_a_take_of_unknown_result_is_repeated_with_the_same_bytes() -> None:
    store, alpha = Store(), None
    alpha = Node(store)
    store.losses = ["request", "answer"]
    for _ in range(2):
        with pytest.raises(UnclearError):
            alpha.take()
    assert now(alpha.log.take()) == Taken({}, "")
    assert store.kinds() == [Kind.TAKE]


def test_a_commit_of_which_only_a_part_was_appended_does_not_count() -> None:
    store = Store()
    alpha = Node(store, limits=SMALL)
    alpha.owns()
    alpha.append(a=b"1")
    noise = bytes(itertools.islice(itertools.cycle(range(256)), 400))
    store.losses = ["", "request"]
    assert alpha.append(a=b"2", b=noise) is UNKNOWN
    assert len(store.entries) > 2
    assert state(store) == {"a": b"1"}
    assert alpha.append(a=b"2", b=noise) is FENCED


def test_a_large_commit_is_appended_in_parts_and_counts_as_a_whole() -> None:
    store = Store()
    alpha = Node(store, limits=SMALL)
    alpha.owns()
    noise = bytes(itertools.islice(itertools.cycle(range(256)), 400))
    store.losses = ["", "answer", "", "request"]
    assert alpha.surely(a=b"2", b=noise)[-1] is OK
    assert state(store) == {"a": b"2", "b": noise}


def test_a_long_log_is_replaced_by_a_checkpoint_and_only_then_deleted() -> None:
    store = Store()
    alpha = Node(store, limits=SHORT)
    alpha.owns()
    for number in range(40):
        assert alpha.append(**{f"p{number % 3}": b"%d" % number}) is OK
        store.losses = ["request"] * (number % 5 == 0)
        while (result := now(alpha.log.trim())) is UNKNOWN:
            assert Kind.STATE in store.kinds() or not store.purges or store.kinds()[0] is Kind.STATE
        assert result is OK
        store.losses.clear()
    assert len(store.entries) <= SHORT.log_records_max + 2
    assert store.kinds()[0] is Kind.STATE
    assert store.purges
    assert state(store) == {"p0": b"39", "p1": b"37", "p2": b"38"}


def test_an_owner_whose_acknowledged_records_have_vanished_writes_its_whole_state_again() -> None:
    store = Store()
    alpha = Node(store)
    alpha.owns()
    for number in range(5):
        alpha.append(**{f"p{number}": b"x"})
    store.lose(3)
    results = alpha.surely(last=b"y")
    assert results[0] is UNKNOWN
    assert results[-1] is OK
    assert state(store) == {**{f"p{number}": b"x" for number in range(5)}, "last": b"y"}


def test_even_the_loss_of_the_whole_log_is_repaired_by_its_owner() -> None:
    store = Store()
    alpha = Node(store)
    alpha.owns()
    alpha.append(a=b"1")
    store.lose(2)
    assert alpha.surely(b=b"2")[-1] is OK
    assert state(store) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("stale", [1, 2, 4])
def test_answers_that_are_out_of_date_cost_time_and_nothing_else(stale: int) -> None:
    store = Store()
    alpha = Node(store)
    alpha.owns()
    for number in range(5):
        alpha.append(**{f"p{number}": b"x"})
    store.losses = ["answer"]
    assert alpha.append(last=b"y") is UNKNOWN
    store.stale = stale
    for _ in range(3):
        assert alpha.append(last=b"y") in (UNKNOWN, OK)
    store.stale = 0
    assert alpha.surely(last=b"y")[-1] is OK
    assert state(store) == {**{f"p{number}": b"x" for number in range(5)}, "last": b"y"}


def test_a_log_with_a_missing_or_damaged_record_is_not_taken_as_whole() -> None:
    for spoil in (_remove_one, _flip_a_bit):
        store = Store()
        alpha = Node(store)
        alpha.owns()
        for number in range(5):
            alpha.append(**{f"p{number}": b"x"})
        spoil(store)
        with pytest.raises((UnclearError, DamagedLogError)):
            Node(store, "beta").take()


def _remove_one(store: Store) -> None:
    del store.entries[3]


def _flip_a_bit(store: Store) -> None:
    entry = store.entries[3]
    store.entries[3] = replace(entry, data=entry.data[:-1] + bytes([entry.data[-1] ^ 1]))


def test_a_checkpoint_after_a_missing_record_makes_the_log_whole_again() -> None:
    store = Store()
    alpha = Node(store, limits=replace(LIMITS, log_records_max=1))
    alpha.owns()
    for number in range(5):
        alpha.append(**{f"p{number}": b"x"})
    _remove_one(store)
    assert now(alpha.log.trim()) is OK
    assert state(store) == {f"p{number}": b"x" for number in range(5)}


@pytest.mark.parametrize(("ended", "kind"), [(None, Kind.RELEASED), ((5, "a threshold was missed"), Kind.ENDED)])
def test_the_last_record_says_how_the_owner_left(ended: tuple[int, str] | None, kind: Kind) -> None:
    store = Store()
    alpha = Node(store)
    alpha.owns()
    store.losses = ["request"]
    assert alpha.append(a=b"1") is UNKNOWN
    store.losses = ["", "answer"]
    while now(alpha.log.leave(ended)) is UNKNOWN:
        pass
    tail = now(Node(store, "beta").log.tail())
    assert tail is not None
    assert (tail.kind, tail.code, tail.reason) == (kind, *(ended or (0, "")))
    assert state(store) == {"a": b"1"}


ACTS = st.sampled_from(["append", "append", "trim", "take", "lose request", "lose answer"])


@given(st.lists(st.tuples(ACTS, st.integers(0, 2)), max_size=40))
def test_only_the_last_node_that_took_the_log_can_append_and_nothing_acknowledged_is_missing(
    acts: list[tuple[str, int]],
) -> None:
    """Three nodes take the log and append in any order, and requests and answers are lost at any time."""
    store = Store()
    limits = replace(SMALL, log_records_max=4)
    nodes: dict[int, Node] = {}  # that have owned the log
    owner = -1
    acknowledged: Changes = {}
    for step, (act, number) in enumerate(acts):
        if act.startswith("lose"):
            store.losses = [act.removeprefix("lose ")]
        elif act == "take":
            owner, nodes[number] = number, Node(store, f"node {number}", limits)
            assert _until_known(nodes[number].take) is not None
        elif number in nodes:
            name, value = f"piece {step % 4}", b"%d" % step
            results = nodes[number].surely(**{name: value}) if act == "append" else [_trimmed(nodes[number])]
            if number == owner:
                assert results[-1] is OK
            elif act == "append":
                assert results[-1] is FENCED
            if act == "append" and number == owner:
                acknowledged[name] = value
    store.losses.clear()
    assert not acknowledged or state(store).items() >= acknowledged.items()


def _until_known(act: Callable[[], T]) -> T:
    while True:
        try:
            return act()
        except UnclearError:
            continue


def _trimmed(node: Node) -> Appended:
    while (result := now(node.log.trim())) is UNKNOWN:
        pass
    return result
