"""Messages that await redelivery leave the queue once and in order, and few others are checked for that."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.model import Ids
from smssim.core.queue import BATCH_ROWS_MAX, Queue


class Waiting:
    """The ids that still wait, and how many ids were checked."""

    def __init__(self, ids: set[int]) -> None:
        self.ids = ids
        self.looks = 0

    def __call__(self, ids: Ids, attempt: int) -> NDArray[np.bool_]:
        self.looks += len(ids)
        return np.isin(ids, sorted(self.ids))


def put(queue: Queue, first: int, count: int, attempt: int = 1, lost: bool = False) -> None:
    """Queue consecutive messages after all others."""
    queue.put_last(np.arange(first, first + count), np.full(count, attempt, np.uint8), lost)


def size(queue: Queue) -> int:
    return sum(len(batch.ids) for batch in queue._ready)


@given(
    batches=st.lists(st.tuples(st.sampled_from([1, 1, 2]), st.integers(1, 60), st.booleans()), max_size=8),
    stale=st.sets(st.integers(0, 300)),
    wants=st.lists(st.integers(1, 50), min_size=1, max_size=10),
    rows_max=st.sampled_from([7, BATCH_ROWS_MAX]),
)
def test_messages_that_still_wait_leave_the_queue_in_order_and_once(
    batches: list[tuple[int, int, bool]], stale: set[int], wants: list[int], rows_max: int
) -> None:
    queue, attempt_of, lost = Queue(0.0, rows_max), dict[int, int](), set[int]()
    for attempt, count, was_lost in batches:
        ids = range(len(attempt_of), len(attempt_of) + count)
        put(queue, ids.start, count, attempt, was_lost)
        attempt_of |= dict.fromkeys(ids, attempt)
        lost |= set(ids) if was_lost else set()
    waiting = Waiting(attempt_of.keys() - stale)
    went = []
    for wanted in wants * 500:
        if not queue:
            break
        looks, before = waiting.looks, size(queue)
        taken = queue.take(wanted, waiting)
        got = taken.batch.ids.tolist()
        thrown_away = before - size(queue) - len(got)
        assert len(got) <= wanted
        assert waiting.looks - looks <= wanted + 2 * thrown_away
        assert {attempt_of[i] for i in got} <= {taken.batch.attempt}
        assert taken.lost == len(lost.intersection(got))
        waiting.ids.difference_update(got)
        went += got
    assert not queue
    assert went == sorted(attempt_of.keys() - stale)


def test_messages_at_the_same_attempt_are_taken_together_from_any_number_of_batches() -> None:
    queue = Queue(0.0)
    for first in range(0, 300, 3):
        put(queue, first, 3)
    put(queue, 300, 5, attempt=2)
    everything = Waiting(set(range(305)))
    assert queue.take(1000, everything).batch.ids.tolist() == list(range(300))
    assert queue.take(1000, everything).batch.ids.tolist() == list(range(300, 305))


def test_a_few_remaining_messages_keep_no_others_in_memory() -> None:
    for count in (BATCH_ROWS_MAX, 20 * BATCH_ROWS_MAX):
        queue = Queue(0.0)
        tracemalloc.start()
        try:
            put(queue, 0, count)
            assert tracemalloc.get_traced_memory()[0] > 8 * count
            queue.take(count - 1, lambda ids, attempt: ids >= 0)
            assert size(queue) == 1
            assert tracemalloc.get_traced_memory()[0] < 10_000
        finally:
            tracemalloc.stop()
