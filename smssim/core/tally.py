"""One run at the monitor: the reports of its senders, their sums, and how it ends.

Combines the ledger and the progress with the sessions of the senders. Knows reports, and the time that it is given.
Must not know how reports travel or how figures are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.digest import Digester
from smssim.core.ending import Ending, compared, short
from smssim.core.event import Events
from smssim.core.exchange import Answer, Report, RunEnd
from smssim.core.fleet import ROWS_MAX, everyone
from smssim.core.folding import in_rows
from smssim.core.lanes import Finished, pick
from smssim.core.ledger import Ledger
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.pace import report_wait_s
from smssim.core.pieces import Changes, Pieces, pack, put_under, unpack, within
from smssim.core.planned import Plan
from smssim.core.progress import Figures, Milestones, Progress, rate, recent_rate
from smssim.core.recipients import Recipients
from smssim.core.session import Session
from smssim.core.snapshot import Snapshot, Summary
from smssim.core.stall import stall
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode, LaterError, PeerError, TooLargeError

PERCENTILES: Final = (50, 75, 90, 95, 99, 99.9, 100)  # of the latency, in the summary


# Called for each report that is recorded with outcomes: the run, the sender's name, the outcomes, which of them count
# (bool of shape (n,)), and seconds since the start of the run.
OnReport = Callable[[RunFacts, str, Finished, NDArray[np.bool_], float], None]


class Tally:
    """Sessions, ledger and progress of one run."""

    def __init__(self, run: RunFacts, now: float, key: bytes = b"", limits: Limits = LIMITS) -> None:
        """`key`: random bytes unknown to all peers, so that no peer can construct a report with a given digest."""
        self.run = run
        self._limits = limits
        self.ledger = Ledger(run.total, limits)
        self.progress = Progress()
        self.milestones = Milestones(run.total)
        self.recipients = Recipients(run) if run.unreachable else None
        self.events = Events(run.run_id)
        self.plan = Plan()
        self.sessions: dict[str, Session] = {}
        self.end: RunEnd | None = None  # the producer's totals, once a goodbye has brought them
        self.missed: list[str] = []  # names of senders whose first reports never reached this monitor
        self._joined = 0  # senders that have not left
        self._has_price = False  # whether any sender has
        self._answer_rows = 0  # overruled messages in the answers that are kept
        self._started_at: float | None = None  # of the run, on the local clock
        self._full_at: float | None = None if run.total else now
        self._last_report_at = now  # when the last report arrived
        self._moved_at = now  # when an attempt last counted
        self._restored = False  # then the start leaves out the time that the restart took, until a sender reports it
        self._was_full = False  # whether it was complete when it was restored
        self._changed: dict[str, Session] = {}  # since `changes`
        self._digester = Digester(key)
        self._forget_at = now  # when to search for idle senders again, at the earliest
        self._forgotten: Changes = {}  # pieces of forgotten senders, since `changes`
        self._forgotten_count = 0
        self.on_report: OnReport | None = None

    def report(self, run: RunFacts, sender: SenderFacts, report: Report, now: float, others: int = 0) -> Answer:
        """Record a report once, and return the answer. Raises PeerError, and then applies nothing of it.

        `others`: the sum of `Ledger.memory` over other runs.
        """
        if run != self.run:
            raise PeerError(f"run {run.run_id} has different settings at this monitor")
        self.ledger.check_room(report.finished.ids, others)
        session = self.sessions.get(sender.session_id)
        if session is None:
            if len(self.sessions) >= self._limits.sessions_max:
                self._forget_idle(now)
            session = Session(sender, self._limits, sequence=report.sequence - 1, joined_at=now, late=self._was_full)
            if report.sequence > 1:
                self.missed.append(sender.name)
            self.sessions[sender.session_id] = session
            self._joined += 1
            self._has_price |= session.has_price
        digest = self._digester.of(report)
        is_repeat = (report.sequence, digest) == (session.sequence, session.digest)
        if not is_repeat and report.sequence != session.sequence + 1:
            raise PeerError("sequence: expected the next report of the session, or its last one again")
        self._last_report_at = session.last_report_at = now
        self._changed[sender.session_id] = session
        if is_repeat:
            return self._repeated(session, report)
        session.sequence, session.digest = report.sequence, digest
        session.update(report)
        if report.goodbye and not session.left:
            session.left = True
            self._joined -= 1
        answer = self._record(session, report, now)
        self._keep(session, answer)
        return answer

    def _forget_idle(self, now: float) -> None:
        """Forget the senders that have left or are lost, if nothing of them was ever counted.

        Raises TooLargeError or LaterError if that makes no room. There may be many senders, so they are checked at most
        once in `Limits.lost_after_s`, the time after which a silent sender counts as lost.
        """
        if now >= self._forget_at:
            self._forget_at = now + self._limits.lost_after_s
            gone = (s for s in self.sessions.values() if s.left or now - s.last_report_at > self._limits.lost_after_s)
            for session in [session for session in gone if not session.sums.attempts]:
                del self.sessions[session.facts.session_id]
                self._changed.pop(session.facts.session_id, None)
                self._forgotten[session.facts.session_id] = None
                self._forgotten_count += 1
                self._joined -= not session.left
                self._answer_rows -= 0 if session.answer is None else len(session.answer.overruled_ids)
        if len(self.sessions) < self._limits.sessions_max:
            return
        if all(session.sums.attempts for session in self.sessions.values()):
            raise TooLargeError(f"more than {self._limits.sessions_max:,} senders in one run")
        raise LaterError(f"this run already has {self._limits.sessions_max:,} senders")

    def _repeated(self, session: Session, report: Report) -> Answer:
        """Return the answer to the last report of a session again; the report is already recorded."""
        if session.answer is None:  # not kept
            overruled = self.ledger.overruled(report.finished.ids, report.finished.outcomes)
            return Answer(0, 0, *overruled, self._wait_s())
        return session.answer

    def _keep(self, session: Session, answer: Answer) -> None:
        """Keep a session's last answer for a repeat of the report, if there is room: peers decide how long it is."""
        self._answer_rows -= 0 if session.answer is None else len(session.answer.overruled_ids)
        rows = len(answer.overruled_ids)
        session.answer = answer if self._answer_rows + rows <= self._limits.answer_rows_max else None
        self._answer_rows += 0 if session.answer is None else rows

    def _record(self, session: Session, report: Report, now: float) -> Answer:
        if report.elapsed_s is not None and self._full_at is None:
            self._note_start(now - report.elapsed_s)
        finished = report.finished
        verdict = self.ledger.record(finished.ids, finished.outcomes)
        counts = verdict.counts
        counted = finished if counts.all() else pick(finished, counts)
        session.add(self.progress.add(counted.outcomes, counted.durations_s, counted.latencies_s), now)
        if len(counted):
            self._moved_at = now
            self.milestones.note(self.ledger.sent, self.elapsed_s(now))
            if self.recipients is not None:
                self.recipients.add(counted, self.ledger.sent, self.elapsed_s(now))
        if self._full_at is None and self.complete:
            self._full_at = now
        if self.on_report is not None and len(finished):
            self.on_report(self.run, session.facts.name, finished, counts, self.elapsed_s(now))
        self.end = report.end or self.end
        return Answer(
            accepted=int(np.count_nonzero(counts)),
            duplicates=verdict.duplicates,
            overruled_ids=verdict.overruled_ids,
            overruled_outcomes=verdict.overruled_outcomes,
            wait_s=self._wait_s(),
            end=self.end if self.complete and self.end is not None and self.end.complete else None,
        )

    def _note_start(self, started_at: float) -> None:
        """Record when the run started, according to a report. One that was long on its way puts the start too late."""
        if self._started_at is None:
            self._started_at = started_at
        elif started_at < self._started_at:
            if not self._restored:
                self.milestones.delay(self._started_at - started_at)
                if self.recipients is not None:
                    self.recipients.delay(self._started_at - started_at)
            self._started_at = started_at

    def _wait_s(self) -> float:
        return report_wait_s(self._joined, self._limits)

    def forgive_pause(self, late_s: float, now: float) -> None:
        """Extend all sender deadlines by the time that the monitor itself was paused."""
        self._last_report_at = min(now, self._last_report_at + late_s)
        for session in self.sessions.values():
            if not session.left:
                session.last_report_at = min(now, session.last_report_at + late_s)

    def idle(self, now: float) -> bool:
        """Return whether nothing was counted and no sender is present: then it may never have been a real run."""
        return not (self.counted or self.end is not None or self.present(now))

    @property
    def counted(self) -> bool:
        """Whether any outcome was counted."""
        return self.ledger.final + self.ledger.retried > 0

    @property
    def complete(self) -> bool:
        """Whether every message has a final outcome."""
        return self.ledger.final == self.run.total

    # -- what people read

    def present(self, now: float) -> list[Session]:
        """Return the senders whose reports still arrive."""
        return [s for s in self.sessions.values() if not s.left and now - s.last_report_at <= self._limits.lost_after_s]

    def _took_part(self) -> list[Session]:
        """Return the senders of the run, except those that joined after a complete run was resumed."""
        return [session for session in self.sessions.values() if not session.late]

    def elapsed_s(self, now: float) -> float:
        """Return the seconds from the start of the run to `now`, or to its completion."""
        if self._started_at is None:
            return 0.0
        return max(0.0, (now if self._full_at is None else self._full_at) - self._started_at)

    @property
    def reached_reachable_s(self) -> Mapping[int, float]:
        """When percentages of the messages that can be reached were sent, so far."""
        return self.milestones.reached_s if self.recipients is None else self.recipients.reached_s

    def _cost(self) -> float:
        """Return the cost of all attempts that count. A forgotten sender has none."""
        return math.fsum(s.cost(self.run.segments) for s in self.sessions.values()) if self._has_price else 0.0

    def figures(self, now: float, before: Figures | None = None, final: bool = False) -> Figures:
        """Return the figures of this moment; the recent rate is since the figures `before`."""
        ledger, progress, present = self.ledger, self.progress, self.present(now)
        elapsed_s = self.elapsed_s(now)
        missing = self.run.total - ledger.final
        in_flight = min(missing, sum(s.in_flight for s in present))
        p50_s, p95_s, p99_s = progress.latencies.percentiles((50, 95, 99))
        return Figures(
            run_id=self.run.run_id,
            total=self.run.total,
            elapsed_s=elapsed_s,
            sent=ledger.sent,
            failed=ledger.failed,
            retried=ledger.retried,
            attempts=ledger.final + ledger.retried,
            duplicates=ledger.duplicates,
            in_flight=in_flight,
            waiting=missing - in_flight,
            avg_time_s=progress.sums.avg_time_s,
            avg_sent_time_s=progress.sums.avg_sent_time_s,
            rate_per_s=rate(ledger.final, elapsed_s),
            recent_rate_per_s=recent_rate(ledger.final, elapsed_s, before),
            latency_p50_s=p50_s,
            latency_p95_s=p95_s,
            latency_p99_s=p99_s,
            senders=len(present),
            senders_seen=len(self._took_part()) + self._forgotten_count,
            complete=not missing,
            final=final,
            unreachable=0 if self.recipients is None else self.recipients.unreachable,
            cost=self._cost(),
        )

    def snapshot(self, figures: Figures, now: float, rows_max: int = ROWS_MAX) -> Snapshot:
        """Return figures of this moment with the senders, at most `rows_max` in rows, and the cause of any stall."""
        quiet_s = now - self._moved_at
        missing, segments = self.run.total - figures.done, self.run.segments
        why = stall(self.sessions.values(), missing, quiet_s, now, segments, self._limits)
        fleet, folded = in_rows(everyone(self._took_part() if rows_max else (), now, segments), rows_max)
        return Snapshot(
            *(figures, fleet, why),
            events=self.events.all,
            reached_s=dict(self.milestones.reached_s),
            plan=self.plan.course,
            behind_s=self.plan.behind_s(figures, self.milestones.reached_s),
            folded=folded,
            reached_reachable_s=dict(self.reached_reachable_s),
        )

    # -- the end

    def summary(self, figures: Figures, ending: Ending, thresholds: Sequence[Threshold]) -> Summary:
        """Return the result of the run, given its last figures. A missed threshold replaces an exit code of 0."""
        reached, reachable, latencies = self.milestones.reached_s, self.reached_reachable_s, self.progress.latencies
        redelivered = None if self.end is None else self.end.redelivered
        numbers = {
            **figures.as_dict(),
            "failed_reachable": figures.failed_reachable,
            "redelivered": redelivered,
            **{f"t{percent}": time_s for percent, time_s in reached.items()},
            **{f"t{percent}_reachable": time_s for percent, time_s in reachable.items()},
        }
        judged = tuple(threshold.judge(numbers) for threshold in thresholds)
        missed = ending.exit_code == ExitCode.OK and not all(one.passed for one in judged)
        return Summary(
            exit_code=ExitCode.THRESHOLD if missed else ending.exit_code,
            reason=ending.reason,
            reached_s={str(percent): reached.get(percent) for percent in Milestones.PERCENTS},
            percentiles={f"{percent:g}": latencies.percentile(percent) for percent in PERCENTILES},
            redelivered=redelivered,
            thresholds=judged,
            segments=self.run.segments,
            reached_reachable_s={str(percent): reachable.get(percent) for percent in Milestones.PERCENTS},
        )

    def ending(self, now: float, give_up_s: float) -> Ending | None:
        """Return how the run ended, or None while it continues.

        It continues while a sender is present that has not sent its goodbye. After that, the producer's totals end it.
        If they never arrived, it ends `give_up_s` after the last report.
        """
        if self.present(now):
            return None
        if self.end is not None:
            is_early = not self.end.complete
            return short(self.ledger, "the producer ended the run early") if is_early else self.interrupted()
        silent_s = now - self._last_report_at
        if silent_s < give_up_s:
            return None
        if self.complete:
            return Ending(ExitCode.INCOMPLETE, "every message is counted, but the producer's totals never arrived")
        return short(self.ledger, f"no sender has reported for {silent_s:.0f} s")

    def interrupted(self) -> Ending:
        """Return how the run ends if this monitor is stopped now."""
        if self.end is not None and self.end.complete:
            return compared(self.ledger, self.end, self.missed)
        return short(self.ledger, "the monitor was stopped")

    # -- saved and restored

    def changes(self, now: float) -> Changes:
        """Return the changes since the last call."""
        figures = {
            "key": self._digester.key.hex(),
            "elapsed_s": None if self._started_at is None else self.elapsed_s(now),
            "full": self._full_at is not None,
            "over": self.end and asdict(self.end),
            "missed": self.missed,
            "forgotten": self._forgotten_count,
            "reached_s": list(self.milestones.reached_s.values()),
        }
        if self.recipients is not None:
            figures["recipients"] = self.recipients.saved()
        changes: Changes = {"run": pack(asdict(self.run)), "figures": pack(figures)}
        changes |= put_under("session", self._forgotten)
        changes |= {f"session/{session_id}": session.packed() for session_id, session in self._changed.items()}
        self._forgotten.clear()
        self._changed.clear()
        return {
            **changes,
            **put_under("ledger", self.ledger.changes()),
            **put_under("progress", self.progress.changes()),
            **put_under("events", self.events.changes()),
            **put_under("plan", self.plan.changes()),
        }

    def erased(self, now: float) -> Changes:
        """Return changes that delete all pieces of a run of which nothing is counted."""
        sessions = [f"session/{session_id}" for session_id in self.sessions]
        once = f"events/{Events.PIECE}", f"plan/{Plan.PIECE}"
        return dict.fromkeys([*self.changes(now), *once, *sessions])

    @classmethod
    def restored(cls, pieces: Pieces, now: float, limits: Limits = LIMITS, away_s: float = 0.0) -> Tally:
        """Return the tally that was saved `away_s` ago. It waits for the senders that have not left. Raises DAMAGE.

        If the producer had ended the run early, the tally drops that end, because the producer may resume the run.
        """
        figures, _ = unpack(pieces["figures"])
        tally = cls(RunFacts(**unpack(pieces["run"])[0]), now, bytes.fromhex(figures["key"]), limits)
        tally.ledger.restore(within("ledger", pieces))
        tally.progress.restore(within("progress", pieces))
        tally.events.restore(within("events", pieces))
        tally.plan.restore(within("plan", pieces))
        tally.missed = figures["missed"]
        tally._forgotten_count = figures["forgotten"]
        tally.milestones.restore(figures["reached_s"])
        if tally.recipients is not None:
            tally.recipients.restore(figures["recipients"])
        if figures["over"] is not None and figures["over"]["complete"]:
            tally.end = RunEnd(**figures["over"])
        if figures["elapsed_s"] is not None:
            tally._started_at = now - figures["elapsed_s"] - (0.0 if figures["full"] else away_s)
        tally._full_at = now if figures["full"] else None
        tally._was_full = figures["full"]
        tally._restored = True
        for session_id, piece in within("session", pieces).items():
            tally.sessions[session_id] = Session.unpacked(piece, now, limits)
        tally._joined = sum(not session.left for session in tally.sessions.values())
        tally._has_price = any(session.has_price for session in tally.sessions.values())
        answers = [session.answer for session in tally.sessions.values() if session.answer is not None]
        tally._answer_rows = sum(len(answer.overruled_ids) for answer in answers)
        return tally
