"""All runs of a monitor: which ones it follows, when and how each ends, and what is shown, saved and kept.

The caller passes in reports, the passing of time and a stop, each with the time, and carries out the `events` that
result, in order. Knows tallies. Must not know how reports travel, or where figures and pieces go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from smssim.core.ending import Ending
from smssim.core.event import Event as RunEvent
from smssim.core.exchange import Answer, Report
from smssim.core.followed import Ended, FollowedRun, Missed, Moment, Noted, Policy
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.pieces import Changes, Pieces
from smssim.core.planned import PlannedCourse
from smssim.core.tally import OnReport, Tally
from smssim.errors import ExitCode, LaterError, OverError, PeerError, worst

# ---- Events


@dataclass(frozen=True, slots=True)
class NoSender:
    """No sender has reported for `for_s` seconds, counted from when the monitor began to wait for one."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The monitor starts to follow a run."""

    run: RunFacts


@dataclass(frozen=True, slots=True)
class Announced:
    """A new event of a run is on record."""

    event: RunEvent


@dataclass(frozen=True, slots=True)
class Dropped:
    """The monitor no longer follows a run of which nothing was counted. Its pieces must be erased."""

    run: RunFacts


Event = NoSender | Started | Missed | Announced | Moment | Noted | Dropped | Ended


# ---- All runs


