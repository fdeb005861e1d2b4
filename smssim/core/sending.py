"""The sender's protocol: ask for messages, send them, report what became of them, and only then settle.

It survives the loss and the return of either peer: without the producer it finishes what its lanes have and drops the
rest, without the monitor it keeps its report and takes no more messages than its window holds. Knows one run from one
sender's side, and the clock that it is given. Must not know streams, channels or who else is in the run.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

from smssim.core.exchange import Answer, Delivery, Report, Request, RunEnd, Settlements
from smssim.core.fate import Fates
from smssim.core.lanes import Finished, Lanes, Work, join, pick
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, declared_speed
from smssim.errors import PeerError


class SenderProtocol:
    """One sender in one run."""

    def __init__(self, fates: Fates, mean_s: float, concurrency: int, now: float, limits: Limits = LIMITS) -> None:
        self.lanes = Lanes(concurrency)
        self.connected = False  # to the producer
        self.ended = False  # for this sender, whatever the reason
        self.over: RunEnd | None = None  # what the producer said at the end
        self.draining = False
        self.done = False  # the monitor has answered the goodbye
        self.introduced = False  # the monitor has answered a report
        self._fates = fates
        self._limits = limits
        self._speed = declared_speed(concurrency, mean_s)
        self._pace(0.0)
        self._started_at: float | None = None  # of the run, on the local clock
        self._look_at = now  # not before then at the lanes
        # To the monitor.
        self._finished: deque[Finished] = deque()
        self._unreported = 0  # attempts in `_finished`
        self._report: Report | None = None  # under way
        self._sequence = 0
        self._reported_at = -math.inf
        # To the producer, on the present stream.
        self._to_settle: deque[Settlements] = deque()
        self._unconfirmed: deque[tuple[int, Settlements | None]] = deque()  # with the rows written up to there
        self._unsettled = 0  # messages in the report under way, in `_to_settle` and in `_unconfirmed`
        self._to_hand_back: deque[Ids] = deque()
        self._rows_written = 0
        self._requested_at = now
        self._open_credit = 0
        self._received = 0
        self._said = (-1, -1)  # idle lanes and messages received, as last told
        self._said_leaving = False

    def _pace(self, wait_s: float) -> None:
        """Sets all that follows from how long the monitor asks to wait between two reports.

        It asks for few where senders are many: then requests are to be few and large as well, and looks at the lanes
        few, for each costs such a sender as much as many messages do.
        """
        self._wait_s = wait_s
        self._look_s = wait_s / self._limits.looks_per_report
        self._ahead = min(self._limits.ahead_max, max(1, math.ceil(self._speed * max(self._limits.ahead_s, wait_s))))
        self._window = self.lanes.concurrency + 4 * max(
            self._ahead, self._limits.window_ahead_min
        )  # messages taken and not known to be settled

    # -- the lanes

    def advance(self, now: float, at_once: bool = False) -> list[Finished]:
        """Moves the lanes on, if it is time for another look or it is to be `at_once`; what was finished meanwhile."""
        if now < self._look_at and not at_once:
            return []
        self._look_at = now + max(self._look_s, self._limits.look_s_per_lane * self.lanes.used)
        finished = self.lanes.advance(now)
        for some in finished:
            self._finished.append(some)
            self._unreported += len(some)
        return finished

    def wake_at(self, now: float) -> float:
        """When something is due that no peer brings about."""
        next_done = now if self.lanes.busy > self._limits.lanes_many else self.lanes.next_done_at()
        due = self._heartbeat_at() if self._report is None else math.inf
        if self._report is None and (self._unreported or self.lanes.busy):
            reportable = now if self._unreported else next_done
            due = min(due, max(self._report_at(), reportable))
        if self.connected:
            request = self._requested_at + (self._starved_s() if self._starved() else self._limits.heartbeat_s)
            if self._to_settle:
                request = min(request, self._settle_at())
            # One that is overdue waits for a slow stream: many senders in one process would slow it more by looking.
            due = min(due, request if request > now else now + self._limits.tick_max_s)
            due = min(due, now + min(self._limits.tick_max_s, self._half_used_in_s()) if self.lanes.held else next_done)
        return max(due, now + self._limits.tick_min_s, self._look_at)

    # -- the producer

    def stream_up(self, now: float) -> None:
        """A stream to the producer is open, and it has named the run."""
        self.connected = True
        self._requested_at = now

    def stream_lost(self) -> None:
        """The stream has ended: the producer has taken back all that it has not seen settled."""
        self.connected = False
        self.lanes.drop_held()
        self._to_hand_back.clear()
        for _, settlements in reversed(self._unconfirmed):
            if settlements is not None:
                self._to_settle.appendleft(settlements)
        self._unconfirmed.clear()
        self._rows_written = self._open_credit = self._received = 0
        self._said = (-1, -1)
        self._said_leaving = False

    def receive(self, delivery: Delivery, now: float) -> None:
        """A batch has arrived; raises PeerError and takes nothing of it if the sender has not asked for that many.

        Assumes `advance(now)` before, whether or not that looked at the lanes.
        """
        count = len(delivery.ids)
        if count > self._open_credit:
            raise PeerError(f"a batch of {count:,} messages, when credit for {self._open_credit:,} is left")
        self._received += count
        self._open_credit -= count
        if self._started_at is None:
            self._started_at = now - delivery.elapsed_s
        if self.ended:
            return
        if self.draining:
            self._to_hand_back.append(delivery.ids)
            return
        durations, outcomes = self._fates.draw(delivery.ids.view(np.uint64), delivery.attempt)
        attempts = np.full(count, delivery.attempt, np.uint8)
        self.lanes.put(
            Work(delivery.ids, attempts, outcomes, durations, now - delivery.queued_s.astype(np.float64)), now
        )

    def confirm(self, settled: int) -> None:
        """The producer has taken in so many settlements and handed back messages of this stream."""
        while self._unconfirmed and self._unconfirmed[0][0] <= settled:
            _, settlements = self._unconfirmed.popleft()
            if settlements is not None:
                self._unsettled -= len(settlements.ids)

    def end(self, end: RunEnd | None) -> None:
        """The run is over, or its producer gone for good. What lanes still have is given up."""
        self.ended = True
        self.over = end
        self.lanes.drop_held()
        self.lanes.drop_busy()

    def drain(self, now: float) -> None:
        """Takes no more messages, hands back what it can't finish soon, finishes the rest. Assumes `advance(now)`."""
        self.draining = True
        dropped = [self.lanes.drop_held(), self.lanes.drop_busy(done_after=now + self._limits.drain_max_s)]
        if self.connected:
            self._to_hand_back += dropped

    def has_request(self, now: float) -> bool:
        """Whether there is something to tell the producer now."""
        if not self.connected or self.ended:
            return False
        return (
            self._wanted() >= max(1, self._ahead // 2)
            or now >= self._requested_at + (self._starved_s() if self._starved() else self._limits.heartbeat_s)
            or bool(self._to_settle and now >= self._settle_at())
            or bool(self._to_hand_back)
            or (self.draining and not self._said_leaving)
        )

    def request(self, now: float) -> Request | None:
        """What to tell the producer now, if anything."""
        if not self.has_request(now):
            return None
        credit = self._wanted()
        settlements = self._to_settle.popleft() if self._to_settle else None
        handed_back = self._next_handed_back()
        leaving = self.draining and not self._said_leaving
        if settlements or len(handed_back):
            self._rows_written += (len(settlements.ids) if settlements else 0) + len(handed_back)
            self._unconfirmed.append((self._rows_written, settlements))
        self._open_credit += credit
        self._said_leaving |= leaving
        self._requested_at = now
        self._said = (self.lanes.idle, self._received)
        return Request(
            credit=credit,
            idle_lanes=self.lanes.idle,
            received=self._received,
            settlements=settlements,
            handed_back=handed_back if len(handed_back) else None,
            leaving=leaving,
            held=self.lanes.held,
        )

    def _next_handed_back(self) -> Ids:
        """The messages that the next request hands back."""
        parts, room = [np.empty(0, np.int64)], self._limits.handed_back_max
        while self._to_hand_back and room:
            some = self._to_hand_back.popleft()
            if len(some) > room:
                self._to_hand_back.appendleft(some[room:])
            parts.append(some[:room])
            room -= len(parts[-1])
        return np.concatenate(parts)

    def _settle_at(self) -> float:
        """When settlements are due that go with a request for messages, if one comes before.

        Where many senders have the monitor ask for few reports, two requests for each would be too many as well.
        """
        hurry = len(self._to_settle) > 1 or not self.lanes.held
        return -math.inf if hurry else self._requested_at + self._wait_s / 2

    def _wanted(self) -> int:
        """How many more messages to ask for."""
        if self.draining or not self.introduced:
            return 0
        taken = self.lanes.busy + self.lanes.held + self._unreported + self._unsettled
        wanted = self.lanes.idle + self._ahead - self.lanes.held - self._open_credit
        return max(0, min(wanted, self._window - taken - self._open_credit))

    def _half_used_in_s(self) -> float:
        """About how soon it has started enough to ask for more; if it has asked, half of how soon all that it holds."""
        spare = self.lanes.held + self._open_credit - self._ahead // 2
        return (spare if spare > 0 else self.lanes.held / 2) / self._speed

    def _starved_s(self) -> float:
        """How long after a request a starved sender makes another."""
        return max(self._limits.starved_s, self._look_s)

    def _starved(self) -> bool:
        """Whether lanes are idle and the producer does not know."""
        news = self.lanes.idle > 0 and (self.lanes.idle, self._received) != self._said
        return news and self._open_credit + self._wanted() > 0

    # -- the monitor

    def has_report(self, now: float) -> bool:
        """Whether there is something to tell the monitor now."""
        if self._report is not None or self.done:
            return False
        full = self._unreported >= self._limits.report_rows_full
        paced = self._unreported > 0 and now >= self._report_at()
        return full or paced or now >= self._heartbeat_at() or self._may_leave()

    def report(self, now: float) -> Report | None:
        """What to tell the monitor now, if anything; it is under way until it is acknowledged."""
        if not self.has_report(now):
            return None
        goodbye = self._may_leave()
        finished = self._next_finished()
        self._unsettled += len(finished)
        self._sequence += 1
        self._reported_at = now
        self._report = Report(
            sequence=self._sequence,
            finished=finished,
            in_flight=self.lanes.busy + self._unreported,
            held=self.lanes.held,
            elapsed_s=None if self._started_at is None else now - self._started_at,
            cut_off=not (self.connected or self.ended),
            goodbye=goodbye,
            end=self.over if goodbye else None,
        )
        return self._report

    def acknowledge(self, answer: Answer) -> None:
        """The monitor has the report under way on record: its outcomes may be settled, as they are on record."""
        report = self._report
        assert report is not None
        self._report = None
        self._pace(min(answer.wait_s, self._limits.report_wait_max_s))
        self.introduced = True
        self.done = report.goodbye
        if answer.end is not None and answer.end.complete and not (self.connected or self.ended):
            self.end(answer.end)  # the producer may have left, or be where this sender does not find it
        finished = report.finished
        if not len(finished):
            return
        outcomes = finished.outcomes
        if len(answer.overruled_ids):
            order = np.argsort(answer.overruled_ids)
            ids = answer.overruled_ids[order]
            at = np.minimum(np.searchsorted(ids, finished.ids), len(ids) - 1)
            overruled = ids[at] == finished.ids
            outcomes = np.where(overruled, answer.overruled_outcomes[order][at], outcomes)
        self._to_settle.append(Settlements(finished.ids, outcomes, finished.attempts))

    @property
    def reports(self) -> int:
        """Reports sent so far, repeats not counted."""
        return self._sequence

    @property
    def is_needless(self) -> bool:
        """Whether a monitor that it never met need not hear of it: it has taken no message.

        A run that is over is told by others, but for an empty one: there may be no others.
        """
        if self.introduced:
            return False
        if self.over is not None:
            return not self.over.complete or self.over.sent + self.over.failed > 0
        return self.ended or self.draining

    @property
    def only_goodbye(self) -> bool:
        """Whether it has nothing to tell a monitor that it met but that it leaves a complete run."""
        reported = not self._unreported and (self._report is None or not len(self._report.finished))
        return reported and self.introduced and self.over is not None and self.over.complete

    def _report_at(self) -> float:
        """When outcomes are due: sooner from a sender that has run dry, for a run may end with what it has to tell."""
        dry = not (self.lanes.busy or self.lanes.held)
        return self._reported_at + self._wait_s / (self._limits.dry_hurry if dry else 1)

    def _heartbeat_at(self) -> float:
        return self._reported_at + max(self._limits.heartbeat_s, self._wait_s)

    def _may_leave(self) -> bool:
        """Whether the next report is the last one."""
        if self.ended:
            return self._unreported <= self._limits.report_rows_max
        if not self.draining:
            return False
        return not (self.lanes.busy or self._unreported or self._unsettled or self._to_hand_back or self._unconfirmed)

    def _next_finished(self) -> Finished:
        """The attempts for the next report, oldest first."""
        parts, count = [], 0
        while self._finished and count < self._limits.report_rows_max:
            some = self._finished.popleft()
            if count + len(some) > self._limits.report_rows_max:
                room = self._limits.report_rows_max - count
                self._finished.appendleft(pick(some, slice(room, None)))
                some = pick(some, slice(room))
            parts.append(some)
            count += len(some)
        self._unreported -= count
        return join(parts) if parts else NOTHING


NOTHING: Final = Finished(
    *(np.empty(0, t) for t in (np.int64, np.uint8, np.uint8, np.float32, np.float32))  # type: ignore[arg-type]
)
