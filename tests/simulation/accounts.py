"""What the monitor must do with its runs, judged from first principles: from the reports, their times and its pauses.

Receives everything that crosses the monitor's border. Reads what the classes under test decided only to compare it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from simulation.books import MonitorBook, check
from simulation.clock import Process
from smssim.core.exchange import Answer, Report
from smssim.core.followed import Ended, Missed, Moment, Policy
from smssim.core.model import RunFacts
from smssim.core.pieces import Pieces
from smssim.core.runs import Dropped, Event, NoSender, Runs, Started
from smssim.core.snapshot import Snapshot
from smssim.core.tally import Tally
from smssim.errors import ExitCode, LaterError, PeerError

if TYPE_CHECKING:
    from simulation.world import World

LOOKS = 3  # anything that is due happens within this many checks of the monitor


@dataclass(eq=False)
class Account:
    """One run that the monitor follows or has followed."""

    run: RunFacts
    book: MonitorBook
    resumed: bool = False
    restored_rows: int = 0  # rows of the book's log that came from the disk
    followed_since: float = 0.0
    reported_at: dict[str, float] = field(default_factory=dict)  # by session, its last report
    left: set[str] = field(default_factory=set)
    warned: list[str] = field(default_factory=list)
    shown: Snapshot | None = None
    shown_at: float = 0.0
    alone_since: float | None = None  # since when its end is known and no sender is present
    ended: Ended | None = None
    knew_the_end: bool = False  # whether the end of a complete run was known when it ended; it may have come later

    @property
    def open_since(self) -> float:
        """Since when its peers can find the monitor again; negative infinity if they never lost it."""
        return self.followed_since if self.resumed else -math.inf

    @property
    def counted(self) -> bool:
        """Whether any outcome was counted."""
        return bool(self.book.now.final or self.book.now.retried)

    @property
    def end_known(self) -> bool:
        """Whether a sender has reported the producer's totals. A restart forgets those of an early end."""
        ends = enumerate(report.end for _, report in self.book.log)
        return any(end is not None and (end.complete or row >= self.restored_rows) for row, end in ends)


Kept = tuple[Account, int]  # how many rows of its book are on record, or in a commit


@dataclass
class Past:
    """What all monitors share: it outlives each of them."""

    ended: dict[str, Account] = field(default_factory=dict)  # every run that ever ended, with its last end on record
    misled: bool = False  # an unknown sender's run was resumed from disk: it stays and keeps the real run out


