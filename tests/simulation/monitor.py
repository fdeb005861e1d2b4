"""The monitor: `Runs` with a simulated network, disk, clock and watchers in place of the real shell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.accounts import Accounts, Kept
from simulation.books import check
from simulation.clock import Process
from simulation.saver import Hold, Saver
from smssim.core.audience import ALL, Audience
from smssim.core.event import takeover
from smssim.core.exchange import Report
from smssim.core.followed import Ended, FollowedRun, Policy
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.owned_log import Taken
from smssim.core.pieces import Changes
from smssim.core.reporting import NOTHING
from smssim.core.runs import Dropped, Runs
from smssim.core.watched import WatchedRuns
from smssim.errors import ExitCode, LaterError, PeerError, worst
from smssim.settings import MonitorSettings

if TYPE_CHECKING:
    from simulation.host import Host
    from simulation.sender import Sender
    from simulation.world import World


class Monitor(Process):
    """What a monitor of one run, or of several if it lingers, does while it owns the run."""

    def __init__(self, world: World, host: Host, hold: Hold | None, taken: Taken) -> None:
        super().__init__(host)
        self.name = host.name
        self.world, self.clock = world, world.clock
        plan, give_up_s = world.plan, MonitorSettings.give_up_s
        policy = Policy(
            interval_s=plan.interval_s, give_up_s=give_up_s, linger=plan.monitor_lingers, journaled=hold is not None
        )
        self.runs = Runs(policy, limits=world.limits)
        self.audience = Audience(self.runs.followed, plan.interval_s, world.limits, lingers=plan.monitor_lingers)
        self.spectators: list[Spectator] = []
        self.ending: ExitCode | None = None  # its exit code, once it has left
        self.stopping = False
        self.hands_over = False  # whether it is about to leave its run to another one, and looks no more
        self._leaving = False
        self._awake_at = math.inf
        self._host = host
        now = self.clock.now
        resumed = self.runs.resume(taken.pieces, now, taken.away_s) if taken.pieces else None
        before = None if hold is None else hold.writing.commit
        self.accounts = Accounts(world, self, policy, [] if before is None else before.contents, resumed)
        self.saver = Saver(self, hold, world, self._changes, self.accounts.contents, host.broken)
        self.runs.await_sender(self.clock.now)
        if resumed is not None:
            self.clock.strike("monitor restored", self.name)
        self._shared = world.plan.engine is not None
        self.listening = resumed is None or not self._shared
        if not self.listening:
            self.saver.save(self._listen)
        self._carry_out()
        if resumed is not None and taken.previous and not resumed.complete:
            self.runs.announce(
                takeover("monitor", taken.previous, taken.away_s, resumed.elapsed_s(now), resumed.run.run_id)
            )

    def _listen(self) -> None:
        self.listening = True

    def _changes(self) -> Changes:
        return self.runs.changes(self.clock.now)

    @property
    def left(self) -> bool:
        """Whether it has left, or is about to."""
        return self._leaving

    @property
    def busy(self) -> bool:
        """Whether a run is in progress, or the monitor is about to leave."""
        going_on = any(followed.final is None for followed in self.runs.followed.values())
        return self.ending is None and (going_on or self._leaving)

    def report(self, run: RunFacts, session_id: str, report: Report, answer: Callable[[Any], None]) -> None:
        """Record a report, and answer it when it is on disk."""
        accounts = self.accounts
        try:
            said = self.runs.report(run, SenderFacts(session_id, session_id), report, self.clock.now)
        except PeerError as error:
            self._carry_out()
            accounts.refuse(run, session_id, report, error, stopped=self.stopping)
            if isinstance(error, LaterError):
                answer(None)  # its sender retries, as after no answer
            elif self._shared:
                self._acknowledge(partial(answer, error), proves=True)
            else:
                answer(error)
            return
        self._carry_out()
        self.clock.note(self.name, "report %s of %s: %s", report.sequence, session_id, report.finished.ids)
        if not accounts.report(run, session_id, report, said):
            self.clock.strike("report known already", self.name)
        self._acknowledge(partial(answer, said))

    def take_forged(self, victim: Sender) -> None:
        """Record an empty report in the name of a sender, which takes the sequence of that sender's next report."""
        followed = None if victim.run is None else self.runs.followed.get(victim.run.run_id)
        session = None if followed is None else followed.tally.sessions.get(victim.session_id)
        if session is not None and victim.run is not None:
            self.clock.strike("sender forged", victim.name)
            victim.forged = True
            self.report(victim.run, victim.session_id, Report(session.sequence + 1, NOTHING, 0, 0), lambda _: None)

    def take_strange(self, run: RunFacts) -> None:
        """Receive an empty report of a run that does not exist."""
        self.clock.strike("monitor misled", self.name)
        self.report(run, f"unknown sender of {run.run_id}", Report(1, NOTHING, 0, 0), lambda _: None)

    def _acknowledge(self, answer: Callable[[], None], *, proves: bool = False) -> None:
        """Answer when everything recorded so far is on record. Without a disk, everything counts as saved."""
        kept, _ = self.accounts.contents()
        until = self.clock.now + self.world.limits.cut_off_after_s if self._shared else math.inf
        self.saver.save(partial(self._saved, kept, answer, until), proves=proves)

    def _saved(self, kept: Sequence[Kept], answer: Callable[[], None], until: float) -> None:
        if not self.world.loses:
            self.accounts.check_recorded(kept)
        if self.clock.now < until:
            answer()

    # -- the runs

    def stop(self) -> None:
        """Stop the monitor, as SIGTERM does."""
        self.stopping = True
        self.clock.note(self.name, "is stopped")
        if self._shared and not self.runs.finished:
            self._leaving = self.hands_over = True
            self.saver.save(partial(self._go, None, ExitCode.INCOMPLETE))
            return
        self.runs.stop(self.clock.now)
        self._carry_out()
        self._leave()

    def _look(self, due: float) -> None:
        if due != self._awake_at or self._leaving:
            return
        self._awake_at = math.inf
        self.runs.look(self.clock.now)
        self._carry_out()

    def _carry_out(self) -> None:
        while self.runs.events:
            event = self.runs.events.popleft()
            self.accounts.happen(event, self.runs, stopped=self.stopping)
            if isinstance(event, Dropped):
                self.saver.save(lambda: None)
            if isinstance(event, Ended):
                self.clock.note(self.name, "%s: %s", event.ending.exit_code, event.ending.reason)
                self.saver.save(partial(self.accounts.register, event.run.run_id))
            if isinstance(event, Dropped | Ended):
                self._wake_spectators()
        if self.runs.finished:
            self._leave()
        elif (due := self.runs.wake_at) < self._awake_at:
            self._awake_at = due
            self.clock.after(max(0.0, due - self.clock.now), self, partial(self._look, due))

    def _leave(self) -> None:
        if not self._leaving:
            self._leaving = True
            self.saver.save(self._farewell)

    def _farewell(self) -> None:
        self.audience.close(self.clock.now)
        self._wake_spectators()
        self.clock.after(self.audience.closes_at - self.clock.now, self, self.let_go)
        self.let_go()

    def let_go(self) -> None:
        """Leave unless watchers are still reading their last figures."""
        if self.ending is None and self.audience.closing and not self.audience.is_reading(self.clock.now):
            code = self.runs.exit_code
            self._go((code, "the run is over") if self.runs.any_ended else None, code)

    def _go(self, ended: tuple[int, str] | None, code: ExitCode) -> None:
        self.ending = code
        self.saver.close()
        self.clock.note(self.name, "leaves: %s", code)
        self.saver.leave(ended, partial(self._host.exit, code))

    def drop(self) -> None:
        """Do nothing: no call stays open."""

    # -- watchers

    def watch(self) -> None:
        """Add a watcher of all runs or one of them."""
        runs = list(self.runs.followed)
        wanted = self.clock.random.choice([ALL, *runs])
        self.spectators.append(Spectator(self, wanted, self.clock.random.choice([0.0, 0.3, 1.0, 20.0])))

    def _wake_spectators(self) -> None:
        for spectator in list(self.spectators):
            spectator.wake()


