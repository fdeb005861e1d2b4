"""Bugs that the simulation must find. Each replaces one method of the code, and only while it is switched on."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from simulation.hunt import EMPTY_RUN, UNREACHABLE
from simulation.monitor import Monitor
from smssim.core import limited_lanes, sending
from smssim.core.audience import Watcher
from smssim.core.backlog import Backlog
from smssim.core.bucket import Times, schedule
from smssim.core.commits import GroupCommits
from smssim.core.digest import Digester
from smssim.core.ending import Ending
from smssim.core.exchange import Answer, Report, Settlements
from smssim.core.fate import Fates
from smssim.core.followed import FollowedRun, Missed, Moment, Noted
from smssim.core.lanes import Lanes, Work, pick
from smssim.core.ledger import Ledger, Verdict
from smssim.core.limited_lanes import LimitedLanes
from smssim.core.limits import Limits
from smssim.core.model import Attempts, Ids, Outcome, Outcomes, RunFacts, SenderFacts, StartLimit
from smssim.core.pieces import Pieces
from smssim.core.producer_events import Close, Event
from smssim.core.producer_stream import ProducerStream
from smssim.core.producing import ProducerRun
from smssim.core.progress import Figures
from smssim.core.recipients import Recipients
from smssim.core.reconnect import Reconnector
from smssim.core.runs import Runs
from smssim.core.sender_run import SenderEnd, SenderLife, SenderRun
from smssim.core.sending import SenderProtocol
from smssim.core.session import Session
from smssim.core.stretches import Rows, Stretches
from smssim.core.tally import Tally
from smssim.core.unsettled import Flags, Tries
from smssim.core.watched import WatchedRuns
from smssim.errors import ExitCode, PeerError

Bug = Callable[[], AbstractContextManager[Any]]

_report = SenderProtocol.report
_acknowledge = SenderProtocol.acknowledge
_stream_lost = SenderProtocol.stream_lost
_on_offer = SenderRun.on_offer
_sender_end = SenderRun.__dict__["end"]
_found = Reconnector.found
_bound = Reconnector.bound
_record = Ledger.record
_requeue = Backlog._requeue
_restore_open = Backlog._restore_open
_restore_ledger = Ledger.restore
_put = Lanes.put
_drawn = Lanes._drawn
_limited_init = LimitedLanes.__init__
_unpacked = Session.unpacked
_end = ProducerRun._end
_closed = ProducerRun.closed
_forgive_pause = ProducerRun._forgive_pause
_restore_run = ProducerRun.restore
_join = ProducerRun.join
_stop = ProducerRun.stop
_ending = Tally.ending
_accept = Runs._accept
_drop = Runs._drop
_end_run = Runs._end
_look = FollowedRun.look
_took = Watcher.took
_draw = Fates.draw
_restore_recipients = Recipients.restore
_commit_done = GroupCommits.done


# ---- Senders


def settles_before_the_report_is_answered() -> AbstractContextManager[Any]:
    """Settle outcomes when their report is sent, which the monitor may never receive."""

    def report(self: SenderProtocol, now: float) -> Report | None:
        made = _report(self, now)
        if made is not None and len(made.finished):
            done = made.finished
            self._to_settle.append(Settlements(done.ids, done.outcomes, done.attempts))
        return made

    return mock.patch.object(SenderProtocol, "report", report)


def ignores_overruled_outcomes() -> AbstractContextManager[Any]:
    """Settle what was reported, even if the monitor has another outcome on record."""

    def acknowledge(self: SenderProtocol, answer: Answer) -> None:
        ids, outcomes = answer.overruled_ids[:0], answer.overruled_outcomes[:0]
        _acknowledge(self, replace(answer, overruled_ids=ids, overruled_outcomes=outcomes))

    return mock.patch.object(SenderProtocol, "acknowledge", acknowledge)


def loses_a_message_of_a_batch_in_its_lanes() -> AbstractContextManager[Any]:
    """Drop one message of a batch; its lease never expires, because the sender is alive."""

    def put(self: Lanes, work: Work, now: float) -> None:
        _put(self, pick(work, slice(1, None)) if len(work) > 4 else work, now)

    return mock.patch.object(Lanes, "put", put)


def decides_how_attempts_go_when_messages_arrive() -> AbstractContextManager[Any]:
    """Draw the fate of an attempt under a fault when its message arrives, not when it starts."""

    def put(self: Lanes, work: Work, now: float) -> None:
        _put(self, work if self._conditions is None else _drawn(self, work, self._conditions), now)

    return mock.patch.multiple(Lanes, put=put, _drawn=lambda self, work, conditions: work)


def retries_unreachable_messages() -> AbstractContextManager[Any]:
    """Let an attempt at an unreachable message be followed by another one."""

    def draw(self: Fates, ids: Any, attempt: int) -> tuple[Any, Outcomes]:
        times_s, outcomes = _draw(self, ids, attempt)
        if attempt < self._max_attempts:
            outcomes[outcomes == Outcome.FAILED] = Outcome.RETRY
        return times_s, outcomes

    return mock.patch.object(Fates, "draw", draw)


def restores_without_the_unreachable_messages() -> AbstractContextManager[Any]:
    """Count unreachable messages from 0 after a restart."""

    def restore(self: Recipients, saved: dict[str, Any]) -> None:
        _restore_recipients(self, {**saved, "unreachable": 0})

    return mock.patch.object(Recipients, "restore", restore)


def ignores_its_limit() -> AbstractContextManager[Any]:
    """Start messages as soon as lanes are free."""
    return mock.patch.object(sending, "LimitedLanes", lambda lanes, _, limits: Lanes(lanes, limits))


def fills_its_bucket_beyond_its_size() -> AbstractContextManager[Any]:
    """Save tokens without a bound while no message starts."""

    def saving(limit: StartLimit, full_at: float, ready_at: Times) -> tuple[Times, Times]:
        if full_at == -math.inf:
            return schedule(limit, full_at, ready_at)
        owed: Times = full_at + limit.interval_s * np.arange(len(ready_at), dtype=np.float64)
        return np.maximum(ready_at, owed - limit.slack_s), owed + limit.interval_s

    return mock.patch.object(limited_lanes, "schedule", saving)


def has_a_bucket_for_each_lane() -> AbstractContextManager[Any]:
    """Let each lane start as many messages as the sender may."""

    def init(self: LimitedLanes, concurrency: int, limit: StartLimit, limits: Limits) -> None:
        _limited_init(self, concurrency, StartLimit(limit.interval_s / concurrency, limit.slack_s), limits)

    return mock.patch.object(LimitedLanes, "__init__", init)


def keeps_unstarted_messages_when_the_stream_breaks() -> AbstractContextManager[Any]:
    """Keep messages that no lane has started, although the producer leases them to other senders."""

    def stream_lost(self: SenderProtocol, now: float) -> None:
        with mock.patch.object(type(self.lanes), "drop_held"):
            _stream_lost(self, now)

    return mock.patch.object(SenderProtocol, "stream_lost", stream_lost)


def says_goodbye_before_its_last_report() -> AbstractContextManager[Any]:
    """Leave while outcomes are unreported, which are then lost."""
    return mock.patch.object(SenderProtocol, "_may_leave", lambda self: self.ended or self.draining)


def never_resets_its_backoff() -> AbstractContextManager[Any]:
    """Keep the long backoff after a reconnection, so that the next short loss costs seconds."""

    def found(self: Reconnector, now: float) -> str:
        backoff_s = self._backoff_s
        notice = _found(self, now)
        self._backoff_s = backoff_s
        return notice

    return mock.patch.object(Reconnector, "found", found)


def counts_the_give_up_time_from_the_first_loss_ever() -> AbstractContextManager[Any]:
    """Give up a peer at its first failure if it was also lost some time ago."""

    def found(self: Reconnector, now: float) -> str:
        lost_at = self._lost_at
        notice = _found(self, now)
        self._lost_at = lost_at
        return notice

    return mock.patch.object(Reconnector, "found", found)


def drains_without_a_cap_on_its_patience() -> AbstractContextManager[Any]:
    """Let a draining sender wait for a lost peer as long as any other sender."""
    return mock.patch.object(Reconnector, "bound", lambda self, now, give_up_s=math.inf: _bound(self, now))


def waits_without_limit_for_the_monitor_of_a_run_that_has_ended() -> AbstractContextManager[Any]:
    """Wait forever for the monitor of an empty run, which may never be started."""

    def bound(self: Reconnector, now: float, give_up_s: float = math.inf) -> None:
        if give_up_s < math.inf:
            _bound(self, now, give_up_s)

    return mock.patch.object(Reconnector, "bound", bound)


def rejoins_the_run_that_it_has_finished() -> AbstractContextManager[Any]:
    """Join the same run again and again, until its producer has left."""
    return mock.patch.object(SenderLife, "on_offer", return_value=None)


def mistakes_another_run_for_its_own() -> AbstractContextManager[Any]:
    """Report and settle messages of the wrong run."""

    def on_offer(self: SenderRun, run_id: str, now: float) -> str | None:
        return _on_offer(self, self.run_id, now)

    return mock.patch.object(SenderRun, "on_offer", on_offer)


def calls_a_run_complete_after_losing_its_producer() -> AbstractContextManager[Any]:
    """Exit with 0 after giving up the producer."""

    def end(self: SenderRun) -> SenderEnd | None:
        end: SenderEnd | None = _sender_end.__get__(self)
        return end if end is None or end.error is not self._gone else replace(end, exit_code=ExitCode.OK)

    return mock.patch.object(SenderRun, "end", property(end))


# ---- The producer


def keeps_the_leases_of_lost_streams() -> AbstractContextManager[Any]:
    """Keep leases of messages that no sender has any more."""
    return mock.patch.object(Backlog, "_reclaim", return_value=None)


def queues_the_messages_of_a_lost_stream_twice() -> AbstractContextManager[Any]:
    """Queue each of them twice, so that two senders get it."""

    def requeue(self: Backlog, rows: Rows, lost: bool) -> None:
        _requeue(self, rows, lost)
        _requeue(self, rows, lost)

    return mock.patch.object(Backlog, "_requeue", requeue)


def accepts_a_late_retry() -> AbstractContextManager[Any]:
    """Count a retry of an attempt that is already over, which skips an attempt."""

    def settle_retry(self: Backlog, ids: Ids, attempts: Attempts, now: float) -> None:
        tries = self._open.column["tries"][self._open.open(ids)]
        settle(self, ids, tries + 1, now)

    settle = Backlog._settle_retry
    return mock.patch.object(Backlog, "_settle_retry", settle_retry)


def ends_one_message_early() -> AbstractContextManager[Any]:
    """End the run while one message is unsettled."""
    return mock.patch.object(Backlog, "complete", property(lambda self: self.settled >= self.total - 1))


def restores_without_the_attempts() -> AbstractContextManager[Any]:
    """Restart each unsettled message with its first attempt."""

    def restore_open(self: Backlog, numbers: Ids, settled: Flags, tries: Tries) -> int:
        return _restore_open(self, numbers, settled, tries * 0)

    return mock.patch.object(Backlog, "_restore_open", restore_open)


def does_not_save_retries() -> AbstractContextManager[Any]:
    """Leave retries out of the saved changes, so that a restart loses them."""
    return mock.patch.object(Stretches, "touch", return_value=None)


def announces_the_end_before_it_is_saved() -> AbstractContextManager[Any]:
    """Announce an end that a crash may undo, although senders and the monitor know of it."""

    def end(self: ProducerRun) -> None:
        _end(self)
        self._announced = self.end

    return mock.patch.object(ProducerRun, "_end", end)


def counts_the_give_up_time_from_the_start() -> AbstractContextManager[Any]:
    """Give up by the time since the start instead of the time since the last sender left."""

    def closed(self: ProducerRun, stream: ProducerStream, now: float) -> list[Event]:
        began = self._alone_since
        events = _closed(self, stream, now)
        self._alone_since = began
        return events

    return mock.patch.object(ProducerRun, "closed", closed)


def forgives_its_own_pause_twice() -> AbstractContextManager[Any]:
    """Extend deadlines by twice the pause, so that lost senders keep their leases too long."""

    def forgive_pause(self: ProducerRun, late_s: float, now: float) -> None:
        _forgive_pause(self, 2 * late_s, now)

    return mock.patch.object(ProducerRun, "_forgive_pause", forgive_pause)


def mistakes_its_own_pause_for_silence() -> AbstractContextManager[Any]:
    """Expire the leases of live senders after a pause of the producer."""
    return mock.patch.object(ProducerRun, "_forgive_pause", return_value=None)


def forgets_that_the_end_was_announced() -> AbstractContextManager[Any]:
    """Wait after a restart for senders that already know the end."""

    def restore(self: ProducerRun, pieces: Pieces, now: float, away_s: float = 0.0) -> None:
        _restore_run(self, pieces, now, away_s)
        self._end_announced = False

    return mock.patch.object(ProducerRun, "restore", restore)


def keeps_the_stream_of_a_session_that_opens_another() -> AbstractContextManager[Any]:
    """Reclaim the messages of the old stream without closing it."""

    def join(
        self: ProducerRun, sender: SenderFacts, distribution: str, std_s: float, now: float
    ) -> tuple[ProducerStream, list[Event]]:
        stream, events = _join(self, sender, distribution, std_s, now)
        return stream, [event for event in events if not isinstance(event, Close)]

    return mock.patch.object(ProducerRun, "join", join)


def drains_without_waiting() -> AbstractContextManager[Any]:
    """End the run at once, so that leased messages are never settled."""

    def stop(self: ProducerRun, now: float) -> list[Event]:
        events = _stop(self, now)
        self._drain_until = now
        return events + self._proceed(now)

    return mock.patch.object(ProducerRun, "stop", stop)


def leaves_before_late_senders_have_come() -> AbstractContextManager[Any]:
    """Leave as soon as no stream is open."""
    open_until = property(lambda self: math.inf if self._linger else -math.inf)
    return mock.patch.object(ProducerRun, "_open_until", open_until)


# ---- The monitor


def acknowledges_before_it_commits() -> AbstractContextManager[Any]:
    """Acknowledge a report that a crash may still undo."""

    def acknowledge(self: Monitor, answer: Callable[[], None], *, proves: bool = False) -> None:
        answer()
        self.saver.save(lambda: None)

    return mock.patch.object(Monitor, "_acknowledge", acknowledge)


def records_a_repeated_report_again() -> AbstractContextManager[Any]:
    """Record a repeated report as if its sequence were new."""

    def repeated(self: Tally, session: Session, report: Report) -> Answer:
        return self._record(session, report, session.last_report_at)

    return mock.patch.object(Tally, "_repeated", repeated)


def mistakes_another_report_for_a_repeat() -> AbstractContextManager[Any]:
    """Give all reports the same digest, so that a report may be settled without being recorded."""
    return mock.patch.object(Digester, "of", return_value="")


def counts_a_duplicate_as_sent() -> AbstractContextManager[Any]:
    """Count a duplicate as another sent message."""

    def record(self: Ledger, ids: Ids, outcomes: Outcomes) -> Verdict:
        verdict = _record(self, ids, outcomes)
        self.sent += verdict.duplicates
        return verdict

    return mock.patch.object(Ledger, "record", record)


def counts_a_duplicate_twice() -> AbstractContextManager[Any]:
    """Count a duplicate twice, in a figure that nothing else depends on."""

    def record(self: Ledger, ids: Ids, outcomes: Outcomes) -> Verdict:
        verdict = _record(self, ids, outcomes)
        self.duplicates += verdict.duplicates
        return verdict

    return mock.patch.object(Ledger, "record", record)


def lets_the_last_outcome_stand() -> AbstractContextManager[Any]:
    """Report no outcome as overruled, so that the producer settles the last one and not the first."""

    def record(self: Ledger, ids: Ids, outcomes: Outcomes) -> Verdict:
        verdict = _record(self, ids, outcomes)
        return replace(verdict, overruled_ids=ids[:0], overruled_outcomes=outcomes[:0])

    return mock.patch.object(Ledger, "record", record)


def restores_without_the_last_answers() -> AbstractContextManager[Any]:
    """Give an empty answer to a report that is repeated after a restart."""

    def unpacked(piece: bytes, now: float, limits: Limits) -> Session:
        return replace(_unpacked(piece, now, limits), answer=None)

    return mock.patch.object(Session, "unpacked", unpacked)


def restores_without_the_digests() -> AbstractContextManager[Any]:
    """Mistake a report that is repeated after a restart for another one."""

    def unpacked(piece: bytes, now: float, limits: Limits) -> Session:
        return replace(_unpacked(piece, now, limits), digest="")

    return mock.patch.object(Session, "unpacked", unpacked)


def restores_without_the_sequences() -> AbstractContextManager[Any]:
    """Restore the last sequence but one, although the last report is on record."""

    def unpacked(piece: bytes, now: float, limits: Limits) -> Session:
        session = _unpacked(piece, now, limits)
        return replace(session, sequence=max(0, session.sequence - 1))

    return mock.patch.object(Session, "unpacked", unpacked)


def restores_a_failure_as_sent() -> AbstractContextManager[Any]:
    """Restore correct figures but wrong outcomes, so that later answers overrule wrongly."""

    def restore(self: Ledger, pieces: Pieces) -> None:
        with suppress(ValueError):  # after a second restart: what it saved after the first does not add up
            _restore_ledger(self, pieces)
        outcomes = self._open.column["outcome"]
        outcomes[outcomes == 2] = 1

    return mock.patch.object(Ledger, "restore", restore)


def drops_a_run_with_counted_outcomes() -> AbstractContextManager[Any]:
    """Drop a run as soon as it has no present senders."""

    def may_drop(self: FollowedRun, now: float) -> bool:
        return self.final is None and not self.resumed and not self.tally.present(now)

    return mock.patch.object(FollowedRun, "may_drop", may_drop)


def drops_a_run_whose_sender_is_present() -> AbstractContextManager[Any]:
    """Drop a run with a present sender because nothing is counted yet."""

    def may_drop(self: FollowedRun, now: float) -> bool:
        return self.final is None and not self.resumed and not self.tally.counted

    return mock.patch.object(FollowedRun, "may_drop", may_drop)


def ends_a_run_while_a_sender_is_present() -> AbstractContextManager[Any]:
    """End a run when its end is known, without waiting for the last reports."""

    def ending(self: Tally, now: float, give_up_s: float) -> Ending | None:
        return self.interrupted() if self.end is not None else _ending(self, now, give_up_s)

    return mock.patch.object(Tally, "ending", ending)


def gives_a_run_up_too_early() -> AbstractContextManager[Any]:
    """Give a run up after half the time, in which its senders may still return."""

    def ending(self: Tally, now: float, give_up_s: float) -> Ending | None:
        return _ending(self, now, give_up_s / 2)

    return mock.patch.object(Tally, "ending", ending)


def never_ends_a_run_that_has_lost_a_sender() -> AbstractContextManager[Any]:
    """Wait for the goodbye of every sender."""

    def ending(self: Tally, now: float, give_up_s: float) -> Ending | None:
        return _ending(self, now, give_up_s) if all(one.left for one in self.sessions.values()) else None

    return mock.patch.object(Tally, "ending", ending)


def forgives_a_short_pause() -> AbstractContextManager[Any]:
    """Treat every small delay of a check as a pause, which makes senders seem less silent."""

    def forgive_pause(self: Runs, now: float) -> None:
        if (late_s := now - self.wake_at) > 0:
            self.wake_at = now
            for followed in self._in_progress():
                followed.tally.forgive_pause(late_s, now)

    return mock.patch.object(Runs, "_forgive_pause", forgive_pause)


def mistakes_its_own_pause_for_silence_of_senders() -> AbstractContextManager[Any]:
    """Treat senders as lost after a pause of the monitor."""
    return mock.patch.object(Runs, "_forgive_pause", return_value=None)


def leaves_a_dropped_run_in_the_journal() -> AbstractContextManager[Any]:
    """Leave the pieces of a dropped run, which a restart then finds."""

    def drop(self: Runs, followed: FollowedRun, now: float) -> None:
        _drop(self, followed, now)
        self._erased.clear()

    return mock.patch.object(Runs, "_drop", drop)


def forgets_an_ended_run_at_once() -> AbstractContextManager[Any]:
    """Forget the run, so that a late report starts to count it again."""

    def end(self: Runs, followed: FollowedRun, ending: Ending, now: float) -> None:
        _end_run(self, followed, ending, now)
        del self.followed[followed.tally.run.run_id]

    return mock.patch.object(Runs, "_end", end)


def refuses_late_reports_of_an_ended_run() -> AbstractContextManager[Any]:
    """Refuse late reports, although the run is kept to answer them."""

    def accept(self: Runs, run: RunFacts, now: float) -> FollowedRun:
        followed = _accept(self, run, now)
        if followed.final is not None:
            raise PeerError("unknown run")
        return followed

    return mock.patch.object(Runs, "_accept", accept)


def follows_a_second_run_without_linger() -> AbstractContextManager[Any]:
    """Follow a second run, such as that of an unknown sender."""
    return mock.patch.object(Runs, "_make_room", return_value=None)


def skips_every_other_moment() -> AbstractContextManager[Any]:
    """Show figures half as often."""

    def look(self: FollowedRun, now: float) -> list[Missed | Moment | Noted]:
        events = _look(self, now)
        if any(isinstance(event, Moment) for event in events):
            self._due += self._policy.interval_s
        return events

    return mock.patch.object(FollowedRun, "look", look)


def warns_of_a_missed_report_again_and_again() -> AbstractContextManager[Any]:
    """Warn at each check."""

    def look(self: FollowedRun, now: float) -> list[Missed | Moment | Noted]:
        self._warned = 0
        return _look(self, now)

    return mock.patch.object(FollowedRun, "look", look)


def keeps_the_last_figures_from_watchers() -> AbstractContextManager[Any]:
    """Treat any figures that a watcher received as the final ones."""

    def took(self: Watcher, figures: Figures) -> Figures | None:
        return _took(self, replace(figures, final=True))

    return mock.patch.object(Watcher, "took", took)


def treats_a_dropped_run_as_continuing() -> AbstractContextManager[Any]:
    """Keep a dropped run among those that a watcher waits for."""
    return mock.patch.object(WatchedRuns, "_drop")


def exits_with_the_best_code_of_its_runs() -> AbstractContextManager[Any]:
    """Exit with the best code instead of the worst."""

    def exit_code(self: Runs, *, outputs_whole: bool = True) -> ExitCode:
        return ExitCode(min(self._codes, default=ExitCode.INCOMPLETE))

    return mock.patch.object(Runs, "exit_code", exit_code)


# ---- The disk


def answers_requests_made_during_a_commit_with_that_commit() -> AbstractContextManager[Any]:
    """Report changes as saved by a commit that began before them."""

    def done(self: GroupCommits[Any], now: float) -> list[Any]:
        waiters, self._next = _commit_done(self, now) + self._next, []
        return waiters

    return mock.patch.object(GroupCommits, "done", done)


# Each bug with the faults that must strike together to bring it out, if any.
BUGS: dict[Bug, tuple[str, ...]] = {
    settles_before_the_report_is_answered: (),
    ignores_overruled_outcomes: (),
    loses_a_message_of_a_batch_in_its_lanes: (),
    decides_how_attempts_go_when_messages_arrive: (),
    retries_unreachable_messages: (),
    ignores_its_limit: (),
    fills_its_bucket_beyond_its_size: (),
    has_a_bucket_for_each_lane: (),
    keeps_unstarted_messages_when_the_stream_breaks: ("stream cut",),
    says_goodbye_before_its_last_report: ("sender drains",),
    never_resets_its_backoff: (),
    counts_the_give_up_time_from_the_first_loss_ever: (),
    drains_without_a_cap_on_its_patience: ("sender drains",),
    waits_without_limit_for_the_monitor_of_a_run_that_has_ended: (EMPTY_RUN,),
    rejoins_the_run_that_it_has_finished: (),
    mistakes_another_run_for_its_own: ("producer killed",),
    calls_a_run_complete_after_losing_its_producer: ("sender astray",),
    keeps_the_leases_of_lost_streams: (),
    queues_the_messages_of_a_lost_stream_twice: (),
    accepts_a_late_retry: ("stream cut",),
    ends_one_message_early: (),
    restores_without_the_attempts: ("producer killed",),
    does_not_save_retries: ("producer killed",),
    announces_the_end_before_it_is_saved: (),
    counts_the_give_up_time_from_the_start: (),
    forgives_its_own_pause_twice: ("producer paused", "sender paused"),
    mistakes_its_own_pause_for_silence: ("producer paused",),
    forgets_that_the_end_was_announced: ("producer restarts",),
    keeps_the_stream_of_a_session_that_opens_another: ("stream cut",),
    drains_without_waiting: ("producer drains",),
    leaves_before_late_senders_have_come: ("producer restarts",),
    acknowledges_before_it_commits: ("monitor killed",),
    records_a_repeated_report_again: (),
    mistakes_another_report_for_a_repeat: ("sender forged",),
    counts_a_duplicate_as_sent: (),
    counts_a_duplicate_twice: (),
    lets_the_last_outcome_stand: (),
    restores_without_the_last_answers: ("monitor killed",),
    restores_without_the_digests: ("monitor killed",),
    restores_without_the_sequences: ("monitor killed",),
    restores_a_failure_as_sent: ("monitor killed",),
    restores_without_the_unreachable_messages: ("monitor killed", UNREACHABLE),
    drops_a_run_with_counted_outcomes: (),
    drops_a_run_whose_sender_is_present: ("monitor misled",),
    ends_a_run_while_a_sender_is_present: (),
    gives_a_run_up_too_early: (),
    never_ends_a_run_that_has_lost_a_sender: (),
    forgives_a_short_pause: ("monitor paused",),
    mistakes_its_own_pause_for_silence_of_senders: ("monitor paused",),
    leaves_a_dropped_run_in_the_journal: ("monitor misled",),
    forgets_an_ended_run_at_once: (),
    refuses_late_reports_of_an_ended_run: (),
    follows_a_second_run_without_linger: ("monitor misled",),
    skips_every_other_moment: (),
    warns_of_a_missed_report_again_and_again: ("monitor killed",),
    keeps_the_last_figures_from_watchers: (),
    treats_a_dropped_run_as_continuing: ("monitor misled",),
    exits_with_the_best_code_of_its_runs: ("producer killed",),
    answers_requests_made_during_a_commit_with_that_commit: ("monitor killed",),
}
