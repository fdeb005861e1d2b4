"""The monitor: around the core classes, what its shell does, in the same order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.books import MonitorBook
from simulation.clock import Process
from simulation.disk import Disk
from simulation.saver import Saver
from smssim.core.exchange import Report
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.pieces import Changes
from smssim.core.reporting import NOTHING
from smssim.core.tally import Ending, Tally
from smssim.errors import PeerError

if TYPE_CHECKING:
    from simulation.sender import Sender
    from simulation.world import World


GIVE_UP_S = 60.0
CHECK_S = 0.5


class Monitor(Process):
    """Follows one run."""

    name = "monitor"

    def __init__(self, world: World, disk: Disk | None) -> None:
        super().__init__()
        self.world, self.clock = world, world.clock
        self.ending: Ending | None = None
        self._looked_at = self.clock.now
        self.tally: Tally | None = None
        self._disk = disk
        self._saver = Saver(self, disk, world, self._changes)
        pieces = disk.pieces() if disk is not None else {}
        if pieces:
            assert disk is not None
            self.tally = Tally.restored(pieces, self.clock.now, world.limits)
            self.book.restart(world.written[self.name][disk.commits])
            self.clock.strike("monitor restored", self.name)
        self._watch()

    @property
    def book(self) -> MonitorBook:
        """Of the run that is followed."""
        assert self.tally is not None
        return self.world.monitor_books[self.tally.run.run_id]

    def _changes(self) -> Changes:
        assert self.tally is not None
        assert self._disk is not None
        self.world.written[self.name][self._disk.commits + 1] = len(self.book.log)
        return self.tally.changes(self.clock.now)

    def report(self, run: RunFacts, session_id: str, report: Report, answer: Callable[[Any], None]) -> None:
        """Records a report, and answers when that is on disk."""
        if self.tally is not None and self.tally.run.run_id != run.run_id:
            answer(PeerError("unknown run"))
            return
        if self.tally is None:
            self.world.monitor_books[run.run_id] = MonitorBook(run.total)
            self.tally = Tally(run, self.clock.now, limits=self.world.limits)
        try:
            said = self.tally.report(run, SenderFacts(session_id, session_id), report, self.clock.now)
        except PeerError as error:
            answer(error)
            return
        self.clock.note(self.name, "report %s of %s: %s", report.sequence, session_id, report.finished.ids)
        if not self.book.report(session_id, report, said):
            self.clock.strike("report known already", self.name)
        self._acknowledge(partial(answer, said))

    def take_forged(self, victim: Sender) -> None:
        """An empty report arrives in the name of a sender, and takes the number of that sender's next one."""
        session = None if self.tally is None else self.tally.sessions.get(victim.session_id)
        if session is not None and victim.run is not None:
            self.clock.strike("sender forged", victim.name)
            victim.forged = True
            self.report(victim.run, victim.session_id, Report(session.sequence + 1, NOTHING, 0, 0), lambda _: None)

    def _acknowledge(self, answer: Callable[[], None]) -> None:
        """Answers when all that was taken in is on disk. Without a disk it counts as being there."""
        self._saver.save(partial(self._saved, len(self.book.log), answer))

    def _saved(self, upto: int, answer: Callable[[], None]) -> None:
        self.book.committed(upto)
        answer()

    def _watch(self) -> None:
        late_s, self._looked_at = self.clock.now - self._looked_at - CHECK_S, self.clock.now
        if self.tally is not None:
            if late_s > 0:
                self.tally.forgive_pause(late_s, self.clock.now)
            self.ending = self.tally.ending(self.clock.now, GIVE_UP_S)
        if self.ending is None:
            self.clock.after(CHECK_S, self, self._watch)
        else:
            self.clock.note(self.name, "%s: %s", self.ending.exit_code, self.ending.reason)
