"""Helpers for the tests with real processes: start them, read their output as it comes, and end them all.

Each wait is for the output or the end of a process, and has a deadline far beyond the time that this takes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from smssim.launch.child import Child, Record, read_lines
from smssim.process.ready import Facts

DEADLINE_S: Final = 60.0
READ_S: Final = 0.2  # how often a reading thread checks whether it must end
MARK: Final = "REHEARSAL_MARK"  # a variable that all processes of a test inherit

Figures = dict[str, Any]


UNPLANNED: Final = {"SMSSIM_RUN_NO_PLAN": "true"}  # a plan takes a second of CPU time, which few tests need


class Node:
    """A `python -m smssim ...` process and its output so far, which a thread reads."""

    def __init__(
        self,
        words: tuple[object, ...],
        variables: dict[str, str],
        before: tuple[str, ...] = (),
        stdout: int = subprocess.PIPE,
    ) -> None:
        """`before` is a command that starts this one. `stdout` is that of `subprocess.Popen`."""
        command = [*before, sys.executable, "-m", "smssim", *map(str, words)]
        self.out: list[str] = []
        self.err: list[str] = []
        self._child = Child(" ".join(map(str, words)), command, variables=variables, stdout=stdout)
        self._news = threading.Condition()
        self._reading = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._child.signal(number)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition on the output and return what it yields; fail if the process ends first."""
        with self._news:
            timed_out = not self._news.wait_for(lambda: condition() or not self._reading, DEADLINE_S)
            result = condition()
        assert result, f"{self._child.name}: {'timed out' if timed_out else 'ended'} without {what}; {self.story()}"
        return result

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until a log line matches for the `times`-th time; return that match."""

        def last() -> re.Match[str] | None:
            found = [match for line in self.err if (match := re.search(pattern, line))]
            return found[times - 1] if len(found) >= times else None

        match: re.Match[str] = self.until(last, repr(pattern))
        return match

    def record(self, event: str) -> Facts:
        """Wait for the first ready record of this event; return its facts."""
        record: Record = self.until(lambda: self._child.record(event), f"the record {event!r}")
        return record.facts

    def address(self) -> str:
        """Wait until the node listens; return its address."""
        return str(self.record("ready")["address"])

    def figures(self) -> list[Figures]:
        """Return the objects that the node has written with --json."""
        return [json.loads(line) for line in self.out]

    def shows(self, condition: Callable[[Figures], bool], what: str) -> Figures:
        """Wait for figures that meet a condition; return the first ones."""
        figures: Figures = self.until(lambda: next(filter(condition, self.figures()), None), what)
        return figures

    def code(self) -> int:
        """Wait until the process has ended by itself and its output is read; return its exit code."""
        self._reader.join(DEADLINE_S)
        assert not self._reading, f"{self._child.name} still runs; {self.story()}"
        return self.wait()

    def wait(self) -> int:
        """Wait until the process has ended by itself, even if others still hold its pipes; return its exit code."""
        assert self._child.wait(DEADLINE_S), f"{self._child.name} still runs; {self.story()}"
        code = self._child.code
        assert code is not None
        return code

    def close(self) -> None:
        """End the process if it still runs, even if it is stuck."""
        self._child.kill()
        self._reading = False  # the thread may wait for a child that holds the pipe
        self._reader.join()
        self._child.close()

    def story(self) -> str:
        """Return the end of the output, for failure messages."""
        return f"it wrote {self.out[-5:]} and {self.err[-15:]}"

    def _read(self) -> None:
        while self._reading and self._child.descriptors:
            new = [line for _, line in read_lines([self._child], READ_S)]
            with self._news:
                for line in new:
                    (self.err if line.is_log else self.out).append(line.text)
                self._news.notify_all()
        with self._news:
            self._reading = False
            self._news.notify_all()


class Nodes:
    """A set of started nodes. Leaving it ends all of them, and all processes that they have started."""

    def __init__(self) -> None:
        self._mark = str(uuid.uuid4())
        self._stack = ExitStack()
        self.all: list[Node] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)

    def start(
        self, *words: object, before: tuple[str, ...] = (), stdout: int = subprocess.PIPE, **variables: str
    ) -> Node:
        """Start a command with these arguments, and with these variables in addition to those of this process."""
        node = Node(words, {"PYTHONUNBUFFERED": "", **UNPLANNED, **variables, MARK: self._mark}, before, stdout)
        self.all.append(node)
        self._stack.callback(node.close)
        return node

    def monitor(self, *words: object) -> Node:
        """Start a monitor that writes ten objects a second."""
        return self.start("monitor", "--listen=127.0.0.1:0", "--interval=0.1", "--json", *words)

    def producer(self, monitor: Node, count: int, *words: object) -> Node:
        """Start a producer whose senders report to this monitor."""
        there = f"--monitor={monitor.address()}"
        return self.start("producer", "--listen=127.0.0.1:0", there, f"--count={count}", "--seed=7", *words)

    def sender(self, producer: Node, name: str, *words: object) -> Node:
        """Start a sender of this producer."""
        return self.start("sender", f"--producer={producer.address()}", f"--name={name}", *words)

    def left(self) -> list[int]:
        """Return the ids of all processes that were started here, directly or not, and still run (Linux only)."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        try:
            return f"{MARK}={self._mark}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # the process has ended, or belongs to another user
            return False


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Poll a condition until it is true; return what it yields."""
    until = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < until, f"timed out waiting for {what}"
        time.sleep(0.02)
    return result


def assert_exact(monitor: Node, total: int) -> Figures:
    """Check that a run with --json is complete and each message is counted once; return its last figures."""
    last = monitor.figures()[-1]
    assert (last["complete"], last["final"], last["total"]) == (True, True, total)
    assert last["sent"] + last["failed"] == total
    assert last["attempts"] == last["sent"] + last["failed"] + last["retried"]
    assert (last["in_flight"], last["waiting"]) == (0, 0)
    return last


def assert_conserved(figures: list[Figures]) -> None:
    """Check that each message was in exactly one state at each moment."""
    for one in figures:
        assert one["total"] == one["sent"] + one["failed"] + one["in_flight"] + one["waiting"]
        assert min(one["in_flight"], one["waiting"]) >= 0


def assert_quiet(*nodes: Node) -> None:
    """Check that stderr has only log lines of the nodes: no stack trace and no complaint of a library."""
    for node in nodes:
        strange = [line for line in node.err if not re.match(r"\d\d:\d\d:\d\d \S+: ", line)]
        assert not strange, node.story()