class Spectator:
    """A client that watches and reads some responses slowly."""

    def __init__(self, monitor: Monitor, wanted: str, asked_s: float) -> None:
        self._monitor, self._clock, self._wanted = monitor, monitor.clock, wanted
        now = self._clock.now
        self._ended_before = {run_id for run_id, run in monitor.runs.followed.items() if run.final is not None}
        self._watcher = monitor.audience.join(wanted, asked_s, now)
        self._last: dict[str, ExitCode] = {}  # by the id of each run whose last figures it has received
        self._done: dict[str, int] = {}
        self._seen = WatchedRuns()
        self._waits_until: float | None = now
        self._rung = False
        self.wake()

    def wake(self) -> None:
        """Start a turn now, or after the present one if there is one."""
        if self._waits_until is None:
            self._rung = True
        else:
            self._waits_until = None
            self._next(self._watcher.turn(self._clock.now))

    def _due(self, at: float) -> None:
        if self._waits_until == at:
            self.wake()

    def _next(self, runs: list[FollowedRun]) -> None:
        if not runs:
            self._rest()
            return
        snapshot = runs[0].shared(self._clock.now)
        figures = snapshot.figures
        check(self._seen.see(snapshot), "a watcher gets figures of a run after its end")
        before = self._watcher.took(figures)
        same = before is None or before.done == self._done[figures.run_id]  # None: the run was dropped in between
        check(
            same and (before is not None or not self._done.get(figures.run_id)),
            "the watcher's previous figures are wrong",
        )
        self._done[figures.run_id] = figures.done
        if figures.final:
            check(figures.run_id not in self._last, "a watcher gets the last figures of a run twice")
            assert snapshot.summary is not None
            self._last[figures.run_id] = snapshot.summary.exit_code
        self._clock.after(self._clock.random.choice([0.0, 0.01, 0.3]), self._monitor, partial(self._next, runs[1:]))

    def _rest(self) -> None:
        at = self._watcher.rest(self._clock.now)
        if self._watcher.finished:
            self._finish()
        elif self._rung:
            self._rung, self._waits_until = False, at
            self.wake()
        else:
            self._waits_until = at
            self._clock.after(at - self._clock.now, self._monitor, partial(self._due, at))

    def _finish(self) -> None:
        self._monitor.audience.leave(self._watcher)
        self._monitor.spectators.remove(self)
        self._clock.strike("watcher finished")
        ended = {run_id for run_id, run in self._monitor.runs.followed.items() if run.final is not None}
        wanted = ended - self._ended_before if self._wanted == ALL else ended & {self._wanted}
        check(wanted <= self._last.keys(), "a watcher ends without the last figures of %s", wanted)
        if self._wanted == ALL:  # it stays as long as the monitor
            self._seen.monitor_left()
            code = worst(self._last.values()) if self._last else ExitCode.INCOMPLETE
            check(self._seen.exit_code == code, "a watcher exits with %s, its runs with %s", self._seen.exit_code, code)
        self._monitor.let_go()
