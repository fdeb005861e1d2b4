"""All runs of a monitor: which it follows, when and how each ends, and what of it is shown, saved and kept.

Reports, looks at the clock and a stop come in, each with the time. What is to be done about them goes out as `events`,
in order. Knows tallies. Must not know how reports travel, or where figures and pieces go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from smssim.core.exchange import Answer, Report
from smssim.core.fleet import ROWS_MAX
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.pieces import Changes, Pieces
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.core.tally import Ending, OnReport, Tally
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode, LaterError, PeerError, worst

# ---- What is to be done


@dataclass(frozen=True, slots=True)
class Waiting:
    """No sender has come so far."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The monitor follows a run from now on."""

    run: RunFacts


@dataclass(frozen=True, slots=True)
class Missed:
    """The first reports of a sender never reached this monitor."""

    sender: str


@dataclass(frozen=True, slots=True)
class Moment:
    """The figures of a run are due."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Dropped:
    """The monitor no longer follows a run, of which nothing was counted. What a journal has of it is to be erased."""

    run: RunFacts


@dataclass(frozen=True, slots=True)
class Ended:
    """A run ended; its last figures, with the summary."""

    run: RunFacts
    ending: Ending
    snapshot: Snapshot


Event = Waiting | Started | Missed | Moment | Dropped | Ended


# ---- One run


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator wants of a monitor."""

    interval_s: float  # between two moments that are shown
    give_up_s: float  # without any sender, a run whose end is unknown goes on for this long
    thresholds: tuple[Threshold, ...] = ()
    linger: bool = False  # follow any number of runs, until stopped
    journaled: bool = False  # not together with `linger`
    rows_max: int = ROWS_MAX  # senders in a moment that is shown


