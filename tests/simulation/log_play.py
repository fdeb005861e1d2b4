"""One replicated log by itself, from one seed: nodes take it from each other again and again, on an engine that lies.

Without the rest of the system, far more can happen in the same time. What must hold: who takes the log finds exactly
what is on record; what was acknowledged is on record; and in the end a node finds it there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from simulation.books import check
from simulation.clock import Clock, Process
from simulation.driving import Driven, sleep
from simulation.engine import EngineLog, SimStore, Temper
from simulation.records import Commit, Records, Writing
from smssim.core.limits import LIMITS, Limits
from smssim.core.log_store import UnclearError
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.core.replicated_log import ReplicatedLog
from smssim.errors import DamagedLogError

FAULTY_S = 40.0
FAULT_EVERY_S = 0.2
CALM_S = 60.0
PIECES_MAX = 12


@dataclass(frozen=True)
class LogPlan:
    """What a seed determines."""

    seed: int
    nodes: int
    temper: Temper
    limits: Limits
    cut_off: float  # chance per `FAULT_EVERY_S`, as the others
    killed: float
    paused: float
    lost: float


def draw_log_plan(seed: int, *, loses: bool = False) -> LogPlan:
    """Return the plan of a seed."""
    random = Random(f"log {seed}")
    slow, lost, unanswered, late = (random.choice([0.0, 0.05, 0.2]) for _ in range(4))
    stale = random.choice([0.0, 0.1, 0.3])
    return LogPlan(
        seed=seed,
        nodes=random.randint(2, 3),
        temper=Temper(0.02, slow, lost, unanswered, late, stale, loses=loses),
        limits=replace(
            LIMITS,
            record_bytes_max=random.choice([60, 150, 4000]),
            log_records_max=random.choice([6, 20, 1000]),
            log_bytes_max=random.choice([500, 1 << 20]),
        ),
        cut_off=random.choice([0.0, 0.03, 0.1]),
        killed=random.choice([0.0, 0.03, 0.1]),
        paused=random.choice([0.0, 0.03]),
        lost=0.05 if loses else 0.0,
    )


class Node(Process):
    """A node that takes the log, appends to it, and begins anew when it is fenced off."""

    def __init__(self, play: LogPlay, number: int) -> None:
        super().__init__()
        self.name = f"node {number}"
        self._play, self._clock = play, play.clock
        self.writing = Writing()
        self.is_over = False
        Driven(self._live())

    async def _live(self) -> None:
        play, random = self._play, self._clock.random
        while not self.is_over:
            writing = self.writing = Writing()
            store = SimStore(play.engine, self, self._clock, writing)
            log = ReplicatedLog(store, "log", self.name, play.new_id, lambda: self._clock.now, play.plan.limits)
            await sleep(self._clock, self, random.uniform(0.1, 6.0))
            if play.is_calm:
                return
            if (taken := await self._take(log)) is not None:
                play.note_taken(self, writing, taken)
                await self._own(log, random.randint(1, 30))

    async def _take(self, log: ReplicatedLog) -> Taken | None:
        while True:
            try:
                await log.tail()
                return await log.take()
            except UnclearError:
                await sleep(self._clock, self, 0.2)
            except DamagedLogError as error:
                check(self._play.plan.temper.loses, "%s", error)
                return None

    async def _own(self, log: ReplicatedLog, commits: int) -> None:
        """Append some commits, and then hand over or fall silent."""
        play = self._play
        for _ in range(commits):
            changes = play.changes()
            commit = self.writing.commit = play.begin(self.writing.commit, changes)
            if await self._known(partial(log.append, changes)) is Appended.FENCED:
                play.clock.strike("fenced off", self.name)
                return
            play.note_acknowledged(commit)
            if await self._known(log.trim) is Appended.FENCED:
                return
            await sleep(self._clock, self, self._clock.random.uniform(0.0, 0.5))
        if self._clock.luck(0.5):
            await self._known(log.leave)

    async def _known(self, act: Callable[[], Awaitable[Appended]]) -> Appended:
        while (result := await act()) is Appended.UNKNOWN:
            await sleep(self._clock, self, self._clock.random.uniform(0.05, 0.5))
        return result


class LogPlay:
    """The log, its nodes, and the faults."""

    def __init__(self, plan: LogPlan) -> None:
        self.plan = plan
        self.clock = Clock(plan.seed)
        self.records = Records(keeps_all=True)
        self.engine = EngineLog(self.clock, "log", plan.temper, self.records)
        self.is_calm = False
        self._numbers = 0
        self._recorded: set[str] = set()  # numbers of commits
        self._names: list[str] = []  # of pieces that are not deleted
        self._nodes = [Node(self, number) for number in range(plan.nodes)]

    def new_id(self) -> str:
        """Return another id."""
        self._numbers += 1
        return f"id {self._numbers}"

    def changes(self) -> Changes:
        """Return new pieces, a piece that is written again and again, and old ones that are deleted."""
        random = self.clock.random
        names = [self.new_id() for _ in range(random.randint(1, 3))]
        new: Changes = {name: random.randbytes(random.randint(0, 200)) for name in names}
        self._names += names
        old, self._names = self._names[:-PIECES_MAX], self._names[-PIECES_MAX:]
        return new | dict.fromkeys(old) | {"last": names[0].encode() if random.random() < 0.8 else None}

    def note_taken(self, node: Node, writing: Writing, taken: Taken) -> None:
        """Check that a node finds what is on record."""
        _, base = self.engine.base(writing, taken.pieces)
        writing.commit = base
        check(taken.pieces == ({} if base is None else base.pieces), "%s takes what is not on record", node.name)

    def begin(self, before: Commit | None, changes: Changes) -> Commit:
        """Return the commit that an owner begins."""
        number = self.new_id()
        return self.records.begin(before, changes, number, partial(self._recorded.add, number))

    def note_acknowledged(self, commit: Commit) -> None:
        """Check that a commit that is acknowledged is on record."""
        if not self.plan.temper.loses:
            check(commit.contents in self._recorded, "a commit is acknowledged that is not on record")

    def play(self) -> dict[str, int]:
        """Play to the end; return how often what happened. Raises AssertionError."""
        self.clock.after(FAULT_EVERY_S, None, self._strike)
        while self.clock.now < 1000.0 + FAULTY_S + CALM_S and self.clock.step():
            pass
        self._check_end()
        return dict(self.clock.struck)

    def _strike(self) -> None:
        clock, plan = self.clock, self.plan
        if clock.now > 1000.0 + FAULTY_S:
            self.is_calm = True
            self.engine.temper = Temper(loses=plan.temper.loses)
            return
        clock.after(FAULT_EVERY_S, None, self._strike)
        node = clock.random.choice(self._nodes)
        if clock.luck(plan.cut_off):
            node.cut_until = clock.now + clock.random.uniform(0.5, 6.0)
        if clock.luck(plan.paused) and not node.paused:
            clock.pause(node, clock.random.uniform(0.5, 10.0))
        if clock.luck(plan.lost):
            self.engine.lose(clock.random.choice((1, 1, 3)))
        if clock.luck(plan.killed):
            node.writing.crash = partial(self._kill, node)
            node.writing.crash_in = clock.random.choice(("changes", "state"))
            if clock.luck(0.5):
                self._kill(node)

    def _kill(self, node: Node) -> None:
        if node.alive and not self.is_calm:
            node.finish()
            self.clock.strike("node killed", node.name)
            self._nodes[self._nodes.index(node)] = Node(self, len(self._nodes) + self._numbers)

    def _check_end(self) -> None:
        """Check that a new node finds what is on record, if nothing has vanished."""
        found: list[Taken | None] = []
        writing, process = Writing(), Process()
        store = SimStore(self.engine, process, self.clock, writing)
        log = ReplicatedLog(store, "log", "last node", self.new_id, lambda: self.clock.now, self.plan.limits)

        async def take() -> None:
            try:
                while (taken := await log.take()) is None:
                    pass
            except (DamagedLogError, UnclearError):
                found.append(None)
            else:
                found.append(taken)

        Driven(take())
        while not found and self.clock.step():
            pass
        if not self.plan.temper.loses:
            check(bool(found) and found[0] is not None, "the log can't be read in the end")
            assert found[0] is not None
            check(found[0].pieces == self.records.pieces, "what is found in the end is not what is on record")


def play_log(seed: int, *, loses: bool = False) -> dict[str, int]:
    """Play one seed; return how often what happened. Raises AssertionError with the seed and the last events."""
    play = LogPlay(draw_log_plan(seed, loses=loses))
    try:
        return play.play()
    except Exception as error:
        text = f"log {seed}: {type(error).__name__}: {error}"
        raise AssertionError(f"{text}\n{play.plan}\n{play.clock.story()}") from error
