"""What the tests with real processes share: starting them, reading what they say as they say it, ending them all.

Every wait is for something that a process writes or for its end, and has a deadline far beyond what it takes.
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
READ_S: Final = 0.2  # how often a thread that reads looks whether it is to end
MARK: Final = "REHEARSAL_MARK"  # a variable that all that a test starts inherits, whatever its parent

Figures = dict[str, Any]


class Node:
    """A `python -m smssim ...` and all that it has written so far; a thread reads it."""

    def __init__(
        self,
        words: tuple[object, ...],
        variables: dict[str, str],
        before: tuple[str, ...] = (),
        stdout: int = subprocess.PIPE,
    ) -> None:
        """`before`: the command line of what is to start it. `stdout`: as of `subprocess.Popen`."""
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
        """Sends it this signal."""
        self._child.signal(number)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """What a condition on its output yields, as soon as that is true; fails if it can't come true any more."""
        with self._news:
            ended = not self._news.wait_for(lambda: condition() or not self._reading, DEADLINE_S)
            result = condition()
        assert result, f"{self._child.name}: {'not yet' if ended else 'ended without'} {what}; {self.story()}"
        return result

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """The match of a line of its log, as soon as it is there, or has been so many times."""

        def last() -> re.Match[str] | None:
            found = [match for line in self.err if (match := re.search(pattern, line))]
            return found[times - 1] if len(found) >= times else None

        match: re.Match[str] = self.until(last, repr(pattern))
        return match

    def record(self, event: str) -> Facts:
        """The facts of the first ready record of this event, as soon as it is there."""
        record: Record = self.until(lambda: self._child.record(event), f"the record {event!r}")
        return record.facts

    def address(self) -> str:
        """Where it listens, once it does."""
        return str(self.record("ready")["address"])

    def figures(self) -> list[Figures]:
        """The objects that it has written with --json."""
        return [json.loads(line) for line in self.out]

    def shows(self, condition: Callable[[Figures], bool], what: str) -> Figures:
        """The first figures for which a condition holds, as soon as they are there."""
        figures: Figures = self.until(lambda: next(filter(condition, self.figures()), None), what)
        return figures

    def code(self) -> int:
        """Its exit code, once it has ended by itself and all is read."""
        self._reader.join(DEADLINE_S)
        assert not self._reading, f"{self._child.name} goes on; {self.story()}"
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself, whoever may still hold its pipes."""
        assert self._child.wait(DEADLINE_S), f"{self._child.name} goes on; {self.story()}"
        code = self._child.code
        assert code is not None
        return code

    def close(self) -> None:
        """Ends it, if it still runs, however it may be stuck."""
        self._child.kill()
        self._reading = False  # it may wait for a child that holds the pipe
        self._reader.join()
        self._child.close()

    def story(self) -> str:
        """The end of what it wrote."""
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
    """Starts nodes; leaving it ends all of them, and all that they have started."""

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

    def start(self, *words: object, stdout: int = subprocess.PIPE, **variables: str) -> Node:
        """Starts a command with these words, and these variables beside those of this process."""
        node = Node(words, {"PYTHONUNBUFFERED": "", **variables, MARK: self._mark}, stdout=stdout)
        self.all.append(node)
        self._stack.callback(node.close)
        return node

    def monitor(self, *words: object) -> Node:
        """A monitor that writes ten objects a second."""
        return self.start("monitor", "--listen=127.0.0.1:0", "--interval=0.1", "--json", *words)

    def producer(self, monitor: Node, count: int, *words: object) -> Node:
        """A producer whose senders report to this monitor."""
        there = f"--monitor={monitor.address()}"
        return self.start("producer", "--listen=127.0.0.1:0", there, f"--count={count}", "--seed=7", *words)

    def sender(self, producer: Node, name: str, *words: object) -> Node:
        """A sender that asks this producer."""
        return self.start("sender", f"--producer={producer.address()}", f"--name={name}", *words)

    def left(self) -> list[int]:
        """The processes that still run of all that was started here, directly or by what was started; Linux only."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        try:
            return f"{MARK}={self._mark}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            return False


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """What a condition yields that nobody announces, looked at until it is true."""
    until = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < until, f"not yet {what}"
        time.sleep(0.02)
    return result


def assert_exact(monitor: Node, total: int) -> Figures:
    """The last figures that a monitor or a run with --json has written: complete, and each message counted once."""
    last = monitor.figures()[-1]
    assert (last["complete"], last["final"], last["total"]) == (True, True, total)
    assert last["sent"] + last["failed"] == total
    assert last["attempts"] == last["sent"] + last["failed"] + last["retried"]
    assert (last["in_flight"], last["waiting"]) == (0, 0)
    return last


def assert_conserved(figures: list[Figures]) -> None:
    """At each moment every message was in one place."""
    for one in figures:
        assert one["total"] == one["sent"] + one["failed"] + one["in_flight"] + one["waiting"]
        assert min(one["in_flight"], one["waiting"]) >= 0


def assert_quiet(*nodes: Node) -> None:
    """Nothing but their own plain lines on stderr: no stack trace, no complaint of a library."""
    for node in nodes:
        strange = [line for line in node.err if not re.match(r"\d\d:\d\d:\d\d \S+: ", line)]
        assert not strange, node.story()