class FollowedRun:
    """A run that goes on, or one that ended and is kept to answer late reports."""

    def __init__(
        self, tally: Tally, policy: Policy, now: float, limits: Limits = LIMITS, *, resumed: bool = False
    ) -> None:
        self.tally = tally
        self.resumed = resumed  # from a journal
        self.final: Snapshot | None = None  # once the run has ended
        self._policy = policy
        self._limits = limits
        self._due = now  # the next moment
        self._check_at = now  # whether the run has ended
        self._before: Figures | None = None  # of the last moment
        self._warned = 0  # of the senders whose first reports are missing
        self._shared: Snapshot | None = None
        self._shared_until = -math.inf

    @property
    def wake_at(self) -> float:
        """When to look at this run next; never once it has ended."""
        return math.inf if self.final is not None else min(self._due, self._check_at)

    def may_drop(self, now: float) -> bool:
        """Return whether this run can make room for another one.

        It can if nothing was counted and no sender is present: it may never have been a run. One that was in the
        journal at the start is the one that the operator waits for.
        """
        return self.final is None and not self.resumed and self.tally.idle(now)

    def snapshot(self, now: float, rows_max: int = ROWS_MAX) -> Snapshot:
        """Return the run at this moment, with the rate since the last moment shown; at its end once it has ended."""
        if self.final is not None:
            return self.final
        return self.tally.snapshot(self.tally.figures(now, self._before), now, rows_max)

    def shared(self, now: float) -> Snapshot:
        """Return what all watchers get at about this moment: the same object for `Limits.shared_s`."""
        if self.final is not None:
            return self.final
        if self._shared is None or now >= self._shared_until:
            self._shared = self.tally.snapshot(self.tally.figures(now), now)
            self._shared_until = now + self._limits.shared_s
        return self._shared

    def look(self, now: float) -> list[Event]:
        """Return the warnings not given so far, and the moment if it is due."""
        events: list[Event] = [Missed(name) for name in self.tally.missed[self._warned :]]
        self._warned = len(self.tally.missed)
        if now >= self._due:
            interval_s = self._policy.interval_s
            self._due += interval_s * max(1, (now - self._due) // interval_s)
            moment = self.snapshot(now, self._policy.rows_max)
            self._before = moment.figures
            events.append(Moment(moment))
        self._check_at = now + self._limits.end_check_s
        return events

    def end(self, ending: Ending, now: float) -> Ended:
        """End the run: its last figures stand from now on."""
        figures = self.tally.figures(now, self._before, final=True)
        summary = self.tally.summary(figures, ending, self._policy.thresholds)
        self.final = replace(self.tally.snapshot(figures, now), summary=summary)
        self._shared = None
        return Ended(self.tally.run, ending, self.final)


# ---- All of them


class Runs:
    """The runs of one monitor: one, or any number if it lingers."""

    def __init__(
        self,
        policy: Policy,
        new_key: Callable[[], bytes] = bytes,
        on_report: OnReport | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        """`new_key` returns random bytes that no peer knows, for each new run; see `Tally`."""
        self.followed: dict[str, FollowedRun] = {}  # by id; those that ended in the order of their ends
        self.events: deque[Event] = deque()  # to be carried out, the oldest first
        self.wake_at = math.inf  # when to look next
        self._policy = policy
        self._new_key = new_key
        self._on_report = on_report
        self._limits = limits
        self._waits_since = 0.0  # for a sender
        self._notice_at = math.inf  # when to say next that no sender has come
        self._ended_ids: dict[str, None] = {}  # ids of ended runs that are no longer kept, the oldest first
        self._erased: Changes = {}  # pieces of dropped runs, since `changes`
        self._codes: set[ExitCode] = set()  # of the runs that ended
        self._stopped = False

    # -- what comes in

    def await_sender(self, now: float) -> None:
        """Say now and then, from now on, that no sender has come, until one does; not once a run has ended."""
        if not self.followed and not self._codes:
            self._waits_since = now
            self._notice_at = now + self._limits.repeat_notice_s
            self._set_wake_at(now)

    def report(self, run: RunFacts, sender: SenderFacts, report: Report, now: float) -> Answer:
        """Record a report of a run, which may be new. Raises PeerError, and then records nothing of it."""
        self._forgive_pause(now)
        tally = self._accept(run, now).tally
        others = sum(other.tally.ledger.memory for other in self.followed.values() if other.tally is not tally)
        return tally.report(run, sender, report, now, others)

    def look(self, now: float) -> None:
        """Show what is due, and end the runs that have come to their end. To be called at `wake_at`."""
        self._forgive_pause(now)
        if now >= self._notice_at:
            self._notice_at = now + self._limits.repeat_notice_s
            self.events.append(Waiting(now - self._waits_since))
        for followed in self._going_on():
            if followed.wake_at <= now:
                self.events += followed.look(now)
                ending = followed.tally.ending(now, self._policy.give_up_s)
                if ending is not None and followed.may_drop(now):
                    self._drop(followed, now)
                elif ending is not None:
                    self._end(followed, ending, now)
        self._set_wake_at(now)

    def stop(self, now: float) -> None:
        """End all runs as they stand, and follow no other."""
        self._stopped = True
        self._forgive_pause(now)
        for followed in self._going_on():
            self._end(followed, followed.tally.interrupted(), now)
        self._set_wake_at(now)

    def resume(self, pieces: Pieces, now: float) -> Tally:
        """Go on with the run that was saved in these pieces, and return its tally; raises DAMAGE."""
        tally = Tally.restored(pieces, now, self._limits)
        self._follow(FollowedRun(tally, self._policy, now, self._limits, resumed=True), now)
        return tally

    # -- what holds

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to follow: the one run ended, and the monitor does not linger."""
        return bool(self._codes) and not self._policy.linger

    @property
    def any_ended(self) -> bool:
        """Whether any run ended here."""
        return bool(self._codes)

    def exit_code(self, *, outputs_whole: bool = True) -> ExitCode:
        """Return the worst exit code of all runs; without any run, only a lingering monitor has done what it should."""
        codes = set(self._codes) if outputs_whole else {*self._codes, ExitCode.INCOMPLETE}
        return worst(codes) if codes or self._policy.linger else ExitCode.INCOMPLETE

    def changes(self, now: float) -> Changes:
        """Return what is to be saved since the last call. With a journal there is at most one run."""
        erased, self._erased = self._erased, {}
        followed = next(iter(self.followed.values()), None)
        return erased if followed is None else erased | followed.tally.changes(now)

    # -- which runs are followed

    def _going_on(self) -> list[FollowedRun]:
        return [followed for followed in self.followed.values() if followed.final is None]

    def _accept(self, run: RunFacts, now: float) -> FollowedRun:
        """Return the run that a report is of, a new one if it is not known; raises PeerError."""
        followed = self.followed.get(run.run_id)
        if followed is not None and followed.tally.run == run:
            return followed
        if run.run_id in self._ended_ids:
            raise PeerError(f"run {run.run_id} is over")
        if self._stopped:  # it would never be shown, and what its senders report would be settled
            raise LaterError("this monitor is stopped")
        if followed is not None:  # one of the two is wrong: the one of which something was counted is right
            self._make_room(followed, f"run {run.run_id} is known here with other settings", now)
        if self.followed and not self._policy.linger:
            (followed,) = self.followed.values()
            self._make_room(followed, f"this monitor follows one run, {followed.tally.run.run_id}, and no other", now)
        if len(self._going_on()) >= self._limits.runs_max:
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
        """Drop this run for another one; raises LaterError if that may be possible later, or PeerError."""
        if followed.may_drop(now):
            self._drop(followed, now)
        elif followed.final is None and not followed.tally.counted:
            raise LaterError("this monitor follows another run, of which nothing is counted yet")
        else:
            raise PeerError(refusal)

    def _make_more_room(self, now: float) -> None:
        """Drop all runs that may be dropped; raises LaterError if there are none."""
        idle = [followed for followed in self._going_on() if followed.may_drop(now)]
        if not idle:
            raise LaterError(f"this monitor follows {self._limits.runs_max:,} runs already")
        for followed in idle:
            self._drop(followed, now)

    def _drop(self, followed: FollowedRun, now: float) -> None:
        del self.followed[followed.tally.run.run_id]
        if self._policy.journaled:
            self._erased |= followed.tally.erased(now)
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
        """Set when to look next, in the past never: how late a look is shows whether the monitor was paused."""
        due = [followed.wake_at for followed in self.followed.values()]
        self.wake_at = max(now, min([self._notice_at, *due]))

    def _forgive_pause(self, now: float) -> None:
        """Extend the time of all senders by a pause of the monitor itself: it could not receive their reports.

        A look that comes too late by more than `Limits.paused_s` shows a pause; less is the delay of a busy machine.
        """
        late_s = now - self.wake_at
        if late_s > self._limits.paused_s:
            self.wake_at = now
            for followed in self._going_on():
                followed.tally.forgive_pause(late_s, now)
