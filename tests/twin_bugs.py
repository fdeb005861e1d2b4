"""Bugs of the twin that its tests must find. Each replaces one method of the code, and only while it is switched on."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from smssim.core.bucket import Bucket
from smssim.core.fate import Fates
from smssim.core.fault import Fault
from smssim.core.model import StartLimit
from smssim.plan.scale import Scale
from smssim.plan.scenario import PlannedSender
from smssim.plan.twin.alone import Alone
from smssim.plan.twin.limited import LimitedPool
from smssim.plan.twin.lots import SPARE, Done, Lot
from smssim.plan.twin.member import HOP_S, Member
from smssim.plan.twin.pool import GiveBack, LaneNumbers, Outcomes, Pool, Record, Take, Times
from smssim.plan.twin.scarce import Later, Scarcity
from smssim.plan.twin.steady import scaled_limit
from smssim.plan.twin.supply import Supply
from smssim.plan.twin.trouble import Trouble
from smssim.plan.twin.twin import Twin

Bug = Callable[[], AbstractContextManager[Any]]

_advance_pool = Twin._advance_pool
_init = Twin.__init__
_law = Member._law
_take = Supply.take
_killed = Trouble._killed
_limited_init = LimitedPool.__init__
_play_in_full = Member.play_in_full


# ---- Lanes and messages


def starts_at_the_edge_of_a_window() -> AbstractContextManager[Any]:
    """Leave lanes idle that finish shortly before the end of a window, until the next one begins."""

    def advance_pool(self: Twin, member: Member, until_s: float, take: Take, give_back: GiveBack) -> None:
        pool = member.pool
        assert pool is not None
        pool.harvest(np.flatnonzero(pool.free_s < self.now), self.record)
        np.maximum(pool.free_s, self.now, out=pool.free_s)
        _advance_pool(self, member, until_s - 0.3 * pool.mean_s, take, give_back)

    return mock.patch.object(Twin, "_advance_pool", advance_pool)


def keeps_what_starts_beyond_the_horizon() -> AbstractContextManager[Any]:
    """Leave messages with a lane that starts them long after others could have."""

    def start_rows(
        self: Pool,
        lanes: LaneNumbers,
        free_s: Times,
        durations_s: Any,
        outcomes: Outcomes,
        ids: Any,
        tags: Any,
        until_s: float,
        give_back: GiveBack,
        record: Record,
    ) -> None:
        done_s = free_s + np.cumsum(durations_s.reshape(-1, len(lanes)), axis=0, dtype=np.float64)
        cut = len(ids) - len(lanes)
        self._place(lanes, done_s[-1], outcomes[cut:], ids[cut:], tags[cut:])
        record(self, Done(done_s[:-1].ravel(), outcomes[:cut], ids[:cut], tags[:cut]))

    return mock.patch.object(Pool, "_start_rows", start_rows)


def hands_out_a_message_twice() -> AbstractContextManager[Any]:
    """Deliver the last fresh message of a batch again in the next one."""

    def take(self: Supply, wanted: int, now: float) -> list[Lot]:
        before, lots = self.next_fresh, _take(self, wanted, now)
        if self.next_fresh - before > 1:
            self.next_fresh -= 1
        return lots

    return mock.patch.object(Supply, "take", take)


def delivers_retries_last() -> AbstractContextManager[Any]:
    """Deliver fresh messages before those that are to be retried."""

    def take(self: Supply, wanted: int, now: float) -> list[Lot]:
        ready, self.ready = self.ready, type(self.ready)()
        lots = _take(self, wanted, now)
        self.ready = ready
        return lots + ready.take(wanted - sum(map(len, lots)))

    return mock.patch.object(Supply, "take", take)


def delivers_retries_to_any_sender() -> AbstractContextManager[Any]:
    """Deliver retries to others than the sender that settles them."""

    def init(self: Twin, *args: Any, **kwargs: Any) -> None:
        _init(self, *args, **kwargs)
        self._keeps_retries = False

    return mock.patch.object(Twin, "__init__", init)


def delivers_retries_to_the_first_sender() -> AbstractContextManager[Any]:
    """Let the first sender have all retries that are for anyone."""
    return mock.patch("smssim.plan.twin.twin.deal")


def forgets_a_senders_own_retries() -> AbstractContextManager[Any]:
    """Lose the retries that a sender is about to start when messages become scarce."""
    return mock.patch.object(Later, "put_all")


def retries_unreachable_messages() -> AbstractContextManager[Any]:
    """Let attempts at unreachable messages go like any others."""
    return mock.patch("smssim.plan.twin.member.Fates", lambda seed, most, model, _: Fates(seed, most, model))


def counts_no_unreachable_messages() -> AbstractContextManager[Any]:
    """Let messages fail without saying that they are unreachable."""

    def init(self: Twin, *args: Any, **kwargs: Any) -> None:
        _init(self, *args, **kwargs)
        self._reach = None

    return mock.patch.object(Twin, "__init__", init)


def releases_messages_too_late() -> AbstractContextManager[Any]:
    """Release each message when the next one is due."""

    def release_s(self: Supply, number: int) -> float:
        return 0.0 if self.rate_per_s is None else (number + 1) * 1.01 / self.rate_per_s

    return mock.patch.object(Supply, "release_s", release_s)


def starts_messages_although_all_lanes_are_busy() -> AbstractContextManager[Any]:
    """Let no message wait for a lane of a sender to which messages are released alone."""
    return mock.patch.object(Alone, "_any_waits", return_value=False)


def spreads_scaled_plays_as_they_are() -> AbstractContextManager[Any]:
    """Leave out the correction of the spread of scaled plays."""
    return mock.patch("smssim.plan.seeds.shrink", return_value=1.0)


def plays_the_end_of_a_scaled_play_scaled() -> AbstractContextManager[Any]:
    """Let each of the last messages stand for several."""
    return mock.patch.object(Twin, "_is_tail", return_value=False)


# ---- Limits

NO_LIMIT = StartLimit(1e-9, 1e9)


def ignores_a_limit() -> AbstractContextManager[Any]:
    """Let messages start as soon as a lane is free."""
    return mock.patch("smssim.plan.twin.member.scaled_limit", return_value=NO_LIMIT)


def lets_copies_share_a_limit() -> AbstractContextManager[Any]:
    """Let all copies of a sender together start no more than one of them may."""

    def shared(sender: PlannedSender, scale: Scale) -> StartLimit:
        limit = scaled_limit(sender, scale)
        return StartLimit(limit.interval_s * sender.copies, limit.slack_s * sender.copies)

    return mock.patch("smssim.plan.twin.member.scaled_limit", shared)


def fills_a_bucket_beyond_its_size() -> AbstractContextManager[Any]:
    """Keep every token that was not used."""

    def start(self: Bucket, ready_at: float) -> float:
        start = self.next_at(ready_at)
        self.full_at = (self.full_at if self.full_at > -math.inf else ready_at) + self.limit.interval_s
        return start

    return mock.patch.object(Bucket, "start", start)


def starts_again_with_an_empty_bucket() -> AbstractContextManager[Any]:
    """Give a sender no token when it joins."""

    def init(self: LimitedPool, *arguments: Any) -> None:
        _limited_init(self, *arguments)
        self.full_at = np.full(self.senders, self.joined_s + self.limit.slack_s)

    return mock.patch.object(LimitedPool, "__init__", init)


def forgets_limits_while_messages_are_scarce() -> AbstractContextManager[Any]:
    """Give a message to any lane that is idle."""
    return mock.patch("smssim.plan.twin.twin.LimitedScarcity", Scarcity)


def loses_the_limit_at_the_end_of_a_scaled_play() -> AbstractContextManager[Any]:
    """Play the last messages without a limit."""

    def play_in_full(self: Member, times: int) -> list[Lot]:
        lots = _play_in_full(self, times)
        if isinstance(self.pool, LimitedPool):
            self.pool.limit = NO_LIMIT
        return lots

    return mock.patch.object(Member, "play_in_full", play_in_full)


# ---- Senders


def reports_without_delay() -> AbstractContextManager[Any]:
    """Record an attempt when it ends."""

    def set_pace(self: Member, wait_s: float) -> None:
        self.lag_s = self.dry_lag_s = HOP_S

    return mock.patch.object(Member, "set_pace", set_pace)


def lets_a_slow_sender_have_no_queue_ahead() -> AbstractContextManager[Any]:
    """Give a slowed sender a message only when a lane is free."""

    def law(self: Member, now: float) -> Any:
        found = _law(self, now)
        self.is_slow = False
        return found

    return mock.patch.object(Member, "_law", law)


def lets_late_senders_join_at_once() -> AbstractContextManager[Any]:
    """Let all senders take part from the start."""

    def at(self: Twin, time_s: float, happen: Callable[[], None]) -> None:
        joins = isinstance(happen, partial) and happen.func.__name__ == "join"
        _at(self, 0.0 if joins else time_s, happen)

    return mock.patch.object(Twin, "at", at)


_at = Twin.at


def is_never_slow() -> AbstractContextManager[Any]:
    """Ignore slow and fail faults that begin later."""
    return mock.patch.object(Member, "change")


# ---- Faults


def keeps_the_messages_of_a_killed_sender() -> AbstractContextManager[Any]:
    """Lose what a killed sender had."""

    def killed(self: Trouble, member: Member, fault: Fault) -> None:
        with mock.patch.object(Twin, "give_again"):
            _killed(self, member, fault)

    return mock.patch.object(Trouble, "_killed", killed)


def lets_no_lease_expire() -> AbstractContextManager[Any]:
    """Let others wait for what a paused sender has, however long."""
    return mock.patch.object(Trouble, "_expired")


def forgets_retries_in_a_pause() -> AbstractContextManager[Any]:
    """Lose the retries that a sender had reported but not settled when it was paused."""
    return mock.patch.object(Trouble, "_settle_retries")


def counts_late_outcomes_twice() -> AbstractContextManager[Any]:
    """Count what a sender reports after a pause, although others send it too."""
    return mock.patch.object(Trouble, "_late", lambda _, __, done: done)


def drops_late_outcomes() -> AbstractContextManager[Any]:
    """Count nothing that a sender reports after others got the same messages."""

    def late(self: Trouble, member: Member, done: Done) -> Done:
        self._twin.has_spare = True
        return Done(done.times_s, done.outcomes, done.ids, done.tags | SPARE)

    return mock.patch.object(Trouble, "_late", late)


def ignores_a_paused_producer() -> AbstractContextManager[Any]:
    """Let senders take messages from a paused producer."""
    return mock.patch.object(Trouble, "_producer_paused")


def records_while_the_monitor_is_away() -> AbstractContextManager[Any]:
    """Record attempts as if the monitor were there."""
    return mock.patch.object(Trouble, "_monitor_away")
