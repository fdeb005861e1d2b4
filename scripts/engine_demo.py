"""Loses a machine in the middle of a run and shows that the run ends complete: `scripts/engine.sh`.

Starts three NATS servers, two monitors and two producers that keep their state on these servers, and three equal
senders, all on this machine. At full speed, it kills the monitor and the producer that own the run together with the
NATS server that leads the monitor's log, and deletes the disk of that server. Prints what happens, then the summary of
the monitor that took over. Exits with 0 only if the run is complete, each message is counted once, and the counts are
those that the seed dictates; otherwise with 1. Ends every process that it has started, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from nats_cluster import Cluster, ClusterError, Server
from rich.console import Console

from smssim.core.fate import Fates
from smssim.core.model import Outcome
from smssim.launch.child import Child, Line, read_lines
from smssim.launch.node import NodeSettings, command
from smssim.process.signals import ENDING
from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings

RUN: Final = "demo"
SEED: Final = 7
SENDER: Final = SenderSettings(mean_s=0.05, fail=0.005, concurrency=20, give_up_s=30.0)
SENDERS: Final = 3
KILL_AT_SHARE: Final = 0.4
COUNT_MIN: Final = 2_000  # fewer are done before the machine is killed
WITHIN_S: Final = 60.0  # for each step; far more than any takes
POLL_S: Final = 0.05
LOUD: Final = "bold red"

# The beginnings of the log lines to show.
TAKES: Final = ("Taking run", "Taking over", "No sign of")
NEWS: Final = (*TAKES, "Standing by", "Resumed", "Run ended", "Run complete")


class FailedError(Exception):
    """The run did not go as it must; one line says why."""


@dataclass
class Node:
    """A node, and what it has written."""

    name: str  # such as "monitor A"
    child: Child
    log: list[str] = field(default_factory=list)  # the messages
    output: list[str] = field(default_factory=list)
    owns_since: float | None = None  # when it logged that it takes the run, on the monotonic clock
    is_lost: bool = False  # whether it was killed on purpose

    @property
    def address(self) -> str | None:
        """Its address, once it listens."""
        record = self.child.record("ready")
        return None if record is None else str(record.facts["address"])

    @property
    def stands_by(self) -> bool:
        """Whether it has logged that it stands by."""
        return any(message.startswith("Standing by") for message in self.log)

    def story(self) -> str:
        """Return the end of its log, for errors."""
        return "\n".join([f"-- {self.name}:", *self.log[-5:]])


class Stage:
    """All nodes of the demonstration, and the account of what happens.

    A signal only asks it to end, so that it never interrupts the start of a process, which would then be lost.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._stopped_by = 0  # the number of the signal
        self._handlers: dict[signal.Signals, Any] = {}  # those of the caller
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._began_at = time.monotonic()

    def __enter__(self) -> Self:
        for number in ENDING:
            self._handlers[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.child.kill()
            node.child.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def tell(self, text: str, who: str = "", style: str = "") -> None:
        """Print a line of the account."""
        self._console.print(f"{time.monotonic() - self._began_at:6.1f} s  {who:<11} {text}", style=style)

    def start(self, kind: str, name: str, settings: NodeSettings) -> Node:
        """Start a node, and wait until it listens if it is one that does."""
        node = Node(f"{kind} {name}", Child(f"{kind} {name}", command(kind, replace(settings, log_format="json"))))
        self.nodes.append(node)
        self.until(lambda: node.address or kind == "sender", f"{node.name} listens")
        return node

    def owned(self, node: Node) -> None:
        """Wait until a node owns the run."""
        self.until(lambda: node.owns_since, f"{node.name} owns the run")

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Follow the nodes until a condition holds. Raises FailedError if that takes too long, or if a node fails.

        Raises SystemExit if a signal has asked this process to end.
        """
        deadline = time.monotonic() + WITHIN_S
        while True:
            self._check_stopped()
            if holds():
                return
            if time.monotonic() > deadline:
                stories = "\n".join(node.story() for node in self.nodes)
                raise FailedError(f"timed out: {what}\n{stories}")
            for child, line in read_lines([node.child for node in self.nodes], POLL_S):
                self._read(next(node for node in self.nodes if node.child is child), line)
            for node in self.nodes:
                if node.child.reap() and node.child.code and not node.is_lost:
                    raise FailedError(f"{node.child.ending()}\n{node.story()}")

    def sleep(self, seconds: float) -> None:
        """Wait for a short time. Raises SystemExit if a signal has asked this process to end."""
        self._check_stopped()
        time.sleep(seconds)

    def _stop(self, number: int, _: object) -> None:
        self._stopped_by = number

    def _check_stopped(self) -> None:
        if self._stopped_by:
            raise SystemExit(128 + self._stopped_by)

    def _read(self, node: Node, line: Line) -> None:
        if not line.is_log:
            node.output.append(line.text)
            return
        try:
            message = str(json.loads(line.text)["message"])
        except (ValueError, LookupError, TypeError):
            message = line.text
        node.log.append(message)
        if message.startswith(TAKES):
            node.owns_since = time.monotonic()
        if message.startswith(NEWS):
            self.tell(self._with_names(message), node.name)

    def _with_names(self, message: str) -> str:
        """Return a log line with the names of nodes instead of their addresses, and without the id of the run."""
        message = re.sub(r" [0-9a-f]{8}-[0-9a-f-]{27}", "", message)
        for node in self.nodes:
            message = message.replace(node.address or node.name, node.name)
        return message


@dataclass(frozen=True)
class Machine:
    """A monitor and a producer that run side by side."""

    name: str
    monitor: Node
    producer: Node


def rehearse(count: int) -> None:
    """Play the whole demonstration. Raises FailedError."""
    with tempfile.TemporaryDirectory(prefix="smssim-engine-") as folder, Stage() as stage:
        stage.tell("Starting three NATS servers, which sync each write to disk")
        with Cluster(Path(folder), sleep=stage.sleep) as cluster:
            stage.tell("The servers have elected a leader")
            lost, other, senders, summary = start_run(stage, cluster.urls, count, Path(folder))
            stage.until(lambda: done(lost.monitor) >= KILL_AT_SHARE * count, "the run is under way")
            check_owners(lost, other)
            server = cluster.leader_of(f"SMSSIM_{RUN}_MONITOR")
            lost_at = lose(stage, lost, server, count)
            rest = [other.monitor, other.producer, *senders]
            stage.until(lambda: all(node.child.has_ended for node in rest), "the run ends")
            stage.tell("The other monitor, the other producer and all senders have ended with exit code 0")
            print("", *summary_of(other.monitor), sep="\n")
            tell_result(lost, other, server, lost_at)
            check(json.loads(summary.read_text(encoding="utf-8")), count)


def start_run(stage: Stage, urls: str, count: int, folder: Path) -> tuple[Machine, Machine, list[Node], Path]:
    """Start all nodes, and return the machine that owns the run, the other one, the senders and B's summary file."""
    summary = folder / "summary.json"
    common: dict[str, Any] = {"engine": urls, "run_name": RUN, "listen": FREE_ADDRESS}
    monitors, producers = [], []
    for name, more in (("A", {"json": True, "interval_s": 0.2}), ("B", {"summary_json": str(summary)})):
        monitors.append(stage.start("monitor", name, MonitorSettings(**common, **more)))
        if name == "A":
            stage.owned(monitors[0])
    addresses = ",".join(str(monitor.address) for monitor in monitors)
    for name in ("A", "B"):
        settings = ProducerSettings(**common, monitor=addresses, count=count, seed=SEED)
        producers.append(stage.start("producer", name, settings))
        if name == "A":
            stage.owned(producers[0])
    standing_by = (monitors[1], producers[1])
    stage.until(lambda: all(node.stands_by for node in standing_by), "a monitor and a producer stand by")
    sender = replace(SENDER, producer=",".join(str(producer.address) for producer in producers))
    stage.tell(f"Starting {SENDERS} senders of {SENDER.concurrency} lanes each, for {count:,} messages")
    senders = [stage.start("sender", str(n), replace(sender, name=f"sender-{n}")) for n in range(1, SENDERS + 1)]
    lost, other = (Machine(*each) for each in zip("AB", monitors, producers, strict=True))
    return lost, other, senders, summary


def done(monitor: Node) -> int:
    """Return how many messages have a final outcome, by the last figures that a monitor has written."""
    if not monitor.output:
        return 0
    figures = json.loads(monitor.output[-1])
    return int(figures["sent"] + figures["failed"])


def check_owners(owning: Machine, standing_by: Machine) -> None:
    """Raise FailedError if a standby has taken over already."""
    if standing_by.monitor.owns_since or standing_by.producer.owns_since:
        raise FailedError(f"{owning.name} was silent for too long before it was killed: this machine is too busy")


def lose(stage: Stage, machine: Machine, server: Server, count: int) -> float:
    """Kill a machine with its disk, and return when."""
    nodes = (machine.monitor, machine.producer)
    lost_at = time.monotonic()
    for node in nodes:
        node.is_lost = True
        node.child.signal(signal.SIGKILL)
    server.wipe()
    share, names = done(machine.monitor) / count, " and ".join(node.name for node in nodes)
    stage.tell(f"Killed machine A when {share:.0%} of the messages were done: {names},", style=LOUD)
    stage.tell(f"and NATS server {server.name}, which led the monitor's log. Its disk is deleted", style=LOUD)
    return lost_at


def summary_of(monitor: Node) -> Iterator[str]:
    """Yield the lines of a monitor's summary, without the table before it."""
    lines = deque(monitor.output)
    while lines and not lines[0].startswith("run "):
        lines.popleft()
    yield from lines


def tell_result(lost: Machine, other: Machine, server: Server, lost_at: float) -> None:
    """Print who took over, and when."""
    print("\n  lost          ", f"{lost.monitor.name}, {lost.producer.name}, NATS server {server.name} and its disk")
    for node in (other.monitor, other.producer):
        if node.owns_since is None:
            raise FailedError(f"{node.name} did not take over")
        print(f"  taken over     by {node.name} after {node.owns_since - lost_at:.1f} s")


def check(summary: dict[str, Any], count: int) -> None:
    """Print whether the run is complete and exact. Raises FailedError if it is not."""
    ids = np.arange(count, dtype=np.uint64)
    _, outcomes = Fates(SEED, 1, SENDER.attempt_model).draw(ids, 1)
    sent = int((outcomes == Outcome.SENT).sum())
    got, expected = (summary["sent"], summary["failed"]), (sent, count - sent)
    if not summary["complete"] or got != expected:
        raise FailedError(f"sent and failed: got {got}; expected {expected}, which seed {SEED} dictates")
    print(f"  exact          {sent:,} sent + {count - sent:,} failed = {count:,}, as seed {SEED} dictates")


def main() -> int:
    """Read the command line, play, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/engine.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=15_000, metavar="N", help="number of messages (15000)")
    count = parser.parse_args().count
    if count < COUNT_MIN:
        parser.error(f"--count: got {count}; expected at least {COUNT_MIN}")
    try:
        rehearse(count)
    except (FailedError, ClusterError) as error:
        print(f"\nFailed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
