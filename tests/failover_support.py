"""Helpers for the tests of takeovers: a run with standbys on an engine, whose nodes are killed, paused and stopped.

The moments of faults are counted in messages, not in seconds, and each wait is for what a node says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Final

from engine_support import Cluster
from nodes_support import free_address
from processes_support import Figures, Node, Nodes, assert_exact, assert_quiet, eventually

OWNS: Final = re.compile(r"(Taking|taking over) ")
LEFT: Final = re.compile(r"[Ss]tanding by|Left the run|is over")
KINDS: Final = ("producer", "monitor")
LANES: Final = 50  # of each of two senders, at 50 ms: 2,000 messages a second in all


@dataclass
class Machine:
    """A node of a run at an address of its own, and the processes that it has had."""

    kind: str
    address: str
    lives: list[Node] = field(default_factory=list)
    is_paused: bool = False

    @property
    def node(self) -> Node:
        """Its current process."""
        return self.lives[-1]

    @property
    def owns(self) -> bool:
        """Whether it has taken the run and has not stood by or left since, by its log."""
        lines = list(self.node.err)
        taken = max((at for at, line in enumerate(lines) if OWNS.search(line)), default=-1)
        left = max((at for at, line in enumerate(lines) if LEFT.search(line)), default=-1)
        return taken > left


class Fleet:
    """A run with several producers and monitors, of which one each owns it, and two senders."""

    def __init__(self, nodes: Nodes, cluster: Cluster, name: str, count: int, each: int = 2, *more: str) -> None:
        """`name`: of the run. `more`: further flags of producers."""
        self.count = count
        self.name = name
        self._nodes = nodes
        self.of_both = [f"--engine={cluster.urls}", f"--run={name}"]
        self.of_monitors = ["--interval=0.2", "--json"]
        self._of = {"producer": [f"--count={count}", "--seed=7", *more], "monitor": self.of_monitors}
        self.all = {kind: [Machine(kind, free_address()) for _ in range(each)] for kind in KINDS}
        self.senders: list[Node] = []
        self._names = 0

    def addresses(self, kind: str) -> str:
        """Return the addresses of all nodes of a kind."""
        return ",".join(machine.address for machine in self.all[kind])

    def start(self) -> None:
        """Start all nodes; return once one of each kind owns the run, the others stand by, and messages are sent."""
        for kind in KINDS:
            for machine in self.all[kind]:
                self.launch(machine)
        for kind in KINDS:
            eventually(lambda: self._has_places(kind), f"one {kind} owns the run and the others stand by")  # noqa: B023
        for _ in range(2):
            self.add_sender()
        self.until(1)

    def _has_places(self, kind: str) -> bool:
        """Whether one node of this kind owns the run and all others have said that they stand by."""
        others = self.standbys(kind)
        has_owner = len(others) == len(self.all[kind]) - 1
        return has_owner and all(any("Standing by: " in line for line in other.node.err) for other in others)

    def launch(self, machine: Machine) -> Node:
        """Start a node, as the same command on the same machine."""
        there = [f"--monitor={self.addresses('monitor')}"] if machine.kind == "producer" else []
        words = [f"--listen={machine.address}", *there, *self.of_both, *self._of[machine.kind]]
        machine.lives.append(self._nodes.start(machine.kind, *words))
        machine.is_paused = False
        return machine.node

    def add_sender(self) -> None:
        """Start a sender that knows all producers."""
        self._names += 1
        words = [f"--producer={self.addresses('producer')}", f"--concurrency={LANES}", "--mean=0.05"]
        self.senders.append(self._nodes.start("sender", f"--name=sender-{self._names}", *words))

    def replace_sender(self, number: int) -> None:
        """Kill a sender and start another one."""
        sender = self.senders.pop(number)
        sender.signal(SIGKILL)
        sender.wait()
        self.add_sender()

    def owner(self, kind: str) -> Machine:
        """Wait until one node of this kind owns the run, by their logs, and return it."""
        running = [machine for machine in self.all[kind] if not machine.is_paused]
        eventually(lambda: sum(machine.owns for machine in running) == 1, f"one {kind} owns the run")
        return next(machine for machine in running if machine.owns)

    def has_owner(self, kind: str) -> None:
        """Wait until one node of this kind owns the run, or until the run is over."""
        running = [machine for machine in self.all[kind] if not machine.is_paused]

        def is_over() -> bool:
            return any(re.search("is over|Run ended", line) for machine in running for line in machine.node.err)

        eventually(lambda: sum(machine.owns for machine in running) == 1 or is_over(), f"one {kind} owns the run")

    def standbys(self, kind: str) -> list[Machine]:
        """Return the nodes of this kind that do not own the run."""
        return [machine for machine in self.all[kind] if not machine.owns]

    def until(self, done: int) -> None:
        """Wait until `done` messages are counted by any monitor."""
        eventually(lambda: max((f["sent"] + f["failed"] for f in self.latest()), default=0) >= done, f"{done} messages")

    def latest(self) -> Iterator[Figures]:
        """Yield the last figures that each process of a monitor has written."""
        for machine in self.all["monitor"]:
            yield from (node.figures()[-1] for node in machine.lives if node.out)

    def kill(self, machine: Machine) -> None:
        """Kill a node without a warning."""
        machine.node.signal(SIGKILL)
        machine.node.wait()

    def pause(self, machine: Machine) -> None:
        """Stop a node until `go_on`."""
        machine.node.signal(SIGSTOP)
        machine.is_paused = True

    def go_on(self, machine: Machine) -> None:
        """End the pause of a node."""
        machine.node.signal(SIGCONT)
        machine.is_paused = False

    def ends_exactly(self, *dead: Machine) -> Figures:
        """Check that all nodes but the dead ones exit with 0 and that each message is counted once.

        A sender that was started too late to reach a producer is an exception: it waits for another run.
        """
        living = [machine.node for kind in KINDS for machine in self.all[kind] if machine not in dead]
        for node in living:
            assert node.code() == 0, node.story()
        for sender in self.senders:
            if any("Connected to producer" in line for line in sender.err):
                assert sender.code() == 0, sender.story()
        assert_quiet(*self.senders, *living)
        finals = _with_final(living)
        if not finals:  # the monitor that wrote them was killed when the run was over
            finals = _with_final(node for machine in self.all["monitor"] for node in machine.lives[:-1])
        assert len(finals) == 1, [node.story() for node in living]
        return assert_exact(finals[0], self.count)


def _with_final(nodes: Iterable[Node]) -> list[Node]:
    """Return those of these nodes that have written the final figures."""
    return [node for node in nodes if any('"final": true' in line for line in node.out)]
