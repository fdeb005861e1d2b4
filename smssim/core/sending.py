"""The sender's protocol: ask for messages, send them, report their outcomes, and only then settle them.

It survives losing either peer and reconnecting. Without the producer, it finishes the messages in its lanes and drops
the rest. Without the monitor, it keeps its report and takes no more messages than its window allows. Knows one run
from one sender's side, and the time that it is given. Must not know streams, channels, other senders, or how long to
wait for a lost peer (`sender_run` does).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np

from smssim.core.conditions import Conditions
from smssim.core.exchange import Answer, Delivery, Report, Request, RunEnd, Settlements
from smssim.core.lanes import Finished, Lanes, Work
from smssim.core.limited_lanes import LimitedLanes
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, StartLimit, declared_speed
from smssim.core.pace import asked_at_least, messages_ahead, window
from smssim.core.reporting import Unreported, as_recorded
from smssim.errors import PeerError

OnFinished = Callable[[Finished, float], None]  # gets finished attempts, and the time


class SenderProtocol:
    """One sender in one run."""

    def __init__(
        self,
        conditions: Conditions,
        mean_s: float,
        concurrency: int,
        now: float,
        limits: Limits = LIMITS,
        limit: StartLimit | None = None,
    ) -> None:
        """`limit`: how fast this sender may start messages of this run."""
        self.lanes = Lanes(concurrency, limits) if limit is None else LimitedLanes(concurrency, limit, limits)
        self.connected = False  # to the producer
        self.ended = False  # for this sender, whatever the reason
        self.run_end: RunEnd | None = None  # the producer's totals, once it has announced the end
        self.draining = False
        self.done = False  # the monitor has answered the goodbye
        self.introduced = False  # the monitor has answered a report
        self.on_finished: OnFinished | None = None
        self._conditions = conditions
        self._limits = limits
        self._speed = declared_speed(concurrency, mean_s, limit)
        self._pace(0.0)
        self._started_at: float | None = None  # of the run, on the local clock
        self._look_at = now  # when to check the lanes next, at the earliest
        # To the monitor.
        self._unreported = Unreported()
        self._report: Report | None = None  # unacknowledged
        self._sequence = 0
        self._reported_at = -math.inf
        # To the producer, on the current stream.
        self._to_settle: deque[Settlements] = deque()
        self._unconfirmed: deque[tuple[int, Settlements | None]] = deque()  # each with `_rows_written` at that time
        self._unsettled = 0  # messages in the unacknowledged report, in `_to_settle` and in `_unconfirmed`
        self._to_hand_back: deque[Ids] = deque()
        self._rows_written = 0
        self._requested_at = now
        self._open_credit = 0
        self._received = 0
        self._declared = (-1, -1)  # lanes for more messages, and messages received, as in the last request
        self._leave_declared = False

    def _pace(self, wait_s: float) -> None:
        """Set everything that depends on the wait between two reports, which the monitor asks for.

        With many senders, the monitor asks for fewer reports. Requests are then fewer and larger too, and the lanes
        are checked less often, because each of these costs such a sender as much as many messages do.
        """
        self._wait_s = wait_s
        self._look_s = wait_s / self._limits.looks_per_report
        self._starved_s = max(self._limits.starved_s, self._look_s)  # from a request to one that declares idle lanes
        self._soon_s = max(self._limits.token_ahead_s, self._look_s)  # for which messages a limited sender asks
        self._ahead = messages_ahead(self._speed, wait_s, self._limits)
        self._asked_at_least = asked_at_least(self._ahead)
        self._window = window(self.lanes.concurrency, self._ahead, self._limits)

    # -- the lanes

    def advance(self, now: float, at_once: bool = False) -> None:
        """Advance the lanes to `now`, if a check is due or `at_once`, and queue what they finished for a report."""
        if now < self._look_at and not at_once:
            return
        self._look_at = now + max(self._look_s, self._limits.look_s_per_lane * self.lanes.used)
        for some in self.lanes.advance(now):
            self._unreported.add(some)
            if self.on_finished is not None:
                self.on_finished(some, now)

    def wake_at(self, now: float) -> float:
        """Return when to advance and to check for requests and reports next, unless a peer causes it sooner."""
        busy, limits = self.lanes.busy, self._limits
        next_done = now if busy > limits.lanes_many else self.lanes.next_done_at()
        due = math.inf if self._report is not None else self._next_report_at(now, next_done)
        if self.connected:
            # An overdue request waits for a slow stream. Checking it often would slow down many senders in one process
            # even more.
            request_at = self._next_request_at(now)
            due = min(due, request_at if request_at > now else now + limits.tick_max_s)
            due = min(due, now + min(limits.tick_max_s, self._half_used_in_s()) if self.lanes.held else next_done)
        return max(due, now + limits.tick_min_s, self._look_at)

    def _next_report_at(self, now: float, next_done: float) -> float:
        """Return when a report is due, given that none is unacknowledged."""
        if not (self._unreported.count or self.lanes.busy or self.lanes.held):
            return self._heartbeat_at()
        first_outcome_at = now if self._unreported.count else next_done
        return min(self._heartbeat_at(), max(self._report_at(), first_outcome_at))

    def _next_request_at(self, now: float) -> float:
        """Return when a request is due, however few messages it asks for."""
        at = self._requested_at + (self._starved_s if self._starved(now) else self._limits.heartbeat_s)
        return min(at, self._settle_at()) if self._to_settle else at

    # -- the producer

    def stream_up(self, now: float) -> None:
        """Start to use an open stream on which the producer has offered this run."""
        self.connected = True
        self._requested_at = now

    def stream_lost(self, now: float) -> None:
        """Drop unstarted messages and queue unconfirmed settlements again, because the stream has ended.

        The producer queues again all messages of the stream whose settlements it has not applied.
        """
        self.advance(now)
        self.connected = False
        self.lanes.drop_held()
        self._to_hand_back.clear()
        for _, settlements in reversed(self._unconfirmed):
            if settlements is not None:
                self._to_settle.appendleft(settlements)
        self._unconfirmed.clear()
        self._rows_written = self._open_credit = self._received = 0
        self._declared = (-1, -1)
        self._leave_declared = False

    def on_response(
        self, now: float, settled: int, delivery: Delivery | None = None, end: RunEnd | None = None
    ) -> None:
        """Apply a response of the producer; raises PeerError if it delivers more messages than were asked for.

        `settled`: how many settlements and handed-back messages of this stream the producer has applied.
        """
        self.advance(now, at_once=end is not None)
        self.confirm(settled)
        if delivery is not None:
            self.receive(delivery, now)
        if end is not None:
            self.end(end)

    def receive(self, delivery: Delivery, now: float) -> None:
        """Accept a batch. Raises PeerError, and accepts nothing, if it exceeds the credit.

        Assumes that `advance` was called before with the same `now`, even if no check of the lanes was due: with two
        different times, a lane could start a message before it arrived.
        """
        count = len(delivery.ids)
        if count > self._open_credit:
            raise PeerError(f"a batch of {count:,} messages exceeds the remaining credit of {self._open_credit:,}")
        self._received += count
        self._open_credit -= count
        if self._started_at is None:
            self._started_at = now - delivery.elapsed_s
            self.lanes.change_with(self._conditions, self._started_at)
        if self.ended:
            return
        if self.draining:
            self._to_hand_back.append(delivery.ids)
            return
        if self.lanes.changes:
            self.advance(now, at_once=True)
        durations, outcomes = self._conditions.usual.draw(delivery.ids.view(np.uint64), delivery.attempt)
        attempts = np.full(count, delivery.attempt, np.uint8)
        self.lanes.put(
            Work(delivery.ids, attempts, outcomes, durations, now - delivery.queued_s.astype(np.float64)), now
        )

    def confirm(self, settled: int) -> None:
        """Forget settlements that the producer has applied.

        `settled`: how many rows of this stream it has applied, counting handed-back messages.
        """
        while self._unconfirmed and self._unconfirmed[0][0] <= settled:
            _, settlements = self._unconfirmed.popleft()
            if settlements is not None:
                self._unsettled -= len(settlements.ids)

    def end(self, end: RunEnd | None) -> None:
        """End the run and drop all unfinished messages. `end` is None if the sender gave up on the producer."""
        self.ended = True
        self.run_end = end
        self.lanes.drop_held()
        self.lanes.drop_busy()

    def drain(self, now: float) -> tuple[int, int]:
        """Take no more messages, hand back what can't finish soon, and finish the rest.

        Returns how many messages to finish, and how many are handed back (or dropped, without the producer).
        """
        self.advance(now, at_once=True)
        self.draining = True
        late = now + self._limits.drain_max_s
        dropped = [self.lanes.drop_held(), self.lanes.drop_busy(done_after=late)]
        if self.connected:
            self._to_hand_back += dropped
        return self.lanes.busy, sum(map(len, dropped))

    def has_request(self, now: float) -> bool:
        """Return whether a request is due now."""
        if not self.connected or self.ended:
            return False
        return (
            self._wanted(now) >= self._asked_at_least
            or now >= self._next_request_at(now)
            or bool(self._to_hand_back)
            or (self.draining and not self._leave_declared)
        )

    def request(self, now: float) -> Request | None:
        """Return the request that is due now, if any."""
        if not self.has_request(now):
            return None
        credit, vacant = self._wanted(now), self.lanes.vacant(now, self._soon_s)
        settlements = self._to_settle.popleft() if self._to_settle else None
        handed_back = self._next_handed_back()
        leaving = self.draining and not self._leave_declared
        if settlements or len(handed_back):
            self._rows_written += (len(settlements.ids) if settlements else 0) + len(handed_back)
            self._unconfirmed.append((self._rows_written, settlements))
        self._open_credit += credit
        self._leave_declared |= leaving
        self._requested_at = now
        self._declared = (vacant, self._received)
        return Request(
            credit=credit,
            idle_lanes=vacant,
            received=self._received,
            settlements=settlements,
            handed_back=handed_back if len(handed_back) else None,
            leaving=leaving,
            held=self.lanes.held,
        )

    def _next_handed_back(self) -> Ids:
        """Take the messages that the next request hands back."""
        parts, room = [np.empty(0, np.int64)], self._limits.handed_back_max
        while self._to_hand_back and room:
            some = self._to_hand_back.popleft()
            if len(some) > room:
                self._to_hand_back.appendleft(some[room:])
            parts.append(some[:room])
            room -= len(parts[-1])
        return np.concatenate(parts)

    def _settle_at(self) -> float:
        """Return when settlements are due on their own; an earlier request for messages takes them along.

        If the monitor asks for few reports because it has many senders, two requests per report are too many.
        """
        hurry = len(self._to_settle) > 1 or not self.lanes.held
        return -math.inf if hurry else self._requested_at + self._wait_s / 2

    def _wanted(self, now: float) -> int:
        """Return how many more messages to ask for."""
        if self.draining or not self.introduced:
            return 0
        taken = self.lanes.busy + self.lanes.held + self._unreported.count + self._unsettled
        wanted = self.lanes.startable(now, self._soon_s) + self._ahead - self.lanes.held - self._open_credit
        return max(0, min(wanted, self._window - taken - self._open_credit))

    def _half_used_in_s(self) -> float:
        """Return the seconds until held and requested messages fall to half of what the sender asks for ahead.

        If they are below that already, return half the time for which the held messages last.
        """
        spare = self.lanes.held + self._open_credit - self._ahead // 2
        return (spare if spare > 0 else self.lanes.held / 2) / self._speed

    def _starved(self, now: float) -> bool:
        """Return whether idle lanes that the last request did not declare have credit, or could get some."""
        if self.lanes.busy == self.lanes.concurrency or not (vacant := self.lanes.vacant(now, self._soon_s)):
            return False
        return (vacant, self._received) != self._declared and self._open_credit + self._wanted(now) > 0

    # -- the monitor

    def has_report(self, now: float) -> bool:
        """Return whether a report is due now."""
        if self._report is not None or self.done:
            return False
        full = self._unreported.count >= self._limits.report_rows_full
        paced = self._unreported.count > 0 and now >= self._report_at()
        return full or paced or now >= self._heartbeat_at() or self._may_leave()

    def report(self, now: float) -> Report | None:
        """Return the report that is due now, if any. No other one is due until it is acknowledged."""
        if not self.has_report(now):
            return None
        goodbye = self._may_leave()
        finished = self._unreported.take(self._limits.report_rows_max)
        self._unsettled += len(finished)
        self._sequence += 1
        self._reported_at = now
        self._report = Report(
            sequence=self._sequence,
            finished=finished,
            in_flight=self.lanes.busy + self._unreported.count,
            held=self.lanes.held,
            elapsed_s=None if self._started_at is None else now - self._started_at,
            cut_off=not (self.connected or self.ended),
            goodbye=goodbye,
            end=self.run_end if goodbye else None,
        )
        return self._report

    def acknowledge(self, answer: Answer) -> None:
        """Queue the outcomes of the unacknowledged report for settlement, as the monitor has them on record."""
        report = self._report
        assert report is not None
        self._report = None
        self._pace(min(answer.wait_s, self._limits.report_wait_max_s))
        self.introduced = True
        self.done = report.goodbye
        if answer.end is not None and answer.end.complete and not (self.connected or self.ended):
            self.end(answer.end)  # the producer may have left, or its address may have changed
        if len(report.finished):
            self._to_settle.append(as_recorded(report.finished, answer))

    @property
    def reports(self) -> int:
        """Reports sent so far, not counting repeats."""
        return self._sequence

    @property
    def needs_no_monitor(self) -> bool:
        """Whether this sender can leave without a monitor that never answered.

        Without an answer, the sender has taken no message. Other senders report the end of the run. An empty run may
        have no other senders, so its end must be reported.
        """
        if self.introduced:
            return False
        if self.run_end is not None:
            return not self.run_end.complete or self.run_end.sent + self.run_end.failed > 0
        return self.ended or self.draining

    @property
    def is_reporting(self) -> bool:
        """Whether a report is unacknowledged."""
        return self._report is not None

    @property
    def only_goodbye(self) -> bool:
        """Whether only the goodbye of a complete run is left to report, to a monitor that has answered before."""
        reported = not self._unreported.count and (self._report is None or not len(self._report.finished))
        return reported and self.introduced and self.run_end is not None and self.run_end.complete

    def _report_at(self) -> float:
        """Return when outcomes are due: sooner if the sender has run dry, because its report may be the run's last."""
        dry = not (self.lanes.busy or self.lanes.held)
        return self._reported_at + self._wait_s / (self._limits.dry_hurry if dry else 1)

    def _heartbeat_at(self) -> float:
        return self._reported_at + max(self._limits.heartbeat_s, self._wait_s)

    def _may_leave(self) -> bool:
        """Return whether the next report is the last one."""
        if self.ended:
            return self._unreported.count <= self._limits.report_rows_max
        if not self.draining:
            return False
        return not (
            self.lanes.busy or self._unreported.count or self._unsettled or self._to_hand_back or self._unconfirmed
        )
