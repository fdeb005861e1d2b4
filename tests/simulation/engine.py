"""A simulated engine: logs with conditional appends, which lie about what they have done.

`EngineLog` is the truth: what is appended, by whom and when. It checks that only one owner appends at a time.
`SimStore` is how one process sees it: answers are late or lost, appends happen anyway, never or much later, reads are
out of date. Knows of a record only its header, which it reads by itself.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from simulation.books import check
from simulation.clock import Clock, Process
from simulation.driving import Pending
from simulation.records import Commit, Records, Writing
from smssim.core.log_store import Entry, UnclearError
from smssim.core.pieces import Pieces

TIMEOUT_S = 2.0
LATE_MAX_S = 8.0  # how long after that an append may still happen
KEPT = 4  # entries that never vanish
HEAD = 4  # bytes before the header of a record


@dataclass(frozen=True)
class Temper:
    """How often an engine lies."""

    delay_s: float = 0.005  # one way, times a random factor from 0.5 to 1.5
    slow: float = 0.0  # chance of a delay that is longer by up to `TIMEOUT_S`
    lost: float = 0.0  # chance that a request is lost
    unanswered: float = 0.0  # chance that a request is carried out but not answered
    late: float = 0.0  # chance that a request is carried out after its caller has stopped waiting
    stale: float = 0.0  # chance that a read is out of date ...
    stale_s: float = 3.0  # ... by up to this
    loses: bool = False  # whether the last entries may vanish, although they were acknowledged


@dataclass(eq=False)
class Stored:
    """An entry that is or was in a log."""

    entry: Entry
    at: float  # when it was appended
    gone_at: float = math.inf  # when it was deleted, or vanished


@dataclass(frozen=True)
class Head:
    """What the engine reads of a record."""

    kind: str
    writer: str
    epoch: int
    parts_left: int


def head_of(data: bytes) -> Head:
    """Return the header of a record."""
    facts = json.loads(data[HEAD:].partition(b"\n")[0])
    return Head(facts["kind"], facts["writer"], facts["epoch"], facts["parts_left"])


class EngineLog:
    """One log as it really is."""

    def __init__(self, clock: Clock, kind: str, temper: Temper, records: Records) -> None:
        self.temper = temper
        self.records = records
        self.away_until = -math.inf  # nothing is answered before that, for want of a majority
        self.bases: dict[Writing, tuple[int, Commit | None]] = {}  # by taker: its epoch, and what was on record before
        self.ever_ended = False
        self.ended = False  # whether the last record says that the run is over
        self._clock, self._kind = clock, kind
        self._all: list[Stored] = []
        self._live: list[Stored] = []
        self._last: Head | None = None  # of the last record
        self._writers: set[str] = set()  # all that ever took the log

    @property
    def is_away(self) -> bool:
        """Whether it answers nobody."""
        return self._clock.now < self.away_until

    def append(self, data: bytes, after: int, writing: Writing, commit: Commit | None) -> int | None:
        """Append an entry if the condition holds; return its sequence."""
        last = self._live[-1].entry.sequence if self._live else 0
        if after != last:
            return None
        head = head_of(data)
        self._check_owner(head)
        if head.kind == "take" and self._last is not None and self._last.parts_left:
            self._clock.strike("commit incomplete", self._kind)
        sequence = last + self._clock.random.choice((1, 1, 1, 1, 2))
        stored = Stored(Entry(sequence, data), self._clock.now)
        self._all.append(stored)
        self._live.append(stored)
        self._last, self.ended = head, head.kind == "ended"
        self.ever_ended |= self.ended
        if head.kind == "take":
            self._writers.add(head.writer)
            self.bases[writing] = head.epoch, self.records.last
            self._clock.strike("log taken", self._kind)
        elif head.kind == "changes" and not head.parts_left and commit is not None:
            self.records.put(commit)
        elif head.kind == "state" and not head.parts_left:
            self._clock.strike("checkpoint", self._kind)
        if head.parts_left:
            self._clock.strike("commit in parts", self._kind)
            if writing.crash is not None and writing.crash_in == head.kind:
                crash, writing.crash = writing.crash, None
                crash()
        return sequence

    def _check_owner(self, head: Head) -> None:
        """Check that a record is written by the owner, or takes the log."""
        if self.temper.loses:
            return
        if head.kind == "take":
            epoch = 0 if self._last is None else self._last.epoch
            check(head.writer not in self._writers, "%s takes the log a second time", head.writer)
            check(head.epoch == epoch + 1, "epoch %s follows epoch %s", head.epoch, epoch)
        else:
            owner = None if self._last is None else self._last.writer
            check(head.writer == owner, "%s appends to the log that %s owns", head.writer, owner)

    def base(self, taker: Writing, found: Pieces) -> tuple[int, Commit | None]:
        """Return the epoch of an owner, and what was on record when it took the log.

        If entries may vanish, this is what it found.
        """
        check(taker in self.bases, "a node owns the log without having taken it")
        epoch, commit = self.bases[taker]
        if not self.temper.loses:
            return epoch, commit
        matching = [commit for commit in self.records.begun if commit.pieces == found]
        check(bool(matching or not found), "what is taken was never committed")
        return epoch, matching[-1] if matching else None

    def view(self, at: float) -> list[Stored]:
        """Return the entries as they were at some time."""
        if at >= self._clock.now:
            return self._live
        return [stored for stored in self._all if stored.at <= at < stored.gone_at]

    def purge(self, before: int) -> None:
        """Delete the entries below this sequence, but not the last one."""
        gone = [stored for stored in self._live[:-1] if stored.entry.sequence < before]
        for stored in gone:
            stored.gone_at = self._clock.now
        del self._live[: len(gone)]
        if gone:
            self._clock.strike("log purged", self._kind)

    def lose(self, count: int) -> None:
        """Let the last entries vanish, but not the beginning of the log, without which another run would begin."""
        count = min(count, len(self._live) - KEPT)
        if count <= 0:
            return
        self._clock.strike("entries vanished", self._kind)
        for stored in self._live[-count:]:
            stored.gone_at = self._clock.now
        del self._live[-count:]
        self._last = head_of(self._live[-1].entry.data) if self._live else None


class SimStore:
    """A `LogStore`: one process's connection to a log."""

    def __init__(self, log: EngineLog, process: Process, clock: Clock, writing: Writing) -> None:
        self._log, self._process, self._clock, self._writing = log, process, clock, writing

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing gets through."""
        return self._log.is_away or self._clock.now < self._process.host.cut_until

    async def write(self, data: bytes, after: int) -> int | None:
        """Append an entry. See `LogStore`."""
        commit = self._writing.commit
        act = partial(self._log.append, data, after, self._writing, commit)
        sequence: int | None = await self._call(act, changes=True)
        return sequence

    async def read(self, after: int) -> Entry | None:
        """Return the first entry after this sequence. See `LogStore`."""
        entry: Entry | None = await self._call(partial(self._read, after))
        return entry

    async def last(self) -> Entry | None:
        """Return the last entry. See `LogStore`."""
        entry: Entry | None = await self._call(self._read_last)
        return entry

    async def purge(self, before: int) -> None:
        """Delete entries. See `LogStore`."""
        await self._call(partial(self._log.purge, before), changes=True)

    def _view(self) -> list[Stored]:
        clock, temper = self._clock, self._log.temper
        if not clock.luck(temper.stale):
            return self._log.view(clock.now)
        clock.strike("read out of date", self._process.name)
        return self._log.view(clock.now - clock.random.uniform(0.0, temper.stale_s))

    def _read(self, after: int) -> Entry | None:
        view = self._view()
        at = bisect_right(view, after, key=lambda stored: stored.entry.sequence)
        return view[at].entry if at < len(view) else None

    def _read_last(self) -> Entry | None:
        view = self._view()
        return view[-1].entry if view else None

    async def _call(self, act: Callable[[], Any], *, changes: bool = False) -> Any:
        """Send a request and wait for its answer; raises UnclearError."""
        clock, temper = self._clock, self._log.temper
        pending = Pending[Any]()
        clock.after(TIMEOUT_S, self._process, partial(pending.fail, UnclearError("no answer in time")))
        if self.is_cut_off:
            self._goes_nowhere(pending, act, changes)
        elif clock.luck(temper.lost):
            clock.strike("append lost" if changes else "read lost", self._process.name)
        elif changes and clock.luck(temper.late):
            self._later(act)
        else:
            clock.after(self._delay(), None, partial(self._arrive, pending, act, changes))
        return await pending

    def _goes_nowhere(self, pending: Pending[Any], act: Callable[[], Any], changes: bool) -> None:
        """Refuse at once, or let the request wait in vain, or until it is too late."""
        dice = self._clock.random.random()
        if dice < 0.4:
            error = UnclearError("the engine has no majority")
            self._clock.after(self._delay(), self._process, partial(pending.fail, error))
        elif dice < 0.6 and changes:
            self._later(act)

    def _later(self, act: Callable[[], Any]) -> None:
        late_s = TIMEOUT_S + self._clock.random.uniform(0.0, LATE_MAX_S)
        self._clock.after(late_s, None, partial(self._act_late, act))

    def _act_late(self, act: Callable[[], Any]) -> None:
        if not self._log.is_away and act() is not None:
            self._clock.strike("append late", self._process.name)

    def _arrive(self, pending: Pending[Any], act: Callable[[], Any], changes: bool) -> None:
        if self.is_cut_off:
            return
        answer = act()
        if self._clock.luck(self._log.temper.unanswered):
            self._clock.strike("append unanswered" if changes and answer else "engine silent", self._process.name)
            return
        self._clock.after(self._delay(), self._process, partial(pending.end, answer))

    def _delay(self) -> float:
        temper = self._log.temper
        delay_s = temper.delay_s * self._clock.random.uniform(0.5, 1.5)
        if self._clock.luck(temper.slow):
            self._clock.strike("engine slow", self._process.name)
            delay_s += self._clock.random.uniform(0.0, 1.2 * TIMEOUT_S)
        return delay_s