class Runs:
    """The runs of one monitor: one, or any number if it lingers."""

    def __init__(
        self,
        policy: Policy,
        new_key: Callable[[], bytes] = bytes,
        on_report: OnReport | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        """`new_key` returns random bytes that are unknown to all peers, for each new run; see `Tally`."""
        self.followed: dict[str, FollowedRun] = {}  # by id; ended runs in the order of their ends
        self.events: deque[Event] = deque()  # for the caller to carry out, oldest first
        self.wake_at = math.inf  # when to call `look` next
        self._policy = policy
        self._new_key = new_key
        self._on_report = on_report
        self._limits = limits
        self._waits_since = 0.0  # for a sender
        self._notice_at = math.inf  # when the next `NoSender` is due
        self._ended_ids: dict[str, None] = {}  # ids of ended runs that are no longer kept, oldest first
        self._erased: Changes = {}  # deletes the pieces of runs dropped since the last `changes`
        self._codes: set[ExitCode] = set()  # of the runs that ended
        self._stopped = False

    # -- input

    def await_sender(self, now: float) -> None:
        """Start to emit `NoSender` at intervals, until a sender reports; not if a run is followed or has ended."""
        if not self.followed and not self._codes:
            self._waits_since = now
            self._notice_at = now + self._limits.repeat_notice_s
            self._set_wake_at(now)

    def report(self, run: RunFacts, sender: SenderFacts, report: Report, now: float) -> Answer:
        """Record a report of a run, which may be new, and return the answer.

        Raises PeerError, and then records nothing of it.
        """
        self._forgive_pause(now)
        tally = self._accept(run, now).tally
        others = sum(other.tally.ledger.memory for other in self.followed.values() if other.tally is not tally)
        return tally.report(run, sender, report, now, others)

    def announce(self, announced: RunEvent) -> None:
        """Record an event of a run, unless it is on record. Raises PeerError, and then records nothing.

        It is a LaterError if the run is unknown, because its first report may still be on its way, and an OverError if
        the run has ended.
        """
        followed = self._known(announced.run_id)
        if followed is not None and announced in followed.tally.events.all:
            return
        if followed is None or followed.final is not None:
            raise OverError(f"run {announced.run_id} is over")
        followed.tally.events.add(announced)
        self.events.append(Announced(announced))

    def announce_plan(self, run_id: str, plan: PlannedCourse) -> None:
        """Record the plan of a run, unless one is on record or the run has ended. Raises LaterError like `announce`."""
        followed = self._known(run_id)
        if followed is not None and followed.final is None:
            followed.tally.plan.set(plan)

    def _known(self, run_id: str) -> FollowedRun | None:
        """Return the run with this id, or None if it ended long ago. Raises LaterError if it is unknown."""
        followed = self.followed.get(run_id)
        if followed is None and run_id not in self._ended_ids:
            raise LaterError(f"this monitor does not follow run {run_id}")
        return followed

    def look(self, now: float) -> None:
        """Emit what is due, and end the runs that are over. Call it at `wake_at`."""
        self._forgive_pause(now)
        if now >= self._notice_at:
            self._notice_at = now + self._limits.repeat_notice_s
            self.events.append(NoSender(now - self._waits_since))
        for followed in self._in_progress():
            if followed.wake_at <= now:
                self.events += followed.look(now)
                ending = followed.tally.ending(now, self._policy.give_up_s) if now >= followed.open_until else None
                if ending is not None and followed.may_drop(now):
                    self._drop(followed, now)
                elif ending is not None:
                    self._end(followed, ending, now)
        self._set_wake_at(now)

    def stop(self, now: float) -> None:
        """End all runs in their current state, and follow no others."""
        self._stopped = True
        self._forgive_pause(now)
        for followed in self._in_progress():
            self._end(followed, followed.tally.interrupted(), now)
        self._set_wake_at(now)

    def resume(self, pieces: Pieces, now: float, away_s: float = 0.0) -> Tally:
        """Resume the run that was saved in these pieces `away_s` ago, and return its tally; raises DAMAGE."""
        followed = FollowedRun.restored(pieces, self._policy, now, self._limits, away_s)
        self._follow(followed, now).stay_open(now)
        return followed.tally

    # -- state

    @property
    def finished(self) -> bool:
        """Whether nothing is left to follow: the only run has ended, and the monitor does not linger."""
        return bool(self._codes) and not self._policy.linger

    @property
    def any_ended(self) -> bool:
        """Whether any run ended here."""
        return bool(self._codes)

    @property
    def exit_code(self) -> ExitCode:
        """The worst exit code of all runs. Without any run, it is OK only if the monitor lingers."""
        return worst(self._codes) if self._codes or self._policy.linger else ExitCode.INCOMPLETE

    def changes(self, now: float) -> Changes:
        """Return the changes since the last call. If the state is kept, there is at most one run."""
        erased, self._erased = self._erased, {}
        followed = next(iter(self.followed.values()), None)
        return erased if followed is None else erased | followed.changes(now)

    # -- which runs are followed

    def _in_progress(self) -> list[FollowedRun]:
        return [followed for followed in self.followed.values() if followed.final is None]

    def _accept(self, run: RunFacts, now: float) -> FollowedRun:
        """Return the run that a report belongs to, a new one if it is unknown; raises PeerError."""
        followed = self.followed.get(run.run_id)
        if followed is not None and followed.tally.run == run:
            return followed
        if run.run_id in self._ended_ids:
            raise PeerError(f"run {run.run_id} is over")
        if self._stopped:  # a new run would never be shown, but its outcomes would be settled
            raise LaterError("this monitor is stopping")
        if followed is not None:  # one of the two is wrong: the one with counted outcomes is right
            self._make_room(followed, f"run {run.run_id} has different settings at this monitor", now)
        if self.followed and not self._policy.linger:
            (followed,) = self.followed.values()
            self._make_room(followed, f"this monitor follows only run {followed.tally.run.run_id}", now)
        if len(self._in_progress()) >= self._limits.runs_max:
            self._make_more_room(now)
        tally = Tally(run, now, self._new_key(), self._limits)
        return self._follow(FollowedRun(tally, self._policy, now, self._limits), now)

    def _follow(self, followed: FollowedRun, now: float) -> FollowedRun:
        followed.tally.on_report = self._on_report
        self.followed[followed.tally.run.run_id] = followed
        self.events.append(Started(followed.tally.run))
        self._notice_at = math.inf
        self.wake_at = min(self.wake_at, now)
        return followed

    def _make_room(self, followed: FollowedRun, refusal: str, now: float) -> None:
        """Drop this run for another one. Raises LaterError if that may be possible later, otherwise PeerError."""
        if followed.may_drop(now):
            self._drop(followed, now)
        elif followed.final is None and not followed.tally.counted:
            raise LaterError("this monitor follows another run, which has no outcomes yet")
        else:
            raise PeerError(refusal)

    def _make_more_room(self, now: float) -> None:
        """Drop all runs that can be dropped; raises LaterError if there are none."""
        idle = [followed for followed in self._in_progress() if followed.may_drop(now)]
        if not idle:
            raise LaterError(f"this monitor already follows {self._limits.runs_max:,} runs")
        for followed in idle:
            self._drop(followed, now)

    def _drop(self, followed: FollowedRun, now: float) -> None:
        del self.followed[followed.tally.run.run_id]
        if self._policy.journaled:
            self._erased |= followed.erased(now)
        self.events.append(Dropped(followed.tally.run))
        self.await_sender(now)

    def _end(self, followed: FollowedRun, ending: Ending, now: float) -> None:
        ended = followed.end(ending, now)
        self.events.append(ended)
        assert ended.snapshot.summary is not None
        self._codes.add(ended.snapshot.summary.exit_code)
        self.followed[ended.run.run_id] = self.followed.pop(ended.run.run_id)
        kept = [run_id for run_id, other in self.followed.items() if other.final is not None]
        for run_id in kept[: max(0, len(kept) - self._limits.ended_kept_max)]:
            del self.followed[run_id]
            self._ended_ids[run_id] = None
        while len(self._ended_ids) > self._limits.ended_ids_max:
            del self._ended_ids[next(iter(self._ended_ids))]

    # -- time

    def _set_wake_at(self, now: float) -> None:
        """Set when to look next, but never in the past: a late look shows that the monitor was paused."""
        due = [followed.wake_at for followed in self.followed.values()]
        self.wake_at = max(now, min([self._notice_at, *due]))

    def _forgive_pause(self, now: float) -> None:
        """Extend all sender deadlines by a pause of the monitor itself, during which it received no reports.

        Runs stay open for a while, so that peers find the monitor again and announce what happened meanwhile. A look
        that is late by more than `Limits.paused_s` shows a pause; a shorter delay is normal on a busy machine.
        """
        late_s = now - self.wake_at
        if late_s > self._limits.paused_s:
            self.wake_at = now
            for followed in self._in_progress():
                followed.tally.forgive_pause(late_s, now)
                followed.stay_open(now)