class Accounts:
    """The accounts of all runs that one monitor follows while it owns the run."""

    def __init__(
        self, world: World, process: Process, policy: Policy, kept: Sequence[Kept], resumed: Tally | None
    ) -> None:
        """`kept`: the accounts that are on record, with how much of each."""
        now = world.clock.now
        self.followed: dict[str, Account] = {}
        self._world, self._process, self._policy = world, process, policy
        self._here: list[str] = []  # ids of the runs that ended here, in order
        check((resumed is not None) == bool(kept), "%s are on record, but resumed is %s", kept, resumed)
        for before, upto in kept:
            assert resumed is not None
            check(resumed.run == before.run, "%s is resumed instead of %s", resumed.run, before.run)
            book = before.book.fork(upto)
            check(resumed.sessions.keys() == book.last.keys(), "the resumed senders are those of another run")
            account = Account(before.run, book, resumed=True, restored_rows=upto, followed_since=now, shown_at=now)
            account.reported_at = dict.fromkeys(book.last, now)
            account.left = {session_id for session_id, report in book.log if report.goodbye}
            self.followed[account.run.run_id] = account
            plan = world.plan
            world.past.misled |= account.run.run_id not in world.producer_books or account.run.total != plan.total

    # -- reports

    def report(self, run: RunFacts, session_id: str, report: Report, answer: Answer) -> bool:
        """Record a report that the monitor recorded and answered; return whether it was new."""
        account = self.followed[run.run_id]
        check(account.run == run, "a report is recorded for another run than its own")
        account.reported_at[session_id] = self._world.clock.now
        if report.goodbye:
            account.left.add(session_id)
        return account.book.report(session_id, report, answer)

    def refuse(self, run: RunFacts, session_id: str, report: Report, error: PeerError, *, stopped: bool) -> None:
        """Check that there is a reason to refuse a report."""
        account = self.followed.get(run.run_id)
        others = [other for other in self.followed.values() if other.ended is None and other.run != run]
        if account is not None and account.run == run:
            check(not account.book.expects(session_id, report), "the next report of %s is refused: %s", run, error)
        elif isinstance(error, LaterError) and stopped:
            return
        elif isinstance(error, LaterError):
            check(not any(self._surely_idle(other) for other in others), "%s waits despite an idle run: %s", run, error)
            if account is not None:
                check(not account.counted, "%s waits for a run with counted outcomes: %s", run, error)
            elif self._policy.linger:
                check(len(others) >= self._world.limits.runs_max, "%s waits despite free room: %s", run, error)
            else:
                check([other.counted for other in others] == [False], "%s waits needlessly: %s", run, error)
        elif run.run_id not in self._here:
            rivals = list(self.followed.values()) if not self._policy.linger else [account] * (account is not None)
            rightful = any(rival is not None and (rival.counted or rival.ended) for rival in rivals)
            check(rightful, "%s is refused without a reason: %s", run, error)

    # -- events of the monitor

    def happen(self, event: Event, runs: Runs, *, stopped: bool) -> None:
        """Check an event of the monitor's runs."""
        now = self._world.clock.now
        if isinstance(event, NoSender):
            self._world.clock.strike("still waiting for a sender")
            check(not self.followed and not self._here, "the monitor waits for a sender, but one has reported")
        elif isinstance(event, Started):
            hands_over = self._world.plan.engine is not None
            check(not stopped or hands_over, "%s is followed by a stopped monitor", event.run)
            self._start(event.run, now)
        elif isinstance(event, Dropped):
            self._drop(self.followed.pop(event.run.run_id))
        elif isinstance(event, Missed):
            (account,) = (one for one in self.followed.values() if event.sender in one.reported_at)
            check(event.sender not in account.warned, "there are two warnings about %s", event.sender)
            account.warned.append(event.sender)
        elif isinstance(event, Moment):
            self._show(self.followed[event.snapshot.figures.run_id], event.snapshot, now)
        elif isinstance(event, Ended):
            self._end(self.followed[event.run.run_id], event, runs, stopped)

    def _start(self, run: RunFacts, now: float) -> None:
        account = self.followed.get(run.run_id)
        if account is not None:
            check(account.resumed, "%s is followed twice", run)
            return
        check(run.run_id not in self._here, "a run that has ended is followed again")
        check(self._policy.linger or not self.followed, "a second run is followed without linger")
        going_on = sum(other.ended is None for other in self.followed.values())
        check(going_on < self._world.limits.runs_max, "%s runs are followed already, and another one starts", going_on)
        if self.followed:
            self._world.clock.strike("another run followed", run.run_id)
        self.followed[run.run_id] = Account(run, MonitorBook(run.total), followed_since=now, shown_at=now)

    def _drop(self, account: Account) -> None:
        self._world.clock.strike("run dropped", account.run.run_id)
        check(not account.counted, "a run with counted outcomes is dropped")
        check(not account.resumed, "a run that was on disk is dropped")
        check(not self._present(account)[0], "a run with a sender present is dropped")

    def _show(self, account: Account, snapshot: Snapshot, now: float) -> None:
        """Check that figures match the counts, are on time, and have the rate since the figures before."""
        figures, counted = snapshot.figures, account.book.now
        check(figures.done == len(counted.final), "%s are shown as done, counted %s", figures.done, len(counted.final))
        total = figures.sent + figures.failed + figures.in_flight + figures.waiting
        check(total == account.run.total, "the figures add up to %s", total)
        before = None if account.shown is None else account.shown.figures
        elapsed_s = figures.elapsed_s - (0.0 if before is None else before.elapsed_s)
        if elapsed_s > 0:
            done = figures.done - (0 if before is None else before.done)
            check(abs(figures.recent_rate_per_s * elapsed_s - done) < 0.01 + 1e-6 * done, "the recent rate is wrong")
        late_s = now - account.shown_at - self._policy.interval_s - self._paused_s(account.shown_at, now, 0.0)
        check(late_s < LOOKS * self._world.limits.end_check_s, "the figures are %s s late", late_s)
        account.shown, account.shown_at = snapshot, now

    def _end(self, account: Account, ended: Ended, runs: Runs, stopped: bool) -> None:
        now = self._world.clock.now
        if not stopped:
            surely, _ = self._present(account)
            check(not surely, "the run has ended while %s were present", surely)
            check(now >= account.open_since + self._world.limits.open_after_pause_s, "its peers had no time to return")
            if not account.end_known:
                last = max(account.reported_at.values(), default=account.followed_since)
                silent_s = self._silence(last)[1]
                check(silent_s >= self._policy.give_up_s, "the run is given up after only %s s", silent_s)
        if ended.ending.exit_code == ExitCode.OK:
            check(len(account.book.now.final) == account.run.total, "the run has ended with 0 but is not complete")
        missed = account.book.joined_late
        check(set(account.warned) <= missed, "warned about %s, but missed only %s", account.warned, missed)
        check(stopped or set(account.warned) == missed, "warned about %s, but missed %s", account.warned, missed)
        self._show(account, ended.snapshot, now)
        kept = runs.followed.get(account.run.run_id)
        check(kept is not None or stopped, "an ended run is not kept")  # a stop ends all runs and keeps only a few
        if kept is not None:
            account.book.compare_at_end(kept.tally, now)
        account.ended, account.knew_the_end = ended, account.book.heard_the_end
        self._here.append(account.run.run_id)
        for run_id in self._here[: -self._world.limits.ended_kept_max]:
            self.followed.pop(run_id, None)

    def register(self, run_id: str) -> None:
        """Record that the end of a run is on record."""
        account = self.followed.get(run_id)
        if account is not None and account.ended is not None:
            self._world.past.ended[run_id] = account

    # -- at every moment

    def compare(self, runs: Runs) -> None:
        """Check which runs are followed, what is counted of each, and which senders are present."""
        now = self._world.clock.now
        ours = {run_id: account.ended is None for run_id, account in self.followed.items()}
        theirs = {run_id: followed.final is None for run_id, followed in runs.followed.items()}
        check(ours == theirs, "followed runs are %s, expected %s", theirs, ours)
        for run_id, account in self.followed.items():
            tally = runs.followed[run_id].tally
            account.book.compare(tally)
            if account.ended is not None:
                continue
            surely, perhaps = self._present(account)
            present = {session.facts.session_id for session in tally.present(now)}
            check(surely <= present <= perhaps, "present: %s; expected %s, at most %s", present, surely, perhaps)
            if perhaps or not account.end_known:
                account.alone_since = None
            else:
                since = account.alone_since = account.alone_since or now
                alone_s = now - max(since, self._open_until(account, now)) - self._paused_s(since, now, 0.0)
                check(alone_s < LOOKS * self._world.limits.end_check_s, "the run continues without a sender")

    # -- the record

    def compare_disk(self, pieces: Pieces, kept: Sequence[Kept]) -> None:
        """Check that the pieces on record are those of what was committed, and nothing of another run."""
        check(bool(pieces) == bool(kept), "%s are on record, expected %s runs", list(pieces)[:5], len(kept))
        for account, upto in kept:
            tally = Tally.restored(pieces, self._world.clock.now)
            check(tally.run == account.run, "another run is on record")
            sessions = {session_id for session_id, _ in account.book.log[:upto]}
            check(tally.sessions.keys() == sessions, "other senders are on record")

    def contents(self) -> tuple[list[Kept], Callable[[], None]]:
        """Return how much of each book a commit contains that begins now, and what to call once it is on record."""
        kept = [(account, len(account.book.log)) for account in self.followed.values()]
        return kept, partial(self._committed, kept)

    def _committed(self, kept: Sequence[Kept]) -> None:
        for account, upto in kept:
            account.book.committed(upto)

    def check_recorded(self, kept: Sequence[Kept]) -> None:
        """Check that all of this is on record, except for runs of which nothing counted and that were dropped."""
        for account, upto in kept:
            if account in self.followed.values() or account.counted:
                durable = account.book.durable_upto
                check(durable >= upto, "%s of %s reports are acknowledged", upto, durable)

    # -- present senders

    def _present(self, account: Account) -> tuple[set[str], set[str]]:
        """Return the senders that are certainly present, and all that may be present."""
        lost_s = self._world.limits.lost_after_s
        silences = {s: self._silence(at) for s, at in account.reported_at.items() if s not in account.left}
        surely = {session_id for session_id, (_, most_s) in silences.items() if most_s <= lost_s}
        return surely, {session_id for session_id, (least_s, _) in silences.items() if least_s <= lost_s}

    def _surely_idle(self, account: Account) -> bool:
        return not (account.counted or account.resumed or account.end_known or self._present(account)[1])

    def _silence(self, since: float) -> tuple[float, float]:
        """Return how long the monitor has been running since a report: at least, and at most.

        The monitor measures a long pause from a check that was due a moment after the pause began.
        """
        now, limits = self._world.clock.now, self._world.limits
        time_s = now - since
        least_s = time_s - self._paused_s(since, now, limits.paused_s)
        longer_s = limits.paused_s + limits.end_check_s
        noticed = sum(max(0.0, s - limits.end_check_s) for s in self._pauses(since, now, longer_s))
        return least_s - 1e-6, time_s - noticed + 1e-6

    def _open_until(self, account: Account, now: float) -> float:
        """Return until when a run stays open because the monitor was restarted or paused."""
        limits = self._world.limits
        over = [ended for began, ended in self._process.pauses.all if ended - began > limits.paused_s and ended <= now]
        returned = max([account.open_since, *over])
        return returned + limits.open_after_pause_s

    def _paused_s(self, since: float, now: float, longer_s: float) -> float:
        return sum(self._pauses(since, now, longer_s))

    def _pauses(self, since: float, now: float, longer_s: float) -> Iterator[float]:
        """Yield how much of each pause longer than `longer_s` lies between two times."""
        for began, ended in self._process.pauses.all:
            if ended - began > longer_s:
                yield max(0.0, min(ended, now) - max(began, since))
